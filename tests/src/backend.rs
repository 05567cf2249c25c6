//! Small servers that requests end at. Each has a name, and says it in every answer.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{Arc, LazyLock},
};

use bytes::{BufMut, Bytes, BytesMut};
use h2::server;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use serde_json::{Map, Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    runtime::Runtime,
    task::JoinHandle,
};

use crate::wire;

/// What the servers and loads of all tests in a process run on; the tests themselves block.
pub static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().expect("a tokio runtime"));

/// A port of 127.0.0.1 that the system chooses.
const ANY_PORT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// A server, on 127.0.0.1 where nothing else is said, that ends when dropped.
#[derive(Debug)]
pub struct Backend {
    /// Its name.
    pub name: Arc<str>,
    /// Its address.
    pub address: SocketAddr,
    task: JoinHandle<()>,
}

impl Backend {
    /// HTTP/1.1 with keep-alive: answers 200 with its name and the request's path and headers as JSON.
    pub fn http(name: &str) -> std::io::Result<Self> {
        Self::http_on(name, Ipv4Addr::LOCALHOST)
    }

    /// The same on another address, such as those of [`crate::netns`].
    pub fn http_on(name: &str, ip: Ipv4Addr) -> std::io::Result<Self> {
        Self::http_at(name, (ip, 0).into())
    }

    /// The same at an address and port.
    pub fn http_at(name: &str, at: SocketAddr) -> std::io::Result<Self> {
        Self::start(name, at, |name, socket| async move {
            let service = service_fn(move |request| {
                let answer = describe(&name, &request);
                async move { Ok::<_, std::convert::Infallible>(answer) }
            });
            // A broken connection is the client's to report.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(socket), service).await;
        })
    }

    /// Any unary gRPC method: answers its name, and `:` and the request's bytes if there are any.
    pub fn grpc(name: &str) -> std::io::Result<Self> {
        Self::start(name, ANY_PORT, |name, socket| async move {
            let Ok(mut connection) = server::handshake(socket).await else { return };
            while let Some(Ok((request, respond))) = connection.accept().await {
                tokio::spawn(echo(name.clone(), request, respond));
            }
        })
    }

    /// TCP: sends its name and a line feed at once, then whatever it receives.
    pub fn tcp(name: &str) -> std::io::Result<Self> {
        Self::start(name, ANY_PORT, |name, mut socket| async move {
            let mut buffer = vec![0; 16 << 10];
            let mut sent = socket.write_all(format!("{name}\n").as_bytes()).await;
            while sent.is_ok() {
                let Ok(length @ 1..) = socket.read(&mut buffer).await else { return };
                sent = socket.write_all(&buffer[..length]).await;
            }
        })
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    fn start<F>(
        name: &str,
        at: SocketAddr,
        serve: impl Fn(Arc<str>, TcpStream) -> F + Send + 'static,
    ) -> std::io::Result<Self>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let _entered = RUNTIME.enter();
        let listener = std::net::TcpListener::bind(at)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let listener = TcpListener::from_std(listener)?;
        let name: Arc<str> = name.into();
        let named = name.clone();
        let task = RUNTIME.spawn(async move {
            // Connections are owned by this task, so that they end with the backend.
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                // Without it Nagle's algorithm may hold back an answer.
                let _ = socket.set_nodelay(true);
                connections.spawn(serve(named.clone(), socket));
                while connections.try_join_next().is_some() {}
            }
        });
        Ok(Self { name, address, task })
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn describe(name: &str, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let headers: Map<String, Value> = request
        .headers()
        .iter()
        .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into()))
        .collect();
    let body = json!({ "name": name, "path": request.uri().to_string(), "headers": headers });
    Response::builder()
        .header("content-type", "application/json")
        .header("x-backend", name)
        .body(Full::from(body.to_string()))
        .expect("a response of fixed parts")
}

/// One unary call.
async fn echo(name: Arc<str>, request: Request<h2::RecvStream>, mut respond: server::SendResponse<Bytes>) {
    let mut body = request.into_body();
    let mut received = BytesMut::new();
    while let Some(Ok(data)) = body.data().await {
        // A reset stream has no window to give back to.
        let _ = body.flow_control().release_capacity(data.len());
        received.extend_from_slice(&data);
    }
    let message = wire::next_message(&mut received).unwrap_or_default();
    let mut answer = BytesMut::from(name.as_bytes());
    if !message.is_empty() {
        answer.put_u8(b':');
        answer.extend_from_slice(&message);
    }
    let mut framed = BytesMut::new();
    framed.put_u8(0);
    framed.put_u32(u32::try_from(answer.len()).expect("a short answer"));
    framed.extend_from_slice(&answer);
    let head = Response::builder().header("content-type", "application/grpc").body(()).expect("a fixed head");
    // The client may be gone.
    let Ok(mut stream) = respond.send_response(head, false) else { return };
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    let _ = stream.send_data(framed.freeze(), false).and_then(|()| stream.send_trailers(trailers));
}
