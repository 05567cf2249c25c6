//! Follows one target: lists it, watches it, and lists it again when the watch can't go on.

use std::{collections::hash_map::RandomState, hash::BuildHasher, sync::Arc, time::Duration};

use serde_json::Value;
use tokio::{
    sync::{Notify, mpsc, watch},
    time::{Instant, sleep},
};

use crate::{
    api::{Api, ApiError, Event, Watch, chain},
    kinds::Target,
    translate::{Item, Places, resource_version},
    translation::{Change, Translation},
};

/// How long a watch lives, at least: short, so that one that is half open is found soon.
const LIFETIME: Duration = Duration::from_mins(1);
/// The first and the longest wait after failures.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));
/// The same where we may not, or where there is no such kind.
const BACKOFF_REFUSED: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(30));
/// The same after the kind was said to have come.
const BACKOFF_ARRIVED: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));
/// So many times in a row a server may be busy.
const BUSY_MAX: u32 = 2;
/// Lists and watches that end sooner than this are begun again at most so often.
const PACE: Duration = Duration::from_secs(1);
/// So many of them at once are let pass.
const BURST: u32 = 2;

/// What a follower says of its target.
#[derive(Debug)]
pub(crate) enum Told {
    /// This is all there is.
    Listed(usize, Vec<Item>),
    /// This has changed.
    Changed(usize, Vec<Change>),
    /// It can't be read; a listing follows when it can be.
    Failing(usize, Failing),
}

/// Why a target can't be read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Failing {
    /// We may not.
    Forbidden(String),
    /// We are not known.
    Unauthenticated(String),
    /// It does not work at present.
    Unavailable(String),
}

impl From<&ApiError> for Failing {
    fn from(error: &ApiError) -> Self {
        let why = chain(error);
        match error {
            ApiError::Forbidden { .. } => Self::Forbidden(why),
            ApiError::Unauthenticated { .. } => Self::Unauthenticated(why),
            ApiError::Unreachable { .. }
            | ApiError::Silent { .. }
            | ApiError::NotFound { .. }
            | ApiError::Gone { .. }
            | ApiError::Conflict { .. }
            | ApiError::Busy { .. }
            | ApiError::Status { .. }
            | ApiError::Malformed { .. } => Self::Unavailable(why),
        }
    }
}

/// Nobody listens any more.
#[derive(Debug)]
struct Unheard;

/// Follows a target until nobody listens any more.
pub(crate) struct Follower {
    /// The server.
    pub(crate) api: Api,
    /// The target's number.
    pub(crate) at: usize,
    /// The target.
    pub(crate) target: Target,
    /// The one name that is followed; empty for all.
    pub(crate) only: String,
    /// Where it tells.
    pub(crate) told: mpsc::Sender<Told>,
    /// Is rung when the kind may have come.
    pub(crate) arrived: Arc<Notify>,
    /// From objects to items.
    pub(crate) translation: Translation,
}

/// Where a watch begins.
struct Start {
    version: &'static str,
    resource_version: String,
}

/// Why a watch is over for good.
enum End {
    /// What came after the last version can't be had one by one.
    Relist,
    /// It failed.
    Failed(ApiError),
}

/// Ends that came early, one after another.
#[derive(Default)]
struct Pace {
    early: u32,
}

impl Pace {
    /// What began then has ended: more often than a burst, the next one waits.
    async fn keep(&mut self, began: Instant) {
        if began.elapsed() >= PACE {
            self.early = 0;
            return;
        }
        self.early = self.early.saturating_add(1);
        if self.early >= BURST {
            sleep(jittered(PACE)).await;
        }
    }
}

impl Follower {
    /// Follows.
    pub(crate) async fn run(mut self) {
        self.translation.ready().await;
        let (mut failures, mut pace) = (0, Pace::default());
        loop {
            let began = Instant::now();
            let done = match self.list().await {
                Ok(Some((start, items))) => {
                    failures = 0;
                    match self.tell(Told::Listed(self.at, items)).await {
                        Ok(()) => self.watch(start).await.map(Some),
                        Err(unheard) => Err(unheard),
                    }
                }
                Ok(None) => {
                    self.translation.begin();
                    self.translation.end();
                    match self.tell(Told::Listed(self.at, Vec::new())).await {
                        Ok(()) => self.absent().await.map(|()| None),
                        Err(unheard) => Err(unheard),
                    }
                }
                Err(error) => Ok(Some(End::Failed(error))),
            };
            match done {
                Ok(Some(End::Failed(error))) => {
                    failures += 1;
                    if self.failed(&error, failures).await.is_err() {
                        return;
                    }
                }
                Ok(Some(End::Relist)) => pace.keep(began).await,
                Ok(None) => {}
                Err(Unheard) => return,
            }
        }
    }

    async fn tell(&self, told: Told) -> Result<(), Unheard> {
        self.told.send(told).await.map_err(|_| Unheard)
    }

    fn path(&self, version: &str) -> String {
        self.target.kind.path(version, self.target.namespace.as_deref())
    }

    fn selector(&self) -> String {
        if self.only.is_empty() {
            String::new()
        } else {
            format!("&fieldSelector=metadata.name%3D{}", self.only)
        }
    }

    /// Everything, in the best version that the server has; none when it does not know the kind. A listing without
    /// a version given is as new as what is stored, however old the server's own copy is.
    /// <https://kubernetes.io/docs/reference/using-api/api-concepts/#semantics-for-get-and-list>
    async fn list(&mut self) -> Result<Option<(Start, Vec<Item>)>, ApiError> {
        for version in self.target.kind.versions {
            match self.list_version(version).await {
                Err(ApiError::NotFound { .. }) => {}
                listed => return listed.map(Some),
            }
        }
        Ok(None)
    }

    async fn list_version(&mut self, version: &'static str) -> Result<(Start, Vec<Item>), ApiError> {
        let (path, selector) = (self.path(version), self.selector());
        let (mut items, mut next) = (Vec::new(), String::new());
        self.translation.begin();
        loop {
            // A page is translated before the next one is read, so that only one is held as it came.
            let part = self.api.list(&path, &selector, &next).await?;
            items.extend(self.translation.listed(version, part.objects));
            next = part.next;
            if next.is_empty() {
                self.translation.end();
                return Ok((Start { version, resource_version: part.resource_version }, items));
            }
        }
    }

    /// Waits until the kind is there.
    async fn absent(&self) -> Result<(), Unheard> {
        let (mut tries, mut backoff) = (0, BACKOFF_REFUSED);
        loop {
            tries += 1;
            tokio::select! {
                () = sleep(wait(backoff, tries)) => {}
                () = self.arrived.notified() => (tries, backoff) = (0, BACKOFF_ARRIVED),
                () = self.told.closed() => return Err(Unheard),
            }
            if tries > 30 {
                (tries, backoff) = (u32::from(u8::MAX), BACKOFF_REFUSED);
            }
            for version in self.target.kind.versions {
                // Whatever else it says, there is something to list, or to report.
                let asked = self.api.list(&self.path(version), "&resourceVersion=0", "").await;
                if !matches!(asked, Err(ApiError::NotFound { .. })) {
                    return Ok(());
                }
            }
        }
    }

    /// Says that it failed, and waits.
    async fn failed(&mut self, error: &ApiError, failures: u32) -> Result<(), Unheard> {
        let failing = Failing::from(error);
        self.translation.failing(&failing);
        let backoff = match &failing {
            Failing::Forbidden(_) | Failing::Unauthenticated(_) => BACKOFF_REFUSED,
            Failing::Unavailable(_) => BACKOFF,
        };
        // A server is busy now and then, as with kinds that were just defined: that is no failure yet.
        if !matches!(error, ApiError::Busy { .. }) || failures > BUSY_MAX {
            self.tell(Told::Failing(self.at, failing)).await?;
        }
        let mut wait = wait(backoff, failures);
        if let ApiError::Busy { after, .. } = error {
            // Not at the same moment as all the others that were told so.
            wait = wait.max(spread(*after));
        }
        tokio::select! {
            () = sleep(wait) => Ok(()),
            () = self.arrived.notified() => Ok(()),
            () = self.told.closed() => Err(Unheard),
        }
    }

    /// Watches until that can't go on. A watch that breaks is opened again where it was; only when that fails too
    /// something is wrong.
    async fn watch(&mut self, mut start: Start) -> Result<End, Unheard> {
        let mut pace = Pace::default();
        let (path, selector) = (self.path(start.version), self.selector());
        let (mut broken, mut busy): (u32, u32) = (0, 0);
        loop {
            let began = Instant::now();
            let lifetime = LIFETIME + jittered(LIFETIME / 2);
            let ended = match self.api.watch(&path, &selector, &start.resource_version, lifetime).await {
                Ok(mut watch) => {
                    busy = 0;
                    self.take(&mut watch, &mut start).await?
                }
                Err(ApiError::Busy { after, .. }) if busy < BUSY_MAX => {
                    busy += 1;
                    sleep(spread(after)).await;
                    continue;
                }
                Err(ApiError::Gone { .. } | ApiError::NotFound { .. }) => return Ok(End::Relist),
                // The connection may have been one that was open already, and is not any more.
                Err(error @ ApiError::Unreachable { .. }) if broken == 0 => Some(error),
                Err(error) => return Ok(End::Failed(error)),
            };
            match ended {
                None => broken = 0,
                Some(ApiError::Gone { .. }) => return Ok(End::Relist),
                Some(error) => {
                    tracing::debug!(target = %self.target, error = chain(&error), "watch broken");
                    broken = if began.elapsed() >= PACE { 1 } else { broken + 1 };
                    if broken > BURST {
                        return Ok(End::Failed(error));
                    }
                }
            }
            pace.keep(began).await;
        }
    }

    /// Takes what a watch says until it ends; an error where it did not end well.
    async fn take(&mut self, watch: &mut Watch, start: &mut Start) -> Result<Option<ApiError>, Unheard> {
        loop {
            let changes = tokio::select! {
                events = watch.next() => match events {
                    Ok(Some(events)) if is_older(&events, start) => {
                        let act = format!("watch {}", self.target);
                        return Ok(Some(ApiError::Gone { act }));
                    }
                    Ok(Some(events)) => self.changes(events, start),
                    Ok(None) => return Ok(None),
                    Err(error) => return Ok(Some(error)),
                },
                changes = self.translation.moved() => changes,
                () = self.told.closed() => return Err(Unheard),
            };
            if !changes.is_empty() {
                self.tell(Told::Changed(self.at, changes)).await?;
            }
        }
    }

    fn changes(&mut self, events: Vec<Event>, start: &mut Start) -> Vec<Change> {
        let mut changes = Vec::with_capacity(events.len());
        for event in events {
            let (Event::Set(object) | Event::Gone(object) | Event::Bookmark(object)) = &event;
            if let Some(version) = resource_version(object) {
                version.clone_into(&mut start.resource_version);
            }
            match event {
                Event::Set(object) => changes.extend(self.translation.set(start.version, object)),
                Event::Gone(object) => changes.extend(self.translation.gone(&object)),
                Event::Bookmark(_) => {}
            }
        }
        changes
    }
}

/// Do these events come from before the watch began? Then the server was put back to an earlier state, and what it
/// tells next may be the past: versions count up while nobody turns time back.
/// <https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-versions>
fn is_older(events: &[Event], start: &Start) -> bool {
    let Ok(began) = start.resource_version.parse::<u64>() else { return false };
    events.iter().any(|event| {
        let (Event::Set(object) | Event::Gone(object) | Event::Bookmark(object)) = event;
        resource_version(object)
            .and_then(|version| version.parse::<u64>().ok())
            .is_some_and(|version| version < began)
    })
}

/// Where the nodes are, as the follower of nodes knows them; none until it has listed them.
pub(crate) type SharedPlaces = watch::Receiver<Option<Arc<Places>>>;

/// Rings the bell of each kind whose definition appears or changes; where definitions may not be watched, kinds
/// that are missing are found by asking now and then.
pub(crate) async fn definitions(api: Api, bells: Vec<(String, Arc<Notify>)>) {
    const PATH: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    let mut failures = 0;
    loop {
        let ended = definitions_once(&api, PATH, &bells).await;
        failures = if ended.is_ok() { 0 } else { failures + 1 };
        if let Err(error) = ended {
            tracing::debug!(error = chain(&error), "definitions of kinds can't be watched");
        }
        sleep(wait(BACKOFF_REFUSED, failures)).await;
    }
}

async fn definitions_once(api: &Api, path: &str, bells: &[(String, Arc<Notify>)]) -> Result<(), ApiError> {
    // Without a version a watch begins with what there is.
    let mut version = String::new();
    loop {
        let mut watch = api.watch(path, "", &version, LIFETIME + jittered(LIFETIME / 2)).await?;
        while let Some(events) = watch.next().await? {
            for event in events {
                let (Event::Set(object) | Event::Gone(object) | Event::Bookmark(object)) = &event;
                if let Some(seen) = resource_version(object) {
                    seen.clone_into(&mut version);
                }
                if matches!(event, Event::Set(_)) {
                    let name =
                        object.get("metadata").and_then(|meta| meta.get("name")).and_then(Value::as_str);
                    let ringing = bells.iter().filter(|(definition, _)| Some(&**definition) == name);
                    ringing.for_each(|(_, bell)| bell.notify_one());
                }
            }
        }
    }
}

/// A wait that doubles with each failure, between half and all of it.
fn wait((first, max): (Duration, Duration), failures: u32) -> Duration {
    let full = first.saturating_mul(1 << failures.saturating_sub(1).min(20)).min(max);
    full / 2 + jittered(full / 2)
}

/// This long and a little more, by chance.
fn spread(wait: Duration) -> Duration {
    wait + jittered(wait / 4)
}

/// Any time up to this.
fn jittered(max: Duration) -> Duration {
    let nanos = u64::try_from(max.as_nanos()).unwrap_or(u64::MAX).max(1);
    Duration::from_nanos(RandomState::new().hash_one(nanos) % nanos)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn row_4_events_from_the_past_are_noticed() {
        let event = |version: &str| [Event::Bookmark(json!({"metadata": {"resourceVersion": version}}))];
        let start = Start { version: "v1", resource_version: "100".to_owned() };
        assert!(is_older(&event("99"), &start));
        assert!(!is_older(&event("100"), &start) && !is_older(&event("101"), &start));
        assert!(!is_older(&event("opaque"), &start), "what is no number is not judged");
    }

    #[test]
    fn waits_double_up_to_the_longest() {
        let (first, max) = (Duration::from_millis(100), Duration::from_secs(10));
        for (failures, low, high) in
            [(0, 50, 100), (1, 50, 100), (2, 100, 200), (3, 200, 400), (u32::MAX, 5000, 10_000)]
        {
            let wait = wait((first, max), failures);
            assert!(
                Duration::from_millis(low) <= wait && wait <= Duration::from_millis(high),
                "{failures}: {wait:?}"
            );
        }
    }
}
