//! A cluster for tests, what is written to it, and what a core hears from an adapter of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use kube::{
    Client, Config,
    api::{Api, DeleteParams, DynamicObject, Patch, PatchParams},
    config::{KubeConfigOptions, Kubeconfig},
    core::{ApiResource, GroupVersionKind},
};
use lateen_adapter::{Backoff, ToCore, supervise_with};
use lateen_adapter_kubernetes::KubernetesAdapter;
use lateen_model::{Diagnostic, SourceEvent, event::Object};
use lateen_test_servers::kubernetes::{Kubernetes, Options, User};
use serde_json::{Value, json};
use tokio::{sync::mpsc, task::JoinHandle, time::timeout};

/// A wait that is longer than this has failed.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// A cluster in which our kinds are defined.
pub struct Cluster {
    pub servers: Kubernetes,
    pub client: Client,
}

impl Cluster {
    pub async fn start() -> Self {
        let cluster = Self::bare(Options::default()).await;
        cluster.define().await;
        cluster
    }

    /// One without our kinds.
    pub async fn bare(options: Options) -> Self {
        let servers = Kubernetes::start(options).await.unwrap();
        let client = client(&servers.kubeconfig(User::Admin)).await;
        Self { servers, client }
    }

    /// Defines our kinds.
    pub async fn define(&self) {
        for definition in definitions() {
            self.put(&definition).await;
        }
        // A kind can be used some time after it was defined.
        let used = async {
            for (group, kind) in [("networking.istio.io", "Sidecar"), ("lateen.io", "MeshConfig")] {
                while self
                    .api(group, "v1", kind, "default")
                    .list(&kube::api::ListParams::default())
                    .await
                    .is_err()
                {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        };
        timeout(PATIENCE, used).await.expect("the kinds are served");
    }

    pub fn api(&self, group: &str, version: &str, kind: &str, namespace: &str) -> Api<DynamicObject> {
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
        let resource = match kind {
            // What is guessed from these names is wrong.
            "Gateway" => ApiResource { plural: "gateways".to_owned(), ..resource },
            _ => resource,
        };
        match namespace {
            "" => Api::all_with(self.client.clone(), &resource),
            namespace => Api::namespaced_with(self.client.clone(), namespace, &resource),
        }
    }

    fn api_of(&self, object: &Value) -> (Api<DynamicObject>, String) {
        let text = |at: &str| object.pointer(at).and_then(Value::as_str).unwrap_or_default();
        let (group, version) = text("/apiVersion").rsplit_once('/').unwrap_or(("", text("/apiVersion")));
        let api = self.api(group, version, text("/kind"), text("/metadata/namespace"));
        (api, text("/metadata/name").to_owned())
    }

    /// Creates or changes an object.
    pub async fn put(&self, object: &Value) {
        let (api, name) = self.api_of(object);
        let by = PatchParams::apply("test").force();
        api.patch(&name, &by, &Patch::Apply(object)).await.unwrap();
    }

    /// Sets an object's status.
    pub async fn put_status(&self, object: &Value) {
        let (api, name) = self.api_of(object);
        let by = PatchParams::apply("test").force();
        api.patch_status(&name, &by, &Patch::Apply(object)).await.unwrap();
    }

    pub async fn delete(&self, object: &Value) {
        let (api, name) = self.api_of(object);
        let at_once = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
        api.delete(&name, &at_once).await.unwrap();
    }

    pub async fn get(&self, object: &Value) -> Value {
        let (api, name) = self.api_of(object);
        serde_json::to_value(api.get(&name).await.unwrap()).unwrap()
    }

    /// The flag's value for an adapter that is this user, through this address.
    pub fn flag(&self, user: User, through: Option<SocketAddr>) -> String {
        let path = match through {
            Some(address) => self.servers.kubeconfig_through(user, address).unwrap(),
            None => self.servers.kubeconfig(user),
        };
        format!("?kubeconfig={}", path.display())
    }
}

async fn client(kubeconfig: &Path) -> Client {
    let kubeconfig = Kubeconfig::read_from(kubeconfig).unwrap();
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
    Client::try_from(config).unwrap()
}

/// The definitions of our kinds: ours, or in their place those of the files in `LATEEN_TEST_CRDS`, with colons
/// between, such as Istio's and the Gateway API's own.
fn definitions() -> Vec<Value> {
    let name = |definition: &Value| definition["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    let mut all: BTreeMap<String, Value> =
        manifest("crds.yaml").into_iter().map(|definition| (name(&definition), definition)).collect();
    let files = std::env::var("LATEEN_TEST_CRDS").unwrap_or_default();
    for definition in
        files.split(':').filter(|file| !file.is_empty()).flat_map(|file| documents(Path::new(file)))
    {
        assert_eq!(definition["kind"], "CustomResourceDefinition");
        all.insert(name(&definition), definition);
    }
    all.into_values().collect()
}

/// The documents of a manifest that is delivered.
pub fn manifest(name: &str) -> Vec<Value> {
    let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), "../../deploy/kubernetes", name].iter().collect();
    documents(&path)
}

fn documents(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    text.split("\n---\n")
        .map(|document| serde_saphyr::from_str::<Value>(document).unwrap())
        .filter(|document| !document.is_null())
        .collect()
}

/// A service of one port.
pub fn service(namespace: &str, name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": namespace},
        "spec": {"ports": [{"name": "http", "port": 80, "targetPort": 8080}]},
    })
}

/// A slice of a service, with one ready endpoint for each address.
pub fn slice(namespace: &str, name: &str, service: &str, addresses: &[&str]) -> Value {
    let endpoints: Vec<Value> = addresses
        .iter()
        .map(|address| json!({"addresses": [address], "conditions": {"ready": true}}))
        .collect();
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": name, "namespace": namespace, "labels": {"kubernetes.io/service-name": service}},
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
        "endpoints": endpoints,
    })
}

/// A `VirtualService` to a host.
pub fn virtual_service(namespace: &str, name: &str, host: &str) -> Value {
    json!({
        "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"hosts": [host], "http": [{"route": [{"destination": {"host": host}}]}]},
    })
}

pub fn namespace(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
}

/// What a core hears.
pub struct Core {
    messages: mpsc::Receiver<ToCore>,
    supervisor: JoinHandle<()>,
    /// Documents by name.
    pub held: BTreeMap<String, Value>,
    pub invalid: BTreeMap<String, Diagnostic>,
    open: BTreeMap<String, BTreeSet<String>>,
    /// Scopes whose listing ended, with how often.
    pub synced: BTreeMap<String, usize>,
    /// Why it can't be read at present.
    pub stale: Option<String>,
    /// Names of upserts and removals since this was last emptied.
    pub told: Vec<String>,
    /// Are documents dropped, and only their names kept?
    pub forgets: bool,
}

impl Drop for Core {
    fn drop(&mut self) {
        self.supervisor.abort();
    }
}

impl Core {
    pub fn listen(flag: &str) -> Self {
        Self::listen_to(KubernetesAdapter::from_flag(flag).unwrap())
    }

    pub fn listen_to(adapter: KubernetesAdapter) -> Self {
        let (core, messages) = mpsc::channel(4);
        let backoff = Backoff { first: Duration::from_millis(50), max: Duration::from_secs(1) };
        Self {
            messages,
            supervisor: tokio::spawn(supervise_with(Box::new(adapter), core, backoff)),
            held: BTreeMap::new(),
            invalid: BTreeMap::new(),
            open: BTreeMap::new(),
            synced: BTreeMap::new(),
            stale: None,
            told: Vec::new(),
            forgets: false,
        }
    }

    /// One whose first listing is done.
    pub async fn synced(flag: &str) -> Self {
        let mut core = Self::listen(flag);
        core.until("the first listing", Self::is_synced).await;
        core
    }

    pub fn is_synced(&self) -> bool {
        !self.synced.is_empty() && self.open.is_empty()
    }

    pub async fn until(&mut self, what: &str, is: impl Fn(&Self) -> bool) {
        let waited = timeout(PATIENCE, async {
            while !is(self) {
                let message = self.messages.recv().await.expect("the adapter goes on");
                self.take(message);
            }
        });
        if waited.await.is_err() {
            let held: Vec<_> = self.held.keys().collect();
            panic!(
                "waited in vain for {what}; stale: {:?}, open: {:?}, held: {held:?}",
                self.stale, self.open
            );
        }
    }

    fn take(&mut self, message: ToCore) {
        match message {
            ToCore::Events(_, events) => events.into_iter().for_each(|event| self.event(event)),
            ToCore::Failed(_, why) => {
                self.stale = Some(why);
                self.open.clear();
            }
            ToCore::Recovered(_) => assert!(self.stale.take().is_some(), "recovered without having failed"),
        }
    }

    fn event(&mut self, event: SourceEvent) {
        match event {
            SourceEvent::Resync(scope) => {
                let before = self.open.insert(scope.prefix.to_string(), BTreeSet::new());
                assert_eq!(before, None, "{} was opened twice", scope.prefix);
            }
            SourceEvent::Synced(scope) => {
                let seen = self.open.remove(&*scope.prefix).expect("a listing that ends had begun");
                self.held.retain(|name, _| !name.starts_with(&*scope.prefix) || seen.contains(name));
                self.invalid.retain(|name, _| !name.starts_with(&*scope.prefix) || seen.contains(name));
                *self.synced.entry(scope.prefix.to_string()).or_default() += 1;
            }
            SourceEvent::Upsert { id, object } => {
                let Object::Document(document) = object else { panic!("{id:?} is no document") };
                self.see(&id.name);
                self.invalid.remove(&*id.name);
                let object =
                    if self.forgets { Value::Null } else { serde_json::from_slice(&document.body).unwrap() };
                self.held.insert(id.name.to_string(), object);
            }
            SourceEvent::Remove { id } => {
                self.told.push(id.name.to_string());
                self.held.remove(&*id.name);
                self.invalid.remove(&*id.name);
            }
            SourceEvent::Invalid { id, diagnostic } => {
                self.see(&id.name);
                self.invalid.insert(id.name.to_string(), diagnostic);
            }
        }
    }

    fn see(&mut self, name: &str) {
        self.told.push(name.to_owned());
        for (prefix, seen) in &mut self.open {
            if name.starts_with(&**prefix) {
                seen.insert(name.to_owned());
            }
        }
    }

    pub fn has(&self, name: &str) -> bool {
        self.held.contains_key(name)
    }
}
