//! `Sidecar`. <https://istio.io/latest/docs/reference/config/networking/sidecar/>

use super::{
    common::{Destination, WorkloadSelector},
    gateway::ServerTls,
    traffic_policy::ConnectionPool,
};
use crate::decode::{choice, object};

object! {
    /// What sidecars are given.
    pub struct Sidecar {
        workload_selector: Option<WorkloadSelector> = "workloadSelector",
        ingress: Vec<IngressListener> = "ingress",
        egress: Vec<EgressListener> = "egress",
        inbound_connection_pool: Option<ConnectionPool> = "inboundConnectionPool",
        outbound_traffic_policy: Option<OutboundTrafficPolicy> = "outboundTrafficPolicy",
    }
}

object! {
    /// A listener for traffic to the workload.
    pub struct IngressListener {
        port: Option<SidecarPort> = "port",
        bind: String = "bind",
        capture_mode: CaptureMode = "captureMode",
        /// `127.0.0.1:PORT`, `[::1]:PORT`, `0.0.0.0:PORT`, `[::]:PORT`, or `unix://PATH`
        default_endpoint: String = "defaultEndpoint",
        tls: Option<ServerTls> = "tls",
        connection_pool: Option<ConnectionPool> = "connectionPool",
    }
}

object! {
    /// A listener for traffic from the workload, and the hosts it reaches.
    pub struct EgressListener {
        port: Option<SidecarPort> = "port",
        bind: String = "bind",
        capture_mode: CaptureMode = "captureMode",
        /// `namespace/host`, `./host`, `*/host`, `~/host`
        hosts: Vec<String> = "hosts",
    }
}

object! {
    /// The port of a listener.
    pub struct SidecarPort {
        number: u32 = "number",
        protocol: String = "protocol",
        name: String = "name",
        /// Deprecated, and without effect in Istio too.
        target_port: Option<u32> = "targetPort",
    }
}

choice! {
    /// How traffic comes to a listener.
    pub enum CaptureMode {
        Default = "DEFAULT",
        Iptables = "IPTABLES",
        None = "NONE",
    }
}

object! {
    /// What happens to traffic to unknown hosts.
    pub struct OutboundTrafficPolicy {
        mode: Option<OutboundMode> = "mode",
        egress_proxy: Option<Destination> = "egressProxy",
    }
}

choice! {
    /// Are unknown hosts reachable?
    pub enum OutboundMode {
        RegistryOnly = "REGISTRY_ONLY",
        AllowAny = "ALLOW_ANY",
    }
}
