//! Services that are to be read: from when on, as of which index, and how often at most. Pure.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use tokio::time::Instant;

use crate::{mirror::ServiceKey, read::READS};

/// A service that changes all the time is read this often…
const CHURN_INTERVAL: Duration = Duration::from_millis(50);
/// …after so many reads at once.
const CHURN_BURST: u32 = 32;

/// What is to be read, and what is being read.
#[derive(Debug, Default)]
pub(crate) struct Due {
    waiting: BTreeMap<ServiceKey, Wanted>,
    /// As of which index.
    reading: BTreeMap<ServiceKey, u64>,
    /// When a service has used up what it may be read, as in the generic cell rate algorithm.
    churn: HashMap<ServiceKey, Instant>,
}

#[derive(Debug)]
struct Wanted {
    /// From when on.
    at: Instant,
    /// An answer has to be as new as this; 0 where any will do.
    index: u64,
}

impl Due {
    /// A service changed at an index; 0 when that is not known.
    pub(crate) fn changed(&mut self, key: ServiceKey, index: u64, now: Instant) {
        let empty_at = self.churn.get(&key).copied().unwrap_or(now);
        let at = empty_at.checked_sub(CHURN_INTERVAL * CHURN_BURST).unwrap_or(now).max(now);
        self.want(key, index, at);
    }

    /// The answer was not as new as it has to be.
    pub(crate) fn too_old(&mut self, key: ServiceKey, index: u64, now: Instant) {
        self.want(key, index, now + CHURN_INTERVAL);
    }

    fn want(&mut self, key: ServiceKey, index: u64, at: Instant) {
        let wanted = self.waiting.entry(key).or_insert(Wanted { at, index });
        wanted.index = wanted.index.max(index);
    }

    /// When there is something to read.
    pub(crate) fn next_at(&self) -> Option<Instant> {
        if self.reading.len() >= READS {
            return None;
        }
        let free = self.waiting.iter().filter(|(key, _)| !self.reading.contains_key(*key));
        free.map(|(_, wanted)| wanted.at).min()
    }

    /// What is to be read now, as of which index; it counts as being read until [`Self::was_read`].
    pub(crate) fn take(&mut self, now: Instant) -> Vec<(ServiceKey, u64)> {
        let room = READS.saturating_sub(self.reading.len());
        let due =
            self.waiting.iter().filter(|(key, wanted)| wanted.at <= now && !self.reading.contains_key(*key));
        let due: Vec<_> = due.map(|(key, wanted)| (key.clone(), wanted.index)).take(room).collect();
        for (key, index) in &due {
            self.waiting.remove(key);
            self.reading.insert(key.clone(), *index);
            let empty_at = self.churn.entry(key.clone()).or_insert(now);
            *empty_at = (*empty_at).max(now) + CHURN_INTERVAL;
        }
        due
    }

    /// There is an answer. As of which index it was to be?
    pub(crate) fn was_read(&mut self, key: &ServiceKey) -> u64 {
        self.reading.remove(key).unwrap_or(0)
    }

    /// Forgets how often services were read that have not been read for a while.
    pub(crate) fn forget_quiet(&mut self, now: Instant) {
        self.churn.retain(|_, empty_at| *empty_at > now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> ServiceKey {
        ("default".into(), name.into())
    }

    #[test]
    fn the_newest_index_is_asked_for_and_one_question_at_a_time() {
        let (mut due, now) = (Due::default(), Instant::now());
        due.changed(key("web"), 7, now);
        due.changed(key("web"), 9, now);
        due.changed(key("web"), 0, now);
        assert_eq!(due.take(now), [(key("web"), 9)]);
        due.changed(key("web"), 12, now);
        assert_eq!((due.next_at(), due.take(now)), (None, vec![]));
        assert_eq!(due.was_read(&key("web")), 9);
        assert_eq!(due.next_at(), Some(now));
        assert_eq!(due.take(now), [(key("web"), 12)]);
    }

    #[test]
    fn what_flaps_is_read_at_its_pace_and_holds_nobody_up() {
        let (mut due, now) = (Due::default(), Instant::now());
        for _ in 0..CHURN_BURST {
            due.changed(key("web"), 0, now);
            assert_eq!(due.take(now).len(), 1);
            due.was_read(&key("web"));
        }
        due.changed(key("web"), 0, now);
        assert_eq!(due.take(now).len(), 1);
        due.was_read(&key("web"));
        due.changed(key("web"), 0, now);
        due.changed(key("quiet"), 0, now);
        assert_eq!(due.take(now), [(key("quiet"), 0)]);
        due.was_read(&key("quiet"));
        assert_eq!(due.next_at(), Some(now + CHURN_INTERVAL));
    }

    #[test]
    fn readings_are_bounded() {
        let (mut due, now) = (Due::default(), Instant::now());
        for n in 0..2 * READS {
            due.changed(key(&n.to_string()), 0, now);
        }
        assert_eq!(due.take(now).len(), READS);
        assert_eq!((due.next_at(), due.take(now).len()), (None, 0));
    }
}
