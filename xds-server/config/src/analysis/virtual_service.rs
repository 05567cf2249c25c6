//! `VirtualService`.

use super::{
    Analyse, common,
    index::Index,
    route,
    shadow::{self, Gateways},
};
use crate::{
    ParsedObject, codes,
    findings::Findings,
    istio::{HttpMatch, L4Match, VirtualService},
    path::Path,
    precedence::precedes,
    reference,
};

/// Each match is compared with all before it; beyond this many in one object that costs too much.
const MATCHES_MAX: usize = 1_000;

impl Analyse for VirtualService {
    fn enter<'a>(&'a self, object: &'a ParsedObject, index: &mut Index<'a>) {
        index.add_routes(object, self);
    }

    fn look(&self, object: &ParsedObject, index: &Index<'_>, at: &Path<'_>, out: &mut Findings) {
        look(object, self, index, at, out);
    }
}

fn look(object: &ParsedObject, spec: &VirtualService, index: &Index<'_>, at: &Path<'_>, out: &mut Findings) {
    common::export_to(&spec.export_to, index, at, out);
    gateways(object, spec, index, at, out);
    hosts(object, spec, index, at, out);
    http(object, spec, index, at, out);
    let gateways = Gateways(&spec.gateways);
    let small = spec.tls.iter().map(|route| route.matches.len()).sum::<usize>() <= MATCHES_MAX;
    for (number, tls) in spec.tls.iter().enumerate() {
        let parent = at.field("tls");
        let at = parent.index(number);
        let list: Vec<_> = tls.route.iter().map(|entry| (entry.destination.as_ref(), entry.weight)).collect();
        route::destinations(object, &list, index, &at, out);
        let earlier = || spec.tls.iter().take(number).flat_map(|route| &route.matches);
        let covered = |wanted| earlier().any(|wide| shadow::tls(wide, wanted, gateways));
        let matches = tls.matches.iter().filter(|_| small);
        unreachable(&matches.map(covered).collect::<Vec<_>>(), &at, out);
    }
    let everything = [L4Match::default()];
    let small = spec.tcp.iter().map(|route| route.matches.len().max(1)).sum::<usize>() <= MATCHES_MAX;
    let mut earlier: Vec<&L4Match> = Vec::new();
    for (number, tcp) in spec.tcp.iter().enumerate() {
        let parent = at.field("tcp");
        let at = parent.index(number);
        let list: Vec<_> = tcp.route.iter().map(|entry| (entry.destination.as_ref(), entry.weight)).collect();
        route::destinations(object, &list, index, &at, out);
        let matches = if tcp.matches.is_empty() { &everything[..] } else { &tcp.matches };
        let covered = |wanted: &L4Match| earlier.iter().any(|wide| shadow::tcp(wide, wanted, gateways));
        let found: Vec<bool> = matches.iter().filter(|_| small).map(covered).collect();
        unreachable(&found, &at, out);
        earlier.extend(matches);
    }
}

/// Names of the gateways, `mesh` among them where none is named.
fn gateway_names(spec: &VirtualService) -> impl Iterator<Item = &str> {
    let mesh = spec.gateways.is_empty().then_some("mesh");
    spec.gateways.iter().map(String::as_str).chain(mesh)
}

fn gateways(
    object: &ParsedObject,
    spec: &VirtualService,
    index: &Index<'_>,
    at: &Path<'_>,
    out: &mut Findings,
) {
    let namespace = &*object.key.namespace;
    let mut look = |reference: &str, at: &Path<'_>| {
        if reference == "mesh" {
            return;
        }
        let id = reference::gateway(reference, namespace);
        if !index.gateways.contains_key(&id) {
            let near = crate::decode::nearest(id.1, index.gateways.keys().map(|(_, name)| *name));
            out.error(codes::GATEWAY_UNKNOWN, at, format!("the gateway {}/{} is unknown", id.0, id.1))
                .maybe_hint(near.map(|near| format!("did you mean {near}?")));
        }
    };
    for (number, reference) in spec.gateways.iter().enumerate() {
        look(reference, &at.field("gateways").index(number));
    }
    for (number, route) in spec.http.iter().enumerate() {
        let parent = at.field("http");
        let route_at = parent.index(number);
        for (number, wanted) in route.matches.iter().enumerate() {
            let parent = route_at.field("match");
            let match_at = parent.index(number);
            for (number, reference) in wanted.gateways.iter().enumerate() {
                look(reference, &match_at.field("gateways").index(number));
            }
        }
    }
}

fn hosts(object: &ParsedObject, spec: &VirtualService, index: &Index<'_>, at: &Path<'_>, out: &mut Findings) {
    let namespace = &*object.key.namespace;
    let in_mesh = gateway_names(spec).any(|gateway| gateway == "mesh");
    // An object for sidecars too has hosts that are not meant for the gateway.
    let on = |gateway: &str| {
        let mut hosts = spec.hosts.iter().map(|host| index.resolve(host, namespace));
        in_mesh && gateway != "mesh" && hosts.any(|host| in_gateway(namespace, &host, gateway, index))
    };
    let elsewhere: Vec<bool> = gateway_names(spec).map(on).collect();
    for (number, host) in spec.hosts.iter().enumerate() {
        let parent = at.field("hosts");
        let at = parent.index(number);
        let full = index.resolve(host, namespace);
        for (gateway, elsewhere) in gateway_names(spec).zip(&elsewhere) {
            claimed_twice(object, spec, &full, gateway, index, &at, out);
            if gateway != "mesh" && !elsewhere && !in_gateway(namespace, &full, gateway, index) {
                let (of, name) = reference::gateway(gateway, namespace);
                let message = format!("no server of the gateway {of}/{name} has the host {full}");
                out.warn(codes::HOST_NOT_IN_GATEWAY, &at, message);
            }
        }
        let mut known = index.covered_by(&full);
        known.retain(|known| known.is_visible_to(namespace));
        let everywhere = spec.export_to.is_empty() || spec.export_to.iter().any(|entry| entry != ".");
        let foreign = known.iter().find(|known| known.namespace.as_str() != namespace);
        let own = known.iter().any(|known| known.namespace.as_str() == namespace);
        if let (true, true, false, Some(foreign)) = (in_mesh, everywhere, own, foreign) {
            let (message, hint) = super::foreign_routes(&full, &foreign.namespace);
            out.warn(codes::FOREIGN_HOST, &at, message).hint(hint);
        }
        if in_mesh && !spec.http.is_empty() && !known.is_empty() && !route::speaks_http(&known) {
            let message = format!("no port of {full} speaks HTTP: the http routes have no effect on it");
            out.warn(codes::NOT_HTTP, &at, message);
        }
    }
}

/// Does another object, which counts more, route the same host on the same gateway?
fn claimed_twice(
    object: &ParsedObject,
    spec: &VirtualService,
    full: &lateen_model::Host,
    gateway: &str,
    index: &Index<'_>,
    at: &Path<'_>,
    out: &mut Findings,
) {
    let id = |reference: &str, namespace: &str| match reference {
        "mesh" => ("mesh".to_owned(), String::new()),
        other => {
            let (namespace, name) = reference::gateway(other, namespace);
            (namespace.to_owned(), name.to_owned())
        }
    };
    let own = id(gateway, &object.key.namespace);
    for (other, other_spec) in index.routes.get(full.as_str()).into_iter().flatten() {
        let namespace = &*other.key.namespace;
        if other.key == object.key || !precedes(other, object) {
            continue;
        }
        let same_gateway = gateway_names(other_spec).any(|reference| id(reference, namespace) == own);
        // Objects that only their own namespaces see do not meet, unless on a gateway.
        let private = |spec: &VirtualService| spec.export_to.iter().any(|entry| entry == ".");
        let apart =
            gateway == "mesh" && namespace != object.key.namespace && (private(spec) || private(other_spec));
        if !same_gateway || apart {
            continue;
        }
        let message = format!("{} routes {full} on {gateway} too", other.key);
        if gateway == "mesh" {
            out.error(codes::HOST_TWICE, at, message)
                .hint("for sidecars only one of the two counts: put the routes into one object");
        } else {
            out.warn(codes::HOST_TWICE, at, message)
                .hint("the routes of both are joined, in an order that is not yours to choose");
        }
        return;
    }
}

/// Has a server of the gateway the host? A gateway that is unknown is another finding's business.
fn in_gateway(namespace: &str, full: &lateen_model::Host, reference: &str, index: &Index<'_>) -> bool {
    let Some((gateway, spec)) = index.gateways.get(&reference::gateway(reference, namespace)) else {
        return true;
    };
    let serves = |entry: &String| {
        let (scope, host) = entry.split_once('/').unwrap_or(("*", entry));
        let visible = match scope {
            "*" => true,
            "." => gateway.key.namespace == namespace,
            other => other == namespace,
        };
        visible && (shadow::host_covers(host, full.as_str()) || shadow::host_covers(full.as_str(), host))
    };
    spec.servers.iter().flat_map(|server| &server.hosts).any(serves)
}

fn http(object: &ParsedObject, spec: &VirtualService, index: &Index<'_>, at: &Path<'_>, out: &mut Findings) {
    let everything = [HttpMatch::default()];
    let small = spec.http.iter().map(|route| route.matches.len().max(1)).sum::<usize>() <= MATCHES_MAX;
    let matches_of = |number: usize| match spec.http.get(number).map(|route| &*route.matches) {
        Some([]) | None => &everything[..],
        Some(matches) => matches,
    };
    let on_gateway = spec.gateways.iter().any(|gateway| gateway != "mesh");
    for (number, route) in spec.http.iter().enumerate() {
        let parent = at.field("http");
        let at = parent.index(number);
        let list: Vec<_> =
            route.route.iter().map(|entry| (entry.destination.as_ref(), entry.weight)).collect();
        route::destinations(object, &list, index, &at, out);
        let mirrors = route.mirrors.iter().map(|mirror| mirror.destination.as_ref());
        for (number, mirror) in mirrors.enumerate() {
            if let Some(mirror) = mirror {
                let parent = at.field("mirrors");
                let at = parent.index(number);
                route::destination(object, mirror, index, &at.field("destination"), out);
            }
        }
        if let Some(mirror) = &route.mirror {
            route::destination(object, mirror, index, &at.field("mirror"), out);
        }
        if on_gateway {
            for (number, (wanted, _)) in list.iter().enumerate() {
                if let Some(wanted) = wanted {
                    let parent = at.field("route");
                    let at = parent.index(number);
                    route::port_needed(object, wanted, index, &at.field("destination"), out);
                }
            }
        }
        route::retries(route, &at, out);
        let gateways = Gateways(&spec.gateways);
        let covered: Vec<bool> = matches_of(number)
            .iter()
            .filter(|_| small)
            .map(|wanted| {
                let mut earlier = (0..number).flat_map(matches_of);
                earlier.any(|wide| shadow::http(wide, wanted, gateways))
            })
            .collect();
        unreachable(&covered, &at, out);
        if let Some(delegate) = &route.delegate {
            delegated(object, &delegate.namespace, &delegate.name, index, &at.field("delegate"), out);
        }
    }
    let own = (&*object.key.namespace, &*object.key.name);
    if spec.hosts.is_empty() && !index.delegates.contains(&own) {
        out.warn(codes::DELEGATE_UNUSED, at, "the object has no hosts, and no other delegates to it");
    }
}

/// Which of a route's matches are covered by earlier routes: if all are, the route is never reached.
fn unreachable(covered: &[bool], at: &Path<'_>, out: &mut Findings) {
    if !covered.is_empty() && covered.iter().all(|covered| *covered) {
        out.warn(
            codes::UNREACHABLE,
            at,
            "the route is never reached: earlier routes take all that it matches",
        )
        .hint("move it up, or remove it");
        return;
    }
    for (number, _) in covered.iter().enumerate().filter(|(_, covered)| **covered) {
        let message = "the match has no effect: earlier routes take all of it";
        out.info(codes::USELESS_MATCH, &at.field("match").index(number), message);
    }
}

fn delegated(
    object: &ParsedObject,
    namespace: &str,
    name: &str,
    index: &Index<'_>,
    at: &Path<'_>,
    out: &mut Findings,
) {
    let namespace = if namespace.is_empty() { &*object.key.namespace } else { namespace };
    match index.virtual_services.get(&(namespace, name)) {
        None => {
            let message =
                format!("the VirtualService {namespace}/{name} is unknown: the route has no effect");
            out.error(codes::DELEGATE_UNKNOWN, at, message);
        }
        Some(spec) if !spec.hosts.is_empty() => {
            let message = format!("the VirtualService {namespace}/{name} has hosts: it is no delegate");
            out.error(codes::DELEGATE_UNKNOWN, at, message);
        }
        Some(_) => {}
    }
}
