//! What clients reject, found by what it is of, by node and by table: every question costs what it finds.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use lateen_model::Version;
use lateen_xds::{NameId, ResourceType};

use super::Subject;
use crate::{NodeHandle, TableId, node::Rejection};

/// Of a rejection so many nodes are remembered, to be given what they rejected once more when they come back.
const RETURNING_MAX: usize = 4096;

/// All rejections.
#[derive(Debug, Default)]
pub(crate) struct Rejections {
    all: BTreeMap<Subject, Rejection>,
    by_node: HashMap<NodeHandle, BTreeSet<Subject>>,
    /// Those of parts that are kept from everybody.
    condemned: BTreeSet<Subject>,
    /// Who has what, of the names of which something is rejected.
    holders: HashMap<(ResourceType, NameId), Holders>,
    /// How often it was looked at what a table has.
    pub(super) looked_at: u64,
}

/// The versions of a name and its parts, as far as they matter, by table and the other way round. Versions are hashes
/// of content, so that a version stands for one part.
#[derive(Debug, Default)]
struct Holders {
    of: HashMap<TableId, Held>,
    present: HashMap<Version, BTreeSet<TableId>>,
    good: HashMap<Version, BTreeSet<TableId>>,
}

/// What a table has of a name.
#[derive(Debug, Default)]
pub(super) struct Held {
    /// As it is compiled, condemned parts included.
    pub(super) present: Vec<Version>,
    /// As clients accepted it last.
    pub(super) good: Vec<Version>,
}

impl Rejections {
    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    pub(crate) fn get(&self, subject: &Subject) -> Option<&Rejection> {
        self.all.get(subject)
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &Rejection> {
        self.all.values()
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = &Subject> {
        self.all.keys()
    }

    /// The parts of a name that are rejected.
    pub(super) fn parts_of(
        &self,
        kind: ResourceType,
        name: NameId,
    ) -> impl Iterator<Item = (&Subject, &Arc<str>)> {
        let of_name = self.all.range(parts(kind, name)).map(|(subject, _)| subject);
        of_name.filter_map(|subject| Some((subject, subject.piece.as_ref()?)))
    }

    /// The parts of a name that are kept from everybody.
    pub(super) fn condemned_of(&self, kind: ResourceType, name: NameId) -> impl Iterator<Item = &Subject> {
        self.condemned.range(parts(kind, name))
    }

    /// All parts that are kept from everybody.
    pub(super) fn condemned(&self) -> impl Iterator<Item = (&Subject, &Rejection)> {
        self.condemned.iter().filter_map(|subject| Some((subject, self.all.get(subject)?)))
    }

    /// The node rejects a condemned part again.
    pub(super) fn rejects_again(&mut self, node: NodeHandle, subject: &Subject) {
        if let Some(rejection) = self.all.get_mut(subject) {
            rejection.nodes.insert(node);
            self.by_node.entry(node).or_default().insert(subject.clone());
        }
    }

    /// What the node rejects.
    pub(super) fn of_node(&self, node: NodeHandle) -> impl Iterator<Item = (&Subject, &Rejection)> {
        let subjects = self.by_node.get(&node).into_iter().flatten();
        subjects.filter_map(|subject| Some((subject, self.all.get(subject)?)))
    }

    /// A client rejects it; `new` is what is known of it if nobody did before. Is a part condemned by that?
    pub(super) fn blame(
        &mut self,
        subject: &Subject,
        (node, id): (NodeHandle, Option<Arc<str>>),
        principal: &Arc<str>,
        new: Option<Rejection>,
    ) -> bool {
        if let Some(new) = new {
            self.all.insert(subject.clone(), new);
        }
        let Some(rejection) = self.all.get_mut(subject) else { return false };
        rejection.principals.insert(principal.clone());
        rejection.nodes.insert(node);
        if rejection.ids.len() < RETURNING_MAX {
            rejection.ids.extend(id);
        }
        self.by_node.entry(node).or_default().insert(subject.clone());
        rejection.is_condemned() && subject.piece.is_some() && self.condemned.insert(subject.clone())
    }

    /// A client accepted it. Was it a condemned part?
    pub(super) fn accept(&mut self, subject: &Subject) -> bool {
        let Some(rejection) = self.all.get_mut(subject) else { return false };
        rejection.accepted = true;
        self.condemned.remove(subject)
    }

    /// The node no longer rejects it.
    pub(super) fn withdraw(&mut self, node: NodeHandle, subject: &Subject) {
        let Some(rejection) = self.all.get_mut(subject) else { return };
        rejection.nodes.remove(&node);
        if rejection.nodes.is_empty() && !rejection.is_condemned() {
            self.remove(subject);
        }
        self.forget(node, subject);
    }

    fn forget(&mut self, node: NodeHandle, subject: &Subject) {
        if let Some(subjects) = self.by_node.get_mut(&node) {
            subjects.remove(subject);
            if subjects.is_empty() {
                self.by_node.remove(&node);
            }
        }
    }

    /// It is over.
    pub(super) fn remove(&mut self, subject: &Subject) {
        let Some(rejection) = self.all.remove(subject) else { return };
        self.condemned.remove(subject);
        for node in rejection.nodes {
            self.forget(node, subject);
        }
        let Subject { kind, name, .. } = *subject;
        if self.all.range(whole_and_parts(kind, name)).next().is_none() {
            self.holders.remove(&(kind, name));
        }
    }

    /// Is it known who has the name?
    pub(super) fn is_watched(&self, kind: ResourceType, name: NameId) -> bool {
        self.holders.contains_key(&(kind, name))
    }

    /// From now on it is.
    pub(super) fn watch(&mut self, kind: ResourceType, name: NameId) {
        self.holders.entry((kind, name)).or_default();
    }

    /// The table has this of a watched name now. Ends the rejections of what no table has any more.
    pub(super) fn hold(&mut self, table: TableId, kind: ResourceType, name: NameId, now: Option<Held>) {
        let Some(holders) = self.holders.get_mut(&(kind, name)) else { return };
        let before = holders.of.remove(&table).unwrap_or_default();
        if let Some(now) = now {
            add(&mut holders.present, &now.present, table);
            add(&mut holders.good, &now.good, table);
            // What is still there is taken out only to be put back.
            let left = |before: Vec<Version>, now: &[Version]| -> Vec<Version> {
                before.into_iter().filter(|version| !now.contains(version)).collect()
            };
            let gone = left(before.present, &now.present);
            take(&mut holders.good, &left(before.good, &now.good), table);
            holders.of.insert(table, now);
            let gone = take(&mut holders.present, &gone, table);
            self.end(kind, name, &gone);
        } else {
            take(&mut holders.good, &before.good, table);
            let gone = take(&mut holders.present, &before.present, table);
            self.end(kind, name, &gone);
        }
    }

    /// These tables have a part of a watched name that was of no interest until now.
    pub(super) fn note(&mut self, subject: &Subject, present: &[TableId], good: &[TableId]) {
        let Some(holders) = self.holders.get_mut(&(subject.kind, subject.name)) else { return };
        for table in present {
            add(&mut holders.present, &[subject.version], *table);
            holders.of.entry(*table).or_default().present.push(subject.version);
        }
        for table in good {
            add(&mut holders.good, &[subject.version], *table);
            holders.of.entry(*table).or_default().good.push(subject.version);
        }
    }

    fn end(&mut self, kind: ResourceType, name: NameId, gone: &BTreeSet<Version>) {
        if gone.is_empty() {
            return;
        }
        let of_name = self.all.range(whole_and_parts(kind, name)).map(|(subject, _)| subject);
        let ended: Vec<Subject> =
            of_name.filter(|subject| gone.contains(&subject.version)).cloned().collect();
        for subject in &ended {
            self.remove(subject);
        }
    }

    /// The table is gone.
    pub(super) fn drop_table(&mut self, table: TableId) {
        let of_table = self.holders.iter().filter(|(_, holders)| holders.of.contains_key(&table));
        let names: Vec<_> = of_table.map(|(name, _)| *name).collect();
        for (kind, name) in names {
            self.hold(table, kind, name, None);
        }
    }

    /// The tables that have any form of a watched name.
    pub(super) fn tables_of(&self, kind: ResourceType, name: NameId) -> Vec<TableId> {
        self.holders.get(&(kind, name)).into_iter().flat_map(|holders| holders.of.keys().copied()).collect()
    }

    /// The tables that have this version of a watched name, be it held back.
    pub(super) fn tables_with(&self, subject: &Subject) -> Vec<TableId> {
        let holders = self.holders.get(&(subject.kind, subject.name));
        holders
            .and_then(|holders| holders.present.get(&subject.version))
            .into_iter()
            .flatten()
            .copied()
            .collect()
    }

    /// Has some table this version of a watched name as what was accepted last?
    pub(super) fn is_good(&self, subject: &Subject) -> bool {
        let holders = self.holders.get(&(subject.kind, subject.name));
        holders.is_some_and(|holders| holders.good.contains_key(&subject.version))
    }
}

fn add(index: &mut HashMap<Version, BTreeSet<TableId>>, versions: &[Version], table: TableId) {
    for version in versions {
        index.entry(*version).or_default().insert(table);
    }
}

/// Takes out a table, and gives the versions that no table has any more.
fn take(
    index: &mut HashMap<Version, BTreeSet<TableId>>,
    versions: &[Version],
    table: TableId,
) -> BTreeSet<Version> {
    let mut gone = BTreeSet::new();
    for version in versions {
        if let Some(tables) = index.get_mut(version) {
            tables.remove(&table);
            if tables.is_empty() {
                index.remove(version);
                gone.insert(*version);
            }
        }
    }
    gone
}

/// All subjects of a name.
fn whole_and_parts(kind: ResourceType, name: NameId) -> std::ops::RangeInclusive<Subject> {
    Subject { kind, name, piece: None, version: Version(0) }..=last(kind, name)
}

/// The parts of a name: the whole comes before them.
fn parts(kind: ResourceType, name: NameId) -> std::ops::RangeInclusive<Subject> {
    Subject { kind, name, piece: Some(Arc::default()), version: Version(0) }..=last(kind, name)
}

/// No name of a part sorts after this one.
fn last(kind: ResourceType, name: NameId) -> Subject {
    Subject { kind, name, piece: Some("\u{10ffff}".into()), version: Version(u64::MAX) }
}
