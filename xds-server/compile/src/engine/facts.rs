//! The reverse index: which memos read a fact.

use std::{
    collections::{BTreeSet, HashMap},
    hash::Hash,
};

use super::MemoId;

/// Facts that some memo reads, by number.
#[derive(Debug)]
pub(super) struct FactIndex<F> {
    ids: HashMap<F, u32>,
    /// By number.
    facts: Vec<Option<F>>,
    readers: Vec<BTreeSet<MemoId>>,
    free: Vec<u32>,
    /// Facts that perhaps nobody reads.
    unread: Vec<u32>,
}

impl<F> Default for FactIndex<F> {
    fn default() -> Self {
        Self {
            ids: HashMap::new(),
            facts: Vec::new(),
            readers: Vec::new(),
            free: Vec::new(),
            unread: Vec::new(),
        }
    }
}

impl<F: Clone + Eq + Hash> FactIndex<F> {
    /// The number of a fact that is about to be read.
    pub(super) fn id(&mut self, fact: &F) -> u32 {
        if let Some(id) = self.ids.get(fact) {
            return *id;
        }
        let id = self.free.pop().unwrap_or_else(|| {
            self.facts.push(None);
            self.readers.push(BTreeSet::new());
            u32::try_from(self.facts.len() - 1).expect("invariant: fewer than 2^31 facts")
        });
        if let Some(slot) = self.facts.get_mut(id as usize) {
            *slot = Some(fact.clone());
        }
        self.ids.insert(fact.clone(), id);
        id
    }

    /// Who reads a fact.
    pub(super) fn readers(&self, fact: &F) -> impl Iterator<Item = MemoId> + '_ {
        let readers = self.ids.get(fact).and_then(|id| self.readers.get(*id as usize));
        readers.into_iter().flatten().copied()
    }

    /// `reader` reads the fact of this number.
    pub(super) fn add(&mut self, fact: u32, reader: MemoId) {
        if let Some(readers) = self.readers.get_mut(fact as usize) {
            readers.insert(reader);
        }
    }

    /// `reader` reads it no longer.
    pub(super) fn remove(&mut self, fact: u32, reader: MemoId) {
        let Some(readers) = self.readers.get_mut(fact as usize) else { return };
        readers.remove(&reader);
        if readers.is_empty() {
            // Its number may be in the hands of a computation under way.
            self.unread.push(fact);
        }
    }

    /// Forgets the facts that nobody reads. Nothing is being computed.
    pub(super) fn sweep(&mut self) {
        for fact in std::mem::take(&mut self.unread) {
            if self.readers.get(fact as usize).is_some_and(BTreeSet::is_empty)
                && let Some(key) = self.facts.get_mut(fact as usize).and_then(Option::take)
            {
                self.ids.remove(&key);
                self.free.push(fact);
            }
        }
    }
}
