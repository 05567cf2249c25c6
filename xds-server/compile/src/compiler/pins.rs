//! Letting go of names: what an accepted version refers to stays, and goes on following its facts, until the version
//! after it is accepted (I-3, I-7).
//!
//! A rejected route leaves clients with the routes before it. The clusters that only those name must not vanish, nor
//! their endpoints freeze. So whatever loses its last holder leaves at the end of the turn, when it is known which
//! versions are kept, and only if none of them refers to it.

use std::sync::Arc;

use lateen_xds::{NameId, Resource, ResourceType, resource::ResourceRef};

use super::{Compiler, Shown};
use crate::{
    TableId,
    table::{Leaving, Table},
};

impl Compiler {
    /// Lets go of a name; without a holder it vanishes, and clients hear of it.
    pub(super) fn release_slot(&mut self, table: TableId, kind: ResourceType, name: NameId) {
        if kind == ResourceType::Endpoints {
            // They follow the assignment, which was kept where it had to be.
            self.let_go(table, Leaving::Slot(kind, name));
        } else {
            self.leaving.push((table, Leaving::Slot(kind, name)));
        }
    }

    /// Lets go of the endpoints of a cluster.
    pub(super) fn release_assignment(&mut self, table: TableId, text: &Arc<str>) {
        let name = self.names.intern(text);
        self.leaving.push((table, Leaving::Assignment(name)));
    }

    /// A version before the current one is kept, or no longer.
    pub(super) fn note_kept(&mut self, table: TableId, kind: ResourceType, name: NameId, is_kept: bool) {
        let Some(state) = self.table_mut(table) else { return };
        if is_kept {
            state.unaccepted.insert((kind, name));
        } else if state.unaccepted.remove(&(kind, name)) {
            let unpinned = std::mem::take(&mut state.pinned);
            self.leaving.extend(unpinned.into_iter().map(|pinned| (table, pinned)));
        }
    }

    /// What is leaving leaves, but for what is pinned. In the order of references, so that what a pinned one refers
    /// to is pinned too.
    pub(super) fn finish_leaving(&mut self) {
        let mut leaving = std::mem::take(&mut self.leaving);
        leaving.sort_by_key(|(_, what)| match what {
            Leaving::Slot(ResourceType::Listener, _) => 0,
            Leaving::Slot(ResourceType::RouteConfiguration, _) => 1,
            Leaving::Slot(..) => 2,
            Leaving::Assignment(_) => 3,
        });
        for (id, what) in leaving {
            let Some(table) = self.table_mut(id) else { continue };
            if table.is_pinned(what) {
                table.pinned.push(what);
            } else {
                self.let_go(id, what);
            }
        }
    }

    /// Everything that a table was about to let go of, or had pinned, goes: the table is about to be dropped.
    pub(super) fn finish_leaving_of(&mut self, id: TableId) {
        let pinned = self.table_mut(id).map(|table| std::mem::take(&mut table.pinned)).unwrap_or_default();
        let leaving: Vec<_> = self.leaving.extract_if(.., |(table, _)| *table == id).collect();
        for what in leaving.into_iter().map(|(_, what)| what).chain(pinned) {
            self.let_go(id, what);
        }
    }

    fn let_go(&mut self, table: TableId, what: Leaving) {
        match what {
            Leaving::Slot(kind, name) => self.drop_slot(table, kind, name),
            Leaving::Assignment(name) => self.drop_assignment(table, name),
        }
    }

    fn drop_slot(&mut self, table: TableId, kind: ResourceType, name: NameId) {
        let Some(slots) = self.table_mut(table).map(|t| t.slots_mut(kind)) else { return };
        let Some(slot) = slots.get_mut(&name) else { return };
        slot.holders -= 1;
        if slot.holders > 0 {
            return;
        }
        let Some(slot) = slots.remove(&name) else { return };
        self.note_kept(table, kind, name, false);
        if slot.resource.is_some() {
            self.changed.entry((table, kind)).or_default().insert(name);
        }
        if let Some(memo) = slot.memo {
            self.hide(memo, &Shown::Slot(table, kind, name));
        }
    }

    fn drop_assignment(&mut self, table: TableId, name: NameId) {
        let Some(state) = self.table_mut(table) else { return };
        let Some(entry) = state.assignments.get_mut(&name) else { return };
        entry.holders -= 1;
        if entry.holders == 0 {
            state.assignments.remove(&name);
            self.refresh_assignment(table, name);
        }
    }
}

impl Table {
    /// Would something that is kept miss it?
    fn is_pinned(&self, what: Leaving) -> bool {
        let target = match what {
            Leaving::Slot(kind, name) => {
                if self.slots(kind).get(&name).is_none_or(|slot| slot.holders > 1) {
                    return false;
                }
                ResourceRef { kind, name }
            }
            Leaving::Assignment(name) => {
                if self.assignments.get(&name).is_none_or(|assignment| assignment.holders > 1) {
                    return false;
                }
                ResourceRef { kind: ResourceType::Endpoints, name }
            }
        };
        self.kept().any(|resource| resource.refers_to(target))
    }

    /// Resources that are kept: versions before the current ones, and what those pin.
    fn kept(&self) -> impl Iterator<Item = &Arc<Resource>> {
        let before =
            self.unaccepted.iter().filter_map(|(kind, name)| self.slots(*kind).get(name)?.last_good.as_ref());
        let pinned = self.pinned.iter().filter_map(|what| match what {
            Leaving::Slot(kind, name) => self.get(*kind, *name),
            Leaving::Assignment(_) => None,
        });
        before.chain(pinned)
    }
}
