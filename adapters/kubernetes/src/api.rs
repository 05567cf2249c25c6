//! The requests that are made of the API server, and its answers.
//!
//! The client (access, TLS, proxies) is kube's; what is asked and how answers are judged stands here, because a
//! watch has to see what a general client hides: the kind of each refusal, how long to wait, and silence.

use std::{error::Error, time::Duration};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use kube::client::{Body, Client};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;
use tokio::time::{Instant, timeout, timeout_at};

/// Objects of one page. <https://kubernetes.io/docs/reference/using-api/api-concepts/#retrieving-large-results-sets-in-chunks>
const PAGE: usize = 500;
/// The largest answer that is read: a page of objects as large as etcd keeps them.
const ANSWER_BYTES_MAX: usize = 768 << 20;
/// The largest event; an object may be as large as etcd keeps it.
const EVENT_BYTES_MAX: usize = 8 << 20;
/// How long an answer may take to begin, and a page to be read.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(30);
/// How long a busy server is left alone when it does not say.
const BUSY_WAIT: Duration = Duration::from_secs(1);
/// The longest it may ask for.
const BUSY_WAIT_MAX: Duration = Duration::from_mins(2);

/// Why a request came to nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiError {
    /// No connection, or it broke.
    #[error("{act}: the API server can't be reached")]
    Unreachable {
        act: String,
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// Nothing came.
    #[error("{act}: the API server does not answer")]
    Silent { act: String },
    /// Who we are is not known (any more).
    #[error("{act}: the API server does not know us: {message}")]
    Unauthenticated { act: String, message: String },
    /// We may not.
    #[error("may not {act}: {message}")]
    Forbidden { act: String, message: String },
    /// There is no such thing.
    #[error("{act}: there is none")]
    NotFound { act: String },
    /// The version that was asked for is not kept any more.
    #[error("{act}: the version is too old")]
    Gone { act: String },
    /// Somebody else has written meanwhile.
    #[error("{act}: it was changed meanwhile")]
    Conflict { act: String },
    /// Too many requests.
    #[error("{act}: the API server is busy")]
    Busy { act: String, after: Duration },
    /// Any other refusal.
    #[error("{act}: the API server says {code}: {message}")]
    Status { act: String, code: u16, message: String },
    /// An answer that makes no sense.
    #[error("{act}: the answer can't be read: {why}")]
    Malformed { act: String, why: String },
}

/// The error with its causes.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        // A cause that says what its effect says already is left out.
        let said = error.to_string();
        if !text.ends_with(&said) {
            text = format!("{text}: {said}");
        }
        cause = error.source();
    }
    text
}

/// <https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/status/>
#[derive(Deserialize, Default)]
struct Status {
    #[serde(default)]
    code: u16,
    #[serde(default)]
    message: String,
}

/// One page of a list.
#[derive(Deserialize)]
struct Page {
    #[serde(default)]
    metadata: PageMetadata,
    #[serde(default)]
    items: Option<Vec<Value>>,
}

#[derive(Deserialize, Default)]
struct PageMetadata {
    #[serde(default, rename = "resourceVersion")]
    resource_version: String,
    #[serde(default, rename = "continue")]
    next: String,
}

/// What a watch says.
#[derive(Debug)]
pub(crate) enum Event {
    /// An object is new or has changed.
    Set(Value),
    /// An object is gone.
    Gone(Value),
    /// All up to this version was told.
    Bookmark(Value),
}

/// An API server.
#[derive(Clone)]
pub(crate) struct Api {
    client: Client,
}

/// A part of everything of one kind, all parts as of one time.
pub(crate) struct Part {
    pub(crate) objects: Vec<Value>,
    pub(crate) resource_version: String,
    /// Where the next part begins; empty after the last.
    pub(crate) next: String,
}

impl Api {
    pub(crate) fn new(client: Client) -> Self {
        Self { client }
    }

    /// Lists a part of everything under a path, from where the part before ended.
    pub(crate) async fn list(&self, path: &str, selector: &str, from: &str) -> Result<Part, ApiError> {
        let mut query = format!("{path}?limit={PAGE}{selector}");
        if !from.is_empty() {
            query.push_str("&continue=");
            query.push_str(&encoded(from));
        }
        let page: Page = self.get(&query, &format!("list {path}")).await?;
        let PageMetadata { resource_version, next } = page.metadata;
        Ok(Part { objects: page.items.unwrap_or_default(), resource_version, next })
    }

    /// Watches what happens after a version, for at most `lifetime`.
    pub(crate) async fn watch(
        &self,
        path: &str,
        selector: &str,
        from: &str,
        lifetime: Duration,
    ) -> Result<Watch, ApiError> {
        let act = format!("watch {path}");
        let seconds = lifetime.as_secs();
        let from = encoded(from);
        let query = format!(
            "{path}?watch=1&allowWatchBookmarks=true&timeoutSeconds={seconds}&resourceVersion={from}{selector}"
        );
        let response = self.send(request(Method::GET, &query, Vec::new(), &act)?, &act).await?;
        // The server ends a watch itself; one that goes on without a word is half open.
        let deadline = Instant::now() + lifetime + Duration::from_secs(10);
        Ok(Watch { act, body: response.into_body(), buffer: Vec::new(), searched: 0, deadline })
    }

    /// Reads one thing.
    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str, act: &str) -> Result<T, ApiError> {
        self.call(Method::GET, path, None, act).await
    }

    /// Creates or replaces one thing.
    pub(crate) async fn write<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &Value,
        act: &str,
    ) -> Result<T, ApiError> {
        self.call(method, path, Some(body), act).await
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        act: &str,
    ) -> Result<T, ApiError> {
        let body = body.map(|body| serde_json::to_vec(body).unwrap_or_default()).unwrap_or_default();
        let response = self.send(request(method, path, body, act)?, act).await?;
        let body = read(response.into_body(), act).await?;
        serde_json::from_slice(&body)
            .map_err(|error| ApiError::Malformed { act: act.to_owned(), why: error.to_string() })
    }

    async fn send(&self, request: Request<Body>, act: &str) -> Result<Response<Body>, ApiError> {
        let sent = timeout(ANSWER_TIME_MAX, self.client.send(request)).await;
        let response = sent
            .map_err(|_| ApiError::Silent { act: act.to_owned() })?
            .map_err(|error| ApiError::Unreachable { act: act.to_owned(), source: error.into() })?;
        if response.status().is_success() {
            return Ok(response);
        }
        Err(refusal(response, act).await)
    }
}

fn request(method: Method, path: &str, body: Vec<u8>, act: &str) -> Result<Request<Body>, ApiError> {
    let request = Request::builder().method(method).uri(path).header(header::ACCEPT, "application/json");
    let request =
        if body.is_empty() { request } else { request.header(header::CONTENT_TYPE, "application/json") };
    request
        .body(Body::from(body))
        .map_err(|error| ApiError::Malformed { act: act.to_owned(), why: error.to_string() })
}

/// What an answer that is no success means.
async fn refusal(response: Response<Body>, act: &str) -> ApiError {
    let (parts, body) = response.into_parts();
    let after = parts.headers.get(header::RETRY_AFTER).and_then(|after| after.to_str().ok()?.parse().ok());
    // A refusal whose text can't be read is one all the same; that of a server before this one may be no `Status`.
    let text = read(body, act).await.unwrap_or_default();
    let message = serde_json::from_slice::<Status>(&text)
        .map_or_else(|_| String::from_utf8_lossy(&text).chars().take(200).collect(), |status| status.message);
    judged(act.to_owned(), parts.status.as_u16(), message, after)
}

fn judged(act: String, code: u16, message: String, after: Option<u64>) -> ApiError {
    let wait = after.map_or(BUSY_WAIT, Duration::from_secs).min(BUSY_WAIT_MAX);
    match StatusCode::from_u16(code) {
        Ok(StatusCode::UNAUTHORIZED) => ApiError::Unauthenticated { act, message },
        Ok(StatusCode::FORBIDDEN) => ApiError::Forbidden { act, message },
        Ok(StatusCode::NOT_FOUND) => ApiError::NotFound { act },
        Ok(StatusCode::CONFLICT) => ApiError::Conflict { act },
        Ok(StatusCode::GONE) => ApiError::Gone { act },
        Ok(StatusCode::TOO_MANY_REQUESTS) => ApiError::Busy { act, after: wait },
        // A server that is starting says so with how long it takes.
        Ok(StatusCode::SERVICE_UNAVAILABLE) if after.is_some() => ApiError::Busy { act, after: wait },
        _ => ApiError::Status { act, code, message },
    }
}

async fn read(mut body: Body, act: &str) -> Result<Vec<u8>, ApiError> {
    let deadline = Instant::now() + ANSWER_TIME_MAX;
    let mut read = Vec::new();
    loop {
        let frame = timeout_at(deadline, body.frame()).await;
        let Some(frame) = frame.map_err(|_| ApiError::Silent { act: act.to_owned() })? else {
            return Ok(read);
        };
        let data = frame
            .map_err(|error| ApiError::Unreachable { act: act.to_owned(), source: error.into() })?
            .into_data()
            .unwrap_or_default();
        if read.len() + data.len() > ANSWER_BYTES_MAX {
            let why = format!("it has more than {ANSWER_BYTES_MAX} bytes");
            return Err(ApiError::Malformed { act: act.to_owned(), why });
        }
        read.extend_from_slice(&data);
    }
}

/// A watch that is open.
pub(crate) struct Watch {
    act: String,
    body: Body,
    buffer: Vec<u8>,
    /// So much of the buffer holds no end of a line.
    searched: usize,
    deadline: Instant,
}

#[derive(Deserialize)]
struct RawEvent {
    r#type: String,
    object: Value,
}

impl Watch {
    /// The next events, all that came together; none when the server ended the watch. Cancelling loses nothing.
    pub(crate) async fn next(&mut self) -> Result<Option<Vec<Event>>, ApiError> {
        loop {
            if let Some(end) = self.buffer[self.searched..].iter().rposition(|byte| *byte == b'\n') {
                let rest = self.buffer.split_off(self.searched + end + 1);
                let lines = std::mem::replace(&mut self.buffer, rest);
                self.searched = self.buffer.len();
                return events(&lines, &self.act).map(Some);
            }
            self.searched = self.buffer.len();
            let Some(data) = self.data().await? else { return Ok(None) };
            if self.buffer.len() + data.len() > EVENT_BYTES_MAX {
                let why = format!("an event has more than {EVENT_BYTES_MAX} bytes");
                return Err(ApiError::Malformed { act: self.act.clone(), why });
            }
            self.buffer.extend_from_slice(&data);
        }
    }

    async fn data(&mut self) -> Result<Option<Bytes>, ApiError> {
        let frame = timeout_at(self.deadline, self.body.frame()).await;
        let Some(frame) = frame.map_err(|_| ApiError::Silent { act: self.act.clone() })? else {
            return Ok(None);
        };
        let frame =
            frame.map_err(|error| ApiError::Unreachable { act: self.act.clone(), source: error.into() })?;
        Ok(Some(frame.into_data().unwrap_or_default()))
    }
}

/// <https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes>
fn events(lines: &[u8], act: &str) -> Result<Vec<Event>, ApiError> {
    let mut events = Vec::new();
    for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let event: RawEvent = serde_json::from_slice(line)
            .map_err(|error| ApiError::Malformed { act: act.to_owned(), why: error.to_string() })?;
        events.push(match &*event.r#type {
            "ADDED" | "MODIFIED" => Event::Set(event.object),
            "DELETED" => Event::Gone(event.object),
            "BOOKMARK" => Event::Bookmark(event.object),
            "ERROR" => {
                let status: Status = serde_json::from_value(event.object).unwrap_or_default();
                return Err(judged(act.to_owned(), status.code, status.message, None));
            }
            other => {
                let why = format!("it has an event \"{}\"", other.escape_debug());
                return Err(ApiError::Malformed { act: act.to_owned(), why });
            }
        });
    }
    Ok(events)
}

/// Text as a value in a query.
fn encoded(text: &str) -> String {
    use std::fmt::Write as _;
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a string does not fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_read_line_by_line() {
        let lines = b"{\"type\":\"ADDED\",\"object\":{\"a\":1}}\n\n{\"type\":\"DELETED\",\"object\":{}}\n{\"type\":\"BOOKMARK\",\"object\":{}}\n";
        let events = events(lines, "watch").unwrap();
        assert!(matches!(&events[..], [Event::Set(_), Event::Gone(_), Event::Bookmark(_)]), "{events:?}");
    }

    #[test]
    fn faults_6_an_error_event_says_what_it_is() {
        let of = |text: &str| events(text.as_bytes(), "watch").unwrap_err();
        assert!(matches!(of(r#"{"type":"ERROR","object":{"code":410}}"#), ApiError::Gone { .. }));
        assert!(matches!(
            of(r#"{"type":"ERROR","object":{"code":500}}"#),
            ApiError::Status { code: 500, .. }
        ));
        assert!(matches!(of(r#"{"type":"ERROR","object":[]}"#), ApiError::Status { code: 0, .. }));
        assert!(matches!(of(r#"{"type":"NEWS","object":{}}"#), ApiError::Malformed { .. }));
        assert!(matches!(of("{"), ApiError::Malformed { .. }));
    }

    #[test]
    fn a_busy_server_says_how_long() {
        let wait = |after| match judged(String::new(), 429, String::new(), after) {
            ApiError::Busy { after, .. } => after,
            other => panic!("{other}"),
        };
        assert_eq!(wait(Some(7)), Duration::from_secs(7));
        assert_eq!(wait(None), BUSY_WAIT);
        assert_eq!(wait(Some(u64::MAX)), BUSY_WAIT_MAX);
    }

    #[test]
    fn values_of_queries_are_encoded() {
        assert_eq!(encoded("eyJ2=/&+é"), "eyJ2%3D%2F%26%2B%C3%A9");
    }
}
