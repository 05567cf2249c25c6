//! What is told of a run: as a table, JSON, `JUnit` XML, or an HTML page; several of them, side by side.

pub mod beside;
pub mod html;
pub mod json;
pub mod junit;

use std::collections::BTreeMap;

use crate::{
    case::{Case, Variant},
    cases, client,
    run::{RunResult, Verdict},
};

/// All results, and against what.
#[derive(Clone, Debug)]
pub struct Report {
    /// What the server is called in the report.
    pub server: String,
    /// The seed of the order.
    pub seed: u64,
    /// Milliseconds of the whole.
    pub took_ms: u128,
    /// All runs.
    pub results: Vec<RunResult>,
}

/// Cases for servers, and for clients.
fn every_case() -> impl Iterator<Item = &'static Case> {
    cases::all().chain(client::all())
}

/// Runs counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Count {
    /// As the rule says.
    pub passed: usize,
    /// Otherwise.
    pub failed: usize,
    /// Otherwise, as is known of the client.
    pub noted: usize,
    /// Not applicable.
    pub skipped: usize,
}

impl Count {
    fn add(&mut self, verdict: &Verdict) {
        match verdict {
            Verdict::Passed => self.passed += 1,
            Verdict::Failed { .. } => self.failed += 1,
            Verdict::Noted { .. } => self.noted += 1,
            Verdict::NotApplicable { .. } => self.skipped += 1,
        }
    }

    /// One word for a cell.
    pub const fn word(&self) -> &'static str {
        match (self.failed, self.noted, self.passed) {
            (0, 0, 0) => "n/a",
            (0, 0, _) => "pass",
            (0, _, _) => "noted",
            (_, _, 0) => "FAIL",
            _ => "PART",
        }
    }
}

impl Report {
    /// All runs counted.
    pub fn runs(&self) -> Count {
        let mut count = Count::default();
        self.results.iter().for_each(|r| count.add(&r.verdict));
        count
    }

    /// Cases counted: one that fails in any run has failed, one that applies in none was skipped.
    pub fn cases(&self) -> Count {
        let mut count = Count::default();
        for (_, cells) in self.matrix() {
            let (failed, noted, passed) =
                cells.values().fold((0, 0, 0), |(f, n, p), c| (f + c.failed, n + c.noted, p + c.passed));
            match (failed, noted, passed) {
                (0, 0, 0) => count.skipped += 1,
                (0, 0, _) => count.passed += 1,
                (0, _, _) => count.noted += 1,
                _ => count.failed += 1,
            }
        }
        count
    }

    /// By case and variant.
    pub fn matrix(&self) -> Vec<(&'static Case, BTreeMap<Variant, Count>)> {
        let mut rows: BTreeMap<&str, BTreeMap<Variant, Count>> = BTreeMap::new();
        for result in &self.results {
            let cells = rows.entry(result.instance.case.id).or_default();
            cells.entry(result.instance.variant).or_default().add(&result.verdict);
        }
        every_case().filter_map(|case| rows.remove(case.id).map(|cells| (case, cells))).collect()
    }

    /// The runs that failed, in the order of the cases.
    pub fn failures(&self) -> Vec<(&RunResult, &str, &[String])> {
        let mut failures: Vec<_> = self
            .results
            .iter()
            .filter_map(|r| match &r.verdict {
                Verdict::Failed { reason, transcript } => Some((r, reason.as_str(), transcript.as_slice())),
                Verdict::Passed | Verdict::Noted { .. } | Verdict::NotApplicable { .. } => None,
            })
            .collect();
        let order: BTreeMap<&str, usize> = every_case().enumerate().map(|(i, c)| (c.id, i)).collect();
        failures.sort_by_key(|(r, ..)| (order.get(r.instance.case.id), r.instance.variant, r.round));
        failures
    }
}
