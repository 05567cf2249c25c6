//! The report as one page without any other file: for publishing.

use std::fmt::Write;

use super::{Report, junit::escape};
use crate::{case::Variant, run::Verdict};

const STYLE: &str = "\
body{font:15px/1.5 system-ui,sans-serif;max-width:72rem;margin:2rem auto;padding:0 1rem;color:#1b1f24;background:#fff}
table{border-collapse:collapse;width:100%}th,td{padding:.3rem .6rem;border-bottom:1px solid #d8dee4;text-align:left}
td.c{text-align:center;width:6rem}.pass{background:#dafbe1}.FAIL{background:#ffd7d5;font-weight:600}
.PART,.noted{background:#fff1c2;font-weight:600}.n{color:#6e7781}pre{background:#f6f8fa;padding:.8rem;overflow-x:auto;font-size:13px}
details{margin:.5rem 0}summary{cursor:pointer}a{color:#0550ae}
@media(prefers-color-scheme:dark){body{color:#e6edf3;background:#0d1117}th,td{border-color:#30363d}.pass{background:#12361f}
.FAIL{background:#5a1e1b}.PART{background:#4d3b0b}pre{background:#161b22}a{color:#6cb6ff}}";

/// The report as HTML.
pub fn write(report: &Report) -> String {
    let (runs, cases) = (report.runs(), report.cases());
    let server = escape(&report.server);
    let mut html = format!(
        "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>xDS conformance of {server}</title><style>{STYLE}</style>\n<h1>xDS conformance of {server}</h1>\n\
         <p><b>{} of {} applicable cases pass</b> ({} not applicable). Runs: {} passed, {} failed, {} not applicable, \
         in {:.1} s; seed {}.</p>\n",
        cases.passed,
        cases.passed + cases.failed + cases.noted,
        cases.skipped,
        runs.passed,
        runs.failed,
        runs.skipped,
        std::time::Duration::from_millis(u64::try_from(report.took_ms).unwrap_or(u64::MAX)).as_secs_f64(),
        report.seed
    );
    html.push_str("<table><thead><tr><th>Case</th><th>Claim</th><th>Clause</th><th>Level</th>");
    for variant in Variant::ALL {
        let _ = write!(html, "<th>{}</th>", variant.name());
    }
    html.push_str("</tr></thead><tbody>\n");
    for (case, cells) in report.matrix() {
        let _ = write!(
            html,
            "<tr><td>{}</td><td>{}</td><td><a href=\"{}\">{}</a></td><td>{}</td>",
            case.id,
            escape(case.name),
            escape(case.clause.url),
            escape(case.clause.title),
            case.level.name()
        );
        for variant in Variant::ALL {
            match cells.get(&variant) {
                None => html.push_str("<td class=\"c n\">–</td>"),
                Some(count) => {
                    let word = count.word();
                    let class = if word == "n/a" { "n" } else { word };
                    let _ = write!(html, "<td class=\"c {class}\">{word}");
                    if count.failed > 0 {
                        let _ = write!(html, " {}/{}", count.passed, count.passed + count.failed);
                    }
                    html.push_str("</td>");
                }
            }
        }
        html.push_str("</tr>\n");
    }
    html.push_str("</tbody></table>\n");
    let failures = report.failures();
    if !failures.is_empty() {
        html.push_str("<h2>Failures</h2>\n");
    }
    for (result, reason, transcript) in failures {
        let case = result.instance.case;
        let _ = writeln!(
            html,
            "<details><summary><b>{}</b>: {}</summary><p>{} (<a href=\"{}\">{}</a>)</p><pre>{}</pre></details>",
            escape(&result.instance.id()),
            escape(reason),
            escape(case.name),
            escape(case.clause.url),
            escape(case.clause.title),
            escape(&transcript.join("\n"))
        );
    }
    for result in &report.results {
        if let Verdict::Noted { what, reference, reason } = &result.verdict {
            let _ = writeln!(
                html,
                "<p>Noted {}: {} (<a href=\"{}\">reference</a>): {}</p>",
                escape(&result.instance.id()),
                escape(what),
                escape(reference),
                escape(reason)
            );
        }
    }
    let mut notes: Vec<_> = report
        .results
        .iter()
        .flat_map(|r| r.notes.iter().map(move |n| (r.instance.id(), n.as_str())))
        .collect();
    notes.sort_unstable();
    notes.dedup();
    if !notes.is_empty() {
        html.push_str("<h2>Behaviour seen where the specification allows several</h2>\n<ul>");
        for (id, note) in notes {
            let _ = write!(html, "<li>{}: {}</li>", escape(&id), escape(note));
        }
        html.push_str("</ul>\n");
    }
    html.push_str("</html>\n");
    html
}
