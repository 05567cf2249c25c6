//! Tests of `lateen-proto`, in one binary.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod any;
mod json;
mod json_properties;
mod mistakes;
