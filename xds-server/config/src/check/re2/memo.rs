//! Verdicts that are remembered: the same objects are read again and again.

use std::{
    collections::HashMap,
    sync::{LazyLock, Mutex, PoisonError},
};

use super::Examined;

/// Bytes of texts in one generation, with what each entry costs beside its text.
const BYTES_MAX: usize = 1 << 20;
const ENTRY_BYTES: usize = 96;

static MEMO: LazyLock<Mutex<Memo>> = LazyLock::new(Mutex::default);

/// What is remembered of a text; what `examine` finds if that is nothing.
pub(super) fn recall(text: &str, examine: impl FnOnce(&str) -> Examined) -> Examined {
    let memo = || MEMO.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = memo().get(text) {
        return known;
    }
    // Others go on meanwhile.
    let found = examine(text);
    memo().put(text, found);
    found
}

/// Two generations: when the young one is full, the old one is forgotten, but for what was asked for since.
#[derive(Debug, Default)]
struct Memo {
    young: HashMap<Box<str>, Examined>,
    old: HashMap<Box<str>, Examined>,
    bytes: usize,
}

impl Memo {
    fn get(&mut self, text: &str) -> Option<Examined> {
        if let Some(known) = self.young.get(text) {
            return Some(*known);
        }
        let known = self.old.remove(text)?;
        self.put(text, known);
        Some(known)
    }

    fn put(&mut self, text: &str, found: Examined) {
        let size = text.len() + ENTRY_BYTES;
        if self.bytes + size > BYTES_MAX {
            self.old = std::mem::take(&mut self.young);
            self.bytes = 0;
        }
        if self.young.insert(text.into(), found).is_none() {
            self.bytes += size;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::re2::Refused;

    fn found(steps: usize) -> Examined {
        Examined { verdict: Err(Refused::TooLarge), steps }
    }

    #[test]
    fn what_is_asked_for_again_is_examined_once() {
        let text = "what_is_asked_for_again_is_examined_once";
        assert_eq!(recall(text, |_| found(7)), found(7));
        assert_eq!(recall(text, |_| panic!("it is known")), found(7));
    }

    #[test]
    fn memory_is_bounded_and_keeps_what_is_used() {
        let mut memo = Memo::default();
        memo.put("used", found(1));
        for n in 0..100_000 {
            memo.put(&format!("{n:0>100}"), found(n));
            assert_eq!(memo.get("used"), Some(found(1)));
            assert!(
                memo.bytes <= BYTES_MAX && memo.young.len() + memo.old.len() <= 2 * BYTES_MAX / ENTRY_BYTES
            );
        }
        assert_eq!(memo.get(&format!("{:0>100}", 0)), None);
    }
}
