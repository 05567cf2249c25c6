//! Multi-maps in precedence order, and sets that count.

use std::{
    collections::{BTreeMap, HashMap},
    hash::Hash,
};

use crate::{Precedence, few::Few};

/// Rows of values, each row in precedence order.
#[derive(Clone, Debug)]
pub(crate) struct Index<K, V> {
    rows: HashMap<K, Few<Precedence, V>>,
}

impl<K, V> Default for Index<K, V> {
    fn default() -> Self {
        Self { rows: HashMap::new() }
    }
}

impl<K: Eq + Hash, V> Index<K, V> {
    pub(crate) fn insert(&mut self, key: K, precedence: Precedence, value: V) {
        self.rows.entry(key).or_default().insert(precedence, value);
    }

    /// Takes out a value; `None` if it was not there.
    pub(crate) fn remove(&mut self, key: &K, precedence: &Precedence) -> Option<V> {
        let row = self.rows.get_mut(key)?;
        let removed = row.remove(precedence);
        if row.is_empty() {
            self.rows.remove(key);
        }
        removed
    }

    /// How many values the row has.
    pub(crate) fn count(&self, key: &K) -> usize {
        self.rows.get(key).map_or(0, Few::len)
    }

    /// The values of a row in precedence order.
    pub(crate) fn row(&self, key: &K) -> impl Iterator<Item = &V> {
        self.rows.get(key).into_iter().flat_map(Few::values)
    }

    /// The positions of a row's values, in order.
    pub(crate) fn positions(&self, key: &K) -> impl Iterator<Item = &Precedence> {
        self.rows.get(key).into_iter().flat_map(Few::keys)
    }

    /// The values of a row as a shared list; none when there are none.
    pub(crate) fn list<L: FromIterator<V>>(&self, key: &K) -> Option<L>
    where
        V: Clone,
    {
        Some(self.rows.get(key)?.values().cloned().collect())
    }
}

/// A set whose elements leave when they were removed as often as they were added.
#[derive(Clone, Debug)]
pub(crate) struct Counted<T> {
    counts: BTreeMap<T, usize>,
}

impl<T> Default for Counted<T> {
    fn default() -> Self {
        Self { counts: BTreeMap::new() }
    }
}

impl<T: Ord> Counted<T> {
    pub(crate) fn add(&mut self, element: T) {
        *self.counts.entry(element).or_default() += 1;
    }

    pub(crate) fn remove(&mut self, element: &T) {
        if let Some(count) = self.counts.get_mut(element) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(element);
            }
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    pub(crate) fn elements(&self) -> impl Iterator<Item = &T> {
        self.counts.keys()
    }
}
