//! `lateen-model`.
