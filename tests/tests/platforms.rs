//! The same mesh from every platform: one configuration gives the same bytes whatever it was read from, and one
//! service is one host wherever its instances are registered.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its functions too")]

use std::{collections::BTreeSet, net::SocketAddr};

use lateen_test_servers::{
    consul::{self, Consul},
    etcd::Etcd,
    kubernetes::{self, Kubernetes},
    nomad::{self, Nomad},
};
use lateen_tests::{
    backend::Backend,
    cluster::Cluster,
    envoy::Envoy,
    http,
    mesh::{self, EDGE},
    server::{Server, until},
};
use serde_json::{Value, json};

const A: &str = "a.shop.svc.cluster.local";
const B: &str = "b.shop.svc.cluster.local";
const CANARY: &str = "canary.example.com";
const SHARED: &str = "shared.shop.svc.cluster.local";

/// The configuration of the canary: a gateway, two services and a split between them.
fn documents(port: u16, backends: &[Backend; 2]) -> [(&'static str, String); 4] {
    [
        ("gateway", mesh::gateway(port)),
        ("a", mesh::service(A, "HTTP", &[&backends[0]])),
        ("b", mesh::service(B, "HTTP", &[&backends[1]])),
        ("canary", mesh::split("canary", "edge", CANARY, &[(A, 90), (B, 10)])),
    ]
}

/// The routes that an Envoy gets from a source, with the version that is their content's hash; requests are
/// answered by both services.
fn routes_from(adapter: &str, port: u16) -> Value {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start_from(&[adapter], folder.path(), "127.0.0.1:0", &["--no-state"]).unwrap();
    let envoy = Envoy::start(server.xds, &EDGE).unwrap();
    envoy.until_ready().unwrap();
    server.until_synced(1).unwrap();
    let edge = SocketAddr::from(([127, 0, 0, 1], port));
    let mut answered = BTreeSet::new();
    until(&format!("{adapter}: answers of both"), || {
        answered.insert(answered_by(edge, CANARY)?);
        Ok(answered.len() == 2)
    })
    .unwrap();
    assert_eq!(envoy.rejected().unwrap(), 0, "{adapter}: {}", envoy.rejections());
    let dump = envoy.config_dump().unwrap();
    let mut routes: Vec<Value> = Vec::new();
    for part in dump["configs"].as_array().unwrap() {
        for config in part["dynamic_route_configs"].as_array().into_iter().flatten() {
            routes.push(json!({"version": config["version_info"], "routes": config["route_config"]}));
        }
    }
    assert_eq!(routes.len(), 1, "{adapter}: {routes:?}");
    assert!(routes[0].to_string().contains(CANARY));
    routes.remove(0)
}

fn answered_by(address: SocketAddr, host: &str) -> anyhow::Result<String> {
    let answer = http::request(address, "GET", "/", &[("host", host)])?;
    anyhow::ensure!(answer.status == 200, "{answer:?}");
    let body: Value = serde_json::from_str(&answer.body)?;
    Ok(body["name"].as_str().unwrap_or_default().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn one_virtual_service_gives_equal_bytes_on_every_platform() {
    let port = mesh::free_port();
    let backends = [Backend::http("a").unwrap(), Backend::http("b").unwrap()];
    let documents = documents(port, &backends);

    let folder = tempfile::tempdir().unwrap();
    for (name, text) in &documents {
        std::fs::write(folder.path().join(format!("{name}.yaml")), text).unwrap();
    }
    let from = async |adapter: String| {
        tokio::task::spawn_blocking(move || routes_from(&adapter, port)).await.unwrap()
    };
    let by_file = from(format!("file={}", folder.path().display())).await;

    let consul = Consul::start(consul::Options::default()).await.unwrap();
    for (name, text) in &documents {
        consul.ask("PUT", &format!("/v1/kv/lateen/config/{name}"), text).await.unwrap();
    }
    assert_eq!(from(format!("consul={}", consul.url())).await, by_file, "Consul");

    let etcd = Etcd::start().await.unwrap();
    for (name, text) in &documents {
        etcd.ctl(&["put", &format!("/lateen/config/{name}"), text]).unwrap();
    }
    assert_eq!(from(format!("etcd={}", etcd.url())).await, by_file, "etcd");

    let nomad = Nomad::start(nomad::Options::default()).await.unwrap();
    for (name, text) in &documents {
        nomad.put_variable(&format!("lateen/config/{name}"), &json!({"yaml": text})).await.unwrap();
    }
    assert_eq!(from(format!("nomad={}", nomad.url())).await, by_file, "Nomad");

    let kubernetes = Kubernetes::start(kubernetes::Options::default()).await.unwrap();
    let cluster = Cluster::of(kubernetes).await.unwrap();
    cluster.define().await.unwrap();
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}});
    cluster.apply(&namespace).await.unwrap();
    for (_, text) in &documents {
        cluster.apply_all(text).await.unwrap();
    }
    assert_eq!(from(cluster.adapter()).await, by_file, "Kubernetes");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_service_on_several_platforms_is_one_host_and_outlives_each_of_them() {
    let port = mesh::free_port();
    let edge = SocketAddr::from(([127, 0, 0, 1], port));
    let backends = ["file", "consul", "etcd"].map(|name| Backend::http(name).unwrap());
    let [on_file, on_consul, on_etcd] = &backends;
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("gateway.yaml", &mesh::gateway(port));
    write("shared.yaml", &mesh::service(SHARED, "HTTP", &[on_file]));
    write("route.yaml", &mesh::split("shared", "edge", CANARY, &[(SHARED, 100)]));

    let mut consul = Consul::start(consul::Options::default()).await.unwrap();
    let registered = json!({
        "ID": "shared-1", "Name": "shared", "Address": "127.0.0.1", "Port": on_consul.port(),
        "Meta": {"protocol": "http"},
        "Check": {"CheckID": "alive", "TTL": "1h", "Status": "passing"},
    });
    consul.ask("PUT", "/v1/agent/service/register", &registered.to_string()).await.unwrap();
    let etcd = Etcd::start().await.unwrap();
    let registered = json!({"address": "127.0.0.1", "ports": {"http": on_etcd.port()}});
    etcd.ctl(&["put", "/lateen/endpoints/shop/shared/1", &registered.to_string()]).unwrap();
    let ports = json!({"ports": [{"name": "http", "number": 80, "protocol": "HTTP"}]});
    etcd.ctl(&["put", "/lateen/services/shop/shared", &ports.to_string()]).unwrap();

    let adapters = [
        format!("file={}", folder.path().display()),
        format!("consul={}?namespace=shop", consul.url()),
        format!("etcd={}", etcd.url()),
    ];
    let adapters = adapters.each_ref().map(String::as_str);
    let server = Server::start_from(&adapters, folder.path(), "127.0.0.1:0", &["--no-state"]).unwrap();
    let envoy = Envoy::start(server.xds, &EDGE).unwrap();
    envoy.until_ready().unwrap();
    let until_answered_by = |names: &[&str]| {
        let wanted: BTreeSet<String> = names.iter().map(|name| (*name).to_owned()).collect();
        until(&format!("answers of {names:?} and nobody else"), || {
            let answers =
                (0..30).map(|_| answered_by(edge, CANARY)).collect::<anyhow::Result<BTreeSet<_>>>()?;
            anyhow::ensure!(answers == wanted, "{answers:?}");
            Ok(true)
        })
        .unwrap();
    };
    until_answered_by(&["file", "consul", "etcd"]);

    // A check that turns critical takes its instance out.
    consul.ask("PUT", "/v1/agent/check/fail/alive", "").await.unwrap();
    until_answered_by(&["file", "etcd"]);
    consul.ask("PUT", "/v1/agent/check/pass/alive", "").await.unwrap();
    until_answered_by(&["file", "consul", "etcd"]);

    // What a platform said stays when it is gone; the others are followed all the same.
    consul.kill();
    server
        .until("Consul is stale", |server| {
            let status = server.status()?;
            let sources = status["sources"].as_array().cloned().unwrap_or_default();
            let stale = sources.iter().filter(|source| !source["stale_ms"].is_null());
            let stale: Vec<&str> = stale.filter_map(|source| source["id"].as_str()).collect();
            anyhow::ensure!(matches!(stale[..], [one] if one.starts_with("consul=")), "{stale:?}");
            Ok(true)
        })
        .unwrap();
    etcd.ctl(&["del", "/lateen/endpoints/shop/shared/1"]).unwrap();
    until_answered_by(&["file", "consul"]);
    assert_eq!(envoy.rejected().unwrap(), 0, "{}", envoy.rejections());
}
