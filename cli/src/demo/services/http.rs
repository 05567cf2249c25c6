//! Services that answer with what they were asked. Request headers turn them:
//!
//! - `x-demo-status: 418` answers with that status,
//! - `x-demo-delay-ms: 300` waits before it answers,
//! - `x-demo-fail-first: 2` with `x-demo-key: any` fails the first two requests with that key,
//! - `x-demo-mark: any` is counted, and shown by `GET /_stats`.
//!
//! `POST /_break` makes an instance fail always, `POST /_mend` ends that. Both go to the application's own port.

use std::{collections::BTreeMap, convert::Infallible, sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    HeaderMap, Method, Request, Response, StatusCode, body::Incoming, header::CONTENT_TYPE,
    service::service_fn,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use serde_json::{Value, json};
use tokio::net::TcpStream;

use super::App;

/// The longest a request may be made to wait.
const DELAY_MAX: Duration = Duration::from_secs(30);

/// Serves HTTP/1.1 and HTTP/2 on a connection.
pub async fn serve(app: Arc<App>, stream: TcpStream) {
    let service = service_fn(move |request| {
        let app = app.clone();
        async move { Ok::<_, Infallible>(answer(&app, &request).await) }
    });
    // How a connection ends is the client's affair.
    let _ = auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
}

/// The answer to a request, after what its headers ask for.
pub async fn answer(app: &App, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    if let Some(answer) = own(app, request) {
        return answer;
    }
    let status = status(app, request.headers()).await;
    json_answer(status, &describe(app, request))
}

/// What only the application's own port is asked.
fn own(app: &App, request: &Request<Incoming>) -> Option<Response<Full<Bytes>>> {
    match (request.method(), request.uri().path()) {
        (&Method::GET, "/_stats") => {}
        (&Method::POST, "/_break") => app.set_broken(true),
        (&Method::POST, "/_mend") => app.set_broken(false),
        _ => return None,
    }
    Some(json_answer(StatusCode::OK, &app.statistics()))
}

/// Counts, waits, and decides the status.
pub async fn status(app: &App, headers: &HeaderMap) -> StatusCode {
    let fails = app.receive(text(headers, "x-demo-mark"));
    if let Some(delay) = number(headers, "x-demo-delay-ms") {
        tokio::time::sleep(Duration::from_millis(delay).min(DELAY_MAX)).await;
    }
    if let (Some(first), Some(key)) = (number(headers, "x-demo-fail-first"), text(headers, "x-demo-key"))
        && app.attempt(key) <= first
    {
        return StatusCode::SERVICE_UNAVAILABLE;
    }
    let asked = number(headers, "x-demo-status")
        .and_then(|code| StatusCode::from_u16(u16::try_from(code).ok()?).ok());
    match asked {
        // An informational status would not end the exchange.
        Some(status) if !status.is_informational() => status,
        _ if fails => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::OK,
    }
}

/// Who answers, and what was asked.
pub fn describe<B>(app: &App, request: &Request<B>) -> Value {
    let mut headers: BTreeMap<&str, String> = BTreeMap::new();
    for (name, value) in request.headers() {
        headers.insert(name.as_str(), String::from_utf8_lossy(value.as_bytes()).into_owned());
    }
    if let Some(authority) = request.uri().authority() {
        headers.insert("host", authority.to_string());
    }
    json!({
        "service": app.service,
        "version": app.version,
        "instance": app.instance,
        "protocol": format!("{:?}", request.version()),
        "method": request.method().as_str(),
        "path": request.uri().path_and_query().map_or("/", |path| path.as_str()),
        "headers": headers,
    })
}

/// JSON with a line feed, for people with `curl`.
pub fn json_answer(status: StatusCode, body: &Value) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(format!("{body}\n"))));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static("application/json"));
    response
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    text(headers, name)?.trim().parse().ok()
}
