//! One budget for the bytes of all responses that were composed and not yet written: what a push to all costs
//! in memory is bounded by it, not by the number of clients (I-4, I-11).

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use bytes::Bytes;

/// Counts bytes in flight. Shared by the core, which asks before it composes, and by the transport, which
/// gives back when the last byte of a chunk was written.
#[derive(Debug)]
pub struct Budget {
    limit_bytes: usize,
    used_bytes: AtomicUsize,
    freed: tokio::sync::Notify,
}

impl Budget {
    /// A budget of `limit_bytes`.
    pub fn new(limit_bytes: usize) -> Arc<Self> {
        Arc::new(Self { limit_bytes, used_bytes: AtomicUsize::new(0), freed: tokio::sync::Notify::new() })
    }

    /// Is there room for another response? A single response may overshoot: a bound, not an exact limit.
    pub fn has_room(&self) -> bool {
        self.used_bytes.load(Ordering::Relaxed) < self.limit_bytes
    }

    /// Bytes in flight now.
    pub fn used_bytes(&self) -> usize {
        self.used_bytes.load(Ordering::Relaxed)
    }

    /// Waits until bytes were given back.
    pub async fn freed(&self) {
        self.freed.notified().await;
    }

    /// Counts `bytes` until the returned bytes, and every slice of them, are dropped.
    pub fn charge(self: &Arc<Self>, bytes: Bytes) -> Bytes {
        let len = bytes.len();
        self.used_bytes.fetch_add(len, Ordering::Relaxed);
        Bytes::from_owner(Charged { bytes, budget: self.clone(), len })
    }
}

struct Charged {
    bytes: Bytes,
    budget: Arc<Budget>,
    len: usize,
}

impl AsRef<[u8]> for Charged {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Charged {
    fn drop(&mut self) {
        let before = self.budget.used_bytes.fetch_sub(self.len, Ordering::Relaxed);
        if before >= self.budget.limit_bytes && before - self.len < self.budget.limit_bytes {
            self.budget.freed.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_given_back_when_the_last_slice_goes() {
        let budget = Budget::new(4);
        let charged = budget.charge(Bytes::from_static(b"12345"));
        let slice = charged.slice(1..2);
        drop(charged);
        assert!(!budget.has_room());
        drop(slice);
        assert_eq!(budget.used_bytes(), 0);
        assert!(budget.has_room());
    }
}
