//! The report as `JUnit` XML, which build servers show.

use std::fmt::Write;

use super::Report;
use crate::run::Verdict;

/// The report as XML.
pub fn write(report: &Report) -> String {
    let runs = report.runs();
    let total = runs.passed + runs.failed + runs.noted + runs.skipped;
    let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let _ = writeln!(
        xml,
        "<testsuite name=\"xDS conformance of {}\" tests=\"{total}\" failures=\"{}\" skipped=\"{}\" time=\"{:.3}\">",
        escape(&report.server),
        runs.failed,
        runs.skipped + runs.noted,
        seconds(report.took_ms)
    );
    for result in &report.results {
        let _ = write!(
            xml,
            "  <testcase classname=\"{}\" name=\"{} round {}\" time=\"{:.3}\"",
            escape(result.instance.case.name),
            escape(&result.instance.id()),
            result.round,
            result.took.as_secs_f64()
        );
        match &result.verdict {
            Verdict::Passed => xml.push_str("/>\n"),
            Verdict::Failed { reason, transcript } => {
                let _ = writeln!(
                    xml,
                    "><failure message=\"{}\">{}\n{}</failure></testcase>",
                    escape(reason),
                    escape(result.instance.case.clause.url),
                    escape(&transcript.join("\n"))
                );
            }
            Verdict::Noted { what, reference, reason } => {
                let text = format!("noted: {what} ({reference}): {reason}");
                let _ = writeln!(xml, "><skipped message=\"{}\"/></testcase>", escape(&text));
            }
            Verdict::NotApplicable { missing } => {
                let missing: Vec<_> = missing.iter().map(|f| f.name()).collect();
                let _ = writeln!(xml, "><skipped message=\"needs {}\"/></testcase>", missing.join(", "));
            }
        }
    }
    xml.push_str("</testsuite>\n");
    xml
}

fn seconds(ms: u128) -> f64 {
    std::time::Duration::from_millis(u64::try_from(ms).unwrap_or(u64::MAX)).as_secs_f64()
}

/// Text inside XML or HTML; characters that XML can't have at all become spaces.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\n' | '\t' => escaped.push(c),
            c if c.is_control() => escaped.push(' '),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    #[test]
    fn text_can_not_leave_its_place() {
        assert_eq!(super::escape("<a b=\"c\">&\u{1}"), "&lt;a b=&quot;c&quot;&gt;&amp; ");
    }
}
