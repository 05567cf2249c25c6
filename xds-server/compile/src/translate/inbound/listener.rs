//! Inbound listeners.

use std::sync::Arc;

use lateen_model::{Origin, Protocol};
use lateen_proto::envoy::{
    config::{
        core::v3::TrafficDirection,
        listener::v3::{
            self as lds, AdditionalAddress, FilterChainMatch, ListenerFilterChainMatchPredicate,
            listener_filter_chain_match_predicate::{MatchSet, Rule},
        },
    },
    r#type::v3::Int32Range,
};

use super::{
    InboundPort, Of, PASSTHROUGH, VIRTUAL_INBOUND,
    chain::{To, chains},
    port::tls_of,
};
use crate::{
    plan::{Chain, ConnectionPolicy, Direction, Inspector, Listener, Site},
    translate::{
        Bind, Compiled, Families, Read,
        names::{self, BLACK_HOLE},
        notes::Notes,
        wire,
    },
};

/// Port of `virtualInbound`: <https://istio.io/latest/docs/ops/deployment/application-requirements/>
const CAPTURE_PORT: u16 = 15006;

/// Name of a listener with sockets of its own.
pub(super) fn name(port: &InboundPort, addresses: &[Arc<str>]) -> Arc<str> {
    let address = addresses.first().cloned().unwrap_or_default();
    names::listener(&Bind { address, port: port.number, bound: true })
}

/// The listener of a port with sockets of its own. `None` if TLS should end there and can't: it is not opened.
pub(super) fn bound(
    r: &mut dyn Read,
    of: &Of<'_>,
    port: &InboundPort,
    addresses: &[Arc<str>],
) -> Option<Compiled> {
    let mut notes = Notes::default();
    let origins = note(r, &mut notes, of, port);
    let chains = port_chains(of, port, &FilterChainMatch::default(), &origins)?;
    let sniffs = port.protocol == Protocol::Unknown;
    let base = lds::Listener {
        name: name(port, addresses).to_string(),
        continue_on_listener_filters_timeout: sniffs,
        ..listener(addresses, port.number)
    };
    let inspectors = if sniffs { vec![Inspector::Http(None)] } else { Vec::new() };
    let listener = Listener { base, inspectors, chains, default: None }.finish(r, &mut notes);
    Some(notes.compiled(&listener))
}

/// `virtualInbound`. Ports that nobody described are carried on as well, unless they are closed.
pub(super) fn captured(
    r: &mut dyn Read,
    of: &Of<'_>,
    ports: &[InboundPort],
    others: &[(u16, bool)],
    closed: bool,
) -> Compiled {
    let capture_port =
        of.mesh.proxy_inbound_listen_port.and_then(|port| u16::try_from(port).ok()).unwrap_or(CAPTURE_PORT);
    let site = of.site();
    let mut notes = Notes::default();
    notes.cluster(r, BLACK_HOLE);
    notes.cluster(r, PASSTHROUGH);
    // What is sent to the capture port itself would come back for ever.
    let loops = on_port(capture_port);
    let black_hole =
        Chain { name: "virtualInbound-blackhole".into(), matching: loops, ..Chain::of(site.closed()) };
    let mut all = vec![black_hole];
    if closed {
        all.push(Chain { name: "virtualInbound-closed".into(), ..Chain::of(site.closed()) });
    } else {
        let passthrough = To { name: "virtualInbound", cluster: PASSTHROUGH, port: None };
        let mut rest = chains(&site, passthrough, Protocol::Unknown, None, &FilterChainMatch::default());
        if let Some(http) = rest.first_mut() {
            "virtualInbound-catchall-http".clone_into(&mut http.name);
        }
        all.extend(rest);
    }
    let mut quiet = Vec::new();
    for port in ports {
        let origins = note(r, &mut notes, of, port);
        let matching = on_port(port.number);
        let chains = if port.closed { None } else { port_chains(of, port, &matching, &origins) };
        // A port that asks for TLS must not take plain text instead: without a chain of its own the chains for all
        // other ports would carry it on.
        all.extend(chains.unwrap_or_else(|| vec![closed_port(&site, port.number)]));
        if port.protocol != Protocol::Unknown || port.closed {
            quiet.push(port.number);
        }
    }
    for &(number, refused) in others.iter().filter(|(number, _)| *number != capture_port) {
        if refused {
            all.push(closed_port(&site, number));
            quiet.push(number);
        } else {
            let name = format!("0.0.0.0_{number}");
            let passthrough = To { name: &name, cluster: PASSTHROUGH, port: None };
            all.extend(chains(&site, passthrough, Protocol::Unknown, None, &on_port(number)));
        }
    }
    let addresses: &[&str] = match of.key.families {
        Families::V4 => &["0.0.0.0"],
        Families::V6 => &["::"],
        Families::Dual => &["0.0.0.0", "::"],
    };
    let addresses: Vec<Arc<str>> = addresses.iter().map(|&address| address.into()).collect();
    let base = lds::Listener {
        name: VIRTUAL_INBOUND.to_owned(),
        listener_filters_timeout: Some(of.mesh.protocol_detection_timeout.unwrap_or_default().into()),
        continue_on_listener_filters_timeout: true,
        ..listener(&addresses, capture_port)
    };
    let inspectors = vec![
        Inspector::OriginalDestination,
        Inspector::Tls(on_ports(&quiet)),
        Inspector::Http(on_ports(&quiet)),
    ];
    let listener = Listener { base, inspectors, chains: all, default: None }.finish(r, &mut notes);
    notes.compiled(&listener)
}

/// An inbound listener at these addresses, without chains.
fn listener(addresses: &[Arc<str>], port: u16) -> lds::Listener {
    let also = addresses.iter().skip(1).map(|address| AdditionalAddress {
        address: Some(wire::address(address, port)),
        ..Default::default()
    });
    lds::Listener {
        address: addresses.first().map(|address| wire::address(address, port)),
        additional_addresses: also.collect(),
        traffic_direction: TrafficDirection::Inbound as i32,
        ..Default::default()
    }
}

fn note(r: &mut dyn Read, notes: &mut Notes, of: &Of<'_>, port: &InboundPort) -> Vec<Origin> {
    notes.cluster(r, &port.cluster_name());
    let origins = of.origins(r, port);
    for origin in &origins {
        notes.origin(origin);
    }
    origins
}

/// `None` if TLS should end there and can't.
fn port_chains(
    of: &Of<'_>,
    port: &InboundPort,
    matching: &FilterChainMatch,
    origins: &[Origin],
) -> Option<Vec<Chain>> {
    let tls = match of.ingress(port).and_then(tls_of) {
        None => None,
        Some(Ok(tls)) => Some(tls),
        Some(Err(_)) => return None,
    };
    let (cluster, name) = (port.cluster_name(), format!("0.0.0.0_{}", port.number));
    let to = To { name: &name, cluster: &cluster, port: Some(port.number) };
    let mut chains = chains(&of.site(), to, port.protocol, tls.as_ref(), matching);
    for chain in &mut chains {
        chain.origins = origins.to_vec();
    }
    Some(chains)
}

impl<'a> Of<'a> {
    fn site(&self) -> Site<'a> {
        let policy: ConnectionPolicy = self.key.policy;
        Site { mesh: self.mesh, direction: Direction::Inbound, profile: self.key.profile, policy }
    }
}

fn closed_port(site: &Site<'_>, port: u16) -> Chain {
    let name = format!("0.0.0.0_{port}_closed");
    Chain { name, matching: on_port(port), ..Chain::of(site.closed()) }
}

fn on_port(port: u16) -> FilterChainMatch {
    FilterChainMatch { destination_port: Some(u32::from(port).into()), ..Default::default() }
}

/// On ports whose protocol is known nothing needs to be sniffed, and a server that speaks first would never be
/// heard.
fn on_ports(ports: &[u16]) -> Option<ListenerFilterChainMatchPredicate> {
    let mut rules: Vec<ListenerFilterChainMatchPredicate> = ports
        .iter()
        .map(|port| ListenerFilterChainMatchPredicate {
            rule: Some(Rule::DestinationPortRange(Int32Range {
                start: i32::from(*port),
                end: i32::from(*port) + 1,
            })),
        })
        .collect();
    match rules.len() {
        0 => None,
        1 => rules.pop(),
        _ => Some(ListenerFilterChainMatchPredicate { rule: Some(Rule::OrMatch(MatchSet { rules })) }),
    }
}
