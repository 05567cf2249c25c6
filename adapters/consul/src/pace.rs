//! How often a question is asked again.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// A token bucket: what changes now and then is told at once, what changes all the time is told at a steady pace,
/// each time as it is by then.
#[derive(Debug)]
pub(crate) struct Pace {
    /// When the bucket would be full.
    full_at: Instant,
    every: Duration,
    burst: u32,
}

impl Pace {
    /// `burst` turns at once, then one each `every`.
    pub(crate) fn new(burst: u32, every: Duration) -> Self {
        Self { full_at: Instant::now(), every, burst }
    }

    /// Waits for a turn.
    pub(crate) async fn turn(&mut self) {
        let now = Instant::now();
        let full_at = self.full_at.max(now) + self.every;
        let due = full_at - self.every * self.burst;
        self.full_at = full_at;
        if due > now {
            sleep_until(due).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_burst_is_free_and_churn_is_paced() {
        let every = Duration::from_millis(100);
        let mut pace = Pace::new(3, every);
        let start = Instant::now();
        for _ in 0..3 {
            pace.turn().await;
        }
        assert_eq!(start.elapsed(), Duration::ZERO);
        for turn in 1..=5 {
            pace.turn().await;
            assert!(start.elapsed() >= every * turn, "{turn}: {:?}", start.elapsed());
        }
        tokio::time::sleep(every * 3).await;
        let rested = Instant::now();
        for _ in 0..3 {
            pace.turn().await;
        }
        assert_eq!(rested.elapsed(), Duration::ZERO);
    }
}
