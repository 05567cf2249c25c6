//! Resources that are told ready-made, in place of a world that is compiled: what the conformance suite, and
//! whoever wants to use the server as a library for resources of his own, serves.
//!
//! A *group* is a node id: what is told for it is all that clients with that id are given. Clients without a
//! group of their own are given the group with the empty name. Everything behind it, sessions, gates, delivery,
//! is what a mesh is served with.

mod refs;
mod table;
mod view;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use bytes::Bytes;
use lateen_compile::REJECTED;
use lateen_model::{Diagnostic, NodeInfo, Severity, Version};
use lateen_xds::{Acked, Body, Guilty, NameId, Names, Obstacle, Resource, ResourceType, xdstp::normal};
use tokio::sync::oneshot;

pub use view::RawView;

use table::{Entry, Slot, Table};

/// The group of clients that have none of their own.
const DEFAULT: RawTable = RawTable(0);

/// A change of what a group is given, taken over in one step: removals first.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct RawChange {
    /// A node id; empty: everybody without a group of his own.
    pub group: String,
    /// Resources that are gone.
    pub remove: Vec<(ResourceType, String)>,
    /// Resources added or exchanged.
    pub put: Vec<RawResource>,
    /// Names that can't be had now, with the reason; none: they can again.
    pub obstacles: Vec<(ResourceType, String, Option<Obstacle>)>,
    /// `Some(false)`: absence does not mean absence until it is `Some(true)`.
    pub synced: Option<bool>,
}

/// A resource as it is to be served.
#[derive(Clone, PartialEq, Debug)]
pub struct RawResource {
    /// Type.
    pub kind: ResourceType,
    /// Name.
    pub name: String,
    /// The encoded message, without an `Any` around it.
    pub body: Bytes,
    /// How long a client may use it without hearing of it again, in milliseconds.
    pub ttl_ms: Option<u32>,
    /// Other names that subscriptions may use.
    pub aliases: Vec<String>,
    /// Do wildcard subscribers see it?
    pub wildcard: bool,
}

/// Number of a group.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct RawTable(u32);

/// Number of an attached node.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct RawNode(u32);

/// What changed since it was last asked.
#[derive(Debug, Default)]
pub struct RawDelivery {
    /// Names by group and type.
    pub changed: BTreeMap<(RawTable, ResourceType), BTreeSet<NameId>>,
    /// Nodes that read another group now, or whose group is another in whole.
    pub moved: BTreeSet<RawNode>,
}

/// A version that clients have rejected.
#[derive(Debug)]
struct Rejection {
    principals: BTreeSet<Arc<str>>,
    finding: Diagnostic,
}

#[derive(Debug)]
struct Node {
    id: Arc<str>,
    table: RawTable,
}

/// The groups and who reads them.
#[derive(Debug)]
pub struct RawStore {
    names: Names,
    tables: BTreeMap<RawTable, Table>,
    by_group: HashMap<String, RawTable>,
    next_table: u32,
    nodes: BTreeMap<RawNode, Node>,
    next_node: u32,
    delivery: RawDelivery,
    rejections: BTreeMap<(RawTable, ResourceType, NameId, Version), Rejection>,
    /// Who wants to know that a name is asked for.
    waiting: BTreeMap<(ResourceType, NameId), Vec<oneshot::Sender<()>>>,
}

impl Default for RawStore {
    fn default() -> Self {
        Self {
            names: Names::default(),
            tables: BTreeMap::from([(DEFAULT, Table::default())]),
            by_group: HashMap::from([(String::new(), DEFAULT)]),
            next_table: 1,
            nodes: BTreeMap::new(),
            next_node: 0,
            delivery: RawDelivery::default(),
            rejections: BTreeMap::new(),
            waiting: BTreeMap::new(),
        }
    }
}

impl RawStore {
    /// The interner.
    pub fn names(&self) -> &Names {
        &self.names
    }

    /// The interner.
    pub fn names_mut(&mut self) -> &mut Names {
        &mut self.names
    }

    /// Takes a change over.
    pub fn apply(&mut self, change: &RawChange) {
        let RawChange { group, remove, put, obstacles, synced } = change;
        let id = self.enter_group(group);
        let mut touched: Vec<(ResourceType, NameId)> = Vec::new();
        for (kind, name) in remove {
            let name = self.names.intern(&normal(name));
            touched.extend(self.set(id, *kind, name, None));
        }
        for raw in put {
            touched.extend(self.put(id, raw));
        }
        for (kind, name, obstacle) in obstacles {
            let name = self.names.intern(&normal(name));
            if let Some(table) = self.tables.get_mut(&id)
                && table.set_obstacle(*kind, name, *obstacle)
            {
                touched.push((*kind, name));
            }
        }
        for (kind, name) in touched {
            self.delivery.changed.entry((id, kind)).or_default().insert(name);
        }
        if let Some(table) = self.tables.get_mut(&id)
            && let Some(synced) = synced
            && std::mem::replace(&mut table.synced, *synced) != *synced
        {
            self.move_readers(|node| node.table == id);
        }
    }

    /// Forgets a group. Its clients read the default group from then on.
    pub fn clear(&mut self, group: &str) {
        let Some(id) = self.by_group.get(group).copied() else { return };
        self.rejections.retain(|(table, ..), _| *table != id);
        if id == DEFAULT {
            self.tables.insert(DEFAULT, Table::default());
        } else {
            self.by_group.remove(group);
            self.tables.remove(&id);
            self.delivery.changed.retain(|(table, _), _| *table != id);
        }
        for node in self.nodes.values_mut().filter(|node| node.table == id) {
            node.table = DEFAULT;
        }
        self.move_readers(|node| node.table == DEFAULT);
    }

    /// What changed since the last call.
    pub fn take_changed(&mut self) -> RawDelivery {
        std::mem::take(&mut self.delivery)
    }

    /// What clients have rejected.
    pub fn findings(&self) -> impl Iterator<Item = &Diagnostic> {
        self.rejections.values().map(|rejection| &rejection.finding)
    }

    /// A node has connected.
    pub fn attach(&mut self, info: &NodeInfo) -> RawNode {
        let id = RawNode(self.next_node);
        self.next_node = self.next_node.wrapping_add(1);
        let table = self.by_group.get(&*info.id).copied().unwrap_or(DEFAULT);
        self.nodes.insert(id, Node { id: info.id.as_ref().into(), table });
        id
    }

    /// A node is gone.
    pub fn detach(&mut self, node: RawNode) {
        self.nodes.remove(&node);
        self.delivery.moved.remove(&node);
    }

    /// The group that the node reads.
    pub fn table_of(&self, node: RawNode) -> Option<RawTable> {
        self.nodes.get(&node).map(|node| node.table)
    }

    /// What the node is given.
    pub fn view(&self, node: RawNode) -> RawView<'_> {
        let id = self.table_of(node).unwrap_or(DEFAULT);
        RawView { store: self, id, table: self.tables.get(&id) }
    }

    /// Says when a client next asks for a name.
    pub fn tell_when_asked(&mut self, kind: ResourceType, name: &str, asked: oneshot::Sender<()>) {
        let name = self.names.intern(&normal(name));
        self.waiting.entry((kind, name)).or_default().push(asked);
    }

    /// A client asks for these by name.
    pub fn asked(&mut self, kind: ResourceType, names: &[NameId]) {
        if self.waiting.is_empty() {
            return;
        }
        for name in names {
            for waiting in self.waiting.remove(&(kind, *name)).into_iter().flatten() {
                // Whoever asked may be gone.
                let _ = waiting.send(());
            }
        }
    }

    /// A client has accepted a version.
    pub fn acked(&mut self, node: RawNode, acked: &Acked) {
        let Acked { kind, name, version } = *acked;
        let Some(table) = self.table_of(node).and_then(|id| self.tables.get_mut(&id)) else { return };
        if let Some(slot) = table.slots_mut(kind).get_mut(&name)
            && slot.version() == Some(version)
        {
            slot.accept();
        }
    }

    /// A client has rejected a version.
    pub fn nacked(&mut self, node: RawNode, principal: &Arc<str>, guilty: &Guilty) {
        let Guilty { kind, name, version, message, accepted: _ } = guilty;
        let Some(who) = self.nodes.get(&node).map(|node| node.id.clone()) else { return };
        let Some(id) = self.table_of(node) else { return };
        let slot = self.tables.get(&id).and_then(|table| table.slots(*kind).get(name));
        if slot.and_then(Slot::version) != Some(*version) {
            return;
        }
        let text = self.names.text(*name);
        let finding = || Diagnostic {
            code: REJECTED,
            severity: Severity::Error,
            object: None,
            origin: None,
            path: String::new(),
            message: format!("{kind} {text} was rejected by {who}: {message}"),
            hint: Some("the last version that was accepted stays in use".to_owned()),
        };
        let rejection = self
            .rejections
            .entry((id, *kind, *name, *version))
            .or_insert_with(|| Rejection { principals: BTreeSet::new(), finding: finding() });
        rejection.principals.insert(principal.clone());
    }

    /// Forgets names that neither a group nor `others` hold.
    pub fn sweep_names(&mut self, others: impl Fn(&mut dyn FnMut(NameId))) {
        let mut live = std::collections::HashSet::new();
        let mut keep = |name| {
            live.insert(name);
        };
        others(&mut keep);
        self.tables.values().for_each(|table| table.visit_names(&mut keep));
        self.waiting.keys().for_each(|(_, name)| keep(*name));
        self.rejections.keys().for_each(|(_, _, name, _)| keep(*name));
        self.delivery.changed.values().flatten().for_each(|name| keep(*name));
        self.names.sweep(|name| live.contains(&name));
    }

    /// The group's table, made if there is none; clients with that id move to it.
    fn enter_group(&mut self, group: &str) -> RawTable {
        if let Some(id) = self.by_group.get(group) {
            return *id;
        }
        let id = RawTable(self.next_table);
        self.next_table = self.next_table.wrapping_add(1);
        self.tables.insert(id, Table::default());
        self.by_group.insert(group.to_owned(), id);
        for (number, node) in self.nodes.iter_mut().filter(|(_, node)| &*node.id == group) {
            node.table = id;
            self.delivery.moved.insert(*number);
        }
        id
    }

    fn move_readers(&mut self, of: impl Fn(&Node) -> bool) {
        let readers = self.nodes.iter().filter(|(_, node)| of(node)).map(|(id, _)| *id);
        self.delivery.moved.extend(readers);
    }

    fn put(&mut self, id: RawTable, raw: &RawResource) -> Vec<(ResourceType, NameId)> {
        let RawResource { kind, name: text, body, ttl_ms, aliases, wildcard } = raw;
        let name = self.names.intern(&normal(text));
        let resource = Resource {
            kind: *kind,
            name,
            version: version_of(body, *ttl_ms),
            body: Body::Whole(body.clone()),
            refs: refs::refs_of(*kind, text, body, &mut self.names),
            origins: Arc::from([]),
        };
        let aliases: Vec<(NameId, Arc<Resource>)> = aliases
            .iter()
            .map(|alias| self.names.intern(&normal(alias)))
            .map(|alias| (alias, Arc::new(Resource { name: alias, ..resource.clone() })))
            .collect();
        let alias_texts = aliases.iter().map(|(alias, _)| self.names.text(*alias).clone()).collect();
        let resource = Arc::new(resource);
        let entry = Entry { resource, ttl_ms: *ttl_ms, aliases, alias_texts, wildcard: *wildcard };
        self.set(id, *kind, name, Some(entry))
    }

    /// Exchanges a resource; returns the names whose readers must hear of it.
    fn set(
        &mut self,
        id: RawTable,
        kind: ResourceType,
        name: NameId,
        entry: Option<Entry>,
    ) -> Vec<(ResourceType, NameId)> {
        let Some(table) = self.tables.get_mut(&id) else { return Vec::new() };
        let touched = table.set(kind, name, entry);
        let version = table.slots(kind).get(&name).and_then(Slot::version);
        self.rejections.retain(|(t, k, n, v), _| (*t, *k, *n) != (id, kind, name) || Some(*v) == version);
        touched.into_iter().map(|name| (kind, name)).collect()
    }
}

/// A time to live that comes or goes must be told at once, so it is part of the version.
fn version_of(body: &Bytes, ttl_ms: Option<u32>) -> Version {
    match ttl_ms {
        None => Version::of(body),
        Some(ttl_ms) => {
            let mut bytes = body.to_vec();
            bytes.extend_from_slice(b"\0ttl");
            bytes.extend_from_slice(&ttl_ms.to_le_bytes());
            Version::of(&bytes)
        }
    }
}
