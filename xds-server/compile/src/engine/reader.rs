//! The only way from a compute function to facts and to other memos.

use super::{
    Program,
    graph::{Graph, Source},
};

/// Reads facts and memos, and records that it did.
#[derive(Debug)]
pub struct Reader<'a, P: Program> {
    graph: &'a mut Graph<P>,
    world: &'a P::World,
    tools: &'a mut P::Tools,
    /// Of the memo that is computed.
    level: u8,
    /// Perhaps repeatedly.
    reads: Vec<Source>,
}

impl<'a, P: Program> Reader<'a, P> {
    /// A reader that has read nothing.
    pub(super) fn new(
        graph: &'a mut Graph<P>,
        world: &'a P::World,
        tools: &'a mut P::Tools,
        level: u8,
    ) -> Self {
        Self { graph, world, tools, level, reads: Vec::new() }
    }

    /// What was read.
    pub(super) fn into_reads(self) -> Vec<Source> {
        self.reads
    }

    /// What the world says of a fact.
    pub fn fact(&mut self, fact: &P::Fact) -> Option<P::Cell> {
        if !forgotten(fact) {
            self.reads.push(self.graph.fact_source(fact));
        }
        P::look_up(self.world, fact)
    }

    /// The value of another memo, which is computed if it was not, or not since what it read has changed.
    ///
    /// # Panics
    ///
    /// If its level is not below that of the memo that is computed.
    pub fn memo(&mut self, key: &P::Key) -> P::Value {
        assert!(P::level(key) < self.level, "invariant: memos read memos of lower levels only, not {key:?}");
        let (source, value) = self.graph.demand(key, self.world, self.tools);
        if !forgotten(key) {
            self.reads.push(source);
        }
        value
    }

    /// What computations use without depending on it.
    pub fn tools(&mut self) -> &mut P::Tools {
        self.tools
    }
}

#[cfg(not(test))]
const fn forgotten<T>(_: &T) -> bool {
    false
}

/// Tests plant a read that is not recorded, and must find that out.
#[cfg(test)]
fn forgotten(key: &impl std::fmt::Debug) -> bool {
    planted::FORGET.with_borrow(|forget| forget.is_some_and(|forget| forget(&format!("{key:?}"))))
}

#[cfg(test)]
pub(crate) mod planted {
    use std::cell::RefCell;

    /// Says of a read whether it goes unrecorded, by the key's `Debug` form.
    pub(crate) type Forget = fn(&str) -> bool;

    thread_local! {
        /// Which reads go unrecorded.
        pub(crate) static FORGET: RefCell<Option<Forget>> = const { RefCell::new(None) };
    }
}
