//! The facts of the mesh.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use lateen_config::istio;
use lateen_model::{Endpoint, Host, Namespace, Service};

use crate::{Changes, Fact, FactKey, Sourced, SourcedList};

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
    hosts: BTreeSet<Host>,
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
            hosts: BTreeSet::new(),
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
        self.hosts.iter()
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
        let mut changes = Changes::default();
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
            if let FactKey::Service(host) | FactKey::VirtualServices(host) = &key {
                self.note_host(host, &mut changes);
            }
            changes.facts.insert(key);
        }
        changes.revision = self.revision;
        changes
    }

    fn note_host(&mut self, host: &Host, changes: &mut Changes) {
        let is = self.cells.contains_key(&FactKey::Service(host.clone()))
            || self.cells.contains_key(&FactKey::VirtualServices(host.clone()));
        let (one, other) = if is {
            (&mut changes.hosts_added, &mut changes.hosts_removed)
        } else {
            (&mut changes.hosts_removed, &mut changes.hosts_added)
        };
        let differs = if is { self.hosts.insert(host.clone()) } else { self.hosts.remove(host) };
        if differs && !other.remove(host) {
            one.insert(host.clone());
        }
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
