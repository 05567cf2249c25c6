//! Listeners of gateways.

use std::sync::Arc;

use lateen_config::istio::{MeshConfig, Server};
use lateen_model::Origin;
use lateen_proto::envoy::config::{core::v3::TrafficDirection, listener::v3 as lds};
use lateen_xds::ResourceType;

use super::{
    GatewayListenerKey, ServerPart, ServerRole, attach, servers,
    stream::{self, Streams},
};
use crate::{
    plan::{Chain, Inspector, Listener, rds},
    translate::{
        Compiled, Read,
        claims::Claims,
        names,
        notes::{self, Notes},
        read,
        server_tls::{ALPN_HTTP, terminate},
        wire,
    },
};

/// <https://www.envoyproxy.io/docs/envoy/latest/configuration/best_practices/edge>
const BUFFER_BYTES_MAX: u32 = 32 * 1024;

/// A listener of a gateway with a filter chain for each server, or for each route by SNI. `None` when no server
/// of the socket can be served.
pub fn gateway_listener(r: &mut dyn Read, key: &GatewayListenerKey) -> Option<Compiled> {
    let mesh = read::mesh(r);
    let mut notes = Notes::default();
    let streams = Streams::load(r, key);
    let mut plain: Vec<Chain> = Vec::new();
    let mut secure: Vec<Chain> = Vec::new();
    for part in key.servers.iter() {
        let Some(gateway) = attach::gateway(r, &part.gateway) else { continue };
        let Some(server) = gateway.spec.servers.get(part.index) else { continue };
        gateway.origins.iter().for_each(|origin| notes.origin(origin));
        let at = place(&gateway.origin, server);
        let about = Some((&gateway.key, &at));
        let chains = chains(r, &mut notes, &mesh, key, part, server, &streams).map(|mut chains| {
            for chain in &mut chains {
                chain.origins.push(at.clone());
                chain.origins.extend(gateway.origins.iter().filter(|it| **it != gateway.origin).cloned());
            }
            chains
        });
        match chains {
            Ok(chains) if part.role.is_tls() => secure.extend(chains),
            // Servers of HTTP in the clear share one chain.
            Ok(chains) if plain.is_empty() => plain.extend(chains),
            Ok(_) => {}
            Err(message) => notes.warn(notes::NOT_TRANSLATED, about, message),
        }
    }
    if !secure.is_empty() {
        for chain in &mut plain {
            "raw_buffer".clone_into(&mut chain.matching.transport_protocol);
        }
    }
    let sniffs = !secure.is_empty();
    // The older server has what two of them match.
    let mut claims = Claims::default();
    let mut chains: Vec<Chain> = plain.into_iter().chain(secure).collect();
    chains.retain_mut(|chain| claims.claim(&mut chain.matching));
    if chains.is_empty() {
        return None;
    }
    let base = lds::Listener {
        name: names::listener(&key.bind).to_string(),
        address: Some(wire::address(&key.bind.address, key.bind.port)),
        traffic_direction: TrafficDirection::Outbound as i32,
        per_connection_buffer_limit_bytes: Some(BUFFER_BYTES_MAX.into()),
        ..Default::default()
    };
    let inspectors = if sniffs { vec![Inspector::Tls(None)] } else { Vec::new() };
    let listener = Listener { base, inspectors, chains, default: None }.finish(r, &mut notes);
    Some(notes.compiled(&listener))
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
) -> Result<Vec<Chain>, String> {
    let tls = match (&part.role, &server.tls) {
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
            let stat_prefix = format!("outbound_{}", names::listener(&key.bind));
            let http = key.site(mesh).http(stat_prefix, rds(key.profile, route_config));
            vec![Chain { tls, ..Chain::of(http) }]
        }
        ServerRole::Tcp | ServerRole::TerminatedTls => {
            let mut chains = stream::tcp(r, notes, mesh, key, part, server, streams);
            for chain in &mut chains {
                chain.tls.clone_from(&tls);
            }
            chains
        }
        ServerRole::Passthrough => stream::passthrough(r, notes, mesh, key, part, server, streams),
    };
    if matches!(part.role, ServerRole::Https { .. } | ServerRole::TerminatedTls) && !server_names.is_empty() {
        for chain in &mut chains {
            chain.matching.server_names.clone_from(&server_names);
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
