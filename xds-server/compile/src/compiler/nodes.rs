//! Nodes and the tables that they read.

use std::{collections::BTreeMap, sync::Arc};

use lateen_model::NodeInfo;
use lateen_registry::World;
use lateen_xds::{Acked, Guilty, NameId, ResourceType};

use super::{Compiler, Subject};
use crate::{
    NodeHandle, NodeTables, TableId,
    engine::MemoId,
    program::{MemoKey, MemoValue},
    table::{Table, TableKey},
    translate::NodeViews,
};

/// Tables without a node that are kept, so that a lone node's reconnect finds its table.
const IDLE_MAX: usize = 64;
/// How many members they may have together; the last one is kept whatever it has.
const IDLE_MEMBERS_MAX: usize = 100_000;

/// An attached node.
#[derive(Debug)]
pub(super) struct Node {
    memo: MemoId,
    tables: Vec<TableId>,
    /// What it has asked for by name, so that it can move to other tables: endpoints only; sorted.
    asked: Vec<NameId>,
}

impl Compiler {
    /// A node has connected: its views are found, and compiled if they are new.
    pub fn attach(&mut self, world: &World, info: &Arc<NodeInfo>) -> NodeHandle {
        let handle = self.free_nodes.pop().unwrap_or_else(|| {
            self.nodes.push(None);
            NodeHandle(u32::try_from(self.nodes.len() - 1).expect("invariant: fewer than 2^32 nodes"))
        });
        self.graph.set(&MemoKey::Node(handle), MemoValue::Node(info.clone()));
        let memo = self.graph.hold(MemoKey::Views(handle));
        if let Some(slot) = self.nodes.get_mut(handle.0 as usize) {
            *slot = Some(Node { memo, tables: Vec::new(), asked: Vec::new() });
        }
        self.settle(world);
        // It reads its first tables: nobody needs to be told that it moved.
        self.moved.remove(&handle);
        self.retry_condemned(handle);
        handle
    }

    /// A node is gone.
    pub fn detach(&mut self, handle: NodeHandle) {
        let Some(node) = self.nodes.get_mut(handle.0 as usize).and_then(Option::take) else { return };
        for name in &node.asked {
            self.forget_demand(&node.tables, *name);
        }
        for table in node.tables {
            self.leave_table(table);
        }
        self.graph.release(node.memo);
        self.forget_rejecter(handle);
        self.finish_leaving();
        self.principals.remove(&handle);
        self.graph.unset(&MemoKey::Node(handle));
        self.collect();
        self.moved.remove(&handle);
        self.free_nodes.push(handle);
    }

    /// The node asks for these by name. Endpoints are compiled for who asks for them; everything else is there.
    pub fn subscribe(&mut self, world: &World, handle: NodeHandle, kind: ResourceType, names: &[NameId]) {
        if kind != ResourceType::Endpoints {
            return;
        }
        let Some(node) = self.node_mut(handle) else { return };
        let mut fresh: Vec<NameId> =
            names.iter().copied().filter(|name| node.asked.binary_search(name).is_err()).collect();
        fresh.sort_unstable();
        fresh.dedup();
        node.asked.extend_from_slice(&fresh);
        node.asked.sort_unstable();
        let tables = node.tables.clone();
        for name in fresh {
            self.note_demand(&tables, name);
        }
        self.settle(world);
    }

    /// The node no longer asks for these.
    pub fn unsubscribe(&mut self, handle: NodeHandle, kind: ResourceType, names: &[NameId]) {
        if kind != ResourceType::Endpoints {
            return;
        }
        let Some(node) = self.node_mut(handle) else { return };
        let mut left: Vec<NameId> =
            names.iter().copied().filter(|name| node.asked.binary_search(name).is_ok()).collect();
        left.sort_unstable();
        left.dedup();
        node.asked.retain(|name| left.binary_search(name).is_err());
        let tables = node.tables.clone();
        for name in left {
            self.forget_demand(&tables, name);
        }
        self.collect();
    }

    /// The tables that the node reads.
    pub fn tables_of(&self, handle: NodeHandle) -> Vec<TableId> {
        self.node(handle).map(|node| node.tables.clone()).unwrap_or_default()
    }

    /// Do the node's tables have all their members?
    pub fn is_complete(&self, handle: NodeHandle) -> bool {
        let complete = |id: &TableId| self.table(*id).is_none_or(|table| table.arriving.is_empty());
        self.node(handle).is_none_or(|node| node.tables.iter().all(complete))
    }

    /// The node's tables as one.
    pub fn view(&self, handle: NodeHandle) -> NodeTables<'_> {
        let tables = self.node(handle).map(|node| node.tables.as_slice()).unwrap_or_default();
        NodeTables { compiler: self, node: handle, tables }
    }

    /// A client has accepted a version.
    pub fn acked(&mut self, handle: NodeHandle, acked: &Acked) {
        let Acked { kind, name, version } = *acked;
        let key = (handle, kind, name);
        if self.given(handle, kind, name).is_some_and(|given| given.version == version) {
            if self.has_given_up(&key) {
                self.end_trial(key);
                self.finish_leaving();
            } else {
                let principal = self.principal_of(&key);
                return self.take_trial_answer(key, &principal, None);
            }
        }
        self.accepted_another(handle, kind, name);
        let Some(node) = self.nodes.get(handle.0 as usize).and_then(Option::as_ref) else { return };
        let mut accepted = None;
        for id in &node.tables {
            let table = self.tables.get_mut(id.0 as usize).and_then(Option::as_mut);
            let Some(slot) = table.and_then(|table| table.slots_mut(kind).get_mut(&name)) else { continue };
            if let Some(resource) = slot.resource.clone().filter(|resource| resource.version == version) {
                accepted = Some((*id, slot.accept(), resource));
            }
            break;
        }
        let Some((table, first, resource)) = accepted else { return };
        // Only the first acceptance of a version tells anything new.
        if first || !self.rejections.is_empty() {
            self.note_kept(table, kind, name);
            if first {
                self.follow_rejections(table, kind, name);
            }
            self.note_accepted(&resource, first);
            if first && kind == ResourceType::Cluster && !self.trials.is_empty() {
                self.release_routes(name);
            }
            if first && let Some(routes) = self.table_mut(table).and_then(|t| t.routes.get_mut(&name)) {
                let parts = routes.take_unaccepted();
                for (piece, version) in parts {
                    self.remember_acceptance(&Subject { kind, name, piece: Some(piece), version });
                }
            }
            self.finish_leaving();
        }
    }

    /// A client has rejected a version.
    pub fn nacked(&mut self, handle: NodeHandle, principal: &Arc<str>, guilty: &Guilty) {
        let (kind, name, version) = (guilty.kind, guilty.name, guilty.version);
        let key = (handle, kind, name);
        self.principals.insert(handle, principal.clone());
        let given_up = self.has_given_up(&key);
        if !given_up && self.given(handle, kind, name).is_some_and(|given| given.version == version) {
            return self.take_trial_answer(key, principal, Some(guilty));
        }
        if self.is_stale(&key, version) {
            return;
        }
        let present = |id| Some((id, self.table(id)?.get(kind, name)?.clone()));
        let resource = self.tables_of(handle).into_iter().find_map(present);
        let Some((table, resource)) = resource.filter(|(_, resource)| resource.version == version) else {
            return;
        };
        if !given_up && self.try_parts(key, table, &resource, guilty, principal) {
            return;
        }
        self.reject(handle, principal, &Subject { kind, name, piece: None, version }, &guilty.message);
        if kind == ResourceType::Cluster {
            self.hold_back_routes(handle, guilty);
            self.finish_leaving();
        }
    }

    /// The node's views are other ones now.
    pub(super) fn move_node(&mut self, handle: NodeHandle, views: &NodeViews) {
        let mut tables = Vec::new();
        let mut endpoints_of = None;
        if let Some(view) = &views.outbound {
            let id = self.enter_table(TableKey::Outbound(Arc::new(view.clone())));
            endpoints_of = Some(id);
            tables.push(id);
        }
        if let Some(view) = &views.gateway {
            let id = self.enter_table(TableKey::Gateway(Arc::new(view.clone())));
            endpoints_of = Some(id);
            tables.push(id);
        }
        if let Some(view) = &views.inbound {
            tables.push(self.enter_table(TableKey::Inbound(Arc::new(view.clone()))));
        }
        if let Some(view) = &views.policies {
            tables.push(self.enter_table(TableKey::Policies(Arc::new(view.clone()))));
        }
        if let Some(parent) = endpoints_of {
            let view = Arc::new(views.endpoints.clone());
            tables.push(self.enter_table(TableKey::Endpoints(parent, view)));
        }
        let Some(node) = self.node_mut(handle) else { return };
        let before = std::mem::replace(&mut node.tables, tables.clone());
        let asked = node.asked.clone();
        for name in asked {
            self.note_demand(&tables, name);
            self.forget_demand(&before, name);
        }
        // What trials elsewhere pin leaves when everything is settled.
        for key in self.trials.of_node(handle) {
            if self.trials.get(&key).is_some_and(|trial| !tables.contains(&trial.table)) {
                self.end_trial(key);
            }
        }
        for table in before {
            self.leave_table(table);
        }
        self.moved.insert(handle);
    }

    fn note_demand(&mut self, tables: &[TableId], name: NameId) {
        for id in tables {
            let Some(table) = self.table_mut(*id) else { continue };
            if matches!(table.key, TableKey::Endpoints(..)) {
                let count = table.demand.entry(name).or_default();
                *count += 1;
                if *count == 1 {
                    self.refresh_demand(*id, name);
                }
            }
        }
    }

    fn forget_demand(&mut self, tables: &[TableId], name: NameId) {
        for id in tables {
            let Some(table) = self.table_mut(*id) else { continue };
            if let Some(count) = table.demand.get_mut(&name) {
                *count -= 1;
                if *count == 0 {
                    table.demand.remove(&name);
                    self.refresh_demand(*id, name);
                }
            }
        }
    }

    fn node(&self, handle: NodeHandle) -> Option<&Node> {
        self.nodes.get(handle.0 as usize)?.as_ref()
    }

    fn node_mut(&mut self, handle: NodeHandle) -> Option<&mut Node> {
        self.nodes.get_mut(handle.0 as usize)?.as_mut()
    }

    /// One more user of a table, which is made if it is not there.
    #[allow(clippy::needless_pass_by_value, reason = "keys are made for this call")]
    fn enter_table(&mut self, key: TableKey) -> TableId {
        if let Some(id) = self.by_key.get(&key).copied() {
            self.idle.retain(|idle| *idle != id);
            if let Some(table) = self.table_mut(id) {
                table.users += 1;
            }
            return id;
        }
        let id = self.free_tables.pop().unwrap_or_else(|| {
            self.tables.push(None);
            TableId(u32::try_from(self.tables.len() - 1).expect("invariant: fewer than 2^32 tables"))
        });
        let mut table = Table::new(key.clone());
        table.users = 1;
        if let Some(slot) = self.tables.get_mut(id.0 as usize) {
            *slot = Some(table);
        }
        self.by_key.insert(key.clone(), id);
        self.graph.set(&MemoKey::Table(id), MemoValue::Table(key.clone()));
        let memos = match key {
            TableKey::Outbound(_) => vec![MemoKey::Scope(id), MemoKey::Fixed(id)],
            TableKey::Gateway(_) => {
                self.gateways.insert(id);
                vec![MemoKey::GatewayPlan(id)]
            }
            TableKey::Inbound(_) => vec![MemoKey::Inbound(id)],
            TableKey::Policies(_) => vec![MemoKey::Policies(id)],
            TableKey::Endpoints(parent, _) => {
                if let Some(parent) = self.table_mut(parent) {
                    parent.endpoint_tables.push(id);
                }
                Vec::new()
            }
        };
        let memos: Vec<MemoId> = memos.into_iter().map(|key| self.graph.hold(key)).collect();
        if let Some(table) = self.table_mut(id) {
            table.memos = memos;
        }
        id
    }

    fn leave_table(&mut self, id: TableId) {
        let Some(table) = self.table_mut(id) else { return };
        table.users -= 1;
        if table.users > 0 {
            return;
        }
        match table.key {
            TableKey::Outbound(_) | TableKey::Gateway(_) => {
                self.idle.push_back(id);
                while self.idle.len() > 1
                    && (self.idle.len() > IDLE_MAX || self.idle_members() > IDLE_MEMBERS_MAX)
                    && let Some(oldest) = self.idle.pop_front()
                {
                    self.drop_table(oldest);
                }
            }
            TableKey::Inbound(_) | TableKey::Policies(_) | TableKey::Endpoints(..) => self.drop_table(id),
        }
    }

    fn idle_members(&self) -> usize {
        self.idle.iter().filter_map(|id| self.table(*id)).map(|table| table.members.len()).sum()
    }

    fn drop_table(&mut self, id: TableId) {
        // Everything that entries hold is let go of the way it came.
        self.remove_members(id);
        let memos = self.table(id).map(|t| t.memos.clone()).unwrap_or_default();
        for memo in memos {
            match self.graph.value(memo).cloned() {
                Some(MemoValue::Fixed(fixed)) => self.exchange_fixed(id, Some(&fixed), None),
                Some(MemoValue::Inbound(entry)) => self.exchange_inbound(id, Some(&entry), None),
                Some(MemoValue::Policies(all)) => self.exchange_policies(id, Some(&all), &[]),
                _ => {}
            }
            self.graph.release(memo);
        }
        self.finish_leaving_of(id);
        let Some(table) = self.tables.get_mut(id.0 as usize).and_then(Option::take) else { return };
        if let TableKey::Endpoints(parent, _) = &table.key
            && let Some(parent) = self.table_mut(*parent)
        {
            parent.endpoint_tables.retain(|endpoints| *endpoints != id);
        }
        self.by_key.remove(&table.key);
        self.graph.unset(&MemoKey::Table(id));
        self.gateways.remove(&id);
        self.changed.retain(|(table, _), _| *table != id);
        self.end_rejections_of(id);
        self.dropped_tables.push(id);
    }
}

/// A resource as text and bytes, for comparing whole nodes.
pub type Content = BTreeMap<(ResourceType, String), (lateen_model::Version, bytes::Bytes)>;

impl Compiler {
    /// Compiles a world from nothing for these nodes, everything that they could ask for included: the oracle for
    /// everything incremental, and the other side of a comparison.
    pub fn cold(world: &World, nodes: &[Arc<NodeInfo>]) -> (Self, Vec<NodeHandle>) {
        let mut compiler = Self::new();
        let handles: Vec<NodeHandle> = nodes.iter().map(|node| compiler.attach(world, node)).collect();
        for handle in &handles {
            compiler.subscribe_all(world, *handle);
        }
        (compiler, handles)
    }

    /// Asks for all endpoints that the node's clusters have.
    pub fn subscribe_all(&mut self, world: &World, handle: NodeHandle) {
        let tables = self.tables_of(handle);
        let all: Vec<NameId> = tables
            .iter()
            .filter_map(|id| self.table(*id))
            .flat_map(|t| t.assignments.keys().copied())
            .collect();
        self.subscribe(world, handle, ResourceType::Endpoints, &all);
    }

    /// Everything a node is given.
    pub fn contents(&self, handle: NodeHandle) -> Content {
        let mut content = Content::new();
        let view = self.view(handle);
        for kind in ResourceType::ALL {
            lateen_xds::View::members(&view, kind, &mut |name, resource| {
                let key = (kind, self.names.text(name).to_string());
                content.insert(key, (resource.version, resource.body.bytes()));
            });
        }
        content
    }
}
