//! How often a service is told when it changes again and again: a token bucket for each.
//!
//! Telling a service costs in proportion to its instances, as all of them are told. A change is told at once while
//! the service has tokens; after that its changes are told together when there are enough again.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::time::Instant;

/// Tokens that come back in a second.
const PER_SECOND: f64 = 100.0;
/// Instances that cost one token more.
const INSTANCES_PER_TOKEN: f64 = 500.0;
/// What a bucket holds, in tokens, and in tellings where those are more.
const TOKENS_MAX: f64 = 50.0;
const TELLINGS_MAX: f64 = 4.0;

/// Buckets of services that were told a short while ago.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    buckets: BTreeMap<Arc<str>, Bucket>,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    tokens: f64,
    max: f64,
    at: Instant,
}

impl Bucket {
    fn filled(self, now: Instant) -> f64 {
        (self.tokens + now.duration_since(self.at).as_secs_f64() * PER_SECOND).min(self.max)
    }
}

impl Pace {
    /// May the service be told now? When not: at what time.
    pub(crate) fn may(&mut self, service: &Arc<str>, instances: usize, now: Instant) -> Result<(), Instant> {
        #[expect(clippy::cast_precision_loss, reason = "a cost, not a count")]
        let cost = 1.0 + instances as f64 / INSTANCES_PER_TOKEN;
        let max = TOKENS_MAX.max(cost * TELLINGS_MAX);
        let tokens = self.buckets.get(service).map_or(max, |bucket| bucket.filled(now).min(max));
        if tokens < cost {
            let wait = Duration::from_secs_f64((cost - tokens) / PER_SECOND);
            return Err(now + wait.max(Duration::from_millis(1)));
        }
        self.buckets.insert(service.clone(), Bucket { tokens: tokens - cost, max, at: now });
        Ok(())
    }

    /// Forgets the buckets that are full again.
    pub(crate) fn sweep(&mut self, now: Instant) {
        self.buckets.retain(|_, bucket| bucket.filled(now) < bucket.max);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tellings(instances: usize, seconds: u64) -> usize {
        let (mut pace, start, service) = (Pace::default(), Instant::now(), Arc::from("a/b"));
        let times = (0..seconds * 1000).map(|ms| start + Duration::from_millis(ms));
        times.filter(|now| pace.may(&service, instances, *now).is_ok()).count()
    }

    /// Fault row 10.
    #[test]
    fn a_service_that_flaps_is_told_at_its_pace_and_a_burst_at_once() {
        let small = tellings(3, 10);
        assert!((1000..1100).contains(&small), "{small}");
        let large = tellings(50_000, 10);
        assert!((12..16).contains(&large), "{large}");
        let (mut pace, now, service) = (Pace::default(), Instant::now(), Arc::from("a/b"));
        assert!((0..4).all(|_| pace.may(&service, 50_000, now).is_ok()));
        let due = pace.may(&service, 50_000, now).unwrap_err();
        assert!(pace.may(&service, 50_000, due).is_ok());
        assert!(pace.may(&Arc::from("a/c"), 50_000, now).is_ok());
        pace.sweep(now + Duration::from_mins(1));
        assert!(pace.buckets.is_empty());
    }
}
