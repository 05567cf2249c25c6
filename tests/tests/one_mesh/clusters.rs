//! Two Kubernetes clusters as one mesh: `--adapter kubernetes=CONTEXT` twice.

use std::{collections::BTreeSet, net::SocketAddr, path::Path};

use anyhow::ensure;
use lateen_test_servers::kubernetes::{Kubernetes, Options, User};
use lateen_tests::{
    backend::Backend,
    cluster::Cluster,
    envoy::Envoy,
    mesh::{self, EDGE},
    netns,
    scene::assert_none_rejected,
    server::Server,
};
use serde_json::json;

use crate::{
    fleet::{NAMESPACE, SHARED, host},
    stale, until_answered_by,
};

/// Names of the contexts.
const CONTEXTS: [&str; 2] = ["east", "west"];

pub async fn two_clusters() -> anyhow::Result<()> {
    let (east, west) = tokio::try_join!(start(), start())?;
    let (mut east, west) = (Cluster::of(east).await?, Cluster::of(west).await?);
    let folder = tempfile::tempdir()?;
    let kubeconfig = folder.path().join("kubeconfig");
    std::fs::write(&kubeconfig, both(&[&east.servers, &west.servers]))?;
    let adapters = CONTEXTS.map(|context| adapter(context, &kubeconfig));

    let backend = |name: &str| Backend::http_at(name, (netns::address(), 8080).into());
    let backends = ["east-1", "west-1", "west-2"].map(|name| backend(name).unwrap());
    let [on_east, on_west, later] = &backends;
    for (cluster, instance) in [(&east, on_east), (&west, on_west)] {
        cluster.define().await?;
        // The API server makes namespaces of its own only.
        cluster
            .apply(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}))
            .await?;
        let service = json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": SHARED, "namespace": NAMESPACE},
            "spec": {"ports": [{"name": "http", "port": 80, "targetPort": 8080}]},
        });
        cluster.apply(&service).await?;
        cluster.apply(&slice(&[instance])).await?;
    }
    let port = mesh::free_port();
    east.apply_all(&mesh::gateway(port)).await?;
    east.apply_all(&mesh::split(SHARED, "edge", "any.example.com", &[(&host(SHARED), 100)])).await?;

    let adapters = adapters.each_ref().map(String::as_str);
    let server = Server::start_from(&adapters, folder.path(), "127.0.0.1:0", &["--no-state"])?;
    let envoy = Envoy::start(server.xds, &EDGE)?;
    envoy.until_ready()?;
    let edge = SocketAddr::from(([127, 0, 0, 1], port));
    let answered = |names: &[&str]| {
        let names: BTreeSet<String> = names.iter().map(|name| (*name).to_owned()).collect();
        until_answered_by(edge, "any.example.com", &names)
    };
    answered(&["east-1", "west-1"])?;

    // Of a cluster that is gone its part stays; what the other one says counts at once.
    east.servers.kill();
    server.until("stale: the one cluster and not the other", |server| {
        let stale = stale(server)?;
        ensure!(matches!(&stale[..], [one] if one.starts_with("kubernetes=east")), "{stale:?}");
        Ok(true)
    })?;
    answered(&["east-1", "west-1"])?;
    west.apply(&slice(&[on_west, later])).await?;
    answered(&["east-1", "west-1", "west-2"])?;
    west.apply(&slice(&[later])).await?;
    answered(&["east-1", "west-2"])?;
    assert_none_rejected(&[envoy]);
    Ok(())
}

async fn start() -> anyhow::Result<Kubernetes> {
    Kubernetes::start(Options::default()).await
}

fn adapter(context: &str, kubeconfig: &Path) -> String {
    format!("kubernetes={context}?kubeconfig={}", kubeconfig.display())
}

/// A kubeconfig as users have it: one context for each cluster, the first one the current one.
fn both(servers: &[&Kubernetes; 2]) -> String {
    let (mut clusters, mut users, mut contexts) = (Vec::new(), Vec::new(), Vec::new());
    for (name, server) in CONTEXTS.iter().zip(servers) {
        clusters.push(json!({
            "name": name, "cluster": {"server": server.url(), "certificate-authority": server.authority()},
        }));
        users.push(json!({"name": name, "user": {"token": server.token(User::Admin)}}));
        contexts.push(json!({"name": name, "context": {"cluster": name, "user": name}}));
    }
    json!({
        "apiVersion": "v1", "kind": "Config", "clusters": clusters, "users": users, "contexts": contexts,
        "current-context": CONTEXTS[0],
    })
    .to_string()
}

fn slice(instances: &[&Backend]) -> serde_json::Value {
    let endpoints: Vec<_> = instances
        .iter()
        .map(|instance| json!({"addresses": [instance.address.ip()], "conditions": {"ready": true}}))
        .collect();
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {
            "name": SHARED, "namespace": NAMESPACE, "labels": {"kubernetes.io/service-name": SHARED},
        },
        "addressType": "IPv4", "ports": [{"name": "http", "port": 8080}], "endpoints": endpoints,
    })
}
