//! What a core would know, and how it came to.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use lateen_adapter::{Backoff, ToCore, supervise_with};
use lateen_adapter_consul::ConsulAdapter;
use lateen_model::{Endpoint, Health, ObjectKind, Service, SourceEvent, event::Object};
use tokio::{
    sync::mpsc,
    task::JoinHandle,
    time::{Instant, timeout, timeout_at},
};

/// A wait that is longer than this has failed.
const PATIENCE: Duration = Duration::from_secs(40);

pub(crate) struct Observed {
    messages: mpsc::Receiver<ToCore>,
    supervisor: JoinHandle<()>,
    pub(crate) services: BTreeMap<String, Arc<Service>>,
    pub(crate) endpoints: BTreeMap<String, Arc<[Endpoint]>>,
    pub(crate) documents: BTreeMap<String, String>,
    pub(crate) invalid: BTreeMap<String, String>,
    pub(crate) failed: Option<String>,
    /// Listings that ended.
    pub(crate) listings: usize,
    pub(crate) removals: usize,
    /// Each upsert, by what it was about.
    pub(crate) told: Vec<(ObjectKind, String)>,
    seen: Option<Vec<(ObjectKind, String)>>,
}

impl Drop for Observed {
    fn drop(&mut self) {
        self.supervisor.abort();
    }
}

impl Observed {
    pub(crate) fn start(flag: &str) -> Self {
        let (core, messages) = mpsc::channel(4);
        let backoff = Backoff { first: Duration::from_millis(10), max: Duration::from_millis(200) };
        let adapter = Box::new(ConsulAdapter::from_flag(flag).unwrap());
        Self {
            messages,
            supervisor: tokio::spawn(supervise_with(adapter, core, backoff)),
            services: BTreeMap::new(),
            endpoints: BTreeMap::new(),
            documents: BTreeMap::new(),
            invalid: BTreeMap::new(),
            failed: None,
            listings: 0,
            removals: 0,
            told: Vec::new(),
            seen: None,
        }
    }

    pub(crate) async fn listed(flag: &str) -> Self {
        let mut observed = Self::start(flag);
        observed.until("the first listing", |observed| observed.listings == 1).await;
        observed
    }

    pub(crate) async fn until(&mut self, what: &str, is: impl Fn(&Self) -> bool) {
        let waited = timeout(PATIENCE, async {
            while !is(self) {
                let message = self.messages.recv().await.expect("the adapter goes on");
                self.take(message);
            }
        });
        let in_time = waited.await.is_ok();
        assert!(
            in_time,
            "waited in vain for {what}: failed {:?}, services {:?}, health {:?}, documents {:?}",
            self.failed,
            self.services.keys(),
            self.endpoints.keys().map(|name| (name, self.health(name))).collect::<Vec<_>>(),
            self.documents
        );
    }

    /// Takes all that comes within a time.
    pub(crate) async fn during(&mut self, time: Duration) {
        let end = Instant::now() + time;
        while let Ok(message) = timeout_at(end, self.messages.recv()).await {
            self.take(message.expect("the adapter goes on"));
        }
    }

    pub(crate) fn health(&self, name: &str) -> Vec<Health> {
        self.endpoints
            .get(name)
            .into_iter()
            .flat_map(|all| all.iter().map(|endpoint| endpoint.health))
            .collect()
    }

    pub(crate) fn times_told(&self, kind: ObjectKind, name: &str) -> usize {
        self.told.iter().filter(|(of, told)| *of == kind && told == name).count()
    }

    fn take(&mut self, message: ToCore) {
        match message {
            ToCore::Events(_, events) => events.into_iter().for_each(|event| self.event(event)),
            ToCore::Failed(_, why) => {
                self.failed = Some(why);
                self.seen = None;
            }
            ToCore::Recovered(_) => self.failed = None,
        }
    }

    fn event(&mut self, event: SourceEvent) {
        match event {
            SourceEvent::Resync(_) => _ = self.seen.get_or_insert_default(),
            SourceEvent::Synced(scope) => {
                // The last of the three scopes.
                if scope.kind == ObjectKind::Endpoints {
                    let seen = self.seen.take().expect("a listing that began");
                    let kept = |kind, name: &String| seen.contains(&(kind, name.clone()));
                    let before = self.count();
                    self.services.retain(|name, _| kept(ObjectKind::Service, name));
                    self.endpoints.retain(|name, _| kept(ObjectKind::Endpoints, name));
                    self.documents.retain(|name, _| kept(ObjectKind::Document, name));
                    self.removals += before - self.count();
                    self.listings += 1;
                }
            }
            SourceEvent::Upsert { id, object } => {
                let name = id.name.to_string();
                self.invalid.remove(&name);
                self.told.push((id.kind, name.clone()));
                if let Some(seen) = &mut self.seen {
                    seen.push((id.kind, name.clone()));
                }
                match object {
                    Object::Service(service) => _ = self.services.insert(name, service),
                    Object::Endpoints { endpoints, .. } => _ = self.endpoints.insert(name, endpoints),
                    Object::Document(document) => {
                        let text = String::from_utf8(document.body.to_vec()).unwrap();
                        self.documents.insert(name, text);
                    }
                }
            }
            SourceEvent::Remove { id } => {
                let name = id.name.to_string();
                let before = self.count();
                match id.kind {
                    ObjectKind::Service => _ = self.services.remove(&name),
                    ObjectKind::Endpoints => _ = self.endpoints.remove(&name),
                    ObjectKind::Document => _ = self.documents.remove(&name),
                }
                self.removals += before - self.count();
            }
            SourceEvent::Invalid { id, diagnostic } => {
                if let Some(seen) = &mut self.seen {
                    seen.push((id.kind, id.name.to_string()));
                }
                self.invalid.insert(id.name.to_string(), diagnostic.to_string());
            }
        }
    }

    fn count(&self) -> usize {
        self.services.len() + self.endpoints.len() + self.documents.len()
    }
}
