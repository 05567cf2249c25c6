//! What a core would know: the events of an adapter, put together.

#![allow(dead_code, clippy::unwrap_used, reason = "shared by several tests, none of which uses all of it")]

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use lateen_adapter::{Adapter, Backoff, ToCore, supervise_with};
use lateen_adapter_nomad::NomadAdapter;
use lateen_model::{Endpoint, Health, ObjectId, ObjectKind, Scope, Service, SourceEvent, event::Object};
use tokio::{sync::mpsc, task::JoinHandle, time::timeout};

/// A wait that is longer than this has failed.
const PATIENCE: Duration = Duration::from_mins(1);

/// An adapter under supervision and what it said.
pub struct Heard {
    messages: mpsc::Receiver<ToCore>,
    supervisor: JoinHandle<()>,
    open: Vec<(Scope, Vec<ObjectId>)>,
    pub synced: usize,
    pub services: BTreeMap<Arc<str>, Arc<Service>>,
    pub endpoints: BTreeMap<Arc<str>, Arc<[Endpoint]>>,
    /// Endpoints as they were told, in order.
    pub history: Vec<(Arc<str>, Arc<[Endpoint]>)>,
    pub documents: BTreeMap<Arc<str>, String>,
    pub failed: Option<String>,
    pub removals: usize,
    pub events: usize,
}

impl Drop for Heard {
    fn drop(&mut self) {
        self.supervisor.abort();
    }
}

impl Heard {
    pub fn start(flag: &str) -> Self {
        Self::of(Box::new(NomadAdapter::from_flag(flag).unwrap()))
    }

    pub fn of(adapter: Box<dyn Adapter>) -> Self {
        let (core, messages) = mpsc::channel(4);
        let backoff = Backoff { first: Duration::from_millis(20), max: Duration::from_millis(300) };
        Self {
            messages,
            supervisor: tokio::spawn(supervise_with(adapter, core, backoff)),
            open: Vec::new(),
            synced: 0,
            services: BTreeMap::new(),
            endpoints: BTreeMap::new(),
            history: Vec::new(),
            documents: BTreeMap::new(),
            failed: None,
            removals: 0,
            events: 0,
        }
    }

    /// One that has listed everything.
    pub async fn synced(flag: &str) -> Self {
        let mut heard = Self::start(flag);
        heard.until("the first listing", |heard| heard.synced > 0 && heard.open.is_empty()).await;
        heard
    }

    /// Waits until this is so.
    pub async fn until(&mut self, what: &str, is: impl Fn(&Self) -> bool) {
        let waited = timeout(PATIENCE, async {
            while !is(self) {
                let message = self.messages.recv().await.expect("the supervisor runs");
                self.take(message);
            }
        });
        let came = waited.await.is_ok();
        assert!(came, "waited in vain for {what}: {:?}, {:?}", self.failed, self.endpoints);
    }

    /// Waits until a service has as many healthy instances, and no other.
    pub async fn until_healthy(&mut self, service: &str, count: usize) {
        let what = format!("{count} healthy instances of {service}");
        self.until(&what, |heard| {
            let health = heard.health(service);
            health.len() == count && health.iter().all(|health| *health == Health::Healthy)
        })
        .await;
    }

    /// Takes what is there already.
    pub fn drain(&mut self) {
        while let Ok(message) = self.messages.try_recv() {
            self.take(message);
        }
    }

    pub fn health(&self, service: &str) -> Vec<Health> {
        self.endpoints(service).iter().map(|endpoint| endpoint.health).collect()
    }

    pub fn endpoints(&self, service: &str) -> &[Endpoint] {
        self.endpoints.get(service).map(|endpoints| &**endpoints).unwrap_or_default()
    }

    /// Values of a label, in order of the instances.
    pub fn labels(&self, service: &str, key: &str) -> Vec<&str> {
        let labels = self.endpoints(service).iter().filter_map(|endpoint| endpoint.labels.get(key));
        labels.map(|value| &**value).collect()
    }

    fn take(&mut self, message: ToCore) {
        match message {
            ToCore::Events(_, events) => {
                self.events += events.len();
                for event in events {
                    self.event(event);
                }
            }
            ToCore::Failed(_, why) => {
                self.failed = Some(why);
                self.open.clear();
            }
            ToCore::Recovered(_) => self.failed = None,
        }
    }

    fn event(&mut self, event: SourceEvent) {
        match event {
            SourceEvent::Resync(scope) => self.open.push((scope, Vec::new())),
            SourceEvent::Synced(scope) => {
                let at = self.open.iter().position(|(open, _)| *open == scope).unwrap();
                let (_, seen) = self.open.remove(at);
                let names = |kind| {
                    let of_kind = move |id: &&ObjectId| id.kind == kind;
                    seen.iter().filter(of_kind).map(|id| id.name.clone()).collect::<Vec<_>>()
                };
                let before = self.services.len() + self.endpoints.len() + self.documents.len();
                match scope.kind {
                    ObjectKind::Service => {
                        self.services.retain(|name, _| names(ObjectKind::Service).contains(name));
                    }
                    ObjectKind::Endpoints => {
                        self.endpoints.retain(|name, _| names(ObjectKind::Endpoints).contains(name));
                    }
                    ObjectKind::Document => {
                        self.documents.retain(|name, _| names(ObjectKind::Document).contains(name));
                    }
                }
                self.removals += before - (self.services.len() + self.endpoints.len() + self.documents.len());
                self.synced += 1;
            }
            SourceEvent::Upsert { id, object } => {
                self.see(&id);
                match object {
                    Object::Service(service) => drop(self.services.insert(id.name, service)),
                    Object::Endpoints { endpoints, .. } => {
                        self.history.push((id.name.clone(), endpoints.clone()));
                        self.endpoints.insert(id.name, endpoints);
                    }
                    Object::Document(document) => {
                        let body = String::from_utf8(document.body.to_vec()).unwrap();
                        self.documents.insert(id.name, body);
                    }
                }
            }
            SourceEvent::Remove { id } => {
                let gone = match id.kind {
                    ObjectKind::Service => self.services.remove(&id.name).is_some(),
                    ObjectKind::Endpoints => self.endpoints.remove(&id.name).is_some(),
                    ObjectKind::Document => self.documents.remove(&id.name).is_some(),
                };
                self.removals += usize::from(gone);
            }
            SourceEvent::Invalid { id, .. } => self.see(&id),
        }
    }

    fn see(&mut self, id: &ObjectId) {
        for (scope, seen) in &mut self.open {
            if scope.contains(id) {
                seen.push(id.clone());
            }
        }
    }
}
