//! N12: one service served to Envoys and gRPC clients at once: each in its own form, followed by all, rejected by none.

use anyhow::ensure;
use lateen_tests::{
    backend::Backend,
    envoy::{Envoy, Release},
    grpc::{Caller, Client, Language},
    mesh::{self, APP, EDGE},
    scene::assert_none_rejected,
    server::{Server, until},
    tap::Tap,
};

use crate::{
    grpc::{HOST, OTHER, TARGET, bootstrap},
    plain::Plain,
    tonic_xds::TonicXds,
};

/// A way to the service.
type Ask = Box<dyn FnMut() -> anyhow::Result<String>>;

/// gRPC clients of every language, each with its name.
fn callers(tap: &Tap) -> Vec<(String, Ask)> {
    let mut asks: Vec<(String, Ask)> = Vec::new();
    for language in [Language::Python, Language::Go, Language::Node] {
        let mut boot = bootstrap("", &[tap.address]);
        boot["node"]["id"] = format!("sidecar~127.0.0.1~{language:?}.shop~shop.svc.cluster.local").into();
        let mut client = Client::start(language, TARGET, &boot).unwrap();
        asks.push((format!("{language:?}"), Box::new(move || client.call("hello", &[]))));
    }
    let boot = bootstrap("http://", &[tap.address]);
    let mut rust = TonicXds::start(TARGET, &boot).unwrap();
    asks.push(("Rust".to_owned(), Box::new(move || rust.call("hello", &[]))));
    asks
}

/// Where the service's calls go, from sidecars and gRPC clients, and through the gateway.
fn route(destination: &str) -> String {
    let to = [(destination, 100)];
    [mesh::split("echo", "mesh", HOST, &to), mesh::split("edge", "edge", "\"*\"", &to)].join("---\n")
}

#[test]
fn n12_envoys_and_grpc_clients_share_a_service_and_reject_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let [first, second, third] = ["first", "second", "third"].map(|name| Backend::grpc(name).unwrap());
    let write = |name: &str, text: String| std::fs::write(folder.path().join(name), text).unwrap();
    let ports = [mesh::free_port(), mesh::free_port()];
    write("fixed.yaml", [mesh::gateway(ports[0]), mesh::sidecar("app", ports[1])].join("---\n"));
    write("echo.yaml", mesh::service(HOST, "GRPC", &[&first]));
    write("other.yaml", mesh::service(OTHER, "GRPC", &[&second]));
    write("route.yaml", route(HOST));
    let server = Server::start(folder.path()).unwrap();
    let tap = Tap::start(server.xds, false).unwrap();
    let start = |flags: &[&str], streams| {
        Envoy::start_release(Release::Current, server.xds, &[flags, &["--streams", streams]].concat())
            .unwrap()
    };
    let envoys = [start(&EDGE, "ads-delta"), start(&APP, "ads-sotw")];
    for envoy in &envoys {
        envoy.until_ready().unwrap();
    }
    let mut asks = callers(&tap);
    let mut through = Plain::new(ports[0]);
    asks.push(("gateway".to_owned(), Box::new(move || Ok(through.ask(&[])?))));

    let mut answered = |by: &str| {
        for (name, ask) in &mut asks {
            until(&format!("{name} answered by {by}"), || {
                let answer = ask()?;
                ensure!(answer == format!("{by}:hello"), "{answer}");
                Ok(true)
            })
            .unwrap();
        }
    };
    answered("first");
    server.edit("route.yaml", &route(OTHER)).unwrap();
    answered("second");
    server.edit("other.yaml", &mesh::service(OTHER, "GRPC", &[&third])).unwrap();
    answered("third");

    // What only Envoy knows, at the same hosts: TLS, limits of connections, hashing by address.
    let rule = format!(
        "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: echo, namespace: shop}}\n\
         spec:\n  host: {HOST}\n  trafficPolicy:\n    connectionPool: {{tcp: {{maxConnections: 10, connectTimeout: \
         1s}}, http: {{http2MaxRequests: 100}}}}\n    loadBalancer: {{consistentHash: {{useSourceIp: true}}}}\n    \
         outlierDetection: {{consecutive5xxErrors: 3}}\n"
    );
    server.edit("rule.yaml", &rule).unwrap();
    server.edit("route.yaml", &route(HOST)).unwrap();
    answered("first");

    server.until_synced(6).unwrap();
    assert_eq!(tap.rejections(), Vec::<String>::new());
    assert_none_rejected(&envoys);
}
