//! Tests of `lateen-proto`, in one binary.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod any;
mod envoy;
mod json;
mod json_properties;
mod mistakes;
mod pgv;
mod pgv_cases;
