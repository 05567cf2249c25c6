//! All memos of a program, and what is to be computed.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use super::{MemoId, Program, Reader, facts::FactIndex};

/// Something that a memo read: a fact or a memo, by number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Source(u32);

impl Source {
    const MEMO: u32 = 1 << 31;

    fn fact(id: u32) -> Self {
        debug_assert!(id < Self::MEMO, "invariant: fewer than 2^31 facts");
        Self(id)
    }

    fn memo(id: MemoId) -> Self {
        Self(id.0 | Self::MEMO)
    }

    fn as_memo(self) -> Option<MemoId> {
        (self.0 & Self::MEMO != 0).then_some(MemoId(self.0 & !Self::MEMO))
    }
}

#[derive(Debug)]
struct Memo<P: Program> {
    key: P::Key,
    value: Option<P::Value>,
    /// What the last computation read: sorted, without duplicates.
    reads: Box<[Source]>,
    /// The memos that read it.
    readers: BTreeSet<MemoId>,
    /// How often it is held from outside.
    holders: u32,
}

impl<P: Program> Memo<P> {
    fn is_needed(&self) -> bool {
        self.holders > 0 || !self.readers.is_empty()
    }
}

/// A memo that has another value now.
#[derive(Debug, PartialEq, Eq)]
pub struct Change<V> {
    /// Which one.
    pub id: MemoId,
    /// The value before, if there was one.
    pub before: Option<V>,
}

/// All memos of a program.
#[derive(Debug)]
pub struct Graph<P: Program> {
    memos: Vec<Option<Memo<P>>>,
    free: Vec<MemoId>,
    by_key: HashMap<P::Key, MemoId>,
    facts: FactIndex<P::Fact>,
    /// What is contributed to collections, each element with how often. A collection is held as long as it is here.
    contents: HashMap<MemoId, BTreeMap<P::Element, u32>>,
    /// What is to be computed, by level.
    queue: BTreeSet<(u8, MemoId)>,
    /// What was computed and is not told yet.
    changed: VecDeque<Change<P::Value>>,
    /// Memos that perhaps nobody needs.
    orphans: Vec<MemoId>,
    /// Memos that are gone, whose numbers are not free yet.
    gone: Vec<MemoId>,
    /// Computations until now: what a change costs, for tests and benchmarks.
    evaluations: u64,
}

impl<P: Program> Default for Graph<P> {
    fn default() -> Self {
        Self {
            memos: Vec::new(),
            free: Vec::new(),
            by_key: HashMap::new(),
            facts: FactIndex::default(),
            contents: HashMap::new(),
            queue: BTreeSet::new(),
            changed: VecDeque::new(),
            orphans: Vec::new(),
            gone: Vec::new(),
            evaluations: 0,
        }
    }
}

impl<P: Program> Graph<P> {
    /// Holds the memo of `key`. A new one is computed by the next [`Graph::step`]s.
    #[allow(clippy::needless_pass_by_value, reason = "keys are made for this call")]
    pub fn hold(&mut self, key: P::Key) -> MemoId {
        let (id, is_new) = self.enter(&key);
        self.memo_mut(id).holders += 1;
        if is_new {
            self.queue.insert((P::level(&key), id));
        }
        id
    }

    /// Lets go of a memo that was held.
    pub fn release(&mut self, id: MemoId) {
        let memo = self.memo_mut(id);
        memo.holders -= 1;
        if !memo.is_needed() {
            self.orphans.push(id);
        }
    }

    /// Sets an input, and holds it until [`Graph::unset`].
    pub fn set(&mut self, key: &P::Key, value: P::Value) {
        let (id, _) = self.enter(key);
        let memo = self.memo_mut(id);
        memo.holders = 1;
        if memo.value.as_ref() != Some(&value) {
            memo.value = Some(value);
            self.queue_readers(id);
        }
    }

    /// Lets go of an input. It keeps its value as long as memos read it.
    pub fn unset(&mut self, key: &P::Key) {
        let Some(id) = self.find(key) else { return };
        self.memo_mut(id).holders = 0;
        self.orphans.push(id);
    }

    /// What read these facts is computed by the next [`Graph::step`]s.
    pub fn invalidate<'a>(&mut self, facts: impl IntoIterator<Item = &'a P::Fact>)
    where
        P::Fact: 'a,
    {
        for fact in facts {
            for id in self.facts.readers(fact) {
                if let Some(memo) = self.memos.get(id.0 as usize).and_then(Option::as_ref) {
                    self.queue.insert((P::level(&memo.key), id));
                }
            }
        }
    }

    /// Computes what is to be computed until something has another value, and tells of it; `None` when nothing is
    /// left.
    pub fn step(&mut self, world: &P::World, tools: &mut P::Tools) -> Option<Change<P::Value>> {
        loop {
            if let Some(change) = self.changed.pop_front() {
                return Some(change);
            }
            // What is gone contributes nothing to what is computed next.
            self.remove_orphans();
            let (_, id) = self.queue.pop_first()?;
            self.evaluate(id, world, tools);
        }
    }

    /// Drops what nobody needs; the memos that are gone since the last call. To be called when [`Graph::step`] has
    /// nothing left to tell.
    pub fn collect(&mut self) -> Vec<MemoId> {
        debug_assert!(self.changed.is_empty(), "invariant: all changes were told");
        self.remove_orphans();
        self.facts.sweep();
        self.free.extend_from_slice(&self.gone);
        std::mem::take(&mut self.gone)
    }

    /// The memo's key.
    pub fn key(&self, id: MemoId) -> &P::Key {
        &self.memo(id).key
    }

    /// The memo's value, once it was computed.
    pub fn value(&self, id: MemoId) -> Option<&P::Value> {
        self.memo(id).value.as_ref()
    }

    /// Is there such a memo now?
    pub fn is_live(&self, id: MemoId) -> bool {
        self.memos.get(id.0 as usize).is_some_and(Option::is_some)
    }

    /// The memo of a key, if there is one.
    pub fn find(&self, key: &P::Key) -> Option<MemoId> {
        self.by_key.get(key).copied()
    }

    /// Puts an equal value, which others share, in place of the memo's own.
    pub fn exchange(&mut self, id: MemoId, value: P::Value) {
        debug_assert!(self.memo(id).value.as_ref() == Some(&value), "invariant: an exchanged value is equal");
        self.memo_mut(id).value = Some(value);
    }

    /// How many computations there were.
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

    /// The number of a fact that is read.
    pub(super) fn fact_source(&mut self, fact: &P::Fact) -> Source {
        Source::fact(self.facts.id(fact))
    }

    /// The value of a memo that another one reads.
    pub(super) fn demand(
        &mut self,
        key: &P::Key,
        world: &P::World,
        tools: &mut P::Tools,
    ) -> (Source, P::Value) {
        let (id, is_new) = self.enter(key);
        if is_new {
            // Until the read is recorded nobody needs it.
            self.orphans.push(id);
        }
        let is_due = self.queue.remove(&(P::level(key), id));
        if is_due || self.memo(id).value.is_none() {
            self.evaluate(id, world, tools);
        }
        let value = self.memo(id).value.clone();
        (Source::memo(id), value.expect("invariant: what was computed has a value"))
    }

    fn enter(&mut self, key: &P::Key) -> (MemoId, bool) {
        if let Some(id) = self.by_key.get(key) {
            return (*id, false);
        }
        let (value, reads, readers) = (None, Box::default(), BTreeSet::new());
        let memo = Memo { key: key.clone(), value, reads, readers, holders: 0 };
        let id = if let Some(id) = self.free.pop() {
            if let Some(slot) = self.memos.get_mut(id.0 as usize) {
                *slot = Some(memo);
            }
            id
        } else {
            self.memos.push(Some(memo));
            let id = u32::try_from(self.memos.len() - 1).ok().filter(|id| *id < Source::MEMO);
            MemoId(id.expect("invariant: fewer than 2^31 memos"))
        };
        self.by_key.insert(key.clone(), id);
        (id, true)
    }

    fn evaluate(&mut self, id: MemoId, world: &P::World, tools: &mut P::Tools) {
        self.evaluations += 1;
        let key = self.memo(id).key.clone();
        let value = if let Some(elements) = self.contents.get(&id).filter(|elements| !elements.is_empty()) {
            P::collection(&key, &mut elements.keys())
        } else {
            if self.contents.remove(&id).is_some() {
                self.release(id);
            }
            let mut reader = Reader::new(self, world, tools, P::level(&key));
            let value = P::compute(&key, &mut reader);
            let reads = reader.into_reads();
            self.record(id, reads);
            value
        };
        if self.memo(id).value.as_ref() == Some(&value) {
            return;
        }
        self.contribute(&key, &value);
        let before = self.memo_mut(id).value.replace(value);
        if let Some(before) = &before {
            self.withdraw(&key, before);
        }
        self.queue_readers(id);
        self.changed.push_back(Change { id, before });
    }

    /// What the new value contributes is added before what the old one did is taken away: what both do stays.
    fn contribute(&mut self, key: &P::Key, value: &P::Value) {
        P::contributions(key, value, &mut |collection, element| {
            assert!(P::level(key) < P::level(&collection), "invariant: {key:?} is below {collection:?}");
            let (id, _) = self.enter(&collection);
            if let std::collections::hash_map::Entry::Vacant(e) = self.contents.entry(id) {
                e.insert(BTreeMap::new());
                self.memo_mut(id).holders += 1;
            }
            let Some(elements) = self.contents.get_mut(&id) else { return };
            if let Some(count) = elements.get_mut(element) {
                *count += 1;
            } else {
                elements.insert(element.clone(), 1);
                self.queue.insert((P::level(&collection), id));
            }
        });
    }

    fn withdraw(&mut self, key: &P::Key, value: &P::Value) {
        P::contributions(key, value, &mut |collection, element| {
            let Some(id) = self.find(&collection) else { return };
            let Some(elements) = self.contents.get_mut(&id) else { return };
            let Some(count) = elements.get_mut(element) else { return };
            *count -= 1;
            if *count == 0 {
                elements.remove(element);
                self.queue.insert((P::level(&collection), id));
            }
        });
    }

    fn queue_readers(&mut self, id: MemoId) {
        let Some(memo) = self.memos.get(id.0 as usize).and_then(Option::as_ref) else { return };
        for reader in &memo.readers {
            if let Some(reading) = self.memos.get(reader.0 as usize).and_then(Option::as_ref) {
                self.queue.insert((P::level(&reading.key), *reader));
            }
        }
    }

    /// Writes the reads of a computation into the reverse index; usually they are those of the last one.
    fn record(&mut self, id: MemoId, mut now: Vec<Source>) {
        now.sort_unstable();
        now.dedup();
        let before = std::mem::take(&mut self.memo_mut(id).reads);
        if *before == *now {
            self.memo_mut(id).reads = before;
            return;
        }
        for source in now.iter().filter(|source| before.binary_search(source).is_err()) {
            match source.as_memo() {
                Some(read) => drop(self.memo_mut(read).readers.insert(id)),
                None => self.facts.add(source.0, id),
            }
        }
        for source in before.iter().filter(|source| now.binary_search(source).is_err()) {
            self.forget(*source, id);
        }
        self.memo_mut(id).reads = now.into();
    }

    /// `reader` does not read it any more.
    fn forget(&mut self, source: Source, reader: MemoId) {
        let Some(read) = source.as_memo() else { return self.facts.remove(source.0, reader) };
        let memo = self.memo_mut(read);
        memo.readers.remove(&reader);
        if !memo.is_needed() {
            self.orphans.push(read);
        }
    }

    fn remove(&mut self, id: MemoId) {
        let Some(memo) = self.memos.get_mut(id.0 as usize).and_then(Option::take) else { return };
        self.by_key.remove(&memo.key);
        self.queue.remove(&(P::level(&memo.key), id));
        memo.reads.iter().for_each(|source| self.forget(*source, id));
        if let Some(value) = &memo.value {
            self.withdraw(&memo.key, value);
        }
        self.gone.push(id);
    }

    fn remove_orphans(&mut self) {
        while let Some(id) = self.orphans.pop() {
            if self.is_live(id) && !self.memo(id).is_needed() {
                self.remove(id);
            }
        }
    }

    fn memo(&self, id: MemoId) -> &Memo<P> {
        self.memos.get(id.0 as usize).and_then(Option::as_ref).expect("invariant: ids in use are live")
    }

    fn memo_mut(&mut self, id: MemoId) -> &mut Memo<P> {
        self.memos.get_mut(id.0 as usize).and_then(Option::as_mut).expect("invariant: ids in use are live")
    }
}
