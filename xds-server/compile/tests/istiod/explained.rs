//! Differences from istiod that are meant, each with its section in `docs/istio-differences.md`.

use super::Lines;

/// Their names.
pub const ALL: &[&str] = &[];

/// The difference that explains why only one side has this line.
pub fn by(_world: u64, _line: &str, _theirs: &Lines, _ours: &Lines) -> Option<&'static str> {
    None
}
