//! What a running case has at hand: a group of its own on the server, names of its own, and streams.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use lateen_proto::{
    envoy::config::core::v3::{Locality, Node},
    google::protobuf::Any,
};
use lateen_xds::ResourceType;

use crate::{
    case::Variant,
    content,
    control::{
        Capabilities, Change, Condition, ConditionState, Control, ControlError, RawResource, ResourceKey,
    },
    stream::Stream,
    transcript::Transcript,
    wire,
};

/// How a case ends.
pub type Outcome<T = ()> = Result<T, Failure>;

/// Why a case failed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The server did something else than the rule says.
    #[error("{0}")]
    Broken(String),
    /// The server could not be told what to serve.
    #[error("telling the server what to serve")]
    Control(#[source] ControlError),
    /// No connection.
    #[error("connecting to {address}")]
    Connect {
        /// Where.
        address: String,
        /// Why.
        #[source]
        source: tonic::transport::Error,
    },
}

/// Fails the case unless a condition holds.
#[macro_export]
macro_rules! require {
    ($condition:expr, $($text:tt)+) => {
        if !$condition {
            return Err($crate::context::Failure::Broken(format!($($text)+)));
        }
    };
}

/// A server under test.
#[derive(Clone, Debug)]
pub struct Target {
    /// `HOST:PORT` of its xDS.
    pub address: String,
    /// How it is told.
    pub control: Arc<dyn Control>,
    /// What it can do.
    pub capabilities: Capabilities,
    /// A second server that is told the same: address and control.
    pub replica: Option<(String, Arc<dyn Control>)>,
}

/// How patient cases are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Patience {
    /// How long a message that must come may take.
    pub within: Duration,
    /// For how long nothing may come where nothing must come.
    pub quiet: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { within: Duration::from_secs(5), quiet: Duration::from_millis(250) }
    }
}

/// What a case is given.
#[derive(Clone, Debug)]
pub struct Context {
    /// The server.
    pub target: Target,
    /// The variant it runs in.
    pub variant: Variant,
    /// The type it runs with.
    pub kind: ResourceType,
    /// Its group: the node id.
    pub group: String,
    /// How patient it is.
    pub patience: Patience,
    /// Its record.
    pub transcript: Arc<Transcript>,
    /// Streams opened so far.
    pub(crate) streams: Arc<AtomicUsize>,
}

impl Context {
    /// A context of its own for one run.
    pub fn new(
        target: Target,
        variant: Variant,
        kind: ResourceType,
        group: String,
        patience: Patience,
    ) -> Self {
        let transcript = Arc::new(Transcript::default());
        Self { target, variant, kind, group, patience, transcript, streams: Arc::default() }
    }

    /// A name that no other case uses.
    pub fn name(&self, short: &str) -> String {
        format!("{}-{short}", self.group)
    }

    /// The node that the case's clients claim to be.
    pub fn node(&self) -> Node {
        Node {
            id: self.group.clone(),
            cluster: "conformance".to_owned(),
            user_agent_name: "xds-conformance".to_owned(),
            locality: Some(Locality { region: "r".to_owned(), zone: "z".to_owned(), ..Locality::default() }),
            ..Node::default()
        }
    }

    /// A stream of the case's variant; a separate one is that of the case's type.
    pub async fn open(&self) -> Outcome<Stream> {
        self.open_kind(self.kind).await
    }

    /// A stream of the case's variant for a type.
    pub async fn open_kind(&self, kind: ResourceType) -> Outcome<Stream> {
        let only = (!self.variant.is_ads()).then_some(kind);
        self.open_at(&self.target.address, only, READ_AHEAD).await
    }

    /// A stream that takes in no more than the transport's window until it is read.
    pub async fn open_unread(&self) -> Outcome<Stream> {
        let only = (!self.variant.is_ads()).then_some(self.kind);
        self.open_at(&self.target.address, only, 1).await
    }

    /// A stream to the replica, or to any other address.
    pub async fn open_at(
        &self,
        address: &str,
        only: Option<ResourceType>,
        read_ahead: usize,
    ) -> Outcome<Stream> {
        let channel = wire::connect(address)
            .await
            .map_err(|source| Failure::Connect { address: address.to_owned(), source })?;
        Ok(Stream::new(self, channel, only, read_ahead))
    }

    pub(crate) fn next_stream(&self) -> usize {
        self.streams.fetch_add(1, Ordering::Relaxed)
    }

    /// Starts a change of what the case's group is served.
    pub fn change(&self) -> Telling<'_> {
        Telling { context: self, change: Change::default() }
    }

    /// Serves one resource of the case's type.
    pub async fn put(&self, name: &str, number: u32) -> Outcome {
        self.change().put(self.kind, name, number).apply().await
    }

    /// Stops serving one resource of the case's type.
    pub async fn remove(&self, name: &str) -> Outcome {
        self.change().remove(self.kind, name).apply().await
    }

    /// The body that `put` serves.
    pub fn body(&self, name: &str, number: u32) -> Any {
        content::body(self.kind, name, number)
    }

    /// Puts something worth knowing into the report.
    pub fn note(&self, text: impl Into<String>) {
        self.transcript.note(text.into());
    }
}

/// Messages a stream reads ahead of its case.
pub(crate) const READ_AHEAD: usize = 4096;

/// A change being put together.
#[derive(Debug)]
pub struct Telling<'a> {
    context: &'a Context,
    change: Change,
}

impl Telling<'_> {
    /// Adds or replaces a resource.
    pub fn put(mut self, kind: ResourceType, name: &str, number: u32) -> Self {
        self.change.put.push(RawResource::new(name, content::body(kind, name, number)));
        self
    }

    /// Adds or replaces a resource with a body of the case's own.
    pub fn put_body(mut self, name: &str, body: Any) -> Self {
        self.change.put.push(RawResource::new(name, body));
        self
    }

    /// Adds or replaces a resource, all of it the case's own.
    pub fn put_raw(mut self, resource: RawResource) -> Self {
        self.change.put.push(resource);
        self
    }

    /// Removes a resource.
    pub fn remove(mut self, kind: ResourceType, name: &str) -> Self {
        self.change.remove.push(ResourceKey { type_url: kind.info().url.to_owned(), name: name.to_owned() });
        self
    }

    /// Sets or lifts a condition.
    pub fn condition(mut self, kind: ResourceType, name: &str, state: Option<ConditionState>) -> Self {
        let key = ResourceKey { type_url: kind.info().url.to_owned(), name: name.to_owned() };
        self.change.conditions.push(Condition { key, state });
        self
    }

    /// Takes the world away, or gives it back.
    pub fn synced(mut self, synced: bool) -> Self {
        self.change.synced = Some(synced);
        self
    }

    /// Tells the server.
    pub async fn apply(self) -> Outcome {
        let control = &self.context.target.control;
        self.tell(control.as_ref()).await
    }

    /// Tells the server and its replica.
    pub async fn apply_everywhere(self) -> Outcome {
        self.tell(self.context.target.control.as_ref()).await?;
        match &self.context.target.replica {
            Some((_, control)) => self.tell(control.as_ref()).await,
            None => Ok(()),
        }
    }

    async fn tell(&self, control: &dyn Control) -> Outcome {
        let change = self.change.clone();
        self.context.transcript.add(|| {
            let put: Vec<_> = change.put.iter().take(12).map(|r| r.name.as_str()).collect();
            let remove: Vec<_> = change.remove.iter().take(12).map(|r| r.name.as_str()).collect();
            format!("told the server: put {put:?} ({} in all), remove {remove:?}", change.put.len())
        });
        control.apply(&self.context.group, change).await.map_err(Failure::Control)
    }
}
