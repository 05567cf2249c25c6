//! `lateen-proto`.
