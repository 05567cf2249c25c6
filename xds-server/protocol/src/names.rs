//! Interned resource names: what a stream holds is kept as pairs of numbers, not as maps of strings.

use std::{collections::HashMap, sync::Arc};

use crate::held::Common;

/// A resource name, interned. Ids are local to one [`Names`] and never reach output.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct NameId(u32);

impl NameId {
    /// Position in tables that are indexed by name.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// The interner. Names that clients made up are swept by [`Names::sweep`], so that the table is bounded by
/// what is served and what connected streams subscribe to.
#[derive(Debug, Default)]
pub struct Names {
    by_text: HashMap<Arc<str>, NameId>,
    by_id: Vec<Option<Arc<str>>>,
    free: Vec<NameId>,
    /// What streams hold under these ids, kept once.
    pub(crate) common: Common,
}

impl Names {
    /// The id of `text`, made if there is none.
    pub fn intern(&mut self, text: &str) -> NameId {
        if let Some(id) = self.by_text.get(text) {
            return *id;
        }
        let shared: Arc<str> = text.into();
        let id = self.free.pop().unwrap_or_else(|| {
            self.by_id.push(None);
            NameId(u32::try_from(self.by_id.len() - 1).expect("invariant: fewer than 2^32 names"))
        });
        if let Some(slot) = self.by_id.get_mut(id.index()) {
            *slot = Some(shared.clone());
        }
        self.by_text.insert(shared, id);
        id
    }

    /// The id of `text` if it has one.
    pub fn find(&self, text: &str) -> Option<NameId> {
        self.by_text.get(text).copied()
    }

    /// The text of a live id.
    pub fn text(&self, id: NameId) -> &Arc<str> {
        self.by_id
            .get(id.index())
            .and_then(Option::as_ref)
            .expect("invariant: an id is swept only when nothing holds it")
    }

    /// How many names there are.
    pub fn len(&self) -> usize {
        self.by_text.len()
    }

    /// Is there none?
    pub fn is_empty(&self) -> bool {
        self.by_text.is_empty()
    }

    /// Forgets every name for which `live` is false. The caller answers for every holder of ids.
    pub fn sweep(&mut self, live: impl Fn(NameId) -> bool) {
        let (by_id, free) = (&mut self.by_id, &mut self.free);
        self.by_text.retain(|_, id| {
            let keep = live(*id);
            if !keep {
                if let Some(slot) = by_id.get_mut(id.index()) {
                    *slot = None;
                }
                free.push(*id);
            }
            keep
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn swept_ids_are_used_again() {
        let mut names = Names::default();
        let (a, b) = (names.intern("a"), names.intern("b"));
        names.sweep(|id| id == b);
        assert_eq!(names.find("a"), None);
        assert_eq!(names.intern("c"), a);
        assert_eq!(&**names.text(b), "b");
    }
}
