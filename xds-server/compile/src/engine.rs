//! Memos with tracked reads. Knows neither what facts are about nor what is computed from them.
//!
//! A memo's compute function reaches facts and other memos only through a [`Reader`], which records every read, also
//! of facts that are not there. A change names the facts that differ. The memos that read them are computed again,
//! those of lower levels first, and where a value is equal nothing follows (early cut-off). Nothing is declared by
//! hand, so nothing can be forgotten.
//!
//! - **Levels.** The level of a memo is a function of its key, and a memo reads only memos of lower levels: cycles
//!   can't be written, each memo is computed at most once a turn, and after everything that it reads.
//! - **Life.** A memo lives as long as somebody outside holds it or a memo reads it.
//! - **Collections** are memos that are made of what the values of other memos contribute. How often an element is
//!   contributed is counted here, and nowhere else.
//! - **Inputs** are memos whose value is set from outside: reads of them are tracked like all others.

mod facts;
mod graph;
mod reader;

#[cfg(test)]
mod tests;

use std::{fmt::Debug, hash::Hash};

pub use graph::{Change, Graph};
pub use reader::Reader;

#[cfg(test)]
pub(crate) use reader::planted;

/// Number of a memo. Used again once the memo's end was told by [`Graph::collect`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct MemoId(pub(crate) u32);

/// What memos are of: their keys, their values, how a value is computed.
pub trait Program: Sized {
    /// Where facts are.
    type World;
    /// Names a fact.
    type Fact: Clone + Eq + Hash + Debug;
    /// What a fact says.
    type Cell;
    /// What computations use without depending on it, such as an interner.
    type Tools;
    /// Names a memo.
    type Key: Clone + Eq + Hash + Debug;
    /// What a memo holds; cheap to clone.
    type Value: Clone + PartialEq + Debug;

    /// What collections are of.
    type Element: Clone + Ord + Debug;

    /// The level of a memo. It may depend on the kind of the key only.
    fn level(key: &Self::Key) -> u8;

    /// What the world says of a fact.
    fn look_up(world: &Self::World, fact: &Self::Fact) -> Option<Self::Cell>;

    /// Computes a value. It must depend on nothing but `key` and what it reads through `reader`. The value of a
    /// collection to which nothing is contributed is computed, too.
    fn compute(key: &Self::Key, reader: &mut Reader<'_, Self>) -> Self::Value;

    /// What a memo with this value contributes to collections, which are of higher levels.
    fn contributions(
        key: &Self::Key,
        value: &Self::Value,
        contribute: &mut dyn FnMut(Self::Key, &Self::Element),
    );

    /// The value of a collection: of its elements in order, each once.
    fn collection(key: &Self::Key, elements: &mut dyn Iterator<Item = &Self::Element>) -> Self::Value;
}
