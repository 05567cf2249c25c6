//! One service: its definition, its instances, and what the core was told of it. Pure.

use std::{collections::BTreeMap, sync::Arc};

use lateen_model::{
    Diagnostic, Endpoint, Host, Namespace, ObjectId, ObjectKind, Origin, Service, Severity, SourceEvent,
    Version, diagnostic::Code, event::Object,
};

use crate::{config::Hosts, translate, wire::Ports};

/// Nothing of a service can be read.
const NOTHING_READABLE: Code = Code("LAT3403");

/// A key as it was seen last.
#[derive(Debug)]
pub(crate) struct Held<T> {
    /// Of its value.
    pub(crate) hash: Version,
    /// The last listing that it was in, or before which it came.
    pub(crate) seen: u32,
    /// It makes no sense at present.
    pub(crate) bad: bool,
    /// The last sense it made.
    pub(crate) good: Option<T>,
}

/// State of a service.
#[derive(Debug, Default)]
pub(crate) struct ServiceState {
    pub(crate) definition: Option<Held<Arc<Service>>>,
    instances: BTreeMap<Arc<str>, Held<Endpoint>>,
    told: Told,
    instances_changed: bool,
}

/// What the core was told.
#[derive(Debug, Default)]
struct Told {
    service: Said<Arc<Service>>,
    /// Host and default ports that went into the endpoints.
    endpoints: Said<(Host, Arc<Ports>)>,
    /// Was anything told since the core knew nothing?
    anything: bool,
}

/// What was said of an object last.
#[derive(PartialEq, Debug, Default)]
enum Said<T> {
    #[default]
    Nothing,
    /// That it can't be read.
    Unreadable,
    Good(T),
}

impl ServiceState {
    pub(crate) fn instance(&mut self, instance: &str) -> Option<&mut Held<Endpoint>> {
        self.instances.get_mut(instance)
    }

    pub(crate) fn insert(&mut self, instance: &str, held: Held<Endpoint>) {
        self.instances.insert(instance.into(), held);
    }

    pub(crate) fn remove(&mut self, instance: &str) -> Option<Held<Endpoint>> {
        self.instances.remove(instance)
    }

    pub(crate) fn instance_count(&self) -> usize {
        self.instances.len()
    }

    /// Instances that a listing has not seen.
    pub(crate) fn unseen(&self, listing: u32) -> impl Iterator<Item = &str> {
        self.instances.iter().filter(move |(_, held)| held.seen != listing).map(|(instance, _)| &**instance)
    }

    pub(crate) fn instances_changed(&mut self) {
        self.instances_changed = true;
    }

    /// The core knows nothing any more.
    pub(crate) fn forget_told(&mut self) {
        self.told = Told::default();
        self.instances_changed = true;
    }

    /// Does the core know what there was to know?
    pub(crate) fn told_all(&self) -> bool {
        self.told.anything
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.definition.is_none() && self.instances.is_empty()
    }

    /// What has changed since the core was told.
    pub(crate) fn events(&mut self, id: &Arc<str>, hosts: &Hosts, origin: &Origin) -> Vec<SourceEvent> {
        let mut events = Vec::new();
        self.told.anything = true;
        let service = self.service(id, hosts, origin.clone());
        self.tell_service(id, service.clone(), origin, &mut events);
        let host = service.as_ref().map_or_else(
            || hosts.of(translate::split(id).0, translate::split(id).1),
            |service| service.host.clone(),
        );
        let defaults = service.map(|service| translate::default_ports(&service)).unwrap_or_default();
        let basis = (host, Arc::new(defaults));
        let changed = std::mem::take(&mut self.instances_changed);
        let is_new = match &self.told.endpoints {
            Said::Nothing | Said::Unreadable => false,
            Said::Good(told) => *told != basis,
        };
        if changed || is_new {
            self.tell_endpoints(id, basis, origin, &mut events);
        }
        events
    }

    /// As defined, else as its instances have it.
    fn service(&self, id: &str, hosts: &Hosts, origin: Origin) -> Option<Arc<Service>> {
        if let Some(good) = self.definition.as_ref().and_then(|held| held.good.as_ref()) {
            return Some(good.clone());
        }
        let mut instances = self.instances.values().filter_map(|held| held.good.as_ref()).peekable();
        instances.peek()?;
        Some(Arc::new(translate::derived(id, instances, hosts, origin)))
    }

    fn tell_service(
        &mut self,
        id: &Arc<str>,
        service: Option<Arc<Service>>,
        origin: &Origin,
        events: &mut Vec<SourceEvent>,
    ) {
        let object = ObjectId { kind: ObjectKind::Service, name: id.clone() };
        match service {
            Some(service) if matches!(&self.told.service, Said::Good(told) if *told == service) => {}
            Some(service) => {
                self.told.service = Said::Good(service.clone());
                events.push(SourceEvent::Upsert { id: object, object: Object::Service(service) });
            }
            None if self.is_empty() => {
                if std::mem::take(&mut self.told.service) != Said::Nothing {
                    events.push(SourceEvent::Remove { id: object });
                }
            }
            // It exists, and was perhaps known before this process was: nothing of that is taken away.
            None => {
                self.told.service = Said::Unreadable;
                events.push(unreadable(object, origin));
            }
        }
    }

    fn tell_endpoints(
        &mut self,
        id: &Arc<str>,
        (host, defaults): (Host, Arc<Ports>),
        origin: &Origin,
        events: &mut Vec<SourceEvent>,
    ) {
        let object = ObjectId { kind: ObjectKind::Endpoints, name: id.clone() };
        if self.instances.is_empty() {
            if std::mem::take(&mut self.told.endpoints) != Said::Nothing {
                events.push(SourceEvent::Remove { id: object });
            }
            return;
        }
        let endpoints = self.endpoints(&defaults);
        if endpoints.is_empty() {
            self.told.endpoints = Said::Unreadable;
            events.push(unreadable(object, origin));
            return;
        }
        self.told.endpoints = Said::Good((host.clone(), defaults));
        let namespace = Namespace::from(translate::split(id).0);
        let endpoints = Object::Endpoints { host, namespace, endpoints: endpoints.into() };
        events.push(SourceEvent::Upsert { id: object, object: endpoints });
    }

    fn endpoints(&self, defaults: &Arc<Ports>) -> Vec<Endpoint> {
        let mut endpoints: Vec<Endpoint> = Vec::with_capacity(self.instances.len());
        let mut last: Option<(Arc<Ports>, Arc<Ports>)> = None;
        for good in self.instances.values().filter_map(|held| held.good.as_ref()) {
            // Most instances share one map, and then they share the fitted one too.
            let fitted = match &last {
                Some((from, to)) if Arc::ptr_eq(from, &good.ports) => to.clone(),
                _ => translate::fitted(&good.ports, defaults),
            };
            last = Some((good.ports.clone(), fitted.clone()));
            endpoints.push(Endpoint { ports: fitted, ..good.clone() });
        }
        // By place; instances at the same place stay in the order of their names.
        endpoints.sort_by(|a, b| (&a.address, &a.ports).cmp(&(&b.address, &b.ports)));
        endpoints
    }
}

fn unreadable(id: ObjectId, origin: &Origin) -> SourceEvent {
    let diagnostic = Diagnostic {
        code: NOTHING_READABLE,
        severity: Severity::Error,
        object: None,
        origin: Some(origin.clone()),
        path: String::new(),
        message: format!("nothing of {} can be read; what it was before stays", id.name),
        hint: None,
    };
    SourceEvent::Invalid { id, diagnostic }
}
