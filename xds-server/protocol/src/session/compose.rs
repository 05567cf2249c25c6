//! What to send next: the names that are pending are decided upon one by one, what may go is put into one
//! response, the rest stays pending.

use std::sync::Arc;

use crate::{
    NameId, Obstacle, Resource, ResourceType, Response, Variant, View,
    channel::Channel,
    encode::ErrorCode,
    faults::{Fault, active},
    flight::Sent,
    held::{FORCE, FOREIGN, HELD, NAMED, PENDING},
    xdstp::Glob,
};

use super::{
    Session, bit,
    gates::{Gates, Verdict},
    hosts,
};

/// What a resource costs in a response besides its body and name, about.
const OVERHEAD_BYTES: usize = 128;

/// A response in the making.
#[derive(Default)]
pub(super) struct Plan<'v> {
    pub(super) sends: Vec<&'v Arc<Resource>>,
    pub(super) removed: Vec<NameId>,
    pub(super) absent: Vec<NameId>,
    /// Can't be had now, which changes nothing about what the client holds.
    pub(super) unavailable: Vec<NameId>,
    /// Still the same, said again to keep it alive.
    pub(super) same: Vec<&'v Arc<Resource>>,
    /// A route configuration without hosts (VHDS).
    pub(super) hostless: Option<NameId>,
    /// What the client turned out to hold already when it came.
    known: Vec<&'v Arc<Resource>>,
    /// The one route configuration of a VHDS response.
    owner: Option<&'v str>,
    bytes: usize,
    trial: bool,
}

impl Plan<'_> {
    fn is_empty(&self) -> bool {
        self.sends.is_empty()
            && self.removed.is_empty()
            && self.absent.is_empty()
            && self.unavailable.is_empty()
    }
}

impl Session {
    /// The next response of one type.
    pub(super) fn compose(
        &mut self,
        channel: &mut Channel,
        view: &dyn View,
        now_ms: u64,
    ) -> Option<Response> {
        if channel.on_hold {
            return None;
        }
        if let Some(until_ms) = self.blocked_until(channel, view, now_ms) {
            self.wait(channel.kind, until_ms);
            return None;
        }
        if channel.rescan {
            channel.rescan = false;
            if channel.implicit {
                self.rescan_hosts(channel, view);
            } else {
                rescan(channel, view);
            }
        }
        let mut plan = self.plan(channel, view, now_ms);
        if plan.is_empty() && !channel.answer_due {
            plan.hostless = channel.hostless.pop();
            if plan.hostless.is_none() {
                self.plan_heartbeat(channel, &mut plan, view, now_ms);
            }
            if plan.is_empty() && plan.hostless.is_none() && plan.same.is_empty() {
                if !channel.pending.is_empty() {
                    self.waiting |= bit(channel.kind);
                }
                return None;
            }
        }
        Some(self.commit(channel, &plan, view, now_ms))
    }

    /// Must the whole type wait, and until when?
    fn blocked_until(&self, channel: &Channel, view: &dyn View, now_ms: u64) -> Option<u64> {
        if now_ms < channel.not_before_ms {
            return Some(channel.not_before_ms);
        }
        if (channel.full || channel.rescan || channel.answer_due)
            && !view.ready()
            && !active(Fault::EmptyWorld)
        {
            // An incomplete set would delete what is missing in it (I-7).
            return Some(u64::MAX);
        }
        if channel.full && channel.flight.has_trial() {
            // The next complete set depends on how this one is judged.
            let until_ms = channel.flight.last_ms.saturating_add(self.options.limits.flight_ms);
            if now_ms < until_ms {
                return Some(until_ms);
            }
        }
        channel.flight.blocked_until(&self.options.limits, now_ms)
    }

    fn wait(&mut self, kind: ResourceType, until_ms: u64) {
        self.waiting |= bit(kind);
        self.wake_ms = self.wake_ms.min(until_ms);
    }

    fn plan<'v>(&mut self, channel: &mut Channel, view: &'v dyn View, now_ms: u64) -> Plan<'v> {
        let mut plan = Plan::default();
        let mut wake_ms = u64::MAX;
        let gates = self.gates(channel.kind, view, now_ms);
        // One trial at a time: a client that answers nothing is not sent one half after the other.
        while plan.is_empty() && channel.suspects.has_trials() && !channel.flight.has_trial() {
            let Some(mut names) = channel.suspects.next_trial(channel.kind, view) else { break };
            names.retain(|name| consider(&gates, channel, *name, &mut plan, &mut wake_ms, view));
            plan.trial = !plan.is_empty();
            channel.pending.append(&mut names);
        }
        if plan.is_empty() {
            let mut names = std::mem::take(&mut channel.pending);
            names.retain(|name| consider(&gates, channel, *name, &mut plan, &mut wake_ms, view));
            if names.is_empty() && names.capacity() > 64 {
                names = Vec::new();
            }
            channel.pending = names;
        }
        self.wake_ms = self.wake_ms.min(wake_ms);
        for routes in plan.known.drain(..) {
            self.push_hosts(routes, 0, view, now_ms);
        }
        plan
    }

    /// Resources with a time to live are repeated before it is over.
    /// <https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#ttl>
    fn plan_heartbeat<'v>(
        &mut self,
        channel: &mut Channel,
        plan: &mut Plan<'v>,
        view: &'v dyn View,
        now_ms: u64,
    ) {
        let Some(next_ms) = channel.beat_ms().filter(|_| !active(Fault::NoHeartbeat)) else { return };
        if now_ms < next_ms {
            self.wait(channel.kind, next_ms);
            return;
        }
        let due: Vec<NameId> =
            channel.beats.iter().filter(|(_, due_ms)| **due_ms <= now_ms).map(|(name, _)| *name).collect();
        for name in due {
            let held = channel.held.get(name).filter(|entry| entry.is(HELD)).map(|entry| entry.version);
            let current = view.get(channel.kind, name).filter(|current| Some(current.version) == held);
            match (current, current.and_then(|current| view.ttl_ms(current))) {
                (Some(current), Some(_))
                    if self.options.variant == Variant::Delta || active(Fault::BodylessHeartbeat) =>
                {
                    plan.same.push(current);
                }
                // State of the world repeats the body: Envoy 1.40 takes an LDS or CDS heartbeat without one for
                // a removal. A time to live that is gone is said by sending the resource without it.
                (Some(current), _) => plan.sends.push(current),
                (None, _) => _ = channel.beats.remove(&name),
            }
        }
        if plan.same.is_empty()
            && plan.sends.is_empty()
            && let Some(next_ms) = channel.beat_ms()
        {
            self.wait(channel.kind, next_ms);
        }
    }

    /// Writes down that the plan is carried out, and makes the bytes.
    fn commit(&mut self, channel: &mut Channel, plan: &Plan<'_>, view: &dyn View, now_ms: u64) -> Response {
        self.number += 1;
        let names = view.names();
        let mut sent = Sent {
            number: self.number,
            bytes: 0,
            at_ms: now_ms,
            count: 0,
            first: None,
            replaced: crate::flight::Replaced::default(),
            removed: Vec::new(),
            trial: plan.trial,
        };
        for resource in &plan.sends {
            self.commit_send(channel, &mut sent, resource, view, now_ms);
        }
        for &name in &plan.removed {
            channel.held.release(name, names.text(name));
            if channel.keeps {
                channel.kept.removed(name, sent.seq());
            }
            channel.settle(name);
            sent.removed.push(name);
        }
        if channel.kind == ResourceType::Cluster && !plan.removed.is_empty() {
            self.fresh.remove(&plan.removed);
            self.dirty |= (bit(ResourceType::Endpoints) | bit(ResourceType::Secret)) & self.waiting;
        }
        for &name in &plan.absent {
            channel.held.release(name, names.text(name));
            if active(Fault::ForgetUnknown)
                && let Some(entry) = channel.held.get_mut(name)
            {
                entry.clear(NAMED);
            }
            channel.settle(name);
            if self.options.variant == Variant::Sotw && channel.kind == ResourceType::Endpoints {
                channel.held.hold(name, names.text(name), FOREIGN, sent.seq());
            }
        }
        for &name in plan.removed.iter().chain(&plan.absent) {
            if self.options.profile.reads_resource_errors() {
                let asked = channel.held.get(name).is_some_and(|entry| entry.is(NAMED));
                channel.tell(name, asked.then(|| code_of(channel.kind, name, view)));
            }
        }
        for &name in &plan.unavailable {
            channel.tell(name, Some(ErrorCode::Unavailable));
            channel.settle(name);
        }
        for resource in plan.sends.iter().chain(&plan.same) {
            set_beat(channel, resource, self.ttl_ms(resource, view), now_ms);
        }
        channel.answer_due = false;
        channel.not_before_ms = 0;
        let response = self.render(channel, plan, view);
        sent.bytes = response.len;
        channel.flight.push(sent);
        response
    }

    fn commit_send(
        &mut self,
        channel: &mut Channel,
        sent: &mut Sent,
        resource: &Arc<Resource>,
        view: &dyn View,
        now_ms: u64,
    ) {
        let (name, seq) = (resource.name, sent.seq());
        let mut begins = true;
        if let Some(before) = channel.held.get(name) {
            // An answer to a subscription, or a first sight: not a mere change.
            begins = before.is(FORCE) || !before.is(HELD);
            if before.is(HELD) {
                sent.replaced.push(*before);
            }
            if channel.kind == ResourceType::Cluster && !before.holds_any() {
                self.fresh.sent(name, seq, now_ms);
            }
        }
        channel.held.hold(name, view.names().text(name), resource.version, seq);
        if let Some(entry) = channel.held.get_mut(name) {
            entry.clear(PENDING | FORCE);
        }
        channel.tell(name, None);
        sent.count += 1;
        sent.first = Some(name);
        if channel.suspects.is_unsettled()
            && view.get(channel.kind, name).is_some_and(|newest| newest.version == resource.version)
        {
            channel.suspects.acquit(name);
        }
        if channel.kind == ResourceType::Cluster {
            self.resend_endpoints(resource);
        }
        if channel.kind == ResourceType::RouteConfiguration {
            let had_hosts = channel
                .kept
                .get(name)
                .and_then(|keep| keep.sent.as_ref())
                .is_some_and(|r| hosts::has_hosts(r));
            if begins || !had_hosts {
                self.push_hosts(resource, FORCE, view, now_ms);
            }
        }
        if channel.keeps {
            channel.kept.sent(resource, seq);
        }
    }

    /// Envoy warms a cluster that has changed until it sees the assignment again, asks for it in state of the
    /// world only with what looks like an ACK, and in delta not at all. So it is sent right behind.
    /// <https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#eventual-consistency-considerations>
    fn resend_endpoints(&mut self, cluster: &Resource) {
        if active(Fault::NoEndpointsBehindCluster) {
            return;
        }
        let Some(endpoints) = self.channel(ResourceType::Endpoints).as_deref_mut() else { return };
        let mut any = false;
        cluster.refs.visit(&mut |target| {
            if target.kind == ResourceType::Endpoints
                && endpoints.held.get(target.name).is_some_and(|entry| entry.is(NAMED))
            {
                endpoints.mark(target.name, FORCE);
                any = true;
            }
        });
        if any {
            endpoints.on_hold = false;
            self.dirty |= bit(ResourceType::Endpoints);
        }
    }
}

/// Decides about one name. Does it stay pending?
fn consider<'v>(
    gates: &Gates<'_>,
    channel: &mut Channel,
    name: NameId,
    plan: &mut Plan<'v>,
    wake_ms: &mut u64,
    view: &'v dyn View,
) -> bool {
    let Some(entry) = channel.held.get(name).copied() else { return false };
    if channel.implicit {
        // Envoy judges the hosts of several route configurations one by one, but answers once: what it applied
        // of a response that it rejected could not be known.
        let owner = hosts::route_configuration_of(view.names().text(name));
        if !plan.is_empty() && owner != plan.owner {
            return true;
        }
        plan.owner = owner;
    }
    if channel.nack.is_some() && view.get(channel.kind, name).is_none() && channel.suspects.forgive(name) {
        // What was rejected is gone: so is the complaint about it.
        if !channel.suspects.is_unsettled() {
            channel.nack = None;
        }
    }
    match gates.decide(channel, &entry, view) {
        Verdict::Settled => {
            let holds_newest = || {
                view.get(channel.kind, name).is_some_and(|newest| {
                    entry.holds(newest.version) && !channel.suspects.is_rejected(name, newest.version)
                })
            };
            if channel.nack.is_some() && holds_newest() {
                // What was rejected is no longer what the client should have.
                channel.suspects.acquit(name);
                if !channel.suspects.is_unsettled() {
                    channel.nack = None;
                }
            }
            if channel.keeps
                && let Some(current) = view.get(channel.kind, name)
                && entry.holds(current.version)
            {
                if channel.kept.get(name).is_none() {
                    plan.known.push(current);
                }
                channel.kept.holds(current);
            }
            channel.settle(name);
            false
        }
        Verdict::Later(until_ms) => {
            *wake_ms = (*wake_ms).min(until_ms);
            true
        }
        Verdict::Send(resource) => {
            let bytes = resource.body.len() + OVERHEAD_BYTES;
            // A resource that is too large by itself goes alone.
            if !channel.full
                && plan.bytes > 0
                && plan.bytes + bytes > gates.response_bytes()
                && !active(Fault::NeverSplit)
            {
                return true;
            }
            plan.bytes += bytes;
            plan.sends.push(resource);
            false
        }
        Verdict::Remove if channel.full && active(Fault::NoEmptySet) && is_empty(channel.kind, view) => false,
        Verdict::Remove => {
            plan.removed.push(name);
            false
        }
        Verdict::Vanished => {
            channel.held.release(name, view.names().text(name));
            channel.settle(name);
            false
        }
        Verdict::Absent => {
            plan.absent.push(name);
            false
        }
        Verdict::Unavailable => {
            plan.unavailable.push(name);
            false
        }
    }
}

/// Why a name that is not to be had is not.
pub(super) fn code_of(kind: ResourceType, name: NameId, view: &dyn View) -> ErrorCode {
    match view.obstacle(kind, name) {
        Some(Obstacle::Denied) => ErrorCode::PermissionDenied,
        Some(Obstacle::Unavailable) => ErrorCode::Unavailable,
        None => ErrorCode::NotFound,
    }
}

/// Does nothing of the type exist?
fn is_empty(kind: ResourceType, view: &dyn View) -> bool {
    let mut empty = true;
    view.members(kind, &mut |_, _| empty = false);
    empty
}

/// Marks every difference between what a wildcard subscriber holds and what it should hold.
fn rescan(channel: &mut Channel, view: &dyn View) {
    let kind = channel.kind;
    let mut differs = Vec::new();
    let Channel { held, kept, keeps, globs, wildcard, .. } = channel;
    let covered =
        |name| *wildcard || globs.iter().any(|(_, glob): &(NameId, Glob)| glob.has(view.names().text(name)));
    view.members(kind, &mut |name, resource| {
        if !covered(name) {
            return;
        }
        let same = held.get(name).is_some_and(|entry| entry.holds(resource.version));
        if !same {
            differs.push(name);
        } else if *keeps {
            kept.holds(resource);
        }
    });
    let gone = held.iter().filter(|entry| entry.is(HELD) && !entry.is(NAMED));
    let gone = gone.map(|entry| entry.name).filter(|name| !view.is_member(kind, *name) || !covered(*name));
    differs.extend(gone);
    channel.held.make_room(&differs);
    channel.pending.reserve_exact(differs.len());
    for name in differs {
        channel.mark(name, 0);
    }
}

fn set_beat(channel: &mut Channel, resource: &Resource, ttl_ms: Option<u32>, now_ms: u64) {
    let name = resource.name;
    let Some(ttl_ms) = ttl_ms else {
        channel.beats.remove(&name);
        return;
    };
    // Less than half of the time to live, so that one may be late.
    channel.beats.insert(name, now_ms + u64::from(ttl_ms) / 3);
}
