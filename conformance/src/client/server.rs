//! The scripted server's wire: every stream that the client opens, and every request on it, is told to the case.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Instant,
};

use bytes::Bytes;
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
    service::TowerToHyperService,
};
use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
    task::{JoinHandle, JoinSet},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming, server::Grpc};
use tower::service_fn;

use crate::wire::RawCodec;

/// Events and responses that may wait; more hold the client back.
const WAITING_MAX: usize = 1024;

/// How the server ends a stream.
#[derive(Clone, Debug)]
pub enum Stop {
    /// With this status; code 0 is a clean end.
    Status(Status),
    /// By closing the connection.
    Connection,
}

/// What the client did.
#[derive(Debug)]
pub(crate) enum Event {
    /// A connection was made, or refused.
    Connection(Instant),
    /// It opened a stream.
    Opened { stream: usize, path: String, answers: mpsc::Sender<Result<Bytes, Status>> },
    /// It sent a message.
    Message { stream: usize, bytes: Bytes, at: Instant },
    /// Its half of the stream, or the whole of it, has ended.
    Closed { stream: usize },
}

/// A listening scripted server. Dropping it ends it and all its connections.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) events: mpsc::Receiver<Event>,
    refusing: Arc<AtomicBool>,
    /// Counted up to close all connections there are.
    generation: watch::Sender<u64>,
    accepting: JoinHandle<()>,
}

impl Server {
    pub(crate) async fn start() -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (told, events) = mpsc::channel(WAITING_MAX);
        let refusing = Arc::new(AtomicBool::new(false));
        let (generation, closing) = watch::channel(0);
        let accepting = tokio::spawn(accept(listener, told, Arc::clone(&refusing), closing));
        Ok(Self { address, events, refusing, generation, accepting })
    }

    /// From now on, connections are closed as soon as they are made, or are not.
    pub(crate) fn refuse(&self, refuse: Refuse) {
        self.refusing.store(matches!(refuse, Refuse::All), Ordering::SeqCst);
    }

    /// Closes all connections there are.
    pub(crate) fn disconnect(&self) {
        self.generation.send_modify(|generation| *generation += 1);
    }
}

/// Which connections are refused.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Refuse {
    All,
    None,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(
    listener: TcpListener,
    told: mpsc::Sender<Event>,
    refusing: Arc<AtomicBool>,
    closing: watch::Receiver<u64>,
) {
    let streams = Arc::new(AtomicUsize::new(0));
    // Aborted with this task, because the set is dropped with it.
    let mut connections = JoinSet::new();
    while let Ok((socket, _)) = listener.accept().await {
        while connections.try_join_next().is_some() {}
        if told.send(Event::Connection(Instant::now())).await.is_err() {
            return;
        }
        if refusing.load(Ordering::SeqCst) {
            continue;
        }
        let (told, streams, mut closing) = (told.clone(), Arc::clone(&streams), closing.clone());
        closing.mark_unchanged();
        connections.spawn(async move {
            let service = service_fn(move |request: http::Request<Incoming>| {
                let (told, stream) = (told.clone(), streams.fetch_add(1, Ordering::SeqCst) + 1);
                async move { Ok::<_, Infallible>(serve(request, told, stream).await) }
            });
            let builder = auto::Builder::new(TokioExecutor::new()).http2_only();
            let connection =
                builder.serve_connection(TokioIo::new(socket), TowerToHyperService::new(service));
            tokio::select! {
                // How a connection ends is the client's affair, and is seen by its streams' ends.
                _ = connection => {}
                _ = closing.changed() => {}
            }
        });
    }
}

async fn serve(
    request: http::Request<Incoming>,
    told: mpsc::Sender<Event>,
    stream: usize,
) -> http::Response<tonic::body::Body> {
    let path = request.uri().path().to_owned();
    let (answers, outgoing) = mpsc::channel(WAITING_MAX);
    let mut outgoing = Some(outgoing);
    let one = service_fn(move |request: tonic::Request<Streaming<Bytes>>| {
        let (told, path, answers) = (told.clone(), path.clone(), answers.clone());
        let mut messages = request.into_inner();
        let outgoing = outgoing.take();
        async move {
            let outgoing = outgoing.ok_or_else(|| Status::internal("a call is answered once"))?;
            // The events stand in the order of the stream, so they are all told by one task.
            tokio::spawn(async move {
                let mut event = Event::Opened { stream, path, answers };
                loop {
                    let last = matches!(event, Event::Closed { .. });
                    if told.send(event).await.is_err() || last {
                        return;
                    }
                    event = match messages.message().await {
                        Ok(Some(bytes)) => Event::Message { stream, bytes, at: Instant::now() },
                        Ok(None) | Err(_) => Event::Closed { stream },
                    };
                }
            });
            Ok(tonic::Response::new(ReceiverStream::new(outgoing)))
        }
    });
    Grpc::new(RawCodec)
        .apply_max_message_size_config(Some(usize::MAX), Some(usize::MAX))
        .streaming(one, request)
        .await
}

/// The senders of answers, by stream.
pub(crate) type Answers = BTreeMap<usize, mpsc::Sender<Result<Bytes, Status>>>;
