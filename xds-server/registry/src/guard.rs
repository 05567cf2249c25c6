//! The guard against mass removal: a platform that answers from a stale replica, or comes back empty, must not
//! take the mesh down with it.
//!
//! When more than a share of what a source has, and more than a number, goes within one listing or one moment, the
//! rest of it is held: it stays in force until a second look confirms that it is gone, or enough time has passed.
//! Single removals pass at once. A source that only ever says "gone" is counted over a sliding moment, so what was
//! below the limit has passed when the limit is reached.

use std::{collections::VecDeque, ops::Sub};

/// Settings of the guard.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GuardSettings {
    /// Only more than so many endpoints, or services, or policies, are held.
    pub count: u64,
    /// Only more than so many percent of what the source had are held.
    pub percent: u64,
    /// What goes within so many milliseconds counts as one removal.
    pub interval_ms: u64,
    /// What is held goes after so many milliseconds, when no second look came before; 0 switches the guard off.
    pub confirm_ms: u64,
}

impl Default for GuardSettings {
    fn default() -> Self {
        Self { count: 10, percent: 50, interval_ms: 1_000, confirm_ms: 30_000 }
    }
}

/// How much of what there is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Amount {
    pub(crate) services: u64,
    pub(crate) endpoints: u64,
    /// Objects that may refuse something: without them all is let in.
    pub(crate) policies: u64,
}

impl Amount {
    fn most(self, other: Self) -> Self {
        self.with(other, u64::max)
    }

    pub(crate) fn add(&mut self, other: Self) {
        *self = self.with(other, |one, other| one + other);
    }

    fn with(self, other: Self, each: impl Fn(u64, u64) -> u64) -> Self {
        Self {
            services: each(self.services, other.services),
            endpoints: each(self.endpoints, other.endpoints),
            policies: each(self.policies, other.policies),
        }
    }
}

impl Sub for Amount {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        self.with(other, u64::saturating_sub)
    }
}

/// What a source had during the last moment: at most [`SLICES`] samples, whatever happens in it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Guard {
    /// The most there was in each slice of the moment, the oldest first.
    most: VecDeque<(u64, Amount)>,
}

/// Slices of the sliding moment.
const SLICES: u64 = 10;

impl Guard {
    /// May so much go at once, of so much that there is? `had` is what the source has now, held parts included.
    pub(crate) fn allows(&mut self, had: Amount, going: Amount, now: u64, settings: GuardSettings) -> bool {
        let GuardSettings { count, percent, interval_ms, confirm_ms } = settings;
        let width = (interval_ms / SLICES).max(1);
        let slice = now / width;
        while self.most.front().is_some_and(|(at, _)| at + SLICES < slice) {
            self.most.pop_front();
        }
        match self.most.back_mut() {
            Some((at, most)) if *at >= slice => *most = most.most(had),
            Some(_) | None => self.most.push_back((slice, had)),
        }
        let before = self.most.iter().fold(Amount::default(), |most, (_, had)| most.most(*had));
        let gone = before - (had - going);
        // What does not go itself is not to be judged: an endpoint may leave while services are few.
        let is_mass = |of: fn(&Amount) -> u64| {
            let (going, gone, before) = (of(&going), of(&gone), of(&before));
            going > 0 && gone > count && gone * 100 > before * percent
        };
        let is_any = is_mass(|it| it.services) || is_mass(|it| it.endpoints) || is_mass(|it| it.policies);
        confirm_ms == 0 || !is_any
    }

    /// So much goes that was held and is confirmed now: it is no part of what else goes in this moment.
    pub(crate) fn confirmed(&mut self, going: Amount) {
        for (_, most) in &mut self.most {
            *most = *most - going;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SETTINGS: GuardSettings =
        GuardSettings { count: 10, percent: 50, interval_ms: 1_000, confirm_ms: 30_000 };

    fn endpoints(endpoints: u64) -> Amount {
        Amount { endpoints, ..Amount::default() }
    }

    #[test]
    fn more_than_half_and_more_than_ten_are_held() {
        let allows = |had, going| Guard::default().allows(endpoints(had), endpoints(going), 0, SETTINGS);
        assert!(allows(10, 10), "ten");
        assert!(!allows(11, 11));
        assert!(allows(22, 11), "half");
        assert!(!allows(22, 12));
        assert!(allows(1_000, 500));
        let off = GuardSettings { confirm_ms: 0, ..SETTINGS };
        assert!(Guard::default().allows(endpoints(100), endpoints(100), 0, off));
    }

    #[test]
    fn single_removals_count_together_within_the_interval_only() {
        let (mut guard, mut had) = (Guard::default(), 20);
        let mut passed = 0;
        for at in 0..20 {
            if guard.allows(endpoints(had), endpoints(1), at * 10, SETTINGS) {
                (had, passed) = (had - 1, passed + 1);
            }
        }
        assert_eq!(passed, 10, "the eleventh is more than half and more than ten");
        assert!(
            guard.allows(endpoints(had), endpoints(1), 5_000, SETTINGS),
            "a moment later it is a single one"
        );
    }

    #[test]
    fn replacing_is_no_removal() {
        let mut guard = Guard::default();
        for at in 0..100 {
            assert!(guard.allows(endpoints(21), endpoints(1), at, SETTINGS));
            // One comes for each that went.
            assert!(guard.allows(endpoints(20), endpoints(0), at, SETTINGS));
        }
    }

    proptest! {
        /// What passes within a moment never takes more than half, but for ten; a removal after a quiet moment
        /// that is small passes.
        #[test]
        fn never_more_than_the_limit_passes(
            had in 0_u64..400,
            steps in proptest::collection::vec((0_u64..40, 0_u64..30), 0..60),
        ) {
            let (mut guard, mut left) = (Guard::default(), had);
            let mut now = 0;
            for (after, going) in steps {
                // All within one interval.
                now = (now + after).min(999);
                let going = going.min(left);
                if guard.allows(endpoints(left), endpoints(going), now, SETTINGS) {
                    left -= going;
                }
            }
            let gone = had - left;
            prop_assert!(gone <= 10 || gone * 2 <= had, "{} of {}", gone, had);
            if left > 0 {
                prop_assert!(guard.allows(endpoints(left), endpoints(1), now + 10_000, SETTINGS));
            }
            prop_assert!(guard.most.len() <= 12);
        }
    }
}
