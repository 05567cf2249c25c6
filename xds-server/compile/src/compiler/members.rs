//! What a view sees, by index: the hosts of an outbound view by what its scope imports, the sockets and hosts of a
//! gateway by what its servers take. A table holds the memos of these and of nothing else.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use lateen_model::{Host, Namespace};
use lateen_registry::{Changes, FactKey, GatewayId, World};
use lateen_xds::{NameId, ResourceType};

use super::{Compiler, Shown};
use crate::{
    TableId,
    program::{MemoKey, MemoValue},
    table::TableKey,
    translate::{GatewayPlan, RouteServers, Scope, Wanted},
};

/// Outbound tables by what their scopes import: who sees a host that somebody has defined.
#[derive(Debug, Default)]
pub(super) struct Watching {
    namespaces: HashMap<Namespace, BTreeSet<TableId>>,
    hosts: HashMap<Host, BTreeSet<TableId>>,
    wildcards: HashMap<Host, BTreeSet<TableId>>,
}

impl Watching {
    fn add(&mut self, table: TableId, scope: &Scope) {
        for wanted in scope.wanted() {
            match wanted {
                Wanted::Namespace(namespace) => {
                    self.namespaces.entry(namespace.clone()).or_default().insert(table);
                }
                Wanted::Host(host) => {
                    self.hosts.entry(host.clone()).or_default().insert(table);
                }
                Wanted::Wildcard(host) => {
                    self.wildcards.entry(found_under(host)).or_default().insert(table);
                }
            }
        }
    }

    fn remove(&mut self, table: TableId, scope: &Scope) {
        for wanted in scope.wanted() {
            match wanted {
                Wanted::Namespace(namespace) => drop_row(&mut self.namespaces, namespace, table),
                Wanted::Host(host) => drop_row(&mut self.hosts, host, table),
                Wanted::Wildcard(host) => drop_row(&mut self.wildcards, &found_under(host), table),
            }
        }
    }

    /// The tables that may see a host which this namespace defines.
    fn of(&self, namespace: &Namespace, host: &Host) -> BTreeSet<TableId> {
        let wildcards = std::iter::once(host.clone()).chain(host.wildcards());
        let covering = wildcards.filter_map(|wildcard| self.wildcards.get(&wildcard));
        let exact = self.namespaces.get(namespace).into_iter().chain(self.hosts.get(host));
        exact.chain(covering).flatten().copied().collect()
    }
}

/// The name under which a wildcard is looked for: [`Host::wildcards`] knows those of whole labels only.
fn found_under(wildcard: &Host) -> Host {
    if wildcard.as_str().starts_with("*.") { wildcard.clone() } else { Host::from("*") }
}

fn drop_row<K: Eq + std::hash::Hash>(rows: &mut HashMap<K, BTreeSet<TableId>>, key: &K, table: TableId) {
    if let Some(row) = rows.get_mut(key) {
        row.remove(&table);
        if row.is_empty() {
            rows.remove(key);
        }
    }
}

impl Compiler {
    /// Other hosts are defined, or others are: tables that ask for them see them, or no longer.
    pub(super) fn follow_definitions(&mut self, world: &World, changes: &Changes) {
        let mut concerned: BTreeSet<(TableId, &Host)> = BTreeSet::new();
        for (namespace, host) in &changes.definitions {
            concerned.extend(self.watching.of(namespace, host).into_iter().map(|table| (table, host)));
        }
        for (table, host) in concerned {
            let key = MemoKey::Host(table, host.clone());
            if self.sees(world, table, host) {
                self.add_member(table, key);
            } else {
                self.remove_member(table, &key);
            }
        }
    }

    fn sees(&self, world: &World, table: TableId, host: &Host) -> bool {
        let Some(table) = self.table(table) else { return false };
        let (TableKey::Outbound(view), Some(scope)) = (&table.key, &table.scope) else { return false };
        scope.shows(&view.namespace, host, world.definitions(host))
    }

    /// An outbound view has another scope: it sees what that imports.
    pub(super) fn enter_scope(&mut self, world: &World, table: TableId, scope: &Arc<Scope>) {
        let Some(state) = self.tables.get_mut(table.0 as usize).and_then(Option::as_mut) else { return };
        let TableKey::Outbound(view) = &state.key else { return };
        if let Some(before) = state.scope.replace(scope.clone()) {
            self.watching.remove(table, &before);
        }
        self.watching.add(table, scope);
        let mut seen: BTreeSet<MemoKey> = BTreeSet::new();
        let mut see = |host: &Host| {
            if scope.shows(&view.namespace, host, world.definitions(host)) {
                seen.insert(MemoKey::Host(table, host.clone()));
            }
        };
        for wanted in scope.wanted() {
            match wanted {
                Wanted::Host(host) => see(host),
                Wanted::Namespace(namespace) => world.hosts_defined_in(namespace).for_each(&mut see),
                Wanted::Wildcard(host) => world.hosts_covered_by(host).for_each(&mut see),
            }
        }
        self.set_members(table, seen);
    }

    /// A gateway has other servers.
    pub(super) fn follow_plan(&mut self, world: &World, table: TableId, plan: &GatewayPlan) {
        let sockets = plan.sockets.keys().map(|socket| MemoKey::GatewaySocket(table, socket.clone()));
        let mut wanted: BTreeSet<MemoKey> = sockets.collect();
        for (route_config, servers) in &plan.route_configs {
            wanted.extend(servers.own_hosts().map(|host| gateway_host(table, route_config, host)));
        }
        for gateway in plan.gateways() {
            for host in world.hosts_of_gateway(gateway) {
                let takers = plan.takers(gateway, host);
                wanted.extend(takers.iter().map(|route_config| gateway_host(table, route_config, host)));
            }
        }
        self.set_members(table, wanted);
    }

    /// Routes of gateways came or went: the hosts that they name are virtual hosts, or no longer.
    pub(super) fn follow_gateway_routes(&mut self, world: &World, changes: &Changes) {
        if self.gateways.is_empty() {
            return;
        }
        for fact in &changes.facts {
            let FactKey::GatewayRoutes(gateway, host) = fact else { continue };
            for table in self.gateways.clone() {
                let memo = self.graph.find(&MemoKey::GatewayPlan(table));
                let plan = match memo.and_then(|memo| self.graph.value(memo)) {
                    Some(MemoValue::GatewayPlan(plan)) => plan.clone(),
                    _ => continue,
                };
                for route_config in plan.takers(gateway, host) {
                    let Some(servers) = plan.route_configs.get(&route_config) else { continue };
                    let key = gateway_host(table, &route_config, host);
                    if is_virtual_host(world, servers, host) {
                        self.add_member(table, key);
                    } else {
                        self.remove_member(table, &key);
                    }
                }
            }
        }
    }

    /// The table is to have these members. Many new ones come in portions ([`Compiler::advance`]).
    fn set_members(&mut self, table: TableId, wanted: BTreeSet<MemoKey>) {
        let portion = self.portion;
        let Some(state) = self.table_mut(table) else { return };
        state.departing = state.members.difference(&wanted).cloned().collect();
        state.arriving = wanted.into_iter().filter(|key| !state.members.contains(key)).collect();
        if portion.is_some_and(|portion| state.arriving.len() > portion) {
            if !self.incomplete.contains(&table) {
                self.incomplete.push_back(table);
            }
        } else {
            self.add_arriving(table, usize::MAX);
        }
    }

    /// Adds up to `max` of the members that a table waits for; returns how many.
    fn add_arriving(&mut self, table: TableId, max: usize) -> usize {
        let mut count = 0;
        while count < max
            && let Some(key) = self.table_mut(table).and_then(|state| state.arriving.pop_first())
        {
            self.add_member(table, key);
            count += 1;
        }
        let Some(state) = self.table_mut(table).filter(|state| state.arriving.is_empty()) else {
            return count;
        };
        for key in std::mem::take(&mut state.departing) {
            self.remove_member(table, &key);
        }
        if let Some(place) = self.incomplete.iter().position(|incomplete| *incomplete == table) {
            self.incomplete.remove(place);
            self.completed.push(table);
        }
        count
    }

    /// From now on a table that is to have more new members than this gets them in portions. Unless told so, it gets
    /// all at once.
    pub fn set_portion(&mut self, members: usize) {
        self.portion = Some(members);
    }

    /// Do tables wait for [`Compiler::advance`]?
    pub fn is_behind(&self) -> bool {
        !self.incomplete.is_empty()
    }

    /// Compiles the next members, up to `max` and one at least, of tables that wait for some: the table that waits
    /// longest first.
    pub fn advance(&mut self, world: &World, max: usize) {
        let mut left = max.max(1);
        while left > 0
            && let Some(table) = self.incomplete.front().copied()
        {
            left -= self.add_arriving(table, left).min(left);
        }
        self.settle(world);
    }

    fn add_member(&mut self, table: TableId, key: MemoKey) {
        let Some(state) = self.table_mut(table) else { return };
        state.arriving.remove(&key);
        state.departing.remove(&key);
        if !state.members.insert(key.clone()) {
            return;
        }
        let memo = self.graph.hold(key);
        // One that was let go of in this turn has its value already.
        if let Some(value) = self.graph.value(memo).cloned() {
            self.exchange_member(table, None, Some(&value));
        }
    }

    fn remove_member(&mut self, table: TableId, key: &MemoKey) {
        let Some(state) = self.table_mut(table) else { return };
        state.arriving.remove(key);
        if !state.members.remove(key) {
            return;
        }
        let Some(memo) = self.graph.find(key) else { return };
        if let Some(value) = self.graph.value(memo).cloned() {
            self.exchange_member(table, Some(&value), None);
        }
        self.graph.release(memo);
    }

    /// The table is about to go.
    pub(super) fn remove_members(&mut self, table: TableId) {
        let Some(state) = self.table_mut(table) else { return };
        let scope = state.scope.take();
        state.arriving.clear();
        state.departing.clear();
        let members: Vec<MemoKey> = state.members.iter().cloned().collect();
        for key in &members {
            self.remove_member(table, key);
        }
        self.incomplete.retain(|incomplete| *incomplete != table);
        if let Some(scope) = scope {
            self.watching.remove(table, &scope);
        }
        let listeners = self.table_mut(table).map(|t| std::mem::take(&mut t.listeners)).unwrap_or_default();
        for name in listeners {
            self.release_listener(table, name);
        }
    }

    /// Hosts contribute to a listener, or none does any more.
    pub(super) fn follow_parts(&mut self, table: TableId, text: &Arc<str>, is_there: bool) {
        let name = self.names.intern(text);
        let Some(state) = self.table_mut(table) else { return };
        if is_there {
            if state.listeners.insert(name) {
                let key = MemoKey::Listener(table, text.clone());
                self.hold_memo_slot(table, ResourceType::Listener, name, key);
            }
        } else if state.listeners.remove(&name) {
            self.release_listener(table, name);
        }
    }

    fn release_listener(&mut self, table: TableId, name: NameId) {
        let slot = self.table_mut(table).and_then(|t| t.slots_mut(ResourceType::Listener).get_mut(&name));
        // It is not compiled of nothing: it stays as it is until it leaves.
        if let Some(memo) = slot.and_then(|slot| slot.memo.take()) {
            self.hide(memo, &Shown::Slot(table, ResourceType::Listener, name));
        }
        self.release_slot(table, ResourceType::Listener, name);
    }

    /// A member has another value.
    pub(super) fn exchange_member(
        &mut self,
        table: TableId,
        old: Option<&MemoValue>,
        new: Option<&MemoValue>,
    ) {
        match new.or(old) {
            Some(MemoValue::Host(_)) => {
                let entry = |value: Option<&MemoValue>| match value {
                    Some(MemoValue::Host(entry)) => Some(entry.clone()),
                    _ => None,
                };
                self.exchange_entry(table, entry(old).as_deref(), entry(new).as_deref());
            }
            Some(MemoValue::Gateway(_)) => {
                let entry = |value: Option<&MemoValue>| match value {
                    Some(MemoValue::Gateway(entry)) => Some(entry.clone()),
                    _ => None,
                };
                self.exchange_gateway(table, entry(old).as_deref(), entry(new).as_deref());
            }
            _ => {}
        }
    }
}

fn gateway_host(table: TableId, route_config: &Arc<str>, host: &Host) -> MemoKey {
    MemoKey::GatewayHost(table, Arc::new((route_config.clone(), host.clone())))
}

/// Is there anything to ask a route configuration's servers about the host?
fn is_virtual_host(world: &World, servers: &RouteServers, host: &Host) -> bool {
    let has_routes =
        |gateway: &GatewayId| world.get(&FactKey::GatewayRoutes(gateway.clone(), host.clone())).is_some();
    servers.is_own(host) || servers.gateways_for(host).any(has_routes)
}
