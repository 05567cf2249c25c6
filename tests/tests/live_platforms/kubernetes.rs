//! Kubernetes: each instance is a pod; the endpoint slices are the controllers' work.

use std::{collections::BTreeMap, net::SocketAddr, time::Instant};

use anyhow::Context;
use futures::StreamExt;
use kube::api::{WatchEvent, WatchParams};
use lateen_test_servers::kubernetes::{Kubernetes, Options};
use lateen_tests::{backend::Backend, cluster::Cluster, netns};
use serde_json::{Value, json};

use crate::{
    platform::{Change, NAMESPACE, Platform, SERVICE},
    watch::{Seen, Watch},
};

/// Where all pods listen, each at its address.
const PORT: u16 = 8080;

/// A cluster, and the pods that the test runs for it.
pub struct OnKubernetes {
    cluster: Cluster,
    pods: BTreeMap<String, Backend>,
}

impl OnKubernetes {
    pub async fn start() -> anyhow::Result<Self> {
        let cluster = Cluster::of(Kubernetes::start(Options { controllers: true }).await?).await?;
        cluster.define().await?;
        cluster.add_machine().await?;
        for object in [
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}),
            json!({
                "apiVersion": "v1", "kind": "Service",
                "metadata": {"name": SERVICE, "namespace": NAMESPACE},
                "spec": {
                    "selector": {"app": SERVICE}, "ports": [{"name": "http", "port": 80, "targetPort": PORT}],
                },
            }),
        ] {
            cluster.apply(&object).await?;
        }
        Ok(Self { cluster, pods: BTreeMap::new() })
    }
}

impl Platform for OnKubernetes {
    const NAME: &'static str = "Kubernetes";

    fn adapter(&self) -> String {
        self.cluster.adapter()
    }

    async fn configure(&mut self, _name: &str, document: &str) -> anyhow::Result<()> {
        self.cluster.apply_all(document).await
    }

    async fn watch(&self) -> anyhow::Result<Watch> {
        let slices = json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {"name": SERVICE, "namespace": NAMESPACE},
        });
        let slices = self.cluster.api(&slices)?;
        let events = slices.watch(&WatchParams::default(), "0").await?.boxed();
        Ok(Watch::stream(events.filter_map(async |event| match event.ok()? {
            WatchEvent::Added(slice) | WatchEvent::Modified(slice) => serde_json::to_value(slice).ok(),
            WatchEvent::Deleted(_) | WatchEvent::Bookmark(_) | WatchEvent::Error(_) => None,
        })))
    }

    async fn start(&mut self, name: &str) -> anyhow::Result<()> {
        let backend = Backend::http_at(name, (netns::address(), PORT).into())?;
        self.cluster.run_pod(NAMESPACE, name, SERVICE, backend.address.ip()).await?;
        self.pods.insert(name.to_owned(), backend);
        Ok(())
    }

    async fn drain(&mut self, name: &str) -> anyhow::Result<()> {
        self.cluster.delete_pod(NAMESPACE, name).await
    }

    async fn end(&mut self, name: &str) -> anyhow::Result<()> {
        drop(self.pods.remove(name).context("a pod")?);
        self.cluster.remove_pod(NAMESPACE, name).await
    }

    /// It is gone at once, without the time that a pod has to terminate.
    async fn fail(&mut self, name: &str) -> anyhow::Result<()> {
        self.cluster.remove_pod(NAMESPACE, name).await
    }

    fn told(&self, name: &str, change: Change, since: &[Seen]) -> Option<Instant> {
        let ip = self.pods.get(name)?.address.ip().to_string();
        let ready =
            |endpoint: &Value| endpoint["addresses"][0] == *ip && endpoint["conditions"]["ready"] == true;
        let there = |seen: &Seen| seen.body["endpoints"].as_array().into_iter().flatten().any(ready);
        since.iter().find(|seen| there(seen) == (change == Change::Comes)).map(|seen| seen.at)
    }

    fn address(&self, name: &str, _seen: &[Seen]) -> Option<SocketAddr> {
        self.pods.get(name).map(|backend| backend.address)
    }
}
