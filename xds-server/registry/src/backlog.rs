//! Cells that wait after a large change: it is taken over in portions, so that it holds up nobody else's.
//!
//! Between two portions the World is one that sources could have told: the cells of a host change together, and what
//! refers to hosts changes after they came and before they go.

use std::collections::BTreeSet;

use lateen_model::Host;

use crate::FactKey;

/// When a cell has its turn.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Turn {
    /// It may protect something, or all follows it.
    Protects,
    /// Its host is not known yet: nothing that is in force leads there.
    Comes,
    /// All others.
    Changes,
    /// Its host is nobody's any more, or it protects something no longer.
    Goes,
}

impl Turn {
    const ALL: [Self; 4] = [Self::Protects, Self::Comes, Self::Changes, Self::Goes];

    /// Of a cell of a host, from whether the World has the host as a service, and whether the sources do.
    pub(crate) fn of_host(was_there: bool, is_there: bool) -> Self {
        match (was_there, is_there) {
            (false, true) => Self::Comes,
            (true, false) => Self::Goes,
            (false, false) | (true, true) => Self::Changes,
        }
    }
}

/// The cells that wait, in their order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Backlog(BTreeSet<(Turn, Option<Host>, FactKey)>);

impl Backlog {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The cell waits for this turn, and for no other.
    pub(crate) fn add(&mut self, turn: Turn, key: FactKey) {
        let mut entry = (turn, key.host().cloned(), key);
        for other in Turn::ALL {
            entry.0 = other;
            self.0.remove(&entry);
        }
        entry.0 = turn;
        self.0.insert(entry);
    }

    /// The next cells: `max`, and what else concerns the host of the last one.
    pub(crate) fn take(&mut self, max: usize) -> BTreeSet<FactKey> {
        let mut portion = BTreeSet::new();
        let mut last = None;
        while let Some((turn, host, _)) = self.0.first() {
            let same_host = host.is_some() && last.as_ref() == Some(&(*turn, host.clone()));
            if portion.len() >= max && !same_host {
                break;
            }
            let Some((turn, host, key)) = self.0.pop_first() else { break };
            portion.insert(key);
            last = Some((turn, host));
        }
        portion
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_changes_at_once_and_what_protects_comes_first() {
        let mut backlog = Backlog::default();
        let service = |host: &str| FactKey::Service(host.into());
        let endpoints = |host: &str| FactKey::Endpoints(host.into(), "n".into());
        for host in ["a", "b", "c"] {
            backlog.add(Turn::Goes, service(host));
            let turn = if host == "a" { Turn::Goes } else { Turn::Comes };
            backlog.add(turn, endpoints(host));
            backlog.add(turn, service(host));
        }
        let policies = FactKey::Policies(lateen_config::Kind::AuthorizationPolicy, "n".into());
        backlog.add(Turn::Protects, policies.clone());
        backlog.add(Turn::Changes, FactKey::Gateways);
        let mut take = || backlog.take(1).into_iter().collect::<Vec<_>>();
        assert_eq!(take(), [policies]);
        assert_eq!(take(), [service("b"), endpoints("b")]);
        assert_eq!(take(), [service("c"), endpoints("c")]);
        assert_eq!(take(), [FactKey::Gateways]);
        assert_eq!(take(), [service("a"), endpoints("a")]);
        assert!(backlog.is_empty());
    }
}
