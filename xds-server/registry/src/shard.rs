//! What one source has said so far.

use std::{
    collections::{BTreeMap, btree_map},
    sync::Arc,
};

use lateen_config::{ObjectKey, codes, parse};
use lateen_model::{Diagnostic, Document, ObjectId, Scope, SourceEvent, SourceId, Version, event::Object};

use crate::{entry::Entry, services::Translated};

/// A difference in what a source says.
#[derive(Clone, Debug)]
pub(crate) enum Effect {
    /// Another object, or none, stands where one, or none, stood.
    Object(Option<Arc<Entry>>, Option<Arc<Entry>>),
    /// The same for what the adapter translated.
    Translated(ObjectId, Option<Translated>),
}

/// One source.
#[derive(Clone, Debug)]
pub(crate) struct Shard {
    pub(crate) id: SourceId,
    /// Place in the list of sources; the first wins conflicts.
    pub(crate) rank: u32,
    pub(crate) synced: bool,
    pub(crate) stale_since: Option<u64>,
    pub(crate) error: Option<String>,
    pub(crate) last_event: Option<u64>,
    held: BTreeMap<ObjectId, Held>,
    /// Listings under way, each with the count of events before it.
    open: Vec<(Scope, u64)>,
    events: u64,
}

#[derive(Clone, Debug)]
struct Held {
    /// Number of the event that last named it.
    seen: u64,
    content: Content,
    findings: Vec<Diagnostic>,
    /// Why it can't be read at present.
    unreadable: Option<Diagnostic>,
}

#[derive(Clone, Debug)]
enum Content {
    /// It was never readable.
    Nothing,
    Document {
        body: (Version, usize),
        objects: BTreeMap<ObjectKey, Arc<Entry>>,
    },
    Translated(Translated),
}

/// A document that was read.
struct Reading {
    objects: BTreeMap<ObjectKey, Arc<Entry>>,
    findings: Vec<Diagnostic>,
    effects: Vec<Effect>,
}

impl Shard {
    pub(crate) fn new(id: SourceId, rank: u32) -> Self {
        Self {
            id,
            rank,
            synced: false,
            stale_since: None,
            error: None,
            last_event: None,
            held: BTreeMap::new(),
            open: Vec::new(),
            events: 0,
        }
    }

    /// Is a listing under way?
    pub(crate) fn is_listing(&self) -> bool {
        !self.open.is_empty()
    }

    /// Forgets the listings under way: what they did not get to name is not gone.
    pub(crate) fn abandon_listings(&mut self) {
        self.open.clear();
    }

    pub(crate) fn objects(&self) -> usize {
        let counts = self.held.values().map(|held| match &held.content {
            Content::Nothing => 0,
            Content::Document { objects, .. } => objects.len(),
            Content::Translated(_) => 1,
        });
        counts.sum()
    }

    pub(crate) fn findings(&self) -> impl Iterator<Item = &Diagnostic> {
        self.held.values().flat_map(|held| held.unreadable.iter().chain(&held.findings))
    }

    /// Takes over an event and gives the differences.
    pub(crate) fn apply(&mut self, event: SourceEvent) -> Vec<Effect> {
        self.events += 1;
        match event {
            SourceEvent::Resync(scope) => {
                self.open.retain(|(open, _)| *open != scope);
                self.open.push((scope, self.events));
                Vec::new()
            }
            SourceEvent::Synced(scope) => self.finish(&scope),
            SourceEvent::Upsert { id, object } => match object {
                Object::Document(document) => self.document(id, &document),
                Object::Service(service) => self.translated(id, Translated::Service(service)),
                Object::Endpoints { host, namespace, endpoints } => {
                    self.translated(id, Translated::Endpoints(host, namespace, endpoints))
                }
            },
            SourceEvent::Remove { id } => self.remove(&id),
            SourceEvent::Invalid { id, diagnostic } => {
                let nothing =
                    Held { seen: 0, content: Content::Nothing, findings: Vec::new(), unreadable: None };
                let held = self.held.entry(id).or_insert(nothing);
                held.seen = self.events;
                held.unreadable = Some(diagnostic);
                Vec::new()
            }
        }
    }

    /// A listing ended: what it did not name is gone.
    fn finish(&mut self, scope: &Scope) -> Vec<Effect> {
        let Some(at) = self.open.iter().position(|(open, _)| open == scope) else { return Vec::new() };
        let (_, began) = self.open.remove(at);
        let first = ObjectId { kind: scope.kind, name: scope.prefix.clone() };
        let within = self.held.range(first..).take_while(|(id, _)| scope.contains(id));
        let gone: Vec<ObjectId> =
            within.filter(|(_, held)| held.seen < began).map(|(id, _)| id.clone()).collect();
        // An adapter opens all scopes of its first listing before it closes the first one.
        self.synced |= self.open.is_empty();
        gone.iter().flat_map(|id| self.remove(id)).collect()
    }

    fn remove(&mut self, id: &ObjectId) -> Vec<Effect> {
        match self.held.remove(id).map(|held| held.content) {
            None | Some(Content::Nothing) => Vec::new(),
            Some(Content::Translated(_)) => vec![Effect::Translated(id.clone(), None)],
            Some(Content::Document { objects, .. }) => {
                objects.into_values().map(|entry| Effect::Object(Some(entry), None)).collect()
            }
        }
    }

    fn translated(&mut self, id: ObjectId, new: Translated) -> Vec<Effect> {
        let mut effects = Vec::new();
        let held = match self.held.entry(id.clone()) {
            btree_map::Entry::Occupied(held) => match &held.get().content {
                Content::Translated(old) if *old == new => {
                    let held = held.into_mut();
                    (held.seen, held.unreadable) = (self.events, None);
                    return effects;
                }
                Content::Document { .. } => {
                    effects = self.remove(&id);
                    self.held.entry(id.clone())
                }
                Content::Nothing | Content::Translated(_) => btree_map::Entry::Occupied(held),
            },
            vacant @ btree_map::Entry::Vacant(_) => vacant,
        };
        let content = Content::Translated(new.clone());
        held.insert_entry(Held { seen: self.events, content, findings: Vec::new(), unreadable: None });
        effects.push(Effect::Translated(id, Some(new)));
        effects
    }

    fn document(&mut self, id: ObjectId, document: &Document) -> Vec<Effect> {
        let body = (Version::of(&document.body), document.body.len());
        let mut effects = Vec::new();
        let old = match self.held.get_mut(&id) {
            None => BTreeMap::new(),
            Some(held) => {
                (held.seen, held.unreadable) = (self.events, None);
                match &mut held.content {
                    Content::Document { body: known, .. } if *known == body => return effects,
                    Content::Document { objects, .. } => std::mem::take(objects),
                    Content::Nothing => BTreeMap::new(),
                    Content::Translated(_) => {
                        effects.push(Effect::Translated(id.clone(), None));
                        BTreeMap::new()
                    }
                }
            }
        };
        let Reading { objects, findings, effects: more } = self.read(old, document, &id.name);
        effects.extend(more);
        let content = Content::Document { body, objects };
        self.held.insert(id, Held { seen: self.events, content, findings, unreadable: None });
        effects
    }

    /// Reads a document. An object that is there and invalid keeps its last good form; where it can't be told
    /// which objects are invalid, or the text breaks off, all that are not there in good form keep theirs.
    fn read(
        &self,
        mut old: BTreeMap<ObjectKey, Arc<Entry>>,
        document: &Document,
        location: &Arc<str>,
    ) -> Reading {
        let parsed = parse(&document.body, &self.id.0, location);
        let (mut objects, mut effects) = (BTreeMap::new(), Vec::new());
        for object in parsed.objects {
            let key = object.key.clone();
            let new = Arc::new(Entry::new(self.rank, object));
            let old = old.remove(&key);
            effects.push(Effect::Object(old, Some(new.clone())));
            objects.insert(key, new);
        }
        let breaks_off = parsed.diagnostics.iter().any(breaks_off);
        for invalid in &parsed.invalid {
            match &invalid.key {
                Some(key) if !breaks_off => objects.extend(old.remove_entry(key)),
                Some(_) | None => objects.append(&mut old),
            }
        }
        effects.extend(old.into_values().map(|gone| Effect::Object(Some(gone), None)));
        Reading { objects, findings: parsed.diagnostics, effects }
    }
}

/// Does the text break off somewhere? Then the namespace of the object that it breaks off in may be missing, and
/// the objects that came after it. Where not all findings are kept, this one may be missing.
fn breaks_off(finding: &Diagnostic) -> bool {
    matches!(
        finding.code,
        codes::SYNTAX | codes::NOT_UTF8 | codes::TOO_LARGE | codes::BUDGET | codes::SUPPRESSED
    )
}
