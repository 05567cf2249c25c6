//! Tables: the resources that the nodes of a view may have.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use lateen_model::Version;
use lateen_xds::{NameId, Resource, ResourceType};

use crate::{
    engine::MemoId,
    program::MemoKey,
    routes::RouteTable,
    translate::{EndpointView, EndpointsKey, GatewayView, InboundView, OutboundView, Scope},
};

/// Number of a table. Used again after the table was dropped.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct TableId(pub(crate) u32);

/// What a table is of.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) enum TableKey {
    /// Clusters, listeners, routes of a sidecar's outbound side.
    Outbound(Arc<OutboundView>),
    /// Clusters, listeners, routes of a gateway.
    Gateway(Arc<GatewayView>),
    /// What leads to a workload.
    Inbound(Arc<InboundView>),
    /// Endpoints of the clusters of the table, as seen from a place.
    Endpoints(TableId, Arc<EndpointView>),
}

/// One name of a table.
#[derive(Debug, Default)]
pub(crate) struct Slot {
    pub(crate) resource: Option<Arc<Resource>>,
    /// The memo it comes from, where it has one of its own.
    pub(crate) memo: Option<MemoId>,
    /// How many entries hold the name.
    pub(crate) holders: u32,
    /// Has a client accepted this version?
    accepted: bool,
    /// The version accepted before, as long as this one is not.
    pub(crate) last_good: Option<Arc<Resource>>,
}

impl Slot {
    /// Exchanges the resource; true when clients must hear of it.
    pub(crate) fn set(&mut self, resource: Option<Arc<Resource>>) -> bool {
        let version = |r: &Option<Arc<Resource>>| r.as_ref().map(|r| r.version);
        let differs = version(&self.resource) != version(&resource);
        let before = std::mem::replace(&mut self.resource, resource);
        if differs && std::mem::take(&mut self.accepted) {
            self.last_good = before;
        }
        // What came back is the accepted one.
        if self.resource.is_some() && version(&self.resource) == version(&self.last_good) {
            self.accept();
        }
        differs
    }

    /// A client has accepted the current version.
    pub(crate) fn accept(&mut self) {
        self.accepted = true;
        self.last_good = None;
    }

    /// Has a client accepted `version`, and is it the current one?
    pub(crate) fn has_accepted(&self, version: Version) -> bool {
        self.accepted && self.resource.as_ref().is_some_and(|resource| resource.version == version)
    }

    /// The last version that a client has accepted.
    pub(crate) fn last_good(&self) -> Option<&Arc<Resource>> {
        if self.accepted { self.resource.as_ref() } else { self.last_good.as_ref() }
    }
}

/// Endpoints that a table's clusters ask for.
#[derive(Debug)]
pub(crate) struct Assignment {
    pub(crate) key: Arc<EndpointsKey>,
    pub(crate) holders: u32,
}

/// A table.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) key: TableKey,
    pub(crate) kinds: [HashMap<NameId, Slot>; ResourceType::COUNT],
    /// How many nodes (and endpoint tables) use it.
    pub(crate) users: u32,
    /// Memos that the table holds as a whole: its fixed part, its entry.
    pub(crate) memos: Vec<MemoId>,
    /// Memos of what it sees: the hosts of an outbound view, the sockets and hosts of a gateway.
    pub(crate) members: BTreeSet<MemoKey>,
    /// What an outbound view sees of the mesh, as far as its members follow it.
    pub(crate) scope: Option<Arc<Scope>>,
    pub(crate) assignments: HashMap<NameId, Assignment>,
    /// Listeners that hosts contribute to.
    pub(crate) listeners: BTreeSet<NameId>,
    pub(crate) routes: HashMap<NameId, RouteTable>,
    /// Tables of the endpoints of this one.
    pub(crate) endpoint_tables: Vec<TableId>,
    /// Of an endpoint table: how many streams ask for a name.
    pub(crate) demand: HashMap<NameId, u32>,
    /// Names whose version before the current one is kept until the current one is accepted.
    pub(crate) unaccepted: BTreeSet<(ResourceType, NameId)>,
    /// What nothing of the present holds any more, and something kept still refers to; held once for each entry.
    pub(crate) pinned: Vec<Leaving>,
}

/// Something that a table lets go of.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Leaving {
    /// A name.
    Slot(ResourceType, NameId),
    /// Endpoints of a cluster.
    Assignment(NameId),
}

impl Table {
    pub(crate) fn new(key: TableKey) -> Self {
        Self {
            key,
            kinds: Default::default(),
            users: 0,
            memos: Vec::new(),
            members: BTreeSet::new(),
            scope: None,
            assignments: HashMap::new(),
            listeners: BTreeSet::new(),
            routes: HashMap::new(),
            endpoint_tables: Vec::new(),
            demand: HashMap::new(),
            unaccepted: BTreeSet::new(),
            pinned: Vec::new(),
        }
    }

    pub(crate) fn slots(&self, kind: ResourceType) -> &HashMap<NameId, Slot> {
        &self.kinds[kind.index()]
    }

    pub(crate) fn slots_mut(&mut self, kind: ResourceType) -> &mut HashMap<NameId, Slot> {
        &mut self.kinds[kind.index()]
    }

    pub(crate) fn get(&self, kind: ResourceType, name: NameId) -> Option<&Arc<Resource>> {
        self.slots(kind).get(&name)?.resource.as_ref()
    }
}
