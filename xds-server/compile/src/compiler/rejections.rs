//! What clients reject, and whose word counts.
//!
//! A rejection ends with what it was about: when no table has the version any more, when every client that rejected
//! it is gone or reads something else. A part that independent clients reject, and that none ever accepted, is
//! condemned: tables hold it back at its last good form, so that nobody has to find it out anew.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use lateen_model::{Diagnostic, Origin, Severity, Version, diagnostic::Code};
use lateen_xds::{NameId, Resource, ResourceType};

use super::{Compiler, Shown, rejected::Held, trials::Key};
use crate::{
    NodeHandle, TableId,
    node::Rejection,
    pieces::{Pieces, chain_versions, is_closed},
    program::{MemoKey, MemoValue},
    routes::Piece,
};

/// Clients reject a resource, or a part of one.
pub const REJECTED: Code = Code("LAT4001");
/// Acceptances that are remembered at least, and half of those that are at most.
const REMEMBERED_MAX: usize = 1 << 18;

/// What a client accepts or rejects.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Subject {
    pub(crate) kind: ResourceType,
    pub(crate) name: NameId,
    /// A virtual host or a filter chain; `None`: the whole.
    pub(crate) piece: Option<Arc<str>>,
    pub(crate) version: Version,
}

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
        let of_node = self.rejections.of_node(node);
        of_node.filter(move |(subject, _)| subject.kind == kind).map(|(_, rejection)| rejection)
    }

    /// A version was accepted for the first time.
    pub(super) fn remember_acceptance(&mut self, subject: &Subject) {
        let hash = self.hash_of(subject);
        if self.remembered.is_full() {
            let in_use = self.accepted_in_use();
            self.remembered.turn(in_use);
        }
        if let Some(piece) = &subject.piece {
            self.outdate_form(subject.kind, subject.name, piece, subject.version);
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
        let whole = Subject { kind, name, piece: None, version };
        let mut accepted = vec![whole];
        if let Some(pieces) = self.has_rejected_parts(kind, name).then(|| Pieces::of(resource)).flatten() {
            accepted.extend(self.rejected_parts(kind, name, &pieces));
        }
        for subject in accepted {
            let tables = self.rejections.tables_with(&subject);
            if self.rejections.accept(&subject) {
                self.show_again(kind, name, &tables);
            }
        }
    }

    fn has_rejected_parts(&self, kind: ResourceType, name: NameId) -> bool {
        self.rejections.parts_of(kind, name).next().is_some()
    }

    /// Which of these parts are rejected? Costs the fewer of both.
    fn rejected_parts(&self, kind: ResourceType, name: NameId, pieces: &Pieces) -> Vec<Subject> {
        if kind == ResourceType::Listener {
            let subject = |(piece, part): (&Arc<str>, &Arc<Piece>)| Subject {
                kind,
                name,
                piece: Some(piece.clone()),
                version: part.version,
            };
            let all = pieces.iter().map(subject);
            return all.filter(|subject| self.rejections.get(subject).is_some()).collect();
        }
        let is_there = |(subject, piece): &(&Subject, &Arc<str>)| {
            pieces.get(piece).is_some_and(|part| part.version == subject.version)
        };
        self.rejections.parts_of(kind, name).filter(is_there).map(|(subject, _)| subject.clone()).collect()
    }

    /// A client rejects a version of a resource, or of a part of one.
    pub(super) fn reject(
        &mut self,
        node: NodeHandle,
        principal: &Arc<str>,
        subject: &Subject,
        message: &str,
    ) {
        let Subject { kind, name, .. } = *subject;
        let is_new = self.rejections.get(subject).is_none();
        let new = is_new.then(|| {
            self.find_holders(subject);
            let part = subject.piece.as_ref().map(|piece| format!("{} {piece}", self.names.text(name)));
            Rejection {
                principals: BTreeSet::default(),
                nodes: BTreeSet::default(),
                ids: BTreeSet::default(),
                // Equal versions of other views are the same bytes.
                accepted: self.is_remembered(subject) || self.rejections.is_good(subject),
                part,
                message: message.into(),
                finding: self.finding(node, subject, message),
            }
        });
        let id = self.id_of(node);
        if self.rejections.blame(subject, (node, id), principal, new) {
            let tables = self.rejections.tables_with(subject);
            self.show_again(kind, name, &tables);
        }
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
        let is_there = |subject: &&Subject| {
            let part = subject.piece.as_ref().and_then(|piece| pieces.get(piece));
            part.is_some_and(|part| part.version == subject.version)
        };
        let condemned = self.rejections.condemned_of(resource.kind, resource.name);
        let again: Vec<Subject> = condemned.filter(is_there).cloned().collect();
        for subject in &again {
            self.rejections.rejects_again(node, subject);
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
        let memo_of = |id| self.table(id)?.slots(kind).get(&name)?.memo;
        let memo = self.tables_of(node).into_iter().find_map(memo_of)?;
        let MemoValue::Body(Some(body)) = self.graph.value(memo)? else { return None };
        Some(body.compiled.chains.get(at)?.to_vec())
    }

    /// Was it ever accepted by a client?
    pub(super) fn is_remembered(&self, subject: &Subject) -> bool {
        self.remembered.has(self.hash_of(subject))
    }

    /// The table is gone, and with it perhaps what was rejected.
    pub(super) fn end_rejections_of(&mut self, table: TableId) {
        for key in self.trials.of_table(table) {
            _ = self.trials.remove(&key);
        }
        self.rejections.drop_table(table);
    }

    /// A table has another form of a name: rejections of the name end with what they were about.
    pub(super) fn follow_rejections(&mut self, table: TableId, kind: ResourceType, name: NameId) {
        if !self.rejections.is_empty() && self.rejections.is_watched(kind, name) {
            self.look_at(table, kind, name);
        }
    }

    /// How often it was looked at what a table has, for the sake of what is rejected: for tests.
    pub fn rejections_looked_at(&self) -> u64 {
        self.rejections.looked_at
    }

    fn look_at(&mut self, table: TableId, kind: ResourceType, name: NameId) {
        let held = self.held(table, kind, name);
        self.rejections.looked_at += 1;
        self.rejections.hold(table, kind, name, held);
    }

    /// Finds out who has what is about to be rejected.
    fn find_holders(&mut self, subject: &Subject) {
        let Subject { kind, name, .. } = *subject;
        if !self.rejections.is_watched(kind, name) {
            self.rejections.watch(kind, name);
            for table in self.table_ids().collect::<Vec<_>>() {
                self.look_at(table, kind, name);
            }
        }
        let (ResourceType::RouteConfiguration, Some(piece)) = (kind, &subject.piece) else { return };
        // Of route configurations only the parts that are rejected are noted.
        let has = |resource: Option<&Arc<Resource>>| {
            let pieces = resource.and_then(|resource| Pieces::of(resource));
            pieces.and_then(|pieces| pieces.get(piece).map(|part| part.version)) == Some(subject.version)
        };
        let (mut present, mut good) = (Vec::new(), Vec::new());
        let tables = self.rejections.tables_of(kind, name);
        self.rejections.looked_at += tables.len() as u64;
        for id in tables {
            if has(self.present(id, kind, name).as_ref()) {
                present.push(id);
            }
            let slot = self.table(id).and_then(|table| table.slots(kind).get(&name));
            if has(slot.and_then(|slot| slot.last_good())) {
                good.push(id);
            }
        }
        self.rejections.note(subject, &present, &good);
    }

    fn table_ids(&self) -> impl Iterator<Item = TableId> + use<> {
        (0..self.tables.len()).filter_map(|id| u32::try_from(id).ok()).map(TableId)
    }

    /// What a table has of a name: the versions of the whole, of all filter chains, and of the virtual hosts that
    /// somebody rejects.
    fn held(&self, id: TableId, kind: ResourceType, name: NameId) -> Option<Held> {
        let slot = self.table(id)?.slots(kind).get(&name)?;
        let versions = |resource: &Arc<Resource>| -> Vec<Version> {
            let parts = match kind {
                ResourceType::Listener => chain_versions(&resource.body.bytes()),
                ResourceType::RouteConfiguration if self.has_rejected_parts(kind, name) => {
                    let pieces = Pieces::of(resource);
                    let rejected = pieces.map(|pieces| self.rejected_parts(kind, name, &pieces));
                    rejected.into_iter().flatten().map(|subject| subject.version).collect()
                }
                _ => Vec::new(),
            };
            std::iter::once(resource.version).chain(parts).collect()
        };
        let mut held = Held::default();
        if let Some(present) = self.present(id, kind, name) {
            held.present = versions(&present);
            // Without what is condemned it is another version.
            held.present.extend(slot.version().filter(|shown| *shown != present.version));
        }
        held.good = slot.last_good().map(versions).unwrap_or_default();
        Some(held)
    }

    /// The node is gone: what it alone rejected is no longer rejected by anybody.
    pub(super) fn forget_rejecter(&mut self, node: NodeHandle) {
        let subjects: Vec<Subject> =
            self.rejections.of_node(node).map(|(subject, _)| subject.clone()).collect();
        for subject in &subjects {
            self.rejections.withdraw(node, subject);
        }
        for key in self.trials.of_node(node) {
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
            let is_left = |subject: &&Subject| {
                !self.rejections.tables_with(subject).iter().any(|table| tables.contains(table))
            };
            let of_node = self.rejections.of_node(node).map(|(subject, _)| subject);
            let left: Vec<Subject> = of_node.filter(is_left).cloned().collect();
            for subject in left {
                self.rejections.withdraw(node, &subject);
            }
        }
    }

    /// The node accepted another version of a name: what it rejected of it before is no longer its word, unless that
    /// is what it is meant to have.
    pub(super) fn accepted_another(&mut self, node: NodeHandle, kind: ResourceType, name: NameId) {
        if self.rejections.is_empty() {
            return;
        }
        let of_name = self
            .rejections
            .of_node(node)
            .map(|(subject, _)| subject)
            .filter(|subject| subject.piece.is_none() && (subject.kind, subject.name) == (kind, name));
        let old: Vec<Subject> = of_name.cloned().collect();
        if old.is_empty() {
            return;
        }
        let present = self.tables_of(node).into_iter().find_map(|id| self.present(id, kind, name));
        let wanted = present.as_ref().map(|present| present.version);
        for subject in old.iter().filter(|subject| wanted != Some(subject.version)) {
            self.rejections.withdraw(node, subject);
        }
    }

    /// A resource of a table as it is compiled, condemned parts included.
    pub(super) fn present(&self, id: TableId, kind: ResourceType, name: NameId) -> Option<Arc<Resource>> {
        let table = self.table(id)?;
        let shown = table.get(kind, name)?;
        if self.rejections.condemned_of(kind, name).next().is_none() {
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
        let condemned = self.rejections.condemned_of(kind, name);
        let mut condemned =
            condemned.filter_map(|subject| Some((subject.piece.clone()?, subject.version))).peekable();
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
                let instead = instead.or_else(|| self.form(kind, name, &piece, version));
                if !pieces.set(&piece, instead) {
                    return slot.and_then(|slot| slot.last_good()).cloned().unwrap_or(resource);
                }
                differs = true;
            }
        }
        if differs { Arc::new(pieces.compose(&resource)) } else { resource }
    }

    /// A part that these tables have under this name is condemned from now on, or no longer.
    fn show_again(&mut self, kind: ResourceType, name: NameId, tables: &[TableId]) {
        for id in tables.iter().copied() {
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
