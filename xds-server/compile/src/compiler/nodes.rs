//! Nodes and the tables that they read.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use lateen_model::{Diagnostic, NodeInfo, Severity, diagnostic::Code};
use lateen_registry::World;
use lateen_xds::{Acked, Guilty, NameId, ResourceType};

use super::Compiler;
use crate::{
    NodeHandle, NodeTables, TableId,
    engine::MemoId,
    node::Rejection,
    program::{MemoKey, MemoValue},
    table::{Table, TableKey},
    translate::NodeViews,
};

/// Tables without a node that are kept, so that a lone node's reconnect finds its table.
const IDLE_MAX: usize = 64;
/// Clients reject a resource.
pub const REJECTED: Code = Code("LAT4001");

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

    /// The node's tables as one.
    pub fn view(&self, handle: NodeHandle) -> NodeTables<'_> {
        let tables = self.node(handle).map(|node| node.tables.as_slice()).unwrap_or_default();
        NodeTables { compiler: self, tables }
    }

    /// A client has accepted a version.
    pub fn acked(&mut self, handle: NodeHandle, acked: &Acked) {
        let Acked { kind, name, version } = *acked;
        if let Some(rejection) = self.rejections.get_mut(&(kind, name, version)) {
            rejection.accepted = true;
        }
        let Some(node) = self.nodes.get(handle.0 as usize).and_then(Option::as_ref) else { return };
        let mut accepted = None;
        for id in &node.tables {
            let table = self.tables.get_mut(id.0 as usize).and_then(Option::as_mut);
            let Some(slot) = table.and_then(|table| table.slots_mut(kind).get_mut(&name)) else { continue };
            if slot.resource.as_ref().is_some_and(|resource| resource.version == version) {
                slot.accept();
                accepted = Some(*id);
            }
            break;
        }
        if let Some(table) = accepted {
            self.note_kept(table, kind, name, false);
            self.finish_leaving();
        }
    }

    /// A client has rejected a version.
    pub fn nacked(&mut self, handle: NodeHandle, principal: &Arc<str>, guilty: &Guilty) {
        let Guilty { kind, name, version, message } = guilty;
        let text = self.names.text(*name).clone();
        let resource = self
            .tables_of(handle)
            .into_iter()
            .find_map(|id| self.table(id)?.get(*kind, *name).cloned())
            .filter(|resource| resource.version == *version);
        let Some(resource) = resource else { return };
        let origin = resource.origins.first().cloned();
        let finding = || Diagnostic {
            code: REJECTED,
            severity: Severity::Error,
            object: None,
            origin,
            path: String::new(),
            message: format!("{kind} {text} was rejected by {principal}: {message}"),
            hint: Some("the last version that was accepted stays in use".to_owned()),
        };
        // Equal versions of other views are the same bytes.
        let has_accepted =
            |table: &Table| table.slots(*kind).get(name).is_some_and(|slot| slot.has_accepted(*version));
        let rejection = self.rejections.entry((*kind, *name, *version)).or_insert_with(|| Rejection {
            principals: BTreeSet::default(),
            accepted: self.tables.iter().flatten().any(has_accepted),
            finding: finding(),
        });
        rejection.principals.insert(principal.clone());
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
        let memo = match key {
            TableKey::Outbound(_) => {
                self.outbound.insert(id);
                self.fresh_tables.insert(id);
                Some(MemoKey::Fixed(id))
            }
            TableKey::Gateway(_) => Some(MemoKey::Gateway(id)),
            TableKey::Inbound(_) => Some(MemoKey::Inbound(id)),
            TableKey::Policies(_) => Some(MemoKey::Policies(id)),
            TableKey::Endpoints(parent, _) => {
                if let Some(parent) = self.table_mut(parent) {
                    parent.endpoint_tables.push(id);
                }
                None
            }
        };
        if let Some(memo) = memo.map(|key| self.graph.hold(key))
            && let Some(table) = self.table_mut(id)
        {
            table.memos.push(memo);
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
                if self.idle.len() > IDLE_MAX
                    && let Some(oldest) = self.idle.pop_front()
                {
                    self.drop_table(oldest);
                }
            }
            TableKey::Inbound(_) | TableKey::Policies(_) | TableKey::Endpoints(..) => self.drop_table(id),
        }
    }

    fn drop_table(&mut self, id: TableId) {
        // Everything that entries hold is let go of the way it came.
        let hosts: Vec<_> = self.table(id).map(|t| t.hosts.keys().cloned().collect()).unwrap_or_default();
        for host in &hosts {
            self.remove_host(id, host);
        }
        let memos = self.table(id).map(|t| t.memos.clone()).unwrap_or_default();
        for memo in memos {
            match self.graph.value(memo).cloned() {
                Some(MemoValue::Fixed(fixed)) => self.exchange_fixed(id, Some(&fixed), None),
                Some(MemoValue::Inbound(entry)) => self.exchange_inbound(id, Some(&entry), None),
                Some(MemoValue::Policies(all)) => self.exchange_policies(id, Some(&all), &[]),
                Some(MemoValue::Gateway(entry)) => self.exchange_gateway(id, Some(&entry), None),
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
        self.outbound.remove(&id);
        self.fresh_tables.remove(&id);
        self.changed.retain(|(table, _), _| *table != id);
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
