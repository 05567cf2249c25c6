//! `lateen-adapter-file`.
