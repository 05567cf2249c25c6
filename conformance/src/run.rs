//! Runs cases side by side, in shuffled order, as often as asked for.

use std::{
    cmp::Reverse,
    collections::{BTreeSet, VecDeque},
    error::Error,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::task::JoinSet;

use crate::{
    case::{Case, Company, Instance, Level, Play, Running},
    cases,
    context::{Context, Failure, Patience, Target},
    control::Feature,
    transcript::Transcript,
};

/// What is run, and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// Only runs whose id, name or tag contains one of these; all if empty.
    pub filter: Vec<String>,
    /// Only rules that bind at least so much.
    pub level: Level,
    /// How many times.
    pub repeat: usize,
    /// Decides the order.
    pub seed: u64,
    /// Runs at once.
    pub concurrency: usize,
    /// How patient cases are.
    pub patience: Patience,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            filter: Vec::new(),
            level: Level::Extension,
            repeat: 1,
            seed: 1,
            concurrency: 48,
            patience: Patience::default(),
        }
    }
}

/// What came of one run.
#[derive(Clone, Debug)]
pub struct RunResult {
    /// Which.
    pub instance: Instance,
    /// In which repetition, from 1.
    pub round: usize,
    /// How it ended.
    pub verdict: Verdict,
    /// How long it took.
    pub took: Duration,
    /// What is worth knowing.
    pub notes: Vec<String>,
}

/// How a run ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// As the rule says.
    Passed,
    /// Otherwise.
    Failed {
        /// Why.
        reason: String,
        /// What was sent and what came back.
        transcript: Vec<String>,
    },
    /// Otherwise, as is known of this client: told with where it is written, and not counted as passed.
    Noted {
        /// What the client does.
        what: &'static str,
        /// Where that is written.
        reference: &'static str,
        /// Why the case did not pass.
        reason: String,
    },
    /// The server, or its control protocol, lacks something.
    NotApplicable {
        /// What.
        missing: Vec<Feature>,
    },
}

/// Every run that the options select, applicable or not.
pub fn select(options: &Options) -> Vec<Instance> {
    select_of(cases::all(), options)
}

pub(crate) fn select_of(cases: impl Iterator<Item = &'static Case>, options: &Options) -> Vec<Instance> {
    let wanted = |instance: &Instance| {
        let id = instance.id();
        options.filter.is_empty()
            || options.filter.iter().any(|f| {
                instance.case.id == f
                    || (f.contains('/') && id.starts_with(f.as_str()))
                    || instance.case.tags.contains(&f.as_str())
                    || (f.len() == 1 && instance.case.id.starts_with(f.as_str()))
            })
    };
    cases.filter(|case| case.level <= options.level).flat_map(Instance::of).filter(wanted).collect()
}

/// Runs what the options select, and tells each result as it comes.
pub async fn run(target: &Target, options: &Options, mut told: impl FnMut(&RunResult)) -> Vec<RunResult> {
    let mut results = Vec::new();
    for round in 1..=options.repeat {
        let mut instances = select(options);
        shuffle(&mut instances, options.seed.wrapping_add(round as u64));
        let (ready, lacking): (Vec<_>, Vec<_>) =
            instances.into_iter().map(|i| (i, missing(target, &i))).partition(|(_, m)| m.is_empty());
        for (instance, missing) in lacking {
            let verdict = Verdict::NotApplicable { missing: missing.into_iter().collect() };
            let result = RunResult { instance, round, verdict, took: Duration::ZERO, notes: Vec::new() };
            told(&result);
            results.push(result);
        }
        let mut ready: Vec<Instance> = ready.into_iter().map(|(instance, _)| instance).collect();
        // Those that may take long come first, in shuffled order, too: the others fill the time.
        ready.sort_by_key(|instance| Reverse(instance.case.limit));
        for (company, width) in [
            (Company::Anyone, options.concurrency.max(1)),
            (Company::Busy, 2.min(options.concurrency.max(1))),
            (Company::Nobody, 1),
        ] {
            let width = if target.capabilities.groups { width } else { 1 };
            let instances = ready.extract_if(.., |instance| instance.case.company == company).collect();
            side_by_side(target, options.patience, round, instances, width, &mut |result| {
                told(&result);
                results.push(result);
            })
            .await;
        }
    }
    results
}

fn missing(target: &Target, instance: &Instance) -> BTreeSet<Feature> {
    instance.needs().filter(|feature| !target.capabilities.features.contains(feature)).collect()
}

async fn side_by_side(
    target: &Target,
    patience: Patience,
    round: usize,
    instances: Vec<Instance>,
    width: usize,
    told: &mut impl FnMut(RunResult),
) {
    let mut waiting: VecDeque<Instance> = instances.into();
    let mut running = JoinSet::new();
    loop {
        while running.len() < width
            && let Some(instance) = waiting.pop_front()
        {
            running.spawn(one(target.clone(), patience, round, instance));
        }
        match running.join_next().await {
            Some(Ok(result)) => told(result),
            // The panic of a case is a fault of the suite; the run goes on, and the panic's text is on stderr.
            Some(Err(error)) => tracing::error!(%error, "a case broke"),
            None => return,
        }
    }
}

/// A panic in a case is reported as its failure, so that no case is ever silently left out.
async fn one(target: Target, patience: Patience, round: usize, instance: Instance) -> RunResult {
    let group = format!("{}-{round}", instance.id().replace('/', "-").to_lowercase());
    let context = Context::new(target.clone(), instance.variant, instance.kind, group.clone(), patience);
    let transcript = Arc::clone(&context.transcript);
    let running: Running = match instance.case.run {
        Play::Server(run) => run(context),
        Play::Client(_) => Box::pin(async { Err(Failure::Broken("the case is for clients".to_owned())) }),
    };
    let result = judged(instance, round, &transcript, running).await;
    // What stays behind must not be seen by a later case; a server that can't forget tells that by failing those.
    if let Err(error) = target.control.clear(&group).await {
        tracing::warn!(%error, group, "the group could not be cleared");
    }
    if let Some((_, control)) = &target.replica
        && let Err(error) = control.clear(&group).await
    {
        tracing::warn!(%error, group, "the replica's group could not be cleared");
    }
    result
}

/// Runs a case within its time limit.
pub(crate) async fn judged(
    instance: Instance,
    round: usize,
    transcript: &Transcript,
    running: Running,
) -> RunResult {
    let start = Instant::now();
    let mut task = tokio::spawn(running);
    let outcome = tokio::time::timeout(instance.case.limit, &mut task).await;
    let took = start.elapsed();
    let failed = match outcome {
        Ok(Ok(Ok(()))) => None,
        Ok(Ok(Err(failure))) => Some(text(&failure)),
        Ok(Err(panic)) => Some(format!("the case itself broke: {panic}")),
        Err(_) => {
            task.abort();
            Some(format!("not finished within {} ms", instance.case.limit.as_millis()))
        }
    };
    let verdict = match failed {
        None => Verdict::Passed,
        Some(reason) => Verdict::Failed { reason, transcript: transcript.lines() },
    };
    RunResult { instance, round, verdict, took, notes: transcript.notes() }
}

fn text(failure: &Failure) -> String {
    let mut text = failure.to_string();
    let mut cause = failure.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// Fisher and Yates, with a small generator (splitmix64): the same seed, the same order.
pub(crate) fn shuffle<T>(items: &mut [T], seed: u64) {
    let mut state = seed;
    let mut random = move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    };
    for last in (1..items.len()).rev() {
        let other = usize::try_from(random() % (last as u64 + 1)).unwrap_or_default();
        items.swap(last, other);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seed_decides_the_order() {
        let shuffled = |seed| {
            let mut items: Vec<u32> = (0..100).collect();
            shuffle(&mut items, seed);
            items
        };
        assert_eq!(shuffled(7), shuffled(7));
        assert_ne!(shuffled(7), shuffled(8));
        let mut sorted = shuffled(7);
        sorted.sort_unstable();
        assert_eq!(sorted, (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn filters_select_by_group_case_run_and_tag() {
        let ids = |filter: &str| -> BTreeSet<&str> {
            let options = Options { filter: vec![filter.to_owned()], ..Options::default() };
            select(&options).iter().map(|i| i.case.id).collect()
        };
        assert_eq!(ids("B3"), BTreeSet::from(["B3"]));
        assert!(ids("B").contains("B1") && ids("B").iter().all(|id| id.starts_with('B')));
        assert_eq!(ids("B3/sotw-ads"), BTreeSet::from(["B3"]));
        assert!(ids("nack").contains("B3"));
    }
}
