//! Requests and the connections they go over.

use std::{
    fmt,
    path::PathBuf,
    str::FromStr,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    body::Incoming,
    client::conn::http1::{self, SendRequest},
};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
    time::timeout,
};

use crate::{HttpError, Lines, Place, Query, TlsFiles};

/// How long connecting may take, TLS included.
const CONNECT: Duration = Duration::from_secs(5);
/// Of what an agent says when it refuses, this much is kept.
const SHOWN_MAX: usize = 300;

pub(crate) type Connection = SendRequest<Full<Bytes>>;

/// A header whose value is a secret in a file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TokenFile {
    /// The header.
    pub header: HeaderName,
    /// The file; white space around the token is no part of it.
    pub path: PathBuf,
}

/// How an agent is reached.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// Where it is.
    pub place: Place,
    /// What authenticates each request; read for each, so that whoever rotates it need not tell.
    pub token: Option<TokenFile>,
    /// For [`Place::Tls`].
    pub tls: TlsFiles,
    /// The longest answer that is read, in bytes.
    pub body_bytes_max: usize,
    /// Connections kept for the next request; more are closed after theirs.
    pub idle_max: usize,
}

impl Settings {
    /// No token, no TLS files, answers up to 256 MiB, 32 connections kept.
    pub fn new(place: Place) -> Self {
        Self { place, token: None, tls: TlsFiles::default(), body_bytes_max: 256 << 20, idle_max: 32 }
    }
}

/// A request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ask {
    /// `GET`, `PUT`, `POST` or `DELETE`.
    pub method: Method,
    /// The path, escaped.
    pub path: String,
    /// The query.
    pub query: Query,
    /// The body, or nothing.
    pub body: Bytes,
    /// How long the whole exchange may take: a long poll's own wait is part of it.
    pub patience: Duration,
}

impl Ask {
    /// A `GET`.
    pub fn get(path: impl Into<String>, query: Query, patience: Duration) -> Self {
        Self { method: Method::GET, path: path.into(), query, body: Bytes::new(), patience }
    }

    /// A `PUT`.
    pub fn put(path: impl Into<String>, query: Query, body: impl Into<Bytes>, patience: Duration) -> Self {
        Self { method: Method::PUT, path: path.into(), query, body: body.into(), patience }
    }

    /// A `DELETE`.
    pub fn delete(path: impl Into<String>, query: Query, patience: Duration) -> Self {
        Self { method: Method::DELETE, path: path.into(), query, body: Bytes::new(), patience }
    }
}

/// An answer, whole, whatever its status is.
#[derive(Clone, Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Headers.
    pub headers: HeaderMap,
    /// Body.
    pub body: Bytes,
}

impl Answer {
    /// A header, where it is there and can be read.
    pub fn header<T: FromStr>(&self, name: &str) -> Option<T> {
        self.headers.get(name)?.to_str().ok()?.trim().parse().ok()
    }

    /// The answer, when its status says that the request was done.
    pub fn success(self) -> Result<Self, HttpError> {
        if (200..300).contains(&self.status) {
            return Ok(self);
        }
        let text: String = String::from_utf8_lossy(&self.body).trim().chars().take(SHOWN_MAX).collect();
        let status = self.status;
        // Too much at once, and too slow, are said with a 4xx and pass.
        if (400..500).contains(&status) && status != 429 && status != 408 {
            return Err(HttpError::Refused { status, text });
        }
        let retry_after = self.header("retry-after").map(Duration::from_secs);
        Err(HttpError::Failing { status, text, retry_after })
    }
}

/// A client of one agent.
pub struct Client {
    settings: Settings,
    authority: HeaderValue,
    /// Shared by all requests: held for a push or a pop only, where a task of its own would cost more.
    idle: Mutex<Vec<Connection>>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("place", &self.settings.place).finish_non_exhaustive()
    }
}

impl Client {
    /// Connects to nothing yet.
    pub fn new(settings: Settings) -> Result<Self, HttpError> {
        let authority = HeaderValue::from_str(settings.place.authority()).map_err(http::Error::from)?;
        if let Place::Tls(_) = settings.place {
            settings.tls.server_name(settings.place.host())?;
        }
        Ok(Self { settings, authority, idle: Mutex::default() })
    }

    /// Asks, and reads the whole answer.
    pub async fn ask(&self, ask: Ask) -> Result<Answer, HttpError> {
        let patience = ask.patience;
        within(patience, async {
            let (response, connection) = self.send(ask).await?;
            let answer = self.collected(response).await?;
            let mut idle = self.idle();
            if idle.len() < self.settings.idle_max && !connection.is_closed() {
                idle.push(connection);
            }
            Ok(answer)
        })
        .await
    }

    /// Asks for lines without end; the patience is for their beginning. An answer that is no success is given whole.
    pub async fn lines(
        &self,
        ask: Ask,
        idle_max: Duration,
        line_bytes_max: usize,
    ) -> Result<Result<Lines, Answer>, HttpError> {
        let patience = ask.patience;
        within(patience, async {
            let (response, connection) = self.send(ask).await?;
            if !response.status().is_success() {
                return self.collected(response).await.map(Err);
            }
            Ok(Ok(Lines::new(response.into_body(), connection, idle_max, line_bytes_max)))
        })
        .await
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn send(&self, ask: Ask) -> Result<(Response<Incoming>, Connection), HttpError> {
        let mut request = self.request(ask).await?;
        loop {
            let kept = self.idle().pop();
            let Some(mut connection) = kept else { break };
            if connection.is_closed() || connection.ready().await.is_err() {
                continue;
            }
            match connection.try_send_request(request).await {
                Ok(response) => return Ok((response, connection)),
                // The agent closed it in the meantime: nothing was sent, and the next may do better.
                Err(mut error) => match error.take_message() {
                    Some(unsent) => request = unsent,
                    None => return Err(error.into_error().into()),
                },
            }
        }
        let mut connection =
            timeout(CONNECT, self.connect()).await.map_err(|_| HttpError::Timeout(CONNECT))??;
        let response = connection.send_request(request).await?;
        Ok((response, connection))
    }

    async fn request(&self, ask: Ask) -> Result<Request<Full<Bytes>>, HttpError> {
        let Ask { method, path, query, body, patience: _ } = ask;
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{path}{query}"))
            .header(header::HOST, &self.authority)
            .body(Full::new(body))?;
        if let Some(TokenFile { header, path }) = &self.settings.token {
            let text = tokio::fs::read_to_string(path).await;
            let text = text.map_err(|source| HttpError::File { path: path.clone(), source })?;
            let mut token = HeaderValue::from_str(text.trim()).map_err(|_| HttpError::Token)?;
            token.set_sensitive(true);
            request.headers_mut().insert(header, token);
        }
        Ok(request)
    }

    async fn connect(&self) -> Result<Connection, HttpError> {
        match &self.settings.place {
            Place::Unix(path) => shaken(UnixStream::connect(path).await.map_err(HttpError::Connect)?).await,
            Place::Tcp(authority) => shaken(dialled(authority).await?).await,
            Place::Tls(authority) => {
                let tls = &self.settings.tls;
                let name = tls.server_name(self.settings.place.host())?;
                let connector = tls.connector().await?;
                let stream = dialled(authority).await?;
                shaken(connector.connect(name, stream).await.map_err(HttpError::Connect)?).await
            }
        }
    }

    async fn collected(&self, response: Response<Incoming>) -> Result<Answer, HttpError> {
        let (head, body) = response.into_parts();
        let body = Limited::new(body, self.settings.body_bytes_max);
        let body = body.collect().await.map_err(HttpError::Body)?.to_bytes();
        Ok(Answer { status: head.status.as_u16(), headers: head.headers, body })
    }
}

async fn within<T>(
    patience: Duration,
    asking: impl Future<Output = Result<T, HttpError>>,
) -> Result<T, HttpError> {
    timeout(patience, asking).await.map_err(|_| HttpError::Timeout(patience))?
}

async fn dialled(authority: &str) -> Result<TcpStream, HttpError> {
    let stream = TcpStream::connect(authority).await.map_err(HttpError::Connect)?;
    stream.set_nodelay(true).map_err(HttpError::Connect)?;
    Ok(stream)
}

async fn shaken<S>(stream: S) -> Result<Connection, HttpError>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // Ends when the sender is dropped, or the connection.
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "connection ended");
        }
    });
    Ok(sender)
}
