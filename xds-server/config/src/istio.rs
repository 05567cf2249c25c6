//! Istio's networking and mesh API. The types have the API's fields under Rust names.
//! <https://istio.io/latest/docs/reference/config/networking/>

mod common;
mod destination_rule;
mod extensions;
mod gateway;
mod mesh_config;
mod security;
mod server;
mod service_entry;
mod sidecar;
mod telemetry;
mod traffic_policy;
mod virtual_service;
mod workload_entry;
mod workload_group;

pub use common::*;
pub use destination_rule::*;
pub use extensions::*;
pub use gateway::*;
pub use mesh_config::*;
pub use security::*;
pub use server::*;
pub use service_entry::*;
pub use sidecar::*;
pub use telemetry::*;
pub use traffic_policy::*;
pub use virtual_service::*;
pub use workload_entry::*;
pub use workload_group::*;
