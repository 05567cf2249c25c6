//! The contract suite. Each backend is a namespace of its own in one cluster, read through a relay of its own.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use async_trait::async_trait;
use lateen_adapter::{
    Adapter,
    contract::{self, Backend, CASES},
};
use lateen_adapter_kubernetes::KubernetesAdapter;
use lateen_model::ObjectId;
use lateen_test_servers::{Relay, kubernetes::User};
use serde_json::{Value, json};

use crate::cluster::{Cluster, namespace, virtual_service};

/// Where a document's text is in the object that holds it.
const TEXT: &str = "contract";

struct Part {
    cluster: Arc<Cluster>,
    namespace: String,
    relay: Relay,
    flag: String,
}

impl Part {
    async fn new(cluster: Arc<Cluster>, number: usize) -> Self {
        let name = format!("part{number}");
        cluster.put(&namespace(&name)).await;
        let relay = Relay::to(cluster.servers.address()).await.unwrap();
        let flag = format!("{}&namespaces={name}", cluster.flag(User::Admin, Some(relay.address())));
        Self { cluster, namespace: name, relay, flag }
    }

    fn object(&self, name: &str, body: &str) -> Value {
        let mut object = virtual_service(&self.namespace, name, "web");
        object["metadata"]["annotations"] = json!({TEXT: body});
        object
    }
}

#[async_trait]
impl Backend for Part {
    fn adapter(&self) -> Box<dyn Adapter> {
        Box::new(KubernetesAdapter::from_flag(&self.flag).unwrap())
    }

    async fn put(&mut self, name: &str, body: &str) {
        self.cluster.put(&self.object(name, body)).await;
    }

    async fn delete(&mut self, name: &str) {
        self.cluster.delete(&self.object(name, "")).await;
    }

    async fn corrupt(&mut self, name: &str) -> bool {
        let mut object = self.object(name, "");
        object["spec"]["hosts"] = json!(["x".repeat(1_100_000)]);
        self.cluster.put(&object).await;
        true
    }

    async fn disconnect(&mut self) -> bool {
        self.relay.cut();
        true
    }

    async fn reconnect(&mut self) {
        self.relay.restore();
    }

    fn text_of(id: &ObjectId, body: &str) -> Option<String> {
        let object: Value = serde_json::from_str(body).unwrap();
        let text = object["metadata"]["annotations"][TEXT].as_str()?;
        assert!(id.name.starts_with("VirtualService.networking.istio.io/part"), "{}", id.name);
        Some(text.to_owned())
    }
}

fn operations() -> usize {
    std::env::var("LATEEN_CONTRACT_OPERATIONS").map_or(1000, |text| text.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_kubernetes_adapter_keeps_the_contract() {
    let cluster = Arc::new(Cluster::start().await);
    let number = AtomicUsize::new(0);
    let make = || Part::new(cluster.clone(), number.fetch_add(1, Ordering::Relaxed));
    let report = contract::run(make, operations()).await;
    assert_eq!(report.failed, [], "\n{report}");
    assert_eq!(report.passed, CASES, "\n{report}");
}
