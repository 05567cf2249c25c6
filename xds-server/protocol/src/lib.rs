//! `lateen-xds`.
