//! `Service`. <https://kubernetes.io/docs/reference/kubernetes-api/service-resources/service-v1/>

use std::collections::BTreeMap;

use crate::decode::{IntOrString, choice, object};

object! {
    /// A service of Kubernetes.
    pub struct Service {
        kind: ServiceType = "type",
        selector: BTreeMap<String, String> = "selector",
        /// `None` (the text) is a headless service; empty is not assigned yet.
        cluster_ip: String = "clusterIP",
        cluster_ips: Vec<String> = "clusterIPs",
        external_ips: Vec<String> = "externalIPs",
        external_name: String = "externalName",
        ports: Vec<ServicePort> = "ports",
        publish_not_ready_addresses: bool = "publishNotReadyAddresses",
        /// `Local` keeps requests on the node.
        internal_traffic_policy: String = "internalTrafficPolicy",
        traffic_distribution: String = "trafficDistribution",
        session_affinity: String = "sessionAffinity",
    }
    others ignored
}

choice! {
    /// How the service is reached.
    pub enum ServiceType {
        ClusterIp = "ClusterIP",
        NodePort = "NodePort",
        LoadBalancer = "LoadBalancer",
        ExternalName = "ExternalName",
    }
}

object! {
    /// A port of the service.
    pub struct ServicePort {
        name: String = "name",
        port: u32 = "port",
        /// None is the same as `port`.
        target_port: Option<IntOrString> = "targetPort",
        protocol: TransportProtocol = "protocol",
        app_protocol: Option<String> = "appProtocol",
        node_port: Option<u32> = "nodePort",
    }
    others ignored
}

choice! {
    /// The transport below.
    pub enum TransportProtocol { Tcp = "TCP", Udp = "UDP", Sctp = "SCTP" }
}
