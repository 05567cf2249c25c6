//! Clients of the services: HTTP/1.1, gRPC, WebSocket and bytes, all to an address that is not the name they call.

use std::{io, net::SocketAddr, time::Duration};

use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use http_body_util::{BodyExt, Empty};
use hyper::{
    HeaderMap, Request, StatusCode,
    body::{Frame, Incoming},
    header::{CONTENT_TYPE, HOST, HeaderName, HeaderValue, InvalidHeaderValue, TE},
};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo},
};
use prost::Message;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    time::timeout,
};
use tokio_tungstenite::tungstenite;

use super::services::{Messages, Streamed, framed, streamed};

/// Why a call got no answer.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// It took too long.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// The request can't be made.
    #[error("no request: {0}")]
    Request(#[from] hyper::http::Error),
    /// Nor its headers.
    #[error("no header: {0}")]
    Header(#[from] InvalidHeaderValue),
    /// No connection.
    #[error("no connection: {0}")]
    Connect(#[from] io::Error),
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Http(#[from] hyper::Error),
    /// The client could not call.
    #[error("no answer: {0}")]
    Client(#[from] hyper_util::client::legacy::Error),
    /// WebSocket.
    #[error("WebSocket: {0}")]
    WebSocket(#[from] tungstenite::Error),
    /// gRPC.
    #[error("gRPC: {0}")]
    Grpc(String),
    /// Something else came back.
    #[error("unexpected: {0}")]
    Unexpected(String),
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

impl Answer {
    /// A header as text; empty when it is not there.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The body as JSON; null when it is none.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// An HTTP/1.1 client for one address, with connections that are used again.
#[derive(Clone, Debug)]
pub struct Http {
    address: SocketAddr,
    client: Client<HttpConnector, Empty<Bytes>>,
}

impl Http {
    /// A client for an address.
    pub fn new(address: SocketAddr) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        Self { address, client: Client::builder(TokioExecutor::new()).build(connector) }
    }

    /// One request without a body.
    pub async fn call(
        &self,
        method: &str,
        host: &str,
        path: &str,
        headers: HeaderMap,
        limit: Duration,
    ) -> Result<Answer, CallError> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("http://{}{path}", self.address))
            .body(Empty::<Bytes>::new())?;
        *request.headers_mut() = headers;
        request.headers_mut().insert(HOST, HeaderValue::from_str(host)?);
        let exchange = async {
            let (head, body) = self.client.request(request).await?.into_parts();
            let body = body.collect().await?.to_bytes();
            Ok::<_, CallError>(Answer { status: head.status, headers: head.headers, body })
        };
        timeout(limit, exchange).await.map_err(|_| CallError::Timeout(limit))?
    }

    /// GET with headers given as text.
    pub async fn get(&self, host: &str, path: &str, headers: &[(&str, &str)]) -> Result<Answer, CallError> {
        self.call("GET", host, path, header_map(headers)?, CALL_LIMIT).await
    }
}

/// How long a call may take unless it says so.
pub const CALL_LIMIT: Duration = Duration::from_secs(15);

/// Headers from text.
pub fn header_map(headers: &[(&str, &str)]) -> Result<HeaderMap, CallError> {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(hyper::http::Error::from)?;
        map.append(name, HeaderValue::from_str(value)?);
    }
    Ok(map)
}

/// Tells the ledger a line; returns the instance that repeated it.
pub async fn ask_ledger(address: SocketAddr, line: &str, limit: Duration) -> Result<String, CallError> {
    let exchange = async {
        let mut stream = BufReader::new(TcpStream::connect(address).await?).take(64 << 10);
        let mut instance = String::new();
        stream.read_line(&mut instance).await?;
        stream.get_mut().get_mut().write_all(format!("{line}\n").as_bytes()).await?;
        let mut repeated = String::new();
        stream.read_line(&mut repeated).await?;
        if repeated.trim_end() != line || instance.trim_end().is_empty() {
            return Err(CallError::Unexpected(format!("{instance:?}, {repeated:?}")));
        }
        Ok(instance.trim_end().to_owned())
    };
    timeout(limit, exchange).await.map_err(|_| CallError::Timeout(limit))?
}

/// Says lines over one WebSocket and returns what came back for each.
pub async fn chat(
    address: SocketAddr,
    host: &str,
    path: &str,
    lines: &[String],
) -> Result<Vec<String>, CallError> {
    let exchange = async {
        let stream = TcpStream::connect(address).await?;
        let url = format!("ws://{host}{path}");
        let (mut socket, _) = tokio_tungstenite::client_async(url, stream).await?;
        let mut replies = Vec::new();
        for line in lines {
            socket.send(tungstenite::Message::text(line.as_str())).await?;
            match socket.next().await {
                Some(reply) => replies.push(reply?.into_text()?.to_string()),
                None => return Err(CallError::Unexpected("the socket ended".to_owned())),
            }
        }
        // The answers are there; how it ends doesn't matter.
        let _ = socket.close(None).await;
        Ok(replies)
    };
    timeout(CALL_LIMIT, exchange).await.map_err(|_| CallError::Timeout(CALL_LIMIT))?
}

/// A gRPC call under way.
#[derive(Debug)]
pub struct GrpcCall {
    requests: Option<super::services::Frames>,
    body: Incoming,
    messages: Messages,
    status: Option<String>,
}

/// Starts a call on a connection of its own. The request messages follow by [`GrpcCall::send`].
pub async fn grpc(address: SocketAddr, host: &str, path: &str) -> Result<GrpcCall, CallError> {
    let stream = TcpStream::connect(address).await?;
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake::<_, _, Streamed>(TokioExecutor::new(), TokioIo::new(stream))
            .await?;
    // Ends when the call is dropped.
    tokio::spawn(async move { drop(connection.await) });
    let (requests, body) = streamed();
    let request = Request::post(format!("http://{host}{path}"))
        .header(CONTENT_TYPE, "application/grpc")
        .header(TE, "trailers")
        .body(body)?;
    let response = timeout(CALL_LIMIT, sender.send_request(request))
        .await
        .map_err(|_| CallError::Timeout(CALL_LIMIT))??;
    let (head, body) = response.into_parts();
    if head.status != StatusCode::OK {
        return Err(CallError::Grpc(format!("HTTP status {}", head.status)));
    }
    let status = head.headers.get("grpc-status").and_then(|status| status.to_str().ok()).map(str::to_owned);
    Ok(GrpcCall { requests: Some(requests), body, messages: Messages::default(), status })
}

impl GrpcCall {
    /// Sends a message.
    pub async fn send(&mut self, message: &impl Message) -> Result<(), CallError> {
        let ended = || CallError::Grpc("the call has ended".to_owned());
        let requests = self.requests.as_ref().ok_or_else(ended)?;
        requests.send(Ok(Frame::data(framed(message)))).await.map_err(|_| ended())
    }

    /// No more messages follow.
    pub fn finish(&mut self) {
        self.requests = None;
    }

    /// The next message; `None` when the call ended well.
    pub async fn next<M: Message + Default>(&mut self) -> Result<Option<M>, CallError> {
        loop {
            if let Some(message) = self.messages.next().map_err(|error| CallError::Grpc(error.to_string()))? {
                return Ok(Some(message));
            }
            let frame =
                timeout(CALL_LIMIT, self.body.frame()).await.map_err(|_| CallError::Timeout(CALL_LIMIT))?;
            match frame.transpose()? {
                Some(frame) => match frame.into_data() {
                    Ok(data) => self.messages.put(&data),
                    Err(frame) => {
                        let trailers = frame.into_trailers().unwrap_or_default();
                        self.status = trailers
                            .get("grpc-status")
                            .and_then(|status| status.to_str().ok())
                            .map(str::to_owned);
                    }
                },
                None => {
                    return match self.status.as_deref() {
                        Some("0") => Ok(None),
                        Some(status) => Err(CallError::Grpc(format!("status {status}"))),
                        None => Err(CallError::Grpc("no status".to_owned())),
                    };
                }
            }
        }
    }

    /// All messages until the end.
    pub async fn rest<M: Message + Default>(&mut self) -> Result<Vec<M>, CallError> {
        let mut all = Vec::new();
        while let Some(message) = self.next().await? {
            all.push(message);
        }
        Ok(all)
    }
}
