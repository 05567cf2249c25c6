//! The server's side of all three control protocols, over whatever can be told.

use std::{convert::Infallible, sync::Arc};

use axum::{
    Json, Router,
    body::Body,
    extract::{DefaultBodyLimit, State},
    response::{IntoResponse, Response},
    routing::post,
};
use http::{Request, StatusCode};
use lateen_proto::google::protobuf::Any;
use prost::Message;
use tonic::{Status, server::Grpc};
use tonic_prost::ProstCodec;
use tower::service_fn;

use super::{
    Change, Control, ControlError, RawResource, ResourceKey,
    adapter::{self, ClearStateRequest, ClearStateResponse, ResourceRequest, SetStateRequest, Success},
    grpc::Named,
    messages::{self, ApplyRequest, CountStreamsResponse, Empty, ErrorBody, GetCapabilitiesResponse, Group},
    serve_state::States,
    xdsconfig::{
        self, ResourceToSet, SetResourcesRequest, SetResourcesResponse, StopOnRequestRequest,
        StopOnRequestResponse,
    },
};

/// Bytes of one request: a case tells a hundred thousand resources at once.
const REQUEST_BYTES_MAX: usize = 256 << 20;

/// What is told by any of the protocols.
pub type Target = Arc<dyn Control>;

/// The routes of all three protocols. `adapter.Adapter` and `XdsConfigControlService` tell whole states or ask for
/// them, so what they were told is remembered here; a group is to be told by one protocol only.
pub fn router(target: Target) -> Router {
    let states = Arc::new(States::new(target.clone()));
    Router::new()
        .merge(connect_routes(target))
        .merge(adapter_routes(&states))
        .merge(xdsconfig_routes(&states))
        .layer(DefaultBodyLimit::max(REQUEST_BYTES_MAX))
}

fn connect_routes(target: Target) -> Router {
    let path = |method| format!("/{}/{method}", messages::SERVICE);
    Router::new()
        .route(&path("GetCapabilities"), post(get_capabilities))
        .route(&path("Apply"), post(apply))
        .route(&path("Clear"), post(clear))
        .route(&path("CountStreams"), post(count_streams))
        .route(&path("Restart"), post(restart))
        .with_state(target)
}

async fn get_capabilities(State(target): State<Target>) -> Result<Json<GetCapabilitiesResponse>, Refused> {
    let capabilities = target.capabilities().await?;
    let features = capabilities.features.iter().map(ToString::to_string).collect();
    Ok(Json(GetCapabilitiesResponse { groups: capabilities.groups, features }))
}

async fn apply(
    State(target): State<Target>,
    Json(request): Json<ApplyRequest>,
) -> Result<Json<Empty>, Refused> {
    let (group, change) = request.into_change()?;
    target.apply(&group, change).await?;
    Ok(Json(Empty {}))
}

async fn clear(State(target): State<Target>, Json(request): Json<Group>) -> Result<Json<Empty>, Refused> {
    target.clear(&request.group).await?;
    Ok(Json(Empty {}))
}

async fn count_streams(
    State(target): State<Target>,
    Json(request): Json<Group>,
) -> Result<Json<CountStreamsResponse>, Refused> {
    let streams = target.streams(&request.group).await?;
    Ok(Json(CountStreamsResponse { streams: u32::try_from(streams).unwrap_or(u32::MAX) }))
}

async fn restart(State(target): State<Target>) -> Result<Json<Empty>, Refused> {
    target.restart().await?;
    Ok(Json(Empty {}))
}

/// An error as Connect has it: <https://connectrpc.com/docs/protocol/#error-codes>.
struct Refused(ControlError);

impl From<ControlError> for Refused {
    fn from(error: ControlError) -> Self {
        Self(error)
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let (status, code) = match &self.0 {
            ControlError::Unsupported { .. } => (StatusCode::NOT_IMPLEMENTED, "unimplemented"),
            ControlError::Call { .. } => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
            ControlError::Refused { .. } => (StatusCode::BAD_REQUEST, "invalid_argument"),
        };
        (status, Json(ErrorBody { code: code.to_owned(), message: self.0.to_string() })).into_response()
    }
}

fn to_status(error: &ControlError) -> Status {
    match error {
        ControlError::Unsupported { .. } => Status::unimplemented(error.to_string()),
        ControlError::Call { .. } => Status::unavailable(error.to_string()),
        ControlError::Refused { .. } => Status::invalid_argument(error.to_string()),
    }
}

/// A unary gRPC method.
fn unary<Q, A, F>(
    router: Router,
    service: &str,
    method: &str,
    states: &Arc<States>,
    answer: impl Fn(Arc<States>, Q) -> F + Clone + Send + Sync + 'static,
) -> Router
where
    Q: Message + Default + Send + Sync + 'static,
    A: Message + Send + Sync + 'static,
    F: Future<Output = Result<A, ControlError>> + Send + 'static,
{
    let states = states.clone();
    let service_of_method = service_fn(move |request: Request<Body>| {
        let (states, answer) = (states.clone(), answer.clone());
        async move {
            let mut grpc = Grpc::new(ProstCodec::<A, Q>::default())
                .apply_max_message_size_config(Some(REQUEST_BYTES_MAX), None);
            let one = service_fn(move |request: tonic::Request<Q>| {
                let answered = answer(states.clone(), request.into_inner());
                async move { answered.await.map(tonic::Response::new).map_err(|error| to_status(&error)) }
            });
            Ok::<_, Infallible>(grpc.unary(one, request).await)
        }
    });
    router.route_service(&format!("/{service}/{method}"), service_of_method)
}

fn adapter_routes(states: &Arc<States>) -> Router {
    const SERVICE: &str = adapter::SERVICE;
    let done = |()| Success { success: true };
    let mut router = Router::new();
    router = unary(router, SERVICE, "SetState", states, move |states, request: SetStateRequest| async move {
        let SetStateRequest { node, version: _, resources } = request;
        let put = resources.into_iter().map(named).collect::<Result<Vec<_>, _>>()?;
        states.replace(&node, put).await.map(done)
    });
    router = unary(router, SERVICE, "ClearState", states, |states, request: ClearStateRequest| async move {
        states.clear(&request.node).await?;
        Ok(ClearStateResponse { response: "cleared".to_owned() })
    });
    router =
        unary(router, SERVICE, "AddResource", states, move |states, request: ResourceRequest| async move {
            states.add(&request.node, key_of(&request)).await.map(done)
        });
    router = unary(
        router,
        SERVICE,
        "UpdateResource",
        states,
        move |states, request: ResourceRequest| async move {
            states.update(&request.node, key_of(&request), &request.version).await.map(done)
        },
    );
    unary(router, SERVICE, "RemoveResource", states, move |states, request: ResourceRequest| async move {
        let change = Change { remove: vec![key_of(&request)], ..Change::default() };
        states.apply(&request.node, change).await.map(done)
    })
}

fn key_of(request: &ResourceRequest) -> ResourceKey {
    ResourceKey { type_url: request.type_url.clone(), name: request.resource_name.clone() }
}

/// A resource that was told without its name.
fn named(body: Any) -> Result<RawResource, ControlError> {
    let Named { name } = Named::decode(&*body.value).map_err(|error| ControlError::Refused {
        reason: format!("a {} without a name: {error}", body.type_url),
    })?;
    Ok(RawResource::new(name, body))
}

fn xdsconfig_routes(states: &Arc<States>) -> Router {
    const SERVICE: &str = xdsconfig::SERVICE;
    let router = unary(Router::new(), SERVICE, "SetResources", states, |states, request| async move {
        let SetResourcesRequest { resources } = request;
        let mut change = Change::default();
        for ResourceToSet { type_url, name, body } in resources {
            match body {
                Some(body) => change.put.push(RawResource::new(name, body)),
                None => change.remove.push(ResourceKey { type_url, name }),
            }
        }
        states.apply("", change).await?;
        Ok(SetResourcesResponse { resource: states.bodies("").await })
    });
    unary(router, SERVICE, "StopOnRequest", states, |states, request| async move {
        let StopOnRequestRequest { type_url, name } = request;
        let filters = states.stop_on_request(ResourceKey { type_url, name }).await?;
        let filter = |ResourceKey { type_url, name }| StopOnRequestRequest { type_url, name };
        Ok(StopOnRequestResponse { filters: filters.into_iter().map(filter).collect() })
    })
}
