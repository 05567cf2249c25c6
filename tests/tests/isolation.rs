//! What is wrong in one object takes nothing else with it: inside a route configuration the guilty virtual host is
//! found by the answers of a stock Envoy, and a routed service that is gone is gone in Envoy.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its functions too")]

use std::net::SocketAddr;

use lateen_tests::{
    backend::Backend,
    envoy::Envoy,
    http,
    load::Load,
    mesh::{self, EDGE},
    server::{Server, until},
    view,
};
use serde_json::Value;

const HOSTS: usize = 200;
const A: &str = "a.shop.svc.cluster.local";

/// Ways in which Envoy 1.40 rejects a virtual host that protobuf, and the rules beside it, let pass.
const FAULTS: [&str; 10] = [
    "match: [{uri: {regex: '/x{1001}'}}]",
    "match: [{uri: {regex: '/(?=x)'}}]",
    "match: [{headers: {x: {regex: 'a(?!b)'}}}]",
    "match: [{queryParams: {x: {regex: '(?<=a)b'}}}]",
    "match: [{withoutHeaders: {x: {regex: '['}}}]",
    "headers: {request: {set: {x: '%UNKNOWN%'}}}",
    "headers: {response: {add: {x: '%REQ(x'}}}",
    "match: [{uri: {prefix: /a}, authority: {regex: '(?P<a'}}]",
    "rewrite: {uriRegexRewrite: {match: '(a', rewrite: b}}",
    "corsPolicy: {allowOrigins: [{regex: '*a'}]}",
];

fn name(number: usize) -> String {
    format!("h{number:03}.example.com")
}

/// A host of the gateway in a file of its own; `extra` stands in its only route.
fn host(number: usize, extra: &str) -> String {
    let extra = if extra.is_empty() { String::new() } else { format!(", {extra}") };
    format!(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: h{number:03}, namespace: shop}}\n\
         spec:\n  hosts: [{}]\n  gateways: [edge]\n  http:\n  - {{route: [{{destination: {{host: {A}, port: \
         {{number: 80}}}}}}]{extra}}}\n",
        name(number)
    )
}

/// One host of each ten is faulty.
fn is_faulty(number: usize) -> bool {
    number % 10 == 3
}

fn faulty() -> impl Iterator<Item = usize> {
    (0..HOSTS).filter(|number| is_faulty(*number))
}

struct World {
    folder: tempfile::TempDir,
    gateway: SocketAddr,
    _backend: Backend,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let backend = Backend::http("a").unwrap();
        let gateway = SocketAddr::from(([127, 0, 0, 1], mesh::free_port()));
        let write = |name: &str, text: String| std::fs::write(folder.path().join(name), text).unwrap();
        write("gateway.yaml", mesh::gateway(gateway.port()));
        write("a.yaml", mesh::service(A, "HTTP", &[&backend]));
        Self { folder, gateway, _backend: backend }
    }

    fn status(&self, host: &str) -> anyhow::Result<u16> {
        Ok(http::request(self.gateway, "GET", "/", &[("host", host)])?.status)
    }

    fn until_answered(&self, host: &str, status: u16) {
        until(&format!("{host} answered {status}"), || {
            let now = self.status(host)?;
            anyhow::ensure!(now == status, "{now}");
            Ok(true)
        })
        .unwrap();
    }
}

fn edge(server: &Server, streams: &str) -> Envoy {
    let envoy = Envoy::start(server.xds, &[&EDGE[..], &["--streams", streams]].concat()).unwrap();
    envoy.until_ready().unwrap();
    envoy
}

fn findings(server: &Server) -> anyhow::Result<Vec<String>> {
    let status = server.status()?;
    let findings = status["findings"].as_array().cloned().unwrap_or_default();
    Ok(findings.iter().filter_map(Value::as_str).map(str::to_owned).collect())
}

/// 200 hosts, 20 of them faulty in ten ways, and a freshly started Envoy: the 180 serve, each of the 20 has its finding
/// with its line; then each is mended, and no request to another host fails.
fn the_good_ones_serve(streams: &str, flags: &[&str]) {
    let world = World::new();
    for number in 0..HOSTS {
        let extra = if is_faulty(number) { FAULTS[number / 10 % 10] } else { "" };
        let file = world.folder.path().join(format!("h{number:03}.yaml"));
        std::fs::write(file, format!("# line 1\n{}", host(number, extra))).unwrap();
    }
    let server = Server::start_at(world.folder.path(), "127.0.0.1:0", flags).unwrap();
    let envoy = edge(&server, streams);
    for number in (0..HOSTS).filter(|number| !is_faulty(*number)) {
        world.until_answered(&name(number), 200);
    }
    server
        .until("each fault named at its line", |server| {
            let findings = findings(server)?;
            for number in faulty() {
                let place = format!("h{number:03}.yaml:");
                let named = findings.iter().any(|finding| {
                    let line = finding.split_once(&place).and_then(|(_, rest)| rest.split(':').next());
                    line.and_then(|line| line.parse().ok()).is_some_and(|line: usize| line >= 2)
                });
                anyhow::ensure!(named, "{place} is not named: {findings:#?}");
            }
            Ok(true)
        })
        .unwrap();
    for number in faulty() {
        // What was found before it was sent is no host; what Envoy rejected is one, and it is closed.
        let wanted = if flags.is_empty() { 404 } else { 503 };
        assert_eq!(world.status(&name(number)).unwrap(), wanted, "it never had a good form");
    }

    let load = Load::start(world.gateway, &name(0), 200, 4);
    for number in faulty() {
        server.write(&format!("h{number:03}.yaml"), &host(number, "")).unwrap();
        world.until_answered(&name(number), 200);
        load.switch(&name(number));
    }
    server.until_synced(1).unwrap();
    load.stop().assert_none_failed();
    let left = findings(&server).unwrap();
    assert!(left.iter().all(|finding| !finding.contains(" error ")), "{left:#?}");

    // One that turns bad again stays as it was, while others change.
    server.write("h003.yaml", &host(3, FAULTS[0])).unwrap();
    server
        .until("its fault named", |server| Ok(findings(server)?.iter().any(|f| f.contains("h003.yaml:"))))
        .unwrap();
    server.write("h004.yaml", &host(4, "timeout: 3s")).unwrap();
    until("others move on", || Ok(envoy.config_dump()?.to_string().contains("\"timeout\":\"3s\""))).unwrap();
    world.until_answered(&name(3), 200);
}

#[test]
fn the_good_180_of_200_serve_in_delta_though_nothing_was_checked() {
    the_good_ones_serve("ads-delta", &["--unchecked"]);
}

#[test]
fn the_good_180_of_200_serve_in_state_of_the_world_though_nothing_was_checked() {
    the_good_ones_serve("ads-sotw", &["--unchecked"]);
}

#[test]
fn the_good_180_of_200_serve() {
    the_good_ones_serve("ads-delta", &[]);
}

/// A route to a service that no longer exists: 503, and neither the cluster nor its endpoints stay.
#[test]
fn a_routed_service_that_disappears_disappears_from_envoy() {
    for streams in ["ads-delta", "ads-sotw", "delta", "sotw"] {
        let world = World::new();
        std::fs::write(world.folder.path().join("h000.yaml"), host(0, "")).unwrap();
        let server = Server::start(world.folder.path()).unwrap();
        let envoy = edge(&server, streams);
        world.until_answered(&name(0), 200);
        server.until_synced(1).unwrap();
        std::fs::remove_file(server.folder.join("a.yaml")).unwrap();
        world.until_answered(&name(0), 503);
        until(&format!("{streams}: the cluster gone from Envoy"), || {
            let held = view::held(&envoy)?;
            Ok(held.keys().all(|(_, name)| !name.contains(A)))
        })
        .unwrap();
        server
            .until("the absence told, and all in sync", |server| {
                Ok(findings(server)?.iter().any(|finding| finding.contains("LAT3001")))
            })
            .unwrap();
        server.until_synced(1).unwrap();
        assert_eq!(envoy.rejected().unwrap(), 0, "{}", envoy.rejections());
    }
}
