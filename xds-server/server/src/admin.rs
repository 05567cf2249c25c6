//! The admin port: readiness, metrics, and what `lateen status`, `config` and `diff` ask. Loopback only.

use std::{future::Future, sync::Arc, time::Duration};

use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, FromRequest, Query as UrlQuery, Request, State},
    http::{StatusCode, header::HOST},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde::Deserialize;
use tokio::{
    sync::{Semaphore, mpsc, oneshot, watch},
    time::timeout,
};

use crate::{
    answers::Wanted,
    core::Query,
    metrics::Metrics,
    status::{Difference, NodeConfig, Proposal, Status},
};

/// Bytes of a proposal for `diff`.
const PROPOSAL_BYTES_MAX: usize = 64 << 20;
/// Long answers of a kind that are worked out at the same time; more wait.
const LONG_MAX: usize = 2;
/// Proposals that are read or wait for their turn; more wait unread.
const PROPOSALS_MAX: usize = 4;
/// How long a proposal may take to arrive: whoever sends slowly keeps the others waiting.
const PROPOSAL_PATIENCE: Duration = Duration::from_secs(10);
/// How long a long answer may take, the wait for its turn and for the request's body included.
const LONG_PATIENCE: Duration = Duration::from_mins(2);
/// How long the core may take for a short one: longer than any turn of its should be.
const CORE_PATIENCE: Duration = Duration::from_secs(15);

#[derive(Clone, Debug)]
struct Admin {
    queries: mpsc::Sender<Query>,
    ready: watch::Receiver<bool>,
    metrics: Metrics,
    configs: Arc<Semaphore>,
    diffs: Arc<Semaphore>,
    proposals: Arc<Semaphore>,
}

/// The admin routes.
pub fn router(queries: mpsc::Sender<Query>, is_ready: watch::Receiver<bool>, metrics: Metrics) -> Router {
    Router::new()
        .route("/ready", get(ready))
        .route("/metrics", get(render_metrics))
        .route("/debug/status", get(status))
        .route("/debug/config", get(config))
        .route("/debug/diff", post(diff))
        .layer(DefaultBodyLimit::max(PROPOSAL_BYTES_MAX))
        .layer(middleware::from_fn(local_host))
        .with_state(Admin {
            queries,
            ready: is_ready,
            metrics,
            configs: Arc::new(Semaphore::new(LONG_MAX)),
            diffs: Arc::new(Semaphore::new(LONG_MAX)),
            proposals: Arc::new(Semaphore::new(PROPOSALS_MAX)),
        })
}

/// A page in a browser can reach loopback by a name that its author resolves to it (DNS rebinding); such a
/// request names a foreign host.
async fn local_host(request: Request, next: Next) -> Response {
    let host = request.headers().get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let name = host
        .rsplit_once(':')
        .map_or(host, |(name, port)| if port.bytes().all(|b| b.is_ascii_digit()) { name } else { host });
    let address = name.trim_start_matches('[').trim_end_matches(']');
    if name == "localhost" || address.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback()) {
        next.run(request).await
    } else {
        (StatusCode::FORBIDDEN, "the admin port answers requests for localhost only\n").into_response()
    }
}

impl Admin {
    async fn ask<T>(&self, query: impl FnOnce(oneshot::Sender<T>) -> Query) -> Result<T, Response> {
        let gone = || (StatusCode::SERVICE_UNAVAILABLE, "the server is shutting down\n").into_response();
        let busy = || {
            let text = "the server is busy taking over a change; what it served before it keeps serving\n";
            (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
        };
        let (reply, answer) = oneshot::channel();
        let asked = async {
            self.queries.send(query(reply)).await.map_err(|_| gone())?;
            answer.await.map_err(|_| gone())
        };
        timeout(CORE_PATIENCE, asked).await.map_err(|_| busy())?
    }

    /// Works out an answer beside the core, a few at a time. Whoever goes away ends it.
    async fn long<T: Send + 'static, W>(
        turns: &Arc<Semaphore>,
        prepare: impl Future<Output = Result<W, Response>>,
    ) -> Result<Json<T>, Response>
    where
        W: FnOnce(&Wanted) -> Option<T> + Send + 'static,
    {
        let answered = async {
            let permit = turns.clone().acquire_owned().await.map_err(|_| failed())?;
            let work = prepare.await?;
            let (wanted, _ends) = Wanted::new();
            let working = tokio::task::spawn_blocking(move || {
                let answer = work(&wanted);
                drop(permit);
                answer
            });
            working.await.ok().flatten().map(Json).ok_or_else(failed)
        };
        timeout(LONG_PATIENCE, answered).await.map_err(|_| late("no answer", LONG_PATIENCE))?
    }
}

fn failed() -> Response {
    (StatusCode::INTERNAL_SERVER_ERROR, "no answer could be worked out\n").into_response()
}

fn late(what: &str, patience: Duration) -> Response {
    let text = format!("there was {what} within {} s\n", patience.as_secs());
    (StatusCode::GATEWAY_TIMEOUT, text).into_response()
}

async fn ready(State(admin): State<Admin>) -> Response {
    // Asked often, by probes: a server that was ready is ready, as what it knew keeps being served.
    if *admin.ready.borrow() && !admin.queries.is_closed() {
        return "ready\n".into_response();
    }
    match admin.ask(Query::Status).await {
        Ok(status) if status.ready => "ready\n".into_response(),
        Ok(status) => {
            let waiting: Vec<_> =
                status.sources.iter().filter(|s| !s.synced).map(|s| s.id.as_str()).collect();
            let text = format!("not ready: waiting for the first listing of {}\n", waiting.join(", "));
            (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
        }
        Err(response) => response,
    }
}

async fn render_metrics(State(admin): State<Admin>) -> String {
    admin.metrics.render()
}

async fn status(State(admin): State<Admin>) -> Result<Json<Status>, Response> {
    admin.ask(Query::Status).await.map(Json)
}

#[derive(Debug, Deserialize)]
struct ConfigParameters {
    node: String,
}

async fn config(
    State(admin): State<Admin>,
    UrlQuery(parameters): UrlQuery<ConfigParameters>,
) -> Result<Json<NodeConfig>, Response> {
    let asked = async {
        let answer = admin.ask(|reply| Query::Config { node: parameters.node, reply }).await?;
        let collected = answer.map_err(|error| (StatusCode::NOT_FOUND, error + "\n").into_response())?;
        Ok::<_, Response>(move |wanted: &Wanted| collected.written(wanted))
    };
    Admin::long(&admin.configs, asked).await
}

async fn diff(State(admin): State<Admin>, request: Request) -> Result<Json<Difference>, Response> {
    // Before the body is read: what waits takes no memory.
    let room = timeout(LONG_PATIENCE, admin.proposals.clone().acquire_owned()).await;
    let _room = room.map_err(|_| late("no turn", LONG_PATIENCE))?.map_err(|_| failed())?;
    let body = timeout(PROPOSAL_PATIENCE, Json::<Proposal>::from_request(request, &())).await;
    let body = body.map_err(|_| late("no whole proposal", PROPOSAL_PATIENCE))?;
    let Json(proposal) = body.map_err(IntoResponse::into_response)?;
    let asked = async {
        let ground = admin.ask(Query::Ground).await?;
        Ok::<_, Response>(move |wanted: &Wanted| ground.difference(&proposal, wanted))
    };
    Admin::long(&admin.diffs, asked).await
}
