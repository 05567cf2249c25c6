//! Services, health and configuration from Nomad.
//!
//! | Nomad | mesh |
//! |---|---|
//! | service NAME in namespace NS (provider `nomad`) | service, object `NS/NAME`, host `NAME.NS.svc.DOMAIN` |
//! | registration | endpoint: address, port, weight 1; several ports of one allocation are one endpoint |
//! | port label (`http`, `grpc-api`) | port name; its protocol, where the tag `protocol=` does not say it |
//! | tag `KEY=VALUE`, tag `KEY` | label, with an empty value where there is none; canary tags as well |
//! | tag `lateen-port=N` | number that clients call; option `port` (80) for a service's only port, or its `http` |
//! | tag `protocol=P` or `lateen-protocol=P` | protocol |
//! | tag `lateen-host=HOST` | host, instead of the rule |
//! | tags `lateen-weight=N`, `lateen-network=N`, `lateen-service-account=A` | of the endpoint |
//! | job | label `nomad-job` |
//! | datacenter; node metadata or attribute `zone` | region; zone |
//! | allocation pending, ended, lost, or found unhealthy by its deployment | unhealthy |
//! | allocation new in a deployment that has not judged it yet | unhealthy until it is judged healthy |
//! | allocation to be stopped or migrated, still running | draining |
//! | allocation running | healthy |
//! | Variable PATH under `lateen/config/`, item ITEM | document `NS/PATH#ITEM`, its value as it is |
//!
//! A service with provider `consul` is not told by Nomad but by Consul; the host rule is the same there, so that
//! an adapter for each makes one service of it. Results of Nomad's own health checks are kept by each client node
//! and are in no list: they count as far as they decide on a deployment.
//!
//! # How it reads
//! The event stream (topics Service and Allocation) says what has changed; it is opened before the first listing,
//! which covers everything that the stream may have left out. An event of a service makes that service be read; an
//! event of an allocation holds all that is needed. A blocking query on the list of services makes sure that no
//! event was lost, one on the list of Variables tells of configuration, and everything is read again each five
//! minutes. When any of them fails, all begins anew with a full listing, and until then everything stays.
//!
//! # Options
//! `URL[?option=value&…]` with a URL `http://HOST:PORT`, `https://HOST:PORT` or `unix:///PATH`:
//!
//! | option | meaning |
//! |---|---|
//! | `namespace` | Nomad namespace of the services; `*`, the default, for all |
//! | `region` | Nomad region; the agent's own by default |
//! | `domain` | of hosts, `cluster.local` by default |
//! | `host` | template of hosts with `{name}` and `{namespace}`, instead of `{name}.{namespace}.svc.DOMAIN` |
//! | `port` | number that clients call, where no tag says it; 80 by default |
//! | `config-prefix` | path prefix of Variables with configuration; `lateen/config/`; empty for none |
//! | `config-namespace` | their namespace; `default`; `*` for all |
//! | `token-file` | ACL token, read with each request |
//! | `ca-file`, `cert-file`, `key-file`, `server-name` | TLS, and our certificate where Nomad asks for one |
//! | `heartbeat-timeout` | seconds that the event stream may be silent; 75. Nomad sends a heartbeat each 30 s |
//! | `reconcile` | seconds between full readings without cause; 300 |
//!
//! # What the token needs
//! `namespace "*" { policy = "read" variables { path "lateen/config/*" { capabilities = ["list", "read"] } } }`,
//! and `node { policy = "read" }` for zones. The event stream of all namespaces is given only to a token that may
//! read all; a narrower one needs the option `namespace`.
//!
//! # Limits
//! Nomad allows a Variable 64 KiB, and paths of letters, digits, `-`, `_`, `~` and `/`. A port label other than the
//! service's only one and `http` has no number unless a tag gives it, and is left out. Memory: a few hundred bytes
//! for each live allocation of the namespaces that are read, whether it has services or not.

mod client;
mod config;
mod due;
mod leader;
mod mirror;
mod read;
mod stopped;
mod translate;
mod watch;
mod wire;

use std::convert::Infallible;

use async_trait::async_trait;
use lateen_adapter::{Adapter, AdapterError, ConfigError, EventSink};
use lateen_model::SourceId;

pub use self::leader::{Leadership, LeadershipError};
use self::{client::Client, config::Settings, mirror::Mirror, translate::Rules};

/// A Nomad cluster as a source.
#[derive(Debug)]
pub struct NomadAdapter {
    settings: Settings,
    mirror: Mirror,
}

impl NomadAdapter {
    /// Reads what stands behind `--adapter nomad=`.
    pub fn from_flag(value: &str) -> Result<Self, ConfigError> {
        let settings = Settings::parse(value)?;
        let rules =
            Rules { source: settings.source.0.clone(), hosts: settings.hosts.clone(), port: settings.port };
        Ok(Self { settings, mirror: Mirror::new(rules) })
    }
}

#[async_trait]
impl Adapter for NomadAdapter {
    fn source(&self) -> SourceId {
        self.settings.source.clone()
    }

    async fn run(&mut self, events: &mut EventSink) -> Result<Infallible, AdapterError> {
        // Files that the options name are read anew with each run: they may have been put right.
        let client = Client::new(&self.settings).map_err(|source| AdapterError::Unavailable {
            act: "setting up the connection to Nomad".to_owned(),
            source: source.into(),
        })?;
        let has_config = !self.settings.config_prefix.is_empty();
        watch::run(client, &mut self.mirror, has_config, self.settings.reconcile, events).await
    }
}
