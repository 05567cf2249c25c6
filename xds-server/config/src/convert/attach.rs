//! Which listeners take a route, and for which hosts.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    COMPETING, GatewayInput, NO_HOSTNAME, NO_LISTENER, NOT_ATTACHED, Report, gateway::Served, hostname,
    route::Attachable,
};
use crate::{
    gateway_api::{AllowedRoutes, FromNamespaces, Gateway, Listener, ParentRef},
    kind::ObjectKey,
    object::ParsedObject,
};

/// The hosts for which a listener takes a route; none where it does not attach it. There may be no such host, where
/// narrower listeners have them all.
pub fn hosts(
    route: &Attachable<'_>,
    served: &Served<'_>,
    listeners: &[Served<'_>],
    input: &GatewayInput<'_>,
) -> Option<BTreeSet<String>> {
    let own = |host: &&str| !isolated(host, served, listeners);
    attaches(route, served, input)
        .then(|| host_names(route, served).filter(own).map(str::to_ascii_lowercase).collect())
}

/// Is the host of the listener answered even where it has no routes? A host of this listener is never served by the routes
/// of a broader listener of the same port, nor answered as misdirected:
/// <https://gateway-api.sigs.k8s.io/reference/spec/#listener> ("listener isolation")
pub fn is_kept(served: &Served<'_>, listeners: &[Served<'_>]) -> bool {
    listeners.iter().any(|other| broader(other, served))
}

/// Says that an older route of the other kind has a host of this one.
pub fn report_rival(
    route: &Attachable<'_>,
    rival: &ObjectKey,
    served: &Served<'_>,
    input: &GatewayInput<'_>,
    report: &mut Report,
) {
    let message = format!(
        "listener {}: {} {}/{} has a host of this {} already, and a host has routes of one kind",
        served.listener.name, rival.kind, rival.namespace, rival.name, route.object.key.kind
    );
    let at = route.parents.iter().find(|parent| refers(parent, route.object, input));
    report.error(COMPETING, route.object, at.map(|at| at.span).unwrap_or_default(), message);
}

/// Does the route name the gateway as a parent?
pub fn names_gateway(route: &Attachable<'_>, input: &GatewayInput<'_>) -> bool {
    route.parents.iter().any(|parent| refers(parent, route.object, input))
}

/// The hosts of a route on a listener; all of the listener's where the route names none.
fn host_names<'a>(route: &Attachable<'a>, served: &'a Served<'_>) -> impl Iterator<Item = &'a str> {
    let own = route.hostnames.is_empty().then_some(served.host);
    let named = route.hostnames.iter().filter_map(|name| hostname::intersect(served.host, name));
    named.chain(own)
}

fn broader(other: &Served<'_>, than: &Served<'_>) -> bool {
    other.listener.port == than.listener.port
        && !other.host.eq_ignore_ascii_case(than.host)
        && hostname::covers(other.host, than.host)
}

fn isolated(host: &str, served: &Served<'_>, listeners: &[Served<'_>]) -> bool {
    listeners.iter().any(|other| broader(served, other) && hostname::covers(other.host, host))
}

fn attaches(route: &Attachable<'_>, served: &Served<'_>, input: &GatewayInput<'_>) -> bool {
    route.parents.iter().any(|parent| refers(parent, route.object, input) && selects(parent, served))
        && allows(served.listener.allowed_routes.as_ref(), route.object, input)
        && host_names(route, served).next().is_some()
}

fn refers(parent: &ParentRef, route: &ParsedObject, input: &GatewayInput<'_>) -> bool {
    let key = &input.gateway.key;
    parent.is_gateway()
        && parent.name == key.name
        && *parent.namespace.as_ref().unwrap_or(&route.key.namespace) == key.namespace
}

fn selects(parent: &ParentRef, served: &Served<'_>) -> bool {
    names(parent, served.listener)
}

fn names(parent: &ParentRef, listener: &Listener) -> bool {
    parent.section_name.as_ref().is_none_or(|name| *name == listener.name)
        && parent.port.is_none_or(|port| port == listener.port)
}

/// <https://gateway-api.sigs.k8s.io/reference/spec/#allowedroutes>
fn allows(allowed: Option<&AllowedRoutes>, route: &ParsedObject, input: &GatewayInput<'_>) -> bool {
    let Some(allowed) = allowed else { return route.key.namespace == input.gateway.key.namespace };
    let kind = allowed.kinds.is_empty()
        || allowed.kinds.iter().any(|kind| {
            kind.kind == route.key.kind.as_str()
                && kind.group.as_deref().is_none_or(|group| group == route.key.kind.group())
        });
    let namespaces = allowed.namespaces.as_ref();
    kind && match namespaces.map(|namespaces| namespaces.from).unwrap_or_default() {
        FromNamespaces::Same => route.key.namespace == input.gateway.key.namespace,
        FromNamespaces::All => true,
        FromNamespaces::None => false,
        FromNamespaces::Selector => {
            let selector = namespaces.and_then(|namespaces| namespaces.selector.as_ref());
            let none = BTreeMap::new();
            let labels = (input.around.namespace_labels)(&route.key.namespace).unwrap_or(&none);
            selector.is_some_and(|selector| selector.matches(labels))
        }
    }
}

/// Says which parents don't take the route, and why.
pub fn report_unattached(
    route: &Attachable<'_>,
    spec: &Gateway,
    listeners: &[Served<'_>],
    input: &GatewayInput<'_>,
    report: &mut Report,
) {
    for parent in route.parents.iter().filter(|parent| refers(parent, route.object, input)) {
        let named: Vec<&Served<'_>> =
            listeners.iter().filter(|served| !served.closed && selects(parent, served)).collect();
        let allowed: Vec<_> = named
            .iter()
            .filter(|served| allows(served.listener.allowed_routes.as_ref(), route.object, input))
            .collect();
        let gateway = format!("Gateway {}/{}", input.gateway.key.namespace, input.gateway.key.name);
        let kind = route.object.key.kind;
        // A listener of another protocol has the name: that one allows no routes of this kind.
        let other = |listener: &&Listener| {
            names(parent, listener) && !matches!(&*listener.protocol, "HTTP" | "HTTPS")
        };
        let (code, message) = if named.is_empty() && spec.listeners.iter().any(|listener| other(&listener)) {
            (NOT_ATTACHED, format!("{gateway} has no listener there that takes a {kind}"))
        } else if named.is_empty() {
            let message = match (&parent.section_name, spec.listeners.is_empty()) {
                (Some(name), false) => format!("{gateway} serves no listener \"{name}\" for this route"),
                (Some(_) | None, _) => format!("{gateway} serves no listener for this route"),
            };
            (NO_LISTENER, message)
        } else if allowed.is_empty() {
            (NOT_ATTACHED, format!("{gateway} does not allow a {kind} of this namespace"))
        } else if allowed.iter().all(|served| host_names(route, served).next().is_none()) {
            (NO_HOSTNAME, format!("none of the hostnames is one of {gateway}"))
        } else {
            continue;
        };
        report.error(code, route.object, parent.span, message);
    }
}
