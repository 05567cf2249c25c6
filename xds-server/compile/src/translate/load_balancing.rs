//! Load balancing of a cluster.
//! <https://istio.io/latest/docs/reference/config/networking/destination-rule/#LoadBalancerSettings>

use lateen_config::istio::{
    ConsistentHash, Distribute, Failover, LoadBalancer, LocalityLb, MeshConfig, SimpleLb, Warmup,
};
use lateen_proto::{
    envoy::{config::core::v3::RuntimeDouble, r#type::v3::Percent},
    google::protobuf,
};

use super::{
    ClientProfile,
    wire::{self, cds::cluster as c},
};

/// The ring's least size where none is given.
/// <https://istio.io/latest/docs/reference/config/networking/destination-rule/#LoadBalancerSettings-ConsistentHashLB-RingHash>
const RING_SIZE_MIN: u64 = 1024;
/// Envoy's limits. <https://www.envoyproxy.io/docs/envoy/v1.40.0/api-v3/config/cluster/v3/cluster.proto>
const RING_SIZE_MAX: u64 = 8 * 1024 * 1024;
const MAGLEV_SIZE_MAX: u64 = 5_000_011;

/// The locality settings in effect.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Localities<'a> {
    pub distribute: &'a [Distribute],
    pub failover: &'a [Failover],
    pub failover_priority: &'a [String],
}

impl<'a> Localities<'a> {
    /// Those of the destination, else those of the mesh; `None` where they are switched off. They are on
    /// where nobody says anything.
    /// <https://istio.io/latest/docs/reference/config/networking/destination-rule/#LocalityLoadBalancerSetting>
    pub(crate) fn of(mesh: &'a MeshConfig, balancer: Option<&'a LoadBalancer>) -> Option<Self> {
        let own = balancer.and_then(|lb| lb.locality_lb_setting.as_ref());
        match own.or(mesh.locality_lb_setting.as_ref()) {
            Some(LocalityLb { enabled: Some(false), .. }) => None,
            Some(LocalityLb { distribute, failover, failover_priority, .. }) => {
                Some(Self { distribute, failover, failover_priority })
            }
            None => Some(Self { distribute: &[], failover: &[], failover_priority: &[] }),
        }
    }

    /// Do endpoints look different from different places? Failover needs to know what is unhealthy.
    pub(crate) fn matter(self, outlier_detection: bool) -> bool {
        !self.distribute.is_empty() || outlier_detection
    }
}

/// Does the connection go where the client was going?
pub(crate) fn is_passthrough(balancer: &LoadBalancer) -> bool {
    balancer.consistent_hash.is_none() && balancer.simple == Some(SimpleLb::Passthrough)
}

/// Sets the policy, its settings and the common ones.
pub(crate) fn apply(
    cluster: &mut wire::cds::Cluster,
    mesh: &MeshConfig,
    balancer: Option<&LoadBalancer>,
    profile: ClientProfile,
) {
    if profile == ClientProfile::Grpc {
        return apply_grpc(cluster, balancer);
    }
    if Localities::of(mesh, balancer).is_some() {
        let weighted = c::common_lb_config::LocalityWeightedLbConfig {};
        cluster.common_lb_config.get_or_insert_default().locality_config_specifier =
            Some(c::common_lb_config::LocalityConfigSpecifier::LocalityWeightedLbConfig(weighted));
    }
    if let Some(hash) = balancer.and_then(|lb| lb.consistent_hash.as_ref()) {
        return apply_hash(cluster, hash);
    }
    let slow_start = balancer.and_then(slow_start);
    match balancer.and_then(|lb| lb.simple).unwrap_or_default() {
        SimpleLb::Unspecified | SimpleLb::LeastConn | SimpleLb::LeastRequest => {
            cluster.lb_policy = c::LbPolicy::LeastRequest as i32;
            cluster.lb_config = slow_start.map(|slow_start_config| {
                c::LbConfig::LeastRequestLbConfig(c::LeastRequestLbConfig {
                    slow_start_config: Some(slow_start_config),
                    ..Default::default()
                })
            });
        }
        SimpleLb::RoundRobin => {
            cluster.lb_policy = c::LbPolicy::RoundRobin as i32;
            cluster.lb_config = slow_start.map(|slow_start_config| {
                c::LbConfig::RoundRobinLbConfig(c::RoundRobinLbConfig {
                    slow_start_config: Some(slow_start_config),
                })
            });
        }
        SimpleLb::Random => cluster.lb_policy = c::LbPolicy::Random as i32,
        // The cluster was made an ORIGINAL_DST one.
        SimpleLb::Passthrough => cluster.lb_policy = c::LbPolicy::ClusterProvided as i32,
    }
}

/// Proxyless clients know round robin and ring hash everywhere; least request only in some languages.
/// <https://grpc.github.io/grpc/core/md_doc_grpc_xds_features.html>
///
/// They hash a header. Without a key that they know, a ring would choose by chance, and a client that knows no ring
/// would reject the cluster for nothing.
/// <https://github.com/grpc/proposal/blob/master/A42-xds-ring-hash-lb-policy.md#xds-api-fields>
fn apply_grpc(cluster: &mut wire::cds::Cluster, balancer: Option<&LoadBalancer>) {
    let hash = balancer.and_then(|lb| lb.consistent_hash.as_ref());
    match hash.filter(|hash| hash.http_header_name.is_some()) {
        Some(hash) => {
            cluster.lb_policy = c::LbPolicy::RingHash as i32;
            cluster.lb_config = Some(ring(ring_size(hash)));
        }
        None => cluster.lb_policy = c::LbPolicy::RoundRobin as i32,
    }
}

fn apply_hash(cluster: &mut wire::cds::Cluster, hash: &ConsistentHash) {
    if let Some(maglev) = &hash.maglev {
        cluster.lb_policy = c::LbPolicy::Maglev as i32;
        cluster.lb_config = maglev.table_size.map(|size| {
            let table_size = Some(size.clamp(1, MAGLEV_SIZE_MAX).into());
            c::LbConfig::MaglevLbConfig(c::MaglevLbConfig { table_size })
        });
        return;
    }
    cluster.lb_policy = c::LbPolicy::RingHash as i32;
    cluster.lb_config = Some(ring(ring_size(hash)));
}

fn ring_size(hash: &ConsistentHash) -> u64 {
    let given = hash.ring_hash.as_ref().and_then(|ring| ring.minimum_ring_size).or(hash.minimum_ring_size);
    given.filter(|size| *size > 0).unwrap_or(RING_SIZE_MIN).min(RING_SIZE_MAX)
}

fn ring(minimum: u64) -> c::LbConfig {
    c::LbConfig::RingHashLbConfig(c::RingHashLbConfig {
        minimum_ring_size: Some(minimum.into()),
        ..Default::default()
    })
}

/// <https://istio.io/latest/docs/reference/config/networking/destination-rule/#WarmupConfiguration>
fn slow_start(balancer: &LoadBalancer) -> Option<c::SlowStartConfig> {
    let warmup = match (&balancer.warmup, balancer.warmup_duration_secs) {
        (Some(warmup), _) => warmup.clone(),
        (None, Some(duration)) => Warmup { duration: Some(duration), ..Default::default() },
        (None, None) => return None,
    };
    Some(c::SlowStartConfig {
        slow_start_window: Some(protobuf::Duration::from(warmup.duration?)),
        aggression: warmup.aggression.map(|value| RuntimeDouble {
            default_value: value,
            // Envoy requires a key even where nobody sets it.
            runtime_key: "lateen.warmup.aggression".into(),
        }),
        min_weight_percent: warmup.minimum_percent.map(|value| Percent { value: value.clamp(0.0, 100.0) }),
    })
}
