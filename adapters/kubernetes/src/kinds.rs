//! The kinds of objects that are read.

/// What is done with objects of a kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Shape {
    /// Handed over but for what the server keeps for itself.
    Whole,
    /// Handed over, and its credentials are read.
    Gateway,
    /// Handed over with the regions of its nodes.
    Slice,
    /// Only what is needed to know the workload.
    Pod,
    /// Not handed over: its region and zone are kept.
    Node,
    /// Read by name only, where a gateway names it.
    Secret,
}

/// A kind of objects.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct Kind {
    /// As in `kind:`.
    pub(crate) name: &'static str,
    /// As in `apiVersion:` before the slash; empty for the core group.
    pub(crate) group: &'static str,
    /// Versions that are understood, best first.
    pub(crate) versions: &'static [&'static str],
    /// As in URLs.
    pub(crate) plural: &'static str,
    /// Do its objects live in namespaces?
    pub(crate) is_namespaced: bool,
    /// The one name that is read; empty for all.
    pub(crate) only: &'static str,
    /// What is done with them.
    pub(crate) shape: Shape,
}

const ISTIO: &str = "networking.istio.io";
const ISTIO_VERSIONS: &[&str] = &["v1", "v1beta1", "v1alpha3"];
const ISTIO_POLICY_VERSIONS: &[&str] = &["v1", "v1beta1", "v1alpha1", "v1alpha3"];
const GATEWAY_API: &str = "gateway.networking.k8s.io";
const GATEWAY_API_VERSIONS: &[&str] = &["v1", "v1beta1", "v1alpha2"];

const fn core(name: &'static str, plural: &'static str, is_namespaced: bool, shape: Shape) -> Kind {
    Kind { name, group: "", versions: &["v1"], plural, is_namespaced, only: "", shape }
}

const fn istio(name: &'static str, plural: &'static str, shape: Shape) -> Kind {
    Kind { name, group: ISTIO, versions: ISTIO_VERSIONS, plural, is_namespaced: true, only: "", shape }
}

/// A policy of Istio's.
const fn policy(group: &'static str, name: &'static str, plural: &'static str) -> Kind {
    let versions = ISTIO_POLICY_VERSIONS;
    Kind { name, group, versions, plural, is_namespaced: true, only: "", shape: Shape::Whole }
}

const fn gateway_api(name: &'static str, plural: &'static str, shape: Shape) -> Kind {
    Kind {
        name,
        group: GATEWAY_API,
        versions: GATEWAY_API_VERSIONS,
        plural,
        is_namespaced: true,
        only: "",
        shape,
    }
}

/// Every kind that is listed and watched.
pub(crate) const KINDS: &[Kind] = &[
    core("Namespace", "namespaces", false, Shape::Whole),
    core("Node", "nodes", false, Shape::Node),
    core("Service", "services", true, Shape::Whole),
    core("Pod", "pods", true, Shape::Pod),
    // The mesh's configuration, where Istio keeps it.
    Kind { only: "istio", ..core("ConfigMap", "configmaps", true, Shape::Whole) },
    Kind {
        name: "EndpointSlice",
        group: "discovery.k8s.io",
        versions: &["v1"],
        plural: "endpointslices",
        is_namespaced: true,
        only: "",
        shape: Shape::Slice,
    },
    istio("VirtualService", "virtualservices", Shape::Whole),
    istio("DestinationRule", "destinationrules", Shape::Whole),
    istio("ServiceEntry", "serviceentries", Shape::Whole),
    istio("WorkloadEntry", "workloadentries", Shape::Whole),
    istio("Gateway", "gateways", Shape::Gateway),
    istio("Sidecar", "sidecars", Shape::Whole),
    policy("security.istio.io", "AuthorizationPolicy", "authorizationpolicies"),
    policy("security.istio.io", "PeerAuthentication", "peerauthentications"),
    policy("security.istio.io", "RequestAuthentication", "requestauthentications"),
    policy("telemetry.istio.io", "Telemetry", "telemetries"),
    policy("extensions.istio.io", "WasmPlugin", "wasmplugins"),
    policy("extensions.istio.io", "TrafficExtension", "trafficextensions"),
    policy(ISTIO, "EnvoyFilter", "envoyfilters"),
    policy(ISTIO, "ProxyConfig", "proxyconfigs"),
    policy(ISTIO, "WorkloadGroup", "workloadgroups"),
    Kind {
        name: "MeshConfig",
        group: "lateen.io",
        versions: &["v1"],
        plural: "meshconfigs",
        is_namespaced: true,
        only: "",
        shape: Shape::Whole,
    },
    Kind { is_namespaced: false, ..gateway_api("GatewayClass", "gatewayclasses", Shape::Whole) },
    gateway_api("Gateway", "gateways", Shape::Gateway),
    gateway_api("HTTPRoute", "httproutes", Shape::Whole),
    gateway_api("GRPCRoute", "grpcroutes", Shape::Whole),
    gateway_api("ReferenceGrant", "referencegrants", Shape::Whole),
    Kind {
        versions: &["v1", "v1alpha3"],
        ..gateway_api("BackendTLSPolicy", "backendtlspolicies", Shape::Whole)
    },
];

/// Secrets, which are never listed.
pub(crate) const SECRET: &Kind = &core("Secret", "secrets", true, Shape::Secret);

impl Kind {
    /// The kind with what names its group: `Service`, `Gateway.networking.istio.io`.
    pub(crate) fn full_name(&self) -> String {
        match self.group {
            "" => self.name.to_owned(),
            group => format!("{}.{group}", self.name),
        }
    }

    /// May its objects refuse requests or connections? Without them more would pass than should.
    pub(crate) fn may_refuse(&self) -> bool {
        matches!(self.group, "security.istio.io" | "extensions.istio.io") || self.name == "BackendTLSPolicy"
    }

    /// The name of the object that defines the kind, where one does.
    pub(crate) fn definition(&self) -> String {
        format!("{}.{}", self.plural, self.group)
    }

    /// As in `apiVersion:`.
    pub(crate) fn api_version(&self, version: &str) -> String {
        match self.group {
            "" => version.to_owned(),
            group => format!("{group}/{version}"),
        }
    }

    /// Where the server has its objects, of a namespace or all.
    pub(crate) fn path(&self, version: &str, namespace: Option<&str>) -> String {
        let root = match self.group {
            "" => format!("/api/{version}"),
            group => format!("/apis/{group}/{version}"),
        };
        match namespace {
            Some(namespace) => format!("{root}/namespaces/{namespace}/{}", self.plural),
            None => format!("{root}/{}", self.plural),
        }
    }

    /// The name of an object within the source.
    pub(crate) fn object_name(&self, namespace: &str, name: &str) -> String {
        match namespace {
            "" => format!("{}/{name}", self.full_name()),
            namespace => format!("{}/{namespace}/{name}", self.full_name()),
        }
    }

    /// The kind, namespace and name of an object's name within the source; `None` also for the name of a whole kind, under
    /// which it is reported that it can't be listed.
    pub(crate) fn parse(name: &str) -> Option<(&'static Self, &str, &str)> {
        let (kind, rest) = name.split_once('/')?;
        let kind = KINDS.iter().find(|known| known.full_name() == kind)?;
        let (namespace, name) = rest.split_once('/').unwrap_or(("", rest));
        (!name.is_empty()).then_some((kind, namespace, name))
    }
}

/// Objects that are listed and watched together: a kind, in one namespace or all.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Target {
    /// The kind.
    pub(crate) kind: &'static Kind,
    /// The namespace; none for all.
    pub(crate) namespace: Option<String>,
}

impl Target {
    /// What its objects' names begin with.
    pub(crate) fn prefix(&self) -> String {
        match &self.namespace {
            Some(namespace) => format!("{}/{namespace}/", self.kind.full_name()),
            None => format!("{}/", self.kind.full_name()),
        }
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Kind { plural, group, .. } = self.kind;
        f.write_str(plural)?;
        if !group.is_empty() {
            write!(f, ".{group}")?;
        }
        match &self.namespace {
            Some(namespace) => write!(f, " in {namespace}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back_to_kinds_and_no_prefix_holds_another() {
        for kind in KINDS {
            let namespace = if kind.is_namespaced { "shop" } else { "" };
            let name = kind.object_name(namespace, "web.v1");
            assert_eq!(Kind::parse(&name), Some((kind, namespace, "web.v1")));
            let prefix = Target { kind, namespace: None }.prefix();
            let holding =
                KINDS.iter().filter(|other| other.object_name(namespace, "x").starts_with(&prefix)).count();
            assert_eq!(holding, 1, "{prefix}");
        }
        assert_eq!(Kind::parse("Job.batch/a/b"), None);
        assert_eq!(Kind::parse("Service"), None);
        assert_eq!(Kind::parse("Service/"), None);
        assert_eq!(Kind::parse("Service/shop/"), None);
    }
}
