//! The Gateway API. The types have the API's fields under Rust names.
//! <https://gateway-api.sigs.k8s.io/reference/spec/>

mod backend_tls_policy;
mod common;
mod filters;
mod gateway;
mod gateway_class;
mod grpc_route;
mod http_route;
mod reference_grant;

pub use crate::decode::GatewayDuration;
pub use backend_tls_policy::*;
pub use common::*;
pub use filters::*;
pub use gateway::*;
pub use gateway_class::*;
pub use grpc_route::*;
pub use http_route::*;
pub use reference_grant::*;
