//! What an event changed.

use std::collections::BTreeSet;

use lateen_model::{Host, Namespace};

use crate::{FactKey, Revision};

/// The difference that one or several events made to the World.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Changes {
    /// The World's revision after them.
    pub revision: Revision,
    /// The cells that have another value now, or came, or went.
    pub facts: BTreeSet<FactKey>,
    /// Definitions of hosts that came, went, or are visible to others now, by the namespace of the object:
    /// [`World::definitions`](crate::World::definitions).
    pub definitions: BTreeSet<(Namespace, Host)>,
}

impl Changes {
    /// Is there no difference?
    pub fn is_empty(&self) -> bool {
        self.facts.is_empty()
    }

    /// Adds later changes. What changed and changed back is still named.
    pub fn merge(&mut self, later: Self) {
        let Self { revision, facts, definitions } = later;
        self.revision = self.revision.max(revision);
        self.facts.extend(facts);
        self.definitions.extend(definitions);
    }
}
