//! Letting go of names: what an accepted version refers to stays, and goes on following its facts, until the version
//! after it is accepted (I-3, I-7).
//!
//! A rejected route leaves clients with the routes before it. The clusters that only those name must not vanish, nor
//! their endpoints freeze. So whatever loses its last holder leaves at the end of the turn, when it is known which
//! versions are kept, and only if none of them refers to it. What stays is noted with one of those that keep it, and
//! looked at again when that one goes: an acceptance costs what it sets free.

use std::sync::Arc;

use lateen_xds::{NameId, Resource, ResourceType, resource::ResourceRef};

use super::{Compiler, Shown};
use crate::{
    TableId,
    table::{Keeper, Leaving, Slot, Table},
};

impl Compiler {
    /// Lets go of a name; without a holder it vanishes, and clients hear of it.
    pub(super) fn release_slot(&mut self, table: TableId, kind: ResourceType, name: NameId) {
        let Some(slot) = self.table_mut(table).and_then(|t| t.slots_mut(kind).get_mut(&name)) else { return };
        slot.holders = slot.holders.saturating_sub(1);
        if slot.holders > 0 {
            return;
        }
        if kind == ResourceType::Endpoints {
            // They follow the assignment, which was kept where it had to be.
            self.drop_slot(table, kind, name);
        } else {
            slot.leave();
            self.leaving.push((table, Leaving::Slot(kind, name)));
        }
    }

    /// Lets go of the endpoints of a cluster.
    pub(super) fn release_assignment(&mut self, table: TableId, text: &Arc<str>) {
        let name = self.names.intern(text);
        let Some(entry) = self.table_mut(table).and_then(|t| t.assignments.get_mut(&name)) else { return };
        entry.holders = entry.holders.saturating_sub(1);
        if entry.holders == 0 {
            self.leaving.push((table, Leaving::Assignment(name)));
        }
    }

    /// The form of a name that was accepted before the present one is another one, or there is none any more.
    pub(super) fn note_kept(&mut self, table: TableId, kind: ResourceType, name: NameId) {
        let Some(state) = self.table_mut(table) else { return };
        let kept = state.slots(kind).get(&name).is_some_and(|slot| slot.kept().is_some());
        let was_kept = if kept {
            !state.unaccepted.insert((kind, name))
        } else {
            state.unaccepted.remove(&(kind, name))
        };
        if was_kept {
            self.free(table, Keeper::Before(kind, name));
        }
    }

    /// The name is held again, and pins nothing by itself.
    pub(super) fn unpin(&mut self, table: TableId, kind: ResourceType, name: NameId) {
        let what = Leaving::Slot(kind, name);
        if let Some(state) = self.table_mut(table)
            && let Some(keeper) = state.pinned.remove(&what)
        {
            state.keeps.get_mut(&keeper).map(|kept| kept.remove(&what));
            self.free(table, Keeper::Pinned(kind, name));
        }
    }

    /// `keeper` may no longer name what it pinned.
    pub(super) fn free(&mut self, table: TableId, keeper: Keeper) {
        let Some(state) = self.table_mut(table) else { return };
        let Some(free) = state.keeps.remove(&keeper) else { return };
        for what in &free {
            _ = state.pinned.remove(what);
        }
        self.leaving.extend(free.into_iter().map(|what| (table, what)));
    }

    /// What is leaving leaves, but for what is pinned. In the order of references, so that what a pinned one refers
    /// to is pinned too.
    pub(super) fn finish_leaving(&mut self) {
        while !self.leaving.is_empty() {
            let mut leaving = std::mem::take(&mut self.leaving);
            leaving.sort_by_key(|(_, what)| match what {
                Leaving::Slot(ResourceType::Listener, _) => 0,
                Leaving::Slot(ResourceType::RouteConfiguration, _) => 1,
                Leaving::Slot(..) => 2,
                Leaving::Assignment(_) => 3,
            });
            for (id, what) in leaving {
                if !self.table(id).is_some_and(|table| table.is_without_holder(what)) {
                    continue;
                }
                match self.keeper_of(id, what.target()) {
                    Some(keeper) => self.pin(id, what, keeper),
                    None => self.let_go(id, what),
                }
            }
        }
    }

    /// Everything that a table was about to let go of, or had pinned, goes: the table is about to be dropped.
    pub(super) fn finish_leaving_of(&mut self, id: TableId) {
        let pinned = self.table_mut(id).map(|table| std::mem::take(&mut table.pinned)).unwrap_or_default();
        let leaving: Vec<_> = self.leaving.extract_if(.., |(table, _)| *table == id).collect();
        for what in leaving.into_iter().map(|(_, what)| what).chain(pinned.into_keys()) {
            if self.table(id).is_some_and(|table| table.is_without_holder(what)) {
                self.let_go(id, what);
            }
        }
        self.leaving.retain(|(table, _)| *table != id);
    }

    /// One of those that would miss `target`.
    fn keeper_of(&self, id: TableId, target: ResourceRef) -> Option<Keeper> {
        let table = self.table(id)?;
        let by_trial = || {
            let names = |key: &super::trials::Key| {
                let trial = self.trials.get(key);
                trial.is_some_and(|trial| trial.gives().any(|given| given.refers_to(target)))
            };
            let (node, kind, name) = self.trials.of_table(id).into_iter().find(names)?;
            Some(Keeper::Trial(node, kind, name))
        };
        table.keeper_of(target).or_else(by_trial)
    }

    fn pin(&mut self, id: TableId, what: Leaving, keeper: Keeper) {
        let Some(table) = self.table_mut(id) else { return };
        if let Some(before) = table.pinned.insert(what, keeper)
            && let Some(kept) = table.keeps.get_mut(&before)
        {
            kept.remove(&what);
        }
        table.keeps.entry(keeper).or_default().insert(what);
        if let Leaving::Slot(kind, name) = what
            && let Some(slot) = table.slots_mut(kind).get_mut(&name)
        {
            slot.pin();
        }
    }

    fn let_go(&mut self, table: TableId, what: Leaving) {
        match what {
            Leaving::Slot(kind, name) => self.drop_slot(table, kind, name),
            Leaving::Assignment(name) => {
                if let Some(state) = self.table_mut(table)
                    && state.assignments.remove(&name).is_some()
                {
                    self.refresh_assignment(table, name);
                }
            }
        }
    }

    fn drop_slot(&mut self, table: TableId, kind: ResourceType, name: NameId) {
        let Some(slot) = self.table_mut(table).and_then(|t| t.slots_mut(kind).remove(&name)) else { return };
        self.note_kept(table, kind, name);
        self.free(table, Keeper::Pinned(kind, name));
        if slot.resource.is_some() {
            self.changed.entry((table, kind)).or_default().insert(name);
        }
        if let Some(memo) = slot.memo {
            self.hide(memo, &Shown::Slot(table, kind, name));
        }
        self.follow_rejections(table, kind, name);
        self.follow_trials(table, kind, name);
    }
}

impl Leaving {
    fn target(self) -> ResourceRef {
        match self {
            Self::Slot(kind, name) => ResourceRef { kind, name },
            Self::Assignment(name) => ResourceRef { kind: ResourceType::Endpoints, name },
        }
    }
}

impl Table {
    fn is_without_holder(&self, what: Leaving) -> bool {
        match what {
            Leaving::Slot(kind, name) => self.slots(kind).get(&name).is_some_and(|slot| slot.holders == 0),
            Leaving::Assignment(name) => self.assignments.get(&name).is_some_and(|entry| entry.holders == 0),
        }
    }

    fn keeper_of(&self, target: ResourceRef) -> Option<Keeper> {
        let names = |resource: Option<&Arc<Resource>>| resource.is_some_and(|r| r.refers_to(target));
        let before = |(kind, name): &(ResourceType, NameId)| {
            let slot = self.slots(*kind).get(name);
            names(slot.and_then(Slot::kept)).then_some(Keeper::Before(*kind, *name))
        };
        let pinned = |what: &Leaving| match what {
            Leaving::Slot(kind, name) => {
                names(self.get(*kind, *name)).then_some(Keeper::Pinned(*kind, *name))
            }
            Leaving::Assignment(_) => None,
        };
        self.unaccepted.iter().find_map(before).or_else(|| self.pinned.keys().find_map(pinned))
    }
}
