//! `lateen-adapter`.
