//! Removals that wait for a confirmation: what the guard did not let pass, and what is to come of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use lateen_config::{
    ConfigObject,
    istio::{ServiceEntry, ServicePort},
    kubernetes::{EndpointSlice, SlicePort},
};
use lateen_model::{Diagnostic, Document, ObjectId, SourceId};

use crate::{
    amount,
    entry::Entry,
    guard::{Amount, Guard, GuardSettings},
    held::Objects,
    services::Translated,
};

/// What is to stand in the place of an object once that is confirmed.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Then {
    /// Nothing.
    Gone,
    /// What the adapter translated: fewer endpoints.
    Fewer(Translated),
    /// A text with less in it.
    Text(Document),
}

/// One object's.
#[derive(Clone, Debug)]
struct Pending {
    /// Since when.
    since: u64,
    /// Number of the event that asked for it.
    event: u64,
    then: Then,
    /// How much that takes away.
    amount: Amount,
}

/// Those of one source, the guard that holds them, and the finding that tells of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct HeldRemovals {
    settings: GuardSettings,
    guard: Guard,
    waiting: BTreeMap<ObjectId, Pending>,
    amount: Amount,
    notice: Option<Diagnostic>,
    /// How many removals the notice speaks of.
    noticed: usize,
}

impl HeldRemovals {
    pub(crate) fn set_guard(&mut self, settings: GuardSettings) {
        self.settings = settings;
    }

    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(crate) fn notice(&self) -> Option<&Diagnostic> {
        self.notice.as_ref()
    }

    /// May so much go at once, of so much that there is, held parts included?
    pub(crate) fn allow(&mut self, had: Amount, going: Amount, now: u64) -> bool {
        self.guard.allows(had, going, now, self.settings)
    }

    /// Holds what an event asked for, until it is confirmed. What waits already goes on waiting from when it began.
    pub(crate) fn hold(&mut self, id: ObjectId, then: Then, amount: Amount, event: u64, now: u64) {
        let since = self.release(&id).map_or(now, |(_, since)| since);
        self.amount.add(amount);
        self.waiting.insert(id, Pending { since, event, then, amount });
    }

    /// Nothing of the object is held any more: what was to come, and since when it waited.
    pub(crate) fn release(&mut self, id: &ObjectId) -> Option<(Then, u64)> {
        let pending = self.waiting.remove(id)?;
        self.amount = self.amount - pending.amount;
        Some((pending.then, pending.since))
    }

    /// So much went that was held.
    pub(crate) fn confirmed(&mut self, going: Amount) {
        self.guard.confirmed(going);
    }

    /// What is to come of the object.
    pub(crate) fn then(&self, id: &ObjectId) -> Option<&Then> {
        self.waiting.get(id).map(|pending| &pending.then)
    }

    /// Was the object said to be gone before this event?
    pub(crate) fn was_gone_before(&self, id: &ObjectId, event: u64) -> bool {
        let pending = self.waiting.get(id);
        pending.is_some_and(|pending| pending.then == Then::Gone && pending.event < event)
    }

    /// Objects that have waited long enough.
    pub(crate) fn due(&self, now: u64) -> Vec<ObjectId> {
        let due = self.waiting.iter().filter(|(_, pending)| pending.since + self.settings.confirm_ms <= now);
        due.map(|(id, _)| id.clone()).collect()
    }

    /// When the first one will have.
    pub(crate) fn deadline(&self) -> Option<u64> {
        let since = self.waiting.values().map(|pending| pending.since).min()?;
        Some(since + self.settings.confirm_ms)
    }

    /// Brings the finding up to date.
    pub(crate) fn renew_notice(&mut self, source: &SourceId) {
        let count = self.waiting.len();
        if count == 0 {
            self.notice = None;
        } else if self.notice.is_none() || self.noticed != count {
            self.notice = Some(amount::notice(source, count, self.amount, self.settings));
        }
        self.noticed = count;
    }
}

/// What stays in force of a text while what it lacks is held: all that is new, the objects that are gone, and in
/// lists of endpoints those that went.
pub(crate) fn united(old: &Objects, mut new: Objects) -> Objects {
    for (key, before) in old.iter() {
        match new.get_mut(key) {
            None => drop(new.insert(key.clone(), before.clone())),
            Some(now) => {
                if let Some(both) = with_endpoints(before, now) {
                    *now = both;
                }
            }
        }
    }
    new
}

/// The newer form with the endpoints that only the older one has; none where it lacks none. Where more than the list
/// differs, so that the two lists can't be one, the older form stays whole.
fn with_endpoints(old: &Arc<Entry>, new: &Arc<Entry>) -> Option<Arc<Entry>> {
    let less = amount::of_object(&old.object) - amount::of_object(&new.object);
    if less == Amount::default() {
        return None;
    }
    let spec = match (&old.object.spec, &new.object.spec) {
        (ConfigObject::ServiceEntry(old), ConfigObject::ServiceEntry(new)) => {
            both_entries(old, new).map(|both| ConfigObject::ServiceEntry(both.into()))
        }
        (ConfigObject::EndpointSlice(old), ConfigObject::EndpointSlice(new)) => {
            both_slices(old, new).map(|both| ConfigObject::EndpointSlice(both.into()))
        }
        _ => None,
    };
    let Some(spec) = spec else { return Some(old.clone()) };
    let mut object = new.object.clone();
    object.spec = spec;
    Some(Arc::new(Entry::new(new.precedence.rank, object)))
}

fn both_entries(old: &ServiceEntry, new: &ServiceEntry) -> Option<ServiceEntry> {
    // Where in the text the ports stand does not matter.
    let ports = |entry: &ServiceEntry| -> Vec<_> {
        let port = |p: &ServicePort| (p.number, p.name.clone(), p.protocol.clone(), p.target_port);
        entry.ports.iter().map(port).collect()
    };
    if old.resolution != new.resolution || ports(old) != ports(new) {
        return None;
    }
    let mut both = new.clone();
    both.hosts.extend(old.hosts.iter().filter(|host| !new.hosts.contains(host)).cloned());
    let places: BTreeSet<_> = new.endpoints.iter().map(|e| (&e.address, &e.ports)).collect();
    both.endpoints
        .extend(old.endpoints.iter().filter(|e| !places.contains(&(&e.address, &e.ports))).cloned());
    Some(both)
}

/// Of a service without any endpoints the slice has no ports either.
fn both_slices(old: &EndpointSlice, new: &EndpointSlice) -> Option<EndpointSlice> {
    let ports = |slice: &EndpointSlice| -> Vec<_> {
        let port = |p: &SlicePort| (p.name.clone(), p.port, p.protocol, p.app_protocol.clone());
        slice.ports.iter().map(port).collect()
    };
    if old.address_type != new.address_type || ports(old) != ports(new) {
        return None;
    }
    let mut both = new.clone();
    let places: BTreeSet<_> = new.endpoints.iter().map(|e| &e.addresses).collect();
    both.endpoints.extend(old.endpoints.iter().filter(|e| !places.contains(&e.addresses)).cloned());
    Some(both)
}
