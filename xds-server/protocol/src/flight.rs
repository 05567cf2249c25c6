//! Responses that were sent and not yet answered.

use std::collections::VecDeque;

use crate::{Limits, NameId, held::Entry};

/// What a client held before a response replaced it; nearly always one.
#[derive(Debug, Default)]
pub(crate) struct Replaced {
    one: Option<Entry>,
    more: Vec<Entry>,
}

impl Replaced {
    pub(crate) fn push(&mut self, entry: Entry) {
        if self.one.is_none() {
            self.one = Some(entry);
        } else {
            self.more.push(entry);
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.one.iter().chain(&self.more)
    }

    pub(crate) fn find(&self, name: NameId) -> Option<&Entry> {
        self.iter().find(|entry| entry.name == name)
    }

    /// `name` turned out to have been `before` all along (none: absent).
    pub(crate) fn correct(&mut self, name: NameId, before: Option<Entry>) {
        if self.one.as_ref().is_some_and(|entry| entry.name == name) {
            self.one = before.or_else(|| self.more.pop());
        } else if let Some(at) = self.more.iter().position(|entry| entry.name == name) {
            self.more.swap_remove(at);
            self.more.extend(before);
        }
    }
}

/// A response in flight.
#[derive(Debug)]
pub(crate) struct Sent {
    /// Its number on the stream, the end of its nonce.
    pub(crate) number: u64,
    pub(crate) bytes: usize,
    pub(crate) at_ms: u64,
    /// How many resources it brought or changed.
    pub(crate) count: u32,
    /// One of them.
    pub(crate) first: Option<NameId>,
    pub(crate) replaced: Replaced,
    pub(crate) removed: Vec<NameId>,
    /// Is it a step of a bisection?
    pub(crate) trial: bool,
}

impl Sent {
    /// The number as entries keep it.
    pub(crate) fn seq(&self) -> u32 {
        seq_of(self.number)
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        size_of::<Self>()
            + self.replaced.more.len() * size_of::<Entry>()
            + self.removed.len() * size_of::<NameId>()
    }
}

/// The part of a response's number that entries keep; never 0, which is none's.
pub(crate) fn seq_of(number: u64) -> u32 {
    let below = u32::try_from(number % u64::from(crate::held::SEQ)).expect("invariant: below 27 bits");
    below + 1
}

/// The responses of one type in flight, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Flight {
    pub(crate) queue: VecDeque<Sent>,
    bytes: usize,
    /// Number of the last response; 0: none was sent.
    pub(crate) last: u64,
    pub(crate) last_ms: u64,
}

impl Flight {
    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub(crate) fn push(&mut self, sent: Sent) {
        self.bytes += sent.bytes;
        self.last = sent.number;
        self.last_ms = sent.at_ms;
        self.queue.push_back(sent);
    }

    /// Is response `number` unanswered?
    pub(crate) fn contains(&self, number: u64) -> bool {
        self.queue.iter().any(|sent| sent.number == number)
    }

    /// Takes the oldest response if its number is at most `number`.
    pub(crate) fn pop_until(&mut self, number: u64) -> Option<Sent> {
        if self.queue.front()?.number > number {
            return None;
        }
        let sent = self.queue.pop_front()?;
        self.bytes -= sent.bytes;
        Some(sent)
    }

    /// Takes one response.
    pub(crate) fn take(&mut self, number: u64) -> Option<Sent> {
        let at = self.queue.iter().position(|sent| sent.number == number)?;
        let sent = self.queue.remove(at)?;
        self.bytes -= sent.bytes;
        Some(sent)
    }

    /// Must the next response wait, and until when? A client that does not answer is sent the newest state when
    /// it does, not every state in between.
    pub(crate) fn blocked_until(&self, limits: &Limits, now_ms: u64) -> Option<u64> {
        let len = self.queue.len();
        if len >= limits.flight_hard_max {
            return Some(u64::MAX);
        }
        let full = len >= limits.flight_max || (len > 0 && self.bytes > limits.flight_bytes);
        let until = self.last_ms.saturating_add(limits.flight_ms);
        (full && now_ms < until).then_some(until)
    }

    /// Is one of the responses in flight a step of a bisection?
    pub(crate) fn has_trial(&self) -> bool {
        self.queue.iter().any(|sent| sent.trial)
    }
}
