//! What is known of Nomad, and what of it the core was told: pure, fed with answers and events, gives events.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use lateen_model::{
    Diagnostic, Document, Endpoint, ObjectId, ObjectKind, Origin, Scope, Service, Severity, SourceEvent,
    diagnostic::Code, event::Object,
};

use crate::{
    translate::{self, Facts, Rules},
    wire::{Alloc, Node, Registration, Variable, VariableStub},
};

/// The largest document, in bytes. Nomad itself allows a Variable 64 KiB.
const DOCUMENT_BYTES_MAX: usize = 1 << 20;
/// A Variable that exists and can't be read.
const UNREADABLE: Code = Code("LAT4301");
/// A document that is too large.
const TOO_LARGE: Code = Code("LAT4302");

/// Namespace and name.
pub(crate) type ServiceKey = (Arc<str>, Arc<str>);
/// Namespace and path.
pub(crate) type VariableKey = (Arc<str>, Arc<str>);

/// An answer about a service is older than what is known: Nomad was restored from a snapshot, or another cluster
/// answers at its address.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct WentBack;

/// Known, and told.
#[derive(Debug)]
pub(crate) struct Mirror {
    rules: Rules,
    facts: Known,
    services: BTreeMap<ServiceKey, Held>,
    /// Services with instances in an allocation.
    by_alloc: HashMap<Arc<str>, BTreeSet<ServiceKey>>,
    variables: BTreeMap<VariableKey, HeldVariable>,
}

#[derive(Debug, Default)]
struct Known {
    allocs: HashMap<Arc<str>, Alloc>,
    zones: HashMap<Arc<str>, Arc<str>>,
    /// As they were before nodes were to be read again.
    stale_zones: HashMap<Arc<str>, Arc<str>>,
}

impl Facts for Known {
    fn alloc(&self, id: &str) -> Option<&Alloc> {
        self.allocs.get(id)
    }

    fn zone(&self, node: &str) -> Arc<str> {
        let zone = self.zones.get(node).or_else(|| self.stale_zones.get(node));
        zone.cloned().unwrap_or_else(|| "".into())
    }
}

#[derive(Debug)]
struct Held {
    /// Nomad's index when it was read.
    index: u64,
    registrations: Vec<Registration>,
    service: Arc<Service>,
    endpoints: Arc<[Endpoint]>,
}

#[derive(Debug, Default)]
struct HeldVariable {
    /// `None`: it has to be read again.
    modify_index: Option<u64>,
    items: BTreeMap<Arc<str>, Arc<[u8]>>,
    /// Why it can't be read, where it can't.
    unreadable: Option<String>,
}

impl Mirror {
    pub(crate) fn new(rules: Rules) -> Self {
        Self {
            rules,
            facts: Known::default(),
            services: BTreeMap::new(),
            by_alloc: HashMap::new(),
            variables: BTreeMap::new(),
        }
    }

    /// Forgets what may be out of date after contact was lost. What documents said is kept: it is the last good
    /// state of those that can't be read when they are listed again.
    pub(crate) fn forget_services(&mut self) {
        self.facts = Known::default();
        self.services.clear();
        self.by_alloc.clear();
    }

    /// All that is known, as a full listing. The scopes are all open before one is closed.
    pub(crate) fn listing(&self) -> Vec<SourceEvent> {
        let scopes = [ObjectKind::Service, ObjectKind::Endpoints, ObjectKind::Document]
            .map(|kind| Scope { kind, prefix: "".into() });
        let mut events: Vec<_> = scopes.iter().cloned().map(SourceEvent::Resync).collect();
        for (key, held) in &self.services {
            events.push(upsert_service(key, held.service.clone()));
            events.push(upsert_endpoints(key, &held.service, held.endpoints.clone()));
        }
        for (key, held) in &self.variables {
            for (item, body) in &held.items {
                events.push(document(key, item, body));
            }
            self.invalid(key, held, &mut events);
        }
        events.extend(scopes.into_iter().map(SourceEvent::Synced));
        events
    }

    /// Names of all services.
    pub(crate) fn services(&self) -> impl Iterator<Item = &ServiceKey> {
        self.services.keys()
    }

    /// As of which index a service is known.
    pub(crate) fn index_of(&self, key: &ServiceKey) -> Option<u64> {
        self.services.get(key).map(|held| held.index)
    }

    /// Allocations and nodes that registrations name and nothing is known of.
    pub(crate) fn unknown<'a>(
        &self,
        registrations: &'a [Registration],
    ) -> (BTreeSet<&'a str>, BTreeSet<&'a str>) {
        let allocs = registrations.iter().map(|registration| registration.alloc_id.as_str());
        let nodes = registrations.iter().map(|registration| registration.node_id.as_str());
        (
            allocs.filter(|id| !id.is_empty() && !self.facts.allocs.contains_key(*id)).collect(),
            nodes.filter(|id| !id.is_empty() && !self.facts.zones.contains_key(*id)).collect(),
        )
    }

    /// A service was read.
    pub(crate) fn service(
        &mut self,
        key: &ServiceKey,
        index: u64,
        registrations: Vec<Registration>,
    ) -> Result<Vec<SourceEvent>, WentBack> {
        if self.index_of(key).is_some_and(|known| index < known) {
            return Err(WentBack);
        }
        let mut events = Vec::new();
        for registration in &registrations {
            let users = self.by_alloc.entry(registration.alloc_id.as_str().into()).or_default();
            users.insert(key.clone());
        }
        self.unlink(key, &registrations);
        if !registrations.is_empty() {
            self.render(key, index, registrations, &mut events);
        } else if self.services.remove(key).is_some() {
            events.extend([ObjectKind::Service, ObjectKind::Endpoints].map(|kind| remove(kind, key)));
        }
        Ok(events)
    }

    /// An allocation was read, or changed.
    pub(crate) fn alloc(&mut self, alloc: Alloc) -> Vec<SourceEvent> {
        let mut events = Vec::new();
        let known = self.facts.allocs.get(alloc.id.as_str());
        if known.is_some_and(|known| known.modify_index > alloc.modify_index || *known == alloc) {
            return events;
        }
        let id: Arc<str> = alloc.id.as_str().into();
        let users = self.by_alloc.get(&id).cloned().unwrap_or_default();
        if users.is_empty() && translate::is_over(&alloc) {
            self.facts.allocs.remove(&id);
            return events;
        }
        self.facts.allocs.insert(id, alloc);
        for key in users {
            if let Some(Held { index, registrations, .. }) = self.services.get_mut(&key) {
                let (index, registrations) = (*index, std::mem::take(registrations));
                self.render(&key, index, registrations, &mut events);
            }
        }
        events
    }

    /// The same for one that a registration names: it is kept even when it is over.
    pub(crate) fn alloc_in_use(&mut self, alloc: Alloc) -> Vec<SourceEvent> {
        self.facts.allocs.entry(alloc.id.as_str().into()).or_insert_with(|| alloc.clone());
        if translate::is_over(&alloc) { Vec::new() } else { self.alloc(alloc) }
    }

    /// Allocations were listed as of an index, but for those that are over: what is not there of those with
    /// instances has ended without an event, as when Nomad cleans up what belongs to a purged job.
    pub(crate) fn allocs_listed(&mut self, index: u64, listed: &BTreeSet<String>) -> Vec<SourceEvent> {
        let is_gone = |alloc: &&Alloc| {
            alloc.modify_index <= index && !translate::is_over(alloc) && !listed.contains(&alloc.id)
        };
        let ended = |alloc: &Alloc| Alloc { client_status: "complete".to_owned(), ..alloc.clone() };
        let gone: Vec<Alloc> = self.facts.allocs.values().filter(is_gone).map(ended).collect();
        gone.into_iter().flat_map(|alloc| self.alloc(alloc)).collect()
    }

    /// Allocations of a job that are not known to be over.
    pub(crate) fn allocs_of(&self, (namespace, job): (&str, &str)) -> Vec<String> {
        let of_job = |alloc: &&Alloc| {
            alloc.job_id == job && alloc.namespace == namespace && !translate::is_over(alloc)
        };
        self.facts.allocs.values().filter(of_job).map(|alloc| alloc.id.clone()).collect()
    }

    /// An allocation was looked for and is not there any more.
    pub(crate) fn alloc_vanished(&mut self, id: &str) -> Vec<SourceEvent> {
        let Some(known) = self.facts.allocs.get(id) else { return Vec::new() };
        let ended = Alloc { client_status: "complete".to_owned(), ..known.clone() };
        self.alloc(ended)
    }

    /// Has the effect that nodes are read again. What was told of them stays until then.
    pub(crate) fn forget_nodes(&mut self) {
        self.facts.stale_zones = std::mem::take(&mut self.facts.zones);
    }

    /// A node was read.
    pub(crate) fn node(&mut self, id: &str, node: &Node) {
        self.facts.zones.insert(id.into(), translate::zone(node));
    }

    /// Makes a service anew from what is known, and tells what of it is new.
    fn render(
        &mut self,
        key: &ServiceKey,
        index: u64,
        registrations: Vec<Registration>,
        events: &mut Vec<SourceEvent>,
    ) {
        let (service, endpoints) =
            translate::service(&self.rules, (&key.0, &key.1), &registrations, &self.facts);
        let told = self.services.get(key);
        let same_host = told.is_some_and(|told| told.service.host == service.host);
        let service = match told {
            Some(told) if *told.service == service => told.service.clone(),
            _ => {
                let service = Arc::new(service);
                events.push(upsert_service(key, service.clone()));
                service
            }
        };
        let endpoints = match told {
            Some(told) if same_host && *told.endpoints == *endpoints => told.endpoints.clone(),
            _ => {
                let endpoints: Arc<[Endpoint]> = endpoints.into();
                events.push(upsert_endpoints(key, &service, endpoints.clone()));
                endpoints
            }
        };
        self.services.insert(key.clone(), Held { index, registrations, service, endpoints });
    }

    /// Takes a service from the allocations that it has no instances in any more, and forgets those that are over.
    fn unlink(&mut self, key: &ServiceKey, now: &[Registration]) {
        let Some(held) = self.services.get(key) else { return };
        let stays: BTreeSet<&str> = now.iter().map(|registration| registration.alloc_id.as_str()).collect();
        for registration in &held.registrations {
            let id = registration.alloc_id.as_str();
            if stays.contains(id) {
                continue;
            }
            let Some(users) = self.by_alloc.get_mut(id) else { continue };
            users.remove(key);
            if users.is_empty() {
                self.by_alloc.remove(id);
                if self.facts.allocs.get(id).is_some_and(translate::is_over) {
                    self.facts.allocs.remove(id);
                }
            }
        }
    }

    /// Of the Variables that exist, those that have changed since they were read.
    pub(crate) fn changed_variables(&self, listed: &[VariableStub]) -> Vec<VariableKey> {
        let changed = listed.iter().filter(|stub| {
            let held = self.variables.get(&key_of(stub));
            held.is_none_or(|held| held.modify_index != Some(stub.modify_index))
        });
        changed.map(key_of).collect()
    }

    /// Variables that were there and are not listed any more. A token that may not see them has the same effect:
    /// whether they are gone is to be asked one by one.
    pub(crate) fn missing_variables(&self, listed: &[VariableStub]) -> Vec<VariableKey> {
        let listed: BTreeSet<_> = listed.iter().map(key_of).collect();
        self.variables.keys().filter(|key| !listed.contains(*key)).cloned().collect()
    }

    /// A Variable was read.
    pub(crate) fn variable(&mut self, key: &VariableKey, variable: Variable) -> Vec<SourceEvent> {
        let Variable { modify_index, items } = variable;
        let mut events = Vec::new();
        let held = self.variables.entry(key.clone()).or_default();
        held.modify_index = Some(modify_index);
        let was_unreadable = held.unreadable.take().is_some();
        if was_unreadable {
            events.push(SourceEvent::Remove { id: whole(key) });
        }
        for item in held.items.keys().filter(|item| !items.contains_key(&***item)) {
            events.push(SourceEvent::Remove { id: document_id(key, item) });
        }
        held.items.retain(|item, _| items.contains_key(&**item));
        for (item, body) in items {
            let item: Arc<str> = item.into();
            if body.len() > DOCUMENT_BYTES_MAX {
                let message =
                    format!("the document has {} bytes; {DOCUMENT_BYTES_MAX} are allowed", body.len());
                let id = document_id(key, &item);
                events.push(invalid(&self.rules.source, id, TOO_LARGE, message));
                continue;
            }
            let body: Arc<[u8]> = body.into_bytes().into();
            let is_told = held.items.get(&item).is_some_and(|told| *told == body);
            // What was reported invalid is told again even if it is the same: that is what makes it valid.
            if !is_told || was_unreadable {
                events.push(document(key, &item, &body));
                held.items.insert(item, body);
            }
        }
        events
    }

    /// A Variable exists and can't be read: what it said before stays.
    pub(crate) fn unreadable(&mut self, stub: &VariableStub, why: String) -> Vec<SourceEvent> {
        let key = key_of(stub);
        let held = self.variables.entry(key.clone()).or_default();
        held.modify_index = Some(stub.modify_index);
        held.unreadable = Some(why);
        let mut events = Vec::new();
        if let Some(held) = self.variables.get(&key) {
            self.invalid(&key, held, &mut events);
        }
        events
    }

    /// A Variable is gone.
    pub(crate) fn variable_gone(&mut self, key: &VariableKey) -> Vec<SourceEvent> {
        let Some(held) = self.variables.remove(key) else { return Vec::new() };
        let whole = held.unreadable.is_some().then(|| whole(key));
        let items = held.items.keys().map(|item| document_id(key, item));
        items.chain(whole).map(|id| SourceEvent::Remove { id }).collect()
    }

    /// Has the effect that all Variables are read again.
    pub(crate) fn distrust_variables(&mut self) {
        for held in self.variables.values_mut() {
            held.modify_index = None;
        }
    }

    fn invalid(&self, key: &VariableKey, held: &HeldVariable, events: &mut Vec<SourceEvent>) {
        let Some(why) = &held.unreadable else { return };
        let mut say = |id| events.push(invalid(&self.rules.source, id, UNREADABLE, why.clone()));
        if held.items.is_empty() {
            say(whole(key));
        }
        for item in held.items.keys() {
            say(document_id(key, item));
        }
    }
}

fn key_of(stub: &VariableStub) -> VariableKey {
    (stub.namespace.as_str().into(), stub.path.as_str().into())
}

fn object_id(kind: ObjectKind, key: &ServiceKey) -> ObjectId {
    ObjectId { kind, name: format!("{}/{}", key.0, key.1).into() }
}

/// Stands for all items of a Variable whose items are not known.
fn whole(key: &VariableKey) -> ObjectId {
    ObjectId { kind: ObjectKind::Document, name: format!("{}/{}", key.0, key.1).into() }
}

fn document_id(key: &VariableKey, item: &str) -> ObjectId {
    ObjectId { kind: ObjectKind::Document, name: format!("{}/{}#{item}", key.0, key.1).into() }
}

fn document(key: &VariableKey, item: &str, body: &Arc<[u8]>) -> SourceEvent {
    let object = Object::Document(Document { body: body.clone() });
    SourceEvent::Upsert { id: document_id(key, item), object }
}

fn upsert_service(key: &ServiceKey, service: Arc<Service>) -> SourceEvent {
    SourceEvent::Upsert { id: object_id(ObjectKind::Service, key), object: Object::Service(service) }
}

fn upsert_endpoints(key: &ServiceKey, service: &Service, endpoints: Arc<[Endpoint]>) -> SourceEvent {
    let (host, namespace) = (service.host.clone(), service.namespace.clone());
    let object = Object::Endpoints { host, namespace, endpoints };
    SourceEvent::Upsert { id: object_id(ObjectKind::Endpoints, key), object }
}

fn remove(kind: ObjectKind, key: &ServiceKey) -> SourceEvent {
    SourceEvent::Remove { id: object_id(kind, key) }
}

fn invalid(source: &Arc<str>, id: ObjectId, code: Code, message: String) -> SourceEvent {
    let diagnostic = Diagnostic {
        code,
        severity: Severity::Error,
        object: None,
        origin: Some(Origin { source: source.clone(), location: id.name.clone(), line: 0, column: 0 }),
        path: String::new(),
        message,
        hint: None,
    };
    SourceEvent::Invalid { id, diagnostic }
}

#[cfg(test)]
mod tests;
