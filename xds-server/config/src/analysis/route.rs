//! Destinations and the routes that lead to them.

use std::collections::BTreeSet;

use lateen_model::Protocol;

use super::index::{HINTS_FROM_MAX, Index, Known};
use crate::{
    ParsedObject, codes,
    findings::Findings,
    istio::{Destination, HttpRetry, HttpRoute},
    path::Path,
};

/// A destination exists, is visible, and has the subset and the port.
pub(super) fn destination(
    object: &ParsedObject,
    wanted: &Destination,
    index: &Index<'_>,
    at: &Path<'_>,
    out: &mut Findings,
) {
    let namespace = &*object.key.namespace;
    let host = index.resolve(&wanted.host, namespace);
    let Some(known) = index.find(&host) else {
        let message = format!("the host {host} is unknown: requests get 503");
        let hint = index.nearest_host(&host, namespace);
        if index.knows_services() {
            out.error(codes::DESTINATION_HOST, &at.field("host"), message).maybe_hint(hint);
        } else {
            out.info(codes::DESTINATION_HOST, &at.field("host"), message);
        }
        return;
    };
    if !known.iter().any(|known| known.is_visible_to(namespace)) {
        let message = format!("the host {host} is not exported to the namespace {namespace}");
        out.error(codes::NOT_VISIBLE, &at.field("host"), message);
    }
    if let Some(port) = &wanted.port
        && !has_port(known, port.number)
    {
        let ports = known.iter().flat_map(|known| known.ports.iter());
        let numbers: Vec<_> = ports.map(|port| port.0.to_string()).collect();
        let message = format!("the host {host} has no port {}", port.number);
        out.error(codes::DESTINATION_PORT, &at.field("port").field("number"), message)
            .hint(format!("its ports are {}", numbers.join(", ")));
    }
    subset(object, wanted, index, at, out);
}

pub(super) fn has_port(known: &[Known<'_>], number: u32) -> bool {
    let mut ports = known.iter().flat_map(|known| known.ports.iter()).peekable();
    // A service without ports is one whose ports are not known.
    ports.peek().is_none() || ports.any(|port| port.0 == number)
}

fn subset(object: &ParsedObject, wanted: &Destination, index: &Index<'_>, at: &Path<'_>, out: &mut Findings) {
    if wanted.subset.is_empty() {
        return;
    }
    let host = index.resolve(&wanted.host, &object.key.namespace);
    let mut rules = std::iter::once(host.clone()).chain(host.wildcards());
    if !rules.any(|host| index.defined_subsets.contains(&(host, &*wanted.subset))) {
        let subsets = index.rules_for(&host).flat_map(|rule| &rule.subsets);
        let names: Vec<&str> = subsets.map(|subset| &*subset.name).take(HINTS_FROM_MAX).collect();
        let message = format!("no DestinationRule for {host} defines the subset {}", wanted.subset);
        let near = crate::decode::nearest(&wanted.subset, names);
        out.error(codes::DESTINATION_SUBSET, &at.field("subset"), message)
            .maybe_hint(near.map(|near| format!("did you mean {near}?")));
    }
}

/// Destinations of one route together.
pub(super) fn destinations(
    object: &ParsedObject,
    list: &[(Option<&Destination>, Option<i32>)],
    index: &Index<'_>,
    at: &Path<'_>,
    out: &mut Findings,
) {
    let at = at.field("route");
    let mut seen = BTreeSet::new();
    for (number, (wanted, _)) in list.iter().enumerate() {
        let Some(wanted) = wanted else { continue };
        let here = at.index(number);
        let here = here.field("destination");
        destination(object, wanted, index, &here, out);
        let host = index.resolve(&wanted.host, &object.key.namespace);
        let port = wanted.port.as_ref().map(|port| port.number);
        if !seen.insert((host, &wanted.subset, port)) {
            out.warn(codes::DESTINATION_TWICE, &here, "the destination occurs twice in this route");
        }
    }
    if let [(_, Some(weight @ 1..=99))] = list {
        let message = format!("the only destination gets everything, not {weight} percent");
        out.warn(codes::SINGLE_WEIGHT, &at.index(0).field("weight"), message)
            .hint("leave the weight out, or add the other destination");
    }
}

/// The request's port can't choose among several ports where a gateway forwards.
pub(super) fn port_needed(
    object: &ParsedObject,
    wanted: &Destination,
    index: &Index<'_>,
    at: &Path<'_>,
    out: &mut Findings,
) {
    let host = index.resolve(&wanted.host, &object.key.namespace);
    let ports = index.find(&host).unwrap_or_default().iter().map(|known| known.ports.len()).max();
    if wanted.port.is_none() && ports.unwrap_or_default() > 1 {
        let message = format!("{host} has several ports, and a gateway can't tell which is meant");
        out.warn(codes::DESTINATION_PORT_NEEDED, at, message).hint("add port.number");
    }
}

/// HTTP routes need a port that may speak HTTP.
pub(super) fn speaks_http(known: &[&Known<'_>]) -> bool {
    let mut ports = known.iter().flat_map(|known| known.ports.iter()).peekable();
    ports.peek().is_none() || ports.any(|(_, protocol)| protocol.is_none_or(may_be_http))
}

fn may_be_http(protocol: Protocol) -> bool {
    protocol.is_http() || protocol == Protocol::Unknown
}

/// The tries of a request must fit into its timeout.
pub(super) fn retries(route: &HttpRoute, at: &Path<'_>, out: &mut Findings) {
    let (Some(timeout), Some(HttpRetry { attempts, per_try_timeout: Some(one), .. })) =
        (route.timeout.filter(|timeout| !timeout.is_zero()), route.retries.as_deref())
    else {
        return;
    };
    let at = at.field("retries");
    let format = crate::decode::format_duration;
    let tries = u32::try_from(*attempts).unwrap_or_default().saturating_add(1);
    if tries > 1 && *one >= timeout {
        let message = format!(
            "a try may take {}, the whole request {}: nothing is retried after a slow try",
            format(*one),
            format(timeout)
        );
        out.warn(codes::RETRIES_DO_NOT_FIT, &at.field("perTryTimeout"), message)
            .hint("make perTryTimeout shorter, or timeout longer");
    } else if tries > 1 && one.saturating_mul(tries) > timeout {
        let message = format!(
            "{tries} tries of up to {} do not fit into the timeout of {}",
            format(*one),
            format(timeout)
        );
        out.info(codes::RETRIES_DO_NOT_FIT, &at.field("attempts"), message);
    }
}
