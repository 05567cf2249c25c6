//! Events for a registry, and what to see in its World.

use std::{collections::BTreeSet, sync::Arc};

use lateen_config::{Kind, ObjectKey};
use lateen_model::{
    Document, Endpoint, Host, Namespace, ObjectId, ObjectKind, Scope, Service, SourceEvent, SourceId,
    event::Object,
};
use lateen_registry::{Changes, FactKey, Registry, World};

/// A registry with one source that is always listed.
pub struct Feed {
    pub registry: Registry,
    pub source: SourceId,
}

pub fn source(name: &str) -> SourceId {
    SourceId(name.into())
}

pub fn id(name: &str) -> ObjectId {
    ObjectId { kind: ObjectKind::Document, name: name.into() }
}

pub fn scope(prefix: &str) -> Scope {
    Scope { kind: ObjectKind::Document, prefix: prefix.into() }
}

pub fn upsert(name: &str, text: &str) -> SourceEvent {
    let object = Object::Document(Document { body: text.as_bytes().into() });
    SourceEvent::Upsert { id: id(name), object }
}

pub fn remove(name: &str) -> SourceEvent {
    SourceEvent::Remove { id: id(name) }
}

/// A whole listing.
pub fn listing(documents: &[(&str, &str)]) -> Vec<SourceEvent> {
    let upserts = documents.iter().map(|(name, text)| upsert(name, text));
    let mut events = vec![SourceEvent::Resync(scope(""))];
    events.extend(upserts);
    events.push(SourceEvent::Synced(scope("")));
    events
}

impl Feed {
    pub fn new() -> Self {
        let source = source("file:mesh");
        Self { registry: Registry::new(std::slice::from_ref(&source)), source }
    }

    /// A registry that knows this text.
    pub fn of(text: &str) -> Self {
        let mut feed = Self::new();
        feed.put("all.yaml", text);
        feed
    }

    pub fn apply(&mut self, event: SourceEvent) -> Changes {
        let source = self.source.clone();
        apply(&mut self.registry, &source, event)
    }

    pub fn put(&mut self, name: &str, text: &str) -> Changes {
        self.apply(upsert(name, text))
    }

    pub fn world(&self) -> &World {
        self.registry.world()
    }

    pub fn findings(&self) -> Vec<String> {
        self.registry.diagnostics().map(ToString::to_string).collect()
    }

    pub fn services(&self, host: &str) -> Vec<Service> {
        let services = self.world().services(&Host::from(host));
        services.into_iter().flat_map(|all| all.to_vec()).map(|service| (*service).clone()).collect()
    }

    pub fn service(&self, host: &str) -> Service {
        let mut all = self.services(host);
        assert_eq!(all.len(), 1, "{host}: {all:?}\n{:?}", self.findings());
        all.remove(0)
    }

    pub fn endpoints(&self, host: &str, namespace: &str) -> Vec<Endpoint> {
        let found = self.world().endpoints(&Host::from(host), &namespace.into());
        found.map(|all| all.to_vec()).unwrap_or_default()
    }

    /// Address, ports and labels of endpoints, one line each.
    pub fn shown(&self, host: &str, namespace: &str) -> Vec<String> {
        self.endpoints(host, namespace).iter().map(show).collect()
    }
}

/// Applies an event and checks that what the registry says has changed is what has.
pub fn apply(registry: &mut Registry, source: &SourceId, event: SourceEvent) -> Changes {
    let before = registry.world().clone();
    let changes = registry.apply(source, event, 0);
    let (facts, definitions) = difference(&before, registry.world());
    assert_eq!(changes.facts, facts);
    assert_eq!(changes.definitions, definitions);
    assert_eq!(changes.revision, registry.world().revision());
    for key in &changes.facts {
        assert!(registry.world().revision_of(key) > before.revision(), "{key:?}");
    }
    changes
}

/// What differs between two worlds, found the slow way.
pub fn difference(before: &World, after: &World) -> (BTreeSet<FactKey>, BTreeSet<(Namespace, Host)>) {
    let keys = before.keys().chain(after.keys());
    let facts = keys.filter(|key| before.get(key) != after.get(key)).cloned().collect();
    let mut definitions = BTreeSet::new();
    for host in before.hosts().chain(after.hosts()) {
        let (old, new) = (before.definitions(host), after.definitions(host));
        let gone = old.iter().filter(|one| !new.contains(one));
        let differing = gone.chain(new.iter().filter(|one| !old.contains(one)));
        definitions.extend(differing.map(|one| (one.namespace.clone(), host.clone())));
    }
    (facts, definitions)
}

pub fn show(endpoint: &Endpoint) -> String {
    let join = |pairs: Vec<String>| pairs.join(",");
    let ports = join(endpoint.ports.iter().map(|(name, port)| format!("{name}={port}")).collect());
    let labels = join(endpoint.labels.iter().map(|(key, value)| format!("{key}={value}")).collect());
    format!("{} [{ports}] [{labels}] {:?}", endpoint.address, endpoint.health)
}

pub fn keys(changes: &Changes) -> Vec<FactKey> {
    changes.facts.iter().cloned().collect()
}

pub fn key(kind: Kind, namespace: &str, name: &str) -> ObjectKey {
    ObjectKey::new(kind, namespace, name)
}

pub fn host(text: &str) -> Host {
    Host::from(text)
}

pub fn names<T: AsRef<str>>(of: impl IntoIterator<Item = T>) -> Vec<String> {
    of.into_iter().map(|name| name.as_ref().to_owned()).collect()
}

pub fn text(parts: &[&str]) -> String {
    parts.join("---\n")
}

pub fn shared(text: &str) -> Arc<[u8]> {
    text.as_bytes().into()
}
