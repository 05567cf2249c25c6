//! Listeners of gateways.

use std::{collections::BTreeSet, sync::Arc};

use lateen_config::istio::{Server, ServerHosts};
use lateen_model::{Host, Origin};
use lateen_proto::envoy::config::{core::v3::TrafficDirection, listener::v3 as lds};
use lateen_xds::ResourceType;

use super::{
    GatewayListenerKey, ServerRole, attach,
    stream::{self, At, Streams},
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
    let mut closed: Vec<Chain> = Vec::new();
    let mut plain: Vec<Chain> = Vec::new();
    let mut secure: Vec<Chain> = Vec::new();
    for part in key.servers.iter() {
        let Some(gateway) = attach::gateway(r, &part.gateway) else { continue };
        let Some(server) = gateway.spec.servers.get(part.index) else { continue };
        gateway.origins.iter().for_each(|origin| notes.origin(origin));
        let at = place(&gateway.origin, server);
        let about = Some((&gateway.key, &at));
        let hosts = ServerHosts::of(server, &part.gateway.namespace);
        let stream = At { mesh: &mesh, key, part, hosts: &hosts, streams: &streams };
        let chains = chains(r, &mut notes, server, stream).map(|mut chains| {
            for chain in &mut chains {
                chain.origins.push(at.clone());
                chain.origins.extend(gateway.origins.iter().filter(|it| **it != gateway.origin).cloned());
            }
            chains
        });
        match chains {
            Ok(chains) if part.role.is_closed() => closed.extend(chains),
            Ok(chains) if part.role.is_tls() => secure.extend(chains),
            // Servers of HTTP in the clear share one chain.
            Ok(chains) if plain.is_empty() => plain.extend(chains),
            Ok(_) => {}
            Err(message) => notes.warn(notes::NOT_TRANSLATED, about, message),
        }
    }
    let sniffs = !secure.is_empty() || !closed.is_empty();
    if sniffs {
        for chain in &mut plain {
            "raw_buffer".clone_into(&mut chain.matching.transport_protocol);
        }
    }
    // The older server has what two of them match, but nobody has what a closed one was for.
    let mut claims = Claims::default();
    let mut chains: Vec<Chain> = closed.into_iter().chain(plain).chain(secure).collect();
    chains.retain_mut(|chain| claims.claim(&mut chain.matching));
    if chains.is_empty() {
        return None;
    }
    let also = key.also.as_ref().map(|address| lds::AdditionalAddress {
        address: Some(wire::address(address, key.bind.port)),
        ..Default::default()
    });
    let base = lds::Listener {
        name: names::listener(&key.bind).to_string(),
        address: Some(wire::address(&key.bind.address, key.bind.port)),
        additional_addresses: also.into_iter().collect(),
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

fn chains(r: &mut dyn Read, notes: &mut Notes, server: &Server, at: At<'_>) -> Result<Vec<Chain>, String> {
    let ends = |alpn| {
        let Some(tls) = &server.tls else { return Err("the server has no tls".to_owned()) };
        terminate(tls, alpn).map(Some).map_err(|problem| problem.to_string())
    };
    let mut http = |route_config: &Arc<str>| {
        notes.reference(r, ResourceType::RouteConfiguration, route_config);
        // https://istio.io/latest/docs/reference/config/networking/gateway/#Server-name
        let own = Some(&server.name).filter(|name| !name.is_empty()).cloned();
        let stat_prefix = own.unwrap_or_else(|| format!("outbound_{}", names::listener(&at.key.bind)));
        at.key.site(at.mesh).http(stat_prefix, rds(at.key.profile, route_config))
    };
    let (mut chains, tls, server_names) = match &at.part.role {
        ServerRole::Http { route_config } => (vec![Chain::of(http(route_config))], None, Vec::new()),
        ServerRole::Https { route_config } => {
            let tls = ends(ALPN_HTTP)?;
            (vec![Chain::of(http(route_config))], tls, server_names(at.hosts.iter().map(|host| &host.host)))
        }
        ServerRole::Tcp => (stream::tcp(r, notes, at), None, Vec::new()),
        ServerRole::TerminatedTls => {
            let tls = ends(&[])?;
            (stream::tcp(r, notes, at), tls, server_names(at.hosts.iter().map(|host| &host.host)))
        }
        ServerRole::Passthrough => return Ok(stream::passthrough(r, notes, at)),
        ServerRole::Closed { hosts } => {
            let mut chain = Chain::of(at.key.site(at.mesh).closed());
            "tls".clone_into(&mut chain.matching.transport_protocol);
            (vec![chain], None, server_names(hosts.iter()))
        }
    };
    for chain in &mut chains {
        chain.tls.clone_from(&tls);
        chain.matching.server_names.clone_from(&server_names);
    }
    Ok(chains)
}

/// The SNI of a server's connections; empty for all.
fn server_names<'a>(hosts: impl Iterator<Item = &'a Host>) -> Vec<String> {
    let names: BTreeSet<String> = hosts.map(ToString::to_string).collect();
    if names.contains("*") { Vec::new() } else { names.into_iter().collect() }
}
