//! The search inside a resource for the parts that a client rejects.
//!
//! A client that rejects a route configuration or a listener is given it anew with some of what changed held back,
//! each part at the form that the client accepted before; where there is none, it is closed. Groups are tried until what
//! it accepts has everything but the guilty: a group that is accepted stays in, one that is rejected is halved. So k
//! guilty among n parts are found in about 2 k log(n/k) answers, and each answer but the guilty ones brings the client
//! further. Only answers decide; the client's words, and what others reject, say what is tried last.
//!
//! A trial is of one client. Others get the resource as it is, until clients that can't be made up agree
//! (`rejections`).

mod trial;

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use lateen_model::Version;
use lateen_xds::{Acked, Guilty, NameId, Resource, ResourceRef, ResourceType};

use self::trial::Held;
use super::{Compiler, rejections::Subject};
use crate::{NodeHandle, TableId, pieces::Pieces, routes::Piece, table::Keeper};

pub(super) use trial::{Key, Trial, Trials};

impl Compiler {
    /// What the node is given in place of the present form.
    pub(crate) fn given(&self, node: NodeHandle, kind: ResourceType, name: NameId) -> Option<&Arc<Resource>> {
        if self.trials.is_empty() {
            return None;
        }
        self.trials.get(&(node, kind, name)).map(|trial| &trial.given)
    }

    /// Is the node given something in place of what it rejects?
    pub fn is_on_trial(&self, node: NodeHandle, kind: ResourceType, name: NameId) -> bool {
        self.given(node, kind, name).is_some()
    }

    /// The client rejects `resource` of `table`. Begins to search for the parts to blame; false where it has none.
    pub(super) fn try_parts(
        &mut self,
        key: Key,
        table: TableId,
        resource: &Arc<Resource>,
        guilty: &Guilty,
        principal: &Arc<str>,
    ) -> bool {
        let (_, kind, name) = key;
        let Some(pieces) = Pieces::of(resource) else { return false };
        let slot = self.table(table).and_then(|table| table.slots(kind).get(&name));
        let known = guilty.accepted.clone().filter(|accepted| accepted.version != resource.version);
        let others = || slot.and_then(crate::table::Slot::kept).cloned();
        let before = known.clone().or_else(others).and_then(|before| Pieces::of(&before));
        let mut trial = Trial {
            accepted: known,
            again: false,
            message: guilty.message.clone(),
            refused: HashSet::from([resource.version]),
            ..Trial::settled(table, resource)
        };
        trial.hold_all(&pieces.differing(before.as_ref()), &pieces, before.as_ref());
        for (part, held) in trial.held.iter_mut().filter(|(_, held)| held.instead.is_none()) {
            held.instead = self.form(kind, name, part, held.version);
        }
        if trial.held.is_empty() {
            return false;
        }
        let is_accepted = trial.accepted.is_some() && before.is_some_and(|before| before.same_frame(&pieces));
        self.line_up(&mut trial, key, guilty, is_accepted);
        let has_form = trial.held.values().any(|held| held.instead.is_some())
            || trial.held.len() < pieces.iter().count();
        let begun = if !is_accepted && has_form {
            // What others accepted, first of all.
            self.give(key, trial, resource)
        } else {
            self.proceed(key, trial, resource, principal)
        };
        self.finish_leaving();
        begun
    }

    /// The order in which suspects are tried: what was once accepted first, as the client may hold it; then what
    /// nothing is known of; what the client names, or others reject, one by one at the end.
    fn line_up(&self, trial: &mut Trial, key: Key, guilty: &Guilty, is_accepted: bool) {
        let (_, kind, name) = key;
        if is_accepted && trial.held.len() == 1 {
            // With what is held back it is what the client has: there is one to blame.
            let message = &guilty.message;
            trial.held.values_mut().for_each(|held| held.guilty = Some((message.clone(), 0)));
            return;
        }
        let (mut accused, mut proven, mut others) = (Vec::new(), Vec::new(), Vec::new());
        for (piece, held) in &trial.held {
            let subject = Subject { kind, name, piece: Some(piece.clone()), version: held.version };
            if self.rejections.get(&subject).is_some() || guilty.message.contains(&**piece) {
                accused.push(vec![piece.clone()]);
            } else if self.is_remembered(&subject) {
                proven.push(piece.clone());
            } else {
                others.push(piece.clone());
            }
        }
        let split = accused.is_empty() && proven.is_empty();
        trial.queue.extend(accused);
        if split {
            trial.halve(others);
        } else {
            trial.queue.extend([others, proven]);
        }
    }

    /// The client has answered what it was given.
    pub(super) fn take_trial_answer(&mut self, key: Key, principal: &Arc<str>, error: Option<&Guilty>) {
        let Some(mut trial) = self.trials.remove(&key) else { return };
        if trial.retry {
            return self.take_retry(key, &trial, error.is_none());
        }
        if let Some(guilty) = error {
            trial.refused.insert(guilty.version);
            trial.message.clone_from(&guilty.message);
            // The session knows best: an answer may have been to what it was given before.
            trial.accepted = guilty.accepted.clone().or(trial.accepted);
        }
        let error = error.map(|guilty| &guilty.message);
        let (_, kind, name) = key;
        let whole = self.table(trial.table).and_then(|table| table.get(kind, name)).cloned();
        let Some((whole, pieces)) = whole.and_then(|whole| Pieces::of(&whole).map(|pieces| (whole, pieces)))
        else {
            return self.drop_trial(key, &trial);
        };
        let settled = trial.trying.is_empty() && trial.queue.is_empty() && trial.again;
        trial.take_answer(&pieces, error);
        if settled && error.is_none() {
            let closes = trial.closes(kind);
            self.trials.insert(key, trial);
            self.settle_trial(key);
            if closes {
                self.blame(key, principal);
            }
        } else {
            self.proceed(key, trial, &whole, principal);
        }
        self.finish_leaving();
    }

    /// Parts that this node rejected on an earlier connection are offered to it once more: it may have been its own
    /// state that they were rejected for. Others get them when it accepts them.
    pub(super) fn retry_condemned(&mut self, node: NodeHandle) {
        let rejected =
            self.rejections.condemned().filter(|(_, rejection)| self.has_returned(node, rejection));
        let names: BTreeSet<_> = rejected.map(|(subject, _)| (subject.kind, subject.name)).collect();
        for (kind, name) in names {
            for table in self.tables_of(node) {
                let shown = self.table(table).and_then(|table| table.get(kind, name)).cloned();
                let (Some(shown), Some(present)) = (shown, self.present(table, kind, name)) else { continue };
                if shown.version != present.version {
                    let trial = Trial { retry: true, given: present, ..Trial::settled(table, &shown) };
                    self.trials.insert((node, kind, name), trial);
                    self.free(table, Keeper::Trial(node, kind, name));
                }
                break;
            }
        }
    }

    fn take_retry(&mut self, key: Key, trial: &Trial, is_accepted: bool) {
        if is_accepted {
            self.note_accepted(&trial.given, true);
            self.remember_parts(&trial.given);
        } else {
            self.rejects_again(key.0, &trial.given);
        }
        self.drop_trial(key, trial);
        self.finish_leaving();
    }

    /// The next group is tried, or the guilty are known.
    fn proceed(&mut self, key: Key, mut trial: Trial, whole: &Arc<Resource>, principal: &Arc<str>) -> bool {
        if trial.given_up {
            return self.give_up(key, trial, whole, principal);
        }
        while trial.next_group() {
            // What is the same as something that was rejected needs no answer.
            let known = trial.compose(whole).is_some_and(|given| trial.refused.contains(&given.version));
            let pieces = Pieces::of(whole).filter(|_| known);
            let Some(pieces) = pieces else { return self.give(key, trial, whole) };
            let message = trial.message.clone();
            trial.take_answer(&pieces, Some(&message));
        }
        if trial.held.is_empty() {
            self.drop_trial(key, &trial);
            // What it was given piece by piece is the whole.
            if trial.accepted.as_ref().is_some_and(|accepted| accepted.version == whole.version) {
                let (node, kind, name) = key;
                self.acked(node, &Acked { kind, name, version: whole.version });
            }
            return true;
        }
        // What is rejected with its parts closed as well is rejected for what they match. Nobody is to blame before it is
        // known to be otherwise.
        let composed = trial.compose(whole).map(|given| given.version);
        let closes = trial.closes(key.1);
        if closes && composed.is_none_or(|version| trial.refused.contains(&version)) {
            return self.give_up(key, trial, whole, principal);
        }
        let is_known = !closes || trial.accepted.as_ref().map(|accepted| accepted.version) == composed;
        let given = self.give(key, trial, whole);
        if is_known {
            self.blame(key, principal);
        }
        self.settle_trial(key);
        given
    }

    /// The guilty are known.
    fn blame(&mut self, key: Key, principal: &Arc<str>) {
        let (node, kind, name) = key;
        let Some(trial) = self.trials.get(&key) else { return };
        let guilty: Vec<_> = trial
            .held
            .iter()
            .filter(|(_, held)| held.lacks.is_none())
            .filter_map(|(piece, held)| {
                let message = held.guilty.as_ref()?.0.clone();
                Some((piece.clone(), held.version, held.instead.clone(), message))
            })
            .collect();
        for (piece, version, instead, message) in guilty {
            if let Some(instead) = instead {
                self.keep_form(kind, name, &piece, &instead);
            }
            let subject = Subject { kind, name, piece: Some(piece), version };
            self.reject(node, principal, &subject, &message);
        }
    }

    /// The client is given the composition from now on.
    fn give(&mut self, key: Key, mut trial: Trial, whole: &Arc<Resource>) -> bool {
        let Some(given) = trial.compose(whole) else {
            // There would be nothing left.
            let principal = self.principal_of(&key);
            return self.give_up(key, trial, whole, &principal);
        };
        trial.given = self.intern(given);
        let table = trial.table;
        self.trials.insert(key, trial);
        self.retold.insert(key);
        self.free(table, Keeper::Trial(key.0, key.1, key.2));
        true
    }

    /// It is rejected as a whole, whichever part is left out. The client is given it once more, so that it says so.
    fn give_up(&mut self, key: Key, mut trial: Trial, whole: &Arc<Resource>, principal: &Arc<str>) -> bool {
        let (node, kind, name) = key;
        let closed: Vec<Arc<str>> = trial
            .held
            .iter()
            .filter(|(_, held)| held.instead.is_none())
            .map(|(name, _)| name.clone())
            .collect();
        if kind == ResourceType::RouteConfiguration && !trial.leaves_out && !closed.is_empty() {
            // From the beginning, with the suspects left out: it may be their names that are rejected.
            (trial.leaves_out, trial.given_up, trial.again) = (true, false, false);
            trial.held.values_mut().for_each(|held| held.guilty = None);
            trial.queue = vec![trial.held.keys().cloned().collect()];
            trial.trying.clear();
            return self.give(key, trial, whole);
        }
        trial.given = whole.clone();
        trial.given_up = true;
        trial.held.clear();
        let message = trial.message.clone();
        self.reject(node, principal, &Subject { kind, name, piece: None, version: whole.version }, &message);
        self.free(trial.table, Keeper::Trial(node, kind, name));
        self.trials.insert(key, trial);
        self.retold.insert(key);
        true
    }

    /// The search is over, and the client accepted what it is given: that stays in force where the whole is rejected.
    fn settle_trial(&mut self, key: Key) {
        let (_, kind, name) = key;
        let Some(trial) = self.trials.get(&key) else { return };
        let Some(good) = trial.accepted.clone().filter(|good| good.version == trial.given.version) else {
            return;
        };
        let (id, held) = (trial.table, trial.held.len());
        let Some(slot) = self.table_mut(id).and_then(|table| table.slots_mut(kind).get_mut(&name)) else {
            return;
        };
        // The one that has more of the present form counts.
        let lacks = |old: &Arc<Resource>, whole: &Arc<Resource>| {
            let (Some(old), Some(whole)) = (Pieces::of(old), Pieces::of(whole)) else { return usize::MAX };
            let lacking = |(name, piece): &(&Arc<str>, &Arc<Piece>)| {
                old.get(name).is_none_or(|old| old.version != piece.version)
            };
            whole.iter().filter(lacking).count()
        };
        let worse = match (slot.last_good(), &slot.resource) {
            (Some(old), Some(whole)) => lacks(old, whole) < held,
            _ => false,
        };
        if !worse {
            slot.accept_instead(&good);
            self.note_kept(id, kind, name);
            self.remember_parts(&good);
        }
    }

    /// The trial is over, and the client needs not be told: what it pins is free.
    pub(super) fn end_trial(&mut self, key: Key) {
        if let Some(trial) = self.trials.remove(&key) {
            self.free(trial.table, Keeper::Trial(key.0, key.1, key.2));
        }
    }

    pub(super) fn drop_trial(&mut self, key: Key, trial: &Trial) {
        self.trials.remove(&key);
        self.retold.insert(key);
        self.free(trial.table, Keeper::Trial(key.0, key.1, key.2));
    }

    /// A name of a table has another form: clients that reject parts of it get what is new in it, and not the guilty
    /// as long as they are the same.
    pub(super) fn follow_trials(&mut self, table: TableId, kind: ResourceType, name: NameId) {
        if self.trials.is_empty() {
            return;
        }
        if kind == ResourceType::Cluster {
            return self.release_routes(name);
        }
        let keys = self.trials.of_name(table, kind, name);
        if keys.is_empty() {
            return;
        }
        let whole = self.table(table).and_then(|table| table.get(kind, name)).cloned();
        let pieces = whole.as_ref().and_then(|whole| Pieces::of(whole));
        // Most clients accepted the same: what is new in it is looked for once.
        let mut news = HashMap::new();
        for key in keys {
            let Some(mut trial) = self.trials.remove(&key) else { continue };
            let (Some(whole), Some(pieces)) = (&whole, &pieces) else {
                self.drop_trial(key, &trial);
                continue;
            };
            if trial.given_up {
                self.drop_trial(key, &trial);
                continue;
            }
            let (before, differing) =
                news.entry(trial.accepted.as_ref().map(|accepted| accepted.version)).or_insert_with(|| {
                    let before = trial.accepted.as_ref().and_then(|accepted| Pieces::of(accepted));
                    let differing = pieces.differing(before.as_ref());
                    (before, differing)
                });
            let suspects = trial.held.len();
            trial.held.retain(|name, held| {
                held.guilty.is_some() && pieces.get(name).is_some_and(|piece| piece.version == held.version)
            });
            let mended = trial.held.len() < suspects;
            let fresh = trial.hold_all(differing, pieces, before.as_ref());
            trial.target = whole.version;
            trial.refused.clear();
            trial.queue = vec![fresh];
            // What was rejected for the sake of another one is tried again when one of them has changed.
            (trial.again, trial.growth) = (!mended, 0);
            trial.held.values_mut().for_each(|held| held.guilty.iter_mut().for_each(|(_, at)| *at = 0));
            let principal = self.principal_of(&key);
            self.proceed(key, trial, whole, &principal);
        }
    }

    /// The client rejects a cluster and has no form of it: virtual hosts that now lead there stay as they were, until
    /// the cluster has another form. The others move on.
    pub(super) fn hold_back_routes(&mut self, node: NodeHandle, cluster: &Guilty) {
        let target = ResourceRef { kind: ResourceType::Cluster, name: cluster.name };
        let tables = self.tables_of(node);
        let has_form = |id: &TableId| {
            let slot =
                self.table(*id).and_then(|table| table.slots(ResourceType::Cluster).get(&cluster.name));
            slot.is_some_and(|slot| slot.last_good().is_some())
        };
        if cluster.accepted.is_some() || tables.iter().any(has_form) {
            return;
        }
        for id in tables {
            let Some(slots) = self.table(id).map(|table| table.slots(ResourceType::RouteConfiguration))
            else {
                continue;
            };
            let held_back: Vec<(Key, Trial)> = slots
                .iter()
                .filter_map(|(name, slot)| {
                    let key = (node, ResourceType::RouteConfiguration, *name);
                    let whole = slot.resource.as_ref().filter(|whole| whole.refers_to(target))?;
                    let before = slot.kept().and_then(|before| Pieces::of(before))?;
                    if self.trials.get(&key).is_some() {
                        return None;
                    }
                    let mut trial = Trial::settled(id, whole);
                    for (name, piece) in
                        Pieces::of(whole)?.iter().filter(|(_, piece)| piece.refs.contains(&target))
                    {
                        let Some(instead) = before.get(name).filter(|old| old.version != piece.version)
                        else {
                            continue;
                        };
                        let guilty = Some((cluster.message.clone(), 0));
                        let (version, instead) = (piece.version, Some(instead.clone()));
                        let held = Held { version, instead, guilty, lacks: Some(cluster.name) };
                        trial.held.insert(name.clone(), held);
                    }
                    (!trial.held.is_empty()).then_some((key, trial))
                })
                .collect();
            for (key, trial) in held_back {
                if let Some(whole) = self.table(id).and_then(|table| table.get(key.1, key.2)).cloned() {
                    self.give(key, trial, &whole);
                }
            }
        }
    }

    /// The cluster has another form, or a client has it now: what waited for it goes on.
    pub(super) fn release_routes(&mut self, cluster: NameId) {
        for key in self.trials.waiting_for(cluster) {
            if let Some(mut trial) = self.trials.remove(&key) {
                trial.held.retain(|_, held| held.lacks != Some(cluster));
                let table = trial.table;
                self.trials.insert(key, trial);
                self.follow_trials(table, key.1, key.2);
            }
        }
    }

    /// What the client answered is not what it is given now, but the whole that it rejected: nothing new.
    pub(super) fn is_stale(&self, key: &Key, version: Version) -> bool {
        self.trials.get(key).is_some_and(|trial| trial.target == version && !trial.given_up)
    }

    pub(super) fn has_given_up(&self, key: &Key) -> bool {
        self.trials.get(key).is_some_and(|trial| trial.given_up)
    }
}
