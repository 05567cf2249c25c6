//! Entries of views: what is in the new one and not in the old one is held, and the other way round.

use std::sync::Arc;

use lateen_xds::{NameId, ResourceType};

use super::{Compiler, Shown};
use crate::{
    TableId,
    program::{Body, MemoKey, MemoValue, NamedBody},
    routes::{Host, RouteTable},
    table::{Assignment, TableKey},
    translate::{EndpointsKey, Fixed, GatewayEntry, HostEntry, InboundEntry},
};

impl Compiler {
    /// New names are held before old ones are released, so that what stays never vanishes in between.
    pub(super) fn exchange_entry(
        &mut self,
        table: TableId,
        old: Option<&HostEntry>,
        new: Option<&HostEntry>,
    ) {
        let none = HostEntry::default();
        let (old, new) = (old.unwrap_or(&none), new.unwrap_or(&none));
        for (name, key) in added(&old.clusters, &new.clusters) {
            let name = self.names.intern(name);
            self.hold_memo_slot(table, ResourceType::Cluster, name, MemoKey::Cluster(key.clone()));
        }
        for (name, key) in added(&old.endpoints, &new.endpoints) {
            self.hold_assignment(table, name, key);
        }
        for (routes, host, key) in added(&old.virtual_hosts, &new.virtual_hosts) {
            self.hold_host(table, routes, host, MemoKey::VirtualHost(key.clone()));
        }
        for (routes, host, _) in added(&new.virtual_hosts, &old.virtual_hosts) {
            self.release_host(table, routes, host);
        }
        for (name, _) in added(&new.clusters, &old.clusters) {
            let name = self.names.intern(name);
            self.release_slot(table, ResourceType::Cluster, name);
        }
        for (name, _) in added(&new.endpoints, &old.endpoints) {
            self.release_assignment(table, name);
        }
    }

    pub(super) fn exchange_fixed(&mut self, table: TableId, old: Option<&Fixed>, new: Option<&Fixed>) {
        let none = Fixed::default();
        let (old, new) = (old.unwrap_or(&none), new.unwrap_or(&none));
        for (kind, text, compiled) in &new.resources {
            let name = self.names.intern(text);
            if !old.resources.iter().any(|(k, n, _)| k == kind && n == text) {
                self.hold_slot(table, *kind, name);
            }
            self.set_body(table, *kind, name, Some(&Body::new(*kind, compiled.clone())));
        }
        for (kind, text, _) in &old.resources {
            if !new.resources.iter().any(|(k, n, _)| k == kind && n == text) {
                let name = self.names.intern(text);
                self.release_slot(table, *kind, name);
            }
        }
        self.pin_routes(table, &old.route_configs, &new.route_configs);
    }

    pub(super) fn exchange_inbound(
        &mut self,
        table: TableId,
        old: Option<&InboundEntry>,
        new: Option<&InboundEntry>,
    ) {
        let none = InboundEntry::default();
        let (old, new) = (old.unwrap_or(&none), new.unwrap_or(&none));
        for (kind, name, key) in added(&old.resources, &new.resources) {
            let name = self.names.intern(name);
            self.hold_memo_slot(table, *kind, name, MemoKey::InboundResource(key.clone()));
        }
        for (kind, name, _) in added(&new.resources, &old.resources) {
            let name = self.names.intern(name);
            self.release_slot(table, *kind, name);
        }
    }

    pub(super) fn exchange_policies(&mut self, table: TableId, old: Option<&[NamedBody]>, new: &[NamedBody]) {
        let old = old.unwrap_or_default();
        for (kind, text, body) in new {
            let name = self.names.intern(text);
            if !old.iter().any(|(k, n, _)| k == kind && n == text) {
                self.hold_slot(table, *kind, name);
            }
            self.set_body(table, *kind, name, Some(body));
        }
        for (kind, text, _) in old {
            if !new.iter().any(|(k, n, _)| k == kind && n == text) {
                let name = self.names.intern(text);
                self.release_slot(table, *kind, name);
            }
        }
    }

    pub(super) fn exchange_gateway(
        &mut self,
        table: TableId,
        old: Option<&GatewayEntry>,
        new: Option<&GatewayEntry>,
    ) {
        let none = GatewayEntry::default();
        let (old, new) = (old.unwrap_or(&none), new.unwrap_or(&none));
        for (name, key) in added(&old.clusters, &new.clusters) {
            let name = self.names.intern(name);
            self.hold_memo_slot(table, ResourceType::Cluster, name, MemoKey::Cluster(key.clone()));
        }
        for (name, key) in added(&old.endpoints, &new.endpoints) {
            self.hold_assignment(table, name, key);
        }
        self.pin_routes(table, &old.route_configs, &new.route_configs);
        for (routes, host, key) in added(&old.virtual_hosts, &new.virtual_hosts) {
            self.hold_host(table, routes, host, MemoKey::GatewayVirtualHost(key.clone()));
        }
        for (name, key) in added(&old.listeners, &new.listeners) {
            let name = self.names.intern(name);
            self.hold_memo_slot(table, ResourceType::Listener, name, MemoKey::GatewayListener(key.clone()));
        }
        for (name, _) in added(&new.listeners, &old.listeners) {
            let name = self.names.intern(name);
            self.release_slot(table, ResourceType::Listener, name);
        }
        for (routes, host, _) in added(&new.virtual_hosts, &old.virtual_hosts) {
            self.release_host(table, routes, host);
        }
        for (name, _) in added(&new.clusters, &old.clusters) {
            let name = self.names.intern(name);
            self.release_slot(table, ResourceType::Cluster, name);
        }
        for (name, _) in added(&new.endpoints, &old.endpoints) {
            self.release_assignment(table, name);
        }
    }

    fn pin_routes(&mut self, table: TableId, old: &[Arc<str>], new: &[Arc<str>]) {
        for text in new.iter().filter(|text| !old.contains(text)) {
            let name = self.ensure_routes(table, text);
            if let Some(routes) = self.table_mut(table).and_then(|t| t.routes.get_mut(&name)) {
                routes.pinned = true;
            }
        }
        for text in old.iter().filter(|text| !new.contains(text)) {
            let name = self.names.intern(text);
            if let Some(routes) = self.table_mut(table).and_then(|t| t.routes.get_mut(&name)) {
                routes.pinned = false;
            }
            self.drop_routes_if_unneeded(table, name);
        }
    }

    fn ensure_routes(&mut self, table: TableId, text: &Arc<str>) -> NameId {
        let name = self.names.intern(text);
        if self.table(table).is_some_and(|t| !t.routes.contains_key(&name)) {
            let shell_memo = Some(self.graph.hold(MemoKey::Shell(table, text.clone())));
            self.hold_slot(table, ResourceType::RouteConfiguration, name);
            let shell = shell_memo.and_then(|memo| match self.graph.value(memo) {
                Some(MemoValue::Shell(shell)) => shell.clone(),
                _ => None,
            });
            if let Some(state) = self.table_mut(table) {
                let routes = RouteTable::new(text.clone(), shell_memo, shell);
                state.routes.insert(name, routes);
            }
        }
        name
    }

    fn drop_routes_if_unneeded(&mut self, table: TableId, name: NameId) {
        let Some(state) = self.table_mut(table) else { return };
        if state.routes.get(&name).is_some_and(RouteTable::is_needed) {
            return;
        }
        if let Some(routes) = state.routes.remove(&name) {
            routes.shell_memo.into_iter().for_each(|memo| self.graph.release(memo));
            self.release_slot(table, ResourceType::RouteConfiguration, name);
            self.stale_routes.remove(&(table, name));
        }
    }

    fn hold_host(&mut self, table: TableId, routes: &Arc<str>, host: &Arc<str>, key: MemoKey) {
        let routes_name = self.ensure_routes(table, routes);
        let memo = self.graph.hold(key);
        let Some(state) = self.table_mut(table).and_then(|t| t.routes.get_mut(&routes_name)) else { return };
        let entry =
            state.hosts.entry(host.clone()).or_insert_with(|| Host { memo, holders: 0, resource: None });
        entry.holders += 1;
        let (first, before) = (entry.holders == 1, std::mem::replace(&mut entry.memo, memo));
        let shown = Shown::VirtualHost(table, routes_name, host.clone());
        if !first && before == memo {
            self.graph.release(memo);
            return;
        }
        self.shown.entry(memo).or_default().insert(shown.clone());
        if !first {
            self.hide(before, &shown);
        }
        if self.graph.value(memo).is_some() {
            self.show(memo, &shown);
        }
    }

    fn release_host(&mut self, table: TableId, routes: &Arc<str>, host: &Arc<str>) {
        let name = self.names.intern(routes);
        let Some(state) = self.table_mut(table).and_then(|t| t.routes.get_mut(&name)) else { return };
        let Some(entry) = state.hosts.get_mut(host) else { return };
        entry.holders -= 1;
        if entry.holders > 0 {
            return;
        }
        if let Some(entry) = state.hosts.remove(host) {
            state.set(host, None);
            self.stale_routes.insert((table, name));
            if let Some(resource) = entry.resource {
                self.release_slot(table, ResourceType::VirtualHost, resource);
            }
            self.hide(entry.memo, &Shown::VirtualHost(table, name, host.clone()));
        }
        self.drop_routes_if_unneeded(table, name);
    }

    fn hold_assignment(&mut self, table: TableId, text: &Arc<str>, key: &Arc<EndpointsKey>) {
        let name = self.names.intern(text);
        let Some(state) = self.table_mut(table) else { return };
        let fresh = || Assignment { key: key.clone(), holders: 0 };
        let entry = state.assignments.entry(name).or_insert_with(fresh);
        let changed = entry.holders == 0 || entry.key != *key;
        entry.holders += 1;
        entry.key.clone_from(key);
        if changed {
            self.refresh_assignment(table, name);
        }
    }

    /// The endpoint tables of a table show what is asked for and exists.
    pub(super) fn refresh_assignment(&mut self, table: TableId, name: NameId) {
        let Some(state) = self.table(table) else { return };
        for endpoints in state.endpoint_tables.clone() {
            self.refresh_demand(endpoints, name);
        }
    }

    pub(super) fn refresh_demand(&mut self, endpoints: TableId, name: NameId) {
        let Some(state) = self.table(endpoints) else { return };
        let TableKey::Endpoints(parent, view) = &state.key else { return };
        let asked = state.demand.contains_key(&name);
        let shows = state.slots(ResourceType::Endpoints).contains_key(&name);
        let assignment = self.table(*parent).and_then(|parent| parent.assignments.get(&name));
        match assignment.filter(|_| asked).map(|assignment| assignment.key.seen_from(view)) {
            Some(key) => {
                let key = MemoKey::Assignment(Arc::new(key));
                self.hold_memo_slot(endpoints, ResourceType::Endpoints, name, key);
                if shows {
                    // Held once for the demand, however often it is exchanged.
                    self.release_slot(endpoints, ResourceType::Endpoints, name);
                }
            }
            None if shows => self.release_slot(endpoints, ResourceType::Endpoints, name),
            None => {}
        }
    }
}

/// What is in `new` and not in `old`. Both are sorted, and differ in few places: one walk along both.
fn added<'a, T: PartialEq + Named>(old: &'a [T], new: &'a [T]) -> impl Iterator<Item = &'a T> {
    let mut rest = old;
    new.iter().filter(move |entry| {
        let before = rest.iter().take_while(|old| old.place() < entry.place()).count();
        rest = rest.get(before..).unwrap_or_default();
        !rest.iter().take_while(|old| old.place() == entry.place()).any(|old| old == *entry)
    })
}

/// What an entry is sorted by.
trait Named {
    fn place(&self) -> (usize, &str, &str);
}

impl<K> Named for (Arc<str>, K) {
    fn place(&self) -> (usize, &str, &str) {
        (0, &self.0, "")
    }
}

impl<K> Named for (Arc<str>, Arc<str>, K) {
    fn place(&self) -> (usize, &str, &str) {
        (0, &self.0, &self.1)
    }
}

impl<K> Named for (ResourceType, Arc<str>, K) {
    fn place(&self) -> (usize, &str, &str) {
        (self.0.index(), &self.1, "")
    }
}
