//! `lateen-xds-server`.
