//! Sets of code points.

use super::unicode;

/// The largest code point.
pub(super) const RUNE_MAX: u32 = 0x10_ffff;

/// Ranges in order, none of which touches another.
pub(super) type Ranges = Vec<(u32, u32)>;

/// A set that is being put together.
#[derive(Clone, Debug, Default)]
pub(super) struct Builder(Ranges);

impl Builder {
    pub(super) fn add(&mut self, lo: u32, hi: u32) {
        self.0.push((lo, hi));
    }

    /// Adds the range and, if asked, whatever differs from a part of it by case only.
    pub(super) fn add_folded(&mut self, lo: u32, hi: u32, fold: bool) {
        self.add(lo, hi);
        if fold {
            for point in unicode::folds_within(lo, hi) {
                for other in unicode::orbit(point) {
                    self.add(*other, *other);
                }
            }
        }
    }

    /// Adds a class or what is not in it. What differs by case only is in the class, or in neither.
    pub(super) fn add_class(&mut self, ranges: &[(u32, u32)], positive: bool, fold: bool) {
        let mut class = Self::default();
        for (lo, hi) in ranges {
            class.add_folded(*lo, *hi, fold);
        }
        let ranges = if positive { class.finish() } else { negated(&class.finish()) };
        self.0.extend(ranges);
    }

    pub(super) fn finish(mut self) -> Ranges {
        self.0.sort_unstable();
        let mut merged: Ranges = Vec::with_capacity(self.0.len());
        for (lo, hi) in self.0 {
            match merged.last_mut() {
                Some(last) if lo <= last.1.saturating_add(1) => last.1 = last.1.max(hi),
                _ => merged.push((lo, hi)),
            }
        }
        merged
    }
}

/// All that is not in the ranges.
pub(super) fn negated(ranges: &[(u32, u32)]) -> Ranges {
    let mut next = 0;
    let mut others = Vec::with_capacity(ranges.len() + 1);
    for (lo, hi) in ranges {
        if next < *lo {
            others.push((next, lo - 1));
        }
        next = hi + 1;
    }
    if next <= RUNE_MAX {
        others.push((next, RUNE_MAX));
    }
    others
}

/// How many code points there are in the ranges.
pub(super) fn count(ranges: &[(u32, u32)]) -> u32 {
    ranges.iter().map(|(lo, hi)| hi - lo + 1).sum()
}

/// Does the set hold the same letters of ASCII in upper and in lower case?
pub(super) fn folds_ascii(ranges: &[(u32, u32)]) -> bool {
    let has = |point: u32| ranges.iter().any(|(lo, hi)| (*lo..=*hi).contains(&point));
    (b'A'..=b'Z').all(|upper| has(upper.into()) == has(upper.to_ascii_lowercase().into()))
}
