//! Clusters that lead to the workload.

use lateen_config::istio::MeshConfig;
use lateen_model::Protocol;
use lateen_proto::envoy::config::{
    cluster::v3::{
        Cluster,
        cluster::{ClusterDiscoveryType, DiscoveryType, LbPolicy},
    },
    core::v3::{BindConfig, SocketAddress, socket_address::PortSpecifier},
    endpoint::v3::{
        ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints, lb_endpoint::HostIdentifier,
    },
};

use super::{
    PASSTHROUGH,
    port::{InboundPort, Target, Tls},
};
use crate::translate::{
    Compiled, InboundView, notes::Notes, policy::Policy, pool, transport::Transport, wire,
};

/// The cluster of a port.
pub(super) fn of_port(view: &InboundView, mesh: &MeshConfig, port: &InboundPort) -> Compiled {
    let mut notes = Notes::default();
    port.origins.iter().for_each(|origin| notes.origin(origin));
    for (code, key, origin, message) in &port.problems {
        notes.warn(*code, Some((key, origin)), message.clone());
    }
    let name = port.cluster_name();
    let mut cluster = Cluster {
        alt_stat_name: format!("{name};"),
        ..match &port.target {
            Target::Original => original(&name, view),
            Target::At(address, number) => fixed(&name, address, *number),
        }
    };
    let policy = Policy { connection_pool: port.pool.as_ref(), ..Policy::default() };
    // What TLS ended here carries is HTTP, and the workload reads it in the clear.
    let protocol = if port.protocol == Protocol::Https && matches!(port.tls, Tls::Ends(_)) {
        Protocol::Http
    } else {
        port.protocol
    };
    let speech = pool::speech(protocol, mesh, policy.http());
    pool::apply(&mut cluster, mesh, &policy, speech, &Transport::default());
    notes.compiled(&cluster)
}

/// The cluster for ports that nobody described.
pub(super) fn passthrough(view: &InboundView, mesh: &MeshConfig) -> Compiled {
    let mut cluster = original(PASSTHROUGH, view);
    let speech = pool::speech(Protocol::Unknown, mesh, None);
    pool::apply(&mut cluster, mesh, &Policy::default(), speech, &Transport::default());
    Notes::default().compiled(&cluster)
}

/// Connections go to where they were going, from an address that the redirection leaves alone: otherwise they
/// would come back to the proxy.
fn original(name: &str, view: &InboundView) -> Cluster {
    let ipv6 = view.addresses.first().is_some_and(std::net::IpAddr::is_ipv6);
    let source = if ipv6 { "::6" } else { "127.0.0.6" };
    Cluster {
        name: name.to_owned(),
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::OriginalDst as i32)),
        lb_policy: LbPolicy::ClusterProvided as i32,
        upstream_bind_config: Some(BindConfig {
            source_address: Some(SocketAddress {
                address: source.to_owned(),
                port_specifier: Some(PortSpecifier::PortValue(0)),
                ..Default::default()
            }),
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn fixed(name: &str, address: &str, port: u16) -> Cluster {
    let endpoint = LbEndpoint {
        host_identifier: Some(HostIdentifier::Endpoint(Endpoint {
            address: Some(wire::address(address, port)),
            ..Default::default()
        })),
        ..Default::default()
    };
    Cluster {
        name: name.to_owned(),
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::Static as i32)),
        load_assignment: Some(ClusterLoadAssignment {
            cluster_name: name.to_owned(),
            endpoints: vec![LocalityLbEndpoints { lb_endpoints: vec![endpoint], ..Default::default() }],
            ..Default::default()
        }),
        ..Default::default()
    }
}
