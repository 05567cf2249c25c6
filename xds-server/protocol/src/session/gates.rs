//! Make before break, per name and by ACK (I-9).
//! <https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#eventual-consistency-considerations>

use std::sync::Arc;

use lateen_model::Version;

use crate::{
    NameId, Obstacle, Resource, ResourceRef, ResourceType, SessionOptions, Variant, View,
    channel::Channel,
    encode::ErrorCode,
    faults::{Fault, active},
    held::{Entry, FORCE, HELD, NAMED},
    resource::Refs,
};

use super::{Channels, Session};

/// A cluster that was sent for the first time.
#[derive(Clone, Copy, Debug)]
struct FreshCluster {
    name: NameId,
    seq: u32,
    at_ms: u64,
}

/// The clusters that the client was sent for the first time and has not accepted yet, sorted by name. Normally
/// there are none.
#[derive(Debug, Default)]
pub(super) struct Fresh(Vec<FreshCluster>);

impl Fresh {
    fn position(&self, name: NameId) -> Result<usize, usize> {
        self.0.binary_search_by_key(&name, |cluster| cluster.name)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn names(&self) -> impl Iterator<Item = NameId> {
        self.0.iter().map(|cluster| cluster.name)
    }

    /// Response `seq` brings `name`. A cluster that is sent again keeps its time.
    pub(super) fn sent(&mut self, name: NameId, seq: u32, at_ms: u64) {
        match self.position(name) {
            Ok(at) => {
                if let Some(cluster) = self.0.get_mut(at) {
                    cluster.seq = seq;
                }
            }
            Err(at) => self.0.insert(at, FreshCluster { name, seq, at_ms }),
        }
    }

    /// Response `seq` was accepted.
    pub(super) fn acked(&mut self, seq: u32) {
        self.retain(|cluster| cluster.seq != seq);
    }

    /// Response `from` is judged together with response `to`.
    pub(super) fn renumber(&mut self, from: u32, to: u32) {
        for cluster in &mut self.0 {
            if cluster.seq == from {
                cluster.seq = to;
            }
        }
    }

    pub(super) fn remove(&mut self, names: &[NameId]) {
        self.retain(|cluster| !names.contains(&cluster.name));
    }

    /// Who names a cluster that was sent this long ago need not wait for it any more.
    pub(super) fn expire(&mut self, now_ms: u64, gate_ms: u64) {
        self.retain(|cluster| now_ms < cluster.at_ms.saturating_add(gate_ms));
    }

    fn retain(&mut self, keep: impl Fn(&FreshCluster) -> bool) {
        if self.0.is_empty() {
            return;
        }
        self.0.retain(keep);
        if self.0.is_empty() {
            self.0 = Vec::new();
        }
    }
}

/// What is to be done about a name.
#[derive(Debug)]
pub(super) enum Verdict<'v> {
    /// The client has what it should have.
    Settled,
    /// Something stands in the way, until this time at most.
    Later(u64),
    /// It gets this.
    Send(&'v Arc<Resource>),
    /// It is told that what it holds is gone.
    Remove,
    /// It holds something that is gone, and there is no way to say so.
    Vanished,
    /// It is told that what it asked for does not exist, or that it may not have it.
    Absent,
    /// It is told that what it asked for can't be had at the moment, and keeps what it holds.
    Unavailable,
}

/// What decides about the names of one type: the state of the others.
pub(super) struct Gates<'a> {
    channels: &'a Channels,
    view: &'a dyn View,
    fresh: &'a Fresh,
    options: &'a SessionOptions,
    now_ms: u64,
    reconnect_until_ms: u64,
    /// Clusters that exist and could not be sent yet.
    unsent: Vec<NameId>,
}

impl Session {
    pub(super) fn gates<'a>(&'a self, kind: ResourceType, view: &'a dyn View, now_ms: u64) -> Gates<'a> {
        let unsent = match self.peek(ResourceType::Cluster) {
            Some(clusters) if waits_for_clusters(kind) => clusters
                .pending
                .iter()
                .copied()
                .filter(|name| clusters.held.get(*name).is_some_and(|entry| !entry.is(HELD)))
                .filter(|name| current(clusters, *name, &self.channels, view).is_some())
                .collect(),
            _ => Vec::new(),
        };
        Gates {
            channels: &self.channels,
            view,
            fresh: &self.fresh,
            options: &self.options,
            now_ms,
            reconnect_until_ms: self.reconnect_until_ms,
            unsent,
        }
    }
}

impl Gates<'_> {
    /// Size at which a response is split.
    pub(super) fn response_bytes(&self) -> usize {
        self.options.limits.response_bytes
    }

    /// What is to be done about `entry`.
    pub(super) fn decide<'v>(&self, channel: &Channel, entry: &Entry, view: &'v dyn View) -> Verdict<'v> {
        let Some(newest) = current(channel, entry.name, self.channels, view) else {
            return self.decide_gone(channel, entry, view);
        };
        let forced = entry.is(FORCE);
        let chosen = if channel.suspects.is_rejected(newest.name, newest.version) {
            // It was rejected, so there is silence until there is something else to say; but a client that has
            // nothing gets what others have accepted.
            // <https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#ack-nack-and-resource-type-instance-version>
            if entry.holds_any() && !forced {
                return Verdict::Settled;
            }
            stand_in(channel, newest, view)
        } else if view.condemned(newest) {
            stand_in(channel, newest, view)
        } else {
            Some(newest)
        };
        if channel.kind == ResourceType::Endpoints
            && active(Fault::EndpointsWaitForAck)
            && self.channels.iter().flatten().any(|c| c.kind == ResourceType::Cluster && !c.flight.is_empty())
        {
            return Verdict::Later(u64::MAX);
        }
        let Some(chosen) = chosen else {
            return if forced && !entry.holds_any() { Verdict::Absent } else { Verdict::Settled };
        };
        if entry.holds(chosen.version) && !forced {
            return Verdict::Settled;
        }
        match self.waits_for(channel.kind, chosen) {
            Some(until_ms) => Verdict::Later(until_ms),
            None => Verdict::Send(chosen),
        }
    }

    /// `entry` is not to be had: it does not exist, it is denied, or nobody can be asked.
    fn decide_gone<'v>(&self, channel: &Channel, entry: &Entry, view: &dyn View) -> Verdict<'v> {
        if !view.ready() && !active(Fault::EmptyWorld) {
            return Verdict::Later(u64::MAX);
        }
        let forced = entry.is(FORCE);
        if entry.is(NAMED) && !entry.is(HELD) && has_members(channel, entry.name, view) {
            return Verdict::Settled;
        }
        let obstacle = view.obstacle(channel.kind, entry.name);
        // Conditions are told once, to who asked by name and reads them.
        let untold = |code| {
            entry.is(NAMED)
                && self.options.profile.reads_resource_errors()
                && (forced || !channel.was_told(entry.name, code))
        };
        if obstacle == Some(Obstacle::Unavailable) {
            let tell = untold(ErrorCode::Unavailable);
            return if tell { Verdict::Unavailable } else { Verdict::Settled };
        }
        let denied = obstacle == Some(Obstacle::Denied) && untold(ErrorCode::PermissionDenied);
        if !entry.is(HELD) {
            if denied {
                return Verdict::Absent;
            }
            let silent = active(Fault::SilentAboutUnknown);
            return if forced && !silent { Verdict::Absent } else { Verdict::Settled };
        }
        if active(Fault::NoRemovals) && !channel.full {
            return Verdict::Vanished;
        }
        if self.options.variant == Variant::Sotw && !channel.full {
            // Only a complete set can say that something is gone.
            // <https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#deleting-resources>
            let endpoints = channel.kind == ResourceType::Endpoints;
            let told = (forced && endpoints) || denied || (!endpoints && untold(ErrorCode::NotFound));
            return if told { Verdict::Absent } else { Verdict::Vanished };
        }
        // Nobody uses a name that the client has unsubscribed.
        if forced && !entry.is(NAMED) {
            return Verdict::Remove;
        }
        match self.removal_waits(channel.kind, entry.name) {
            Some(until_ms) => Verdict::Later(until_ms),
            None => Verdict::Remove,
        }
    }

    /// Does `resource` name a cluster that the client does not have yet, but will? Until when does it wait?
    /// Envoy acknowledges a cluster when it is warm.
    fn waits_for(&self, kind: ResourceType, resource: &Resource) -> Option<u64> {
        if active(Fault::NoGates)
            || !waits_for_clusters(kind)
            || (self.fresh.is_empty() && self.unsent.is_empty())
        {
            return None;
        }
        let cluster = match &resource.refs {
            Refs::List(list) => list
                .iter()
                .filter(|target| target.kind == ResourceType::Cluster)
                .map(|target| target.name)
                .find(|name| self.fresh.position(*name).is_ok() || self.unsent.contains(name)),
            Refs::Set(set) => {
                let named =
                    |name: &NameId| set.contains(ResourceRef { kind: ResourceType::Cluster, name: *name });
                self.fresh.names().find(named).or_else(|| self.unsent.iter().copied().find(named))
            }
        }?;
        let sent = self.fresh.position(cluster).ok().and_then(|at| self.fresh.0.get(at));
        let Some(sent) = sent else { return Some(u64::MAX) };
        let until_ms = sent.at_ms.saturating_add(self.options.limits.gate_ms);
        (self.now_ms < until_ms).then_some(until_ms)
    }

    /// Must the removal of `name` wait, and until when? A NACK never opens this gate.
    fn removal_waits(&self, kind: ResourceType, name: NameId) -> Option<u64> {
        const FOR_AN_ANSWER: Option<u64> = Some(u64::MAX);
        let target = ResourceRef { kind, name };
        let referred = || {
            [ResourceType::Listener, ResourceType::RouteConfiguration, ResourceType::ScopedRoute]
                .into_iter()
                .filter_map(|kind| self.peek(kind))
                .any(|channel| channel.kept.refers_to(target))
        };
        // What the client is to have for good waits for nothing: it names a cluster that does not exist, and no
        // answer will ever change that. Envoy answers 503 there.
        let still_in_use = || {
            [ResourceType::Listener, ResourceType::RouteConfiguration, ResourceType::ScopedRoute]
                .into_iter()
                .filter_map(|kind| self.peek(kind))
                .any(|channel| channel.kept.is_in_use(target, |name| self.wanted(channel, name)))
        };
        match kind {
            ResourceType::Cluster if active(Fault::RemoveClusterEarly) => None,
            ResourceType::Cluster => {
                // What the client's routes were before it reconnected is unknown until they are answered.
                let routes = [ResourceType::Listener, ResourceType::RouteConfiguration];
                let answered = |kind| self.peek(kind).is_some_and(Channel::is_answered);
                if self.now_ms < self.reconnect_until_ms && !routes.into_iter().all(answered) {
                    return Some(self.reconnect_until_ms);
                }
                // What old virtual hosts refer to is not kept: they must all be accepted.
                let hosts_unsettled = self.peek(ResourceType::VirtualHost).is_some_and(|hosts| {
                    !hosts.pending.is_empty() || !hosts.flight.is_empty() || hosts.suspects.is_unsettled()
                });
                if hosts_unsettled || still_in_use() { FOR_AN_ANSWER } else { None }
            }
            ResourceType::RouteConfiguration | ResourceType::ExtensionConfig => {
                if referred() {
                    FOR_AN_ANSWER
                } else {
                    None
                }
            }
            // Their clusters go first; which cluster used them is not kept.
            ResourceType::Endpoints | ResourceType::Secret => {
                let clusters_first = self.peek(ResourceType::Cluster).is_some_and(|clusters| {
                    let held = |name: &NameId| clusters.held.get(*name).is_some_and(|entry| entry.is(HELD));
                    clusters.pending.iter().any(held)
                });
                if clusters_first || referred() { FOR_AN_ANSWER } else { None }
            }
            ResourceType::Listener
            | ResourceType::ScopedRoute
            | ResourceType::VirtualHost
            | ResourceType::Runtime => None,
        }
    }

    /// The version of `name` that the client is meant to have.
    fn wanted(&self, channel: &Channel, name: NameId) -> Option<Version> {
        current(channel, name, self.channels, self.view).map(|resource| resource.version)
    }

    fn peek(&self, kind: ResourceType) -> Option<&Channel> {
        self.channels.get(kind.index())?.as_deref()
    }
}

/// Do resources of this type wait for the clusters that they name?
const fn waits_for_clusters(kind: ResourceType) -> bool {
    match kind {
        ResourceType::Listener
        | ResourceType::RouteConfiguration
        | ResourceType::ScopedRoute
        | ResourceType::VirtualHost => true,
        ResourceType::Cluster
        | ResourceType::Endpoints
        | ResourceType::Secret
        | ResourceType::ExtensionConfig
        | ResourceType::Runtime => false,
    }
}

/// Is `name` that of a collection which is not empty? One that is empty does not exist.
fn has_members(channel: &Channel, name: NameId, view: &dyn View) -> bool {
    let mut found = false;
    if let Some((_, glob)) = channel.globs.iter().find(|(of, _)| *of == name) {
        view.members(channel.kind, &mut |member, _| found |= glob.has(view.names().text(member)));
    }
    found
}

/// What goes in place of a version that is rejected.
fn stand_in<'v>(channel: &Channel, bad: &Resource, view: &'v dyn View) -> Option<&'v Arc<Resource>> {
    view.last_good(channel.kind, bad.name)
        .filter(|good| good.version != bad.version && !channel.suspects.is_rejected(good.name, good.version))
}

/// What the view has for a name of this subscription.
fn current<'v>(
    channel: &Channel,
    name: NameId,
    channels: &Channels,
    view: &'v dyn View,
) -> Option<&'v Arc<Resource>> {
    let named = channel.held.get(name).is_some_and(|entry| entry.is(NAMED));
    let covered = named
        || (channel.wildcard && view.is_member(channel.kind, name))
        || (!channel.globs.is_empty() && channel.in_glob(view.names().text(name)))
        || (channel.implicit && super::hosts::is_active(channels, name, view));
    // Nobody sees an alias who has not asked for it.
    let other = !named && view.spelling(channel.kind, name).is_some_and(|spelling| spelling.name != name);
    if covered && !other { view.get(channel.kind, name) } else { None }
}
