//! `EndpointSlice`. <https://kubernetes.io/docs/reference/kubernetes-api/service-resources/endpoint-slice-v1/>

use std::collections::BTreeMap;

use crate::decode::{Ignored, choice, object};

object! {
    /// A part of the endpoints of a service, which the label `kubernetes.io/service-name` names.
    pub struct EndpointSlice {
        address_type: AddressType = "addressType",
        endpoints: Vec<SliceEndpoint> = "endpoints",
        ports: Vec<SlicePort> = "ports",
    }
    others ignored
}

choice! {
    /// What the addresses are.
    pub enum AddressType { Ipv4 = "IPv4", Ipv6 = "IPv6", Fqdn = "FQDN" }
}

object! {
    /// One endpoint.
    pub struct SliceEndpoint {
        addresses: Vec<String> = "addresses",
        conditions: Option<EndpointConditions> = "conditions",
        hostname: Option<String> = "hostname",
        node_name: Option<String> = "nodeName",
        zone: Option<String> = "zone",
        target_ref: Option<Box<TargetRef>> = "targetRef",
        hints: Option<Ignored> = "hints",
        deprecated_topology: BTreeMap<String, String> = "deprecatedTopology",
    }
    others ignored
}

object! {
    /// Is the endpoint usable? None is ready.
    pub struct EndpointConditions {
        ready: Option<bool> = "ready",
        serving: Option<bool> = "serving",
        terminating: Option<bool> = "terminating",
    }
    others ignored
}

object! {
    /// The object behind the endpoint, a pod as a rule.
    pub struct TargetRef {
        kind: String = "kind",
        namespace: String = "namespace",
        name: String = "name",
        uid: String = "uid",
    }
    others ignored
}

object! {
    /// A port of the endpoints.
    pub struct SlicePort {
        /// The port's name in the service.
        name: String = "name",
        port: Option<u32> = "port",
        protocol: super::TransportProtocol = "protocol",
        app_protocol: Option<String> = "appProtocol",
    }
    others ignored
}
