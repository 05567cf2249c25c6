//! A configuration that only Envoy itself finds wrong: what it costs, and what is said of it.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its functions too")]

use std::{net::SocketAddr, process::Command};

use lateen_tests::{
    backend::Backend,
    envoy::Envoy,
    http,
    mesh::{self, EDGE},
    server::{self, Server, until},
};
use serde_json::Value;

const A: &str = "a.shop.svc.cluster.local";
const B: &str = "b.shop.svc.cluster.local";
const SHAKY: &str = "shaky.example.com";
const STEADY: &str = "steady.example.com";

/// RE2 repeats at most 1,000 times (<https://github.com/google/re2/wiki/Syntax>): the server is told not to look.
const REFUSED: &str = "/x{1001}";

struct World {
    folder: tempfile::TempDir,
    backends: [Backend; 2],
    shaky: SocketAddr,
    steady: SocketAddr,
}

impl World {
    /// Two servers at one gateway, each with a route configuration of its own.
    fn new() -> Self {
        let local = || SocketAddr::from(([127, 0, 0, 1], mesh::free_port()));
        let world = Self {
            folder: tempfile::tempdir().unwrap(),
            backends: [Backend::http("a").unwrap(), Backend::http("b").unwrap()],
            shaky: local(),
            steady: local(),
        };
        let gateway = format!(
            "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {{name: edge, namespace: shop}}\nspec:\n  \
             selector: {{app: edge}}\n  servers:\n  - {{port: {{number: {}, name: shaky, protocol: HTTP}}, bind: \
             127.0.0.1, hosts: [{SHAKY}]}}\n  - {{port: {{number: {}, name: steady, protocol: HTTP}}, bind: \
             127.0.0.1, hosts: [{STEADY}]}}\n",
            world.shaky.port(),
            world.steady.port()
        );
        for (name, text) in [
            ("gateway.yaml", gateway),
            ("a.yaml", mesh::service(A, "HTTP", &[&world.backends[0]])),
            ("b.yaml", mesh::service(B, "HTTP", &[&world.backends[1]])),
            ("shaky.yaml", mesh::split("shaky", "edge", SHAKY, &[(A, 100)])),
            ("steady.yaml", mesh::split("steady", "edge", STEADY, &[(A, 100)])),
        ] {
            std::fs::write(world.folder.path().join(name), text).unwrap();
        }
        world
    }
}

fn edge(server: &Server, name: &str) -> Envoy {
    let node: Vec<&str> = EDGE.iter().map(|word| if *word == "edge" { name } else { word }).collect();
    let envoy = Envoy::start(server.xds, &node).unwrap();
    envoy.until_ready().unwrap();
    envoy
}

fn until_answered(address: SocketAddr, host: &str, by: &str) {
    until(&format!("{host} answered by {by}"), || {
        let answer = http::request(address, "GET", "/", &[("host", host)])?;
        anyhow::ensure!(answer.status == 200, "{answer:?}");
        let body: Value = serde_json::from_str(&answer.body)?;
        anyhow::ensure!(body["name"] == by, "{}", body["name"]);
        Ok(true)
    })
    .unwrap();
}

/// A route that no Envoy accepts, before one that all do; the object begins on line 2.
fn refused() -> String {
    format!(
        "# rejected\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: shaky, namespace: \
         shop}}\nspec:\n  hosts: [{SHAKY}]\n  gateways: [edge]\n  http:\n  - match: [{{uri: {{regex: \
         '{REFUSED}'}}}}]\n    route: [{{destination: {{host: {B}}}}}]\n  - route: [{{destination: {{host: {B}}}}}]\n"
    )
}

fn until_rejected(server: &Server, nodes: usize) -> Value {
    let rejecting = |status: &Value| {
        let nodes = status["nodes"].as_array().cloned().unwrap_or_default();
        let of = |node: &Value| node["types"].as_array().cloned().unwrap_or_default();
        nodes.iter().flat_map(of).filter(|kind| kind["kind"] == "RDS" && kind["state"] == "NACK").count()
    };
    server
        .until("rejected by all", |server| {
            let status = server.status()?;
            anyhow::ensure!(rejecting(&status) == nodes, "{status:#}");
            Ok(true)
        })
        .unwrap();
    server.status().unwrap()
}

fn lateen_status(server: &Server, output: &str) -> (Option<i32>, String) {
    let mut command = Command::new(server::binary());
    command.args(["status", "--server", &server.admin.to_string(), "--output", output]);
    let done = command.output().unwrap();
    (done.status.code(), String::from_utf8(done.stdout).unwrap())
}

#[test]
fn a_rejected_route_holds_nothing_else_back_and_is_named_with_its_line() {
    let world = World::new();
    let server = Server::start_at(world.folder.path(), "127.0.0.1:0", &["--unchecked"]).unwrap();
    let envoys = [edge(&server, "edge-1"), edge(&server, "edge-2")];
    server.until_synced(2).unwrap();
    until_answered(world.shaky, SHAKY, "a");

    server.write("shaky.yaml", &refused()).unwrap();
    let status = until_rejected(&server, 2);

    let rejected =
        &status["nodes"][0]["types"].as_array().unwrap().iter().find(|t| t["kind"] == "RDS").unwrap();
    assert!(rejected["message"].as_str().unwrap().contains("repetition"), "{rejected}");
    let name = rejected["rejected"][0]["name"].as_str().unwrap();
    assert!(name.contains(&world.shaky.port().to_string()), "{rejected}");
    let (code, table) = lateen_status(&server, "table");
    assert_eq!(code, Some(1), "{table}");
    assert!(table.contains("shaky.yaml:2:"), "{table}");
    assert!(table.contains(name) && table.contains("NACK") && table.contains("repetition"), "{table}");
    let (code, json) = lateen_status(&server, "json");
    assert_eq!(code, Some(1), "{json}");
    let json: Value = serde_json::from_str(&json).unwrap();
    let findings = json["findings"].to_string();
    assert!(findings.contains("shaky.yaml:2:"), "no finding names the rejected object: {findings}");

    // The last good routes of the rejected configuration serve, and all else still changes.
    until_answered(world.shaky, SHAKY, "a");
    server.write("steady.yaml", &mesh::split("steady", "edge", STEADY, &[(B, 100)])).unwrap();
    until_answered(world.steady, STEADY, "b");
    let moved = Backend::http("moved").unwrap();
    server.write("b.yaml", &mesh::service(B, "HTTP", &[&moved])).unwrap();
    until_answered(world.steady, STEADY, "moved");

    // Once mended, it is served.
    server.write("shaky.yaml", &mesh::split("shaky", "edge", SHAKY, &[(B, 100)])).unwrap();
    until_answered(world.shaky, SHAKY, "moved");
    server.until_synced(2).unwrap();
    let (code, table) = lateen_status(&server, "table");
    assert_eq!(code, Some(0), "{table}");
    drop(envoys);
}

/// An instance that is replaced while a rejection stands must not take the last good routes with it.
#[test]
fn endpoints_behind_the_last_good_routes_go_on_following_their_service() {
    let world = World::new();
    let server = Server::start_at(world.folder.path(), "127.0.0.1:0", &["--unchecked"]).unwrap();
    let envoy = edge(&server, "edge-1");
    server.until_synced(1).unwrap();
    // Nothing but the last good routes refers to service `a` from now on.
    server.edit("steady.yaml", &mesh::split("steady", "edge", STEADY, &[(B, 100)])).unwrap();
    server.write("shaky.yaml", &refused()).unwrap();
    until_rejected(&server, 1);
    let moved = Backend::http("moved").unwrap();
    server.write("a.yaml", &mesh::service(A, "HTTP", &[&moved])).unwrap();
    until_answered(world.shaky, SHAKY, "moved");
    drop(envoy);
}

#[test]
fn a_newly_joined_envoy_gets_what_the_others_last_accepted_and_serves_it() {
    let world = World::new();
    let server = Server::start_at(world.folder.path(), "127.0.0.1:0", &["--unchecked"]).unwrap();
    let envoys = [edge(&server, "edge-1"), edge(&server, "edge-2")];
    server.until_synced(2).unwrap();
    server.write("shaky.yaml", &refused()).unwrap();
    until_rejected(&server, 2);

    let joined = edge(&server, "edge-3");
    until("routes of the new Envoy", || Ok(joined.config_dump()?.to_string().contains(SHAKY))).unwrap();
    // What others reject is held back from it only when it has rejected it, too: anybody could be those others. The
    // search halves what it was given, so two virtual hosts take a few rounds.
    assert!(joined.rejected().unwrap() <= 4, "{}: {}", joined.rejected().unwrap(), joined.rejections());
    let before = joined.rejected().unwrap();
    // All three share the port; only the new one is left to answer.
    drop(envoys);
    until_answered(world.shaky, SHAKY, "a");
    until_answered(world.steady, STEADY, "a");
    // It stays so when those that rejected it are gone and something else changes.
    server.write("steady.yaml", &mesh::split("steady", "edge", STEADY, &[(B, 100)])).unwrap();
    until_answered(world.steady, STEADY, "b");
    until_answered(world.shaky, SHAKY, "a");
    assert!(joined.rejected().unwrap() <= before + 1, "{}", joined.rejections());
}
