//! The adapter for etcd.

mod client;
mod config;
mod keys;
pub mod leader;
mod lease;
mod pace;
pub mod registry;
mod service;
mod store;
mod translate;
mod watch;
mod wire;

pub use client::ClientError;
pub use config::{ConfigError, Settings};
pub use wire::{EndpointSpec, HealthSpec, PortSpec, ResolutionSpec, ServiceSpec};

use store::Store;

/// etcd as a source.
#[derive(Debug)]
pub struct EtcdAdapter {
    settings: Settings,
    store: Store,
    member: usize,
}

impl EtcdAdapter {
    /// From what stands behind `--adapter etcd=`.
    pub fn from_flag(value: &str) -> Result<Self, ConfigError> {
        Ok(Self::new(Settings::parse(value)?))
    }

    /// From settings.
    pub fn new(settings: Settings) -> Self {
        Self { store: Store::new(&settings), settings, member: 0 }
    }
}
