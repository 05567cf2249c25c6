//! Services, health and configuration from Consul, by its HTTP API.
//!
//! | Consul | mesh |
//! |---|---|
//! | service with an instance | service `NAME.NAMESPACE.svc.DOMAIN`; `lateen-host` says another |
//! | instance: address, port, weights, locality | endpoint; the node's address and datacenter where it has none |
//! | metadata, tags `KEY=VALUE` | labels; keys that begin with `lateen-` are settings |
//! | checks of instance and node | passing and warning: healthy; critical: unhealthy; maintenance: draining |
//! | keys under `lateen/config/` | documents |
//!
//! All options, the whole mapping and what happens when something fails: `docs/adapters/consul.md`.
//!
//! A run lists everything, consistently, and then has one question waiting (a blocking query) for the list of
//! services, one for the keys, and one for each service, up to a bound; what is beyond the bound is read whenever any
//! check or registration has changed. A question is asked again at a pace. An answer whose index is lower than before
//! is not believed. When anything fails the run ends, and the next one begins with a listing; nothing is removed
//! meanwhile. Nor is it when Consul shows nothing because of permissions, which it does with status 200.
//!
//! Limits: answers up to 256 MiB, documents up to 1 MiB. Consul's own mesh (intentions, its proxies, its
//! configuration entries) is not read. Nothing is written but the key of [`Leadership`].

mod client;
mod config;
mod follow;
mod leader;
mod mirror;
mod pace;
mod translate;
mod watch;
mod wire;

use std::{convert::Infallible, sync::Arc, time::Duration};

use async_trait::async_trait;
use lateen_adapter::{Adapter, AdapterError, ConfigError, EventSink};
use lateen_model::SourceId;

pub use client::ConsulError;
pub use leader::{Leadership, LeadershipError};

use client::Client;
use config::Settings;
use follow::{Ended, Run};

/// The longest that is waited because the agent asks for it.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(30);

/// Consul as a source.
#[derive(Debug)]
pub struct ConsulAdapter {
    settings: Arc<Settings>,
    /// Did it show any service so far?
    showed: bool,
}

impl ConsulAdapter {
    /// From what stands behind `--adapter consul=`: `URL[?OPTION=VALUE&…]`, percent-encoded.
    pub fn from_flag(value: &str) -> Result<Self, ConfigError> {
        Ok(Self { settings: Arc::new(Settings::parse(value)?), showed: false })
    }
}

#[async_trait]
impl Adapter for ConsulAdapter {
    fn source(&self) -> SourceId {
        self.settings.source.clone()
    }

    async fn run(&mut self, events: &mut EventSink) -> Result<Infallible, AdapterError> {
        let client = Arc::new(Client::new(self.settings.clone())?);
        loop {
            let (mut run, news) = Run::new(self.settings.clone(), client.clone(), events, &mut self.showed);
            match run.run(news).await {
                Ok(()) => tracing::info!(source = %self.settings.source, "the data are others; read anew"),
                Err(Ended::Core(error)) => return Err(error),
                Err(Ended::Consul(error)) => {
                    if let Some(wait) = error.retry_after() {
                        events.stale(error.to_string()).await?;
                        tokio::time::sleep(wait.min(RETRY_AFTER_MAX)).await;
                    }
                    return Err(error.into());
                }
            }
        }
    }
}
