//! Names of tables and the resources under them.

use std::sync::Arc;

use lateen_model::Origin;
use lateen_xds::{Body as ResourceBody, NameId, Resource, ResourceType, resource::Refs};

use super::{Compiler, Shown};
use crate::{
    TableId,
    engine::MemoId,
    program::{Body, MemoKey, MemoValue},
};

impl Compiler {
    /// The value of a memo goes where it is shown.
    pub(super) fn show(&mut self, id: MemoId, shown: &Shown) {
        match shown {
            Shown::Slot(table, kind, name) => {
                let body = match self.graph.value(id) {
                    Some(MemoValue::Body(body)) => body.clone(),
                    _ => return,
                };
                self.set_body(*table, *kind, *name, body.as_deref());
            }
            Shown::VirtualHost(table, routes, host) => {
                let piece = match self.graph.value(id) {
                    Some(MemoValue::Piece(piece, _)) => piece.clone(),
                    _ => return,
                };
                let key = (*table, *routes);
                if let Some(routes) = self.table_mut(*table).and_then(|t| t.routes.get_mut(routes)) {
                    routes.set(host, piece);
                    self.stale_routes.insert(key);
                    self.show_host(*table, key.1, host);
                }
            }
        }
    }

    /// A compiled body under a name. One that breaks a rule leaves the name as it is: last good stays (I-7).
    pub(super) fn set_body(&mut self, table: TableId, kind: ResourceType, name: NameId, body: Option<&Body>) {
        let resource = match body {
            Some(body) if body.broken => return,
            // Its facts are gone, and with them what held the name; only what pins it still asks for it.
            None if matches!(kind, ResourceType::Cluster | ResourceType::Endpoints) => return,
            Some(body) => {
                let resource = Resource {
                    kind,
                    name,
                    version: body.version,
                    body: ResourceBody::Whole(body.compiled.bytes.clone()),
                    refs: Refs::List(body.compiled.refs.clone().into()),
                    origins: body.compiled.origins.clone().into(),
                };
                Some(self.intern(resource))
            }
            None => None,
        };
        self.set(table, kind, name, resource);
    }

    pub(super) fn set(
        &mut self,
        table: TableId,
        kind: ResourceType,
        name: NameId,
        resource: Option<Arc<Resource>>,
    ) {
        let resource = resource.map(|resource| self.without_condemned(table, resource));
        let Some(slot) = self.table_mut(table).and_then(|t| t.slots_mut(kind).get_mut(&name)) else { return };
        let differs = slot.set(resource);
        if differs {
            self.note_kept(table, kind, name);
            self.changed.entry((table, kind)).or_default().insert(name);
            self.follow_trials(table, kind, name);
        }
        self.follow_rejections(table, kind, name);
    }

    /// A name of a table, held once more.
    pub(super) fn hold_slot(&mut self, table: TableId, kind: ResourceType, name: NameId) {
        if let Some(table) = self.table_mut(table) {
            let slot = table.slots_mut(kind).entry(name).or_default();
            slot.holders += 1;
            if slot.holders > 1 {
                return;
            }
            slot.rejoin();
        }
        self.unpin(table, kind, name);
    }

    /// A name that shows a shared memo.
    pub(super) fn hold_memo_slot(&mut self, table: TableId, kind: ResourceType, name: NameId, key: MemoKey) {
        self.hold_slot(table, kind, name);
        let memo = self.graph.hold(key);
        let shown = Shown::Slot(table, kind, name);
        let before = self
            .table_mut(table)
            .and_then(|t| t.slots_mut(kind).get_mut(&name))
            .and_then(|slot| slot.memo.replace(memo));
        match before {
            Some(before) if before == memo => self.graph.release(memo),
            _ => {
                self.shown.entry(memo).or_default().insert(shown.clone());
                if let Some(before) = before {
                    self.hide(before, &shown);
                }
                if self.graph.value(memo).is_some() {
                    self.show(memo, &shown);
                }
            }
        }
    }

    pub(super) fn hide(&mut self, memo: MemoId, shown: &Shown) {
        if let Some(all) = self.shown.get_mut(&memo) {
            all.remove(shown);
            if all.is_empty() {
                self.shown.remove(&memo);
            }
        }
        self.graph.release(memo);
    }

    /// The route configuration's pieces or its shell have changed.
    pub(super) fn refresh_routes(&mut self, table: TableId, name: NameId) {
        let Some(routes) = self.table_mut(table).and_then(|t| t.routes.get_mut(&name)) else { return };
        let resource = routes.resource(name);
        let resource = resource.map(Arc::new);
        self.set(table, ResourceType::RouteConfiguration, name, resource);
    }

    /// A virtual host as a resource of its own, where they are delivered one by one.
    pub(super) fn show_host(&mut self, table: TableId, routes_name: NameId, host: &Arc<str>) {
        let Some(routes) = self.table(table).and_then(|t| t.routes.get(&routes_name)) else { return };
        if !routes.vhds() {
            return;
        }
        // The part after the route configuration's name must not hold a slash: Envoy drops such hosts silently.
        let text = format!("{}/{}", routes.text, host.replace('/', "_"));
        let piece = routes.piece(host).cloned();
        let known = routes.hosts.get(host).and_then(|state| state.resource);
        let name = known.unwrap_or_else(|| self.names.intern(&text));
        if known.is_none() {
            self.hold_slot(table, ResourceType::VirtualHost, name);
            if let Some(state) = self
                .table_mut(table)
                .and_then(|t| t.routes.get_mut(&routes_name))
                .and_then(|r| r.hosts.get_mut(host))
            {
                state.resource = Some(name);
            }
        }
        let resource = piece.map(|piece| self.intern(piece.as_resource(name, &text)));
        self.set(table, ResourceType::VirtualHost, name, resource);
    }

    /// All objects behind a resource of a node.
    pub fn origins(&self, node: crate::NodeHandle, kind: ResourceType, name: NameId) -> Vec<Origin> {
        for id in self.tables_of(node) {
            let Some(table) = self.table(id) else { continue };
            if kind == ResourceType::RouteConfiguration
                && let Some(routes) = table.routes.get(&name)
            {
                return routes.origins();
            }
            if let Some(resource) = table.get(kind, name) {
                return resource.origins.to_vec();
            }
        }
        Vec::new()
    }
}
