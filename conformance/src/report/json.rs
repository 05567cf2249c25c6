//! The report for programs.

use serde_json::{Value, json};

use super::Report;
use crate::run::Verdict;

/// The report as JSON.
pub fn write(report: &Report) -> Value {
    let (runs, cases) = (report.runs(), report.cases());
    let results: Vec<Value> = report
        .results
        .iter()
        .map(|r| {
            let case = r.instance.case;
            let mut value = json!({
                "case": case.id,
                "name": case.name,
                "clause": { "title": case.clause.title, "url": case.clause.url },
                "level": case.level.name(),
                "variant": r.instance.variant.name(),
                "type": r.instance.kind.info().short,
                "round": r.round,
                "tookMs": u64::try_from(r.took.as_millis()).unwrap_or(u64::MAX),
                "notes": r.notes,
            });
            let (word, more) = match &r.verdict {
                Verdict::Passed => ("passed", Vec::new()),
                Verdict::Failed { reason, transcript } => {
                    ("failed", vec![("reason", json!(reason)), ("transcript", json!(transcript))])
                }
                Verdict::Noted { what, reference, reason } => (
                    "noted",
                    vec![("what", json!(what)), ("reference", json!(reference)), ("reason", json!(reason))],
                ),
                Verdict::NotApplicable { missing } => {
                    let missing: Vec<_> = missing.iter().map(|f| f.name()).collect();
                    ("notApplicable", vec![("missing", json!(missing))])
                }
            };
            if let Value::Object(fields) = &mut value {
                fields.insert("verdict".to_owned(), json!(word));
                fields.extend(more.into_iter().map(|(k, v)| (k.to_owned(), v)));
            }
            value
        })
        .collect();
    json!({
        "server": report.server,
        "seed": report.seed,
        "tookMs": u64::try_from(report.took_ms).unwrap_or(u64::MAX),
        "runs": { "passed": runs.passed, "failed": runs.failed, "noted": runs.noted, "notApplicable": runs.skipped },
        "cases": { "passed": cases.passed, "failed": cases.failed, "noted": cases.noted, "notApplicable": cases.skipped },
        "results": results,
    })
}
