//! Memos with tracked reads.
//!
//! A memo's compute function can reach the world only through a [`Reader`], which records every fact that is
//! read, also those that are not there. A change names the facts that differ; the reverse index names the memos
//! that read them; only these are computed again, and where the value is equal nothing follows (early cut-off).
//! Nothing is declared by hand, so nothing can be forgotten.

mod reader;

#[cfg(test)]
pub(crate) use reader::planted;

use std::{
    collections::{BTreeSet, HashMap},
    fmt::Debug,
    hash::Hash,
};

use lateen_registry::{FactKey, World};
use lateen_xds::Names;

pub use reader::Reader;

/// Number of a memo. Used again after the memo was dropped.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct MemoId(u32);

/// What memos are of: their keys, their values, how a value is computed.
pub trait Program {
    /// Names a memo.
    type Key: Clone + Eq + Hash + Debug;
    /// What it holds.
    type Value: PartialEq + Debug;
    /// What a computation needs besides facts and key.
    type Context;

    /// Computes a value. It must depend on nothing but `key`, `context` and what it reads through `reader`.
    fn compute(context: &Self::Context, key: &Self::Key, reader: &mut Reader<'_>) -> Self::Value;
}

#[derive(Debug)]
struct Memo<K, V> {
    key: K,
    value: Option<V>,
    /// Sorted, without duplicates.
    reads: Box<[u32]>,
    holders: u32,
}

/// What became of an evaluation.
#[derive(Debug, PartialEq, Eq)]
pub enum Evaluated<V> {
    /// The value is equal to the one before.
    Same,
    /// It differs; the value before, if there was one.
    Changed(Option<V>),
}

/// All memos of a program.
#[derive(Debug)]
pub struct Graph<P: Program> {
    memos: Vec<Option<Memo<P::Key, P::Value>>>,
    free: Vec<MemoId>,
    by_key: HashMap<P::Key, MemoId>,
    facts: FactIndex,
    /// Evaluations until now: what a change costs, for tests and benchmarks.
    evaluations: u64,
}

/// The reverse index: which memos read a fact.
#[derive(Debug, Default)]
struct FactIndex {
    ids: HashMap<FactKey, u32>,
    /// By fact id.
    keys: Vec<Option<FactKey>>,
    readers: Vec<BTreeSet<MemoId>>,
    free: Vec<u32>,
}

impl<P: Program> Default for Graph<P> {
    fn default() -> Self {
        Self {
            memos: Vec::new(),
            free: Vec::new(),
            by_key: HashMap::new(),
            facts: FactIndex::default(),
            evaluations: 0,
        }
    }
}

impl<P: Program> Graph<P> {
    /// Holds the memo of `key`; true when it is new and has no value yet.
    pub fn hold(&mut self, key: P::Key) -> (MemoId, bool) {
        if let Some(id) = self.by_key.get(&key).copied() {
            self.memo_mut(id).holders += 1;
            return (id, false);
        }
        let memo = Memo { key: key.clone(), value: None, reads: Box::default(), holders: 1 };
        let id = if let Some(id) = self.free.pop() {
            if let Some(slot) = self.memos.get_mut(id.0 as usize) {
                *slot = Some(memo);
            }
            id
        } else {
            self.memos.push(Some(memo));
            MemoId(u32::try_from(self.memos.len() - 1).expect("invariant: fewer than 2^32 memos"))
        };
        self.by_key.insert(key, id);
        (id, true)
    }

    /// Lets go of a memo; without a holder it is dropped.
    pub fn release(&mut self, id: MemoId) {
        let memo = self.memo_mut(id);
        memo.holders -= 1;
        if memo.holders > 0 {
            return;
        }
        if let Some(memo) = self.memos.get_mut(id.0 as usize).and_then(Option::take) {
            self.by_key.remove(&memo.key);
            memo.reads.iter().for_each(|fact| self.facts.forget(*fact, id));
            self.free.push(id);
        }
    }

    /// The memo's key.
    pub fn key(&self, id: MemoId) -> &P::Key {
        &self.memo(id).key
    }

    /// The memo's value, once it was evaluated.
    pub fn value(&self, id: MemoId) -> Option<&P::Value> {
        self.memo(id).value.as_ref()
    }

    /// Is there such a memo now?
    pub fn is_live(&self, id: MemoId) -> bool {
        self.memos.get(id.0 as usize).is_some_and(Option::is_some)
    }

    /// The memo of a key, if one is held.
    pub fn find(&self, key: &P::Key) -> Option<MemoId> {
        self.by_key.get(key).copied()
    }

    /// The memos that read any of these facts.
    pub fn readers<'a>(&self, facts: impl IntoIterator<Item = &'a FactKey>) -> BTreeSet<MemoId> {
        facts.into_iter().filter_map(|fact| self.facts.readers_of(fact)).flatten().copied().collect()
    }

    /// Computes the memo's value anew.
    pub fn evaluate(
        &mut self,
        id: MemoId,
        world: &World,
        names: &mut Names,
        context: &P::Context,
    ) -> Evaluated<P::Value> {
        self.evaluations += 1;
        let mut reader = Reader::new(world, names);
        let value = P::compute(context, &self.memo(id).key, &mut reader);
        let reads = reader.into_reads();
        self.index(id, reads);
        let memo = self.memo_mut(id);
        if memo.value.as_ref() == Some(&value) {
            return Evaluated::Same;
        }
        Evaluated::Changed(memo.value.replace(value))
    }

    /// Puts an equal value, which others share, in place of the memo's own.
    pub fn exchange(&mut self, id: MemoId, value: P::Value) {
        debug_assert!(self.memo(id).value.as_ref() == Some(&value), "invariant: an exchanged value is equal");
        self.memo_mut(id).value = Some(value);
    }

    /// How many evaluations there were.
    pub fn evaluations(&self) -> u64 {
        self.evaluations
    }

    /// How many memos there are.
    pub fn len(&self) -> usize {
        self.by_key.len()
    }

    /// Is there none?
    pub fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }

    /// Writes the reads of an evaluation into the reverse index; usually they are those of the last one.
    fn index(&mut self, id: MemoId, reads: Vec<FactKey>) {
        let mut now: Vec<u32> = reads.into_iter().map(|fact| self.facts.id(fact)).collect();
        now.sort_unstable();
        now.dedup();
        let before = std::mem::take(&mut self.memo_mut(id).reads);
        if *before != *now {
            for fact in now.iter().filter(|fact| before.binary_search(fact).is_err()) {
                self.facts.note(*fact, id);
            }
            for fact in before.iter().filter(|fact| now.binary_search(fact).is_err()) {
                self.facts.forget(*fact, id);
            }
        }
        self.memo_mut(id).reads = now.into();
    }

    fn memo(&self, id: MemoId) -> &Memo<P::Key, P::Value> {
        self.memos.get(id.0 as usize).and_then(Option::as_ref).expect("invariant: ids in use are held")
    }

    fn memo_mut(&mut self, id: MemoId) -> &mut Memo<P::Key, P::Value> {
        self.memos.get_mut(id.0 as usize).and_then(Option::as_mut).expect("invariant: ids in use are held")
    }
}

impl FactIndex {
    fn id(&mut self, key: FactKey) -> u32 {
        if let Some(id) = self.ids.get(&key) {
            return *id;
        }
        let id = self.free.pop().unwrap_or_else(|| {
            self.keys.push(None);
            self.readers.push(BTreeSet::new());
            u32::try_from(self.keys.len() - 1).expect("invariant: fewer than 2^32 facts")
        });
        if let Some(slot) = self.keys.get_mut(id as usize) {
            *slot = Some(key.clone());
        }
        self.ids.insert(key, id);
        id
    }

    fn readers_of(&self, key: &FactKey) -> Option<&BTreeSet<MemoId>> {
        self.readers.get(*self.ids.get(key)? as usize)
    }

    fn note(&mut self, fact: u32, reader: MemoId) {
        if let Some(readers) = self.readers.get_mut(fact as usize) {
            readers.insert(reader);
        }
    }

    fn forget(&mut self, fact: u32, reader: MemoId) {
        let Some(readers) = self.readers.get_mut(fact as usize) else { return };
        readers.remove(&reader);
        if readers.is_empty()
            && let Some(key) = self.keys.get_mut(fact as usize).and_then(Option::take)
        {
            self.ids.remove(&key);
            self.free.push(fact);
        }
    }
}

#[cfg(test)]
mod tests;
