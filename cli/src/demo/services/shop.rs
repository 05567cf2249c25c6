//! The front: it asks the others, each through its own sidecar, as an application in a mesh does.
//!
//! `/` is a page of all; `/catalog`, `/reviews`, `/flaky` and what is below them are passed on with their headers.

use std::{convert::Infallible, sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{
    HeaderMap, Request, Response, StatusCode,
    body::Incoming,
    header::{CONNECTION, HOST, HeaderName},
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use super::{App, Upstreams, http};
use crate::demo::{
    client::{Http, ask_ledger},
    plan::host,
};

/// Services whose paths are passed on.
const PASSED_ON: [&str; 3] = ["catalog", "reviews", "flaky"];
/// How long a call may take.
const TIMEOUT: Duration = Duration::from_secs(15);
/// What the page of all passes on.
const TRACED: [&str; 4] = ["x-request-id", "x-demo-user", "x-demo-mark", "traceparent"];

/// Serves a connection.
pub async fn serve(app: Arc<App>, upstreams: Upstreams, stream: TcpStream) {
    // One client for each connection from the sidecar, which are few and long-lived.
    let client = Http::new(upstreams.http);
    let service = service_fn(move |request| {
        let (app, client) = (app.clone(), client.clone());
        async move { Ok::<_, Infallible>(answer(&app, upstreams, &client, request).await) }
    });
    // How a connection ends is the client's affair.
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

async fn answer(
    app: &App,
    upstreams: Upstreams,
    client: &Http,
    request: Request<Incoming>,
) -> Response<Full<Bytes>> {
    let first = request.uri().path().split('/').nth(1).unwrap_or_default();
    if let Some(service) = PASSED_ON.iter().find(|service| **service == first) {
        return pass_on(client, service, request).await;
    }
    if request.uri().path() != "/" {
        return http::answer(app, &request).await;
    }
    let status = http::status(app, request.headers()).await;
    let mut page = http::describe(app, &request);
    let mut headers = HeaderMap::new();
    for name in TRACED {
        if let Some(value) = request.headers().get(name) {
            headers.insert(HeaderName::from_static(name), value.clone());
        }
    }
    for service in PASSED_ON {
        page[service] = part(client, service, &headers).await;
    }
    page["ledger"] = match ask_ledger(upstreams.tcp, "one page", TIMEOUT).await {
        Ok(instance) => json!({ "instance": instance }),
        Err(error) => json!({ "error": error.to_string() }),
    };
    http::json_answer(status, &page)
}

/// One service's part of the page.
async fn part(client: &Http, service: &str, headers: &HeaderMap) -> Value {
    match client.call("GET", &host(service), "/", headers.clone(), TIMEOUT).await {
        Ok(answer) => {
            let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
            json!({
                "status": answer.status.as_u16(),
                "version": body["version"],
                "instance": body["instance"],
                "protocol": body["protocol"],
            })
        }
        Err(error) => json!({ "error": error.to_string() }),
    }
}

async fn pass_on(client: &Http, service: &str, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let mut headers = request.headers().clone();
    // Names of this connection, not of the request.
    headers.remove(HOST);
    headers.remove(CONNECTION);
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    let path = path.strip_prefix('/').and_then(|path| path.strip_prefix(service)).unwrap_or(path);
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    let method = request.method().as_str().to_owned();
    // None of the callees reads a body; it is taken so that the connection can be used again.
    let _ = http_body_util::Limited::new(request.into_body(), 1 << 20).collect().await;
    headers.remove(hyper::header::CONTENT_LENGTH);
    headers.remove(hyper::header::TRANSFER_ENCODING);
    match client.call(&method, &host(service), &path, headers, TIMEOUT).await {
        Ok(answer) => {
            let mut response = Response::new(Full::new(answer.body));
            *response.status_mut() = answer.status;
            *response.headers_mut() = answer.headers;
            response.headers_mut().remove(CONNECTION);
            response.headers_mut().remove(hyper::header::TRANSFER_ENCODING);
            response
        }
        Err(error) => http::json_answer(StatusCode::BAD_GATEWAY, &json!({ "error": error.to_string() })),
    }
}
