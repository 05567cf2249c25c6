//! `lateen-config`.
