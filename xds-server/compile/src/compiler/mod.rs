//! The compiler: drives the memos and keeps the tables.

mod entries;
mod forms;
mod members;
mod nodes;
mod pins;
mod rejected;
mod rejections;
mod slots;
mod trials;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
};

use lateen_model::{Diagnostic, Host, Version};
use lateen_registry::{Changes, World};
use lateen_xds::{NameId, Names, Resource, ResourceType};

use crate::{
    NodeHandle, TableId,
    engine::{Change, Graph, MemoId},
    node::VersionKey,
    program::{MemoKey, MemoValue, Xds},
    table::{Leaving, Table, TableKey},
    translate::HostEntry,
};

pub use forms::{GoodForm, PartName};
pub use nodes::Content;
pub(crate) use rejected::Rejections;
pub use rejections::REJECTED;
pub(crate) use rejections::Subject;

#[cfg(test)]
mod tests;

/// What changed since it was last asked.
#[derive(Debug, Default)]
pub struct Delivery {
    /// Names by table and type, in order.
    pub changed: Vec<(TableId, ResourceType, Vec<NameId>)>,
    /// Nodes that read other tables now.
    pub moved: Vec<NodeHandle>,
    /// What single nodes are given in another form than before.
    pub retold: Vec<(NodeHandle, ResourceType, NameId)>,
    /// Tables that have all their members now.
    pub completed: Vec<TableId>,
}

/// Who shows the value of a shared memo.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Shown {
    /// As this resource.
    Slot(TableId, ResourceType, NameId),
    /// As a virtual host of this route configuration.
    VirtualHost(TableId, NameId, Arc<str>),
}

/// The compiler.
#[derive(Debug, Default)]
pub struct Compiler {
    names: Names,
    graph: Graph<Xds>,
    tables: Vec<Option<Table>>,
    free_tables: Vec<TableId>,
    /// Tables that are gone, while memos of theirs are still there.
    dropped_tables: Vec<TableId>,
    by_key: HashMap<TableKey, TableId>,
    /// Outbound and gateway tables without a node, the oldest first.
    idle: VecDeque<TableId>,
    nodes: Vec<Option<nodes::Node>>,
    free_nodes: Vec<NodeHandle>,
    shown: HashMap<MemoId, BTreeSet<Shown>>,
    findings: BTreeMap<MemoId, Vec<Diagnostic>>,
    rejections: Rejections,
    /// What single nodes are given in place of what they reject.
    trials: trials::Trials,
    /// Whose they are, of nodes that have rejected something.
    principals: HashMap<NodeHandle, Arc<str>>,
    remembered: rejections::Remembered,
    /// What clients go on with in place of what they reject.
    forms: forms::Forms,
    /// Equal resources of different views exist once.
    interned: HashMap<VersionKey, Weak<Resource>>,
    interned_sweep: Sweep,
    changed: BTreeMap<(TableId, ResourceType), BTreeSet<NameId>>,
    moved: BTreeSet<NodeHandle>,
    retold: BTreeSet<trials::Key>,
    /// Which outbound tables ask for which hosts.
    watching: members::Watching,
    /// How many new members a table gets at once; all of them if nothing is said.
    portion: Option<usize>,
    /// Tables that wait for members, the one that waits longest first.
    incomplete: VecDeque<TableId>,
    /// Those that did since the last delivery.
    completed: Vec<TableId>,
    /// Tables of gateways.
    gateways: BTreeSet<TableId>,
    /// Route configurations whose pieces have changed.
    stale_routes: BTreeSet<(TableId, NameId)>,
    /// What hosts contribute, equal for nearly all views: each once.
    entries: HashMap<Host, Vec<Weak<HostEntry>>>,
    entries_sweep: Sweep,
    /// What tables let go of at the end of the turn.
    leaving: Vec<(TableId, Leaving)>,
    /// True when nobody waits for what is compiled any more.
    ended: Option<Arc<AtomicBool>>,
}

impl Compiler {
    /// A compiler without a node.
    pub fn new() -> Self {
        Self::default()
    }

    /// From now on compiling ends between two memos once this is true. The tables are not whole then: it is for
    /// a compiler whose answer nobody waits for any more.
    pub fn end_when(&mut self, ended: Arc<AtomicBool>) {
        self.ended = Some(ended);
    }

    fn is_ended(&self) -> bool {
        self.ended.as_ref().is_some_and(|ended| ended.load(Ordering::Relaxed))
    }

    /// The interner.
    pub fn names(&self) -> &Names {
        &self.names
    }

    /// The interner.
    pub fn names_mut(&mut self) -> &mut Names {
        &mut self.names
    }

    /// Follows changes of the world to everything that depends on them.
    pub fn apply(&mut self, world: &World, changes: &Changes) {
        self.graph.invalidate(&changes.facts);
        self.follow_definitions(world, changes);
        self.follow_gateway_routes(world, changes);
        self.settle(world);
    }

    /// What changed since the last call.
    pub fn take_changed(&mut self) -> Delivery {
        let changed = std::mem::take(&mut self.changed).into_iter();
        Delivery {
            changed: changed
                .map(|((table, kind), names)| (table, kind, names.into_iter().collect()))
                .collect(),
            moved: std::mem::take(&mut self.moved).into_iter().collect(),
            retold: std::mem::take(&mut self.retold).into_iter().collect(),
            completed: std::mem::take(&mut self.completed),
        }
    }

    /// What was found wrong while compiling, and what clients have rejected.
    pub fn findings(&self) -> impl Iterator<Item = &Diagnostic> {
        let unique: BTreeSet<&Diagnostic> =
            self.findings.values().flatten().chain(self.rejections.values().map(|r| &r.finding)).collect();
        unique.into_iter()
    }

    /// How many memos were computed until now: the cost of changes, for tests and benchmarks.
    pub fn evaluations(&self) -> u64 {
        self.graph.evaluations()
    }

    /// Forgets names that neither a table nor `others` hold.
    pub fn sweep_names(&mut self, others: impl Fn(&mut dyn FnMut(NameId))) {
        let mut live = std::collections::HashSet::new();
        others(&mut |name| {
            live.insert(name);
        });
        for table in self.tables.iter().flatten() {
            for slots in &table.kinds {
                for (name, slot) in slots {
                    live.insert(*name);
                    if let Some(resource) = &slot.resource {
                        resource.refs.visit(&mut |target| {
                            live.insert(target.name);
                        });
                    }
                }
            }
            live.extend(table.assignments.keys());
            live.extend(&table.listeners);
            live.extend(table.routes.keys());
            live.extend(table.demand.keys());
        }
        live.extend(self.rejections.keys().map(|subject| subject.name));
        live.extend(self.forms.refs().map(|target| target.name));
        for resource in self.trials.values().flat_map(trials::Trial::gives) {
            live.insert(resource.name);
            resource.refs.visit(&mut |target| {
                live.insert(target.name);
            });
        }
        self.interned.retain(|(_, name, _), weak| live.contains(name) && weak.strong_count() > 0);
        // Memos hold references of resources that no table shows at the moment.
        for (_, value) in self.shown.keys().filter_map(|id| Some((id, self.graph.value(*id)?))) {
            if let MemoValue::Body(Some(body)) = value {
                live.extend(body.compiled.refs.iter().map(|target| target.name));
            } else if let MemoValue::Piece(Some(piece), _) = value {
                live.extend(piece.refs.iter().map(|target| target.name));
            }
        }
        self.names.sweep(|name| live.contains(&name));
    }

    pub(crate) fn table(&self, id: TableId) -> Option<&Table> {
        self.tables.get(id.0 as usize)?.as_ref()
    }

    pub(crate) fn rejections(&self) -> &Rejections {
        &self.rejections
    }

    fn table_mut(&mut self, id: TableId) -> Option<&mut Table> {
        self.tables.get_mut(id.0 as usize)?.as_mut()
    }

    /// Follows what differs until nothing is left to do: memos first, then what is put together from several.
    fn settle(&mut self, world: &World) {
        while let Some(change) = self.graph.step(world, &mut self.names) {
            self.follow(world, change);
            if self.is_ended() {
                return;
            }
        }
        while let Some((table, name)) = self.stale_routes.pop_first() {
            self.refresh_routes(table, name);
        }
        self.forget_moved();
        self.finish_leaving();
        self.collect();
    }

    /// Memos that nobody needs any more go, and what is known of them.
    fn collect(&mut self) {
        for id in self.graph.collect() {
            self.findings.remove(&id);
            self.shown.remove(&id);
        }
        self.free_tables.append(&mut self.dropped_tables);
    }

    /// A memo has another value: what is made of it follows.
    fn follow(&mut self, world: &World, Change { id, before }: Change<MemoValue>) {
        let Some(value) = self.graph.value(id).cloned() else { return };
        let findings = value.findings();
        if findings.is_empty() {
            self.findings.remove(&id);
        } else {
            self.findings.insert(id, findings);
        }
        match (self.graph.key(id).clone(), value) {
            (MemoKey::Views(node), MemoValue::Views(views)) => self.move_node(node, &views),
            (MemoKey::Host(table, host), MemoValue::Host(entry)) => {
                let entry = self.share_entry(&host, entry);
                let entry = MemoValue::Host(entry);
                self.graph.exchange(id, entry.clone());
                self.exchange_member(table, before.as_ref(), Some(&entry));
            }
            (MemoKey::Scope(table), MemoValue::Scope(scope)) => self.enter_scope(world, table, &scope),
            (MemoKey::GatewayPlan(table), MemoValue::GatewayPlan(plan)) => {
                self.follow_plan(world, table, &plan);
            }
            (MemoKey::GatewayServers(..), MemoValue::GatewayServers(_)) => {}
            (MemoKey::Parts(table, name), MemoValue::Parts(parts)) => {
                self.follow_parts(table, &name, !parts.is_empty());
            }
            (MemoKey::GatewaySocket(table, _) | MemoKey::GatewayHost(table, _), value) => {
                self.exchange_member(table, before.as_ref(), Some(&value));
            }
            (MemoKey::Fixed(table), MemoValue::Fixed(fixed)) => {
                let before =
                    before.and_then(|value| if let MemoValue::Fixed(f) = value { Some(f) } else { None });
                self.exchange_fixed(table, before.as_deref(), Some(&fixed));
            }
            (MemoKey::Inbound(table), MemoValue::Inbound(entry)) => {
                let before =
                    before.and_then(|value| if let MemoValue::Inbound(e) = value { Some(e) } else { None });
                self.exchange_inbound(table, before.as_deref(), Some(&entry));
            }
            (MemoKey::Policies(table), MemoValue::Policies(all)) => {
                let before =
                    before.and_then(|value| if let MemoValue::Policies(a) = value { Some(a) } else { None });
                self.exchange_policies(table, before.as_deref().map(Vec::as_slice), &all);
            }
            (MemoKey::Shell(table, name), MemoValue::Shell(shell)) => {
                let name = self.names.intern(&name);
                let Some(routes) = self.table_mut(table).and_then(|t| t.routes.get_mut(&name)) else {
                    return;
                };
                routes.shell = shell;
                let hosts: Vec<Arc<str>> = routes.hosts.keys().cloned().collect();
                self.stale_routes.insert((table, name));
                for host in &hosts {
                    self.show_host(table, name, host);
                }
            }
            (_, MemoValue::Body(_) | MemoValue::Piece(..)) => {
                for shown in self.shown.get(&id).cloned().unwrap_or_default() {
                    self.show(id, &shown);
                }
            }
            (key, value) => unreachable!("invariant: {key:?} never has the value {value:?}"),
        }
    }

    /// The entry with this content, shared with other views.
    fn share_entry(&mut self, host: &Host, entry: Arc<HostEntry>) -> Arc<HostEntry> {
        let known = self.entries.entry(host.clone()).or_default();
        if let Some(shared) = known.iter().filter_map(Weak::upgrade).find(|shared| **shared == *entry) {
            return shared;
        }
        known.retain(|weak| weak.strong_count() > 0);
        known.push(Arc::downgrade(&entry));
        if self.entries_sweep.is_due(self.entries.len()) {
            self.entries.retain(|_, known| known.iter().any(|weak| weak.strong_count() > 0));
            self.entries_sweep.done(self.entries.len());
        }
        entry
    }

    /// The resource with this content, shared with other views.
    fn intern(&mut self, resource: Resource) -> Arc<Resource> {
        let key: (ResourceType, NameId, Version) = (resource.kind, resource.name, resource.version);
        if let Some(shared) = self.interned.get(&key).and_then(Weak::upgrade)
            && shared.origins == resource.origins
            // Equal bytes may name a cluster that only one of two views has.
            && shared.refs.digest() == resource.refs.digest()
        {
            return shared;
        }
        let shared = Arc::new(resource);
        self.interned.insert(key, Arc::downgrade(&shared));
        if self.interned_sweep.is_due(self.interned.len()) {
            self.interned.retain(|_, weak| weak.strong_count() > 0);
            self.interned_sweep.done(self.interned.len());
        }
        shared
    }
}

/// When to look through a map of what may be gone: when it is twice as large as after the last time. So each look is
/// paid for by as many new entries, whatever the size stands at.
#[derive(Debug, Default)]
struct Sweep {
    after: usize,
}

impl Sweep {
    const LEN_MIN: usize = 1024;

    fn is_due(&self, len: usize) -> bool {
        len >= 2 * self.after.max(Self::LEN_MIN)
    }

    fn done(&mut self, len: usize) {
        self.after = len;
    }
}
