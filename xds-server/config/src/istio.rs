//! Istio's networking and mesh API. The types have the API's fields under Rust names.
//! <https://istio.io/latest/docs/reference/config/networking/>

mod common;
mod destination_rule;
mod gateway;
mod mesh_config;
mod service_entry;
mod sidecar;
mod traffic_policy;
mod virtual_service;
mod workload_entry;

pub use common::*;
pub use destination_rule::*;
pub use gateway::*;
pub use mesh_config::*;
pub use service_entry::*;
pub use sidecar::*;
pub use traffic_policy::*;
pub use virtual_service::*;
pub use workload_entry::*;
