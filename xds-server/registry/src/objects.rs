//! All objects of all sources by what makes them one: which one counts where there are several.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use lateen_config::{Kind, ObjectKey};
use lateen_model::{Diagnostic, Severity};

use crate::{
    codes,
    entry::{Entry, Identity},
};

/// The object that counts of those that are one, before and after.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    pub(crate) before: Option<Arc<Entry>>,
    pub(crate) after: Option<Arc<Entry>>,
}

impl Change {
    pub(crate) fn key(&self) -> Option<&ObjectKey> {
        self.before.as_ref().or(self.after.as_ref()).map(|entry| &entry.object.key)
    }

    pub(crate) fn identity(&self) -> Option<Identity> {
        self.before.as_ref().or(self.after.as_ref()).map(|entry| entry.identity())
    }
}

/// What one place said about a key, and says now.
pub(crate) type Replaced = (Option<Arc<Entry>>, Option<Arc<Entry>>);

/// Objects by identity, each in precedence order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Objects {
    by_identity: HashMap<Identity, Vec<Arc<Entry>>>,
    /// Findings about those that don't count.
    conflicts: BTreeMap<Identity, Vec<Diagnostic>>,
}

impl Objects {
    /// Replaces what one place said about a key, and tells where another object counts now, or says something else.
    pub(crate) fn replace(&mut self, old: Option<&Arc<Entry>>, new: Option<Arc<Entry>>) -> Vec<Change> {
        let identity = |entry: &Arc<Entry>| entry.identity();
        let changes = match (old, new) {
            // An object takes the place of what stood in for it.
            (Some(old), Some(new)) if identity(old) != identity(&new) => {
                [self.replace_one(Some(old), None), self.replace_one(None, Some(new))]
            }
            (old, new) => [self.replace_one(old, new), None],
        };
        changes.into_iter().flatten().collect()
    }

    /// The same where both are one.
    fn replace_one(&mut self, old: Option<&Arc<Entry>>, new: Option<Arc<Entry>>) -> Option<Change> {
        let identity = old.or(new.as_ref())?.identity();
        let all = self.by_identity.entry(identity.clone()).or_default();
        let before = all.first().cloned();
        if let Some(old) = old {
            all.retain(|entry| !Arc::ptr_eq(entry, old));
        }
        if let Some(new) = new {
            let at = all.partition_point(|entry| entry.precedence <= new.precedence);
            // Nearly always it is the only one.
            all.reserve_exact(1);
            all.insert(at, new);
        }
        let after = all.first().cloned();
        self.note_conflicts(&identity);
        match (&before, &after) {
            (None, None) => None,
            (Some(before), Some(after)) if Arc::ptr_eq(before, after) || before.same(after) => None,
            _ => Some(Change { before, after }),
        }
    }

    /// Takes out all objects of a key but those that are proposed, by their rank.
    pub(crate) fn supersede(&mut self, key: &ObjectKey, proposed: u32) -> Vec<Change> {
        let identities: Vec<Identity> =
            self.by_identity.keys().filter(|identity| identity.key == *key).cloned().collect();
        let mut changes = Vec::new();
        for identity in identities {
            let Some(all) = self.by_identity.get_mut(&identity) else { continue };
            let before = all.first().cloned();
            all.retain(|entry| entry.precedence.rank == proposed);
            let after = all.first().cloned();
            self.note_conflicts(&identity);
            if after.is_none() {
                changes.push(Change { before, after });
            }
        }
        changes
    }

    fn note_conflicts(&mut self, identity: &Identity) {
        let Some(all) = self.by_identity.get(identity) else { return };
        match all.as_slice() {
            [] => {
                self.by_identity.remove(identity);
                self.conflicts.remove(identity);
            }
            [_] => {
                self.conflicts.remove(identity);
            }
            [first, others @ ..] => {
                let findings = others.iter().map(|other| duplicate(first, other)).collect();
                self.conflicts.insert(identity.clone(), findings);
            }
        }
    }

    /// The object that counts under a key, of a kind of which all sources have one.
    pub(crate) fn get(&self, key: &ObjectKey) -> Option<&Arc<Entry>> {
        self.by_identity.get(&Identity::new(0, key.clone()))?.first()
    }

    /// The good objects of these that count, of all sources.
    pub(crate) fn good<'a>(
        &'a self,
        which: impl Fn(&ObjectKey) -> bool + 'a,
    ) -> impl Iterator<Item = &'a Arc<Entry>> + 'a {
        self.all().filter(move |entry| !entry.stands_in && which(&entry.object.key))
    }

    /// The objects of a kind that count.
    pub(crate) fn of_kind(&self, kind: Kind) -> impl Iterator<Item = &Arc<Entry>> {
        self.all().filter(move |entry| entry.object.key.kind == kind)
    }

    /// The objects that count, in no order.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<Entry>> {
        self.by_identity.values().filter_map(|all| all.first())
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
