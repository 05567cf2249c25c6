//! The admin port: readiness, metrics, and what `lateen status`, `config` and `diff` ask. Loopback only.

use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, Query as UrlQuery, Request, State},
    http::{StatusCode, header::HOST},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde::Deserialize;
use tokio::sync::{mpsc, oneshot, watch};

use crate::{
    core::Query,
    metrics::Metrics,
    status::{Difference, NodeConfig, Proposal, Status},
};

/// Bytes of a proposal for `diff`.
const PROPOSAL_BYTES_MAX: usize = 64 << 20;

#[derive(Clone, Debug)]
struct Admin {
    queries: mpsc::Sender<Query>,
    ready: watch::Receiver<bool>,
    metrics: Metrics,
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
        .with_state(Admin { queries, ready: is_ready, metrics })
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
        let (reply, answer) = oneshot::channel();
        self.queries.send(query(reply)).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())
    }
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
    let answer: Result<NodeConfig, String> =
        admin.ask(|reply| Query::Config { node: parameters.node, reply }).await?;
    answer.map(Json).map_err(|error| (StatusCode::NOT_FOUND, error + "\n").into_response())
}

async fn diff(
    State(admin): State<Admin>,
    Json(proposal): Json<Proposal>,
) -> Result<Json<Difference>, Response> {
    admin.ask(|reply| Query::Diff { proposal, reply }).await.map(Json)
}
