//! Services and their endpoints, put together from all sources.
//!
//! Every object contributes definitions and parts of endpoint sets, and is remembered by what it contributed, so
//! that a change takes out and puts in exactly that. A workload that a selector finds is a contribution of its own.

mod endpoints;
mod entry;
mod kubernetes;
mod merge;
mod selection;
mod usable;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    net::IpAddr,
    sync::Arc,
};

use lateen_config::{ConfigObject, ObjectKey};
use lateen_model::{
    Address, DefinedBy, Diagnostic, Endpoint, Host, Namespace, ObjectId, Service, event::Object,
};

use crate::{
    EndpointSet, Fact, FactKey, Precedence,
    entry::{Entry, Identity},
    few::Few,
    index::Index,
    objects::Change,
    routing::Context,
};

use self::{merge::merge, selection::Selections};

pub(crate) use self::kubernetes::SERVICE_NAME;

/// Who contributed something.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
enum Owner {
    /// An object.
    Object(Identity),
    /// Something that the adapter of this rank translated.
    Adapter(u32, ObjectId),
    /// A service's selector and the workload it found.
    Selected(Box<selection::Pair>),
}

/// Place of a part among all parts of an endpoint set: that of the service, and of the workload it selected.
type PartKey = (Precedence, Option<Precedence>);

/// The parts of one endpoint set.
type Parts = Few<PartKey, Arc<[Endpoint]>>;

/// What an owner adds to the mesh.
#[derive(Clone, Debug, Default)]
struct Contribution {
    services: Vec<Service>,
    endpoints: Vec<(Host, Namespace, Vec<Endpoint>)>,
}

/// What an owner has added, to take it out again.
#[derive(Clone, Debug)]
struct Owned {
    key: PartKey,
    hosts: Box<[Host]>,
    parts: Box<[(Host, Namespace)]>,
}

/// What an adapter translated.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Translated {
    /// A service.
    Service(Arc<Service>),
    /// Endpoints of a host.
    Endpoints(Host, Namespace, Arc<[Endpoint]>),
}

impl Translated {
    /// From what an adapter hands over; none for a document.
    pub(crate) fn of(object: Object) -> Option<Self> {
        match object {
            Object::Document(_) => None,
            Object::Service(service) => Some(Self::Service(service)),
            Object::Endpoints { host, namespace, endpoints } => {
                Some(Self::Endpoints(host, namespace, endpoints))
            }
        }
    }

    /// As an adapter hands it over.
    pub(crate) fn into_object(self) -> Object {
        match self {
            Self::Service(service) => Object::Service(service),
            Self::Endpoints(host, namespace, endpoints) => Object::Endpoints { host, namespace, endpoints },
        }
    }

    /// The newer one with the endpoints of this one that it lacks.
    pub(crate) fn with(&self, newer: &Self) -> Self {
        let (Self::Endpoints(_, _, old), Self::Endpoints(host, namespace, new)) = (self, newer) else {
            return newer.clone();
        };
        let places: HashSet<_> = new.iter().map(|endpoint| (&endpoint.address, &endpoint.ports)).collect();
        let held = old.iter().filter(|endpoint| !places.contains(&(&endpoint.address, &endpoint.ports)));
        let all = new.iter().chain(held).cloned().collect();
        Self::Endpoints(host.clone(), namespace.clone(), all)
    }
}

/// Everything about services.
#[derive(Clone, Debug, Default)]
pub(crate) struct Services {
    definitions: Index<Host, Arc<Service>>,
    parts: HashMap<(Host, Namespace), Parts>,
    owned: HashMap<Owner, Owned>,
    slices: HashMap<Identity, Arc<Entry>>,
    slices_by_pod: HashMap<Identity, Few<Identity>>,
    selections: Selections,
    at: HashMap<IpAddr, Few<(Host, Namespace)>>,
    /// Definitions by their virtual addresses.
    addressed: HashMap<IpAddr, Few<(Precedence, Host)>>,
    conflicts: BTreeMap<Host, Vec<Diagnostic>>,
    /// Findings about instances that are left out.
    unusable: BTreeMap<(Host, Namespace), Vec<Diagnostic>>,
}

impl Services {
    /// Takes over a change of an object and marks the cells that may differ now.
    pub(crate) fn update(&mut self, change: &Change, context: Context<'_>, dirty: &mut BTreeSet<FactKey>) {
        let Some(key) = change.identity() else { return };
        let after = change.after.as_ref();
        let Some(spec) =
            change.after.as_ref().or(change.before.as_ref()).map(|entry| entry.object.spec.clone())
        else {
            return;
        };
        match spec {
            ConfigObject::Service(_) => {
                let contribution = after.map(|entry| kubernetes::service(entry, context));
                self.set_object(&key, after, contribution, dirty);
                self.reselect_service(&key, after, context, dirty);
            }
            ConfigObject::ServiceEntry(_) => {
                let contribution = after.map(|entry| entry::service_entry(entry, context));
                self.set_object(&key, after, contribution, dirty);
                self.reselect_service(&key, after, context, dirty);
            }
            ConfigObject::EndpointSlice(_) => self.slice(&key, after, context, dirty),
            ConfigObject::Pod(_) => {
                self.reselect_workload(&key, after, context, dirty);
                let slices = self.slices_by_pod.get(&key).cloned().unwrap_or_default();
                for (slice, ()) in slices.iter() {
                    let entry = self.slices.get(slice).cloned();
                    self.slice(slice, entry.as_ref(), context, dirty);
                }
            }
            ConfigObject::WorkloadEntry(_) => self.reselect_workload(&key, after, context, dirty),
            // Of other roles.
            _ => {}
        }
    }

    /// Takes over what an adapter translated, or its end.
    pub(crate) fn translated(
        &mut self,
        rank: u32,
        id: &ObjectId,
        new: Option<Translated>,
        dirty: &mut BTreeSet<FactKey>,
    ) {
        let precedence = |created, namespace: &Namespace| {
            Precedence::translated(rank, created, namespace.as_str(), &id.name)
        };
        let new = new.map(|translated| match translated {
            Translated::Service(service) => {
                let key = (precedence(service.created, &service.namespace), None);
                (key, Contribution { services: vec![(*service).clone()], ..Contribution::default() })
            }
            Translated::Endpoints(host, namespace, endpoints) => {
                let key = (precedence(0, &namespace), None);
                let endpoints = vec![(host, namespace, endpoints.to_vec())];
                (key, Contribution { endpoints, ..Contribution::default() })
            }
        });
        self.set(Owner::Adapter(rank, id.clone()), new, dirty);
    }

    fn slice(
        &mut self,
        key: &Identity,
        entry: Option<&Arc<Entry>>,
        context: Context<'_>,
        dirty: &mut BTreeSet<FactKey>,
    ) {
        if let Some(old) = self.slices.remove(key) {
            for pod in kubernetes::pods_of(&old) {
                if let Some(slices) = self.slices_by_pod.get_mut(&pod) {
                    slices.remove(key);
                    if slices.is_empty() {
                        self.slices_by_pod.remove(&pod);
                    }
                }
            }
        }
        if let Some(entry) = entry {
            for pod in kubernetes::pods_of(entry) {
                self.slices_by_pod.entry(pod).or_default().insert(key.clone(), ());
            }
            self.slices.insert(key.clone(), entry.clone());
        }
        let contribution = entry.map(|entry| kubernetes::endpoint_slice(entry, &self.selections, context));
        self.set_object(key, entry, contribution, dirty);
    }

    fn reselect_service(
        &mut self,
        key: &Identity,
        entry: Option<&Arc<Entry>>,
        context: Context<'_>,
        dirty: &mut BTreeSet<FactKey>,
    ) {
        let before = self.selections.set_service(key, entry);
        self.reselect(&before, self.selections.of_service(key), context, dirty);
    }

    fn reselect_workload(
        &mut self,
        key: &Identity,
        entry: Option<&Arc<Entry>>,
        context: Context<'_>,
        dirty: &mut BTreeSet<FactKey>,
    ) {
        let before = self.selections.set_workload(key, entry);
        self.reselect(&before, self.selections.of_workload(key), context, dirty);
    }

    fn reselect(
        &mut self,
        before: &BTreeSet<selection::Pair>,
        now: BTreeSet<selection::Pair>,
        context: Context<'_>,
        dirty: &mut BTreeSet<FactKey>,
    ) {
        for (service, workload) in before.difference(&now) {
            self.set(Owner::Selected(Box::new((service.clone(), workload.clone()))), None, dirty);
        }
        for (service, workload) in now {
            let entries = (self.selections.service(&service), self.selections.workload(&workload));
            let (Some(selecting), Some(selected)) = entries else { continue };
            let endpoints = entry::selected(selecting, selected, context);
            let key = (selecting.precedence.clone(), Some(selected.precedence.clone()));
            let contribution = Contribution { endpoints, ..Contribution::default() };
            self.set(Owner::Selected(Box::new((service, workload))), Some((key, contribution)), dirty);
        }
    }

    fn set_object(
        &mut self,
        key: &Identity,
        entry: Option<&Arc<Entry>>,
        contribution: Option<Contribution>,
        dirty: &mut BTreeSet<FactKey>,
    ) {
        let new = entry.zip(contribution).map(|(entry, new)| ((entry.precedence.clone(), None), new));
        self.set(Owner::Object(key.clone()), new, dirty);
    }

    /// Replaces what an owner contributed.
    fn set(&mut self, owner: Owner, new: Option<(PartKey, Contribution)>, dirty: &mut BTreeSet<FactKey>) {
        if let Some(Owned { key, hosts, parts }) = self.owned.remove(&owner) {
            for host in hosts {
                if let Some(old) = self.definitions.remove(&host, &key.0) {
                    self.unaddress(&old, &key.0, dirty);
                }
                let others = self.definitions.count(&host);
                self.mark_definition(host, &key.0, others, dirty);
            }
            for part in parts {
                if let Some(all) = self.parts.get_mut(&part) {
                    all.remove(&key);
                    if all.is_empty() {
                        self.parts.remove(&part);
                    }
                }
                dirty.insert(FactKey::Endpoints(part.0, part.1));
            }
        }
        let Some((key, Contribution { services, endpoints })) = new else { return };
        let (mut hosts, mut parts) = (Vec::new(), Vec::new());
        for service in services {
            let host = service.host.clone();
            let others = self.definitions.count(&host);
            for ip in virtual_ips(&service) {
                self.addressed.entry(ip).or_default().insert((key.0.clone(), host.clone()), ());
                dirty.insert(FactKey::AddressOf(ip));
            }
            self.definitions.insert(host.clone(), key.0.clone(), Arc::new(service));
            self.mark_definition(host.clone(), &key.0, others, dirty);
            hosts.push(host);
        }
        for (host, namespace, endpoints) in endpoints {
            let part = (host.clone(), namespace.clone());
            self.parts.entry(part.clone()).or_default().insert(key.clone(), endpoints.into());
            dirty.insert(FactKey::Endpoints(host, namespace));
            parts.push(part);
        }
        if !hosts.is_empty() || !parts.is_empty() {
            self.owned.insert(owner, Owned { key, hosts: hosts.into(), parts: parts.into() });
        }
    }

    /// Takes out the virtual addresses of a definition.
    fn unaddress(&mut self, service: &Service, precedence: &Precedence, dirty: &mut BTreeSet<FactKey>) {
        for ip in virtual_ips(service) {
            if let Some(all) = self.addressed.get_mut(&ip) {
                all.remove(&(precedence.clone(), service.host.clone()));
                if all.is_empty() {
                    self.addressed.remove(&ip);
                }
            }
            dirty.insert(FactKey::AddressOf(ip));
        }
    }

    /// Marks a host whose definition came or went; the names of ports in its endpoint sets follow the others, and
    /// how its instances are found decides which can be used.
    fn mark_definition(
        &self,
        host: Host,
        precedence: &Precedence,
        others: usize,
        dirty: &mut BTreeSet<FactKey>,
    ) {
        let own = (host.clone(), Namespace::from(precedence.namespace()));
        if self.parts.contains_key(&own) {
            dirty.insert(FactKey::Endpoints(own.0, own.1));
        }
        if others > 0 {
            for service in self.definitions.row(&host) {
                dirty.insert(FactKey::Endpoints(host.clone(), service.namespace.clone()));
            }
        }
        dirty.insert(FactKey::Service(host));
    }

    /// Does any object define the host?
    pub(crate) fn defines(&self, host: &Host) -> bool {
        self.definitions.count(host) > 0
    }

    /// The objects that define a host, in precedence order.
    pub(crate) fn defined_by(&self, host: &Host) -> impl Iterator<Item = ObjectKey> {
        self.definitions.positions(host).filter_map(Precedence::key)
    }

    /// The definitions of a host, those of one namespace merged.
    pub(crate) fn services_cell(&mut self, host: &Host) -> Option<Fact> {
        let mut merged: Vec<Service> = Vec::new();
        let mut findings = Vec::new();
        let count = self.definitions.count(host);
        if count == 1 {
            // The one that nearly every host has is not copied.
            self.conflicts.remove(host);
            return self.definitions.list(host).map(Fact::Services);
        }
        for service in self.in_order(host) {
            match merged.iter_mut().find(|known| known.namespace == service.namespace) {
                Some(first) => merge(first, service, &mut findings),
                None => merged.push((**service).clone()),
            }
        }
        if findings.is_empty() {
            self.conflicts.remove(host);
        } else {
            self.conflicts.insert(host.clone(), findings);
        }
        (count > 0).then(|| Fact::Services(merged.into_iter().map(Arc::new).collect()))
    }

    /// The definitions of a host, the most important first: the platform's own service keeps its name, and those of its
    /// ports, from entries that give themselves the same host.
    fn in_order<'a>(&'a self, host: &'a Host) -> impl Iterator<Item = &'a Arc<Service>> {
        let by =
            move |by: DefinedBy| self.definitions.row(host).filter(move |service| service.defined_by == by);
        by(DefinedBy::Platform).chain(by(DefinedBy::ServiceEntry))
    }

    /// The endpoints of a definition; marks the addresses that its services come to or leave. `before` is the
    /// cell's value so far.
    pub(crate) fn endpoints_cell(
        &mut self,
        host: &Host,
        namespace: &Namespace,
        before: Option<&Fact>,
        dirty: &mut BTreeSet<FactKey>,
    ) -> Option<Fact> {
        let definitions = || self.in_order(host).filter(|service| service.namespace == *namespace);
        let aliases = endpoints::aliases(definitions());
        let resolution = definitions().next().map(|service| service.resolution);
        let place = (host.clone(), namespace.clone());
        let parts = self.parts.get(&place);
        let ranked = parts.into_iter().flat_map(Few::iter).map(|(key, part)| (key.0.rank, part));
        let mut now = endpoints::union(ranked, &aliases);
        let findings = usable::retain(host, resolution, &mut now);
        if findings.is_empty() {
            self.unusable.remove(&place);
        } else {
            self.unusable.insert(place.clone(), findings);
        }
        // Nearly always one part is all of it.
        let parts = self.parts.get(&place);
        let only = parts.into_iter().flat_map(Few::values).find(|part| ***part == *now).cloned();
        let before = match before {
            Some(Fact::Endpoints(set)) => set.endpoints.clone(),
            _ => Arc::default(),
        };
        let (left, came) = difference(&before, &now);
        for ip in left {
            if let Some(services) = self.at.get_mut(&ip) {
                services.remove(&(host.clone(), namespace.clone()));
                if services.is_empty() {
                    self.at.remove(&ip);
                }
            }
            dirty.insert(FactKey::ServicesAt(ip));
        }
        for ip in came {
            self.at.entry(ip).or_default().insert((host.clone(), namespace.clone()), ());
            dirty.insert(FactKey::ServicesAt(ip));
        }
        let endpoints = only.unwrap_or_else(|| now.into());
        (!endpoints.is_empty()).then(|| Fact::Endpoints(Arc::new(EndpointSet { endpoints })))
    }

    /// The services at an address.
    pub(crate) fn services_at_cell(&self, ip: IpAddr) -> Option<Fact> {
        self.at.get(&ip).map(|services| Fact::ServicesAt(services.keys().cloned().collect()))
    }

    /// The services that have a virtual address.
    pub(crate) fn address_of_cell(&self, ip: IpAddr) -> Option<Fact> {
        let all = self.addressed.get(&ip)?.keys();
        let all = all.map(|(precedence, host)| (host.clone(), Namespace::from(precedence.namespace())));
        Some(Fact::ServicesAt(all.collect()))
    }

    pub(crate) fn findings(&self) -> impl Iterator<Item = &Diagnostic> {
        self.conflicts.values().chain(self.unusable.values()).flatten()
    }
}

/// Addresses that are only in the first, and only in the second; both are ordered by address.
fn difference(before: &[Endpoint], now: &[Endpoint]) -> (Vec<IpAddr>, Vec<IpAddr>) {
    let ips = |endpoints: &[Endpoint]| -> Vec<IpAddr> {
        let mut ips: Vec<IpAddr> = endpoints
            .iter()
            .filter_map(|endpoint| if let Address::Ip(ip) = endpoint.address { Some(ip) } else { None })
            .collect();
        ips.dedup();
        ips
    };
    let (before, now) = (ips(before), ips(now));
    let only = |these: &[IpAddr], others: &[IpAddr]| {
        these.iter().filter(|ip| others.binary_search(ip).is_err()).copied().collect()
    };
    (only(&before, &now), only(&now, &before))
}

/// Virtual addresses of a service, without ranges.
fn virtual_ips(service: &Service) -> impl Iterator<Item = IpAddr> {
    let ips = service.addresses.iter().filter_map(|text| text.parse::<IpAddr>().ok());
    ips.filter(|ip| !ip.is_unspecified())
}
