//! A Kubernetes cluster without machines, and what is written to it. The test is its kubelet.

use std::{net::IpAddr, path::Path, time::Duration};

use anyhow::Context;
use kube::{
    Client, Config,
    api::{Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams},
    config::{KubeConfigOptions, Kubeconfig},
    core::{ApiResource, GroupVersionKind},
};
use lateen_test_servers::kubernetes::{Kubernetes, User};
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

/// How long a kind may take until it can be used.
const PATIENCE: Duration = Duration::from_mins(2);
/// The name of the machine that pods run on.
const MACHINE: &str = "machine";

/// Servers, and a client that may everything.
#[derive(Debug)]
pub struct Cluster {
    /// The servers.
    pub servers: Kubernetes,
    client: ApiClient,
}

/// kube's client says nothing of itself.
#[derive(Clone)]
struct ApiClient(Client);

impl std::fmt::Debug for ApiClient {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("ApiClient")
    }
}

impl Cluster {
    /// A client for servers that run.
    pub async fn of(servers: Kubernetes) -> anyhow::Result<Self> {
        let kubeconfig = Kubeconfig::read_from(servers.kubeconfig(User::Admin))?;
        let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
        Ok(Self { client: ApiClient(Client::try_from(config)?), servers })
    }

    /// The `--adapter` flag's value.
    pub fn adapter(&self) -> String {
        format!("kubernetes=?kubeconfig={}", self.servers.kubeconfig(User::Admin).display())
    }

    /// Defines Istio's and the Gateway API's kinds as a user does.
    pub async fn define(&self) -> anyhow::Result<()> {
        let crds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/kubernetes/crds.yaml");
        self.apply_all(&std::fs::read_to_string(crds)?).await
    }

    /// Creates or changes every object of a text.
    pub async fn apply_all(&self, text: &str) -> anyhow::Result<()> {
        for object in serde_saphyr::from_multiple::<Value>(text)? {
            self.apply(&object).await?;
        }
        Ok(())
    }

    /// Creates or changes an object.
    pub async fn apply(&self, object: &Value) -> anyhow::Result<()> {
        let (api, name) = self.place(object)?;
        // A kind can be used some time after it was defined.
        let served = async {
            while api.list(&ListParams::default().limit(1)).await.is_err() {
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(PATIENCE, served).await.with_context(|| format!("{} is not served", object["kind"]))?;
        api.patch(name, &PatchParams::apply("test").force(), &Patch::Apply(object)).await?;
        Ok(())
    }

    /// Objects of the kind and in the namespace of this one.
    pub fn api(&self, object: &Value) -> anyhow::Result<Api<DynamicObject>> {
        Ok(self.place(object)?.0)
    }

    fn place<'a>(&self, object: &'a Value) -> anyhow::Result<(Api<DynamicObject>, &'a str)> {
        let text = |at: &str| object.pointer(at).and_then(Value::as_str).unwrap_or_default();
        let (group, version) = text("/apiVersion").rsplit_once('/').unwrap_or(("", text("/apiVersion")));
        let mut resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, text("/kind")));
        if text("/kind") == "Gateway" {
            // What is guessed from the name is wrong.
            "gateways".clone_into(&mut resource.plural);
        }
        let client = self.client.0.clone();
        let api = match text("/metadata/namespace") {
            "" => Api::all_with(client, &resource),
            namespace => Api::namespaced_with(client, namespace, &resource),
        };
        let name = object.pointer("/metadata/name").and_then(Value::as_str).context("a name")?;
        Ok((api, name))
    }

    /// A machine for pods, which is not there. The controllers leave out pods whose machine they don't know.
    pub async fn add_machine(&self) -> anyhow::Result<()> {
        let zone = json!({"topology.kubernetes.io/region": "r1", "topology.kubernetes.io/zone": "z1"});
        let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": MACHINE, "labels": zone}});
        self.apply(&node).await
    }

    /// A pod on the machine: as its kubelet would, the test says that it runs at `ip` and is ready. The endpoint
    /// slices are then the controllers' work.
    pub async fn run_pod(&self, namespace: &str, name: &str, app: &str, ip: IpAddr) -> anyhow::Result<()> {
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "namespace": namespace, "labels": {"app": app}},
            "spec": {"nodeName": MACHINE, "containers": [{"name": app, "image": "none"}]},
        });
        let (api, _) = self.place(&pod)?;
        let by = PatchParams::apply("test").force();
        api.patch(name, &by, &Patch::Apply(&pod)).await?;
        let status = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": namespace},
            "status": {
                "phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}],
                "conditions": [{"type": "Ready", "status": "True"}],
            },
        });
        api.patch_status(name, &by, &Patch::Apply(&status)).await?;
        Ok(())
    }

    /// Asks a pod to end: it terminates, and is gone when [`Self::remove_pod`] says that it has ended.
    pub async fn delete_pod(&self, namespace: &str, name: &str) -> anyhow::Result<()> {
        self.end_pod(namespace, name, 30).await
    }

    /// Says, as a kubelet does, that a pod has ended.
    pub async fn remove_pod(&self, namespace: &str, name: &str) -> anyhow::Result<()> {
        self.end_pod(namespace, name, 0).await
    }

    async fn end_pod(&self, namespace: &str, name: &str, grace: u32) -> anyhow::Result<()> {
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": namespace}
        });
        let grace = DeleteParams { grace_period_seconds: Some(grace), ..DeleteParams::default() };
        self.api(&pod)?.delete(name, &grace).await?;
        Ok(())
    }
}
