//! Stock Envoy in every way to open its streams: it is served, rejects nothing, and has what was meant.

use std::{collections::BTreeMap, net::SocketAddr, path::Path};

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
    view::until_equal(server, &envoy, &view::node_id(role))
}

#[test]
fn a_gateway_is_served_in_all_four_stream_variants() {
    serves_all_variants(&EDGE, |world| world.gateway, "shop.example.com");
}

#[test]
fn a_sidecar_is_served_in_all_four_stream_variants() {
    serves_all_variants(&APP, |world| world.egress, "web.shop.svc.cluster.local");
}
