//! Policies, by kind and namespace: what holds for workloads, rather than for hosts.

use std::{collections::BTreeSet, sync::Arc};

use lateen_config::{ConfigObject, Kind};
use lateen_model::Namespace;

use crate::{Fact, FactKey, Sourced, index::Index, objects::Change, routing::sourced};

/// The policies that count. A new kind of policy needs nothing here: its row in the table of kinds says its role.
#[derive(Clone, Debug, Default)]
pub(crate) struct Policies {
    by_namespace: Index<(Kind, Namespace), Arc<Sourced<ConfigObject>>>,
}

impl Policies {
    /// Takes over a change of a policy and marks the cell that may differ now.
    pub(crate) fn update(&mut self, change: &Change, dirty: &mut BTreeSet<FactKey>) {
        let Some(key) = change.key() else { return };
        let cell = (key.kind, Namespace::from(key.namespace.as_str()));
        if let Some(entry) = &change.before {
            self.by_namespace.remove(&cell, &entry.precedence);
        }
        if let Some(entry) = &change.after {
            let policy = sourced(entry, &Arc::new(entry.object.spec.clone()), &[], &[]);
            self.by_namespace.insert(cell.clone(), entry.precedence.clone(), policy);
        }
        dirty.insert(FactKey::Policies(cell.0, cell.1));
    }

    /// The policies of a kind in a namespace; `None` if there are none.
    pub(crate) fn cell(&self, kind: Kind, namespace: &Namespace) -> Option<Fact> {
        self.by_namespace.list(&(kind, namespace.clone())).map(Fact::Policies)
    }
}
