//! What one source has said so far.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use lateen_config::{ObjectKey, ParsedObject, codes, parse};
use lateen_model::{Diagnostic, Document, ObjectId, Scope, SourceEvent, SourceId, Version, event::Object};

use crate::{
    SourceStatus, amount,
    entry::Entry,
    guard::{Amount, Guard, GuardSettings},
    services::Translated,
};

/// A difference in what a source says.
#[derive(Clone, Debug)]
pub(crate) enum Effect {
    /// Another object, or none, stands where one, or none, stood.
    Object(Option<Arc<Entry>>, Option<Arc<Entry>>),
    /// The same for what the adapter translated.
    Translated(ObjectId, Option<Translated>),
}

/// How the state of an object of a source has changed, for what follows sources and not the World.
#[derive(Clone, PartialEq, Debug)]
pub enum Touched {
    /// The text of a document is another one, or can or can't be read now.
    Document {
        /// Could all of it be read? Where not, older forms of its objects may be in force.
        sound: bool,
    },
    /// What the adapter translated: what is in force now.
    Translated(Object),
    /// It came from what was saved.
    Restored,
    /// It is gone.
    Gone,
}

/// What is known of a document.
#[derive(Clone, Debug)]
pub struct DocumentState<'a> {
    /// Is it in force as it was last read?
    pub sound: bool,
    /// The objects in force.
    pub objects: Vec<&'a ParsedObject>,
    /// Findings about its text and its objects alone.
    pub findings: Vec<&'a Diagnostic>,
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
    /// When what is in force was saved, in the words of who saved it; none once the source was listed.
    pub(crate) saved_at: Option<u64>,
    pub(crate) guard: GuardSettings,
    held: BTreeMap<ObjectId, Held>,
    /// Objects about which there is a finding.
    noted: BTreeSet<ObjectId>,
    /// Removals that wait for a confirmation.
    pending: BTreeMap<ObjectId, Pending>,
    pending_amount: Amount,
    /// The finding about the pending removals, and how many it speaks of.
    notice: Option<Diagnostic>,
    noticed: usize,
    touched: BTreeMap<ObjectId, Touched>,
    /// Objects in force, and how much they are for the guard.
    objects: usize,
    total: Amount,
    history: Guard,
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
    /// Could all of it be read when it was last read?
    sound: bool,
    /// Why it can't be read at present.
    unreadable: Option<Diagnostic>,
}

impl Held {
    fn nothing() -> Self {
        let (content, findings) = (Content::Nothing, Vec::new());
        Self { seen: 0, content, findings, sound: true, unreadable: None }
    }
}

/// A removal that waits for a confirmation.
#[derive(Clone, Debug)]
struct Pending {
    /// Since when.
    since: u64,
    /// Number of the event that asked for it.
    event: u64,
    /// What is to stand in the place: nothing, or fewer endpoints.
    then: Option<Translated>,
    /// How much that takes away.
    amount: Amount,
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

impl Content {
    /// How many objects this is, and how much for the guard.
    fn size(&self) -> (usize, Amount) {
        match self {
            Self::Nothing => (0, Amount::default()),
            Self::Translated(translated) => (1, amount::of_translated(translated)),
            Self::Document { objects, .. } => {
                let mut all = Amount::default();
                for entry in objects.values() {
                    all.add(amount::of_object(&entry.object));
                }
                (objects.len(), all)
            }
        }
    }
}

/// A document that was read.
struct Reading {
    objects: BTreeMap<ObjectKey, Arc<Entry>>,
    findings: Vec<Diagnostic>,
    sound: bool,
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
            saved_at: None,
            guard: GuardSettings::default(),
            held: BTreeMap::new(),
            noted: BTreeSet::new(),
            pending: BTreeMap::new(),
            pending_amount: Amount::default(),
            notice: None,
            noticed: 0,
            touched: BTreeMap::new(),
            objects: 0,
            total: Amount::default(),
            history: Guard::default(),
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

    pub(crate) fn status(&self) -> SourceStatus {
        SourceStatus {
            id: self.id.clone(),
            synced: self.synced,
            stale_since: self.stale_since,
            error: self.error.clone(),
            objects: self.objects,
            findings: self.findings().count(),
            last_event: self.last_event,
            saved_at: self.saved_at,
            held_removals: self.pending.len(),
        }
    }

    /// Is there such an object, readable or not?
    pub(crate) fn has(&self, id: &ObjectId) -> bool {
        self.held.contains_key(id)
    }

    pub(crate) fn findings(&self) -> impl Iterator<Item = &Diagnostic> {
        let noted = self.noted.iter().filter_map(|id| self.held.get(id));
        let all = noted.flat_map(|held| held.unreadable.iter().chain(&held.findings));
        all.chain(&self.notice)
    }

    /// What is known of a document; none where there is none.
    pub(crate) fn document_state(&self, id: &ObjectId) -> Option<DocumentState<'_>> {
        let held = self.held.get(id)?;
        let objects = match &held.content {
            Content::Document { objects, .. } => objects.values().map(|entry| &entry.object).collect(),
            Content::Nothing | Content::Translated(_) => Vec::new(),
        };
        Some(DocumentState {
            sound: held.sound && held.unreadable.is_none(),
            objects,
            findings: held.unreadable.iter().chain(&held.findings).collect(),
        })
    }

    /// What has changed since the last call: one entry for each object, the newest.
    pub(crate) fn take_touched(&mut self) -> BTreeMap<ObjectId, Touched> {
        std::mem::take(&mut self.touched)
    }

    /// Takes over an event and gives the differences.
    pub(crate) fn apply(&mut self, event: SourceEvent, now: u64) -> Vec<Effect> {
        self.events += 1;
        let effects = match event {
            SourceEvent::Resync(scope) => {
                self.open.retain(|(open, _)| *open != scope);
                self.open.push((scope, self.events));
                return Vec::new();
            }
            SourceEvent::Synced(scope) => self.finish(&scope, now),
            SourceEvent::Upsert { id, object } => self.upsert(&id, object, now),
            SourceEvent::Remove { id } => self.removal(id, now),
            SourceEvent::Invalid { id, diagnostic } => {
                let held = self.held.entry(id.clone()).or_insert_with(Held::nothing);
                held.seen = self.events;
                held.unreadable = Some(diagnostic);
                self.touched.insert(id.clone(), Touched::Document { sound: false });
                self.noted.insert(id.clone());
                // It is there, whatever it says.
                if self.pending.get(&id).is_some_and(|pending| pending.then.is_none()) {
                    self.release(&id);
                }
                Vec::new()
            }
        };
        self.renew_notice();
        effects
    }

    /// Takes out what has waited long enough for a confirmation. While the source can't be read, time confirms
    /// nothing.
    pub(crate) fn on_time(&mut self, now: u64) -> Vec<Effect> {
        if self.stale_since.is_some() {
            return Vec::new();
        }
        let due = |pending: &Pending| pending.since + self.guard.confirm_ms <= now;
        let due: Vec<ObjectId> =
            self.pending.iter().filter(|(_, pending)| due(pending)).map(|(id, _)| id.clone()).collect();
        let effects = due.into_iter().flat_map(|id| self.confirm(&id)).collect();
        self.renew_notice();
        effects
    }

    /// When [`Shard::on_time`] has something to do.
    pub(crate) fn deadline(&self) -> Option<u64> {
        let since = self.pending.values().map(|pending| pending.since).min()?;
        self.stale_since.is_none().then_some(since + self.guard.confirm_ms)
    }

    /// From now on what is known of the source counts as listed, though it was saved then.
    pub(crate) fn trust_saved(&mut self, saved_at: u64) {
        (self.synced, self.saved_at) = (true, Some(saved_at));
    }

    /// Takes what was saved for what the source has not said yet. The listing under way, and the next one, take
    /// out of it what they don't name.
    pub(crate) fn recall(&mut self, objects: Vec<(ObjectId, Object)>) -> Vec<Effect> {
        let mut effects = Vec::new();
        for (id, object) in objects {
            let before = self.held.get(&id).map(|held| (held.seen, held.unreadable.clone(), &held.content));
            let (seen, unreadable) = match before {
                None => (0, None),
                Some((seen, unreadable, Content::Nothing)) => (seen, unreadable),
                Some(_) => continue,
            };
            effects.extend(self.measured(&id, |shard, id| match object {
                Object::Document(document) => shard.document(id, &document),
                object => Translated::of(object).map(|new| shard.translated(id, new)).unwrap_or_default(),
            }));
            if let Some(held) = self.held.get_mut(&id) {
                (held.seen, held.unreadable) = (seen, unreadable);
            }
            self.note(&id);
            self.touched.insert(id, Touched::Restored);
        }
        effects
    }

    /// A listing ended: what it did not name is gone, where that is not too much at once.
    fn finish(&mut self, scope: &Scope, now: u64) -> Vec<Effect> {
        let Some(at) = self.open.iter().position(|(open, _)| open == scope) else { return Vec::new() };
        let (_, began) = self.open.remove(at);
        let first = ObjectId { kind: scope.kind, name: scope.prefix.clone() };
        let within = self.held.range(first..).take_while(|(id, _)| scope.contains(id));
        let gone: Vec<ObjectId> =
            within.filter(|(_, held)| held.seen < began).map(|(id, _)| id.clone()).collect();
        // An adapter opens all scopes of its first listing before it closes the first one.
        if self.open.is_empty() {
            (self.synced, self.saved_at) = (true, None);
        }
        let seen_twice = |id: &ObjectId| {
            let pending = self.pending.get(id);
            pending.is_some_and(|pending| pending.then.is_none() && pending.event < began)
        };
        let (confirmed, new): (Vec<_>, Vec<_>) = gone.into_iter().partition(seen_twice);
        let mut effects: Vec<Effect> = confirmed.iter().flat_map(|id| self.confirm(id)).collect();
        let mut going = Amount::default();
        new.iter().filter_map(|id| self.held.get(id)).for_each(|held| going.add(held.content.size().1));
        if self.history.allows(self.total, going, now, self.guard) {
            effects.extend(new.iter().flat_map(|id| self.remove(id)));
        } else {
            for id in new {
                self.hold(id, None, now);
            }
        }
        effects
    }

    /// The source says that the object is gone: said again, it is believed.
    fn removal(&mut self, id: ObjectId, now: u64) -> Vec<Effect> {
        let going = self.held.get(&id).map(|held| held.content.size().1).unwrap_or_default();
        let again = self.pending.get(&id).is_some_and(|pending| pending.then.is_none());
        if again {
            return self.confirm(&id);
        }
        if self.history.allows(self.total, going, now, self.guard) {
            return self.remove(&id);
        }
        self.hold(id, None, now);
        Vec::new()
    }

    /// Keeps the object, until the removal is confirmed.
    fn hold(&mut self, id: ObjectId, then: Option<Translated>, now: u64) {
        let since = self.release(&id).map_or(now, |before| before.since);
        let has = self.held.get(&id).map(|held| held.content.size().1).unwrap_or_default();
        let amount = has - then.as_ref().map(amount::of_translated).unwrap_or_default();
        self.pending_amount.add(amount);
        self.pending.insert(id, Pending { since, event: self.events, then, amount });
    }

    /// The object is not held any more.
    fn release(&mut self, id: &ObjectId) -> Option<Pending> {
        let pending = self.pending.remove(id)?;
        self.pending_amount = self.pending_amount - pending.amount;
        Some(pending)
    }

    /// Does what was pending.
    fn confirm(&mut self, id: &ObjectId) -> Vec<Effect> {
        let had = self.total;
        let effects = self.confirmed(id);
        self.history.confirmed(had - self.total);
        effects
    }

    fn confirmed(&mut self, id: &ObjectId) -> Vec<Effect> {
        match self.release(id).map(|pending| pending.then) {
            None => Vec::new(),
            Some(None) => self.remove(id),
            Some(Some(fewer)) => {
                let seen = self.held.get(id).map_or(0, |held| held.seen);
                let effects = self.measured(id, |shard, id| shard.translated(id, fewer));
                if let Some(held) = self.held.get_mut(id) {
                    held.seen = seen;
                }
                effects
            }
        }
    }

    fn remove(&mut self, id: &ObjectId) -> Vec<Effect> {
        self.release(id);
        self.noted.remove(id);
        let Some(held) = self.held.remove(id) else { return Vec::new() };
        self.touched.insert(id.clone(), Touched::Gone);
        let (objects, size) = held.content.size();
        (self.objects, self.total) = (self.objects.saturating_sub(objects), self.total - size);
        taken_out(id, held.content)
    }

    fn upsert(&mut self, id: &ObjectId, object: Object, now: u64) -> Vec<Effect> {
        let effects = match object {
            Object::Document(document) => {
                self.release(id);
                self.measured(id, |shard, id| shard.document(id, &document))
            }
            object => match Translated::of(object) {
                Some(new) => self.guarded(id, new, now),
                None => Vec::new(),
            },
        };
        self.note(id);
        effects
    }

    /// What an adapter translated; endpoints that go are kept, where that is too many at once, and those that came
    /// are taken.
    fn guarded(&mut self, id: &ObjectId, new: Translated, now: u64) -> Vec<Effect> {
        let before = self.pending.get(id);
        let again = before.is_some_and(|pending| pending.then.as_ref() == Some(&new));
        if again {
            let effects = self.confirm(id);
            // It was named, whatever it has left.
            if let Some(held) = self.held.get_mut(id) {
                held.seen = self.events;
            }
            return effects;
        }
        let old = match self.held.get(id).map(|held| &held.content) {
            Some(Content::Translated(old)) => old,
            Some(Content::Document { .. } | Content::Nothing) | None => {
                self.release(id);
                return self.measured(id, |shard, id| shard.translated(id, new));
            }
        };
        let (had, will) = (amount::of_translated(old), amount::of_translated(&new));
        if self.history.allows(self.total, had - will, now, self.guard) {
            self.release(id);
            return self.measured(id, |shard, id| shard.translated(id, new));
        }
        let both = old.with(&new);
        let effects = self.measured(id, |shard, id| shard.translated(id, both));
        self.hold(id.clone(), Some(new), now);
        effects
    }

    /// Does something that changes one object, and counts anew.
    fn measured(
        &mut self,
        id: &ObjectId,
        act: impl FnOnce(&mut Self, ObjectId) -> Vec<Effect>,
    ) -> Vec<Effect> {
        let size = |shard: &Self| shard.held.get(id).map(|held| held.content.size()).unwrap_or_default();
        let (objects, amount) = size(self);
        let effects = act(self, id.clone());
        let (objects_now, amount_now) = size(self);
        self.objects = (self.objects + objects_now).saturating_sub(objects);
        self.total.add(amount_now);
        self.total = self.total - amount;
        effects
    }

    /// Is there a finding about the object now?
    fn note(&mut self, id: &ObjectId) {
        let noted = |held: &Held| held.unreadable.is_some() || !held.findings.is_empty();
        if self.held.get(id).is_some_and(noted) {
            self.noted.insert(id.clone());
        } else {
            self.noted.remove(id);
        }
    }

    fn renew_notice(&mut self) {
        let count = self.pending.len();
        if count == 0 {
            self.notice = None;
        } else if self.notice.is_none() || self.noticed != count {
            self.notice = Some(amount::notice(&self.id, count, self.pending_amount, self.guard));
        }
        self.noticed = count;
    }

    fn translated(&mut self, id: ObjectId, new: Translated) -> Vec<Effect> {
        let mut effects = Vec::new();
        if let Some(held) = self.held.get_mut(&id) {
            match &held.content {
                Content::Translated(old) if *old == new => {
                    (held.seen, held.unreadable) = (self.events, None);
                    return effects;
                }
                Content::Document { .. } => {
                    let old = std::mem::replace(&mut held.content, Content::Nothing);
                    effects = taken_out(&id, old);
                }
                Content::Nothing | Content::Translated(_) => {}
            }
        }
        let held = Held { seen: self.events, content: Content::Translated(new.clone()), ..Held::nothing() };
        self.held.insert(id.clone(), held);
        self.touched.insert(id.clone(), Touched::Translated(new.clone().into_object()));
        effects.push(Effect::Translated(id, Some(new)));
        effects
    }

    fn document(&mut self, id: ObjectId, document: &Document) -> Vec<Effect> {
        let body = (Version::of(&document.body), document.body.len());
        let mut effects = Vec::new();
        let old = match self.held.get_mut(&id) {
            None => BTreeMap::new(),
            Some(held) => {
                let was_unreadable = held.unreadable.take().is_some();
                held.seen = self.events;
                match &mut held.content {
                    Content::Document { body: known, .. } if *known == body => {
                        if was_unreadable {
                            let sound = held.sound;
                            self.touched.insert(id, Touched::Document { sound });
                        }
                        return effects;
                    }
                    Content::Document { objects, .. } => std::mem::take(objects),
                    Content::Nothing => BTreeMap::new(),
                    Content::Translated(_) => {
                        effects.push(Effect::Translated(id.clone(), None));
                        BTreeMap::new()
                    }
                }
            }
        };
        let Reading { objects, findings, sound, effects: more } = self.read(old, document, &id.name);
        effects.extend(more);
        let content = Content::Document { body, objects };
        self.touched.insert(id.clone(), Touched::Document { sound });
        self.held.insert(id, Held { seen: self.events, content, findings, sound, unreadable: None });
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
        let sound = parsed.invalid.is_empty();
        Reading { objects, findings: parsed.diagnostics, sound, effects }
    }
}

/// The end of what stood there.
fn taken_out(id: &ObjectId, content: Content) -> Vec<Effect> {
    match content {
        Content::Nothing => Vec::new(),
        Content::Translated(_) => vec![Effect::Translated(id.clone(), None)],
        Content::Document { objects, .. } => {
            objects.into_values().map(|entry| Effect::Object(Some(entry), None)).collect()
        }
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
