//! Stock Envoy carries TCP; HTTP in every variant is among the cases of `clients`.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its functions too")]

use std::{
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use lateen_tests::{
    backend::Backend,
    envoy::Envoy,
    mesh::{self, EDGE},
    server::{Server, until},
};

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
