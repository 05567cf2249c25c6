//! What is wrong with an object although every field has the right type: the rules of the APIs' own validation.

mod command;
mod destination_rule;
mod filters;
mod gateway;
mod gateway_api;
mod http_route;
mod kubernetes;
mod mesh_config;
mod names;
mod policy;
pub mod re2;
mod routes;
mod service_entry;
mod sidecar;
mod traffic_policy;
mod values;
mod virtual_service;

pub(crate) use gateway::server_tls;
pub(crate) use http_route::grpc_code;
pub(crate) use names::{is_dns_label, is_dns_subdomain};
pub(crate) use traffic_policy::client_tls;

use std::sync::atomic::{AtomicBool, Ordering};

use crate::{Metadata, findings::Findings, path::Path};

/// Are the checks off, in this process?
static OFF: AtomicBool = AtomicBool::new(false);

/// Switches them off, for tests of what becomes of what they would have found. There is no way back.
pub fn switch_off() {
    OFF.store(true, Ordering::Relaxed);
}

pub(crate) fn is_off() -> bool {
    OFF.load(Ordering::Relaxed)
}

/// A specification that can be checked by itself.
pub(crate) trait Check {
    /// Adds findings about the specification, which stands at `at`.
    fn check(&self, meta: &Metadata, at: &Path<'_>, out: &mut Findings);
}
