//! `Pod` and `Namespace`: what is needed to know a workload.

use crate::decode::{Decode, object};
use crate::{findings::Findings, path::Path, yaml::Node};

/// A pod. Its labels are in the metadata.
/// <https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/>
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Pod {
    /// What was asked for.
    pub spec: PodSpec,
    /// What is.
    pub status: PodStatus,
}

object! {
    /// What was asked for.
    pub struct PodSpec {
        service_account_name: String = "serviceAccountName",
        node_name: String = "nodeName",
        host_network: bool = "hostNetwork",
    }
    others ignored
}

object! {
    /// What is.
    pub struct PodStatus {
        phase: String = "phase",
        pod_ip: String = "podIP",
        pod_ips: Vec<PodIp> = "podIPs",
    }
    others ignored
}

object! {
    /// An address of a pod.
    pub struct PodIp {
        ip: String = "ip",
    }
    others ignored
}

impl Decode for Pod {
    fn decode(node: &Node, at: &Path<'_>, out: &mut Findings) -> Option<Self> {
        object! {
            /// The whole object: of this kind the status matters too.
            pub struct Whole {
                spec: PodSpec = "spec",
                status: PodStatus = "status",
            }
            others ignored
        }
        Whole::decode(node, at, out).map(|whole| Self { spec: whole.spec, status: whole.status })
    }
}

/// A namespace: only its metadata matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Namespace;

impl Decode for Namespace {
    fn decode(_: &Node, _: &Path<'_>, _: &mut Findings) -> Option<Self> {
        Some(Self)
    }
}
