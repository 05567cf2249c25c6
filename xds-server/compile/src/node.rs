//! Nodes: what a connected client reads.

use std::{collections::BTreeSet, sync::Arc};

use lateen_model::{Diagnostic, Version};
use lateen_xds::{NameId, Names, Resource, ResourceType, View};

use crate::{
    TableId,
    compiler::{Compiler, Subject},
    table::Table,
};

/// An attached node.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct NodeHandle(pub(crate) u32);

/// The tables of a node as one.
#[derive(Debug)]
pub struct NodeTables<'a> {
    pub(crate) compiler: &'a Compiler,
    pub(crate) node: NodeHandle,
    pub(crate) tables: &'a [TableId],
}

/// A version that clients have rejected.
#[derive(Debug)]
pub struct Rejection {
    /// Who, by proven identity.
    pub(crate) principals: BTreeSet<Arc<str>>,
    /// Connected nodes that reject it.
    pub(crate) nodes: BTreeSet<NodeHandle>,
    /// Names of nodes that rejected it, connected or not: when such a one comes back, it is given it once more.
    pub(crate) ids: BTreeSet<Arc<str>>,
    /// Has any client accepted it? Then it is the rejecting ones that are odd.
    pub(crate) accepted: bool,
    /// Name of the resource and of the part of it; `None`: the whole.
    pub part: Option<String>,
    /// The client's words.
    pub message: Arc<str>,
    /// What is said of it.
    pub finding: Diagnostic,
}

impl Rejection {
    /// Is it kept from everybody?
    pub(crate) fn is_condemned(&self) -> bool {
        !self.accepted && self.principals.len() >= CONDEMNED_BY
    }
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
        let given = self.compiler.given(self.node, kind, name);
        given.or_else(|| self.tables().find_map(|table| table.get(kind, name)))
    }

    fn members(&self, kind: ResourceType, visit: &mut dyn FnMut(NameId, &Arc<Resource>)) {
        for table in self.tables() {
            for (name, slot) in table.slots(kind) {
                if let Some(resource) = &slot.resource {
                    visit(*name, self.compiler.given(self.node, kind, *name).unwrap_or(resource));
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
        self.compiler.is_complete(self.node)
    }

    fn last_good(&self, kind: ResourceType, name: NameId) -> Option<&Arc<Resource>> {
        self.tables().find_map(|table| table.slots(kind).get(&name)?.last_good())
    }

    fn condemned(&self, resource: &Resource) -> bool {
        let rejections = self.compiler.rejections();
        let Resource { kind, name, version, .. } = *resource;
        !rejections.is_empty()
            && rejections
                .get(&Subject { kind, name, piece: None, version })
                .is_some_and(|it| it.is_condemned() && !self.compiler.has_returned(self.node, it))
    }
}
