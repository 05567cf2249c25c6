//! CSDS: which resources connected clients were sent, and what became of them.
//! <https://www.envoyproxy.io/docs/envoy/latest/api-v3/service/status/v3/csds.proto>

mod matchers;

use std::{convert::Infallible, future::Future, pin::Pin};

use axum::{Router, body::Body};
use http::Request;
use lateen_proto::envoy::service::status::v3::{ClientStatusRequest, ClientStatusResponse};
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Response, Status, Streaming, server::Grpc};
use tonic_prost::ProstCodec;
use tower::service_fn;

use crate::{
    core::Query,
    peer::{Identity, identity_of},
};

pub use matchers::{MatcherError, NodeMatchers};

/// Name of the service.
pub const SERVICE: &str = "envoy.service.status.v3.ClientStatusDiscoveryService";
/// Bytes of one request: matchers of a few nodes.
const REQUEST_BYTES_MAX: usize = 1 << 20;

/// A request that was understood.
#[derive(Debug)]
pub struct Question {
    /// Which nodes.
    pub matchers: NodeMatchers,
    /// With the contents of resources?
    pub contents: bool,
    /// Who wants to know.
    pub asker: Identity,
}

/// What the core answers.
pub type Answer = Result<ClientStatusResponse, Status>;

type Codec = ProstCodec<ClientStatusResponse, ClientStatusRequest>;
type Replied = Pin<Box<dyn Future<Output = Result<http::Response<tonic::body::Body>, Infallible>> + Send>>;

/// The routes of the service.
pub fn router(queries: &mpsc::Sender<Query>) -> Router {
    let (once, again) = (queries.clone(), queries.clone());
    let fetch = service_fn(move |request: Request<Body>| fetch(once.clone(), request));
    let stream = service_fn(move |request: Request<Body>| stream(again.clone(), request));
    Router::new()
        .route_service(&format!("/{SERVICE}/FetchClientStatus"), fetch)
        .route_service(&format!("/{SERVICE}/StreamClientStatus"), stream)
}

fn grpc() -> Grpc<Codec> {
    Grpc::new(Codec::default()).apply_max_message_size_config(Some(REQUEST_BYTES_MAX), None)
}

fn fetch(queries: mpsc::Sender<Query>, request: Request<Body>) -> Replied {
    Box::pin(async move {
        let answer = service_fn(move |request: tonic::Request<ClientStatusRequest>| {
            let queries = queries.clone();
            async move {
                let asker = identity_of(&request)?;
                ask(&queries, request.into_inner(), asker).await.map(Response::new)
            }
        });
        Ok(grpc().unary(answer, request).await)
    })
}

fn stream(queries: mpsc::Sender<Query>, request: Request<Body>) -> Replied {
    Box::pin(async move {
        let answers = service_fn(move |request: tonic::Request<Streaming<ClientStatusRequest>>| {
            let queries = queries.clone();
            async move {
                let asker = identity_of(&request)?;
                // One answer at a time: a client that does not read has one in memory.
                let (sender, answers) = mpsc::channel(1);
                tokio::spawn(answer_all(queries, request.into_inner(), asker, sender));
                Ok::<_, Status>(Response::new(ReceiverStream::new(answers)))
            }
        });
        Ok(grpc().streaming(answers, request).await)
    })
}

async fn answer_all(
    queries: mpsc::Sender<Query>,
    mut requests: Streaming<ClientStatusRequest>,
    asker: Identity,
    answers: mpsc::Sender<Answer>,
) {
    loop {
        let request = tokio::select! {
            request = requests.message() => request,
            () = queries.closed() => Err(stopping()),
            () = answers.closed() => return,
        };
        let answer = match request {
            Ok(Some(request)) => ask(&queries, request, asker.clone()).await,
            Ok(None) => return,
            Err(status) => Err(status),
        };
        let failed = answer.is_err();
        if answers.send(answer).await.is_err() || failed {
            return;
        }
    }
}

fn stopping() -> Status {
    Status::unavailable("the server is shutting down")
}

async fn ask(queries: &mpsc::Sender<Query>, request: ClientStatusRequest, asker: Identity) -> Answer {
    let matchers = NodeMatchers::compile(&request.node_matchers)
        .map_err(|error| Status::invalid_argument(error.to_string()))?;
    let question = Question { matchers, contents: !request.exclude_resource_contents, asker };
    let (reply, answer) = oneshot::channel();
    queries.send(Query::ClientStatus { question, reply }).await.map_err(|_| stopping())?;
    answer.await.map_err(|_| stopping())?
}
