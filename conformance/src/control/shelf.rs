//! What a server was told, by group: for protocols that tell whole states, and for telling again after a restart.

use std::collections::BTreeMap;

use super::{Change, Condition, ConditionState, RawResource, ResourceKey};

/// What one group was told.
#[derive(Clone, Debug, Default)]
pub(crate) struct Told {
    pub(crate) resources: BTreeMap<ResourceKey, RawResource>,
    conditions: BTreeMap<ResourceKey, ConditionState>,
    synced: Option<bool>,
}

impl Told {
    pub(crate) fn apply(&mut self, change: &Change) {
        let Change { put, remove, conditions, synced } = change;
        for key in remove {
            self.resources.remove(key);
        }
        for resource in put {
            self.resources.insert(resource.key(), resource.clone());
        }
        for Condition { key, state } in conditions {
            match state {
                Some(state) => self.conditions.insert(key.clone(), *state),
                None => self.conditions.remove(key),
            };
        }
        self.synced = synced.or(self.synced);
    }

    /// All of it as one change of an empty group.
    pub(crate) fn as_change(&self) -> Change {
        let condition = |(key, state): (&ResourceKey, &ConditionState)| Condition {
            key: key.clone(),
            state: Some(*state),
        };
        Change {
            put: self.resources.values().cloned().collect(),
            remove: Vec::new(),
            conditions: self.conditions.iter().map(condition).collect(),
            synced: self.synced,
        }
    }
}

/// What all groups were told.
#[derive(Clone, Debug, Default)]
pub struct Shelf(BTreeMap<String, Told>);

impl Shelf {
    /// Notes a change.
    pub fn apply(&mut self, group: &str, change: &Change) {
        self.0.entry(group.to_owned()).or_default().apply(change);
    }

    /// Forgets a group.
    pub fn clear(&mut self, group: &str) {
        self.0.remove(group);
    }

    /// Everything, group by group, as what is to be told to a server that knows nothing.
    pub fn all(&self) -> impl Iterator<Item = (&str, Change)> {
        self.0.iter().map(|(group, told)| (group.as_str(), told.as_change()))
    }

    pub(crate) fn of(&self, group: &str) -> Told {
        self.0.get(group).cloned().unwrap_or_default()
    }
}
