//! The facts of the mesh.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use lateen_config::istio;
use lateen_model::{Endpoint, Host, Namespace, Service};

use crate::{Changes, Definition, Fact, FactKey, GatewayId, Sourced, SourcedList, hosts::Hosts};

/// Counts changes of the World, from 1.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub struct Revision(pub u64);

#[derive(Clone, Debug)]
struct Cell {
    fact: Fact,
    revision: Revision,
}

/// Keyed, immutable cells, each with the revision at which it last changed. Two worlds are equal when their facts
/// are, whatever the way to them was.
#[derive(Clone, Debug)]
pub struct World {
    cells: HashMap<FactKey, Cell>,
    hosts: Hosts,
    revision: Revision,
    /// When a cell was last removed: where there is no cell now, nothing changed later than that.
    removed: Revision,
}

impl World {
    /// The mesh before any source has said anything.
    pub fn new() -> Self {
        let mesh = Cell { fact: Fact::Mesh(Arc::default()), revision: Revision(0) };
        Self {
            cells: HashMap::from([(FactKey::Mesh, mesh)]),
            hosts: Hosts::default(),
            revision: Revision(0),
            removed: Revision(0),
        }
    }

    /// The value of a cell, where there is one.
    pub fn get(&self, key: &FactKey) -> Option<&Fact> {
        self.cells.get(key).map(|cell| &cell.fact)
    }

    /// When the cell last changed; for a cell that is not there, when it can last have changed.
    pub fn revision_of(&self, key: &FactKey) -> Revision {
        self.cells.get(key).map_or(self.removed, |cell| cell.revision)
    }

    /// When anything last changed.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// Every host that a service or a `VirtualService` of the mesh has, wildcards included, in order.
    pub fn hosts(&self) -> impl ExactSizeIterator<Item = &Host> {
        self.hosts.all()
    }

    /// Who defines a host: services, and `VirtualService`s of the mesh that have exactly this host.
    pub fn definitions(&self, host: &Host) -> &[Definition] {
        self.hosts.definitions(host)
    }

    /// The hosts that objects of a namespace define, in order.
    pub fn hosts_defined_in(&self, namespace: &Namespace) -> impl Iterator<Item = &Host> {
        self.hosts.defined_in(namespace)
    }

    /// The hosts that a wildcard covers, itself included.
    pub fn hosts_covered_by(&self, wildcard: &Host) -> impl Iterator<Item = &Host> {
        self.hosts.covered_by(wildcard)
    }

    /// The hosts for which there is a [`FactKey::GatewayRoutes`], in order.
    pub fn hosts_of_gateway(&self, gateway: &GatewayId) -> impl Iterator<Item = &Host> {
        self.hosts.of_gateway(gateway)
    }

    /// All keys of cells, in no order.
    pub fn keys(&self) -> impl ExactSizeIterator<Item = &FactKey> {
        self.cells.keys()
    }

    /// The mesh's configuration.
    pub fn mesh(&self) -> Arc<istio::MeshConfig> {
        self.get(&FactKey::Mesh).cloned().and_then(Fact::mesh).unwrap_or_default()
    }

    /// The definitions of a host.
    pub fn services(&self, host: &Host) -> Option<Arc<[Arc<Service>]>> {
        self.get(&FactKey::Service(host.clone())).cloned().and_then(Fact::services)
    }

    /// The endpoints of a definition.
    pub fn endpoints(&self, host: &Host, namespace: &Namespace) -> Option<Arc<[Endpoint]>> {
        let key = FactKey::Endpoints(host.clone(), namespace.clone());
        self.get(&key).cloned().and_then(Fact::endpoints).map(|set| set.endpoints.clone())
    }

    /// The `VirtualService`s of the mesh with this host.
    pub fn virtual_services(&self, host: &Host) -> Option<SourcedList<istio::VirtualService>> {
        self.get(&FactKey::VirtualServices(host.clone())).cloned().and_then(Fact::virtual_services)
    }

    /// The `DestinationRule`s with this host.
    pub fn destination_rules(&self, host: &Host) -> Option<SourcedList<istio::DestinationRule>> {
        self.get(&FactKey::DestinationRules(host.clone())).cloned().and_then(Fact::destination_rules)
    }

    /// Sets the cells; those with an equal value stay as they are.
    pub(crate) fn write(&mut self, cells: impl IntoIterator<Item = (FactKey, Option<Fact>)>) -> Changes {
        let (mut changes, mut defined) = (Changes::default(), BTreeSet::new());
        let mut compared = Compared::default();
        let next = Revision(self.revision.0 + 1);
        for (key, fact) in cells {
            if compared.equal(self.get(&key), fact.as_ref()) {
                continue;
            }
            if let Some(fact) = fact {
                self.cells.insert(key.clone(), Cell { fact, revision: next });
            } else {
                self.cells.remove(&key);
                self.removed = next;
            }
            self.revision = next;
            match &key {
                FactKey::Service(host) | FactKey::VirtualServices(host) => {
                    defined.insert(host.clone());
                }
                FactKey::GatewayRoutes(gateway, host) => {
                    self.hosts.bind(gateway, host, self.cells.contains_key(&key));
                }
                _ => {}
            }
            changes.facts.insert(key);
        }
        for host in defined {
            let definitions = self.definitions_now(&host);
            self.hosts.define(&host, definitions, &mut changes);
        }
        changes.revision = self.revision;
        changes
    }

    fn definitions_now(&self, host: &Host) -> Vec<Definition> {
        let (services, routes) = (self.services(host), self.virtual_services(host));
        let services = services.iter().flat_map(|all| all.iter()).map(|one| (&one.namespace, &one.export_to));
        let routes = routes.iter().flat_map(|all| all.iter()).map(|one| (&one.namespace, &one.export_to));
        let mut all: Vec<Definition> = Vec::new();
        for (namespace, visibility) in services.chain(routes) {
            let one = Definition { namespace: namespace.clone(), visibility: visibility.clone() };
            if !all.contains(&one) {
                all.push(one);
            }
        }
        all
    }
}

/// Comparisons of objects that stand in many cells: each pair is compared once, however many hosts it has.
#[derive(Default)]
struct Compared {
    virtual_services: HashMap<(usize, usize), bool>,
}

impl Compared {
    fn equal(&mut self, one: Option<&Fact>, other: Option<&Fact>) -> bool {
        let (Some(Fact::VirtualServices(one)), Some(Fact::VirtualServices(other))) = (one, other) else {
            return one == other;
        };
        // No object is made while cells are written, so an address stands for one object all the time.
        let address = |object: &Arc<Sourced<istio::VirtualService>>| Arc::as_ptr(object) as usize;
        one.len() == other.len()
            && one.iter().zip(&**other).all(|(one, other)| {
                let pair = (address(one), address(other));
                *self.virtual_services.entry(pair).or_insert_with(|| one == other)
            })
    }
}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}

impl PartialEq for World {
    fn eq(&self, other: &Self) -> bool {
        self.hosts == other.hosts
            && self.cells.len() == other.cells.len()
            && self.cells.iter().all(|(key, cell)| other.get(key) == Some(&cell.fact))
    }
}
