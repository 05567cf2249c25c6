//! Reading documents outside the core's turn.
//!
//! A document costs what its text is long; the core takes over what others say meanwhile. Each source keeps its
//! order: what it says after a document that is being read waits for it.

use std::{
    collections::{BTreeMap, VecDeque},
    future::pending,
};

use lateen_adapter::ToCore;
use lateen_model::{SourceEvent, SourceId};
use lateen_registry::Prepared;
use tokio::task::JoinSet;

/// Documents of a message that together are shorter, in bytes, are read in the core's turn, if they name regular
/// expressions no more often than this: a few bytes may be a large one.
const SHORT_BYTES_MAX: usize = 64 << 10;
const EXPRESSIONS_MAX: usize = 2;
/// Messages that wait for documents to be read, over all sources; when there are more, all sources wait.
const WAITING_MAX: usize = 1024;

/// What a source says, ready to be taken over.
#[derive(Debug)]
pub(super) enum Told {
    /// What has happened there.
    Events(SourceId, Vec<Prepared>),
    /// It can't be read, and why.
    Failed(SourceId, String),
    /// It can be read again.
    Recovered(SourceId),
}

/// Documents that are being read, and what waits for them.
#[derive(Debug, Default)]
pub(super) struct Reading {
    /// One job for each source that is a key of `waiting`.
    jobs: JoinSet<(SourceId, Vec<Prepared>)>,
    waiting: BTreeMap<SourceId, VecDeque<ToCore>>,
    count: usize,
}

impl Reading {
    /// Takes a message; returns what can be taken over at once.
    pub(super) fn take(&mut self, message: ToCore) -> Option<Told> {
        let (ToCore::Events(source, _) | ToCore::Failed(source, _) | ToCore::Recovered(source)) = &message;
        if let Some(waiting) = self.waiting.get_mut(source) {
            waiting.push_back(message);
            self.count += 1;
            return None;
        }
        match message {
            ToCore::Events(source, events) => self.events(source, events),
            ToCore::Failed(source, why) => Some(Told::Failed(source, why)),
            ToCore::Recovered(source) => Some(Told::Recovered(source)),
        }
    }

    fn events(&mut self, source: SourceId, events: Vec<SourceEvent>) -> Option<Told> {
        let bytes: usize = events.iter().map(Prepared::document_bytes).sum();
        let is_cheap = bytes < SHORT_BYTES_MAX
            && events.iter().map(Prepared::expressions).sum::<usize>() <= EXPRESSIONS_MAX;
        if is_cheap {
            return Some(Told::Events(source, events.into_iter().map(Prepared::from).collect()));
        }
        self.waiting.insert(source.clone(), VecDeque::new());
        self.jobs.spawn_blocking(move || {
            let read = events.into_iter().map(|event| Prepared::read(&source, event)).collect();
            (source, read)
        });
        None
    }

    /// Is there room for another message?
    pub(super) fn has_room(&self) -> bool {
        self.count < WAITING_MAX
    }

    /// Waits until documents were read; for ever if there are none. Returns them and what waited for them, up to
    /// the next document that is long.
    pub(super) async fn next(&mut self) -> Vec<Told> {
        let Some(read) = self.jobs.join_next().await else { return pending().await };
        // Reading is total; a panic is our bug, and is not to be served over.
        let (source, events) = read.expect("invariant: reading a document does not panic");
        let mut waiting = self.waiting.remove(&source).unwrap_or_default();
        let mut told = vec![Told::Events(source.clone(), events)];
        while let Some(message) = waiting.pop_front() {
            self.count -= 1;
            if let Some(next) = self.take(message) {
                told.push(next);
            } else {
                // The next long one is being read: the rest waits for it.
                self.waiting.insert(source, waiting);
                break;
            }
        }
        told
    }
}

#[cfg(test)]
mod tests {
    use lateen_model::{Document, ObjectId, ObjectKind, event::Object};

    use super::*;

    fn events(source: &str, name: &str, bytes: usize) -> ToCore {
        let id = ObjectId { kind: ObjectKind::Document, name: name.into() };
        let body = vec![b'#'; bytes].into();
        let event = SourceEvent::Upsert { id, object: Object::Document(Document { body }) };
        ToCore::Events(SourceId(source.into()), vec![event])
    }

    fn show(told: &Told) -> String {
        match told {
            Told::Events(source, events) => format!("{source} {}", events.len()),
            Told::Failed(source, why) => format!("{source} failed: {why}"),
            Told::Recovered(source) => format!("{source} recovered"),
        }
    }

    #[tokio::test]
    async fn a_source_keeps_its_order_and_holds_up_nobody_else() {
        let mut reading = Reading::default();
        let long = SHORT_BYTES_MAX;
        assert!(reading.take(events("a", "1", long)).is_none());
        assert!(reading.take(ToCore::Failed(SourceId("a".into()), "gone".into())).is_none());
        assert!(reading.take(events("a", "2", 10)).is_none());
        assert!(reading.take(events("a", "3", long)).is_none());
        assert!(reading.take(ToCore::Recovered(SourceId("a".into()))).is_none());
        // Another source is heard while that one is read.
        assert_eq!(reading.take(events("b", "1", 10)).as_ref().map(show).as_deref(), Some("b 1"));
        let first: Vec<String> = reading.next().await.iter().map(show).collect();
        assert_eq!(first, ["a 1", "a failed: gone", "a 1"]);
        assert!(reading.take(events("a", "4", 10)).is_none(), "it waits behind the third");
        let second: Vec<String> = reading.next().await.iter().map(show).collect();
        assert_eq!(second, ["a 1", "a recovered", "a 1"]);
        assert_eq!(reading.count, 0);
        assert!(reading.take(events("a", "5", 10)).is_some());
    }

    #[tokio::test]
    async fn expressions_are_examined_beside_the_core() {
        let mut reading = Reading::default();
        let of = |body: String| {
            let id = ObjectId { kind: ObjectKind::Document, name: "1".into() };
            let event = SourceEvent::Upsert {
                id,
                object: Object::Document(Document { body: body.into_bytes().into() }),
            };
            ToCore::Events(SourceId("a".into()), vec![event])
        };
        assert!(reading.take(of("# regex\n".repeat(EXPRESSIONS_MAX))).is_some());
        assert!(reading.take(of("# {uriRegexRewrite: {match: x}}\n".repeat(EXPRESSIONS_MAX + 1))).is_none());
        assert_eq!(reading.next().await.len(), 1);
        assert!(reading.take(of("# type: RegularExpression\n".repeat(EXPRESSIONS_MAX + 1))).is_none());
    }

    #[tokio::test]
    async fn what_waits_is_bounded() {
        let mut reading = Reading::default();
        assert!(reading.take(events("a", "1", SHORT_BYTES_MAX)).is_none());
        for _ in 0..WAITING_MAX {
            assert!(reading.has_room());
            assert!(reading.take(events("a", "2", 1)).is_none());
        }
        assert!(!reading.has_room());
        assert_eq!(reading.next().await.len(), WAITING_MAX + 1);
        assert!(reading.has_room());
    }
}
