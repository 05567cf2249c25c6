//! Ordered maps that nearly always have one element.

use std::collections::BTreeMap;

/// An ordered map. The first node of a `BTreeMap` has room for eleven elements: in an index with ten thousand rows of
/// one element each, this takes a tenth of the memory. A set is one without values.
#[derive(Clone, PartialEq, Debug, Default)]
pub(crate) enum Few<K, V = ()> {
    #[default]
    None,
    One(K, V),
    /// Two at least.
    More(BTreeMap<K, V>),
}

impl<K: Ord, V> Few<K, V> {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::None => 0,
            Self::One(..) => 1,
            Self::More(all) => all.len(),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        matches!(self, Self::None)
    }

    pub(crate) fn get(&self, key: &K) -> Option<&V> {
        match self {
            Self::One(one, value) if one == key => Some(value),
            Self::None | Self::One(..) => None,
            Self::More(all) => all.get(key),
        }
    }

    pub(crate) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        match self {
            Self::One(one, value) if one == key => Some(value),
            Self::None | Self::One(..) => None,
            Self::More(all) => all.get_mut(key),
        }
    }

    /// Inserts an element and returns the value that the key had.
    pub(crate) fn insert(&mut self, key: K, value: V) -> Option<V> {
        match std::mem::take(self) {
            Self::None => *self = Self::One(key, value),
            Self::One(one, before) if one == key => {
                *self = Self::One(key, value);
                return Some(before);
            }
            Self::One(one, other) => *self = Self::More(BTreeMap::from([(one, other), (key, value)])),
            Self::More(mut all) => {
                let before = all.insert(key, value);
                *self = Self::More(all);
                return before;
            }
        }
        None
    }

    /// Takes out an element; `None` if it was not there.
    pub(crate) fn remove(&mut self, key: &K) -> Option<V> {
        match std::mem::take(self) {
            Self::None => None,
            Self::One(one, value) if one == *key => Some(value),
            Self::One(one, value) => {
                *self = Self::One(one, value);
                None
            }
            Self::More(mut all) => {
                let removed = all.remove(key);
                let last = if all.len() == 1 { all.pop_first() } else { None };
                *self = last.map_or(Self::More(all), |(one, value)| Self::One(one, value));
                removed
            }
        }
    }

    /// The elements in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        let (one, more) = match self {
            Self::None => (None, None),
            Self::One(key, value) => (Some((key, value)), None),
            Self::More(all) => (None, Some(all)),
        };
        one.into_iter().chain(more.into_iter().flatten())
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = &K> {
        self.iter().map(|(key, _)| key)
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &V> {
        self.iter().map(|(_, value)| value)
    }

    /// The values in order of their keys.
    pub(crate) fn into_values(self) -> impl Iterator<Item = V> {
        let (one, more) = match self {
            Self::None => (None, None),
            Self::One(_, value) => (Some(value), None),
            Self::More(all) => (None, Some(all.into_values())),
        };
        one.into_iter().chain(more.into_iter().flatten())
    }
}

impl<K: Ord, V> FromIterator<(K, V)> for Few<K, V> {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(elements: I) -> Self {
        let mut all = Self::None;
        for (key, value) in elements {
            all.insert(key, value);
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::Few;

    proptest! {
        #[test]
        fn it_is_an_ordered_map(acts in prop::collection::vec((any::<bool>(), 0..4u8, any::<u8>()), 0..40)) {
            let (mut few, mut model) = (Few::default(), BTreeMap::new());
            for (is_insert, key, value) in acts {
                if is_insert {
                    prop_assert_eq!(few.insert(key, value), model.insert(key, value));
                } else {
                    prop_assert_eq!(few.remove(&key), model.remove(&key));
                }
                prop_assert!(few.iter().eq(model.iter()));
                prop_assert_eq!((few.len(), few.is_empty()), (model.len(), model.is_empty()));
                prop_assert_eq!(&few, &model.clone().into_iter().collect::<Few<_, _>>());
                prop_assert!((0..4).all(|key| few.get(&key) == model.get(&key)));
            }
        }
    }

    #[test]
    fn one_element_takes_the_place_of_one() {
        assert!(size_of::<Few<[u64; 9], u64>>() <= 10 * size_of::<u64>() + size_of::<u64>());
    }
}
