//! The adapter for Kubernetes: services, configuration and secrets from it, statuses back to it.
mod api;
mod config;
mod feed;
mod follow;
mod kinds;
mod secrets;
mod translate;
mod translation;
mod watch;

use std::{convert::Infallible, sync::Arc};

use async_trait::async_trait;
use lateen_adapter::{Adapter, AdapterError, EventSink, StatusFeed};
use lateen_model::SourceId;

pub use config::ConfigError;
use config::Settings;

/// A cluster as a source.
#[derive(Debug)]
pub struct KubernetesAdapter {
    settings: Settings,
    source: Arc<str>,
    statuses: Option<StatusFeed>,
}

impl KubernetesAdapter {
    /// From what stands behind `--adapter kubernetes=`: `[CONTEXT][?OPTION=VALUE&…]`, percent-encoded.
    pub fn from_flag(value: &str) -> Result<Self, ConfigError> {
        let settings = Settings::parse(value)?;
        let source = settings.source().into();
        Ok(Self { settings, source, statuses: None })
    }
}

#[async_trait]
impl Adapter for KubernetesAdapter {
    fn source(&self) -> SourceId {
        SourceId(self.source.clone())
    }

    fn statuses(&mut self, feed: StatusFeed) {
        self.statuses = self.settings.status.then_some(feed);
    }

    async fn run(&mut self, events: &mut EventSink) -> Result<Infallible, AdapterError> {
        let (api, _) = watch::connect(&self.settings).await?;
        watch::run(self.source.clone(), &self.settings, api, events).await
    }
}
