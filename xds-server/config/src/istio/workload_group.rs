//! `WorkloadGroup`. <https://istio.io/latest/docs/reference/config/networking/workload-group/>

use std::collections::BTreeMap;

use super::{common::Labels, workload_entry::WorkloadEntry};
use crate::decode::object;

object! {
    /// What instances that register themselves look like.
    pub struct WorkloadGroup {
        metadata: Option<GroupMetadata> = "metadata",
        template: Option<WorkloadEntry> = "template",
        probe: Option<Probe> = "probe",
    }
}

object! {
    /// Metadata of the instances.
    pub struct GroupMetadata {
        labels: Labels = "labels",
        annotations: BTreeMap<String, String> = "annotations",
    }
}

object! {
    /// How an instance is found healthy.
    pub struct Probe {
        initial_delay_seconds: i32 = "initialDelaySeconds",
        timeout_seconds: i32 = "timeoutSeconds",
        period_seconds: i32 = "periodSeconds",
        success_threshold: i32 = "successThreshold",
        failure_threshold: i32 = "failureThreshold",
        http_get: Option<HttpProbe> = "httpGet",
        tcp_socket: Option<TcpProbe> = "tcpSocket",
        exec: Option<ExecProbe> = "exec",
        grpc: Option<GrpcProbe> = "grpc",
    }
}

object! {
    /// A request.
    pub struct HttpProbe {
        path: String = "path",
        port: u32 = "port",
        host: String = "host",
        scheme: String = "scheme",
        http_headers: Vec<ProbeHeader> = "httpHeaders",
    }
}

object! {
    /// A header of the request.
    pub struct ProbeHeader {
        name: String = "name",
        value: String = "value",
    }
}

object! {
    /// A connection.
    pub struct TcpProbe {
        host: String = "host",
        port: u32 = "port",
    }
}

object! {
    /// A command.
    pub struct ExecProbe {
        command: Vec<String> = "command",
    }
}

object! {
    /// A call of the health service.
    pub struct GrpcProbe {
        port: u32 = "port",
        service: Option<String> = "service",
    }
}
