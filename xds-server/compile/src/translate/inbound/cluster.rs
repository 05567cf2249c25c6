//! Clusters that lead to the workload.

use lateen_model::Protocol;
use lateen_proto::envoy::config::{
    cluster::v3::{
        Cluster,
        cluster::{ClusterDiscoveryType, DiscoveryType, LbPolicy},
    },
    core::v3::{BindConfig, ExtraSourceAddress, SocketAddress, socket_address::PortSpecifier},
    endpoint::v3::{
        ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints, lb_endpoint::HostIdentifier,
    },
};

use super::{
    InboundPort, Of, PASSTHROUGH,
    port::{Target, tls_of},
};
use crate::translate::{
    Compiled, Families, Read, notes::Notes, policy::Policy, pool, transport::Transport, wire,
};

/// The cluster of a port.
pub(super) fn of_port(r: &mut dyn Read, of: &Of<'_>, port: &InboundPort) -> Compiled {
    let mut notes = Notes::default();
    of.origins(r, port).iter().for_each(|origin| notes.origin(origin));
    let name = port.cluster_name();
    let mut cluster = Cluster {
        alt_stat_name: format!("{name};"),
        ..match &port.target {
            Target::Original => original(&name, of.key.families),
            Target::At(address, number) => fixed(&name, address, *number),
        }
    };
    let ingress = of.ingress(port);
    let shared = of.sidecar.and_then(|sidecar| sidecar.spec.inbound_connection_pool.as_ref());
    let connection_pool = ingress.and_then(|listener| listener.connection_pool.as_ref()).or(shared);
    let policy = Policy { connection_pool, ..Policy::default() };
    // What TLS ended here carries is HTTP, and the workload reads it in the clear.
    let ends_here = ingress.and_then(tls_of).is_some_and(|tls| tls.is_ok());
    let protocol = if port.protocol == Protocol::Https && ends_here { Protocol::Http } else { port.protocol };
    let speech = pool::speech(protocol, of.mesh, policy.http());
    pool::apply(&mut cluster, of.mesh, &policy, speech, &Transport::default());
    notes.compiled(&cluster)
}

/// The cluster for ports that nobody described.
pub(super) fn passthrough(of: &Of<'_>) -> Compiled {
    let mut cluster = original(PASSTHROUGH, of.key.families);
    let speech = pool::speech(Protocol::Unknown, of.mesh, None);
    pool::apply(&mut cluster, of.mesh, &Policy::default(), speech, &Transport::default());
    Notes::default().compiled(&cluster)
}

/// Connections go to where they were going, from an address that the redirection leaves alone: otherwise they
/// would come back to the proxy. Of several addresses Envoy takes the one of the destination's family.
/// <https://www.envoyproxy.io/docs/envoy/v1.40.0/api-v3/config/core/v3/address.proto#config-core-v3-bindconfig>
fn original(name: &str, families: Families) -> Cluster {
    let address = |text: &str| SocketAddress {
        address: text.to_owned(),
        port_specifier: Some(PortSpecifier::PortValue(0)),
        ..Default::default()
    };
    let (first, also) = match families {
        Families::V4 => ("127.0.0.6", None),
        Families::V6 => ("::6", None),
        Families::Dual => ("127.0.0.6", Some("::6")),
    };
    let extra = |text| ExtraSourceAddress { address: Some(address(text)), ..Default::default() };
    Cluster {
        name: name.to_owned(),
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::OriginalDst as i32)),
        lb_policy: LbPolicy::ClusterProvided as i32,
        upstream_bind_config: Some(BindConfig {
            source_address: Some(address(first)),
            extra_source_addresses: also.into_iter().map(extra).collect(),
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
