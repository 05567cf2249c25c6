//! Which cases find which deliberate fault of our server (`lateen_xds::faults`): the check of the suite itself.
//!
//! Each fault is run against its own cases only; at least one of them must fail.

/// The faults by name, each with the cases that find it.
pub const FOUND_BY: &[(&str, &[&str])] = &[
    ("ignore-error-detail", &["G9", "F10"]),
    ("empty-is-wildcard", &["C5"]),
    ("star-is-a-name", &["C2", "E3"]),
    ("no-legacy-wildcard", &["C1", "E1"]),
    ("drop-subscription-in-nack", &["B6", "E13"]),
    ("drop-subscription-in-ack", &["E13", "C8"]),
    ("drop-subscription-when-stale", &["E12"]),
    ("endpoints-wait-for-ack", &["G6"]),
    ("reuse-nonce", &["B1"]),
    ("remove-cluster-early", &["G2", "G3"]),
    ("duplicate-resource", &["D6"]),
    ("constant-version", &["D7"]),
    ("counting-version", &["D7"]),
    ("unknown-type-ends-stream", &["A6"]),
    ("resend-after-nack", &["B3"]),
    ("ignore-initial-versions", &["F4", "F9"]),
    ("initial-versions-subscribe", &["F8"]),
    ("silent-about-unknown", &["E9"]),
    ("forget-unknown", &["E10", "C12"]),
    ("no-answer-to-resubscribe", &["E8", "C9"]),
    ("no-endpoints-behind-cluster", &["G4", "G5"]),
    ("no-empty-set", &["D4"]),
    ("partial-set", &["D1"]),
    ("node-on-every-request", &["A1"]),
    ("later-node-counts", &["A2"]),
    ("no-node-needed", &["A3"]),
    ("empty-type-is-cluster", &["A4"]),
    ("type-not-implied", &["A5"]),
    ("unknown-nonce-ends-stream", &["B10"]),
    ("answer-stale", &["B8", "B9"]),
    ("no-removals", &["F2"]),
    ("everything-on-change", &["F1"]),
    ("name-ends-wildcard", &["E2"]),
    ("last-name-is-wildcard", &["E5"]),
    ("star-takes-names", &["E4"]),
    ("silent-unsubscribe", &["E6", "E7"]),
    ("keep-unlisted", &["C10"]),
    ("no-gates", &["G7"]),
    ("reverse-order", &["G1"]),
    ("no-heartbeat", &["I2", "I3"]),
    ("bodyless-heartbeat", &["I5"]),
    ("no-ttl", &["I2", "I3"]),
    ("no-resource-errors", &["H1", "H2"]),
    ("wrong-resource-type", &["A7", "C7"]),
    ("never-split", &["L3"]),
    ("empty-world", &["L8"]),
    ("no-answer-when-current", &["F4"]),
    ("silent-about-host", &["K2"]),
    ("lose-update-in-flight", &["B13", "G14"]),
];

/// The list as a Markdown table, as it stands in `docs/conformance.md`.
pub fn table() -> String {
    let rows = FOUND_BY.iter().map(|(fault, cases)| format!("| `{fault}` | {} |\n", cases.join(", ")));
    std::iter::once("| fault | found by |\n|---|---|\n".to_owned()).chain(rows).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_page_has_this_table() {
        let page = include_str!("../../docs/conformance.md");
        assert!(page.contains(&super::table()), "docs/conformance.md lacks\n{}", super::table());
    }
}
