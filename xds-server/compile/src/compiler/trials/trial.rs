//! One search, and all of them.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use lateen_model::Version;
use lateen_xds::{NameId, Resource, ResourceType};

use crate::{
    NodeHandle, TableId,
    pieces::{Pieces, is_closed},
    routes::Piece,
};

/// By node, type and name.
pub(crate) type Key = (NodeHandle, ResourceType, NameId);

/// All trials, and what their clients are given when they are over: found by node, by table, and by what they wait for.
#[derive(Debug, Default)]
pub(crate) struct Trials {
    all: HashMap<NodeHandle, BTreeMap<(ResourceType, NameId), Trial>>,
    by_table: HashMap<TableId, BTreeSet<(ResourceType, NameId, NodeHandle)>>,
    /// By the cluster that a client rejects and has no form of.
    waiting: HashMap<NameId, BTreeSet<Key>>,
}

impl Trials {
    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    pub(crate) fn get(&self, key: &Key) -> Option<&Trial> {
        self.all.get(&key.0)?.get(&(key.1, key.2))
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &Trial> {
        self.all.values().flat_map(BTreeMap::values)
    }

    pub(crate) fn insert(&mut self, key: Key, trial: Trial) {
        self.remove(&key);
        let (node, kind, name) = key;
        self.by_table.entry(trial.table).or_default().insert((kind, name, node));
        for cluster in trial.held.values().filter_map(|held| held.lacks) {
            self.waiting.entry(cluster).or_default().insert(key);
        }
        self.all.entry(node).or_default().insert((kind, name), trial);
    }

    pub(crate) fn remove(&mut self, key: &Key) -> Option<Trial> {
        let (node, kind, name) = *key;
        let of_node = self.all.get_mut(&node)?;
        let trial = of_node.remove(&(kind, name))?;
        if of_node.is_empty() {
            self.all.remove(&node);
        }
        take(&mut self.by_table, trial.table, &(kind, name, node));
        for cluster in trial.held.values().filter_map(|held| held.lacks) {
            take(&mut self.waiting, cluster, key);
        }
        Some(trial)
    }

    pub(crate) fn of_node(&self, node: NodeHandle) -> Vec<Key> {
        let of_node = self.all.get(&node).into_iter().flat_map(BTreeMap::keys);
        of_node.map(|(kind, name)| (node, *kind, *name)).collect()
    }

    pub(crate) fn of_table(&self, table: TableId) -> Vec<Key> {
        let of_table = self.by_table.get(&table).into_iter().flatten();
        of_table.map(|(kind, name, node)| (*node, *kind, *name)).collect()
    }

    /// Those of a name of a table.
    pub(crate) fn of_name(&self, table: TableId, kind: ResourceType, name: NameId) -> Vec<Key> {
        let all = (kind, name, NodeHandle(0))..=(kind, name, NodeHandle(u32::MAX));
        let of_table = self.by_table.get(&table).into_iter();
        of_table
            .flat_map(|of_table| of_table.range(all.clone()))
            .map(|(_, _, node)| (*node, kind, name))
            .collect()
    }

    /// Those that hold something back until the cluster has another form.
    pub(crate) fn waiting_for(&self, cluster: NameId) -> Vec<Key> {
        self.waiting.get(&cluster).into_iter().flatten().copied().collect()
    }
}

fn take<K: Copy + Eq + std::hash::Hash, V: Ord>(index: &mut HashMap<K, BTreeSet<V>>, key: K, value: &V) {
    if let Some(row) = index.get_mut(&key) {
        row.remove(value);
        if row.is_empty() {
            index.remove(&key);
        }
    }
}

/// What a client is given in place of a resource that it rejects.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each answers a question of its own")]
pub(crate) struct Trial {
    pub(crate) table: TableId,
    /// The version that the client rejected.
    pub(super) target: Version,
    /// What it accepted last.
    pub(super) accepted: Option<Arc<Resource>>,
    /// Parts of the resource that are held back, for now or because they are guilty.
    pub(super) held: BTreeMap<Arc<str>, Held>,
    /// Groups to try, the next one last.
    pub(super) queue: Vec<Vec<Arc<str>>>,
    /// The group that is tried now; empty: nothing but what is accepted.
    pub(super) trying: Vec<Arc<str>>,
    pub(crate) given: Arc<Resource>,
    /// How often a group was accepted.
    pub(super) growth: usize,
    /// Were those that looked guilty tried once more, after others had been accepted?
    pub(super) again: bool,
    /// The client has come back, and is given once more what it rejected on an earlier connection.
    pub(super) retry: bool,
    /// Virtual hosts are left out rather than closed: it was for their names that nothing could be found.
    pub(super) leaves_out: bool,
    /// Nothing can be found: the resource is rejected as a whole.
    pub(super) given_up: bool,
    /// What the client said last.
    pub(super) message: Arc<str>,
    /// Compositions that it has rejected.
    pub(super) refused: HashSet<Version>,
}

/// A part that is held back.
#[derive(Debug)]
pub(super) struct Held {
    /// The version that is held back.
    pub(super) version: Version,
    /// What stands in its place.
    pub(super) instead: Option<Arc<Piece>>,
    /// What the client said of it alone, and how much it had accepted until then.
    pub(super) guilty: Option<(Arc<str>, usize)>,
    /// It leads to this cluster, which the client rejects and has no form of.
    pub(super) lacks: Option<NameId>,
}

impl Trial {
    /// What the client may go by.
    pub(crate) fn gives(&self) -> impl Iterator<Item = &Arc<Resource>> {
        std::iter::once(&self.given).chain(&self.accepted)
    }

    /// One in which nothing is to be found out.
    pub(super) fn settled(table: TableId, resource: &Arc<Resource>) -> Self {
        Self {
            table,
            target: resource.version,
            accepted: None,
            held: BTreeMap::new(),
            queue: Vec::new(),
            trying: Vec::new(),
            given: resource.clone(),
            growth: 0,
            again: true,
            retry: false,
            leaves_out: false,
            given_up: false,
            message: Arc::from(""),
            refused: HashSet::new(),
        }
    }

    pub(super) fn hold(&mut self, name: &Arc<str>, piece: &Piece, instead: Option<Arc<Piece>>) {
        // A closed chain follows what is to be matched now.
        let instead = instead.filter(|instead| !is_closed(instead));
        self.held.insert(name.clone(), Held { version: piece.version, instead, guilty: None, lacks: None });
    }

    /// Holds back these parts of a resource, but for those that are held back already; returns which they are.
    pub(super) fn hold_all(
        &mut self,
        names: &[Arc<str>],
        whole: &Pieces,
        before: Option<&Pieces>,
    ) -> Vec<Arc<str>> {
        let mut fresh = Vec::new();
        for name in names.iter().filter(|name| !self.held.contains_key(*name)).cloned().collect::<Vec<_>>() {
            if let Some(piece) = whole.get(&name) {
                self.hold(&name, piece, before.and_then(|before| before.get(&name)).cloned());
                fresh.push(name);
            }
        }
        fresh
    }

    /// Are some of its parts closed, as far as they are held back?
    pub(super) fn closes(&self, kind: ResourceType) -> bool {
        kind == ResourceType::Listener
            || !self.leaves_out && self.held.values().any(|held| held.instead.is_none())
    }

    /// The resource without what is held back and not tried now.
    pub(super) fn compose(&self, whole: &Arc<Resource>) -> Option<Resource> {
        let mut pieces = Pieces::of(whole)?;
        for (name, held) in self.held.iter().filter(|(name, _)| !self.trying.contains(name)) {
            let is_set = match &held.instead {
                None if self.leaves_out => pieces.leave_out(name),
                instead => pieces.set(name, instead.clone()),
            };
            if !is_set {
                return None;
            }
        }
        Some(pieces.compose(whole))
    }

    /// The next group becomes the one that is tried. False: there is none.
    pub(super) fn next_group(&mut self) -> bool {
        loop {
            self.trying = match self.queue.pop() {
                Some(group) => group.into_iter().filter(|name| self.is_open(name)).collect(),
                None if self.again => return false,
                None => {
                    // What was rejected before others were accepted may have been rejected for their lack.
                    self.again = true;
                    let early = |held: &Held| {
                        held.lacks.is_none() && held.guilty.as_ref().is_some_and(|(_, at)| *at < self.growth)
                    };
                    let names = self.held.iter().filter(|(_, held)| early(held));
                    self.queue = names.map(|(name, _)| vec![name.clone()]).collect();
                    continue;
                }
            };
            if !self.trying.is_empty() {
                return true;
            }
        }
    }

    /// Is it worth trying?
    fn is_open(&self, name: &Arc<str>) -> bool {
        self.held.get(name).is_some_and(|held| held.guilty.is_none() || self.again)
    }

    pub(super) fn halve(&mut self, mut group: Vec<Arc<str>>) {
        let second = group.split_off(group.len().div_ceil(2));
        self.queue.extend([second, group]);
    }

    pub(super) fn take_answer(&mut self, whole: &Pieces, error: Option<&Arc<str>>) {
        let group = std::mem::take(&mut self.trying);
        match (error, group.as_slice()) {
            (None, _) => {
                self.accepted = Some(self.given.clone());
                self.growth += 1;
                for name in &group {
                    _ = self.held.remove(name);
                }
            }
            // It may hold more than it would be given from here on: what it accepted last stays.
            (Some(_), []) if self.accepted.is_some() => self.given_up = true,
            // Not even what others accepted: all of it is suspected.
            (Some(_), []) => {
                let rest: Vec<_> = whole.iter().filter(|(name, _)| !self.held.contains_key(*name)).collect();
                self.given_up = rest.is_empty();
                self.held.values_mut().for_each(|held| held.instead = None);
                let names: Vec<Arc<str>> = rest.iter().map(|(name, _)| (*name).clone()).collect();
                for (name, piece) in rest {
                    self.hold(name, piece, None);
                }
                self.halve(names);
            }
            (Some(message), [name]) => {
                if let Some(held) = self.held.get_mut(name) {
                    held.guilty = Some((message.clone(), self.growth));
                }
            }
            (Some(_), _) => self.halve(group),
        }
    }
}
