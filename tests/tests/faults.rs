//! Faults of several platforms at once, under a real Envoy (docs/adapters/faults.md).
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its functions too")]

use std::{collections::BTreeSet, net::SocketAddr};

use lateen_test_servers::{
    consul::{self, Consul},
    etcd::Etcd,
};
use lateen_tests::{
    backend::Backend,
    envoy::Envoy,
    http,
    mesh::{self, EDGE},
    server::{Server, until},
};
use serde_json::{Value, json};

const SHARED: &str = "shared.shop.svc.cluster.local";
const HOST: &str = "shared.example.com";

/// Consul's instance, with the protocol that it says it speaks.
async fn register(consul: &Consul, backend: &Backend, protocol: &str) {
    let instance = json!({
        "ID": "shared-1", "Name": "shared", "Address": "127.0.0.1", "Port": backend.port(),
        "Meta": {"protocol": protocol},
    });
    consul.ask("PUT", "/v1/agent/service/register", &instance.to_string()).await.unwrap();
}

fn answers(edge: SocketAddr) -> anyhow::Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for _ in 0..30 {
        let answer = http::request(edge, "GET", "/", &[("host", HOST)])?;
        anyhow::ensure!(answer.status == 200, "{answer:?}");
        let body: Value = serde_json::from_str(&answer.body)?;
        names.extend(body["name"].as_str().map(str::to_owned));
    }
    Ok(names)
}

/// How many objects Consul has: the service that is registered last is two.
fn objects(server: &Server) -> anyhow::Result<u64> {
    let status = server.status()?;
    let consul = status["sources"].as_array().and_then(|all| all.last().cloned()).unwrap_or_default();
    consul["objects"].as_u64().ok_or_else(|| anyhow::anyhow!("{status}"))
}

/// The finding about the service's ports, once it is there.
fn disagreement(server: &Server) -> String {
    let mut found = String::new();
    until("the disagreement is told", || {
        let status = server.status()?;
        let findings = status["findings"].as_array().cloned().unwrap_or_default();
        let texts = findings.iter().filter_map(Value::as_str);
        let about: Vec<&str> = texts.filter(|text| text.contains("LAT2405")).collect();
        found = about.join("\n");
        Ok(about.len() == 1)
    })
    .unwrap();
    found
}

/// Row 11: Consul and etcd disagree on a service. The first flag's definition counts whoever speaks last, the other one
/// is told, and clients are not disturbed however often the loser changes its mind.
#[tokio::test(flavor = "multi_thread")]
async fn row_11_two_platforms_that_disagree_do_not_swing() {
    let port = mesh::free_port();
    let edge = SocketAddr::from(([127, 0, 0, 1], port));
    let [on_consul, on_etcd] = ["consul", "etcd"].map(|name| Backend::http(name).unwrap());
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("gateway.yaml", &mesh::gateway(port));
    let route = mesh::split("shared", "edge", HOST, &[(SHARED, 100)]);
    write(
        "route.yaml",
        &route.replace(&format!("host: {SHARED}"), &format!("host: {SHARED}, port: {{number: 80}}")),
    );
    let etcd = Etcd::start().await.unwrap();
    let instance = json!({"address": "127.0.0.1", "ports": {"http": on_etcd.port()}});
    etcd.ctl(&["put", "/lateen/endpoints/shop/shared/1", &instance.to_string()]).unwrap();
    let port = |number: u16, name: &str| json!({"name": name, "number": number, "protocol": "HTTP"});
    let ports = json!({"ports": [port(80, "http"), port(81, "admin")]});
    etcd.ctl(&["put", "/lateen/services/shop/shared", &ports.to_string()]).unwrap();
    let consul = Consul::start(consul::Options::default()).await.unwrap();
    register(&consul, &on_consul, "http").await;

    let file = format!("file={}", folder.path().display());
    // Consul knows one port only, and says something else of it each time.
    let by_consul = format!("consul={}?namespace=shop", consul.url());
    let by_etcd = format!("etcd={}", etcd.url());
    let start = |adapters: [&str; 3]| {
        Server::start_from(&adapters, folder.path(), "127.0.0.1:0", &["--no-state"]).unwrap()
    };
    let server = start([&file, &by_etcd, &by_consul]);
    let envoy = Envoy::start(server.xds, &EDGE).unwrap();
    envoy.until_ready().unwrap();
    let both = BTreeSet::from(["consul".to_owned(), "etcd".to_owned()]);
    until("answers of both", || Ok(answers(edge)? == both)).unwrap();
    let told = disagreement(&server);
    assert!(told.contains("the ports 80 here, and 80, 81 in") && told.contains(&etcd.url()), "{told}");

    let before = (
        envoy.stats_ending("cds.update_success").unwrap(),
        envoy.stats_ending("lds.update_success").unwrap(),
    );
    for change in 0..20 {
        register(&consul, &on_consul, if change % 2 == 0 { "tcp" } else { "http" }).await;
        assert_eq!(answers(edge).unwrap(), both);
    }
    let known = objects(&server).unwrap();
    // The last word of the loser has arrived when what follows it has.
    consul
        .ask("PUT", "/v1/agent/service/register", &json!({"Name": "last", "Port": 1}).to_string())
        .await
        .unwrap();
    until("what came last", || Ok(objects(&server)? == known + 2)).unwrap();
    let after = (
        envoy.stats_ending("cds.update_success").unwrap(),
        envoy.stats_ending("lds.update_success").unwrap(),
    );
    assert_eq!(before, after, "clusters or listeners were sent again");
    assert_eq!(disagreement(&server), told);
    drop(server);

    // In the other order it is the other one that disagrees.
    let server = start([&file, &by_consul, &by_etcd]);
    let told = disagreement(&server);
    assert!(told.contains("the ports 80, 81 here, and 80 in"), "{told}");
}
