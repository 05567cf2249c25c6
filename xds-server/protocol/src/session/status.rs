//! What a stream holds and how it stands, for CSDS and `lateen status`.
//! <https://www.envoyproxy.io/docs/envoy/latest/api-v3/service/status/v3/csds.proto>

use std::sync::Arc;

use lateen_model::Version;

use crate::{
    NameId, ResourceType,
    channel::Channel,
    held::{FOREIGN, HELD, NAMED},
};

use super::Session;

/// How a type stands on a stream.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum TypeState {
    /// Everything that was sent was accepted, and there is nothing newer.
    Synced,
    /// Something was sent and not answered yet, or waits to be sent.
    Stale,
    /// The client rejects something.
    Nack,
    /// Nothing was sent.
    NotSent,
}

/// One type on a stream.
#[derive(Clone, Debug)]
pub struct TypeStatus {
    /// The type.
    pub kind: ResourceType,
    /// How it stands.
    pub state: TypeState,
    /// Since when, in the caller's milliseconds. For SYNCED: when the last response was sent.
    pub since_ms: u64,
    /// Does the client ask for everything?
    pub wildcard: bool,
    /// How many names it asks for.
    pub named: usize,
    /// How many resources it holds.
    pub held: usize,
    /// Version of everything held, as the last response had it.
    pub version: Version,
    /// Number of the last response, the end of its nonce; 0: none was sent.
    pub last_number: u64,
    /// The client's words when it last rejected something.
    pub message: Option<Arc<str>>,
    /// What is rejected: name, version, the client's words, since when.
    pub rejected: Vec<(NameId, Version, Arc<str>, u64)>,
}

/// How one resource stands.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum HeldState {
    /// The client has accepted it.
    Accepted,
    /// It was sent and not answered yet.
    Sent,
    /// The client has rejected the version that it should have.
    Rejected,
}

/// One resource that a client holds or has rejected.
#[derive(Clone, Copy, Debug)]
pub struct HeldResource {
    /// Name.
    pub name: NameId,
    /// The version held; none: it holds none.
    pub version: Option<Version>,
    /// How it stands.
    pub state: HeldState,
}

impl Session {
    /// The types that the client has asked for, in push order.
    pub fn status(&self) -> Vec<TypeStatus> {
        self.open_channels().map(status_of).collect()
    }

    /// The resources of a type that the client holds or has rejected.
    pub fn held(&self, kind: ResourceType) -> impl Iterator<Item = HeldResource> {
        self.peek(kind).into_iter().flat_map(|channel| {
            let rejected = |name| channel.suspects.rejections.iter().any(|r| r.name == name);
            let in_flight = |seq| channel.flight.queue.iter().any(|sent| sent.seq() == seq);
            let held = channel.held.iter().filter(|entry| entry.is(HELD) && entry.version != FOREIGN);
            let holds = |name| channel.held.get(name).is_some_and(|entry| entry.is(HELD));
            let without = channel.suspects.rejections.iter().filter(move |r| !holds(r.name));
            held.map(move |entry| HeldResource {
                name: entry.name,
                version: Some(entry.version),
                state: match (rejected(entry.name), in_flight(entry.seq())) {
                    (true, _) => HeldState::Rejected,
                    (false, true) => HeldState::Sent,
                    (false, false) => HeldState::Accepted,
                },
            })
            .chain(without.map(|r| HeldResource {
                name: r.name,
                version: None,
                state: HeldState::Rejected,
            }))
        })
    }

    /// Bytes of unanswered responses are not counted: they are shared. What the session itself takes, about.
    pub fn memory_bytes(&self) -> usize {
        let of = |channel: &Channel| {
            size_of::<Channel>()
                + channel.held.len() * 16
                + channel.pending.capacity() * size_of::<NameId>()
                + channel.kept.iter().count() * size_of::<crate::kept::Keep>()
                + channel.flight.queue.iter().map(crate::flight::Sent::memory_bytes).sum::<usize>()
        };
        size_of::<Self>() + self.open_channels().map(of).sum::<usize>()
    }
}

fn status_of(channel: &Channel) -> TypeStatus {
    let waits = !channel.pending.is_empty() || channel.rescan || channel.answer_due;
    let oldest_ms = channel.flight.queue.front().map(|sent| sent.at_ms);
    let (state, since_ms) = match (&channel.nack, oldest_ms) {
        (Some(nack), _) => (TypeState::Nack, nack.since_ms),
        (None, Some(at_ms)) => (TypeState::Stale, at_ms),
        (None, None) if waits => (TypeState::Stale, channel.flight.last_ms),
        // A client that came back holding everything was sent nothing, and lacks nothing.
        (None, None) if channel.flight.last == 0 && channel.held.iter().all(|e| !e.is(HELD)) => {
            (TypeState::NotSent, 0)
        }
        (None, None) => (TypeState::Synced, channel.flight.last_ms),
    };
    let rejections = channel.suspects.rejections.iter();
    TypeStatus {
        kind: channel.kind,
        state,
        since_ms,
        wildcard: channel.wildcard,
        named: channel.held.iter().filter(|entry| entry.is(NAMED)).count(),
        held: channel.held.iter().filter(|entry| entry.is(HELD) && entry.version != FOREIGN).count(),
        version: channel.held.version(),
        last_number: channel.flight.last,
        message: channel.nack.as_ref().map(|nack| nack.message.clone()),
        rejected: rejections.map(|r| (r.name, r.version, r.message.clone(), r.since_ms)).collect(),
    }
}
