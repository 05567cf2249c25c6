//! Large changes and new views are compiled in portions, a turn each: nobody waits for them but who asked.

use std::time::Duration;

/// Up to so many cells of a change, and members of a table, are taken over at once.
pub(super) const AT_ONCE: usize = 512;

/// How long the portion of a turn should take.
const TURN: Duration = Duration::from_millis(20);

/// How large the portion of a turn is: as the last ones took their time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Pace(usize);

impl Pace {
    const MIN: usize = 16;
    const MAX: usize = 1 << 16;

    pub(super) fn portion(self) -> usize {
        self.0
    }

    /// A portion of this size took so long.
    pub(super) fn took(&mut self, time: Duration) {
        let next = if time > 2 * TURN {
            self.0 / 2
        } else if time < TURN / 2 {
            self.0 * 2
        } else {
            self.0
        };
        self.0 = next.clamp(Self::MIN, Self::MAX);
    }
}

impl Default for Pace {
    fn default() -> Self {
        Self(AT_ONCE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn portions_follow_what_they_take() {
        let mut pace = Pace::default();
        pace.took(TURN);
        assert_eq!(pace.portion(), AT_ONCE);
        pace.took(TURN * 3);
        assert_eq!(pace.portion(), AT_ONCE / 2);
        (0..64).for_each(|_| pace.took(Duration::ZERO));
        assert_eq!(pace.portion(), Pace::MAX);
        (0..64).for_each(|_| pace.took(TURN * 3));
        assert_eq!(pace.portion(), Pace::MIN);
    }
}
