//! A gateway that was converted, and what it takes to convert again only what a change concerns: the routes that
//! changed, those of the other kind that share a host with them, and the hosts of both.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use lateen_model::{ByHost, Diagnostic};

use super::{
    Derived, GatewayInput, Report,
    attach::{hosts, is_kept, names_gateway, report_rival, report_unattached},
    gateway::{Served, host_key, host_object, is_ours, listener_objects, served},
    route::{Attachable, Ranked, ranked},
};
use crate::{
    gateway_api::Gateway,
    kind::{Kind, ObjectKey},
    object::{ConfigObject, ParsedObject},
    precedence::age,
};

/// Place of a route among those of its gateway: "the oldest Route based on creation timestamp", then "the Route
/// appearing first in alphabetical order by {namespace}/{name}".
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
struct Order {
    created: i64,
    name: Arc<str>,
    key: ObjectKey,
}

impl Order {
    fn of(route: &ParsedObject) -> Self {
        let key = route.key.clone();
        Self { created: age(route), name: format!("{}/{}", key.namespace, key.name).into(), key }
    }
}

/// That a listener attaches a route.
#[derive(Clone, PartialEq, Debug)]
struct Attachment {
    listener: usize,
    hosts: BTreeSet<String>,
    /// Otherwise an older route of the other kind has one of the hosts.
    is_accepted: bool,
    /// Has it any rule for any host?
    counts: bool,
}

/// A converted gateway. It is as it was made by [`GatewayConversion::new`] from the same objects, whatever updates it
/// came by; gateway, class, grants and labels of namespaces that others than the changed routes depend on want a new
/// one.
#[derive(Clone, Debug, Default)]
pub struct GatewayConversion {
    is_ours: bool,
    routes: BTreeMap<Order, Vec<Attachment>>,
    orders: HashMap<ObjectKey, Order>,
    /// The routes of each kind that each listener attaches, accepted or not, by host.
    claims: HashMap<(usize, Kind), ByHost<BTreeSet<Order>>>,
    attached: BTreeMap<String, u32>,
    findings: BTreeMap<ObjectKey, Vec<Diagnostic>>,
}

/// What an update changed.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Update {
    /// What is made of each host that the changed routes have or had; none where nothing is any more.
    pub objects: Vec<(ObjectKey, Option<Derived>)>,
    /// The routes that stand otherwise now, and the gateway if the numbers of its routes are others.
    pub reconsidered: Vec<ObjectKey>,
}

/// The route of a key that names the gateway as a parent.
type Routes<'w, 'a> = &'w dyn Fn(&ObjectKey) -> Option<&'a ParsedObject>;

/// What is under way.
struct Work<'w, 'a> {
    input: &'w GatewayInput<'a>,
    spec: &'w Gateway,
    listeners: &'w [Served<'w>],
    route: Routes<'w, 'a>,
    /// Routes to look at, the oldest first: whether one is accepted depends on older ones only.
    waiting: BTreeSet<Order>,
    /// Those that are others than before.
    changed: BTreeSet<ObjectKey>,
    /// Hosts to put together, by their listeners.
    hosts: BTreeSet<(usize, String)>,
    /// Routes that were converted already, by their listeners.
    ranked: HashMap<(usize, ObjectKey), Vec<Ranked<'a>>>,
    reconsidered: Vec<ObjectKey>,
}

impl GatewayConversion {
    /// Converts a gateway with all its routes.
    pub fn new(input: &GatewayInput<'_>) -> (Self, Vec<Derived>) {
        let mut conversion = Self::default();
        let ConfigObject::Gateway(spec) = &input.gateway.spec else { return (conversion, Vec::new()) };
        let mut report = Report::default();
        conversion.is_ours = is_ours(spec, input, &mut report);
        let listeners = if conversion.is_ours { served(spec, input, &mut report) } else { Vec::new() };
        conversion.note(&input.gateway.key, report.findings);
        if !conversion.is_ours {
            return (conversion, Vec::new());
        }
        let open = listeners.iter().filter(|served| !served.closed);
        let names = open.map(|served| (served.listener.name.clone(), 0));
        conversion.attached = names.collect();
        let mut objects = listener_objects(&listeners, input);
        let routes = input.routes.iter().filter(|object| ROUTES.contains(&object.key.kind));
        let routes: HashMap<&ObjectKey, &ParsedObject> = routes.map(|route| (&route.key, *route)).collect();
        let changed = routes.keys().map(|key| (*key).clone()).collect();
        let route = |key: &ObjectKey| routes.get(key).copied();
        let mut work = Work::new(input, spec, &listeners, &route, changed);
        let kept =
            listeners.iter().enumerate().filter(|(_, served)| !served.closed && is_kept(served, &listeners));
        work.hosts.extend(kept.map(|(at, served)| (at, served.host.to_ascii_lowercase())));
        let update = conversion.run(work);
        objects.extend(update.objects.into_iter().filter_map(|(_, made)| made));
        (conversion, objects)
    }

    /// Takes over that these routes have come, changed or gone. `route` gives those that name the gateway.
    pub fn update<'a>(
        &mut self,
        input: &GatewayInput<'a>,
        changed: BTreeSet<ObjectKey>,
        route: &dyn Fn(&ObjectKey) -> Option<&'a ParsedObject>,
    ) -> Update {
        let ConfigObject::Gateway(spec) = &input.gateway.spec else { return Update::default() };
        if !self.is_ours {
            return Update::default();
        }
        // What is wrong with them was found when the gateway was converted.
        let listeners = served(spec, input, &mut Report::default());
        self.run(Work::new(input, spec, &listeners, route, changed))
    }

    /// What was found wrong with the gateway and its routes.
    pub fn findings(&self) -> impl Iterator<Item = &Diagnostic> {
        self.findings.values().flatten()
    }

    /// What was found wrong with one of them.
    pub fn findings_of(&self, key: &ObjectKey) -> &[Diagnostic] {
        self.findings.get(key).map(Vec::as_slice).unwrap_or_default()
    }

    /// The listeners with the number of routes attached to each.
    pub fn attached(&self) -> &BTreeMap<String, u32> {
        &self.attached
    }

    fn run(&mut self, mut work: Work<'_, '_>) -> Update {
        let attached = self.attached.clone();
        for key in &work.changed {
            work.waiting.extend(self.orders.get(key).cloned());
            work.waiting.extend((work.route)(key).map(Order::of));
        }
        while let Some(order) = work.waiting.pop_first() {
            self.settle(&order, &mut work);
        }
        if self.attached != attached {
            work.reconsidered.push(work.input.gateway.key.clone());
        }
        let mut objects = Vec::new();
        for (at, host) in std::mem::take(&mut work.hosts) {
            let Some(served) = work.listeners.get(at) else { continue };
            objects.push((host_key(&host, served, work.input), self.host(at, &host, served, &mut work)));
        }
        Update { objects, reconsidered: work.reconsidered }
    }

    /// Looks at one route anew, and marks what depends on how it stands.
    fn settle(&mut self, order: &Order, work: &mut Work<'_, '_>) {
        let object = (work.route)(&order.key).filter(|object| Order::of(object) == *order);
        let route = object.and_then(Attachable::of).filter(|route| names_gateway(route, work.input));
        let before = self.take_out(order, work);
        let is_there = route.is_some();
        let (now, findings) = route.map(|route| self.examine(&route, order, work)).unwrap_or_default();
        let changed = work.changed.contains(&order.key);
        for at in 0..work.listeners.len() {
            let (old, new) = (accepted(&before, at), accepted(&now, at));
            let other = self.claims.get(&(at, other_kind(order.key.kind)));
            for host in old.symmetric_difference(new) {
                let rivals = other.into_iter().flat_map(|other| other.meeting(host)).flatten();
                work.waiting.extend(rivals.filter(|rival| *rival > order).cloned());
            }
            let hosts: Vec<_> =
                if changed { old.union(new).collect() } else { old.symmetric_difference(new).collect() };
            work.hosts.extend(hosts.into_iter().map(|host| (at, host.clone())));
        }
        // A route of another age stands in another place: only the one that it has now has findings.
        let is_moved = self.orders.contains_key(&order.key);
        if is_there || !is_moved {
            let is_other = self.note(&order.key, findings) || before != now;
            if is_there && is_other {
                work.reconsidered.push(order.key.clone());
            }
        }
        if is_there {
            self.put_in(order, now, work);
        }
    }

    /// How the route stands, and what is wrong with it. Older routes were looked at before.
    fn examine<'a>(
        &self,
        route: &Attachable<'a>,
        order: &Order,
        work: &mut Work<'_, 'a>,
    ) -> (Vec<Attachment>, Vec<Diagnostic>) {
        let (input, listeners) = (work.input, work.listeners);
        let mut report = Report::default();
        report_unattached(route, work.spec, listeners, input, &mut report);
        let mut attachments = Vec::new();
        for (listener, served) in listeners.iter().enumerate().filter(|(_, served)| !served.closed) {
            let Some(hosts) = hosts(route, served, listeners, input) else { continue };
            let rival = self.rival(listener, order, &hosts);
            let mut counts = false;
            if let Some(rival) = rival {
                report_rival(route, &rival.key, served, input, &mut report);
            } else {
                let all = ranked(route.object, Some(served.via), None, &input.around, &mut report);
                counts = !hosts.is_empty() && !all.is_empty();
                work.ranked.insert((listener, order.key.clone()), all);
            }
            attachments.push(Attachment { listener, hosts, is_accepted: rival.is_none(), counts });
        }
        (attachments, report.findings)
    }

    /// The oldest accepted route of the other kind that has one of these hosts. "If a Route (A) of type `HTTPRoute` or
    /// `GRPCRoute` is attached to a Listener and that listener already has another Route (B) of the other type attached
    /// and the intersection of the hostnames of A and B is non-empty, then the implementation MUST accept exactly one of
    /// these two routes": <https://gateway-api.sigs.k8s.io/reference/spec/#grpcroute>
    fn rival(&self, at: usize, order: &Order, hosts: &BTreeSet<String>) -> Option<&Order> {
        let claims = self.claims.get(&(at, other_kind(order.key.kind)))?;
        let others = hosts.iter().flat_map(|host| claims.meeting(host)).flatten();
        others.filter(|other| *other < order && self.is_accepted(other, at)).min()
    }

    fn is_accepted(&self, order: &Order, at: usize) -> bool {
        let attachments = self.routes.get(order).into_iter().flatten();
        attachments.into_iter().any(|attachment| attachment.listener == at && attachment.is_accepted)
    }

    /// Puts a host together. Routes that did not change are converted again: what is wrong with them is known.
    fn host<'a>(
        &self,
        at: usize,
        host: &str,
        served: &Served<'_>,
        work: &mut Work<'_, 'a>,
    ) -> Option<Derived> {
        let (input, route) = (work.input, work.route);
        let claims = ROUTES.iter().filter_map(|kind| self.claims.get(&(at, *kind)));
        let orders = claims.filter_map(|claims| claims.get(host)).flatten();
        let mut all: Vec<Ranked<'a>> = Vec::new();
        let mut is_empty = true;
        for order in orders.filter(|order| self.is_accepted(order, at)) {
            is_empty = false;
            let convert = || {
                let object = route(&order.key);
                let all =
                    |object| ranked(object, Some(served.via), None, &input.around, &mut Report::default());
                object.map(all).unwrap_or_default()
            };
            all.extend(work.ranked.entry((at, order.key.clone())).or_insert_with(convert).iter().cloned());
        }
        let is_kept = || served.host.eq_ignore_ascii_case(host) && is_kept(served, work.listeners);
        if is_empty && !is_kept() {
            return None;
        }
        host_object(host, served, all, input)
    }

    /// True if that is something else than before.
    fn note(&mut self, key: &ObjectKey, findings: Vec<Diagnostic>) -> bool {
        if self.findings_of(key) == findings {
            return false;
        }
        if findings.is_empty() {
            self.findings.remove(key);
        } else {
            self.findings.insert(key.clone(), findings);
        }
        true
    }

    fn take_out(&mut self, order: &Order, work: &Work<'_, '_>) -> Vec<Attachment> {
        let Some(attachments) = self.routes.remove(order) else { return Vec::new() };
        if self.orders.get(&order.key) == Some(order) {
            self.orders.remove(&order.key);
        }
        for Attachment { listener, hosts, counts, .. } in &attachments {
            let Some(claims) = self.claims.get_mut(&(*listener, order.key.kind)) else { continue };
            for host in hosts {
                let Some(all) = claims.get_mut(host) else { continue };
                all.remove(order);
                if all.is_empty() {
                    claims.remove(host);
                }
            }
            if *counts && let Some(count) = self.count(*listener, work) {
                *count = count.saturating_sub(1);
            }
        }
        attachments
    }

    fn put_in(&mut self, order: &Order, attachments: Vec<Attachment>, work: &Work<'_, '_>) {
        for Attachment { listener, hosts, counts, .. } in &attachments {
            let claims = self.claims.entry((*listener, order.key.kind)).or_default();
            for host in hosts {
                claims.of(host).insert(order.clone());
            }
            if *counts && let Some(count) = self.count(*listener, work) {
                *count = count.saturating_add(1);
            }
        }
        self.orders.insert(order.key.clone(), order.clone());
        self.routes.insert(order.clone(), attachments);
    }

    fn count(&mut self, listener: usize, work: &Work<'_, '_>) -> Option<&mut u32> {
        self.attached.get_mut(&work.listeners.get(listener)?.listener.name)
    }
}

impl<'w, 'a> Work<'w, 'a> {
    fn new(
        input: &'w GatewayInput<'a>,
        spec: &'w Gateway,
        listeners: &'w [Served<'w>],
        route: Routes<'w, 'a>,
        changed: BTreeSet<ObjectKey>,
    ) -> Self {
        Self {
            input,
            spec,
            listeners,
            route,
            waiting: BTreeSet::new(),
            changed,
            hosts: BTreeSet::new(),
            ranked: HashMap::new(),
            reconsidered: Vec::new(),
        }
    }
}

/// The kinds of routes, of which a host of a listener has one.
const ROUTES: [Kind; 2] = [Kind::HttpRoute, Kind::GrpcRoute];

fn other_kind(kind: Kind) -> Kind {
    if kind == Kind::HttpRoute { Kind::GrpcRoute } else { Kind::HttpRoute }
}

/// The hosts for which a listener accepts a route.
fn accepted(attachments: &[Attachment], listener: usize) -> &BTreeSet<String> {
    static NONE: BTreeSet<String> = BTreeSet::new();
    let found = attachments.iter().find(|it| it.listener == listener && it.is_accepted);
    found.map_or(&NONE, |attachment| &attachment.hosts)
}
