//! What a case has at hand: what the client sends is expected, what it is answered is said.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt::Display,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use lateen_proto::{
    any,
    envoy::{
        config::core::v3::ControlPlane,
        service::discovery::v3::{
            DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse, Resource,
        },
    },
    google::protobuf::Any,
};
use lateen_xds::ResourceType;
use prost::Message;
use tokio::time::{timeout, timeout_at};
use tonic::Code;

use super::{
    process::{Client, Running},
    server::{Answers, Event, Refuse, Server, Stop},
};
use crate::{
    case::Variant,
    context::{Failure, Outcome, Patience},
    require,
    transcript::{self, Transcript},
};

/// A request of either variant, in one shape.
#[derive(Clone, Debug)]
pub struct Request {
    /// The number of its stream, from 1.
    pub stream: usize,
    /// Is it the first of its stream?
    pub first: bool,
    /// Its type: as it says, or as its method says if it says nothing.
    pub kind: Option<ResourceType>,
    /// The type it says.
    pub type_url: String,
    /// The id of the node, if there is a node.
    pub node: Option<String>,
    /// `resource_names`, or `resource_names_subscribe`.
    pub names: Vec<String>,
    /// `resource_names_unsubscribe`.
    pub unsubscribe: Vec<String>,
    /// `version_info` (state of the world).
    pub version: String,
    /// `response_nonce`.
    pub nonce: String,
    /// `initial_resource_versions` (delta).
    pub initial: BTreeMap<String, String>,
    /// The text of `error_detail`, and its code.
    pub error: Option<(i32, String)>,
    /// When it was received.
    pub at: Instant,
}

impl Request {
    /// Does it ask for everything: no names, or `*`?
    pub fn is_wildcard(&self) -> bool {
        self.names.is_empty() || self.names == ["*"]
    }
}

/// One resource of an answer.
#[derive(Clone, Debug)]
pub struct Sent {
    /// Its name.
    pub name: String,
    /// Its body; none is a heartbeat.
    pub body: Option<Any>,
    /// How long it lives.
    pub ttl: Option<Duration>,
}

impl Sent {
    /// A resource that lives until it is removed.
    pub fn new(name: &str, body: Any) -> Self {
        Self { name: name.to_owned(), body: Some(body), ttl: None }
    }
}

/// One run of a case against one client.
#[derive(Debug)]
pub struct Script {
    /// The variant it runs in.
    pub variant: Variant,
    /// How patient it is.
    pub patience: Patience,
    /// Its record.
    pub transcript: Arc<Transcript>,
    server: Server,
    client: Running,
    answers: Answers,
    methods: BTreeMap<usize, Option<ResourceType>>,
    begun: BTreeSet<usize>,
    /// Streams that the server has ended; what still comes on them is recorded and not expected.
    ended: BTreeSet<usize>,
    /// The stream on which a type was last asked for.
    serving: BTreeMap<ResourceType, usize>,
    waiting: VecDeque<Request>,
    /// All requests so far.
    pub all: Vec<Request>,
    /// When connections were made or refused.
    pub connections: Vec<Instant>,
    /// The nonces sent on each stream.
    nonces: BTreeMap<usize, BTreeSet<String>>,
    nonce: usize,
}

impl Script {
    pub(crate) async fn start(
        client: &Client,
        variant: Variant,
        patience: Patience,
        transcript: Arc<Transcript>,
    ) -> Outcome<Self> {
        let server = Server::start().await.map_err(|e| broken(format!("listening: {e}")))?;
        let client = Running::start(client, server.address, variant)?;
        Ok(Self {
            variant,
            patience,
            transcript,
            server,
            client,
            answers: Answers::new(),
            methods: BTreeMap::new(),
            begun: BTreeSet::new(),
            ended: BTreeSet::new(),
            serving: BTreeMap::new(),
            waiting: VecDeque::new(),
            all: Vec::new(),
            connections: Vec::new(),
            nonces: BTreeMap::new(),
            nonce: 0,
        })
    }

    // ---- what the client sends

    /// Waits for a request that is as told; others of the type before it are passed over.
    pub async fn expect(
        &mut self,
        kind: ResourceType,
        what: &str,
        is: impl Fn(&Request) -> bool,
    ) -> Outcome<Request> {
        let until = tokio::time::Instant::now() + self.patience.within;
        loop {
            while let Some(at) = self.waiting.iter().position(|r| r.kind == Some(kind)) {
                match self.waiting.remove(at) {
                    Some(request) if is(&request) => return Ok(request),
                    Some(_) | None => {}
                }
            }
            match timeout_at(until, self.server.events.recv()).await {
                Ok(Some(event)) => self.take(event)?,
                Ok(None) => return Err(broken("the scripted server has ended")),
                Err(_) => {
                    if let Some(log) = self.client.log() {
                        self.transcript.add(|| format!("the client's log ends with:\n{log}"));
                    }
                    let (kind, ms) = (kind.info().short, self.patience.within.as_millis());
                    return Err(broken(format!("no {kind} request within {ms} ms: {what}")));
                }
            }
        }
    }

    /// The first request for a type.
    pub async fn asked(&mut self, kind: ResourceType) -> Outcome<Request> {
        self.expect(kind, "the first request for the type", |_| true).await
    }

    /// The request that answers a response.
    pub async fn answer(&mut self, kind: ResourceType, nonce: &str) -> Outcome<Request> {
        self.expect(kind, &format!("an answer to the response with nonce {nonce:?}"), |r| r.nonce == nonce)
            .await
    }

    /// The acknowledgement of a response.
    pub async fn ack(&mut self, kind: ResourceType, nonce: &str) -> Outcome<Request> {
        let answer = self.answer(kind, nonce).await?;
        if let Some((_, error)) = &answer.error {
            return Err(broken(format!("a valid {} response was refused: {error}", kind.info().short)));
        }
        Ok(answer)
    }

    /// The refusal of a response.
    pub async fn nack(&mut self, kind: ResourceType, nonce: &str) -> Outcome<Request> {
        let answer = self.answer(kind, nonce).await?;
        require!(answer.error.is_some(), "an invalid {} response was acknowledged", kind.info().short);
        Ok(answer)
    }

    /// What is received within a period, and was not taken before.
    pub async fn during(&mut self, period: Duration) -> Outcome<Vec<Request>> {
        let until = tokio::time::Instant::now() + period;
        while let Ok(event) = timeout_at(until, self.server.events.recv()).await {
            self.take(event.ok_or_else(|| broken("the scripted server has ended"))?)?;
        }
        Ok(self.waiting.drain(..).collect())
    }

    /// Nothing comes for a type.
    pub async fn quiet(&mut self, kind: ResourceType, why: &str) -> Outcome {
        let came: Vec<_> =
            self.during(self.patience.quiet).await?.into_iter().filter(|r| r.kind == Some(kind)).collect();
        require!(came.is_empty(), "{} {} requests came, though {why}", came.len(), kind.info().short);
        Ok(())
    }

    fn take(&mut self, event: Event) -> Outcome {
        match event {
            Event::Connection(at) => self.connections.push(at),
            Event::Opened { stream, path, answers } => {
                self.transcript.add(|| format!("#{stream} client opened {path}"));
                let service = path.trim_start_matches('/').split('/').next().unwrap_or_default();
                let only = ResourceType::ALL.into_iter().find(|kind| kind.info().service == service);
                self.methods.insert(stream, only);
                self.answers.insert(stream, answers);
            }
            Event::Closed { stream } => {
                self.transcript.add(|| format!("#{stream} client ended"));
                self.answers.remove(&stream);
            }
            Event::Message { stream, bytes, at } => {
                let request = self.read(stream, bytes, at)?;
                if self.ended.contains(&stream) {
                    return Ok(());
                }
                if let Some(kind) = request.kind {
                    self.serving.insert(kind, stream);
                }
                self.all.push(request.clone());
                self.waiting.push_back(request);
            }
        }
        Ok(())
    }

    fn read(&mut self, stream: usize, bytes: Bytes, at: Instant) -> Outcome<Request> {
        let unreadable = |error| broken(format!("a request can't be read: {error}"));
        let first = self.begun.insert(stream);
        let only = self.methods.get(&stream).copied().flatten();
        let kind = |url: &str| if url.is_empty() { only } else { ResourceType::from_url(url) };
        let request = if self.variant.is_delta() {
            let r = DeltaDiscoveryRequest::decode(bytes).map_err(unreadable)?;
            self.transcript.add(|| format!("#{stream} < {}", transcript::delta_request(&r)));
            Request {
                stream,
                first,
                at,
                kind: kind(&r.type_url),
                type_url: r.type_url,
                node: r.node.map(|n| n.id),
                names: r.resource_names_subscribe,
                unsubscribe: r.resource_names_unsubscribe,
                version: String::new(),
                nonce: r.response_nonce,
                initial: r.initial_resource_versions.into_iter().collect(),
                error: r.error_detail.map(|e| (e.code, e.message)),
            }
        } else {
            let r = DiscoveryRequest::decode(bytes).map_err(unreadable)?;
            self.transcript.add(|| format!("#{stream} < {}", transcript::sotw_request(&r)));
            Request {
                stream,
                first,
                at,
                kind: kind(&r.type_url),
                type_url: r.type_url,
                node: r.node.map(|n| n.id),
                names: r.resource_names,
                unsubscribe: Vec::new(),
                version: r.version_info,
                nonce: r.response_nonce,
                initial: BTreeMap::new(),
                error: r.error_detail.map(|e| (e.code, e.message)),
            }
        };
        Ok(request)
    }

    /// Every nonce that the client sent was one of a response on the same stream.
    pub fn own_nonces_only(&self) -> Outcome {
        for request in self.all.iter().filter(|r| !r.nonce.is_empty()) {
            let known = self.nonces.get(&request.stream).is_some_and(|sent| sent.contains(&request.nonce));
            require!(known, "nonce {:?} was never sent on stream #{}", request.nonce, request.stream);
        }
        Ok(())
    }

    // ---- what the client is answered

    /// Sends resources at a version, and says with which nonce. In state of the world they are all there are.
    pub async fn send(&mut self, kind: ResourceType, version: &str, resources: &[Sent]) -> Outcome<String> {
        self.send_with(kind, version, resources, &[]).await
    }

    /// The same, with names that are removed (delta; left out of the message otherwise).
    pub async fn send_with(
        &mut self,
        kind: ResourceType,
        version: &str,
        resources: &[Sent],
        removed: &[&str],
    ) -> Outcome<String> {
        let stream = *self
            .serving
            .get(&kind)
            .ok_or_else(|| broken(format!("the client has not asked for {}", kind.info().short)))?;
        self.nonce += 1;
        let nonce = format!("n{}", self.nonce);
        self.nonces.entry(stream).or_default().insert(nonce.clone());
        let control_plane = Some(ControlPlane { identifier: "conformance".to_owned() });
        let wrap = |sent: &Sent| Resource {
            name: sent.name.clone(),
            version: version.to_owned(),
            resource: sent.body.clone(),
            ttl: sent.ttl.map(|ttl| lateen_proto::google::protobuf::Duration {
                seconds: i64::try_from(ttl.as_secs()).unwrap_or(i64::MAX),
                nanos: i32::try_from(ttl.subsec_nanos()).unwrap_or_default(),
            }),
            ..Resource::default()
        };
        let bytes = if self.variant.is_delta() {
            DeltaDiscoveryResponse {
                system_version_info: version.to_owned(),
                resources: resources.iter().map(wrap).collect(),
                type_url: kind.info().url.to_owned(),
                removed_resources: removed.iter().map(|&n| n.to_owned()).collect(),
                nonce: nonce.clone(),
                control_plane,
                ..DeltaDiscoveryResponse::default()
            }
            .encode_to_vec()
        } else {
            // A wrapper where it says something.
            // https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#sotw-ttl
            let body = |sent: &Sent| match (&sent.body, sent.ttl) {
                (Some(body), None) => body.clone(),
                _ => any::pack(&wrap(sent)),
            };
            DiscoveryResponse {
                version_info: version.to_owned(),
                resources: resources.iter().map(body).collect(),
                type_url: kind.info().url.to_owned(),
                nonce: nonce.clone(),
                control_plane,
                ..DiscoveryResponse::default()
            }
            .encode_to_vec()
        };
        self.transcript.add(|| {
            let names: Vec<_> = resources.iter().map(|r| r.name.as_str()).collect();
            format!(
                "#{stream} > {} {names:?} removed={removed:?} version={version:?} nonce={nonce:?}",
                kind.info().short
            )
        });
        let gone = || broken(format!("stream #{stream} has ended"));
        let answers = self.answers.get(&stream).ok_or_else(gone)?;
        answers.send(Ok(bytes.into())).await.map_err(|_| gone())?;
        Ok(nonce)
    }

    /// Sends resources, and waits for their acknowledgement.
    pub async fn accepted(
        &mut self,
        kind: ResourceType,
        version: &str,
        resources: &[Sent],
    ) -> Outcome<Request> {
        let nonce = self.send(kind, version, resources).await?;
        self.ack(kind, &nonce).await
    }

    // ---- streams

    /// Ends all streams; what was received and not yet taken is forgotten.
    pub async fn stop(&mut self, how: &Stop) -> Outcome {
        self.transcript.add(|| format!("the server ends all streams: {how:?}"));
        match how {
            Stop::Connection => self.server.disconnect(),
            Stop::Status(status) => {
                for answers in std::mem::take(&mut self.answers).into_values() {
                    if status.code() != Code::Ok {
                        // The client has ended it already.
                        let _ = answers.send(Err(status.clone())).await;
                    }
                }
            }
        }
        // The events that are waiting belong to streams that have now ended.
        while let Ok(event) = self.server.events.try_recv() {
            self.take(event)?;
        }
        self.ended.extend(self.methods.keys());
        self.serving.clear();
        self.waiting.clear();
        Ok(())
    }

    /// Closes every connection, and every new one as soon as it is made.
    pub async fn refuse(&mut self) -> Outcome {
        self.server.refuse(Refuse::All);
        self.stop(&Stop::Connection).await
    }

    /// Takes connections again.
    pub fn admit(&mut self) {
        self.transcript.add(|| "the server takes connections again".to_owned());
        self.server.refuse(Refuse::None);
    }

    // ---- what the client applied

    /// Waits until a number of the admin port's `/stats` is as told. Without an admin port that is noted.
    pub async fn stat(&mut self, name: &str, is: impl Fn(u64) -> bool, what: impl Display) -> Outcome {
        let until = Instant::now() + self.patience.within;
        loop {
            let Some(text) = self.client.admin(&format!("/stats?filter=^{name}$")).await? else {
                self.transcript.note(format!("no admin port: not judged whether {what}"));
                return Ok(());
            };
            let value =
                text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")?.parse().ok());
            if value.is_some_and(&is) {
                return Ok(());
            }
            require!(Instant::now() < until, "not {what}: the client says {name} is {value:?}");
            // The client tells nothing when it changes: it is asked again, and events are taken meanwhile.
            if let Ok(Some(event)) = timeout(Duration::from_millis(50), self.server.events.recv()).await {
                self.take(event)?;
            }
        }
    }
}

fn broken(text: impl Into<String>) -> Failure {
    Failure::Broken(text.into())
}
