//! Nodes: what a connected client reads.

use std::{collections::BTreeSet, sync::Arc};

use lateen_model::{Diagnostic, Version};
use lateen_xds::{NameId, Names, Resource, ResourceType, View};

use crate::{TableId, compiler::Compiler, table::Table};

/// An attached node.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct NodeHandle(pub(crate) u32);

/// The tables of a node as one.
#[derive(Debug)]
pub struct NodeTables<'a> {
    pub(crate) compiler: &'a Compiler,
    pub(crate) tables: &'a [TableId],
}

/// A version that clients have rejected.
#[derive(Debug)]
pub(crate) struct Rejection {
    /// Who, by proven identity.
    pub(crate) principals: BTreeSet<Arc<str>>,
    /// Has any client accepted it? Then it is the rejecting ones that are odd.
    pub(crate) accepted: bool,
    pub(crate) finding: Diagnostic,
}

/// From how many independent identities on a version that nobody has accepted is condemned: no client, and no two,
/// can roll back a view in which it works for others.
const CONDEMNED_BY: usize = 2;

/// Identifies a version of a resource.
pub(crate) type VersionKey = (ResourceType, NameId, Version);

impl<'a> NodeTables<'a> {
    fn tables(&self) -> impl Iterator<Item = &'a Table> + use<'a, '_> {
        self.tables.iter().filter_map(|id| self.compiler.table(*id))
    }
}

impl View for NodeTables<'_> {
    fn names(&self) -> &Names {
        self.compiler.names()
    }

    fn get(&self, kind: ResourceType, name: NameId) -> Option<&Arc<Resource>> {
        self.tables().find_map(|table| table.get(kind, name))
    }

    fn members(&self, kind: ResourceType, visit: &mut dyn FnMut(NameId, &Arc<Resource>)) {
        for table in self.tables() {
            for (name, slot) in table.slots(kind) {
                if let Some(resource) = &slot.resource {
                    visit(*name, resource);
                }
            }
        }
    }

    fn is_member(&self, kind: ResourceType, name: NameId) -> bool {
        self.get(kind, name).is_some()
    }

    fn hosts_of(&self, route_configuration: NameId, visit: &mut dyn FnMut(NameId, &Arc<Resource>)) {
        for table in self.tables() {
            let Some(routes) = table.routes.get(&route_configuration) else { continue };
            for name in routes.hosts.values().filter_map(|host| host.resource) {
                if let Some(resource) = table.get(ResourceType::VirtualHost, name) {
                    visit(name, resource);
                }
            }
        }
    }

    fn ready(&self) -> bool {
        true
    }

    fn last_good(&self, kind: ResourceType, name: NameId) -> Option<&Arc<Resource>> {
        self.tables().find_map(|table| table.slots(kind).get(&name)?.last_good())
    }

    fn condemned(&self, resource: &Resource) -> bool {
        let rejections = self.compiler.rejections();
        !rejections.is_empty()
            && rejections
                .get(&(resource.kind, resource.name, resource.version))
                .is_some_and(|rejection| !rejection.accepted && rejection.principals.len() >= CONDEMNED_BY)
    }
}
