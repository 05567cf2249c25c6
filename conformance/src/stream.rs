//! A client of the case's: it keeps what a client must keep (names, version, nonce, what it holds), and sends what
//! the case says, right or wrong.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use lateen_proto::{
    envoy::{
        config::core::v3::Node,
        service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest},
    },
    google::{protobuf::Any, rpc},
};
use lateen_xds::ResourceType;
use prost::Message;
use tonic::{Code, Status, transport::Channel};

use crate::{
    context::{Context, Failure, Outcome, Patience},
    message::{Received, Response},
    transcript::{self, Transcript},
    wire::{Incoming, RawStream},
};

const ADS: &str = "envoy.service.discovery.v3.AggregatedDiscoveryService";

/// Responses to an unchanged world, after which the server is said not to come to rest.
const SETTLING_MAX: usize = 20;

/// What the client knows of one type.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// Names subscribed to.
    pub names: BTreeSet<String>,
    /// Has a request for the type been sent?
    pub asked: bool,
    /// Nonce of the last response.
    pub nonce: String,
    /// Version of the last response that was acknowledged.
    pub version: String,
    /// What the client holds: by name, what was last accepted.
    pub held: BTreeMap<String, Received>,
    /// Names that the server said don't exist.
    pub gone: BTreeSet<String>,
}

impl Known {
    /// Does it hold the name with that body?
    pub fn has(&self, name: &str, body: &Any) -> bool {
        self.held.get(name).is_some_and(|r| r.is(body))
    }

    /// The names it holds.
    pub fn held_names(&self) -> Vec<&str> {
        self.held.keys().map(String::as_str).collect()
    }
}

/// One stream to the server.
#[derive(Debug)]
pub struct Stream {
    raw: RawStream,
    delta: bool,
    ads: bool,
    number: usize,
    patience: Patience,
    transcript: Arc<Transcript>,
    /// The node to send; taken by the first request.
    pub node: Option<Node>,
    known: BTreeMap<ResourceType, Known>,
    queued: VecDeque<Response>,
    end: Option<Status>,
}

impl Stream {
    pub(crate) fn new(
        context: &Context,
        channel: Channel,
        only: Option<ResourceType>,
        read_ahead: usize,
    ) -> Self {
        let delta = context.variant.is_delta();
        let (service, method) = match only {
            None if delta => (ADS, "DeltaAggregatedResources"),
            None => (ADS, "StreamAggregatedResources"),
            Some(kind) => {
                let info = kind.info();
                (info.service, if delta { info.delta } else { info.stream.unwrap_or(info.delta) })
            }
        };
        let path = format!("/{service}/{method}").parse().expect("service and method names make a path");
        let number = context.next_stream();
        context.transcript.add(|| format!("#{number} opened {method}"));
        Self {
            raw: RawStream::open(channel, path, read_ahead),
            delta,
            ads: only.is_none(),
            number,
            patience: context.patience,
            transcript: Arc::clone(&context.transcript),
            node: Some(context.node()),
            known: BTreeMap::new(),
            queued: VecDeque::new(),
            end: None,
        }
    }

    /// What the client knows of a type.
    pub fn known(&mut self, kind: ResourceType) -> &mut Known {
        self.known.entry(kind).or_default()
    }

    // ---- sending

    /// Subscribes to exactly these names from now on. In state of the world the list is sent; in delta the
    /// difference to what was subscribed before. A first call without names is the legacy wildcard.
    pub async fn subscribe(&mut self, kind: ResourceType, names: &[&str]) -> Outcome {
        let new: BTreeSet<String> = names.iter().map(|&n| n.to_owned()).collect();
        let known = self.known(kind);
        let (old, asked) =
            (std::mem::replace(&mut known.names, new.clone()), std::mem::replace(&mut known.asked, true));
        if self.delta {
            let request = DeltaDiscoveryRequest {
                resource_names_subscribe: new.difference(&old).cloned().collect(),
                resource_names_unsubscribe: old.difference(&new).cloned().collect(),
                ..self.delta_request(kind)
            };
            return self.send_delta(request).await;
        }
        let known = self.known(kind);
        let (version_info, response_nonce) = if asked {
            (known.version.clone(), known.nonce.clone())
        } else {
            (known.version.clone(), String::new())
        };
        let request = DiscoveryRequest {
            resource_names: names.iter().map(|&n| n.to_owned()).collect(),
            version_info,
            response_nonce,
            ..self.sotw_request(kind)
        };
        self.send_sotw(request).await
    }

    /// The first request of a type after a reconnect: names, and what the client still holds (delta), or the version
    /// it had (state of the world).
    pub async fn resume(&mut self, kind: ResourceType, names: &[&str], before: &Known) -> Outcome {
        let known = self.known(kind);
        known.names = names.iter().map(|&n| n.to_owned()).collect();
        known.asked = true;
        known.held = before.held.clone();
        known.version.clone_from(&before.version);
        if self.delta {
            let request = DeltaDiscoveryRequest {
                resource_names_subscribe: names.iter().map(|&n| n.to_owned()).collect(),
                initial_resource_versions: before
                    .held
                    .iter()
                    .map(|(n, r)| (n.clone(), r.version.clone()))
                    .collect(),
                ..self.delta_request(kind)
            };
            return self.send_delta(request).await;
        }
        let request = DiscoveryRequest {
            resource_names: names.iter().map(|&n| n.to_owned()).collect(),
            version_info: before.version.clone(),
            ..self.sotw_request(kind)
        };
        self.send_sotw(request).await
    }

    /// Acknowledges a response and takes it over.
    pub async fn ack(&mut self, kind: ResourceType, response: &Response) -> Outcome {
        self.take_over(kind, response);
        self.answer(kind, response, None).await
    }

    /// Rejects a response; what the client holds stays.
    pub async fn nack(&mut self, kind: ResourceType, response: &Response, text: &str) -> Outcome {
        self.answer(kind, response, Some(text)).await
    }

    /// Takes a response over without a word to the server.
    pub fn take_over(&mut self, kind: ResourceType, response: &Response) {
        let complete = !self.delta && kind.info().wildcard;
        let known = self.known(kind);
        known.version.clone_from(&response.version);
        if complete {
            known.held.retain(|name, _| response.get(name).is_some());
        }
        for resource in &response.resources {
            known.gone.remove(&resource.name);
            if resource.body.is_some() {
                known.held.insert(resource.name.clone(), resource.clone());
            }
        }
        for name in &response.removed {
            known.held.remove(name);
            known.gone.insert(name.clone());
        }
    }

    async fn answer(&mut self, kind: ResourceType, response: &Response, error: Option<&str>) -> Outcome {
        let error_detail = error.map(rejection);
        if self.delta {
            let request = DeltaDiscoveryRequest {
                response_nonce: response.nonce.clone(),
                error_detail,
                ..self.delta_request(kind)
            };
            return self.send_delta(request).await;
        }
        let known = self.known(kind);
        let (version_info, resource_names) = (known.version.clone(), known.names.iter().cloned().collect());
        let request = DiscoveryRequest {
            version_info,
            resource_names,
            response_nonce: response.nonce.clone(),
            error_detail,
            ..self.sotw_request(kind)
        };
        self.send_sotw(request).await
    }

    /// A state-of-the-world request with nothing but the type.
    pub fn sotw_request(&self, kind: ResourceType) -> DiscoveryRequest {
        DiscoveryRequest { type_url: kind.info().url.to_owned(), ..DiscoveryRequest::default() }
    }

    /// A delta request with nothing but the type.
    pub fn delta_request(&self, kind: ResourceType) -> DeltaDiscoveryRequest {
        DeltaDiscoveryRequest { type_url: kind.info().url.to_owned(), ..DeltaDiscoveryRequest::default() }
    }

    /// Sends a request as it is, but for the node, which the first one gets.
    pub async fn send_sotw(&mut self, mut request: DiscoveryRequest) -> Outcome {
        request.node = request.node.or_else(|| self.node.take());
        let number = self.number;
        self.transcript.add(|| format!("#{number} → {}", transcript::sotw_request(&request)));
        self.send_bytes(request.encode_to_vec().into()).await
    }

    /// Sends a request as it is, but for the node, which the first one gets.
    pub async fn send_delta(&mut self, mut request: DeltaDiscoveryRequest) -> Outcome {
        request.node = request.node.or_else(|| self.node.take());
        let number = self.number;
        self.transcript.add(|| format!("#{number} → {}", transcript::delta_request(&request)));
        self.send_bytes(request.encode_to_vec().into()).await
    }

    /// Sends anything.
    pub async fn send_bytes(&mut self, bytes: Bytes) -> Outcome {
        // That the stream is gone is told by what comes next; some cases expect it.
        let _ended = !self.raw.send(bytes).await;
        Ok(())
    }

    /// Ends the client's half of the stream.
    pub fn half_close(&mut self) {
        let number = self.number;
        self.transcript.add(|| format!("#{number} → end of requests"));
        self.raw.half_close();
    }

    // ---- receiving

    /// The next response of a type; others wait in a queue.
    pub async fn next(&mut self, kind: ResourceType) -> Outcome<Response> {
        self.next_within(kind, self.patience.within).await?.ok_or_else(|| {
            Failure::Broken(format!("no response for {kind} within {} ms", self.patience.within.as_millis()))
        })
    }

    /// The next response of a type, acknowledged.
    pub async fn next_acked(&mut self, kind: ResourceType) -> Outcome<Response> {
        let response = self.next(kind).await?;
        self.ack(kind, &response).await?;
        Ok(response)
    }

    /// The next response of a type, if one comes in time.
    pub async fn next_within(&mut self, kind: ResourceType, within: Duration) -> Outcome<Option<Response>> {
        let url = kind.info().url;
        if let Some(at) = self.queued.iter().position(|r| r.type_url == url) {
            return Ok(self.queued.remove(at));
        }
        let deadline = Instant::now() + within;
        while let Some(response) = self.receive(deadline).await? {
            if response.type_url == url {
                return Ok(Some(response));
            }
            self.queued.push_back(response);
        }
        Ok(None)
    }

    /// The next response of whatever type, in the order of the wire.
    pub async fn next_any(&mut self, within: Duration) -> Outcome<Option<Response>> {
        if let Some(response) = self.queued.pop_front() {
            return Ok(Some(response));
        }
        self.receive(Instant::now() + within).await
    }

    /// Acknowledges responses of a type until the client holds what it should.
    pub async fn until(&mut self, kind: ResourceType, what: &str, done: impl Fn(&Known) -> bool) -> Outcome {
        self.until_within(kind, what, self.patience.within, done).await
    }

    /// The same, with a patience of its own.
    pub async fn until_within(
        &mut self,
        kind: ResourceType,
        what: &str,
        within: Duration,
        done: impl Fn(&Known) -> bool,
    ) -> Outcome {
        let deadline = Instant::now() + within;
        while !done(self.known(kind)) {
            let left = deadline.saturating_duration_since(Instant::now());
            let Some(response) = self.next_within(kind, left).await? else {
                let held = self.known(kind).held_names().join(", ");
                return Err(Failure::Broken(format!(
                    "{what} not reached in time; the client holds [{held}]"
                )));
            };
            self.ack(kind, &response).await?;
        }
        Ok(())
    }

    /// Acknowledges what still comes for a type, until nothing comes for the quiet period. Returns what came.
    pub async fn settle(&mut self, kind: ResourceType) -> Outcome<Vec<Response>> {
        let mut came = Vec::new();
        while let Some(response) = self.next_within(kind, self.patience.quiet).await? {
            crate::require!(came.len() < SETTLING_MAX, "responses for {kind} don't come to rest");
            self.ack(kind, &response).await?;
            came.push(response);
        }
        Ok(came)
    }

    /// Nothing for the type may come for the quiet period.
    pub async fn quiet(&mut self, kind: ResourceType) -> Outcome {
        match self.next_within(kind, self.patience.quiet).await? {
            None => Ok(()),
            Some(response) => {
                Err(Failure::Broken(format!("a response came unasked: {}", transcript::response(&response))))
            }
        }
    }

    /// Nothing may come about a name until nothing comes at all for the quiet period.
    pub async fn quiet_about(&mut self, kind: ResourceType, name: &str) -> Outcome {
        let came = self.settle(kind).await?;
        let about = |r: &&Response| r.get(name).is_some() || r.removed.iter().any(|n| n == name);
        match came.iter().find(about) {
            None => Ok(()),
            Some(response) => {
                Err(Failure::Broken(format!("{name} came unasked: {}", transcript::response(response))))
            }
        }
    }

    /// Nothing at all may come for the quiet period.
    pub async fn silent(&mut self) -> Outcome {
        match self.next_any(self.patience.quiet).await? {
            None => Ok(()),
            Some(response) => {
                Err(Failure::Broken(format!("a response came unasked: {}", transcript::response(&response))))
            }
        }
    }

    /// How the stream ends; responses before that are dropped.
    pub async fn ended(&mut self, within: Duration) -> Outcome<Status> {
        let deadline = Instant::now() + within;
        loop {
            match tokio::time::timeout_at(deadline.into(), self.raw.next()).await {
                Err(_) => return Err(Failure::Broken("the stream did not end".to_owned())),
                Ok(Some(Incoming::Message(..))) => {}
                Ok(Some(Incoming::End(status))) => {
                    self.transcript.add(|| format!("stream ended: {:?} {}", status.code(), status.message()));
                    return Ok(status);
                }
                Ok(None) => return Ok(self.end.clone().unwrap_or_else(|| Status::unknown("ended before"))),
            }
        }
    }

    async fn receive(&mut self, deadline: Instant) -> Outcome<Option<Response>> {
        let Ok(incoming) = tokio::time::timeout_at(deadline.into(), self.raw.next()).await else {
            return Ok(None);
        };
        let number = self.number;
        match incoming {
            Some(Incoming::Message(bytes, at)) => {
                let read = if self.delta { Response::delta(bytes, at) } else { Response::sotw(bytes, at) };
                let response =
                    read.map_err(|e| Failure::Broken(format!("a response can't be decoded: {e}")))?;
                self.transcript.add(|| format!("#{number} ← {}", transcript::response(&response)));
                self.check_always(&response)?;
                if let Some(kind) = ResourceType::from_url(&response.type_url) {
                    self.known(kind).nonce.clone_from(&response.nonce);
                }
                Ok(Some(response))
            }
            Some(Incoming::End(status)) => {
                self.transcript.add(|| format!("#{number} ended: {:?} {}", status.code(), status.message()));
                self.end = Some(status.clone());
                Err(ended(&status))
            }
            None => Err(ended(self.end.as_ref().unwrap_or(&Status::unknown("ended before")))),
        }
    }

    /// What no response of any case may do.
    fn check_always(&self, response: &Response) -> Outcome {
        crate::require!(!response.nonce.is_empty(), "a response has no nonce");
        crate::require!(
            self.ads || !response.type_url.is_empty() || self.delta,
            "a response has no type URL"
        );
        let mut seen = BTreeSet::new();
        for resource in &response.resources {
            // https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#duplicate-resource-names
            crate::require!(seen.insert(&resource.name), "a response has {:?} twice", resource.name);
            if let Some(body) = &resource.body {
                crate::require!(
                    body.type_url == response.type_url,
                    "{:?} is a {}, in a response for {}",
                    resource.name,
                    body.type_url,
                    response.type_url
                );
            }
        }
        for name in &response.removed {
            crate::require!(!seen.contains(name), "a response brings and removes {name:?}");
        }
        Ok(())
    }
}

fn ended(status: &Status) -> Failure {
    Failure::Broken(format!("the server ended the stream: {:?} {}", status.code(), status.message()))
}

/// The `error_detail` of a rejection.
pub fn rejection(text: &str) -> rpc::Status {
    rpc::Status { code: Code::InvalidArgument as i32, message: text.to_owned(), ..rpc::Status::default() }
}
