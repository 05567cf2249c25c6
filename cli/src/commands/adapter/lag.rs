//! How far what is told lags behind what is there, without writing anything: beside the watch, everything is listed
//! again and again, and each change is looked for in both.
//!
//! A listing shows a change at its end at the latest, so that what comes out is never more than the true lag; where
//! the watch was faster than any listing it is less than nothing.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use lateen_model::{ObjectId, event::Object};
use serde::Serialize;
use tokio::time::Instant;

use super::seen::{Listening, Seen};

/// States that are kept of an object, the newest.
const STATES_MAX: usize = 64;
/// Objects that states are kept of; changes of others are not compared.
const OBJECTS_MAX: usize = 100_000;
/// Between two listings, at least; and as many times as long as one took.
const PAUSE_MIN: Duration = Duration::from_millis(200);
const PAUSES: u32 = 4;
/// How long the watch may take for what the last listing shows.
const GRACE: Duration = Duration::from_secs(5);

/// What a watch has told, and when.
#[derive(Debug, Default)]
pub(super) struct Told(BTreeMap<ObjectId, VecDeque<(Option<Object>, Instant)>>);

impl Told {
    /// The object is like this now, or gone.
    pub(super) fn note(&mut self, id: &ObjectId, object: Option<&Object>) {
        if self.0.len() >= OBJECTS_MAX && !self.0.contains_key(id) {
            return;
        }
        let states = self.0.entry(id.clone()).or_default();
        states.push_back((object.cloned(), Instant::now()));
        if states.len() > STATES_MAX {
            states.pop_front();
        }
    }

    /// When the object was last told to be like this.
    fn when(&self, id: &ObjectId, object: Option<&Object>) -> Option<Instant> {
        let states = self.0.get(id)?;
        states.iter().rev().find(|(state, _)| state.as_ref() == object).map(|(_, at)| *at)
    }
}

/// What a listing showed to be different from the one before, and when.
type Change = (ObjectId, Option<Object>, Instant);

/// What was measured.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Lag {
    /// Listings beside the watch.
    pub(super) listings: usize,
    /// Changes that both have shown.
    pub(super) compared: usize,
    /// From a listing that shows a change to the watch that tells it, half of them and most, in milliseconds; less
    /// than nothing where the watch was first.
    pub(super) half_ms: Option<i64>,
    pub(super) most_ms: Option<i64>,
    /// What the last listing shows, and the watch does not tell.
    pub(super) missed: Vec<String>,
}

type Objects = BTreeMap<ObjectId, Option<Object>>;

/// Listens to the watch for a time, and lists beside it.
pub(super) async fn measure(watch: &mut Listening, flag: &str, time: Duration) -> anyhow::Result<Lag> {
    let end = Instant::now() + time;
    watch.seen.told = Some(Told::default());
    let first = watch.seen.objects.clone();
    let (mut last, mut listings, mut changes) = (first.clone(), 0, Vec::new());
    loop {
        let mut listing = Listening::start(flag)?;
        let began = Instant::now();
        tokio::select! {
            () = listing.listed(end + GRACE) => {}
            () = watch.listen(end + GRACE, |_| false) => {}
        }
        let Some(at) = listing.seen.listed else { break };
        listings += 1;
        let now = std::mem::take(&mut listing.seen.objects);
        drop(listing);
        changes.extend(differences(&last, &now).map(|(id, object)| (id.clone(), object.cloned(), at)));
        last = now;
        let pause = PAUSE_MIN.max(began.elapsed() * PAUSES);
        if Instant::now() + pause >= end {
            break;
        }
        watch.listen(Instant::now() + pause, |_| false).await;
    }
    watch.listen(end, |_| false).await;
    watch.listen(Instant::now() + GRACE, |seen| missed(&first, &last, seen).is_empty()).await;
    Ok(summary(listings, &changes, &watch.seen, missed(&first, &last, &watch.seen)))
}

fn summary(listings: usize, changes: &[Change], seen: &Seen, missed: Vec<String>) -> Lag {
    let lag = |(id, object, listed): &Change| {
        let told = seen.told.as_ref()?.when(id, object.as_ref())?;
        let (late, early) = (told.saturating_duration_since(*listed), listed.saturating_duration_since(told));
        let ms = |time: Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
        Some(ms(late) - ms(early))
    };
    let mut lags: Vec<i64> = changes.iter().filter_map(lag).collect();
    lags.sort_unstable();
    let (half_ms, most_ms) = (lags.get(lags.len() / 2).copied(), lags.last().copied());
    Lag { listings, compared: lags.len(), half_ms, most_ms, missed }
}

/// What is different, as it is afterwards.
fn differences<'a>(
    before: &'a Objects,
    after: &'a Objects,
) -> impl Iterator<Item = (&'a ObjectId, Option<&'a Object>)> {
    let state = |objects: &'a Objects, id: &ObjectId| objects.get(id).and_then(Option::as_ref);
    let ids: BTreeSet<&ObjectId> = before.keys().chain(after.keys()).collect();
    let pairs = ids.into_iter().map(move |id| (id, state(before, id), state(after, id)));
    pairs.filter(|(_, before, after)| before != after).map(|(id, _, after)| (id, after))
}

/// What a listing has and the watch never told; what has changed since is not missed.
fn missed(first: &Objects, listed: &Objects, seen: &Seen) -> Vec<String> {
    let told = |id: &ObjectId, object| seen.told.as_ref().is_some_and(|told| told.when(id, object).is_some());
    let was_so = |id: &ObjectId, object| first.get(id).and_then(Option::as_ref) == object;
    let never =
        differences(&seen.objects, listed).filter(|(id, object)| !told(id, *object) && !was_so(id, *object));
    never.map(|(id, _)| format!("{:?} {}", id.kind, id.name)).collect()
}

#[cfg(test)]
mod tests {
    use super::{
        super::seen::tests::{document, id, seen},
        *,
    };

    fn objects(states: &[(&str, &str)]) -> Objects {
        seen(states.iter().map(|(name, text)| document(name, text)).collect()).objects
    }

    #[test]
    fn what_was_told_meanwhile_is_not_missed_and_what_was_not_is() {
        let first = objects(&[("a", "1"), ("b", "1")]);
        let mut watch = Seen { told: Some(Told::default()), objects: first.clone(), ..Seen::default() };
        let source = || lateen_model::SourceId("s".into());
        for text in ["2", "3"] {
            watch.take(lateen_adapter::ToCore::Events(source(), vec![document("a", text)]));
        }
        let listed = objects(&[("a", "2"), ("b", "2"), ("c", "1")]);
        assert_eq!(missed(&first, &listed, &watch), ["Document b", "Document c"]);
        let at = Instant::now();
        let changes: Vec<Change> =
            differences(&first, &listed).map(|(id, object)| (id.clone(), object.cloned(), at)).collect();
        assert_eq!(changes.len(), 3);
        let lag = summary(1, &changes, &watch, Vec::new());
        assert_eq!(lag.compared, 1);
        assert!(lag.most_ms.is_some_and(|ms| ms <= 0), "{lag:?}");
    }

    #[test]
    fn states_are_bounded() {
        let mut told = Told::default();
        for _ in 0..2 * STATES_MAX {
            told.note(&id("a"), None);
        }
        assert_eq!(told.0.values().map(VecDeque::len).sum::<usize>(), STATES_MAX);
    }
}
