//! Runs the cases for clients: a client of its own for each run.

use std::{collections::VecDeque, sync::Arc};

use tokio::task::JoinSet;

use super::{
    departures,
    process::{Client, Command},
    script::Script,
};
use crate::{
    case::{Instance, Play, Running},
    context::{Failure, Patience},
    run::{self, Options, RunResult, Verdict},
    transcript::Transcript,
};

/// Every run that the options select.
pub fn select(options: &Options) -> Vec<Instance> {
    run::select_of(super::all(), options)
}

/// Runs what the options select, and tells each result as it comes.
pub async fn run(client: &Client, options: &Options, mut told: impl FnMut(&RunResult)) -> Vec<RunResult> {
    let mut results = Vec::new();
    for round in 1..=options.repeat {
        let mut instances = select(options);
        run::shuffle(&mut instances, options.seed.wrapping_add(round as u64));
        let mut waiting: VecDeque<Instance> = instances.into();
        let mut running = JoinSet::new();
        loop {
            while running.len() < options.concurrency.max(1)
                && let Some(instance) = waiting.pop_front()
            {
                running.spawn(one(client.clone(), options.patience, round, instance));
            }
            match running.join_next().await {
                Some(Ok(result)) => {
                    told(&result);
                    results.push(result);
                }
                Some(Err(error)) => tracing::error!(%error, "a case broke"),
                None => break,
            }
        }
    }
    results
}

async fn one(client: Client, patience: Patience, round: usize, instance: Instance) -> RunResult {
    let transcript = Arc::new(Transcript::default());
    let (started, record) = (client.clone(), Arc::clone(&transcript));
    let running: Running = Box::pin(async move {
        match instance.case.run {
            Play::Client(run) => {
                run(Script::start(&started, instance.variant, patience, record).await?).await
            }
            Play::Server(_) => Err(Failure::Broken("the case is for servers".to_owned())),
        }
    });
    let mut result = run::judged(instance, round, &transcript, running).await;
    if let Client::Command(Command { bootstrap, .. }) = client
        && let Verdict::Failed { reason, .. } = &result.verdict
        && let Some(known) = departures::known(bootstrap, &instance)
    {
        result.verdict =
            Verdict::Noted { what: known.what, reference: known.reference, reason: reason.clone() };
    }
    result
}
