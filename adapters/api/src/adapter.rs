//! Adapters and where their events go.

use std::{convert::Infallible, error::Error};

use async_trait::async_trait;
use lateen_model::{SourceEvent, SourceId};
use tokio::sync::mpsc;

use crate::StatusFeed;

/// Events of one message to the core: a listing of any size is sent in parts of this many.
pub const BATCH_MAX: usize = 512;

/// A source of services and configuration.
///
/// What an adapter keeps to:
/// - A listing is bracketed by `Resync(scope) … Synced(scope)`; all that exists in the scope is upserted, or
///   reported invalid, in between. The scopes of the first listing are all opened before the first is closed: the
///   source counts as synced when none is open.
/// - What exists and can't be read is `Invalid`, never left out and never an error: its last good state stays.
/// - Contact lost is an error, or [`EventSink::stale`]; never a removal.
/// - Events of one object are in order.
#[async_trait]
pub trait Adapter: Send + 'static {
    /// Its name, stable across restarts.
    fn source(&self) -> SourceId;

    /// How the core stands to its documents. Called once, before it is run; an adapter whose platform has a place
    /// for status keeps the feed and writes what it says there, others drop it.
    fn statuses(&mut self, feed: StatusFeed) {
        drop(feed);
    }

    /// Runs until cancelled. Everything it learns goes into `events`; when it fails it is run again, and begins
    /// with a full listing.
    async fn run(&mut self, events: &mut EventSink) -> Result<Infallible, AdapterError>;
}

/// Why an adapter stopped.
#[derive(Debug, thiserror::Error)]
pub enum AdapterError {
    /// The platform did not do what it was asked; asking again may help.
    #[error("{act}")]
    Unavailable {
        /// What failed.
        act: String,
        /// Why.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// The platform refused, or what it was asked makes no sense there: asking again helps only after somebody
    /// has changed something, so it is asked rarely.
    #[error("{act}")]
    Refused {
        /// What was refused.
        act: String,
        /// Why.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// Nobody takes the events any more.
    #[error("the core is gone")]
    Stopped,
}

/// What the core hears of its sources.
#[derive(Clone, PartialEq, Debug)]
pub enum ToCore {
    /// Events, in order.
    Events(SourceId, Vec<SourceEvent>),
    /// The source can't be read, in words; what it said stays.
    Failed(SourceId, String),
    /// It can be read again, and was listed.
    Recovered(SourceId),
}

/// Where an adapter's events go: a bounded queue to the core. When it is full the adapter waits, so that the
/// platform's own flow control holds back what the core can't take.
#[derive(Debug)]
pub struct EventSink {
    source: SourceId,
    core: mpsc::Sender<ToCore>,
    is_stale: bool,
    was_synced: bool,
}

impl EventSink {
    /// The sink of a source.
    pub fn new(source: SourceId, core: mpsc::Sender<ToCore>) -> Self {
        Self { source, core, is_stale: false, was_synced: false }
    }

    /// Sends events. A listing that ends shows that the source is not stale (any more).
    pub async fn send(&mut self, events: Vec<SourceEvent>) -> Result<(), AdapterError> {
        let synced = events.iter().any(|event| matches!(event, SourceEvent::Synced(_)));
        let mut events = events.into_iter();
        loop {
            let batch: Vec<_> = events.by_ref().take(BATCH_MAX).collect();
            if batch.is_empty() {
                break;
            }
            self.tell(ToCore::Events(self.source.clone(), batch)).await?;
        }
        self.was_synced |= synced;
        if synced && std::mem::take(&mut self.is_stale) {
            self.tell(ToCore::Recovered(self.source.clone())).await?;
        }
        Ok(())
    }

    /// The source can't be read at present, and the adapter goes on trying by itself. Said once; the end of the
    /// next listing takes it back.
    pub async fn stale(&mut self, why: impl Into<String>) -> Result<(), AdapterError> {
        if std::mem::replace(&mut self.is_stale, true) {
            return Ok(());
        }
        self.tell(ToCore::Failed(self.source.clone(), why.into())).await
    }

    /// The source failed, perhaps for another reason than before.
    pub(crate) async fn failed(&mut self, why: String) -> Result<(), AdapterError> {
        self.is_stale = true;
        self.tell(ToCore::Failed(self.source.clone(), why)).await
    }

    /// Was there a listing since this was last asked?
    pub(crate) fn take_synced(&mut self) -> bool {
        std::mem::take(&mut self.was_synced)
    }

    /// Ends when nobody takes events any more.
    pub(crate) async fn closed(&self) {
        self.core.closed().await;
    }

    async fn tell(&self, message: ToCore) -> Result<(), AdapterError> {
        self.core.send(message).await.map_err(|_| AdapterError::Stopped)
    }
}
