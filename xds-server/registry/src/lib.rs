//! `lateen-registry`.
