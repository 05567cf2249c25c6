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
    translate::{EndpointView, EndpointsKey, GatewayView, InboundView, OutboundView, PolicyView, Scope},
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
    /// The content of slots for policies.
    Policies(Arc<PolicyView>),
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
    pub(crate) state: State,
}

/// How the present form of a resource stands.
#[derive(Debug, Default)]
pub(crate) enum State {
    /// Held. No client has accepted the present form, nor one before it.
    #[default]
    Offered,
    /// Held. A client has accepted the present form.
    Accepted,
    /// Held. No client has accepted the present form; this one, which a client accepted last, stays in force where
    /// the present one is rejected.
    LastGood(Arc<Resource>),
    /// Lost its last holder in this turn, and leaves at the end of it, but for what pins it. With the form that was
    /// accepted last.
    Leaving(Option<Arc<Resource>>),
    /// Has no holder: something that clients still go by names it, so it stays and follows its facts.
    Pinned(Option<Arc<Resource>>),
}

impl Slot {
    /// Exchanges the resource; true when clients must hear of it.
    pub(crate) fn set(&mut self, resource: Option<Arc<Resource>>) -> bool {
        let version = |r: &Option<Arc<Resource>>| r.as_ref().map(|r| r.version);
        let differs = version(&self.resource) != version(&resource);
        let before = std::mem::replace(&mut self.resource, resource);
        match &self.state {
            State::Accepted if differs => self.state = before.map_or(State::Offered, State::LastGood),
            // What came back is the accepted one.
            State::LastGood(good) if Some(good.version) == version(&self.resource) => {
                self.state = State::Accepted;
            }
            State::Offered | State::Accepted | State::LastGood(_) | State::Leaving(_) | State::Pinned(_) => {}
        }
        differs
    }

    /// A client has accepted the present form. Was it the first?
    pub(crate) fn accept(&mut self) -> bool {
        let first = !self.version().is_some_and(|version| self.has_accepted(version));
        match &mut self.state {
            State::Leaving(good) | State::Pinned(good) => good.clone_from(&self.resource),
            state @ (State::Offered | State::LastGood(_) | State::Accepted) => *state = State::Accepted,
        }
        first
    }

    /// A client has accepted `good`, which is the present form but for what it rejects of it.
    pub(crate) fn accept_instead(&mut self, good: &Arc<Resource>) {
        if matches!(self.state, State::Offered | State::LastGood(_)) {
            self.state = State::LastGood(good.clone());
        }
    }

    /// It is held again.
    pub(crate) fn rejoin(&mut self) {
        if let State::Leaving(good) | State::Pinned(good) = &mut self.state {
            self.state = match good.take() {
                Some(good) if Some(good.version) == self.version() => State::Accepted,
                Some(good) => State::LastGood(good),
                None => State::Offered,
            };
        }
    }

    /// It has lost its last holder.
    pub(crate) fn leave(&mut self) {
        self.state = State::Leaving(self.last_good().cloned());
    }

    /// It stays without a holder.
    pub(crate) fn pin(&mut self) {
        self.state = State::Pinned(self.last_good().cloned());
    }

    pub(crate) fn version(&self) -> Option<Version> {
        self.resource.as_ref().map(|resource| resource.version)
    }

    /// Has a client accepted `version`, and is it the current one?
    pub(crate) fn has_accepted(&self, version: Version) -> bool {
        self.version() == Some(version) && self.last_good().is_some_and(|good| good.version == version)
    }

    /// The last version that a client has accepted.
    pub(crate) fn last_good(&self) -> Option<&Arc<Resource>> {
        match &self.state {
            State::Offered => None,
            State::Accepted => self.resource.as_ref(),
            State::LastGood(good) => Some(good),
            State::Leaving(good) | State::Pinned(good) => good.as_ref(),
        }
    }

    /// The version accepted before the present one, as long as that is not accepted: clients may still go by it.
    pub(crate) fn kept(&self) -> Option<&Arc<Resource>> {
        self.last_good().filter(|good| Some(good.version) != self.version())
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
    /// What is yet to become a member. As long as there is any, nodes are told nothing of this table.
    pub(crate) arriving: BTreeSet<MemoKey>,
    /// What stays a member until then.
    pub(crate) departing: BTreeSet<MemoKey>,
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
    /// What has no holder, with one of those that pin it.
    pub(crate) pinned: HashMap<Leaving, Keeper>,
    /// The other way round.
    pub(crate) keeps: HashMap<Keeper, BTreeSet<Leaving>>,
}

/// Something that clients may still go by, so that what it names must stay.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(crate) enum Keeper {
    /// The form of this name that was accepted before the present one.
    Before(ResourceType, NameId),
    /// The present form of this name, which is itself pinned.
    Pinned(ResourceType, NameId),
    /// What a single client is given of this name.
    Trial(crate::NodeHandle, ResourceType, NameId),
}

/// Something that a table lets go of.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
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
            arriving: BTreeSet::new(),
            departing: BTreeSet::new(),
            scope: None,
            assignments: HashMap::new(),
            listeners: BTreeSet::new(),
            routes: HashMap::new(),
            endpoint_tables: Vec::new(),
            demand: HashMap::new(),
            unaccepted: BTreeSet::new(),
            pinned: HashMap::new(),
            keeps: HashMap::new(),
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
