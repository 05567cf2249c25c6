//! Stock Envoy in every way to open its streams: it is served, rejects nothing, and has what was meant.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its functions too")]

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    time::Duration,
};

use lateen_tests::{
    backend::Backend,
    envoy::Envoy,
    http,
    mesh::{self, APP, EDGE},
    server::{Server, until},
    view,
};

const VARIANTS: [&str; 4] = ["ads-delta", "ads-sotw", "delta", "sotw"];

/// A gateway that sends all to `web`, and a sidecar that may call it.
struct World {
    folder: tempfile::TempDir,
    _web: Backend,
    gateway: SocketAddr,
    egress: SocketAddr,
}

fn world() -> World {
    let folder = tempfile::tempdir().unwrap();
    let web = Backend::http("web").unwrap();
    let (gateway, egress) = (mesh::free_port(), mesh::free_port());
    let text = [
        mesh::service("web.shop.svc.cluster.local", "HTTP", &[&web]),
        mesh::gateway(gateway),
        mesh::split("web", "edge", "shop.example.com", &[("web.shop.svc.cluster.local", 100)]),
        mesh::sidecar("app", egress),
    ];
    std::fs::write(folder.path().join("mesh.yaml"), text.join("---\n")).unwrap();
    let local = |port| SocketAddr::from(([127, 0, 0, 1], port));
    World { folder, _web: web, gateway: local(gateway), egress: local(egress) }
}

fn answered_by(address: SocketAddr, host: &str) -> anyhow::Result<String> {
    let answer = http::request(address, "GET", "/", &[("host", host)])?;
    anyhow::ensure!(answer.status == 200, "{answer:?}");
    let body: serde_json::Value = serde_json::from_str(&answer.body)?;
    Ok(body["name"].as_str().unwrap_or_default().to_owned())
}

fn serves_all_variants(role: &[&str], address: impl Fn(&World) -> SocketAddr, host: &str) {
    let world = world();
    let server = Server::start(folder(&world)).unwrap();
    let mut failures = BTreeMap::new();
    for streams in VARIANTS {
        if let Err(error) = serves(&server, role, streams, address(&world), host) {
            failures.insert(streams, format!("{error:#}"));
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

fn folder(world: &World) -> &Path {
    world.folder.path()
}

fn serves(
    server: &Server,
    role: &[&str],
    streams: &str,
    address: SocketAddr,
    host: &str,
) -> anyhow::Result<()> {
    let envoy = Envoy::start(server.xds, &[role, &["--streams", streams]].concat())?;
    envoy.until_ready()?;
    let answered = until("answered by web", || Ok(answered_by(address, host)? == "web"));
    anyhow::ensure!(envoy.rejected()? == 0, "rejected: {}", envoy.rejections());
    answered?;
    let node = view::node_id(role);
    view::until_equal(server, &envoy, &node)?;
    let different =
        view::different(&view::meant(server, &node)?, &view::held(&envoy)?, streams.ends_with("delta"));
    anyhow::ensure!(different.is_empty(), "not as meant: {different:#?}");
    Ok(())
}

/// Reads the name that a TCP backend sends, and an echo.
fn echoed_by(address: SocketAddr) -> anyhow::Result<String> {
    let mut stream = BufReader::new(TcpStream::connect(address)?);
    stream.get_ref().set_read_timeout(Some(Duration::from_secs(2)))?;
    let (mut name, mut echo) = (String::new(), String::new());
    stream.read_line(&mut name)?;
    stream.get_mut().write_all(b"ping\n")?;
    stream.read_line(&mut echo)?;
    anyhow::ensure!(echo == "ping\n", "{echo:?}");
    Ok(name.trim().to_owned())
}

#[test]
fn tcp_goes_through_a_gateway_and_follows_its_route() {
    let folder = tempfile::tempdir().unwrap();
    let backends = [Backend::tcp("first").unwrap(), Backend::tcp("second").unwrap()];
    let port = mesh::free_port();
    let gateway = format!(
        "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {{name: edge, namespace: shop}}\nspec:\n  \
         selector: {{app: edge}}\n  servers:\n  - port: {{number: {port}, name: tcp, protocol: TCP}}\n    bind: \
         127.0.0.1\n    hosts: [\"*\"]\n"
    );
    let route = |to: &str| {
        format!(
            "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: tcp, namespace: shop}}\n\
             spec:\n  hosts: [\"*\"]\n  gateways: [edge]\n  tcp:\n  - route: [{{destination: {{host: \
             {to}.shop.svc.cluster.local}}}}]\n"
        )
    };
    let services = ["first", "second"].into_iter().zip(&backends);
    let services =
        services.map(|(name, to)| mesh::service(&format!("{name}.shop.svc.cluster.local"), "TCP", &[to]));
    let fixed: Vec<String> = services.chain([gateway]).collect();
    std::fs::write(folder.path().join("fixed.yaml"), fixed.join("---\n")).unwrap();
    std::fs::write(folder.path().join("route.yaml"), route("first")).unwrap();
    let server = Server::start(folder.path()).unwrap();
    let envoy = Envoy::start(server.xds, &EDGE).unwrap();
    envoy.until_ready().unwrap();
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    until("echoed by first", || Ok(echoed_by(address)? == "first")).unwrap();
    server.edit("route.yaml", &route("second")).unwrap();
    until("echoed by second", || Ok(echoed_by(address)? == "second")).unwrap();
    assert_eq!(envoy.rejected().unwrap(), 0, "{}", envoy.rejections());
}

#[test]
fn a_gateway_is_served_in_all_four_stream_variants() {
    serves_all_variants(&EDGE, |world| world.gateway, "shop.example.com");
}

#[test]
fn a_sidecar_is_served_in_all_four_stream_variants() {
    serves_all_variants(&APP, |world| world.egress, "web.shop.svc.cluster.local");
}
