//! Who connects: an xDS client's node, read from Istio's node id and metadata.

use std::{collections::BTreeMap, fmt, net::IpAddr, sync::Arc};

use crate::{Namespace, text};

/// Region, zone and sub-zone, each perhaps empty.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub struct Locality {
    /// Region.
    pub region: Arc<str>,
    /// Zone.
    pub zone: Arc<str>,
    /// Sub-zone.
    pub sub_zone: Arc<str>,
}

impl Locality {
    /// From `region/zone/subzone`, as in `WorkloadEntry.locality`.
    pub fn parse(text: &str) -> Self {
        let mut parts = text.splitn(3, '/').map(text::shared);
        let mut next = || parts.next().unwrap_or_default();
        Self { region: next(), zone: next(), sub_zone: next() }
    }

    /// Is nothing known?
    pub fn is_empty(&self) -> bool {
        self.region.is_empty() && self.zone.is_empty() && self.sub_zone.is_empty()
    }
}

impl fmt::Display for Locality {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.region, self.zone, self.sub_zone)
    }
}

/// What kind of configuration a node gets.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum NodeRole {
    /// Beside a workload: `sidecar~IP~NAME.NAMESPACE~DOMAIN`.
    Sidecar,
    /// A gateway: `router~…`.
    Gateway,
    /// A proxyless gRPC client.
    Grpc,
}

/// How a node opens its streams: what it is given must be asked for the same way.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub enum Streams {
    /// One aggregated stream (ADS).
    #[default]
    Aggregated,
    /// A stream for each type, state of the world.
    SeparateSotw,
    /// A stream for each type, delta.
    SeparateDelta,
}

/// A node as it introduced itself, parsed once at the edge.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct NodeInfo {
    /// The node id, verbatim.
    pub id: Arc<str>,
    /// What it is.
    pub role: NodeRole,
    /// Namespace: metadata `NAMESPACE`, else the id's.
    pub namespace: Namespace,
    /// Workload name from the id.
    pub workload: Arc<str>,
    /// Addresses: the id's, then metadata `INSTANCE_IPS`.
    pub addresses: Vec<IpAddr>,
    /// Metadata `LABELS`.
    pub labels: BTreeMap<Arc<str>, Arc<str>>,
    /// Locality given by the node.
    pub locality: Locality,
    /// Metadata `NETWORK`.
    pub network: Arc<str>,
    /// Metadata `CLUSTER_ID`.
    pub cluster_id: Arc<str>,
    /// DNS domain of its platform, `cluster.local` where unknown.
    pub domain: Arc<str>,
    /// `user_agent_name`, for example `envoy` or `gRPC Go`.
    pub user_agent: Arc<str>,
    /// How it opens its streams.
    pub streams: Streams,
    /// Does it take differences? Virtual hosts can be delivered one by one to such nodes only.
    pub delta: bool,
}

impl NodeInfo {
    /// Reads an Istio node id (`TYPE~IP~NAME.NAMESPACE~DOMAIN`); what it does not give is left at its
    /// default, and an id of another shape is a sidecar of namespace `default` named by the whole id.
    pub fn from_id(id: &str) -> Self {
        let parts: Vec<&str> = id.split('~').collect();
        let mut node = Self {
            id: id.into(),
            role: NodeRole::Sidecar,
            namespace: Namespace::from("default"),
            workload: id.into(),
            addresses: Vec::new(),
            labels: BTreeMap::new(),
            locality: Locality::default(),
            network: "".into(),
            cluster_id: "".into(),
            domain: "cluster.local".into(),
            user_agent: "".into(),
            streams: Streams::default(),
            delta: true,
        };
        if let [role, ip, name, domain] = parts.as_slice() {
            if *role == "router" || *role == "gateway" {
                node.role = NodeRole::Gateway;
            }
            node.addresses.extend(ip.parse::<IpAddr>().ok());
            if let Some((workload, namespace)) = name.rsplit_once('.') {
                node.workload = workload.into();
                node.namespace = Namespace::from(namespace);
            } else if !name.is_empty() {
                node.workload = (*name).into();
            }
            if let Some((_, rest)) = domain.split_once(".svc.") {
                node.domain = rest.into();
            }
        }
        node
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn istio_ids_are_understood() {
        let node = NodeInfo::from_id("router~10.0.0.7~gw-1.istio-system~istio-system.svc.mesh.local");
        assert_eq!(node.role, NodeRole::Gateway);
        assert_eq!(node.namespace.as_str(), "istio-system");
        assert_eq!(&*node.workload, "gw-1");
        assert_eq!(&*node.domain, "mesh.local");
        assert_eq!(node.addresses, ["10.0.0.7".parse::<IpAddr>().unwrap()]);
    }

    #[test]
    fn any_other_id_is_a_plain_sidecar() {
        let node = NodeInfo::from_id("~~weird~");
        assert_eq!((node.role, node.namespace.as_str()), (NodeRole::Sidecar, "default"));
        assert!(NodeInfo::from_id("sidecar~x~~").addresses.is_empty());
    }
}
