//! Inbound listeners.

use std::sync::Arc;

use lateen_config::istio::MeshConfig;
use lateen_model::Protocol;
use lateen_proto::{
    any::pack,
    envoy::{
        config::{
            core::v3::TrafficDirection,
            listener::v3::{
                FilterChain, FilterChainMatch, Listener, ListenerFilter, ListenerFilterChainMatchPredicate,
                listener_filter::ConfigType,
                listener_filter_chain_match_predicate::{MatchSet, Rule},
            },
        },
        extensions::filters::listener::{
            http_inspector::v3::HttpInspector, original_dst::v3::OriginalDst, tls_inspector::v3::TlsInspector,
        },
        r#type::v3::Int32Range,
    },
};

use super::{
    PASSTHROUGH, VIRTUAL_INBOUND,
    chain::{To, chains},
    port::{InboundPort, Tls},
};
use crate::translate::{
    Bind, ClientProfile, Compiled, InboundView, Read,
    listener::to_cluster,
    names::{self, BLACK_HOLE},
    notes::Notes,
    wire,
};

/// Port of `virtualInbound`: <https://istio.io/latest/docs/ops/deployment/application-requirements/>
const CAPTURE_PORT: u16 = 15006;

/// The listener of a port with a socket of its own.
pub(super) fn bound(
    r: &mut dyn Read,
    view: &InboundView,
    mesh: &MeshConfig,
    port: &InboundPort,
) -> Option<(Arc<str>, Compiled)> {
    let bind = Bind { address: port.bind.clone(), port: port.number, bound: true };
    let name = names::listener(&bind);
    let mut notes = Notes::default();
    note(r, &mut notes, port);
    let filter_chains = port_chains(mesh, view.profile, port, &FilterChainMatch::default());
    if filter_chains.is_empty() {
        return None;
    }
    let listener = Listener {
        name: name.to_string(),
        address: Some(wire::address(&bind.address, bind.port)),
        traffic_direction: TrafficDirection::Inbound as i32,
        listener_filters: if port.protocol == Protocol::Unknown {
            vec![http_inspector(None)]
        } else {
            Vec::new()
        },
        continue_on_listener_filters_timeout: port.protocol == Protocol::Unknown,
        filter_chains,
        ..Default::default()
    };
    let compiled = notes.compiled(&listener);
    Some((name, compiled))
}

/// `virtualInbound`.
pub(super) fn captured(
    r: &mut dyn Read,
    view: &InboundView,
    mesh: &MeshConfig,
    ports: &[InboundPort],
) -> (Arc<str>, Compiled) {
    let capture_port =
        mesh.proxy_inbound_listen_port.and_then(|port| u16::try_from(port).ok()).unwrap_or(CAPTURE_PORT);
    let mut notes = Notes::default();
    let mut filter_chains = vec![black_hole(mesh, capture_port)];
    notes.cluster(r, BLACK_HOLE);
    let passthrough = To { name: "virtualInbound", cluster: PASSTHROUGH, port: None, profile: view.profile };
    notes.cluster(r, PASSTHROUGH);
    let mut rest = chains(mesh, passthrough, Protocol::Unknown, None, &FilterChainMatch::default());
    if let Some(http) = rest.first_mut() {
        "virtualInbound-catchall-http".clone_into(&mut http.name);
    }
    filter_chains.extend(rest);
    let mut quiet = Vec::new();
    for port in ports.iter().filter(|port| port.captured) {
        note(r, &mut notes, port);
        let matching =
            FilterChainMatch { destination_port: Some(u32::from(port.number).into()), ..Default::default() };
        filter_chains.extend(port_chains(mesh, view.profile, port, &matching));
        if port.protocol != Protocol::Unknown {
            quiet.push(port.number);
        }
    }
    let ipv6 = view.addresses.first().is_some_and(std::net::IpAddr::is_ipv6);
    let listener = Listener {
        name: VIRTUAL_INBOUND.to_owned(),
        address: Some(wire::address(if ipv6 { "::" } else { "0.0.0.0" }, capture_port)),
        traffic_direction: TrafficDirection::Inbound as i32,
        listener_filters: vec![
            listener_filter("envoy.filters.listener.original_dst", pack(&OriginalDst::default()), None),
            tls_inspector(on_ports(&quiet)),
            http_inspector(on_ports(&quiet)),
        ],
        listener_filters_timeout: Some(mesh.protocol_detection_timeout.unwrap_or_default().into()),
        continue_on_listener_filters_timeout: true,
        filter_chains,
        ..Default::default()
    };
    (VIRTUAL_INBOUND.into(), notes.compiled(&listener))
}

fn note(r: &mut dyn Read, notes: &mut Notes, port: &InboundPort) {
    notes.cluster(r, &port.cluster_name());
    for origin in &port.origins {
        notes.origin(origin);
    }
}

fn port_chains(
    mesh: &MeshConfig,
    profile: ClientProfile,
    port: &InboundPort,
    matching: &FilterChainMatch,
) -> Vec<FilterChain> {
    let socket = match &port.tls {
        Tls::None => None,
        Tls::Ends(socket) => Some(socket),
        // A port that asks for TLS must not take plain text instead.
        Tls::Refused => return Vec::new(),
    };
    let (cluster, name) = (port.cluster_name(), format!("0.0.0.0_{}", port.number));
    let to = To { name: &name, cluster: &cluster, port: Some(port.number), profile };
    chains(mesh, to, port.protocol, socket, matching)
}

/// What is sent to the capture port itself would come back for ever.
fn black_hole(mesh: &MeshConfig, capture_port: u16) -> FilterChain {
    FilterChain {
        name: "virtualInbound-blackhole".to_owned(),
        filter_chain_match: Some(FilterChainMatch {
            destination_port: Some(u32::from(capture_port).into()),
            ..Default::default()
        }),
        filters: vec![to_cluster(mesh, BLACK_HOLE)],
        ..Default::default()
    }
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

fn http_inspector(disabled: Option<ListenerFilterChainMatchPredicate>) -> ListenerFilter {
    listener_filter("envoy.filters.listener.http_inspector", pack(&HttpInspector::default()), disabled)
}

fn tls_inspector(disabled: Option<ListenerFilterChainMatchPredicate>) -> ListenerFilter {
    listener_filter("envoy.filters.listener.tls_inspector", pack(&TlsInspector::default()), disabled)
}

fn listener_filter(
    name: &str,
    config: lateen_proto::google::protobuf::Any,
    disabled: Option<ListenerFilterChainMatchPredicate>,
) -> ListenerFilter {
    ListenerFilter {
        name: name.to_owned(),
        filter_disabled: disabled,
        config_type: Some(ConfigType::TypedConfig(config)),
    }
}
