//! What is wrong with an object although every field has the right type: the rules of the APIs' own validation.

mod names;

pub(crate) use names::{is_dns_label, is_dns_subdomain};

use crate::{Metadata, findings::Findings, gateway_api, istio, kubernetes, path::Path};

/// A specification that can be checked by itself.
pub(crate) trait Check {
    /// Adds findings about the specification, which stands at `at`.
    fn check(&self, meta: &Metadata, at: &Path<'_>, out: &mut Findings);
}

macro_rules! unchecked {
    ($($type:ty),*) => {$(
        impl Check for $type {
            fn check(&self, _: &Metadata, _: &Path<'_>, _: &mut Findings) {}
        }
    )*};
}

unchecked!(
    istio::VirtualService, istio::DestinationRule, istio::ServiceEntry, istio::WorkloadEntry, istio::Gateway,
    istio::Sidecar, istio::MeshConfig, gateway_api::GatewayClass, gateway_api::Gateway, gateway_api::HttpRoute,
    gateway_api::GrpcRoute, gateway_api::ReferenceGrant, kubernetes::Service, kubernetes::EndpointSlice,
    kubernetes::Namespace, kubernetes::Pod, kubernetes::Secret
);
