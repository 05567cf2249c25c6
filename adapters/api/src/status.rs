//! The way back: how the core stands to the objects of a source.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use lateen_model::{Diagnostic, ObjectId, Severity};
use tokio::sync::watch;

/// How the core stands to one document of a source.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct ObjectStatus {
    /// Is it in force as it was last read? An object with errors is not; its last good form stays.
    pub accepted: bool,
    /// `metadata.generation` of what was last read and is in force, where the text has one.
    pub generation: Option<i64>,
    /// What was found about it, alone and together with others, in order, each once.
    pub findings: Arc<[Diagnostic]>,
    /// What proxies rejected of what was made from it.
    pub rejected: Option<Rejected>,
    /// For routes of the Gateway API: the parents that they name, in order.
    pub parents: Arc<[ParentStatus]>,
    /// For gateways of the Gateway API: how many routes are attached to each listener.
    pub listeners: Arc<BTreeMap<String, u32>>,
}

impl ObjectStatus {
    /// Is there an error about it?
    pub fn has_errors(&self) -> bool {
        self.findings.iter().any(|finding| finding.severity == Severity::Error)
    }
}

/// Rejections by proxies (NACK).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rejected {
    /// By how many independent proxies, at least.
    pub proxies: usize,
    /// What one of them said.
    pub message: String,
}

/// How a route of the Gateway API stands to one parent.
/// <https://gateway-api.sigs.k8s.io/reference/spec/#routeparentstatus>
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct ParentStatus {
    /// The parent's kind: `Gateway` or `Service`.
    pub kind: &'static str,
    /// The parent's namespace.
    pub namespace: String,
    /// The parent's name.
    pub name: String,
    /// Does the parent exist here, and is it one of ours? Where not, the status is somebody else's to write.
    pub known: bool,
    /// Why the parent does not take the route; none where it does.
    pub refused: Option<Because<Refusal>>,
    /// Which reference of the route leads nowhere; none where all lead somewhere.
    pub unresolved: Option<Because<Unresolved>>,
}

/// A reason, and what it is about.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Because<R> {
    /// Of the reasons that there are.
    pub reason: R,
    /// In words.
    pub message: String,
}

/// Why a parent does not take a route.
/// <https://gateway-api.sigs.k8s.io/reference/spec/#routeconditionreason>
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Refusal {
    /// The listeners take routes of other kinds or namespaces.
    NotAllowedByListeners,
    /// No hostname of the route is one of the listeners'.
    NoMatchingListenerHostname,
    /// There is no listener of that name or port.
    NoMatchingParent,
    /// An older route of another kind has one of the hostnames.
    HostnameConflict,
}

impl Refusal {
    /// As the Gateway API writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotAllowedByListeners => "NotAllowedByListeners",
            Self::NoMatchingListenerHostname => "NoMatchingListenerHostname",
            Self::NoMatchingParent => "NoMatchingParent",
            Self::HostnameConflict => "HostnameConflict",
        }
    }
}

/// Why a reference leads nowhere.
/// <https://gateway-api.sigs.k8s.io/reference/spec/#routeconditionreason>
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Unresolved {
    /// No grant lets the route refer to it.
    RefNotPermitted,
    /// Requests are not sent to that kind.
    InvalidKind,
    /// It does not exist, or is not fully named.
    BackendNotFound,
}

impl Unresolved {
    /// As the Gateway API writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RefNotPermitted => "RefNotPermitted",
            Self::InvalidKind => "InvalidKind",
            Self::BackendNotFound => "BackendNotFound",
        }
    }
}

/// The reading end, for an adapter whose platform has a place for status.
#[derive(Debug)]
pub struct StatusFeed {
    board: Arc<Mutex<Board>>,
    bell: watch::Receiver<u64>,
}

/// The writing end, for the core. What was not read yet is overwritten: it costs one entry for each document,
/// however slow the reader is.
#[derive(Debug)]
pub struct StatusSink {
    board: Arc<Mutex<Board>>,
    bell: watch::Sender<u64>,
}

/// The statuses, and which of them were not read yet.
///
/// Behind a mutex and not in a channel: a reader that is slow, or that becomes the leader late, wants the newest
/// status of each object once, not all there ever were. It is held for single operations on the maps only.
#[derive(Debug, Default)]
struct Board {
    latest: BTreeMap<ObjectId, Arc<ObjectStatus>>,
    unread: BTreeSet<ObjectId>,
}

/// A change: the newest status of a document, or none when the document is gone.
pub type StatusChange = (ObjectId, Option<Arc<ObjectStatus>>);

/// Both ends for one source.
pub fn status_feed() -> (StatusSink, StatusFeed) {
    let board = Arc::<Mutex<Board>>::default();
    let (ring, bell) = watch::channel(0);
    (StatusSink { board: board.clone(), bell: ring }, StatusFeed { board, bell })
}

fn lock(board: &Mutex<Board>) -> MutexGuard<'_, Board> {
    // A panic between two operations on the maps can't leave them in disorder.
    board.lock().unwrap_or_else(PoisonError::into_inner)
}

impl StatusFeed {
    /// Waits until something has changed, and takes at most `max` changes; none when the core is gone. What is
    /// not taken comes with the next call. A change that was taken and could not be written is handed back with
    /// [`StatusFeed::again`].
    pub async fn changed(&mut self, max: usize) -> Option<Vec<StatusChange>> {
        loop {
            self.bell.mark_unchanged();
            let taken = self.take(max);
            if !taken.is_empty() {
                return Some(taken);
            }
            self.bell.changed().await.ok()?;
        }
    }

    /// Takes at most `max` changes that are there already.
    pub fn take(&mut self, max: usize) -> Vec<StatusChange> {
        let Board { latest, unread } = &mut *lock(&self.board);
        let mut taken = Vec::new();
        while taken.len() < max
            && let Some(id) = unread.pop_first()
        {
            let status = latest.get(&id).cloned();
            taken.push((id, status));
        }
        taken
    }

    /// The object's status at present.
    pub fn latest(&self, id: &ObjectId) -> Option<Arc<ObjectStatus>> {
        lock(&self.board).latest.get(id).cloned()
    }

    /// This object's status is to be given again: it could not be written, or somebody else wrote it.
    pub fn again(&mut self, id: ObjectId) {
        lock(&self.board).unread.insert(id);
    }

    /// All statuses are to be given again: for a replica that has become the leader.
    pub fn all_again(&mut self) {
        let Board { latest, unread } = &mut *lock(&self.board);
        unread.extend(latest.keys().cloned());
    }
}

impl StatusSink {
    /// Does nobody read?
    pub fn is_closed(&self) -> bool {
        self.bell.is_closed()
    }

    /// Sets the status of some documents; none where a document is gone. What stays the same is not told.
    pub fn publish(&self, changes: impl IntoIterator<Item = StatusChange>) {
        let mut any = false;
        {
            let Board { latest, unread } = &mut *lock(&self.board);
            for (id, status) in changes {
                let differs = match &status {
                    Some(new) => latest.get(&id).is_none_or(|old| old != new),
                    None => latest.contains_key(&id),
                };
                if !differs {
                    continue;
                }
                any = true;
                unread.insert(id.clone());
                match status {
                    Some(new) => latest.insert(id, new),
                    None => latest.remove(&id),
                };
            }
        }
        if any {
            self.bell.send_modify(|count| *count = count.wrapping_add(1));
        }
    }
}

#[cfg(test)]
mod tests {
    use lateen_model::ObjectKind;

    use super::*;

    fn id(name: &str) -> ObjectId {
        ObjectId { kind: ObjectKind::Document, name: name.into() }
    }

    fn change(name: &str, generation: i64) -> StatusChange {
        let status = ObjectStatus { generation: Some(generation), ..ObjectStatus::default() };
        (id(name), Some(Arc::new(status)))
    }

    fn generations(changes: &[StatusChange]) -> Vec<(&str, Option<i64>)> {
        let of = |status: &Arc<ObjectStatus>| status.generation;
        changes.iter().map(|(id, status)| (&*id.name, status.as_ref().and_then(of))).collect()
    }

    #[tokio::test]
    async fn a_slow_reader_gets_the_newest_only_and_each_once() {
        let (sink, mut feed) = status_feed();
        sink.publish([change("a", 1), change("b", 1)]);
        sink.publish([change("a", 2)]);
        let changes = feed.changed(10).await.unwrap();
        assert_eq!(generations(&changes), [("a", Some(2)), ("b", Some(1))]);
        // The same again is no change.
        sink.publish([change("a", 2)]);
        assert!(feed.take(10).is_empty());
        sink.publish([(id("a"), None), (id("never there"), None)]);
        assert_eq!(generations(&feed.changed(10).await.unwrap()), [("a", None)]);
    }

    #[tokio::test]
    async fn what_is_not_taken_or_was_handed_back_comes_again() {
        let (sink, mut feed) = status_feed();
        sink.publish([change("a", 1), change("b", 1)]);
        assert_eq!(generations(&feed.changed(1).await.unwrap()), [("a", Some(1))]);
        assert_eq!(generations(&feed.changed(1).await.unwrap()), [("b", Some(1))]);
        feed.again(id("b"));
        assert_eq!(generations(&feed.changed(9).await.unwrap()), [("b", Some(1))]);
        feed.all_again();
        assert_eq!(feed.take(9).len(), 2);
    }

    #[tokio::test]
    async fn both_ends_see_the_other_go() {
        let (sink, mut feed) = status_feed();
        sink.publish([change("a", 1)]);
        drop(sink);
        assert!(feed.changed(9).await.is_some(), "what was said before the end is still given");
        assert!(feed.changed(9).await.is_none());
        let (sink, feed) = status_feed();
        assert!(!sink.is_closed());
        drop(feed);
        assert!(sink.is_closed());
    }
}
