//! `lateen-compile`.
