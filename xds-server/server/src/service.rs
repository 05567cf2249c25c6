//! The gRPC services of xDS: ADS and each type's own, state of the world and delta. They only move messages
//! between a connection and the core.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use axum::{Router, body::Body};
use http::{HeaderValue, Request, Response, header::CONTENT_TYPE};
use lateen_proto::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest};
use lateen_xds::{Lists, ResourceType};
use prost::Message;
use tokio::{
    sync::{OwnedSemaphorePermit, mpsc},
    time::{Duration, Instant},
};
use tonic::Status;

use crate::{
    StreamId,
    outbox::{Outbox, outbox},
    peer::{Identity, Peer},
    recv::{self, Messages, Room},
};

/// Name of the aggregated service.
pub const ADS: &str = "envoy.service.discovery.v3.AggregatedDiscoveryService";

/// What streams tell the core.
#[derive(Debug)]
pub enum StreamEvent {
    /// A stream was opened.
    Open {
        /// Which.
        id: StreamId,
        /// By whom.
        peer: Peer,
        /// Its codec and type.
        method: Method,
        /// Where responses go.
        outbox: Outbox,
    },
    /// A request came in.
    Request {
        /// On which stream.
        id: StreamId,
        /// The request.
        request: Box<StreamRequest>,
        /// The room that it takes until it is seen to.
        room: Option<OwnedSemaphorePermit>,
    },
    /// The client ended the stream, or the connection broke.
    Closed {
        /// Which.
        id: StreamId,
        /// Why it can't be read on, if the client is to blame.
        refused: Option<Status>,
    },
}

/// A decoded request.
#[derive(Debug)]
pub enum StreamRequest {
    /// State of the world.
    Sotw(DiscoveryRequest),
    /// State of the world, the names left out because they are those of the type's last request.
    Repeated(DiscoveryRequest),
    /// Delta.
    Delta(DeltaDiscoveryRequest),
}

/// An xDS method.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Method {
    /// Delta, or state of the world.
    pub delta: bool,
    /// The one type of a service of its own; `None` for ADS.
    pub only: Option<ResourceType>,
}

/// Limits that keep one client, or all together, from exhausting the server.
#[derive(Clone, Copy, Debug)]
pub struct StreamLimits {
    /// Streams at once; more are refused with `RESOURCE_EXHAUSTED`.
    pub streams_max: usize,
    /// Bytes of one request message. A reconnecting state-of-the-world client names all it holds in one.
    pub request_bytes_max: usize,
    /// Bytes of large requests that are read and not seen to, over all streams; more wait with their clients.
    pub requests_in_flight_bytes: usize,
    /// Requests a second of one stream, in the long run; more wait to be read.
    pub requests_per_second: u32,
    /// Requests that may come at once.
    pub requests_at_once: u32,
}

impl Default for StreamLimits {
    fn default() -> Self {
        Self {
            streams_max: 50_000,
            request_bytes_max: 16 << 20,
            requests_in_flight_bytes: 16 << 20,
            requests_per_second: 500,
            requests_at_once: 5_000,
        }
    }
}

/// The router of all xDS methods.
pub fn router(ends: &StreamEnds) -> Router {
    let mut router = Router::new();
    let mut route = |service: &str, name: &str, method: Method| {
        let service_of_method = XdsMethod { ends: ends.clone(), method };
        let path = format!("/{service}/{name}");
        router = std::mem::take(&mut router).route_service(&path, service_of_method);
    };
    route(ADS, "StreamAggregatedResources", Method { delta: false, only: None });
    route(ADS, "DeltaAggregatedResources", Method { delta: true, only: None });
    for kind in ResourceType::ALL {
        let info = kind.info();
        if let Some(name) = info.stream {
            route(info.service, name, Method { delta: false, only: Some(kind) });
        }
        route(info.service, info.delta, Method { delta: true, only: Some(kind) });
    }
    router
}

/// The channel ends that every stream needs.
#[derive(Clone, Debug)]
pub struct StreamEnds {
    /// Events for the core. Bounded: when the core is behind, reading from clients waits.
    pub events: mpsc::Sender<StreamEvent>,
    /// Streams whose slot became free; see [`outbox`].
    pub runnable: mpsc::UnboundedSender<StreamId>,
    /// Limits.
    pub limits: StreamLimits,
    room: Room,
    counter: Arc<AtomicU64>,
    open: Arc<AtomicUsize>,
}

impl StreamEnds {
    /// Wires the ends.
    pub fn new(
        events: mpsc::Sender<StreamEvent>,
        runnable: mpsc::UnboundedSender<StreamId>,
        limits: StreamLimits,
    ) -> Self {
        let room = Room::new(limits.requests_in_flight_bytes);
        Self { events, runnable, limits, room, counter: Arc::default(), open: Arc::default() }
    }

    async fn open(&self, method: Method, request: Request<Body>) -> Result<Response<Body>, Status> {
        let (parts, body) = request.into_parts();
        if parts.headers.get("grpc-encoding").is_some_and(|encoding| encoding != "identity") {
            return Err(Status::unimplemented("compressed requests are not supported, use identity"));
        }
        let peer = parts
            .extensions
            .get::<Peer>()
            .cloned()
            .ok_or_else(|| Status::internal("the connection carries no peer"))?;
        if peer.identity == Identity::Anonymous {
            return Err(Status::unauthenticated("a client certificate is required on this address"));
        }
        let guard = OpenGuard::count(&self.open, self.limits.streams_max).ok_or_else(|| {
            Status::resource_exhausted(format!(
                "this server serves {} streams at once and has no room for another",
                self.limits.streams_max
            ))
        })?;
        let id = StreamId(self.counter.fetch_add(1, Ordering::Relaxed));
        let (outbox, mut response) = outbox(id, self.runnable.clone());
        let gone = |_| Status::unavailable("the server is shutting down");
        self.events.send(StreamEvent::Open { id, peer, method, outbox }).await.map_err(gone)?;
        let messages = Messages::new(body, self.limits.request_bytes_max, self.room.clone());
        let pace = Pace::new(&self.limits);
        tokio::spawn(read(self.events.clone(), id, method, (messages, pace), response.done(), guard));
        let mut response = Response::new(Body::new(response));
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        Ok(response)
    }
}

/// Counts a stream as long as it lives.
#[derive(Debug)]
struct OpenGuard(Arc<AtomicUsize>);

impl OpenGuard {
    fn count(open: &Arc<AtomicUsize>, max: usize) -> Option<Self> {
        let guard = Self(open.clone());
        (open.fetch_add(1, Ordering::Relaxed) < max).then_some(guard)
    }
}

impl Drop for OpenGuard {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// How fast the requests of a stream are read: a client that floods the server fills its own HTTP/2 window, and
/// takes no time from others.
#[derive(Debug)]
struct Pace {
    /// When all that was read would have come at the even rate.
    even: Instant,
    interval: Duration,
    ahead_max: Duration,
}

impl Pace {
    fn new(limits: &StreamLimits) -> Self {
        let interval = Duration::from_secs(1) / limits.requests_per_second.max(1);
        Self { even: Instant::now(), interval, ahead_max: interval * limits.requests_at_once }
    }

    /// When the next request may be read, if not `now`.
    fn next(&mut self, now: Instant) -> Option<Instant> {
        self.even = self.even.max(now) + self.interval;
        self.even.checked_sub(self.ahead_max).filter(|from| *from > now)
    }
}

/// Reads requests until the client or the connection ends, or the stream was ended; then tells the core.
async fn read(
    events: mpsc::Sender<StreamEvent>,
    id: StreamId,
    method: Method,
    (mut messages, mut pace): (Messages, Pace),
    ended: impl Future<Output = ()>,
    _open: OpenGuard,
) {
    let mut lists = if method.only.is_some() { Lists::of_one_type() } else { Lists::default() };
    let requests = async {
        loop {
            if let Some(from) = pace.next(Instant::now()) {
                tokio::time::sleep_until(from).await;
            }
            let decoded = |(message, room): recv::Message| Ok((decode(method, &message, &mut lists)?, room));
            match messages.next().await.and_then(|message| message.map(decoded).transpose()) {
                Ok(Some((request, room))) => {
                    let event = StreamEvent::Request { id, request: Box::new(request), room };
                    if events.send(event).await.is_err() {
                        return None;
                    }
                }
                Ok(None) => return None,
                Err(status) => return Some(status),
            }
        }
    };
    let refused = tokio::select! {
        refused = requests => refused,
        // A client that was refused may go on sending: nobody listens.
        () = ended => None,
    };
    // The core is gone only when the process ends.
    let _ = events.send(StreamEvent::Closed { id, refused }).await;
}

fn decode(method: Method, message: &[u8], lists: &mut Lists) -> Result<StreamRequest, Status> {
    let garbled =
        |error: prost::DecodeError| Status::invalid_argument(format!("not a discovery request: {error}"));
    if method.delta {
        return DeltaDiscoveryRequest::decode(message).map(StreamRequest::Delta).map_err(garbled);
    }
    match lists.without_repetition(message).map_err(garbled)? {
        Some(short) => DiscoveryRequest::decode(&*short).map(StreamRequest::Repeated).map_err(garbled),
        None => DiscoveryRequest::decode(message).map(StreamRequest::Sotw).map_err(garbled),
    }
}

/// One method as a tower service.
#[derive(Clone, Debug)]
struct XdsMethod {
    ends: StreamEnds,
    method: Method,
}

impl tower::Service<Request<Body>> for XdsMethod {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = std::pin::Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let (ends, method) = (self.ends.clone(), self.method);
        Box::pin(async move {
            let refused = |status: Status| status.into_http::<Body>();
            Ok(ends.open(method, request).await.unwrap_or_else(refused))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_read_at_once_and_a_flood_at_the_even_rate() {
        let limits =
            StreamLimits { requests_per_second: 100, requests_at_once: 50, ..StreamLimits::default() };
        let mut pace = Pace::new(&limits);
        let began = Instant::now();
        let mut now = began;
        let mut read = |count: usize, now: &mut Instant| {
            for _ in 0..count {
                *now = pace.next(*now).unwrap_or(*now);
            }
        };
        read(50, &mut now);
        assert_eq!(now, began);
        read(200, &mut now);
        assert_eq!(now, began + Duration::from_secs(2));
        now += Duration::from_secs(10);
        let rested = now;
        read(50, &mut now);
        assert_eq!(now, rested, "what was not used is there again");
        read(1, &mut now);
        assert!(now > rested, "but only once");
    }
}
