//! What a session reads of a group.

use std::sync::Arc;

use lateen_xds::{NameId, Names, Obstacle, Resource, ResourceType, Spelling, View};

use super::{
    RawStore, RawTable,
    table::{Entry, Table},
};

/// From how many independent identities on a version is condemned, as for compiled resources.
const CONDEMNED_BY: usize = 2;

/// A group as a session sees it.
#[derive(Debug)]
pub struct RawView<'a> {
    pub(super) store: &'a RawStore,
    pub(super) id: RawTable,
    pub(super) table: Option<&'a Table>,
}

impl RawView<'_> {
    fn entry(&self, kind: ResourceType, name: NameId) -> Option<&Entry> {
        self.table?.entry(kind, name)
    }
}

impl View for RawView<'_> {
    fn names(&self) -> &Names {
        self.store.names()
    }

    fn get(&self, kind: ResourceType, name: NameId) -> Option<&Arc<Resource>> {
        self.entry(kind, name).filter(|_| self.obstacle(kind, name).is_none()).map(|entry| entry.named(name))
    }

    fn members(&self, kind: ResourceType, visit: &mut dyn FnMut(NameId, &Arc<Resource>)) {
        let Some(table) = self.table else { return };
        for name in table.slots(kind).keys().copied().filter(|name| self.is_member(kind, *name)) {
            if let Some(resource) = self.get(kind, name) {
                visit(name, resource);
            }
        }
    }

    fn is_member(&self, kind: ResourceType, name: NameId) -> bool {
        self.entry(kind, name).is_some_and(|entry| entry.wildcard && entry.resource.name == name)
            && self.get(kind, name).is_some()
    }

    fn hosts_of(&self, route_configuration: NameId, visit: &mut dyn FnMut(NameId, &Arc<Resource>)) {
        let Some(table) = self.table else { return };
        let names = self.store.names();
        let owner = names.text(route_configuration);
        for (name, slot) in table.slots(ResourceType::VirtualHost) {
            let own = names.text(*name).rsplit_once('/').is_some_and(|(routes, _)| *routes == **owner);
            if let Some(resource) = slot.resource().filter(|_| own) {
                visit(*name, resource);
            }
        }
    }

    fn ready(&self) -> bool {
        self.table.is_none_or(|table| table.synced)
    }

    fn last_good(&self, kind: ResourceType, name: NameId) -> Option<&Arc<Resource>> {
        self.table?.slots(kind).get(&name)?.last_good()
    }

    fn condemned(&self, resource: &Resource) -> bool {
        let key = (self.id, resource.kind, resource.name, resource.version);
        self.store.rejections.get(&key).is_some_and(|rejection| rejection.principals.len() >= CONDEMNED_BY)
    }

    fn ttl_ms(&self, resource: &Resource) -> Option<u32> {
        // The current version's: a version sent in its place is said to live as long.
        self.entry(resource.kind, resource.name)?.ttl_ms
    }

    fn spelling(&self, kind: ResourceType, name: NameId) -> Option<Spelling<'_>> {
        let entry = self.entry(kind, name).filter(|entry| !entry.aliases.is_empty())?;
        Some(Spelling { name: entry.resource.name, aliases: &entry.alias_texts })
    }

    fn obstacle(&self, kind: ResourceType, name: NameId) -> Option<Obstacle> {
        self.table?.obstacle(kind, name)
    }
}
