//! What one source has said so far.

mod going;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use lateen_config::{ObjectKey, Parsed, ParsedObject, parse};
use lateen_model::{Diagnostic, Document, ObjectId, Scope, SourceEvent, SourceId, Version, event::Object};

use crate::{
    SourceStatus, amount,
    entry::Entry,
    few::Few,
    guard::Amount,
    held::{Content, Held, Objects, Reading, ServiceName, amount_of, differences, never_read, read},
    pending::{HeldRemovals, Then, united},
    prepared::Prepared,
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
        /// New texts, in the order in which they came; read one over the other they give what is in force. None
        /// where there is no new one, or it is not in force because removals are held.
        texts: Vec<Document>,
        /// Do they do so alone? Otherwise they go on top of those that were told before, because objects that can't
        /// be read in a newer text are in force as an older one has them.
        replaces: bool,
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
    pub(crate) removals: HeldRemovals,
    held: BTreeMap<ObjectId, Held>,
    /// Objects that have endpoints, by their service.
    serving: HashMap<ServiceName, Few<ObjectId>>,
    /// Objects about which there is a finding.
    noted: BTreeSet<ObjectId>,
    touched: BTreeMap<ObjectId, Touched>,
    /// Objects in force, and how much they are for the guard.
    objects: usize,
    total: Amount,
    /// Listings under way, each with the count of events before it.
    open: Vec<(Scope, u64)>,
    events: u64,
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
            removals: HeldRemovals::default(),
            held: BTreeMap::new(),
            serving: HashMap::new(),
            noted: BTreeSet::new(),
            touched: BTreeMap::new(),
            objects: 0,
            total: Amount::default(),
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
            held_removals: self.removals.len(),
        }
    }

    /// Is there such an object, readable or not?
    pub(crate) fn has(&self, id: &ObjectId) -> bool {
        self.held.contains_key(id)
    }

    pub(crate) fn findings(&self) -> impl Iterator<Item = &Diagnostic> {
        let noted = self.noted.iter().filter_map(|id| self.held.get(id));
        let all = noted.flat_map(|held| held.unreadable.as_deref().into_iter().chain(&held.findings));
        all.chain(self.removals.notice())
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
            findings: held.unreadable.as_deref().into_iter().chain(&held.findings).collect(),
        })
    }

    /// What has changed since the last call: one entry for each object, the newest.
    pub(crate) fn take_touched(&mut self) -> BTreeMap<ObjectId, Touched> {
        std::mem::take(&mut self.touched)
    }

    /// Takes over an event and gives the differences.
    pub(crate) fn apply(&mut self, prepared: Prepared, now: u64) -> Vec<Effect> {
        self.events += 1;
        let Prepared { event, parsed } = prepared;
        let effects = match event {
            SourceEvent::Resync(scope) => {
                self.open.retain(|(open, _)| *open != scope);
                self.open.push((scope, self.events));
                return Vec::new();
            }
            SourceEvent::Synced(scope) => self.finish(&scope, now),
            SourceEvent::Upsert { id, object } => self.upsert(&id, object, parsed, now),
            SourceEvent::Remove { id } => self.removal(id, now),
            SourceEvent::Invalid { id, diagnostic } => {
                let effects = self.measured(&id, |shard, id| shard.unreadable(id, diagnostic));
                self.noted.insert(id.clone());
                // It is there, whatever it says.
                if self.removals.then(&id) == Some(&Then::Gone) {
                    self.removals.release(&id);
                }
                effects
            }
        };
        self.removals.renew_notice(&self.id);
        effects
    }

    /// The object is there and can't be read: what was read of it stays, and a policy that was never read closes.
    fn unreadable(&mut self, id: ObjectId, why: Diagnostic) -> Vec<Effect> {
        let held = self.held.entry(id.clone()).or_insert_with(Held::nothing);
        let (mut effects, mut texts) = (Vec::new(), Vec::new());
        if let (Content::Nothing, Some(Content::Document { body, objects })) =
            (&held.content, never_read(self.rank, &why))
        {
            effects = differences(Objects::default(), &objects);
            // For where it is saved: read again, it stands in for the same.
            texts.extend(objects.keys().map(unreadable_text));
            held.content = Content::Document { body, objects };
        }
        held.seen = self.events;
        held.unreadable = Some(why.into());
        let replaces = !texts.is_empty();
        self.touch(id, texts, replaces);
        effects
    }

    /// Takes out what has waited long enough for a confirmation. While the source can't be read, time confirms
    /// nothing.
    pub(crate) fn on_time(&mut self, now: u64) -> Vec<Effect> {
        if self.stale_since.is_some() {
            return Vec::new();
        }
        let due = self.removals.due(now);
        let effects = due.into_iter().flat_map(|id| self.confirm(&id)).collect();
        self.removals.renew_notice(&self.id);
        effects
    }

    /// When [`Shard::on_time`] has something to do.
    pub(crate) fn deadline(&self) -> Option<u64> {
        self.removals.deadline().filter(|_| self.stale_since.is_none())
    }

    /// From now on what is known of the source counts as listed, though it was saved then.
    pub(crate) fn trust_saved(&mut self, saved_at: u64) {
        (self.synced, self.saved_at) = (true, Some(saved_at));
    }

    /// Takes what was saved for what the source has not said yet; texts of one document one over the other. The
    /// listing under way, and the next one, take out of it what they don't name.
    pub(crate) fn recall(&mut self, objects: Vec<(ObjectId, Object)>) -> Vec<Effect> {
        let mut effects = Vec::new();
        let mut recalled = BTreeSet::new();
        for (id, object) in objects {
            let before = self.held.get(&id).map(|held| (held.seen, held.unreadable.clone(), &held.content));
            let (seen, unreadable) = match before {
                None => (0, None),
                Some((seen, unreadable, content)) if content.was_never_read() => (seen, unreadable),
                Some((seen, unreadable, _)) if recalled.contains(&id) => (seen, unreadable),
                Some(_) => continue,
            };
            recalled.insert(id.clone());
            effects.extend(self.measured(&id, |shard, id| match object {
                Object::Document(document) => shard.document(id, &document, None, None),
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

    /// The object is there, as it is. What is said a second time is believed, however much it takes away.
    fn upsert(&mut self, id: &ObjectId, object: Object, parsed: Option<Parsed>, now: u64) -> Vec<Effect> {
        let then = match object {
            Object::Document(document) => Some(Then::Text(document)),
            object => Translated::of(object).map(Then::Fewer),
        };
        let effects = if then.is_some() && self.removals.then(id) == then.as_ref() {
            let effects = self.confirm(id);
            // It was named, whatever it has left.
            if let Some(held) = self.held.get_mut(id) {
                held.seen = self.events;
            }
            effects
        } else {
            match then {
                Some(Then::Text(document)) => {
                    self.measured(id, |shard, id| shard.document(id, &document, parsed, Some(now)))
                }
                Some(Then::Fewer(new)) => self.guarded(id, new, now),
                Some(Then::Gone) | None => Vec::new(),
            }
        };
        self.note(id);
        effects
    }

    /// A document is proposed with this text, over these objects that are in force.
    pub(crate) fn propose(
        &mut self,
        id: &ObjectId,
        document: &Document,
        parsed: Parsed,
        in_force: Vec<Arc<Entry>>,
    ) -> Vec<Effect> {
        self.events += 1;
        let objects = in_force.into_iter().map(|entry| (entry.object.key.clone(), entry)).collect();
        let held = Held { content: Content::Document { body: None, objects }, ..Held::nothing() };
        self.held.insert(id.clone(), held);
        let effects = self.document(id.clone(), document, Some(parsed), None);
        self.note(id);
        effects
    }

    /// What an adapter translated; endpoints that go are kept, where that is too many at once, and those that came
    /// are taken.
    fn guarded(&mut self, id: &ObjectId, new: Translated, now: u64) -> Vec<Effect> {
        let old = match self.held.get(id).map(|held| &held.content) {
            Some(Content::Translated(old)) => old,
            Some(Content::Document { .. } | Content::Nothing) | None => {
                self.removals.release(id);
                return self.measured(id, |shard, id| shard.translated(id, new));
            }
        };
        let going = amount::of_translated(old) - amount::of_translated(&new);
        if self.removals.allow(self.total, going, now) {
            self.removals.release(id);
            return self.measured(id, |shard, id| shard.translated(id, new));
        }
        let both = old.with(&new);
        let effects = self.measured(id, |shard, id| shard.translated(id, both));
        let amount = self.amount(id) - amount::of_translated(&new);
        self.removals.hold(id.clone(), Then::Fewer(new), amount, self.events, now);
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
        let served = self.held.get(id).map(|held| held.content.serves()).unwrap_or_default();
        let effects = act(self, id.clone());
        self.serve(id, served);
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
                    effects = old.taken_out(&id);
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

    /// A document has this text, which was read if `parsed` is given. What goes with that is held, where it is too
    /// much at once; not if no time is given.
    fn document(
        &mut self,
        id: ObjectId,
        document: &Document,
        parsed: Option<Parsed>,
        guarded_at: Option<u64>,
    ) -> Vec<Effect> {
        let body = Some((Version::of(&document.body), document.body.len()));
        let mut effects = Vec::new();
        let old = match self.held.get_mut(&id) {
            None => Objects::default(),
            Some(held) => {
                let was_unreadable = held.unreadable.take().is_some();
                held.seen = self.events;
                match &mut held.content {
                    Content::Document { body: known, .. } if *known == body => {
                        self.removals.release(&id);
                        if was_unreadable {
                            self.touch(id, Vec::new(), false);
                        }
                        return effects;
                    }
                    Content::Document { objects, .. } => std::mem::take(objects),
                    Content::Nothing => Objects::default(),
                    Content::Translated(_) => {
                        effects.push(Effect::Translated(id.clone(), None));
                        Objects::default()
                    }
                }
            }
        };
        let parsed = parsed.unwrap_or_else(|| parse(&document.body, &self.id.0, &id.name));
        let Reading { mut objects, findings, sound } = read(self.rank, &old, parsed);
        let going = amount_of(&old) - amount_of(&objects);
        let is_held = guarded_at.is_some_and(|now| !self.removals.allow(self.total, going, now));
        if is_held {
            let left = amount_of(&objects);
            objects = united(&old, objects);
            let (amount, now) = (amount_of(&objects) - left, guarded_at.unwrap_or_default());
            self.removals.hold(id.clone(), Then::Text(document.clone()), amount, self.events, now);
        } else {
            self.removals.release(&id);
        }
        let keeps_older =
            old.iter().any(|(key, entry)| objects.get(key).is_some_and(|now| Arc::ptr_eq(now, entry)));
        let different = differences(old, &objects);
        // A text that changes nothing need not be read again to have what is in force.
        let is_new = !(is_held || keeps_older && different.is_empty());
        effects.extend(different);
        let content = Content::Document { body: body.filter(|_| !is_held), objects };
        let texts = if is_new { vec![document.clone()] } else { Vec::new() };
        self.touch(id.clone(), texts, is_new && !keeps_older);
        self.held.insert(id, Held { seen: self.events, content, findings, sound, unreadable: None });
        effects
    }

    /// The document is another one, or in another state.
    fn touch(&mut self, id: ObjectId, mut texts: Vec<Document>, mut replaces: bool) {
        if let (false, Some(Touched::Document { texts: before, replaces: alone })) =
            (replaces, self.touched.get_mut(&id))
        {
            texts.splice(0..0, std::mem::take(before));
            replaces = *alone;
        }
        self.touched.insert(id, Touched::Document { texts, replaces });
    }
}

/// A text of an object that can't be read, of which no more is known than its key.
fn unreadable_text(key: &ObjectKey) -> Document {
    let (kind, namespace, name) = (key.kind, &key.namespace, &key.name);
    let text = format!(
        "{{apiVersion: {}/v1, kind: {}, metadata: {{name: {name:?}, namespace: {namespace:?}}}, spec: unreadable}}\n",
        kind.group(),
        kind.as_str(),
    );
    Document { body: text.into_bytes().into() }
}
