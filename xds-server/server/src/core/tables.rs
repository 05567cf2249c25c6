//! What sessions read: tables that are compiled from a world, or resources that were told ready-made.

use std::{collections::BTreeSet, sync::Arc};

use lateen_compile::{Compiler, GoodForm, NodeTables, PartName};
use lateen_model::{Diagnostic, NodeInfo, Origin};
use lateen_registry::{Changes, World};
use lateen_xds::{Acked, Guilty, NameId, Names, Obstacle, Resource, ResourceType, Spelling, View};

use super::pace::AT_ONCE;
use crate::raw::{RawNode, RawStore, RawTable, RawView};

/// Where resources come from.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Contents {
    /// They are compiled from what sources tell.
    #[default]
    Mesh,
    /// They are told one by one: [`Query::Raw`](super::Query::Raw).
    Raw,
}

/// An attached node.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(super) enum NodeHandle {
    Mesh(lateen_compile::NodeHandle),
    Raw(RawNode),
}

/// Number of a table.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(super) enum TableId {
    Mesh(lateen_compile::TableId),
    Raw(RawTable),
}

/// What changed since it was last asked.
#[derive(Debug, Default)]
pub(super) struct Delivery {
    /// Names by table and type, in order.
    pub(super) changed: Vec<(TableId, ResourceType, Vec<NameId>)>,
    /// Nodes that read other tables now.
    pub(super) moved: Vec<NodeHandle>,
    /// What single nodes are given in another form than before.
    pub(super) retold: Vec<(NodeHandle, ResourceType, NameId)>,
    /// Tables that nodes can be told of now.
    pub(super) completed: Vec<TableId>,
}

/// The tables.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "there is one of it, and the large one is the usual one")]
pub(super) enum Tables {
    Mesh(Compiler),
    Raw(RawStore),
}

/// What handles of one kind mean to tables of the other.
const FOREIGN: &str = "invariant: handles come from the tables that they are used with";

impl Tables {
    pub(super) fn new(contents: Contents) -> Self {
        match contents {
            Contents::Mesh => {
                let mut compiler = Compiler::new();
                compiler.set_portion(AT_ONCE);
                Self::Mesh(compiler)
            }
            Contents::Raw => Self::Raw(RawStore::default()),
        }
    }

    pub(super) fn raw_mut(&mut self) -> Option<&mut RawStore> {
        match self {
            Self::Mesh(_) => None,
            Self::Raw(store) => Some(store),
        }
    }

    pub(super) fn names(&self) -> &Names {
        match self {
            Self::Mesh(compiler) => compiler.names(),
            Self::Raw(store) => store.names(),
        }
    }

    pub(super) fn names_mut(&mut self) -> &mut Names {
        match self {
            Self::Mesh(compiler) => compiler.names_mut(),
            Self::Raw(store) => store.names_mut(),
        }
    }

    /// A world says nothing to resources that are told.
    pub(super) fn apply(&mut self, world: &World, changes: &Changes) {
        match self {
            Self::Mesh(compiler) => compiler.apply(world, changes),
            Self::Raw(_) => {}
        }
    }

    /// Do tables wait to be compiled?
    pub(super) fn is_behind(&self) -> bool {
        match self {
            Self::Mesh(compiler) => compiler.is_behind(),
            Self::Raw(_) => false,
        }
    }

    /// Compiles up to so much of what waits.
    pub(super) fn advance(&mut self, world: &World, max: usize) {
        match self {
            Self::Mesh(compiler) => compiler.advance(world, max),
            Self::Raw(_) => {}
        }
    }

    /// Can the node be told what its tables have?
    pub(super) fn is_complete(&self, handle: NodeHandle) -> bool {
        match (self, handle) {
            (Self::Mesh(compiler), NodeHandle::Mesh(handle)) => compiler.is_complete(handle),
            _ => true,
        }
    }

    pub(super) fn take_changed(&mut self) -> Delivery {
        match self {
            Self::Mesh(compiler) => {
                let lateen_compile::Delivery { changed, moved, retold, completed } = compiler.take_changed();
                let retold = retold.into_iter();
                let changed =
                    changed.into_iter().map(|(table, kind, names)| (TableId::Mesh(table), kind, names));
                Delivery {
                    changed: changed.collect(),
                    moved: moved.into_iter().map(NodeHandle::Mesh).collect(),
                    retold: retold.map(|(node, kind, name)| (NodeHandle::Mesh(node), kind, name)).collect(),
                    completed: completed.into_iter().map(TableId::Mesh).collect(),
                }
            }
            Self::Raw(store) => {
                let delivery = store.take_changed();
                let changed = delivery.changed.into_iter();
                Delivery {
                    changed: changed
                        .map(|((table, kind), names)| {
                            (TableId::Raw(table), kind, names.into_iter().collect())
                        })
                        .collect(),
                    moved: delivery.moved.into_iter().map(NodeHandle::Raw).collect(),
                    retold: Vec::new(),
                    completed: Vec::new(),
                }
            }
        }
    }

    pub(super) fn findings(&self) -> Box<dyn Iterator<Item = &Diagnostic> + '_> {
        match self {
            Self::Mesh(compiler) => Box::new(compiler.findings()),
            Self::Raw(store) => Box::new(store.findings()),
        }
    }

    /// What clients have rejected of what was compiled, and who.
    pub(super) fn rejected(&self) -> Vec<(&Diagnostic, &BTreeSet<Arc<str>>)> {
        match self {
            Self::Mesh(compiler) => compiler.rejected().collect(),
            Self::Raw(_) => Vec::new(),
        }
    }

    pub(super) fn sweep_names(&mut self, others: impl Fn(&mut dyn FnMut(NameId))) {
        match self {
            Self::Mesh(compiler) => compiler.sweep_names(others),
            Self::Raw(store) => store.sweep_names(others),
        }
    }

    pub(super) fn attach(&mut self, world: &World, info: &Arc<NodeInfo>) -> NodeHandle {
        match self {
            Self::Mesh(compiler) => NodeHandle::Mesh(compiler.attach(world, info)),
            Self::Raw(store) => NodeHandle::Raw(store.attach(info)),
        }
    }

    pub(super) fn detach(&mut self, handle: NodeHandle) {
        match (self, handle) {
            (Self::Mesh(compiler), NodeHandle::Mesh(handle)) => compiler.detach(handle),
            (Self::Raw(store), NodeHandle::Raw(handle)) => store.detach(handle),
            (Self::Mesh(_), NodeHandle::Raw(_)) | (Self::Raw(_), NodeHandle::Mesh(_)) => {
                unreachable!("{FOREIGN}")
            }
        }
    }

    pub(super) fn subscribe(
        &mut self,
        world: &World,
        handle: NodeHandle,
        kind: ResourceType,
        names: &[NameId],
    ) {
        match (self, handle) {
            (Self::Mesh(compiler), NodeHandle::Mesh(handle)) => {
                compiler.subscribe(world, handle, kind, names);
            }
            (Self::Raw(store), NodeHandle::Raw(_)) => store.asked(kind, names),
            (Self::Mesh(_), NodeHandle::Raw(_)) | (Self::Raw(_), NodeHandle::Mesh(_)) => {
                unreachable!("{FOREIGN}")
            }
        }
    }

    pub(super) fn unsubscribe(&mut self, handle: NodeHandle, kind: ResourceType, names: &[NameId]) {
        if let (Self::Mesh(compiler), NodeHandle::Mesh(handle)) = (self, handle) {
            compiler.unsubscribe(handle, kind, names);
        }
    }

    pub(super) fn tables_of(&self, handle: NodeHandle) -> Vec<TableId> {
        match (self, handle) {
            (Self::Mesh(compiler), NodeHandle::Mesh(handle)) => {
                compiler.tables_of(handle).into_iter().map(TableId::Mesh).collect()
            }
            (Self::Raw(store), NodeHandle::Raw(handle)) => {
                store.table_of(handle).into_iter().map(TableId::Raw).collect()
            }
            (Self::Mesh(_), NodeHandle::Raw(_)) | (Self::Raw(_), NodeHandle::Mesh(_)) => {
                unreachable!("{FOREIGN}")
            }
        }
    }

    pub(super) fn view(&self, handle: NodeHandle) -> NodeView<'_> {
        match (self, handle) {
            (Self::Mesh(compiler), NodeHandle::Mesh(handle)) => NodeView::Mesh(compiler.view(handle)),
            (Self::Raw(store), NodeHandle::Raw(handle)) => NodeView::Raw(store.view(handle)),
            (Self::Mesh(_), NodeHandle::Raw(_)) | (Self::Raw(_), NodeHandle::Mesh(_)) => {
                unreachable!("{FOREIGN}")
            }
        }
    }

    pub(super) fn acked(&mut self, handle: NodeHandle, acked: &Acked) {
        match (self, handle) {
            (Self::Mesh(compiler), NodeHandle::Mesh(handle)) => compiler.acked(handle, acked),
            (Self::Raw(store), NodeHandle::Raw(handle)) => store.acked(handle, acked),
            (Self::Mesh(_), NodeHandle::Raw(_)) | (Self::Raw(_), NodeHandle::Mesh(_)) => {
                unreachable!("{FOREIGN}")
            }
        }
    }

    pub(super) fn nacked(&mut self, handle: NodeHandle, principal: &Arc<str>, guilty: &Guilty) {
        match (self, handle) {
            (Self::Mesh(compiler), NodeHandle::Mesh(handle)) => compiler.nacked(handle, principal, guilty),
            (Self::Raw(store), NodeHandle::Raw(handle)) => store.nacked(handle, principal, guilty),
            (Self::Mesh(_), NodeHandle::Raw(_)) | (Self::Raw(_), NodeHandle::Mesh(_)) => {
                unreachable!("{FOREIGN}")
            }
        }
    }

    /// What the node itself rejects of a type, and is not given or has no other form of.
    pub(super) fn rejected_by(
        &self,
        handle: NodeHandle,
        kind: ResourceType,
    ) -> Vec<&lateen_compile::Rejection> {
        match (self, handle) {
            (Self::Mesh(compiler), NodeHandle::Mesh(handle)) => compiler.rejected_by(handle, kind).collect(),
            _ => Vec::new(),
        }
    }

    /// Is it being found out which part of a resource the node rejects?
    pub(super) fn is_on_trial(&self, handle: NodeHandle, guilty: &Guilty) -> bool {
        match (self, handle) {
            (Self::Mesh(compiler), NodeHandle::Mesh(handle)) => {
                compiler.is_on_trial(handle, guilty.kind, guilty.name)
            }
            _ => false,
        }
    }

    /// Takes what was accepted for the first time, to be remembered over a restart.
    pub(super) fn take_accepted(&mut self) -> Vec<u64> {
        match self {
            Self::Mesh(compiler) => compiler.take_accepted(),
            Self::Raw(_) => Vec::new(),
        }
    }

    /// What clients go by of that, and of what was accepted before.
    pub(super) fn accepted_in_use(&self) -> Vec<u64> {
        match self {
            Self::Mesh(compiler) => compiler.accepted_in_use(),
            Self::Raw(_) => Vec::new(),
        }
    }

    /// Takes what clients go on with in place of what they reject, as far as it is another than before.
    pub(super) fn take_forms(&mut self) -> Vec<(PartName, Option<GoodForm>)> {
        match self {
            Self::Mesh(compiler) => compiler.take_forms(),
            Self::Raw(_) => Vec::new(),
        }
    }

    /// What clients went on with before a restart.
    pub(super) fn remember_forms(&mut self, forms: Vec<(PartName, GoodForm)>) {
        if let Self::Mesh(compiler) = self {
            compiler.remember_forms(forms);
        }
    }

    /// What was accepted before a restart.
    pub(super) fn remember(&mut self, accepted: &[u64]) {
        if let Self::Mesh(compiler) = self {
            compiler.remember(accepted);
        }
    }

    /// What was told has no origin.
    pub(super) fn origins(&self, handle: NodeHandle, kind: ResourceType, name: NameId) -> Vec<Origin> {
        match (self, handle) {
            (Self::Mesh(compiler), NodeHandle::Mesh(handle)) => compiler.origins(handle, kind, name),
            _ => Vec::new(),
        }
    }
}

/// What a node may have.
#[derive(Debug)]
pub(super) enum NodeView<'a> {
    Mesh(NodeTables<'a>),
    Raw(RawView<'a>),
}

impl NodeView<'_> {
    fn inner(&self) -> &dyn View {
        match self {
            Self::Mesh(view) => view,
            Self::Raw(view) => view,
        }
    }
}

impl View for NodeView<'_> {
    fn names(&self) -> &Names {
        self.inner().names()
    }

    fn get(&self, kind: ResourceType, name: NameId) -> Option<&Arc<Resource>> {
        self.inner().get(kind, name)
    }

    fn members(&self, kind: ResourceType, visit: &mut dyn FnMut(NameId, &Arc<Resource>)) {
        self.inner().members(kind, visit);
    }

    fn is_member(&self, kind: ResourceType, name: NameId) -> bool {
        self.inner().is_member(kind, name)
    }

    fn hosts_of(&self, route_configuration: NameId, visit: &mut dyn FnMut(NameId, &Arc<Resource>)) {
        self.inner().hosts_of(route_configuration, visit);
    }

    fn ready(&self) -> bool {
        self.inner().ready()
    }

    fn last_good(&self, kind: ResourceType, name: NameId) -> Option<&Arc<Resource>> {
        self.inner().last_good(kind, name)
    }

    fn condemned(&self, resource: &Resource) -> bool {
        self.inner().condemned(resource)
    }

    fn ttl_ms(&self, resource: &Resource) -> Option<u32> {
        self.inner().ttl_ms(resource)
    }

    fn spelling(&self, kind: ResourceType, name: NameId) -> Option<Spelling<'_>> {
        self.inner().spelling(kind, name)
    }

    fn obstacle(&self, kind: ResourceType, name: NameId) -> Option<Obstacle> {
        self.inner().obstacle(kind, name)
    }
}
