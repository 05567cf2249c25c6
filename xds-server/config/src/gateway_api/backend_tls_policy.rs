//! `BackendTLSPolicy`. <https://gateway-api.sigs.k8s.io/reference/spec/#backendtlspolicy>

use crate::decode::{Ignored, object};

object! {
    /// How gateways connect to backends by TLS. It is not applied yet: what it protects is closed instead, so no more is
    /// looked at than which backends these are.
    pub struct BackendTlsPolicy {
        target_refs: Vec<BackendTlsTarget> = "targetRefs",
        validation: Option<Ignored> = "validation",
        options: Option<Ignored> = "options",
    }
}

object! {
    /// A backend, or a port of it.
    pub struct BackendTlsTarget {
        group: String = "group",
        kind: String = "kind",
        name: String = "name",
        /// The name of a port of the service; none is all ports.
        section_name: Option<String> = "sectionName",
    }
}

impl BackendTlsTarget {
    /// Is it a `Service`?
    pub fn is_service(&self) -> bool {
        self.group.is_empty() && self.kind == "Service"
    }
}
