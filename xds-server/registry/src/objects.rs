//! All objects of all sources by their keys: which one counts where there are several.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use lateen_config::{Kind, ObjectKey};
use lateen_model::{Diagnostic, Severity};

use crate::{codes, entry::Entry};

/// The object that counts under a key, before and after.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    pub(crate) before: Option<Arc<Entry>>,
    pub(crate) after: Option<Arc<Entry>>,
}

impl Change {
    pub(crate) fn key(&self) -> Option<&ObjectKey> {
        self.before.as_ref().or(self.after.as_ref()).map(|entry| &entry.object.key)
    }
}

/// What one place said about a key, and says now.
pub(crate) type Replaced = (Option<Arc<Entry>>, Option<Arc<Entry>>);

/// Objects by key, each in precedence order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Objects {
    by_key: HashMap<ObjectKey, Vec<Arc<Entry>>>,
    /// Findings about those that don't count.
    conflicts: BTreeMap<ObjectKey, Vec<Diagnostic>>,
}

impl Objects {
    /// Replaces what one place said about a key, and tells if another object counts now, or says something else.
    pub(crate) fn replace(&mut self, old: Option<&Arc<Entry>>, new: Option<Arc<Entry>>) -> Option<Change> {
        let key = old.or(new.as_ref())?.object.key.clone();
        let all = self.by_key.entry(key.clone()).or_default();
        let before = all.first().cloned();
        if let Some(old) = old {
            all.retain(|entry| !Arc::ptr_eq(entry, old));
        }
        if let Some(new) = new {
            let at = all.partition_point(|entry| entry.precedence <= new.precedence);
            all.insert(at, new);
        }
        let after = all.first().cloned();
        self.note_conflicts(&key);
        match (&before, &after) {
            (None, None) => None,
            (Some(before), Some(after)) if Arc::ptr_eq(before, after) || before.same(after) => None,
            _ => Some(Change { before, after }),
        }
    }

    fn note_conflicts(&mut self, key: &ObjectKey) {
        let Some(all) = self.by_key.get(key) else { return };
        match all.as_slice() {
            [] => {
                self.by_key.remove(key);
                self.conflicts.remove(key);
            }
            [_] => {
                self.conflicts.remove(key);
            }
            [first, others @ ..] => {
                let findings = others.iter().map(|other| duplicate(first, other)).collect();
                self.conflicts.insert(key.clone(), findings);
            }
        }
    }

    /// The objects of a kind that count.
    pub(crate) fn of_kind(&self, kind: Kind) -> impl Iterator<Item = &Arc<Entry>> {
        self.all().filter(move |entry| entry.object.key.kind == kind)
    }

    /// The objects that count, in no order.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<Entry>> {
        self.by_key.values().filter_map(|all| all.first())
    }

    pub(crate) fn findings(&self) -> impl Iterator<Item = &Diagnostic> {
        self.conflicts.values().flatten()
    }
}

fn duplicate(first: &Entry, other: &Entry) -> Diagnostic {
    let (counts, place) = (&first.object.origin, &other.object.origin);
    let of = if counts.source == place.source { String::new() } else { format!(" of {}", counts.source) };
    Diagnostic {
        code: codes::DUPLICATE,
        severity: Severity::Error,
        object: Some(other.object.key.to_ref()),
        origin: Some(place.clone()),
        path: String::new(),
        message: format!("the object also stands in {counts}{of}, and only that one counts"),
        hint: Some("remove one of the two, or give them different names".to_owned()),
    }
}
