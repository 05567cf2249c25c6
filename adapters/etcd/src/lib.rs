//! The adapter for etcd: services, instances and configuration from keys below a prefix; registration of instances,
//! and elections.
//!
//! | key below the prefix (`/lateen/`) | mesh |
//! |---|---|
//! | `config/PATH` | document by its whole key: Istio and Gateway API objects in YAML or JSON |
//! | `services/NAMESPACE/NAME` | service `NAMESPACE/NAME`, a [`ServiceSpec`] |
//! | `endpoints/NAMESPACE/NAME/INSTANCE` | one of its endpoints, an [`EndpointSpec`]; mostly with a lease |
//! | `leader/…` | elections ([`leader`]); not read here |
//!
//! Values of services and endpoints are JSON or YAML; a field that is not known is a finding. A service that has
//! instances and no definition has the ports that they name, the lowest number where they differ, and is gone with the
//! last of them. An instance that names no port listens where its service says (`targetPort`, else `number`); one that
//! names a port without a name has that of a service with one port.
//!
//! The flag is `--adapter etcd=URL[,URL…][?OPTION=VALUE&…]`, with one URL for each member.
//!
//! | option | |
//! |---|---|
//! | `prefix` | of all keys, `/lateen/` |
//! | `config-prefix` | of documents, by default `config/` below the prefix; the whole key, and below the prefix too |
//! | `domain` | of hosts, `cluster.local` |
//! | `host` | what a service is called that does not say so, `{name}.{namespace}.svc.DOMAIN` |
//! | `user`, `password-file` | log in; the file is read at each connection |
//! | `ca-file`, `cert-file`, `key-file`, `server-name` | TLS, for `https://`; files are read at each connection |
//! | `silence` | seconds without a word after which the watch is asked whether it lives, and for the answer: 3 |
//! | `reconcile` | seconds between two comparisons of everything: 300 |
//!
//! Everything is listed at one revision, in pages, and watched from there on. A watch that is lost goes on at another
//! member where it was; where history is compacted, or the store is an older or another one (restored from a
//! snapshot), everything is listed again and what differs is told. When no member answers, the source has failed:
//! nothing is removed, and the next listing is told as a whole. Every ten seconds a linearizable read asks whether we
//! may still read and whether the store is the same.
//!
//! What makes no sense is a finding by its key; the instance or service stays as it was, and others are not
//! concerned. Changes of one service are told at once, but after a burst as often as its size allows: a hundred
//! times a second for a small one, once for one of 50,000 instances.
//!
//! Limits: documents 1 MiB, values of services and endpoints 64 KiB, names 253 bytes.

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
pub use config::Settings;
use lateen_adapter::ConfigError;
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
