//! What clients reject, and whose word counts.
//!
//! A rejection ends with what it was about: when no table has the version any more, when every client that rejected
//! it is gone or reads something else. A part that independent clients reject, and that none ever accepted, is
//! condemned: tables hold it back at its last good form, so that nobody has to find it out anew.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use lateen_model::{Diagnostic, Origin, Severity, Version, diagnostic::Code};
use lateen_xds::{NameId, Resource, ResourceType};

use super::{Compiler, Shown, trials::Key};
use crate::{
    NodeHandle, TableId,
    node::Rejection,
    pieces::{Pieces, is_closed},
    program::{MemoKey, MemoValue},
    table::Table,
};

/// Clients reject a resource, or a part of one.
pub const REJECTED: Code = Code("LAT4001");
/// Acceptances that are remembered at least, and half of those that are at most.
const REMEMBERED_MAX: usize = 1 << 18;
/// Of a rejection so many nodes are remembered, to be given what they rejected once more when they come back.
const RETURNING_MAX: usize = 4096;

/// What a client accepts or rejects.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Subject {
    pub(crate) kind: ResourceType,
    pub(crate) name: NameId,
    /// A virtual host or a filter chain; `None`: the whole.
    pub(crate) piece: Option<Arc<str>>,
    pub(crate) version: Version,
}

/// All rejections.
pub(crate) type Rejections = BTreeMap<Subject, Rejection>;

/// What was ever accepted by a client, as hashes: two generations, so that it stays bounded, and what is in use.
#[derive(Debug, Default)]
pub(super) struct Remembered {
    recent: HashSet<u64>,
    older: HashSet<u64>,
    /// Accepted for the first time since they were last taken.
    fresh: Vec<u64>,
}

impl Remembered {
    fn note(&mut self, hash: u64) -> bool {
        if self.recent.contains(&hash) {
            return false;
        }
        self.recent.insert(hash) && !self.older.contains(&hash)
    }

    fn is_full(&self) -> bool {
        self.recent.len() >= REMEMBERED_MAX
    }

    /// What is older than a generation is forgotten, but what is in use.
    fn turn(&mut self, in_use: Vec<u64>) {
        let kept = in_use.into_iter().filter(|hash| self.has(*hash)).collect();
        self.older = std::mem::take(&mut self.recent);
        self.older.extend::<Vec<u64>>(kept);
    }

    fn has(&self, hash: u64) -> bool {
        self.recent.contains(&hash) || self.older.contains(&hash)
    }
}

impl Compiler {
    /// What was accepted for the first time since the last call, to be remembered over a restart.
    pub fn take_accepted(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.remembered.fresh)
    }

    /// What clients may go by now: the forms that were accepted last, with their parts.
    pub fn accepted_in_use(&self) -> Vec<u64> {
        let slots = self.tables.iter().flatten().flat_map(|table| &table.kinds).flat_map(HashMap::values);
        let good = slots.filter_map(|slot| slot.last_good());
        let mut hashes = Vec::new();
        for resource in good {
            let Resource { kind, name, version, .. } = **resource;
            hashes.push(self.hash_of(&Subject { kind, name, piece: None, version }));
            let pieces = Pieces::of(resource);
            hashes.extend(pieces.iter().flat_map(Pieces::iter).map(|(piece, part)| {
                self.hash_of(&Subject { kind, name, piece: Some(piece.clone()), version: part.version })
            }));
        }
        hashes.sort_unstable();
        hashes.dedup();
        hashes
    }

    /// What was accepted before a restart.
    pub fn remember(&mut self, accepted: &[u64]) {
        for hash in accepted {
            if self.remembered.is_full() {
                self.remembered.turn(Vec::new());
            }
            _ = self.remembered.note(*hash);
        }
    }

    /// What clients have rejected: the finding, and which independent clients it were.
    pub fn rejected(&self) -> impl Iterator<Item = (&Diagnostic, &BTreeSet<Arc<str>>)> {
        self.rejections.values().map(|rejection| (&rejection.finding, &rejection.principals))
    }

    /// What this node rejects of a type.
    pub fn rejected_by(&self, node: NodeHandle, kind: ResourceType) -> impl Iterator<Item = &Rejection> {
        let of_node = move |rejection: &&Rejection| rejection.nodes.contains(&node);
        self.rejections
            .iter()
            .filter(move |(subject, _)| subject.kind == kind)
            .map(|(_, rejection)| rejection)
            .filter(of_node)
    }

    /// A version was accepted for the first time.
    pub(super) fn remember_acceptance(&mut self, subject: &Subject) {
        let hash = self.hash_of(subject);
        if self.remembered.is_full() {
            let in_use = self.accepted_in_use();
            self.remembered.turn(in_use);
        }
        if self.remembered.note(hash) && self.remembered.fresh.len() < REMEMBERED_MAX {
            self.remembered.fresh.push(hash);
        }
    }

    /// Everything in a composition was accepted.
    pub(super) fn remember_parts(&mut self, resource: &Resource) {
        let Resource { kind, name, .. } = *resource;
        let Some(pieces) = Pieces::of(resource) else { return };
        for (piece, part) in pieces.iter() {
            let piece = Some(piece.clone());
            self.remember_acceptance(&Subject { kind, name, piece, version: part.version });
        }
    }

    /// A client accepted the present form of a resource: it and its parts work for somebody.
    pub(super) fn note_accepted(&mut self, resource: &Arc<Resource>, first: bool) {
        let Resource { kind, name, version, .. } = **resource;
        if first {
            self.remember_acceptance(&Subject { kind, name, piece: None, version });
        }
        if self.rejections.is_empty() {
            return;
        }
        let mut pieces = None;
        let mut cleared = false;
        for (subject, rejection) in self.rejections.range_mut(all_of(kind, name)) {
            let accepted = match &subject.piece {
                None => subject.version == version,
                Some(piece) => pieces
                    .get_or_insert_with(|| Pieces::of(resource))
                    .as_ref()
                    .and_then(|pieces| pieces.get(piece))
                    .is_some_and(|part| part.version == subject.version),
            };
            if accepted {
                cleared |= rejection.is_condemned() && subject.piece.is_some();
                rejection.accepted = true;
            }
        }
        if cleared {
            self.show_again(kind, name);
        }
    }

    /// A client rejects a version of a resource, or of a part of one.
    pub(super) fn reject(&mut self, node: NodeHandle, principal: &Arc<str>, subject: Subject, message: &str) {
        let known = self.is_remembered(&subject);
        let Subject { kind, name, version, .. } = subject;
        let has_accepted =
            |table: &Table| table.slots(kind).get(&name).is_some_and(|slot| slot.has_accepted(version));
        // Equal versions of other views are the same bytes.
        let accepted = known
            || subject.piece.is_none() && self.tables.iter().flatten().any(has_accepted)
            || subject.piece.is_some() && self.any_accepts_part(&subject);
        let finding = self.finding(node, &subject, message);
        let id = self.id_of(node);
        let has_piece = subject.piece.is_some();
        let part = subject.piece.as_ref().map(|piece| format!("{} {piece}", self.names.text(name)));
        let rejection = self.rejections.entry(subject).or_insert_with(|| Rejection {
            principals: BTreeSet::default(),
            nodes: BTreeSet::default(),
            ids: BTreeSet::default(),
            accepted,
            part,
            message: message.into(),
            finding,
        });
        let before = rejection.is_condemned();
        rejection.principals.insert(principal.clone());
        rejection.nodes.insert(node);
        if rejection.ids.len() < RETURNING_MAX {
            rejection.ids.extend(id);
        }
        if has_piece && rejection.is_condemned() && !before {
            self.show_again(kind, name);
        }
    }

    fn any_accepts_part(&self, subject: &Subject) -> bool {
        let Some(piece) = &subject.piece else { return false };
        self.tables.iter().flatten().any(|table| {
            let slot = table.slots(subject.kind).get(&subject.name);
            let good = slot.and_then(|slot| slot.last_good()).and_then(|good| Pieces::of(good));
            good.and_then(|good| good.get(piece).map(|part| part.version)) == Some(subject.version)
        })
    }

    fn finding(&self, node: NodeHandle, subject: &Subject, message: &str) -> Diagnostic {
        let Subject { kind, name, piece, .. } = subject;
        let text = self.names.text(*name);
        let who = self.id_of(node).unwrap_or_default();
        let resource = self.tables_of(node).into_iter().find_map(|id| self.present(id, *kind, *name));
        let of_part = piece.as_ref().and_then(|piece| {
            let pieces = Pieces::of(resource.as_ref()?)?;
            let of_chain =
                pieces.position(piece).and_then(|at| self.origins_of_chain(node, *kind, *name, at));
            of_chain
                .or_else(|| Some(pieces.get(piece)?.origins.to_vec()))
                .filter(|origins| !origins.is_empty())
        });
        let mut origins = of_part.or_else(|| resource.map(|it| it.origins.to_vec())).unwrap_or_default();
        let also = origins.split_off(origins.len().min(1));
        let also: Vec<String> = also.iter().take(4).map(ToString::to_string).collect();
        let what = match piece {
            Some(piece) => format!("{} {piece} of {kind} {text}", Pieces::noun(*kind)),
            None => format!("{kind} {text}"),
        };
        let made =
            if also.is_empty() { String::new() } else { format!(" (made from {} too)", also.join(", ")) };
        Diagnostic {
            code: REJECTED,
            severity: Severity::Error,
            object: None,
            origin: origins.pop(),
            path: String::new(),
            message: format!("{what} was rejected by {who}: {message}{made}"),
            hint: Some("the last form that was accepted stays in use; without one it is closed".to_owned()),
        }
    }

    fn id_of(&self, node: NodeHandle) -> Option<Arc<str>> {
        let memo = self.graph.find(&MemoKey::Node(node))?;
        if let MemoValue::Node(info) = self.graph.value(memo)? { Some(info.id.clone()) } else { None }
    }

    /// Did the node reject this on an earlier connection, and not yet on this one?
    pub(crate) fn has_returned(&self, node: NodeHandle, rejection: &Rejection) -> bool {
        !rejection.nodes.contains(&node) && self.id_of(node).is_some_and(|id| rejection.ids.contains(&id))
    }

    /// The node has come back and rejects the condemned parts of this again.
    pub(super) fn rejects_again(&mut self, node: NodeHandle, resource: &Resource) {
        let Some(pieces) = Pieces::of(resource) else { return };
        for (subject, rejection) in self.rejections.range_mut(all_of(resource.kind, resource.name)) {
            let part = subject.piece.as_ref().and_then(|piece| pieces.get(piece));
            if part.is_some_and(|part| part.version == subject.version) && rejection.is_condemned() {
                rejection.nodes.insert(node);
            }
        }
    }

    /// The objects behind a filter chain of a listener, as it is compiled.
    fn origins_of_chain(
        &self,
        node: NodeHandle,
        kind: ResourceType,
        name: NameId,
        at: usize,
    ) -> Option<Vec<Origin>> {
        let slots = self.tables_of(node).into_iter().filter_map(|id| self.table(id)?.slots(kind).get(&name));
        let memo = slots.filter_map(|slot| slot.memo).next()?;
        let MemoValue::Body(Some(body)) = self.graph.value(memo)? else { return None };
        Some(body.compiled.chains.get(at)?.to_vec())
    }

    /// Was it ever accepted by a client?
    pub(super) fn is_remembered(&self, subject: &Subject) -> bool {
        self.remembered.has(self.hash_of(subject))
    }

    /// The table is gone, and with it perhaps what was rejected.
    pub(super) fn end_rejections_of(&mut self, table: TableId) {
        let of_table = |(key, trial): (&Key, &super::trials::Trial)| (trial.table == table).then_some(*key);
        let keys: Vec<Key> = self.trials.iter().filter_map(of_table).collect();
        for key in &keys {
            _ = self.trials.remove(key);
        }
        let names: BTreeSet<_> = self.rejections.keys().map(|subject| (subject.kind, subject.name)).collect();
        for (kind, name) in names {
            self.end_rejections(kind, name);
        }
    }

    /// Rejections of a name end with what they were about.
    pub(super) fn end_rejections(&mut self, kind: ResourceType, name: NameId) {
        if self.rejections.is_empty() {
            return;
        }
        let of_name = self.rejections.range(all_of(kind, name)).map(|(subject, _)| subject.clone());
        let gone: Vec<Subject> = of_name.filter(|subject| !self.exists(subject)).collect();
        for subject in &gone {
            _ = self.rejections.remove(subject);
        }
    }

    /// The node is gone, or reads other tables: what it alone rejected is no longer rejected by anybody.
    pub(super) fn forget_rejecter(&mut self, node: NodeHandle) {
        self.rejections.retain(|_, rejection| {
            rejection.nodes.remove(&node);
            !rejection.nodes.is_empty() || rejection.is_condemned()
        });
        let keys: Vec<Key> = self.trials.keys().filter(|key| key.0 == node).copied().collect();
        for key in keys {
            if let Some(trial) = self.trials.remove(&key) {
                self.drop_trial(key, &trial);
                self.retold.remove(&key);
            }
        }
    }

    /// Nodes read other tables now: what they rejected and none of these has is no longer rejected by them.
    pub(super) fn forget_moved(&mut self) {
        if self.rejections.is_empty() {
            return;
        }
        for node in self.moved.iter().copied().collect::<Vec<_>>() {
            let tables = self.tables_of(node);
            let of_node = self.rejections.iter().filter(|(_, rejection)| rejection.nodes.contains(&node));
            let left: Vec<Subject> = of_node
                .map(|(subject, _)| subject)
                .filter(|subject| !tables.iter().any(|table| self.has(*table, subject)))
                .cloned()
                .collect();
            for subject in left {
                self.withdraw(node, &subject);
            }
        }
    }

    /// The node no longer rejects it.
    fn withdraw(&mut self, node: NodeHandle, subject: &Subject) {
        if let Some(rejection) = self.rejections.get_mut(subject) {
            rejection.nodes.remove(&node);
            if rejection.nodes.is_empty() && !rejection.is_condemned() {
                self.rejections.remove(subject);
            }
        }
    }

    /// The node accepted another version of a name: what it rejected of it before is no longer its word, unless that
    /// is what it is meant to have.
    pub(super) fn accepted_another(&mut self, node: NodeHandle, kind: ResourceType, name: NameId) {
        if self.rejections.is_empty() {
            return;
        }
        let present = self.tables_of(node).into_iter().find_map(|id| self.present(id, kind, name));
        let wanted = present.as_ref().map(|present| present.version);
        let of_name = self.rejections.range(all_of(kind, name));
        let old: Vec<Subject> = of_name
            .filter(|(subject, rejection)| {
                subject.piece.is_none() && rejection.nodes.contains(&node) && wanted != Some(subject.version)
            })
            .map(|(subject, _)| subject.clone())
            .collect();
        for subject in old {
            self.withdraw(node, &subject);
        }
    }

    /// Has some table this version, be it held back?
    fn exists(&self, subject: &Subject) -> bool {
        let ids = (0..self.tables.len()).filter_map(|id| u32::try_from(id).ok());
        ids.map(TableId).any(|id| self.has(id, subject))
    }

    /// Has the table this version, be it held back?
    fn has(&self, id: TableId, subject: &Subject) -> bool {
        let Subject { kind, name, piece, version } = subject;
        let present = self.present(id, *kind, *name);
        match piece {
            None => present.is_some_and(|present| present.version == *version),
            Some(piece) => present
                .and_then(|present| Pieces::of(&present))
                .and_then(|pieces| pieces.get(piece).map(|part| part.version == *version))
                .unwrap_or(false),
        }
    }

    /// A resource of a table as it is compiled, condemned parts included.
    pub(super) fn present(&self, id: TableId, kind: ResourceType, name: NameId) -> Option<Arc<Resource>> {
        let table = self.table(id)?;
        let shown = table.get(kind, name)?;
        if !self.rejections.values().any(Rejection::is_condemned) {
            return Some(shown.clone());
        }
        if let Some(routes) = table.routes.get(&name).filter(|_| kind == ResourceType::RouteConfiguration) {
            return routes.whole(name).map(Arc::new);
        }
        let memo = table.slots(kind).get(&name).and_then(|slot| slot.memo);
        match memo.and_then(|memo| self.graph.value(memo)) {
            Some(MemoValue::Body(Some(body))) => {
                let body = lateen_xds::Body::Whole(body.compiled.bytes.clone());
                let version = Version::of(&body.bytes());
                Some(Arc::new(Resource { version, body, ..(**shown).clone() }))
            }
            _ => Some(shown.clone()),
        }
    }

    /// A resource without the parts that are condemned: each at its last good form, or else closed.
    pub(super) fn without_condemned(&self, table: TableId, resource: Arc<Resource>) -> Arc<Resource> {
        let Resource { kind, name, .. } = *resource;
        let mut condemned = self
            .rejections
            .range(all_of(kind, name))
            .filter(|(_, rejection)| rejection.is_condemned())
            .filter_map(|(subject, _)| Some((subject.piece.clone()?, subject.version)))
            .peekable();
        if condemned.peek().is_none() {
            return resource;
        }
        let Some(mut pieces) = Pieces::of(&resource) else { return resource };
        let slot = self.table(table).and_then(|table| table.slots(kind).get(&name));
        let good = slot.and_then(|slot| slot.last_good()).and_then(|good| Pieces::of(good));
        let mut differs = false;
        for (piece, version) in condemned {
            if pieces.get(&piece).is_some_and(|part| part.version == version) {
                let instead = good.as_ref().and_then(|good| good.get(&piece)).cloned();
                let instead = instead.filter(|instead| instead.version != version && !is_closed(instead));
                if !pieces.set(&piece, instead) {
                    return slot.and_then(|slot| slot.last_good()).cloned().unwrap_or(resource);
                }
                differs = true;
            }
        }
        if differs { Arc::new(pieces.compose(&resource)) } else { resource }
    }

    /// A part of this name is condemned from now on, or no longer.
    fn show_again(&mut self, kind: ResourceType, name: NameId) {
        let ids = (0..self.tables.len()).filter_map(|id| u32::try_from(id).ok()).map(TableId);
        for id in ids.collect::<Vec<_>>() {
            let Some(slot) = self.table(id).and_then(|table| table.slots(kind).get(&name)) else { continue };
            if kind == ResourceType::RouteConfiguration {
                self.refresh_routes(id, name);
            } else if let Some(memo) = slot.memo {
                self.show(memo, &Shown::Slot(id, kind, name));
            }
        }
        self.finish_leaving();
    }

    pub(super) fn principal_of(&self, key: &Key) -> Arc<str> {
        self.principals.get(&key.0).cloned().unwrap_or_else(|| "nobody".into())
    }

    fn hash_of(&self, subject: &Subject) -> u64 {
        let Subject { kind, name, piece, version } = subject;
        let text = self.names.text(*name);
        Version::of(format!("{kind}\0{text}\0{}\0{version}", piece.as_deref().unwrap_or("\0")).as_bytes()).0
    }
}

/// All subjects of a name.
fn all_of(kind: ResourceType, name: NameId) -> std::ops::RangeInclusive<Subject> {
    let at = |piece, version| Subject { kind, name, piece, version };
    // No name of a part sorts after this one.
    let last: Arc<str> = "\u{10ffff}".into();
    at(None, Version(0))..=at(Some(last), Version(u64::MAX))
}
