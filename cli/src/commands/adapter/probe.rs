//! `lateen adapter test`: connects, lists, watches, and compares the two.

use std::process::ExitCode;

use serde::Serialize;
use tokio::time::Instant;

use super::{
    lag::{self, Lag},
    seen::{Counts, Listening},
};
use crate::{
    args::{Format, TestAdapter},
    output,
};

/// The report of `lateen adapter test`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    source: String,
    /// From the start to the end of the first listing; none when it did not end.
    listed_ms: Option<u128>,
    counts: Counts,
    watched_s: f64,
    /// Changes after the listing.
    changes: u64,
    changes_per_s: f64,
    /// How often contact was lost, and why last, if it is lost now.
    stale: u64,
    error: Option<String>,
    invalid: Vec<String>,
    /// What is wrong with objects together, instances that are left out among it.
    findings: Vec<String>,
    /// How far the watch lagged behind listings beside it.
    lag: Lag,
}

/// Connects, lists, watches.
pub(super) async fn test(args: TestAdapter) -> anyhow::Result<ExitCode> {
    let TestAdapter { adapter, seconds, timeout, output } = args;
    let mut watch = Listening::start(&adapter)?;
    let began = Instant::now();
    watch.listed(began + timeout).await;
    let listed = watch.seen.listed;
    let before = watch.seen.upserts + watch.seen.removals;
    let watching = Instant::now();
    let lag =
        if listed.is_some() { lag::measure(&mut watch, &adapter, seconds).await? } else { Lag::default() };
    let seen = &watch.seen;
    let (watched, changes) = (watching.elapsed().as_secs_f64(), seen.upserts + seen.removals - before);
    let report = Report {
        source: watch.source.clone(),
        listed_ms: listed.map(|at| (at - began).as_millis()),
        counts: seen.counts(),
        watched_s: watched,
        changes,
        // A count of changes is far below the precision.
        #[allow(clippy::cast_precision_loss)]
        changes_per_s: changes as f64 / watched.max(0.001),
        stale: seen.stale,
        error: seen.error.clone(),
        invalid: seen.invalid.values().cloned().collect(),
        findings: seen.registry().diagnostics_together().map(ToString::to_string).collect(),
        lag,
    };
    match output {
        Format::Json => output::json(&report)?,
        Format::Table => print(&report),
    }
    let is_well = report.listed_ms.is_some() && report.error.is_none() && report.lag.missed.is_empty();
    Ok(if is_well { ExitCode::SUCCESS } else { ExitCode::from(output::EXIT_FAILED) })
}

fn print(report: &Report) {
    let Report {
        source,
        listed_ms,
        counts,
        watched_s,
        changes,
        changes_per_s,
        stale,
        error,
        invalid,
        findings,
        lag,
    } = report;
    println!("{source}");
    match listed_ms {
        Some(ms) => println!("listed in {ms} ms"),
        None => println!("NOT LISTED"),
    }
    // What a document says is known to the registry only; the other columns are what adapters translate.
    let mut table = output::table(&[
        "DOCUMENTS",
        "OBJECTS IN THEM",
        "FAULTY",
        "SERVICES",
        "ENDPOINT SETS",
        "ENDPOINTS",
        "UNREADABLE",
    ]);
    let Counts {
        documents,
        document_objects,
        document_faults,
        services,
        endpoint_sets,
        endpoints,
        invalid: unreadable,
    } = counts;
    let row = [documents, document_objects, document_faults, services, endpoint_sets, endpoints, unreadable];
    table.add_row(row.map(ToString::to_string));
    println!("\n{table}\n");
    println!(
        "watched for {watched_s:.1} s: {changes} changes, {changes_per_s:.1} a second; contact lost {stale} times"
    );
    let Lag { listings, compared, half_ms, most_ms, missed } = lag;
    if let (Some(half), Some(most)) = (half_ms, most_ms) {
        println!(
            "{compared} changes seen by {listings} listings beside the watch, which told them {half} ms after a listing \
             (half), {most} ms (most); below 0: before"
        );
    } else {
        println!("{listings} listings beside the watch showed no change that could be compared");
    }
    for object in missed {
        println!("never told: {object}");
    }
    if let Some(error) = error {
        println!("no contact: {error}");
    }
    for finding in invalid {
        println!("unreadable: {finding}");
    }
    for finding in findings {
        println!("finding: {finding}");
    }
}
