//! What an event changed.

use std::collections::BTreeSet;

use lateen_model::Host;

use crate::{FactKey, Revision};

/// The difference that one or several events made to the World.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Changes {
    /// The World's revision after them.
    pub revision: Revision,
    /// The cells that have another value now, or came, or went.
    pub facts: BTreeSet<FactKey>,
    /// Hosts that are new in [`World::hosts`](crate::World::hosts).
    pub hosts_added: BTreeSet<Host>,
    /// Hosts that are no longer there.
    pub hosts_removed: BTreeSet<Host>,
}

impl Changes {
    /// Is there no difference?
    pub fn is_empty(&self) -> bool {
        self.facts.is_empty()
    }

    /// Adds later changes. A host that came and went is neither added nor removed; a cell that changed and
    /// changed back is still named.
    pub fn merge(&mut self, later: Self) {
        let Self { revision, facts, hosts_added, hosts_removed } = later;
        self.revision = self.revision.max(revision);
        self.facts.extend(facts);
        for host in hosts_added {
            if !self.hosts_removed.remove(&host) {
                self.hosts_added.insert(host);
            }
        }
        for host in hosts_removed {
            if !self.hosts_added.remove(&host) {
                self.hosts_removed.insert(host);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_that_came_and_went_is_no_change() {
        let host = || BTreeSet::from([Host::from("a.example")]);
        let facts = || BTreeSet::from([FactKey::Service(Host::from("a.example"))]);
        let mut changes =
            Changes { revision: Revision(1), facts: facts(), hosts_added: host(), ..Changes::default() };
        changes.merge(Changes {
            revision: Revision(2),
            facts: facts(),
            hosts_removed: host(),
            ..Changes::default()
        });
        assert!(changes.hosts_added.is_empty() && changes.hosts_removed.is_empty());
        assert_eq!((changes.revision, changes.facts.len()), (Revision(2), 1));
        changes.merge(Changes { hosts_removed: host(), ..Changes::default() });
        changes.merge(Changes { hosts_added: host(), ..Changes::default() });
        assert!(changes.hosts_added.is_empty() && changes.hosts_removed.is_empty());
    }
}
