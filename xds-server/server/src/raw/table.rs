//! What one group is given.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use lateen_model::Version;
use lateen_xds::{NameId, Obstacle, Resource, ResourceType};

/// A resource and how it is to be served.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) resource: Arc<Resource>,
    pub(super) ttl_ms: Option<u32>,
    /// Other names, and the resource under each of them.
    pub(super) aliases: Vec<(NameId, Arc<Resource>)>,
    pub(super) alias_texts: Arc<[Arc<str>]>,
    pub(super) wildcard: bool,
}

impl Entry {
    fn alias_names(&self) -> Vec<NameId> {
        self.aliases.iter().map(|(alias, _)| *alias).collect()
    }

    /// The resource under its own name or another one.
    pub(super) fn named(&self, name: NameId) -> &Arc<Resource> {
        let alias = self.aliases.iter().find(|(alias, _)| *alias == name);
        alias.map_or(&self.resource, |(_, resource)| resource)
    }
}

/// One name.
#[derive(Debug, Default)]
pub(super) struct Slot {
    pub(super) entry: Option<Entry>,
    /// Has a client accepted this version?
    accepted: bool,
    /// The version accepted before, as long as this one is not.
    last_good: Option<Arc<Resource>>,
}

impl Slot {
    pub(super) fn version(&self) -> Option<Version> {
        self.entry.as_ref().map(|entry| entry.resource.version)
    }

    pub(super) fn resource(&self) -> Option<&Arc<Resource>> {
        self.entry.as_ref().map(|entry| &entry.resource)
    }

    /// Exchanges the resource; true when clients must hear of it.
    fn set(&mut self, entry: Option<Entry>) -> bool {
        let seen = |entry: &Option<Entry>| entry.as_ref().map(|e| (e.resource.version, e.wildcard));
        let differs = seen(&self.entry) != seen(&entry);
        let before = std::mem::replace(&mut self.entry, entry);
        if self.version() != before.as_ref().map(|e| e.resource.version) && std::mem::take(&mut self.accepted)
        {
            self.last_good = before.map(|entry| entry.resource);
        }
        if self.entry.is_none() {
            self.last_good = None;
        } else if self.version() == self.last_good.as_ref().map(|good| good.version) {
            self.accept();
        }
        differs
    }

    /// A client has accepted the current version.
    pub(super) fn accept(&mut self) {
        self.accepted = true;
        self.last_good = None;
    }

    /// The last version that a client has accepted.
    pub(super) fn last_good(&self) -> Option<&Arc<Resource>> {
        if self.accepted { self.resource() } else { self.last_good.as_ref() }
    }
}

/// A group.
#[derive(Debug)]
pub(super) struct Table {
    kinds: [HashMap<NameId, Slot>; ResourceType::COUNT],
    /// Names by alias.
    aliases: BTreeMap<(ResourceType, NameId), NameId>,
    obstacles: BTreeMap<(ResourceType, NameId), Obstacle>,
    pub(super) synced: bool,
}

impl Default for Table {
    fn default() -> Self {
        Self { kinds: Default::default(), aliases: BTreeMap::new(), obstacles: BTreeMap::new(), synced: true }
    }
}

impl Table {
    pub(super) fn slots(&self, kind: ResourceType) -> &HashMap<NameId, Slot> {
        self.kinds.get(kind.index()).expect("invariant: one map per type")
    }

    pub(super) fn slots_mut(&mut self, kind: ResourceType) -> &mut HashMap<NameId, Slot> {
        self.kinds.get_mut(kind.index()).expect("invariant: one map per type")
    }

    /// Exchanges what a name stands for; returns the names whose readers must hear of it.
    pub(super) fn set(&mut self, kind: ResourceType, name: NameId, entry: Option<Entry>) -> Vec<NameId> {
        let mut touched = Vec::new();
        let old = self.slots(kind).get(&name).and_then(|slot| slot.entry.as_ref());
        let old_aliases = old.map(Entry::alias_names).unwrap_or_default();
        let new_aliases = entry.as_ref().map(Entry::alias_names).unwrap_or_default();
        for alias in &old_aliases {
            self.aliases.remove(&(kind, *alias));
        }
        for alias in &new_aliases {
            self.aliases.insert((kind, *alias), name);
        }
        let gone = entry.is_none();
        let differs = self.slots_mut(kind).entry(name).or_default().set(entry);
        if gone {
            self.slots_mut(kind).remove(&name);
        }
        if differs {
            touched.push(name);
        }
        if differs || old_aliases != new_aliases {
            touched.extend(old_aliases);
            touched.extend(new_aliases);
        }
        touched
    }

    /// What `name`, its own or an alias, stands for.
    pub(super) fn entry(&self, kind: ResourceType, name: NameId) -> Option<&Entry> {
        let name = self.aliases.get(&(kind, name)).copied().unwrap_or(name);
        self.slots(kind).get(&name)?.entry.as_ref()
    }

    pub(super) fn set_obstacle(&mut self, kind: ResourceType, name: NameId, to: Option<Obstacle>) -> bool {
        let before = match to {
            Some(obstacle) => self.obstacles.insert((kind, name), obstacle),
            None => self.obstacles.remove(&(kind, name)),
        };
        before != to
    }

    pub(super) fn obstacle(&self, kind: ResourceType, name: NameId) -> Option<Obstacle> {
        self.obstacles.get(&(kind, name)).copied()
    }

    pub(super) fn visit_names(&self, visit: &mut dyn FnMut(NameId)) {
        for slots in &self.kinds {
            for (name, slot) in slots {
                visit(*name);
                let good = slot.last_good().into_iter();
                for resource in slot.resource().into_iter().chain(good) {
                    resource.refs.visit(&mut |target| visit(target.name));
                }
            }
        }
        self.aliases.iter().for_each(|((_, alias), name)| {
            visit(*alias);
            visit(*name);
        });
        self.obstacles.keys().for_each(|(_, name)| visit(*name));
    }
}
