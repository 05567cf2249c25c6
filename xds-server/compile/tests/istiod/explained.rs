//! Differences from istiod, each kind with its section in `docs/istio-differences.md`.

use super::Lines;

/// Their names, each with how many lines there are of it. They are to become fewer: more of a kind is a change of our
/// answers that somebody has to look at, whatever the kind explains.
pub const ALL: &[(&str, usize)] = &[
    ("A destination without a port", 412),
    ("Hosts that no service has on a port", 1_234),
    ("Clusters of differing routes", 527),
];

/// Lines that no kind explains.
pub const OPEN: usize = 18;

/// The kind of difference for which only one side has this line.
pub fn by(line: &str, theirs: &Lines, ours: &Lines) -> Option<&'static str> {
    let [(port, _), (host, _), (clusters, _)] = ALL else { return None };
    let place = place(line).0;
    if place.contains('|') || place.ends_with("Cluster") {
        return Some(clusters);
    }
    let other = |lines: &Lines| lines.iter().find(|other| self::place(other).0 == place).cloned();
    let (Some(one), Some(two)) = (other(theirs), other(ours)) else { return Some(host) };
    if is_unknown(self::place(&one).1) || is_unknown(self::place(&two).1) {
        return Some(host);
    }
    (without_ports(&one) == without_ports(&two)).then_some(port)
}

/// Client and host, or client and cluster; and what is said of that.
fn place(line: &str) -> (&str, &str) {
    let end = line.match_indices(' ').nth(1).map_or(line.len(), |(at, _)| at);
    line.split_at(end)
}

/// Is it what requests for unknown hosts get?
fn is_unknown(answer: &str) -> bool {
    answer.trim() == "answer 502" || answer.trim().starts_with("-> PassthroughCluster")
}

/// The names of clusters without the port in them.
fn without_ports(line: &str) -> String {
    let mut text = String::new();
    for (at, part) in line.split('|').enumerate() {
        let is_port = at > 0 && part.chars().all(|c| c.is_ascii_digit()) && !part.is_empty();
        text.push_str(if is_port { "*" } else { part });
        text.push('|');
    }
    text
}
