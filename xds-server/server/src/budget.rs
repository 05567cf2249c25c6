//! One budget for the bytes of all responses that were composed and not yet written: what a push to all costs
//! in memory is bounded by it, not by the number of clients (I-4, I-11).
//!
//! Clients that don't read would use it up and hold up everybody else. So bytes count for one to two epochs of
//! [`EPOCH_MS`] only: whoever has not taken his response by then has one response of his own in memory, until
//! the keep-alive ends his connection, and is no longer waited for.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use bytes::Bytes;
use tokio::sync::Notify;

/// Length of an epoch in milliseconds.
pub const EPOCH_MS: u64 = 500;

/// Counts bytes in flight. The core asks before it composes; the transport gives back when the last byte of a
/// chunk was written.
#[derive(Debug)]
pub struct Budget {
    limit_bytes: usize,
    current: Arc<Counter>,
    previous: Arc<Counter>,
    epoch_began_ms: u64,
}

#[derive(Debug)]
struct Counter {
    bytes: AtomicUsize,
    freed: Arc<Notify>,
    limit_bytes: usize,
}

impl Counter {
    fn new(limit_bytes: usize, freed: Arc<Notify>) -> Arc<Self> {
        Arc::new(Self { bytes: AtomicUsize::new(0), freed, limit_bytes })
    }

    fn get(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }
}

impl Budget {
    /// A budget of `limit_bytes`.
    pub fn new(limit_bytes: usize) -> Self {
        let freed = Arc::new(Notify::new());
        let current = Counter::new(limit_bytes, freed.clone());
        Self { limit_bytes, current, previous: Counter::new(limit_bytes, freed), epoch_began_ms: 0 }
    }

    /// Is there room for another response? A single response may overshoot: a bound, not an exact limit.
    pub fn has_room(&mut self, now_ms: u64) -> bool {
        if now_ms >= self.epoch_began_ms + EPOCH_MS {
            self.epoch_began_ms = now_ms;
            let next = Counter::new(self.limit_bytes, self.current.freed.clone());
            self.previous = std::mem::replace(&mut self.current, next);
        }
        self.used_bytes() < self.limit_bytes
    }

    /// Bytes in flight that count.
    pub fn used_bytes(&self) -> usize {
        self.current.get() + self.previous.get()
    }

    /// When to ask again at the latest, if there is no room.
    pub fn epoch_ends_ms(&self) -> u64 {
        self.epoch_began_ms + EPOCH_MS
    }

    /// Signalled when bytes were given back after there was no room.
    pub fn freed(&self) -> Arc<Notify> {
        self.current.freed.clone()
    }

    /// Counts `bytes` until the returned bytes, and every slice of them, are dropped.
    pub fn charge(&self, bytes: Bytes) -> Bytes {
        self.current.bytes.fetch_add(bytes.len(), Ordering::Relaxed);
        Bytes::from_owner(Charged { bytes, counter: self.current.clone() })
    }
}

struct Charged {
    bytes: Bytes,
    counter: Arc<Counter>,
}

impl AsRef<[u8]> for Charged {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Charged {
    fn drop(&mut self) {
        let before = self.counter.bytes.fetch_sub(self.bytes.len(), Ordering::Relaxed);
        // Somewhat below the limit, so that the core wakes for a batch of streams, not for each.
        let low = self.counter.limit_bytes / 2;
        if before > low && before - self.bytes.len() <= low {
            self.counter.freed.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_given_back_when_the_last_slice_goes() {
        let mut budget = Budget::new(4);
        let charged = budget.charge(Bytes::from_static(b"12345"));
        let slice = charged.slice(1..2);
        drop(charged);
        assert!(!budget.has_room(0));
        drop(slice);
        assert_eq!(budget.used_bytes(), 0);
        assert!(budget.has_room(0));
    }

    #[test]
    fn a_client_that_does_not_read_is_waited_for_at_most_two_epochs() {
        let mut budget = Budget::new(4);
        let _stuck = budget.charge(Bytes::from_static(b"12345"));
        assert!(!budget.has_room(EPOCH_MS - 1));
        assert!(!budget.has_room(EPOCH_MS));
        assert!(budget.has_room(2 * EPOCH_MS));
    }
}
