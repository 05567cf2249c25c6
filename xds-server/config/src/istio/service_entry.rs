//! `ServiceEntry`. <https://istio.io/latest/docs/reference/config/networking/service-entry/>

use super::{common::WorkloadSelector, workload_entry::WorkloadEntry};
use crate::decode::{choice, object};

object! {
    /// A service that no platform's registry knows.
    pub struct ServiceEntry {
        hosts: Vec<String> = "hosts",
        /// IP addresses or CIDR ranges.
        addresses: Vec<String> = "addresses",
        ports: Vec<ServicePort> = "ports",
        location: Location = "location",
        resolution: EntryResolution = "resolution",
        endpoints: Vec<WorkloadEntry> = "endpoints",
        workload_selector: Option<WorkloadSelector> = "workloadSelector",
        export_to: Vec<String> = "exportTo",
        subject_alt_names: Vec<String> = "subjectAltNames",
    }
}

object! {
    /// A port of the service.
    pub struct ServicePort {
        number: u32 = "number",
        /// `HTTP`, `HTTPS`, `HTTP2`, `GRPC`, `GRPC-WEB`, `MONGO`, `TCP`, `TLS`, …
        protocol: String = "protocol",
        name: String = "name",
        /// Port of the endpoints; none is the same number.
        target_port: Option<u32> = "targetPort",
    }
}

choice! {
    /// Is the service part of the mesh?
    pub enum Location {
        MeshExternal = "MESH_EXTERNAL",
        MeshInternal = "MESH_INTERNAL",
    }
}

choice! {
    /// How the addresses of the endpoints are found.
    pub enum EntryResolution {
        None = "NONE",
        Static = "STATIC",
        Dns = "DNS",
        DnsRoundRobin = "DNS_ROUND_ROBIN",
        DynamicDns = "DYNAMIC_DNS",
    }
}
