//! Who is to blame for a rejected response.

use std::{
    collections::{HashSet, VecDeque},
    sync::Arc,
};

use lateen_model::Version;

use crate::{NameId, ResourceType, View};

/// Rejected versions that are remembered of one name: the current one and the one sent in its place.
const VERSIONS_PER_NAME: usize = 2;

/// A version that the client rejects.
#[derive(Clone, Debug)]
pub(crate) struct Rejection {
    pub(crate) name: NameId,
    pub(crate) version: Version,
    pub(crate) message: Arc<str>,
    pub(crate) since_ms: u64,
}

/// Resources that are sent on their own to see whether they are accepted.
#[derive(Debug)]
struct Trial {
    names: Vec<NameId>,
    /// Were those that other clients have accepted set apart?
    sorted: bool,
}

/// The rejections of one type, and the search for the guilty.
#[derive(Debug, Default)]
pub(crate) struct Suspects {
    pub(crate) rejections: Vec<Rejection>,
    trials: VecDeque<Trial>,
}

impl Suspects {
    /// Is exactly this version rejected?
    pub(crate) fn is_rejected(&self, name: NameId, version: Version) -> bool {
        self.rejections.iter().any(|r| r.name == name && r.version == version)
    }

    /// The search has ended with `rejection`.
    pub(crate) fn convict(&mut self, rejection: Rejection) {
        let same = |r: &Rejection| r.name == rejection.name;
        self.rejections.retain(|r| !(same(r) && r.version == rejection.version));
        while self.rejections.iter().filter(|r| same(r)).count() >= VERSIONS_PER_NAME {
            if let Some(oldest) = self.rejections.iter().position(same) {
                self.rejections.remove(oldest);
            }
        }
        self.rejections.push(rejection);
    }

    /// New content of `name` makes what was rejected of it irrelevant.
    pub(crate) fn acquit(&mut self, name: NameId) {
        if !self.rejections.is_empty() {
            self.rejections.retain(|r| r.name != name);
        }
    }

    /// A response that brought all of `names` was rejected. `accused` are those among them that the client's words
    /// name: only a hint, which decides what is tried first. What it does not name goes out again at once and
    /// together: a complete set of all but the accused takes nothing else from a client that may hold it.
    pub(crate) fn suspect(&mut self, names: Vec<NameId>, accused: &HashSet<NameId>, was_trial: bool) {
        if !accused.is_empty() && accused.len() < names.len() {
            let (accused, others): (Vec<_>, Vec<_>) =
                names.into_iter().partition(|name| accused.contains(name));
            let alone = accused.into_iter().rev().map(|name| Trial { names: vec![name], sorted: true });
            alone.for_each(|trial| self.trials.push_front(trial));
            self.trials.push_front(Trial { names: others, sorted: true });
        } else if was_trial {
            self.halve(names);
        } else if !names.is_empty() {
            self.trials.push_front(Trial { names, sorted: false });
        }
    }

    fn halve(&mut self, mut names: Vec<NameId>) {
        let second = names.split_off(names.len().div_ceil(2));
        for half in [second, names] {
            if !half.is_empty() {
                self.trials.push_front(Trial { names: half, sorted: true });
            }
        }
    }

    pub(crate) fn has_trials(&self) -> bool {
        !self.trials.is_empty()
    }

    /// Is anything rejected, or the guilty not found yet?
    pub(crate) fn is_unsettled(&self) -> bool {
        self.has_trials() || !self.rejections.is_empty()
    }

    /// The next resources to send on their own. Those that others have accepted go first and together: they
    /// are most likely innocent, and a client must not lose what it may have had before it reconnected.
    pub(crate) fn next_trial(&mut self, kind: ResourceType, view: &dyn View) -> Option<Vec<NameId>> {
        while let Some(trial) = self.trials.pop_front() {
            if trial.sorted {
                return Some(trial.names);
            }
            let all = trial.names.len();
            let (known, unknown): (Vec<_>, Vec<_>) = trial.names.into_iter().partition(|name| {
                view.get(kind, *name).is_some_and(|current| {
                    view.last_good(kind, *name).is_some_and(|good| good.version == current.version)
                })
            });
            if unknown.len() == all {
                self.halve(unknown);
            } else if known.len() == all {
                self.halve(known);
            } else {
                self.halve(unknown);
                self.trials.push_front(Trial { names: known, sorted: true });
            }
        }
        None
    }

    /// `name` exists no more: nothing of it is rejected.
    pub(crate) fn forgive(&mut self, name: NameId) -> bool {
        let before = self.rejections.len();
        self.acquit(name);
        self.rejections.len() < before
    }

    /// Forgets all names for which `keep` is false.
    pub(crate) fn retain(&mut self, keep: impl Fn(NameId) -> bool) {
        self.rejections.retain(|r| keep(r.name));
        for trial in &mut self.trials {
            trial.names.retain(|name| keep(*name));
        }
        self.trials.retain(|trial| !trial.names.is_empty());
    }
}

/// The words of a message that may be names of resources: Envoy writes `Error adding/updating cluster(s) NAME: …`.
pub(crate) fn words(message: &str) -> HashSet<&str> {
    let split = |c: char| c.is_whitespace() || matches!(c, ',' | ';' | '\'' | '"' | '(' | ')');
    message
        .split(split)
        .flat_map(|word| [word, word.trim_end_matches([':', '.'])])
        .filter(|word| !word.is_empty())
        .collect()
}
