//! What a core has understood.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use etcd_client::Client;
use lateen_adapter::{Backoff, ToCore, supervise_with};
use lateen_adapter_etcd::EtcdAdapter;
use lateen_model::{Diagnostic, Endpoint, ObjectId, ObjectKind, Scope, Service, SourceEvent, event::Object};
use tokio::{sync::mpsc, task::JoinHandle, time::timeout};

/// A wait that is longer than this has failed; builds may keep the machine busy.
const PATIENCE: Duration = Duration::from_mins(1);

/// A core that listens to one adapter.
pub struct Mesh {
    messages: mpsc::Receiver<ToCore>,
    supervisor: JoinHandle<()>,
    pub objects: BTreeMap<ObjectId, Object>,
    pub invalid: BTreeMap<ObjectId, Diagnostic>,
    open: Vec<(Scope, BTreeSet<ObjectId>)>,
    /// Listings that ended.
    pub synced: usize,
    /// Why the source can't be read at present.
    pub failed: Option<String>,
    /// How often it could not.
    pub failures: usize,
    /// Events that changed something, or could have.
    pub events: usize,
    /// Objects that went.
    pub removed: Vec<ObjectId>,
}

impl Drop for Mesh {
    fn drop(&mut self) {
        self.supervisor.abort();
    }
}

impl Mesh {
    /// Starts an adapter by its flag.
    pub fn start(flag: &str) -> Self {
        // What it logs is shown when a test fails.
        let log = tracing_subscriber::fmt().with_env_filter("lateen_adapter_etcd=debug").with_test_writer();
        let _ = log.try_init();
        let adapter = Box::new(EtcdAdapter::from_flag(flag).unwrap());
        let (core, messages) = mpsc::channel(4);
        let backoff = Backoff { first: Duration::from_millis(20), max: Duration::from_millis(500) };
        Self {
            messages,
            supervisor: tokio::spawn(supervise_with(adapter, core, backoff)),
            objects: BTreeMap::new(),
            invalid: BTreeMap::new(),
            open: Vec::new(),
            synced: 0,
            failed: None,
            failures: 0,
            events: 0,
            removed: Vec::new(),
        }
    }

    /// One that has listed everything.
    pub async fn synced(flag: &str) -> Self {
        let mut mesh = Self::start(flag);
        mesh.until("the first listing", Self::is_synced).await;
        mesh
    }

    pub fn is_synced(&self) -> bool {
        self.synced >= 3 && self.open.is_empty()
    }

    pub async fn until(&mut self, what: &str, is: impl Fn(&Self) -> bool) {
        let waited = timeout(PATIENCE, async {
            while !is(self) {
                let message = self.messages.recv().await.expect("the adapter goes on");
                self.take(message);
            }
        });
        let waited = waited.await;
        assert!(
            waited.is_ok(),
            "waited in vain for {what}; failed: {:?}, {:#?}",
            self.failed,
            self.objects.keys()
        );
    }

    fn take(&mut self, message: ToCore) {
        match message {
            ToCore::Events(_, events) => events.into_iter().for_each(|event| self.event(event)),
            ToCore::Failed(_, why) => {
                self.failed = Some(why);
                self.failures += 1;
                self.open.clear();
            }
            ToCore::Recovered(_) => self.failed = None,
        }
    }

    fn event(&mut self, event: SourceEvent) {
        match event {
            SourceEvent::Resync(scope) => self.open.push((scope, BTreeSet::new())),
            SourceEvent::Synced(scope) => {
                let at = self.open.iter().position(|(open, _)| *open == scope).expect("it was opened");
                let (_, seen) = self.open.remove(at);
                let gone = |id: &ObjectId| scope.contains(id) && !seen.contains(id);
                self.removed.extend(self.objects.keys().filter(|id| gone(id)).cloned());
                self.objects.retain(|id, _| !gone(id));
                self.invalid.retain(|id, _| !gone(id));
                self.synced += 1;
            }
            SourceEvent::Upsert { id, object } => {
                self.see(&id);
                self.invalid.remove(&id);
                self.objects.insert(id, object);
            }
            SourceEvent::Remove { id } => {
                self.events += 1;
                self.invalid.remove(&id);
                if self.objects.remove(&id).is_some() {
                    self.removed.push(id);
                }
            }
            SourceEvent::Invalid { id, diagnostic } => {
                self.see(&id);
                self.invalid.insert(id, diagnostic);
            }
        }
    }

    fn see(&mut self, id: &ObjectId) {
        self.events += 1;
        for (scope, seen) in &mut self.open {
            if scope.contains(id) {
                seen.insert(id.clone());
            }
        }
    }

    pub fn service(&self, name: &str) -> Option<&Service> {
        match self.objects.get(&ObjectId { kind: ObjectKind::Service, name: name.into() }) {
            Some(Object::Service(service)) => Some(service),
            _ => None,
        }
    }

    pub fn endpoints(&self, name: &str) -> &[Endpoint] {
        match self.objects.get(&ObjectId { kind: ObjectKind::Endpoints, name: name.into() }) {
            Some(Object::Endpoints { endpoints, .. }) => endpoints,
            _ => &[],
        }
    }

    /// `ADDRESS` of each instance of a service, in order.
    pub fn addresses(&self, name: &str) -> Vec<String> {
        self.endpoints(name).iter().map(|endpoint| endpoint.address.to_string()).collect()
    }

    /// The text of a document.
    pub fn document(&self, key: &str) -> Option<&str> {
        match self.objects.get(&ObjectId { kind: ObjectKind::Document, name: key.into() }) {
            Some(Object::Document(document)) => std::str::from_utf8(&document.body).ok(),
            _ => None,
        }
    }

    pub fn finding(&self, kind: ObjectKind, name: &str) -> Option<&str> {
        self.invalid.get(&ObjectId { kind, name: name.into() }).map(|finding| &*finding.message)
    }
}

pub async fn client(url: &str) -> Client {
    Client::connect([url], None).await.unwrap()
}

/// Writes a key below the prefix.
pub async fn put(client: &mut Client, name: &str, value: impl Into<Vec<u8>>) {
    client.put(format!("/lateen/{name}"), value, None).await.unwrap();
}

/// Removes a key below the prefix.
pub async fn delete(client: &mut Client, name: &str) {
    client.delete(format!("/lateen/{name}"), None).await.unwrap();
}

/// Waits until it has what a new adapter lists, and nothing else.
pub async fn equals_a_fresh_listing(mesh: &mut Mesh, flag: &str) {
    let fresh = Mesh::synced(flag).await;
    let expected = fresh.objects.clone();
    mesh.until("what a fresh listing has", |mesh| mesh.objects == expected).await;
    assert_eq!(mesh.invalid, fresh.invalid);
}
