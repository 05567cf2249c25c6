//! The name that was probably meant.

/// The candidate nearest to `word`, if one is near enough to be meant.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // Longer words are no typo, and the distance costs the product of the lengths.
    if word.is_empty() || word.len() > 64 {
        return None;
    }
    let plain = |text: &str| text.to_ascii_lowercase().replace(['_', '-'], "");
    let lower = plain(word);
    candidates
        .into_iter()
        .map(|candidate| (distance(&lower, &plain(candidate)), candidate))
        .filter(|(distance, candidate)| *distance <= candidate.len().max(3) / 3)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Edits (insert, remove, replace, swap neighbours) from one word to the other.
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let get = |row: &[usize], index: usize| row.get(index).copied().unwrap_or(usize::MAX / 2);
    let mut before: Vec<usize> = Vec::new();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    let mut previous = None;
    for (line, c) in from.chars().enumerate() {
        let mut next = vec![line + 1];
        for (column, d) in to.iter().enumerate() {
            let replaced = get(&row, column) + usize::from(c != *d);
            let mut best = replaced.min(get(&row, column + 1) + 1).min(get(&next, column) + 1);
            if column > 0 && to.get(column - 1) == Some(&c) && previous == Some(*d) {
                best = best.min(get(&before, column - 1) + 1);
            }
            next.push(best);
        }
        before = std::mem::replace(&mut row, next);
        previous = Some(c);
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typos_find_what_was_meant_and_strangers_nothing() {
        let fields = ["hosts", "gateways", "http", "tls", "tcp", "exportTo"];
        assert_eq!(nearest("host", fields), Some("hosts"));
        assert_eq!(nearest("gatewyas", fields), Some("gateways"));
        assert_eq!(nearest("export_to", fields), Some("exportTo"));
        assert_eq!(nearest("HTTP", fields), Some("http"));
        assert_eq!(nearest("selector", fields), None);
        assert_eq!(nearest("", fields), None);
        assert_eq!(nearest("round_robin", ["ROUND_ROBIN", "RANDOM"]), Some("ROUND_ROBIN"));
        assert_eq!(nearest(&"x".repeat(1000), fields), None);
    }
}
