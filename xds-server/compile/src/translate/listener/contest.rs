//! Connections that several services of a listener want.
//!
//! A service that loses connections to another one does not lose its protection: where one of those that want them is
//! closed, they end. So whose name comes first in the alphabet decides nothing that matters.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use lateen_model::{Diagnostic, Severity};

use super::{
    super::{
        Read,
        claims::{self, Cell, Claims},
        names,
        notes::{CONFLICT, Notes},
    },
    stream,
};
use crate::plan::{Chain, Site};

/// How services can be told apart.
pub(super) const HINT: &str = "give each an address or a port of its own, or TLS with server names";

/// The chains of a listener for what is carried as TCP.
#[derive(Debug, Default)]
pub(super) struct Contest {
    /// In their order; of one host the first that matches counts.
    chains: Vec<stream::Chain>,
    claims: Claims,
    wanted: BTreeMap<Cell, Wanted>,
}

/// Who wants what another chain has.
#[derive(Debug, Default)]
struct Wanted {
    /// The first chain of each service.
    by: BTreeMap<Arc<str>, usize>,
    /// Later chains of the same service that has it.
    hidden: Vec<usize>,
}

/// What the chains come to.
#[derive(Debug)]
pub(super) struct Settled {
    /// Chains that are for some connections.
    pub chains: Vec<Chain>,
    /// The one for all others.
    pub everything: Option<Chain>,
    /// Does that one end them, since several services want them?
    pub ends: bool,
}

/// What becomes of connections that several want.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    First,
    Open,
    Closed,
}

impl Contest {
    /// The next chain.
    pub(super) fn add(&mut self, chain: stream::Chain) {
        let number = self.chains.len();
        for (cell, owner) in self.claims.give(number, &chain.matching) {
            let Some(owner) = self.chains.get(owner) else { continue };
            // Two hosts of one object are led to the same.
            if owner.filters == chain.filters {
                continue;
            }
            let wanted = self.wanted.entry(cell).or_default();
            if owner.host == chain.host {
                wanted.hidden.push(number);
            } else {
                wanted.by.entry(chain.host.clone()).or_insert(number);
            }
        }
        self.chains.push(chain);
    }

    /// Decides who gets what, and says so. `open` is where all connections go that several services want, if none of
    /// these is closed: where the client was going is a better answer than a service that it did not mean.
    pub(super) fn settle(
        mut self,
        r: &mut dyn Read,
        notes: &mut Notes,
        site: &Site<'_>,
        listener: &str,
        open: Option<Chain>,
    ) -> Settled {
        let mut closed: BTreeMap<usize, usize> = BTreeMap::new();
        let mut told = BTreeSet::new();
        let (mut is_open, mut ends) = (false, false);
        for (cell, Wanted { by, hidden }) in std::mem::take(&mut self.wanted) {
            let Some(owner) = self.claims.owner(&cell) else { continue };
            let is_closed = |number: &usize| self.chains.get(*number).is_some_and(|chain| chain.closed);
            let outcome = if !by.is_empty() && (is_closed(&owner) || by.values().any(is_closed)) {
                Outcome::Closed
            } else if !by.is_empty() && cell.is_everything() && open.is_some() {
                Outcome::Open
            } else {
                Outcome::First
            };
            told.extend(by.into_values().map(|loser| (loser, owner, outcome)));
            told.extend(hidden.into_iter().map(|loser| (loser, owner, Outcome::First)));
            match outcome {
                Outcome::First => {}
                Outcome::Open => is_open = true,
                Outcome::Closed => {
                    ends |= cell.is_everything();
                    let next = self.chains.len();
                    let number = *closed.entry(owner).or_insert(next);
                    if number == next {
                        let shut = self.shut(r, notes, site, owner);
                        self.chains.extend(shut);
                    }
                    self.claims.hand_over(cell, number);
                }
            }
        }
        for (loser, owner, outcome) in told {
            let both = self.chains.get(loser).zip(self.chains.get(owner));
            let found = both.and_then(|(loser, owner)| finding(listener, loser, owner, outcome));
            if let Some(found) = found {
                notes.finding(found);
            }
        }
        let mut settled = Settled { chains: Vec::new(), everything: None, ends };
        for (number, cells) in self.claims.by_chain() {
            let Some(chain) = self.chains.get(number) else { continue };
            for matching in claims::matches(&chain.matching, cells) {
                let everything = chain.is_everything();
                let name = if everything { String::new() } else { claims::chain_name(listener, &matching) };
                let (filters, origins) = (chain.filters.clone(), chain.origins.clone());
                let chain = Chain { name, matching, filters, origins, ..Chain::default() };
                if everything {
                    settled.everything = Some(chain);
                } else {
                    settled.chains.push(chain);
                }
            }
        }
        if is_open {
            settled.everything = open;
        }
        settled
    }

    /// A chain like that one which ends all connections.
    fn shut(
        &self,
        r: &mut dyn Read,
        notes: &mut Notes,
        site: &Site<'_>,
        owner: usize,
    ) -> Option<stream::Chain> {
        let owner = self.chains.get(owner)?;
        notes.cluster(r, names::BLACK_HOLE);
        Some(stream::Chain { filters: vec![site.closed()], closed: true, ..owner.clone() })
    }
}

/// What there is to say to who does not get what it wants.
fn finding(
    listener: &str,
    loser: &stream::Chain,
    owner: &stream::Chain,
    outcome: Outcome,
) -> Option<Diagnostic> {
    let (host, other) = (&loser.host, &owner.host);
    let (message, hint) = if host == other {
        // A service without routes for these connections has none to lose.
        loser.object.as_ref()?;
        (
            format!("{listener}: another route of {host} has connections that this one is for as well"),
            "the first that matches counts: let them match different connections",
        )
    } else {
        let end = match outcome {
            Outcome::First => format!("{other} has them"),
            Outcome::Open => "they go where they were going".to_owned(),
            Outcome::Closed => "they end, since one of those that want them is closed".to_owned(),
        };
        (format!("{listener}: connections to {host} can't be told from those to {other}: {end}"), HINT)
    };
    Some(Diagnostic {
        code: CONFLICT,
        severity: Severity::Warning,
        object: loser.object.as_ref().map(lateen_config::ObjectKey::to_ref),
        origin: loser.origins.first().cloned(),
        path: String::new(),
        message,
        hint: Some(hint.to_owned()),
    })
}
