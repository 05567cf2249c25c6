//! Listeners of gateways.

use std::{collections::BTreeSet, sync::Arc};

use lateen_config::istio::{MeshConfig, Server};
use lateen_model::Origin;
use lateen_proto::{
    any::pack,
    envoy::{
        config::{
            core::v3::{
                Http2ProtocolOptions, HttpProtocolOptions, TrafficDirection,
                http_protocol_options::HeadersWithUnderscoresAction,
            },
            listener::v3::{
                Filter, FilterChain, FilterChainMatch, Listener, ListenerFilter, listener_filter::ConfigType,
            },
        },
        extensions::filters::{
            listener::tls_inspector::v3::TlsInspector,
            network::http_connection_manager::v3::{
                HttpConnectionManager,
                http_connection_manager::{
                    ForwardClientCertDetails, PathWithEscapedSlashesAction, SetCurrentClientCertDetails,
                },
            },
        },
    },
    google::protobuf::Duration,
};
use lateen_xds::ResourceType;

use super::{
    GatewayListenerKey, ServerPart, ServerRole, attach, servers,
    stream::{self, Streams},
    tls::{ALPN_HTTP, terminate},
};
use crate::translate::{
    Compiled, Read,
    listener::{HTTP_CONNECTION_MANAGER, connection_manager, network_filter, rds},
    names,
    notes::{self, Notes},
    read, wire,
};

/// <https://www.envoyproxy.io/docs/envoy/latest/configuration/best_practices/edge>
const BUFFER_BYTES_MAX: u32 = 32 * 1024;
/// As above.
const STREAMS_MAX: u32 = 100;
/// As above.
const STREAM_WINDOW_BYTES: u32 = 64 * 1024;
/// As above.
const CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;
/// As above.
const CONNECTION_IDLE_S: i64 = 3600;
/// As above: how long a client may take for the headers of a request.
const REQUEST_HEADERS_S: i64 = 10;

/// A listener of a gateway with a filter chain for each server, or for each route by SNI. `None` when no server
/// of the socket can be served.
pub fn gateway_listener(r: &mut dyn Read, key: &GatewayListenerKey) -> Option<Compiled> {
    let mesh = read::mesh(r);
    let mut notes = Notes::default();
    let streams = Streams::load(r, key);
    let mut plain: Vec<FilterChain> = Vec::new();
    let mut secure: Vec<FilterChain> = Vec::new();
    for part in key.servers.iter() {
        let Some(gateway) = attach::gateway(r, &part.gateway) else { continue };
        let Some(server) = gateway.spec.servers.get(part.index) else { continue };
        gateway.origins.iter().for_each(|origin| notes.origin(origin));
        let at = place(&gateway.origin, server);
        let about = Some((&gateway.key, &at));
        match chains(r, &mut notes, &mesh, key, part, server, &streams) {
            Ok(chains) if part.role.is_tls() => secure.extend(chains),
            // Servers of HTTP in the clear share one chain.
            Ok(chains) if plain.is_empty() => plain.extend(chains),
            Ok(_) => {}
            Err(message) => notes.warn(notes::NOT_TRANSLATED, about, message),
        }
    }
    if !secure.is_empty() {
        for chain in &mut plain {
            let matching = chain.filter_chain_match.get_or_insert_default();
            "raw_buffer".clone_into(&mut matching.transport_protocol);
        }
    }
    let sniffs = !secure.is_empty();
    let mut taken = BTreeSet::new();
    let mut filter_chains = plain;
    filter_chains.extend(secure.into_iter().filter_map(|chain| unclaimed(chain, &mut taken)));
    if filter_chains.is_empty() {
        return None;
    }
    let listener = Listener {
        name: names::listener(&key.bind).to_string(),
        address: Some(wire::address(&key.bind.address, key.bind.port)),
        filter_chains,
        listener_filters: if sniffs { vec![tls_inspector()] } else { Vec::new() },
        traffic_direction: TrafficDirection::Outbound as i32,
        per_connection_buffer_limit_bytes: Some(BUFFER_BYTES_MAX.into()),
        ..Default::default()
    };
    Some(notes.compiled(&listener))
}

/// The chain with those of its server names that no chain before it has: Envoy refuses a listener in which two
/// chains match the same connections, and the older server has them.
fn unclaimed(mut chain: FilterChain, taken: &mut BTreeSet<(String, String)>) -> Option<FilterChain> {
    let matching = chain.filter_chain_match.get_or_insert_default();
    let addresses = format!("{:?} {:?}", matching.prefix_ranges, matching.source_prefix_ranges);
    if matching.server_names.is_empty() {
        let free = taken.insert((addresses, String::new()));
        if *matching == FilterChainMatch::default() {
            chain.filter_chain_match = None;
        }
        return free.then_some(chain);
    }
    matching.server_names.retain(|name| taken.insert((addresses.clone(), name.clone())));
    (!matching.server_names.is_empty()).then_some(chain)
}

fn place(origin: &Origin, server: &Server) -> Origin {
    let mut origin = origin.clone();
    if server.span.line != 0 {
        (origin.line, origin.column) = (server.span.line, server.span.column);
    }
    origin
}

fn chains(
    r: &mut dyn Read,
    notes: &mut Notes,
    mesh: &Arc<MeshConfig>,
    key: &GatewayListenerKey,
    part: &ServerPart,
    server: &Server,
    streams: &Streams,
) -> Result<Vec<FilterChain>, String> {
    let socket = match (&part.role, &server.tls) {
        (ServerRole::Https { .. }, Some(tls)) => {
            Some(terminate(tls, ALPN_HTTP).map_err(|problem| problem.to_string())?)
        }
        (ServerRole::TerminatedTls, Some(tls)) => {
            Some(terminate(tls, &[]).map_err(|problem| problem.to_string())?)
        }
        (ServerRole::Https { .. } | ServerRole::TerminatedTls, None) => {
            return Err("the server has no tls".to_owned());
        }
        (ServerRole::Http { .. } | ServerRole::Tcp | ServerRole::Passthrough, _) => None,
    };
    let server_names = server_names(server, part);
    let mut chains = match &part.role {
        ServerRole::Http { route_config } | ServerRole::Https { route_config } => {
            notes.reference(r, ResourceType::RouteConfiguration, route_config);
            let chain = FilterChain {
                filters: vec![http(mesh, key, route_config)],
                transport_socket: socket.clone(),
                ..Default::default()
            };
            vec![chain]
        }
        ServerRole::Tcp | ServerRole::TerminatedTls => {
            let mut chains = stream::tcp(r, notes, mesh, key, part, server, streams);
            for chain in &mut chains {
                chain.transport_socket.clone_from(&socket);
            }
            chains
        }
        ServerRole::Passthrough => stream::passthrough(r, notes, mesh, key, part, server, streams),
    };
    if matches!(part.role, ServerRole::Https { .. } | ServerRole::TerminatedTls) && !server_names.is_empty() {
        for chain in &mut chains {
            chain.filter_chain_match.get_or_insert_default().server_names.clone_from(&server_names);
        }
    }
    Ok(chains)
}

/// The SNI of a server's connections; empty for all.
fn server_names(server: &Server, part: &ServerPart) -> Vec<String> {
    let hosts = servers::hosts(server, &part.gateway);
    if hosts.iter().any(|host| host.host().as_str() == "*") {
        return Vec::new();
    }
    let mut names: Vec<String> = hosts.iter().map(|host| host.host().to_string()).collect();
    names.sort();
    names.dedup();
    names
}

/// What faces the world trusts nothing that a client says about itself.
/// <https://www.envoyproxy.io/docs/envoy/latest/configuration/best_practices/edge>
fn http(mesh: &MeshConfig, key: &GatewayListenerKey, route_config: &str) -> Filter {
    let trusted = mesh.default_config.as_ref().and_then(|config| config.gateway_topology.as_ref());
    let hops = trusted.and_then(|topology| topology.num_trusted_proxies).unwrap_or(0);
    let name = format!("outbound_{}", names::listener(&key.bind));
    let base = connection_manager(mesh, key.profile, &name, rds(key.profile, route_config));
    let seconds = |seconds| Some(Duration { seconds, nanos: 0 });
    let mut manager = HttpConnectionManager {
        use_remote_address: Some(true.into()),
        xff_num_trusted_hops: hops,
        forward_client_cert_details: ForwardClientCertDetails::SanitizeSet as i32,
        set_current_client_cert_details: Some(SetCurrentClientCertDetails {
            subject: Some(true.into()),
            cert: true,
            dns: true,
            uri: true,
            ..Default::default()
        }),
        common_http_protocol_options: Some(HttpProtocolOptions {
            idle_timeout: seconds(CONNECTION_IDLE_S),
            headers_with_underscores_action: HeadersWithUnderscoresAction::RejectRequest as i32,
            ..Default::default()
        }),
        http2_protocol_options: Some(Http2ProtocolOptions {
            max_concurrent_streams: Some(STREAMS_MAX.into()),
            initial_stream_window_size: Some(STREAM_WINDOW_BYTES.into()),
            initial_connection_window_size: Some(CONNECTION_WINDOW_BYTES.into()),
            ..Default::default()
        }),
        request_headers_timeout: seconds(REQUEST_HEADERS_S),
        ..base
    };
    if mesh.path_normalization.is_none() {
        manager.merge_slashes = true;
        manager.path_with_escaped_slashes_action = PathWithEscapedSlashesAction::UnescapeAndRedirect as i32;
    }
    network_filter(HTTP_CONNECTION_MANAGER, &manager)
}

fn tls_inspector() -> ListenerFilter {
    ListenerFilter {
        name: "envoy.filters.listener.tls_inspector".to_owned(),
        config_type: Some(ConfigType::TypedConfig(pack(&TlsInspector::default()))),
        ..Default::default()
    }
}
