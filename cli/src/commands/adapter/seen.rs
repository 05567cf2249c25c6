//! What a source has said, put together.

use std::collections::{BTreeMap, BTreeSet};

use lateen_adapter::ToCore;
use lateen_model::{ObjectId, ObjectKind, Scope, SourceEvent, SourceId, event::Object};
use lateen_registry::Registry;
use serde::Serialize;
use tokio::{sync::mpsc, task::JoinHandle, time::Instant};

use super::lag::Told;
use crate::adapters;

/// Messages that wait to be looked at; when full, the adapter waits.
const QUEUE_MAX: usize = 64;

/// An adapter that runs, until this is dropped.
pub(super) struct Listening {
    pub(super) source: String,
    running: JoinHandle<()>,
    messages: mpsc::Receiver<ToCore>,
    pub(super) seen: Seen,
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.running.abort();
    }
}

impl Listening {
    /// Starts the adapter that a flag names.
    pub(super) fn start(flag: &str) -> anyhow::Result<Self> {
        let adapter = adapters::from_flag(flag)?;
        let source = adapter.source().to_string();
        let (core, messages) = mpsc::channel(QUEUE_MAX);
        let running = tokio::spawn(lateen_adapter::supervise(adapter, core));
        Ok(Self { source, running, messages, seen: Seen::default() })
    }

    /// Takes messages until something holds, or the time is over, or the adapter is.
    pub(super) async fn listen(&mut self, until: Instant, enough: impl Fn(&Seen) -> bool) {
        while !enough(&self.seen) {
            match tokio::time::timeout_at(until, self.messages.recv()).await {
                Ok(Some(message)) => self.seen.take(message),
                Ok(None) | Err(_) => return,
            }
        }
    }

    /// Until the first listing is whole.
    pub(super) async fn listed(&mut self, until: Instant) {
        self.listen(until, |seen| seen.listed.is_some()).await;
    }
}

/// What a source has said so far.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) objects: BTreeMap<ObjectId, Option<Object>>,
    pub(super) open: Vec<(Scope, BTreeSet<ObjectId>)>,
    /// When the last of the scopes of a listing closed first.
    pub(super) listed: Option<Instant>,
    pub(super) upserts: u64,
    pub(super) removals: u64,
    /// What was told of each object and when, once that is noted.
    pub(super) told: Option<Told>,
    /// What can't be read, in words, by object.
    pub(super) invalid: BTreeMap<ObjectId, String>,
    /// How often it was stale, and why last.
    pub(super) stale: u64,
    pub(super) error: Option<String>,
}

impl Seen {
    pub(super) fn take(&mut self, message: ToCore) {
        match message {
            ToCore::Events(_, events) => events.into_iter().for_each(|event| self.event(event)),
            ToCore::Failed(_, why) => {
                self.stale += 1;
                self.error = Some(why);
                self.open.clear();
            }
            ToCore::Recovered(_) => self.error = None,
        }
    }

    fn event(&mut self, event: SourceEvent) {
        match event {
            SourceEvent::Resync(scope) => {
                self.open.retain(|(open, _)| *open != scope);
                self.open.push((scope, BTreeSet::new()));
            }
            SourceEvent::Synced(scope) => {
                let Some(at) = self.open.iter().position(|(open, _)| *open == scope) else { return };
                let (_, named) = self.open.remove(at);
                let gone = |id: &ObjectId| scope.contains(id) && !named.contains(id);
                if let Some(told) = &mut self.told {
                    self.objects.keys().filter(|id| gone(id)).for_each(|id| told.note(id, None));
                }
                self.objects.retain(|id, _| !gone(id));
                self.invalid.retain(|id, _| !scope.contains(id) || named.contains(id));
                if self.open.is_empty() {
                    self.listed.get_or_insert_with(Instant::now);
                }
            }
            SourceEvent::Upsert { id, object } => {
                self.name(&id);
                self.invalid.remove(&id);
                self.upserts += 1;
                if let Some(told) = &mut self.told {
                    told.note(&id, Some(&object));
                }
                self.objects.insert(id, Some(object));
            }
            SourceEvent::Remove { id } => {
                self.invalid.remove(&id);
                if let Some(told) = &mut self.told {
                    told.note(&id, None);
                }
                self.objects.remove(&id);
                self.removals += 1;
            }
            SourceEvent::Invalid { id, diagnostic } => {
                self.name(&id);
                self.objects.entry(id.clone()).or_insert(None);
                self.invalid.insert(id, diagnostic.to_string());
            }
        }
    }

    fn name(&mut self, id: &ObjectId) {
        for (scope, named) in &mut self.open {
            if scope.contains(id) {
                named.insert(id.clone());
            }
        }
    }

    /// The objects, put together as the core would.
    pub(super) fn registry(&self) -> Registry {
        let source = SourceId("adapter".into());
        let mut registry = Registry::new(std::slice::from_ref(&source));
        for (id, object) in &self.objects {
            let Some(object) = object else { continue };
            registry.apply(&source, SourceEvent::Upsert { id: id.clone(), object: object.clone() }, 0);
        }
        registry
    }

    pub(super) fn counts(&self) -> Counts {
        let of = |kind| self.objects.keys().filter(|id| id.kind == kind).count();
        let endpoints = self.objects.values().flatten().map(|object| match object {
            Object::Endpoints { endpoints, .. } => endpoints.len(),
            Object::Document(_) | Object::Service(_) => 0,
        });
        let bodies = self.objects.values().flatten().filter_map(|object| match object {
            Object::Document(document) => Some(&document.body),
            Object::Endpoints { .. } | Object::Service(_) => None,
        });
        let nowhere = "".into();
        let parsed = bodies.map(|body| lateen_config::parse(body, &nowhere, &nowhere));
        let (sound, faulty) = parsed.fold((0, 0), |(sound, faulty), parsed| {
            (sound + parsed.objects.len(), faulty + parsed.invalid.len())
        });
        Counts {
            documents: of(ObjectKind::Document),
            document_objects: sound,
            document_faults: faulty,
            services: of(ObjectKind::Service),
            endpoint_sets: of(ObjectKind::Endpoints),
            endpoints: endpoints.sum(),
            invalid: self.invalid.len(),
        }
    }
}

/// How many of what.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Counts {
    pub(super) documents: usize,
    /// Objects in them that can be read, and those that can't.
    pub(super) document_objects: usize,
    pub(super) document_faults: usize,
    pub(super) services: usize,
    pub(super) endpoint_sets: usize,
    pub(super) endpoints: usize,
    pub(super) invalid: usize,
}

#[cfg(test)]
pub(super) mod tests {
    use lateen_model::{Document, SourceId};

    use super::*;

    pub(in super::super) fn id(name: &str) -> ObjectId {
        ObjectId { kind: ObjectKind::Document, name: name.into() }
    }

    pub(in super::super) fn document(name: &str, text: &str) -> SourceEvent {
        let object = Object::Document(Document { body: text.as_bytes().into() });
        SourceEvent::Upsert { id: id(name), object }
    }

    pub(in super::super) fn namespace(name: &str) -> SourceEvent {
        document(name, &format!("{{apiVersion: v1, kind: Namespace, metadata: {{name: {name}}}}}"))
    }

    pub(in super::super) fn seen(events: Vec<SourceEvent>) -> Seen {
        let mut seen = Seen::default();
        seen.take(ToCore::Events(SourceId("s".into()), events));
        seen
    }

    #[test]
    fn a_listing_sweeps_what_it_does_not_name() {
        let scope = || Scope { kind: ObjectKind::Document, prefix: "".into() };
        let list = |names: &[&str]| {
            let mut events = vec![SourceEvent::Resync(scope())];
            events.extend(names.iter().map(|name| namespace(name)));
            events.push(SourceEvent::Synced(scope()));
            events
        };
        let mut events = list(&["a", "b"]);
        events.extend(list(&["b"]));
        let seen = seen(events);
        assert_eq!(seen.counts(), Counts { documents: 1, document_objects: 1, ..Counts::default() });
        assert!(seen.listed.is_some());
    }
}
