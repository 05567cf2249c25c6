//! What a source no longer has: gone at once, or held until it is confirmed.

use std::collections::BTreeSet;

use lateen_model::{ObjectId, Scope};

use super::{Effect, Shard, Touched};
use crate::{few::Few, guard::Amount, held::ServiceName, pending::Then};

impl Shard {
    /// A listing ended: what it did not name is gone, where that is not too much at once.
    pub(super) fn finish(&mut self, scope: &Scope, now: u64) -> Vec<Effect> {
        let Some(at) = self.open.iter().position(|(open, _)| open == scope) else { return Vec::new() };
        let (_, began) = self.open.remove(at);
        let first = ObjectId { kind: scope.kind, name: scope.prefix.clone() };
        let within = self.held.range(first..).take_while(|(id, _)| scope.contains(id));
        let gone: Vec<ObjectId> =
            within.filter(|(_, held)| held.seen < began).map(|(id, _)| id.clone()).collect();
        // An adapter opens all scopes of its first listing before it closes the first one.
        if self.open.is_empty() {
            (self.synced, self.saved_at) = (true, None);
        }
        let (confirmed, new): (Vec<_>, Vec<_>) =
            gone.into_iter().partition(|id| self.removals.was_gone_before(id, began));
        let mut effects: Vec<Effect> = confirmed.iter().flat_map(|id| self.confirm(id)).collect();
        let going = self.amount_with_endpoints(&new);
        if self.removals.allow(self.total, going, now) {
            effects.extend(new.iter().flat_map(|id| self.remove(id)));
        } else {
            for id in new {
                self.hold_gone(id, now);
            }
        }
        effects
    }

    /// The source says that the object is gone: said again, it is believed.
    pub(super) fn removal(&mut self, id: ObjectId, now: u64) -> Vec<Effect> {
        if self.removals.then(&id) == Some(&Then::Gone) {
            return self.confirm(&id);
        }
        let going = self.amount_with_endpoints(std::slice::from_ref(&id));
        if self.removals.allow(self.total, going, now) {
            return self.remove(&id);
        }
        self.hold_gone(id, now);
        Vec::new()
    }

    /// How much the object is for the guard.
    pub(super) fn amount(&self, id: &ObjectId) -> Amount {
        self.held.get(id).map(|held| held.content.size().1).unwrap_or_default()
    }

    /// How much goes for clients when these objects go: with a service all its endpoints, whatever becomes of the
    /// objects that have them. So a service stays as long as its endpoints are held.
    fn amount_with_endpoints(&self, ids: &[ObjectId]) -> Amount {
        let services = ids.iter().filter_map(|id| self.held.get(id)).flat_map(|held| held.content.services());
        let serving = services.filter_map(|service| self.serving.get(&service)).flat_map(Few::keys);
        let named: BTreeSet<&ObjectId> = ids.iter().collect();
        let others: BTreeSet<&ObjectId> = serving.filter(|id| !named.contains(id)).collect();
        let mut going = Amount::default();
        for id in named {
            going.add(self.amount(id));
        }
        for id in others {
            going.add(Amount { endpoints: self.amount(id).endpoints, ..Amount::default() });
        }
        going
    }

    /// Keeps the index of who has endpoints of which service.
    pub(super) fn serve(&mut self, id: &ObjectId, before: Vec<ServiceName>) {
        let now = self.held.get(id).map(|held| held.content.serves()).unwrap_or_default();
        if before == now {
            return;
        }
        for service in before {
            if let Some(ids) = self.serving.get_mut(&service) {
                ids.remove(id);
                if ids.is_empty() {
                    self.serving.remove(&service);
                }
            }
        }
        for service in now {
            self.serving.entry(service).or_default().insert(id.clone(), ());
        }
    }

    /// Keeps the object, until its removal is confirmed.
    fn hold_gone(&mut self, id: ObjectId, now: u64) {
        let amount = self.amount(&id);
        self.removals.hold(id, Then::Gone, amount, self.events, now);
    }

    /// Does what was pending.
    pub(super) fn confirm(&mut self, id: &ObjectId) -> Vec<Effect> {
        let had = self.total;
        let effects = self.confirmed(id);
        self.removals.confirmed(had - self.total);
        effects
    }

    fn confirmed(&mut self, id: &ObjectId) -> Vec<Effect> {
        let seen = self.held.get(id).map_or(0, |held| held.seen);
        let effects = match self.removals.release(id).map(|(then, _)| then) {
            None => Vec::new(),
            Some(Then::Gone) => self.remove(id),
            Some(Then::Fewer(fewer)) => self.measured(id, |shard, id| shard.translated(id, fewer)),
            Some(Then::Text(document)) => {
                self.measured(id, |shard, id| shard.document(id, &document, None, None))
            }
        };
        if let Some(held) = self.held.get_mut(id) {
            held.seen = seen;
        }
        effects
    }

    fn remove(&mut self, id: &ObjectId) -> Vec<Effect> {
        self.removals.release(id);
        self.noted.remove(id);
        let Some(held) = self.held.remove(id) else { return Vec::new() };
        self.serve(id, held.content.serves());
        self.touched.insert(id.clone(), Touched::Gone);
        let (objects, size) = held.content.size();
        (self.objects, self.total) = (self.objects.saturating_sub(objects), self.total - size);
        held.content.taken_out(id)
    }
}
