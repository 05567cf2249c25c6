//! Keeps an adapter running.

use std::{
    error::Error,
    hash::{BuildHasher, RandomState},
    panic::AssertUnwindSafe,
    time::Duration,
};

use futures::FutureExt;
use tokio::sync::mpsc;

use crate::{Adapter, AdapterError, EventSink, ToCore};

/// How long to wait before a failed adapter is run again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Backoff {
    /// After the first failure.
    pub first: Duration,
    /// At most.
    pub max: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { first: Duration::from_millis(100), max: Duration::from_secs(30) }
    }
}

impl Backoff {
    /// The wait after this many failures in a row: doubled each time, then between half and all of that by
    /// `chance`, so that replicas that failed together don't come back together.
    fn wait(&self, failures: u32, chance: u64) -> Duration {
        let full = self.first.saturating_mul(1 << failures.saturating_sub(1).min(20)).min(self.max);
        let half = full / 2;
        let nanos = u64::try_from(half.as_nanos()).unwrap_or(u64::MAX).max(1);
        half + Duration::from_nanos(chance % nanos)
    }
}

/// Runs an adapter until the core is gone.
pub async fn supervise(adapter: Box<dyn Adapter>, core: mpsc::Sender<ToCore>) {
    supervise_with(adapter, core, Backoff::default()).await;
}

/// The same with other waits. A failure is told to the core at once, recovery when the next listing ends; a
/// listing also makes the next wait the first one again. A panic is a failure like any other: it is our bug, and
/// no reason to lose the other sources.
pub async fn supervise_with(mut adapter: Box<dyn Adapter>, core: mpsc::Sender<ToCore>, backoff: Backoff) {
    let source = adapter.source();
    let mut events = EventSink::new(source.clone(), core);
    let mut failures = 0;
    loop {
        let ended = AssertUnwindSafe(adapter.run(&mut events)).catch_unwind().await;
        let (why, refused) = match ended {
            Ok(Err(AdapterError::Stopped)) => return,
            Ok(Err(error @ AdapterError::Refused { .. })) => (chain(&error), true),
            Ok(Err(error @ AdapterError::Unavailable { .. })) => (chain(&error), false),
            Err(_) => ("the adapter panicked; the log says where".to_owned(), false),
        };
        failures = if events.take_synced() { 1 } else { failures + 1 };
        tracing::warn!(%source, attempt = failures, error = why, "adapter failed");
        if events.failed(why).await.is_err() {
            return;
        }
        let wait =
            if refused { backoff.max } else { backoff.wait(failures, RandomState::new().hash_one(failures)) };
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = events.closed() => return,
        }
    }
}

/// The error with its causes.
fn chain(error: &AdapterError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use async_trait::async_trait;
    use lateen_model::{ObjectKind, Scope, SourceEvent, SourceId};
    use tokio::time::Instant;

    use super::*;
    use crate::BATCH_MAX;

    #[derive(Clone, Copy)]
    enum Step {
        Fail,
        Refuse,
        Panic,
        ListThenFail,
    }

    /// Does one step a run, then waits for ever.
    struct Scripted(Vec<Step>);

    fn scope() -> Scope {
        Scope { kind: ObjectKind::Document, prefix: "".into() }
    }

    #[async_trait]
    impl Adapter for Scripted {
        fn source(&self) -> SourceId {
            SourceId("scripted".into())
        }

        async fn run(&mut self, events: &mut EventSink) -> Result<Infallible, AdapterError> {
            let failed =
                || AdapterError::Unavailable { act: "listing".into(), source: "connection reset".into() };
            if self.0.is_empty() {
                events.send(vec![SourceEvent::Resync(scope()), SourceEvent::Synced(scope())]).await?;
                return std::future::pending().await;
            }
            match self.0.remove(0) {
                Step::Fail => Err(failed()),
                Step::Refuse => Err(AdapterError::Refused { act: "log in".into(), source: "403".into() }),
                Step::Panic => panic!("a bug"),
                Step::ListThenFail => {
                    events.send(vec![SourceEvent::Resync(scope()), SourceEvent::Synced(scope())]).await?;
                    Err(failed())
                }
            }
        }
    }

    fn start(steps: &[Step]) -> mpsc::Receiver<ToCore> {
        let (core, messages) = mpsc::channel(1);
        tokio::spawn(supervise(Box::new(Scripted(steps.to_vec())), core));
        messages
    }

    async fn next_failure(messages: &mut mpsc::Receiver<ToCore>) -> (Instant, String) {
        loop {
            if let ToCore::Failed(_, why) = messages.recv().await.unwrap() {
                return (Instant::now(), why);
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn failures_wait_longer_and_longer_until_a_listing() {
        let mut messages = start(&[Step::Fail, Step::Fail, Step::Fail, Step::ListThenFail, Step::Fail]);
        let mut at = Vec::new();
        for _ in 0..5 {
            let (when, why) = next_failure(&mut messages).await;
            assert_eq!(why, "listing: connection reset");
            at.push(when);
        }
        let within = |from: usize, low: u64, high: u64| {
            let waited = at[from + 1] - at[from];
            let (low, high) = (Duration::from_millis(low), Duration::from_millis(high + 2));
            assert!(low <= waited && waited <= high, "{waited:?} after failure {from}");
        };
        within(0, 50, 100);
        within(1, 100, 200);
        within(2, 200, 400);
        // The fourth run had listed: the first wait again.
        within(3, 50, 100);
    }

    #[tokio::test(start_paused = true)]
    async fn recovery_is_told_when_the_listing_ended() {
        let mut messages = start(&[Step::Panic]);
        let source = || SourceId("scripted".into());
        assert!(matches!(messages.recv().await.unwrap(), ToCore::Failed(_, why) if why.contains("panicked")));
        let events = vec![SourceEvent::Resync(scope()), SourceEvent::Synced(scope())];
        assert_eq!(messages.recv().await.unwrap(), ToCore::Events(source(), events));
        assert_eq!(messages.recv().await.unwrap(), ToCore::Recovered(source()));
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_refused_is_asked_rarely() {
        let mut messages = start(&[Step::Refuse, Step::Fail]);
        let (first, _) = next_failure(&mut messages).await;
        let (second, _) = next_failure(&mut messages).await;
        assert!(second - first >= Backoff::default().max, "{:?}", second - first);
    }

    #[tokio::test(start_paused = true)]
    async fn ends_when_the_core_is_gone() {
        let (core, messages) = mpsc::channel(1);
        let running = tokio::spawn(supervise(Box::new(Scripted(vec![Step::Refuse])), core));
        tokio::task::yield_now().await;
        drop(messages);
        running.await.unwrap();
    }

    #[tokio::test]
    async fn a_full_queue_makes_the_adapter_wait() {
        let (core, mut messages) = mpsc::channel(1);
        let mut sink = EventSink::new(SourceId("s".into()), core);
        let events = vec![SourceEvent::Resync(scope()); BATCH_MAX + 1];
        let sending = tokio::spawn(async move { sink.send(events).await });
        tokio::task::yield_now().await;
        assert!(!sending.is_finished());
        let mut sizes = Vec::new();
        while let Some(ToCore::Events(_, events)) = messages.recv().await {
            sizes.push(events.len());
        }
        sending.await.unwrap().unwrap();
        assert_eq!(sizes, [BATCH_MAX, 1]);
    }
}
