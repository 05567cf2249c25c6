//! What cross-process tests and benchmarks share: real servers started and stopped, xDS clients on the wire,
//! process accounting.
#![allow(clippy::print_stdout, reason = "tests and benchmarks report on stdout")]

pub mod backend;
pub mod bench;
pub mod cluster;
pub mod envoy;
pub mod expected;
pub mod grpc;
pub mod http;
pub mod load;
pub mod mesh;
pub mod netns;
pub mod pki;
pub mod process;
pub mod scene;
pub mod server;
pub mod tap;
pub mod view;
pub mod wire;
