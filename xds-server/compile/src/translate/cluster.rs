//! Clusters of services.

use std::{sync::Arc, time::Duration};

use lateen_config::istio::MeshConfig;
use lateen_model::{Port, Protocol, Resolution, Service};
use lateen_proto::{
    any::pack,
    envoy::extensions::clusters::{common::dns::v3::DnsLookupFamily, dns::v3::DnsCluster},
};
use lateen_xds::ResourceType;

use super::{
    ClientProfile, ClusterKey, Compiled, Families, Read, closed, endpoint, load_balancing, names,
    notes::{NOT_TRANSLATED, Notes},
    outlier,
    policy::Policy,
    pool, read, transport,
    wire::{
        self,
        cds::{self, cluster as c},
    },
};
use crate::select::Rules;

/// <https://istio.io/latest/docs/reference/config/istio.mesh.v1alpha1/#MeshConfig>
const DNS_REFRESH_RATE: Duration = Duration::from_mins(1);

/// The cluster of a service's port and subset. `None` when there is none (any more).
pub fn cluster(r: &mut dyn Read, key: &ClusterKey) -> Option<Compiled> {
    let mesh = read::mesh(r);
    let service = read::services(r, &key.host).iter().find(|s| s.namespace == key.namespace)?.clone();
    let port = service.port(key.port)?.clone();
    let rules = Rules::load(r, key.rules.as_ref());
    if let Some(name) = &key.subset {
        rules.subset(name)?;
    }
    let mut notes = Notes::default();
    notes.origin(&service.origin);
    for rule in rules.iter() {
        notes.origin(&rule.origin);
    }
    let mut policy = rules.policy(key.subset.as_deref(), key.port);
    let default = mesh.default_traffic_policy.as_ref();
    policy.connection_pool = policy.connection_pool.or(default.and_then(|d| d.connection_pool.as_ref()));
    policy.outlier_detection =
        policy.outlier_detection.or(default.and_then(|d| d.outlier_detection.as_ref()));

    left_out(&mut notes, &policy, &rules);

    let name = names::cluster(key.port, key.subset.as_deref(), key.host.as_str());
    let mut message = cds::Cluster { name: name.to_string(), ..Default::default() };
    let (shut, tls) = closed::wanted(r, &mut notes, key, &policy, &rules);
    policy.tls = tls;
    if !mesh.outbound_cluster_stat_name.is_empty() {
        message.alt_stat_name = stat_name(&mesh.outbound_cluster_stat_name, &service, &port, key);
    }
    if shut && key.profile != ClientProfile::Grpc {
        closed::empty(&mut message, &mesh);
        return Some(notes.compiled(&message));
    }
    discovery(r, &mut message, &mut notes, key, &service, &policy);
    load_balancing::apply(&mut message, &mesh, policy.load_balancer, key.profile);
    if message.cluster_discovery_type == Some(discovery_type(c::DiscoveryType::OriginalDst)) {
        message.lb_policy = c::LbPolicy::ClusterProvided as i32;
        message.lb_config = None;
        message.common_lb_config = None;
    }
    if key.profile == ClientProfile::Grpc {
        grpc_limits(&mut message, &mesh, &policy);
        if shut {
            closed::for_grpc(&mut message);
        }
    } else {
        // Most servers speak HTTP/1.1; what a gateway's client speaks says nothing about them.
        let protocol = match port.protocol {
            Protocol::Unknown if key.gateway => Protocol::Http,
            known => known,
        };
        let speech = pool::speech(protocol, &mesh, policy.http());
        let transport = connect(&mut message, &service, &policy, speech);
        pool::apply(&mut message, &mesh, &policy, speech, &transport);
    }
    if let Some(detection) = policy.outlier_detection {
        outlier::apply(&mut message, detection);
    }
    Some(notes.compiled(&message))
}

/// Says which settings have no effect yet.
fn left_out(notes: &mut Notes, policy: &Policy<'_>, rules: &Rules) {
    if policy.load_balancer.is_some_and(|lb| lb.zone_aware_lb_setting.is_some()) {
        let about = rules.about().map(|rule| (&rule.key, &rule.origin));
        notes.warn(NOT_TRANSLATED, about, "zoneAwareLbSetting is not applied".to_owned());
    }
}

fn discovery_type(kind: c::DiscoveryType) -> c::ClusterDiscoveryType {
    c::ClusterDiscoveryType::Type(kind as i32)
}

/// How endpoints are found.
fn discovery(
    r: &mut dyn Read,
    message: &mut cds::Cluster,
    notes: &mut Notes,
    key: &ClusterKey,
    service: &Arc<Service>,
    policy: &Policy<'_>,
) {
    let kind = match (endpoint::passes_through(policy, key.profile), service.resolution) {
        // Proxyless clients have no original destination, only the name that they were asked for, and resolve one.
        // https://github.com/grpc/proposal/blob/master/A37-xds-aggregate-and-logical-dns-clusters.md
        (_, Resolution::None | Resolution::Dns) if key.profile == ClientProfile::Grpc => {
            c::DiscoveryType::LogicalDns
        }
        // What a gateway's client called is the gateway, not an endpoint.
        (false, Resolution::None) if key.gateway => c::DiscoveryType::Eds,
        (true, _) | (false, Resolution::None) => c::DiscoveryType::OriginalDst,
        (false, Resolution::Static) => c::DiscoveryType::Eds,
        (false, Resolution::Dns) => c::DiscoveryType::StrictDns,
        (false, Resolution::DnsRoundRobin) => c::DiscoveryType::LogicalDns,
    };
    message.cluster_discovery_type = Some(discovery_type(kind));
    match kind {
        c::DiscoveryType::Eds => {
            message.eds_cluster_config = Some(c::EdsClusterConfig {
                eds_config: Some(wire::config_source(key.profile)),
                service_name: message.name.clone(),
            });
            notes.reference(r, ResourceType::Endpoints, &message.name);
        }
        c::DiscoveryType::StrictDns | c::DiscoveryType::LogicalDns => {
            let single = kind == c::DiscoveryType::LogicalDns;
            message.load_assignment = Some(endpoint::resolved_by_proxy(r, notes, key, service, single));
            if key.profile != ClientProfile::Grpc {
                message.cluster_discovery_type = Some(resolver(&read::mesh(r), key.families, single));
            }
        }
        c::DiscoveryType::OriginalDst | c::DiscoveryType::Static => {}
    }
}

/// Names that the proxy resolves. `dnsRefreshRate` is for answers without a time to live:
/// <https://istio.io/latest/docs/reference/config/istio.mesh.v1alpha1/#MeshConfig>
///
/// It is `STRICT_DNS` or `LOGICAL_DNS` in their present form; the fields of the types of old are deprecated.
/// <https://www.envoyproxy.io/docs/envoy/v1.40.0/api-v3/extensions/clusters/dns/v3/dns_cluster.proto>
fn resolver(mesh: &MeshConfig, families: Families, single: bool) -> c::ClusterDiscoveryType {
    let family = match families {
        Families::V4 => DnsLookupFamily::V4Only,
        Families::V6 => DnsLookupFamily::V6Only,
        Families::Dual => DnsLookupFamily::All,
    };
    let config = DnsCluster {
        dns_refresh_rate: Some(mesh.dns_refresh_rate.unwrap_or(DNS_REFRESH_RATE).into()),
        respect_dns_ttl: true,
        dns_lookup_family: family as i32,
        all_addresses_in_single_endpoint: single,
        ..Default::default()
    };
    let name = "envoy.cluster.dns".to_owned();
    c::ClusterDiscoveryType::ClusterType(c::CustomClusterType { name, typed_config: Some(pack(&config)) })
}

/// TLS and the PROXY protocol.
fn connect(
    message: &mut cds::Cluster,
    service: &Service,
    policy: &Policy<'_>,
    speech: pool::Speech,
) -> transport::Transport {
    let http2 = speech == pool::Speech::Http2;
    let mut made = policy.tls.map(|tls| transport::of(tls, service, http2)).unwrap_or_default();
    message.transport_socket = match policy.proxy_protocol {
        Some(proxy_protocol) => Some(transport::with_proxy_protocol(proxy_protocol, made.socket.take())),
        None => made.socket.take(),
    };
    made
}

/// Proxyless clients know the limit on requests and the connect timeout.
fn grpc_limits(message: &mut cds::Cluster, mesh: &MeshConfig, policy: &Policy<'_>) {
    let mut limited = cds::Cluster::default();
    pool::apply(&mut limited, mesh, policy, pool::Speech::Http1, &transport::Transport::default());
    message.connect_timeout = limited.connect_timeout;
    message.circuit_breakers = limited.circuit_breakers;
    for threshold in message.circuit_breakers.iter_mut().flat_map(|breakers| &mut breakers.thresholds) {
        *threshold =
            cds::circuit_breakers::Thresholds { max_requests: threshold.max_requests, ..Default::default() };
    }
}

/// <https://istio.io/latest/docs/reference/config/istio.mesh.v1alpha1/#MeshConfig>: `outboundClusterStatName`
fn stat_name(pattern: &str, service: &Service, port: &Port, key: &ClusterKey) -> String {
    pattern
        .replace("%SERVICE_FQDN%", service.host.as_str())
        .replace("%SERVICE_PORT_NAME%", &port.name)
        .replace("%SERVICE_PORT%", &key.port.to_string())
        .replace("%SERVICE_NAME%", &service.name)
        .replace("%SERVICE%", &format!("{}.{}", service.name, service.namespace))
        .replace("%SUBSET_NAME%", key.subset.as_deref().unwrap_or_default())
}
