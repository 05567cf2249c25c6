//! Several servers' JSON reports as one Markdown table: counts for each group, and each failed case with its clause.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
};

use serde::Deserialize;

use super::every_case;
use crate::case::Case;

/// What is read of a JSON report.
#[derive(Deserialize)]
struct Written {
    server: String,
    results: Vec<WrittenRun>,
}

#[derive(Deserialize)]
struct WrittenRun {
    case: String,
    variant: String,
    verdict: String,
    #[serde(default)]
    missing: Vec<String>,
}

/// The cases of one report.
#[derive(Default)]
struct Server {
    name: String,
    passed: BTreeSet<String>,
    /// With the variants in which they fail.
    failed: BTreeMap<String, BTreeSet<String>>,
    /// With what is missing.
    lacking: BTreeMap<String, BTreeSet<String>>,
}

impl Server {
    fn read(text: &str) -> Result<Self, serde_json::Error> {
        let written: Written = serde_json::from_str(text)?;
        let mut server = Self { name: written.server, ..Self::default() };
        for run in written.results {
            match run.verdict.as_str() {
                "failed" => _ = server.failed.entry(run.case).or_default().insert(run.variant),
                "notApplicable" => server.lacking.entry(run.case).or_default().extend(run.missing),
                _ => _ = server.passed.insert(run.case),
            }
        }
        // A case that fails in one run has failed, and one that applies in any run applies.
        server.passed.retain(|case| !server.failed.contains_key(case));
        server.lacking.retain(|case, _| !server.passed.contains(case) && !server.failed.contains_key(case));
        Ok(server)
    }

    /// Passed, failed and not applicable, of the cases that begin so.
    fn count(&self, group: &str) -> [usize; 3] {
        let of = |cases: &mut dyn Iterator<Item = &String>| cases.filter(|c| c.starts_with(group)).count();
        [of(&mut self.passed.iter()), of(&mut self.failed.keys()), of(&mut self.lacking.keys())]
    }
}

/// Reads reports written by [`super::json`] and puts them side by side.
pub fn write(reports: &[String]) -> Result<String, serde_json::Error> {
    let servers = reports.iter().map(|text| Server::read(text)).collect::<Result<Vec<_>, _>>()?;
    let mut text = String::from("Cases passed / failed / not applicable:\n\n| group |");
    for server in &servers {
        let _ = write!(text, " {} |", server.name);
    }
    let _ = writeln!(text, "\n|---|{}", "---|".repeat(servers.len()));
    let known: BTreeSet<&str> = every_case().filter_map(|case| case.id.get(..1)).collect();
    for (group, title) in known.into_iter().map(|group| (group, group)).chain([("", "all")]) {
        let counts: Vec<_> = servers.iter().map(|server| server.count(group)).collect();
        if counts.iter().any(|count| *count != [0; 3]) {
            let _ = write!(text, "| {title} |");
            for [passed, failed, lacking] in counts {
                let _ = write!(text, " {passed} / {failed} / {lacking} |");
            }
            text.push('\n');
        }
    }
    for server in &servers {
        details(&mut text, server);
    }
    text.truncate(text.trim_end().len());
    Ok(text)
}

fn details(text: &mut String, server: &Server) {
    if !server.failed.is_empty() {
        let _ = write!(text, "\n{}: failed\n\n| case | level | fails in | claim | clause |\n", server.name);
        text.push_str("|---|---|---|---|---|\n");
    }
    for (case, variants) in in_order(&server.failed) {
        let (level, clause) = (case.level.name(), case.clause);
        let variants = list(variants);
        let _ = writeln!(
            text,
            "| {} | {level} | {variants} | {} | [{}]({}) |",
            case.id, case.name, clause.title, clause.url
        );
    }
    let mut lacking: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for (case, missing) in in_order(&server.lacking) {
        lacking.entry(list(missing)).or_default().push(case.id);
    }
    if !lacking.is_empty() {
        let lacking: Vec<_> =
            lacking.iter().map(|(w, cases)| format!("{w} ({})", cases.join(", "))).collect();
        let _ = write!(text, "\n{}: not applicable for want of {}\n", server.name, lacking.join("; "));
    }
}

fn in_order<T>(cases: &BTreeMap<String, T>) -> impl Iterator<Item = (&'static Case, &T)> {
    every_case().filter_map(|case| cases.get(case.id).map(|of| (case, of)))
}

fn list(words: &BTreeSet<String>) -> String {
    words.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_that_fails_once_has_failed_and_one_that_applies_once_applies() {
        let run = |case, variant, verdict| {
            format!(r#"{{"case":"{case}","variant":"{variant}","verdict":"{verdict}","missing":["srds"]}}"#)
        };
        let runs = [
            run("B3", "sotw", "failed"),
            run("B3", "delta", "passed"),
            run("B4", "sotw", "notApplicable"),
            run("B4", "delta", "passed"),
            run("K5", "sotw", "notApplicable"),
        ];
        let report = format!(r#"{{"server":"one","results":[{}]}}"#, runs.join(","));
        let text = write(&[report]).unwrap();
        assert!(text.contains("| B | 1 / 1 / 0 |"), "{text}");
        assert!(text.contains("| K | 0 / 0 / 1 |"), "{text}");
        assert!(text.contains("| all | 1 / 1 / 1 |"), "{text}");
        assert!(text.contains("| B3 | should | sotw | what was rejected is not sent again |"), "{text}");
        assert!(text.contains("not applicable for want of srds (K5)"), "{text}");
    }
}
