//! Real xDS clients, cases N1 to N12: stock Envoys of two releases in every way to open their streams, and the gRPC
//! clients of four languages.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its functions too")]
#![allow(clippy::print_stdout, reason = "the figures are part of the result")]

mod churn;
mod envoy;
mod fallback;
mod grpc;
mod grpc_server;
mod plain;
mod together;
mod told;
mod tonic_xds;
