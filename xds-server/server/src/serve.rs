//! Wires sockets, core and sources together and runs them until told to stop.

use std::{io, path::PathBuf, time::Duration};

use lateen_adapter::{Adapter, ToCore};
use lateen_model::SourceId;
use lateen_xds::ResourceType;
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, transport::Server};
use tonic_health::{ServingStatus, server::HealthReporter};
use tonic_reflection::server::Builder;

use crate::{
    admin,
    core::{Core, CoreConfig, CoreEnds, Query, SourceEnds},
    csds,
    listen::{ListenAddress, ListenError, Listener, accepted},
    lrs,
    metrics::Metrics,
    service::{ADS, StreamEnds, StreamLimits, router},
    state,
    tls::{TlsError, TlsFiles},
};

/// Requests of all streams that wait for the core; when full, reading from clients pauses.
/// A first request names a thousand resources and takes 150 kB decoded: few are let in at once.
const STREAM_EVENTS_MAX: usize = 64;
/// What a client may send before the server has read it, for a stream and for a connection.
const WINDOWS: (u32, u32) = (32 << 10, 64 << 10);
/// Batches of all sources that wait for the core; when full, adapters pause.
const SOURCE_BATCHES_MAX: usize = 64;
/// Questions of the admin port that wait for the core.
const QUERIES_MAX: usize = 16;
/// Silence after which a connection is pinged, and how long the answer may take.
const KEEP_ALIVE: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(20));
/// Streams of one connection.
const STREAMS_PER_CONNECTION_MAX: u32 = 128;

/// Settings of a server.
#[derive(Clone, Debug)]
pub struct ServeConfig {
    /// Where xDS is served; several are allowed (a loopback port and a Unix socket).
    pub xds: Vec<ListenAddress>,
    /// Certificate files; every TCP address then speaks TLS.
    pub tls: Option<TlsFiles>,
    /// The admin port; loopback only.
    pub admin: Option<ListenAddress>,
    /// Settings of the core.
    pub core: CoreConfig,
    /// Limits of streams.
    pub limits: StreamLimits,
    /// How long open streams may finish at the end.
    pub drain: Duration,
}

/// Why a server doesn't start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// No place to listen on.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The certificate files can't be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A socket failed.
    #[error("socket failed")]
    Io(#[from] io::Error),
    /// gRPC failed.
    #[error("gRPC server failed")]
    Grpc(#[from] tonic::transport::Error),
    /// The descriptors of the reflection service are damaged.
    #[error("the descriptors of the reflection service are damaged")]
    Reflection(#[from] tonic_reflection::server::Error),
    /// The core ended on its own.
    #[error("the core stopped: {0}")]
    Core(String),
}

/// A server whose sockets are open.
#[derive(Debug)]
pub struct Bound {
    config: ServeConfig,
    xds: Vec<Listener>,
    admin: Option<Listener>,
    tls_reload: Option<TlsReload>,
    queries: (mpsc::Sender<Query>, mpsc::Receiver<Query>),
}

type TlsReload = BoxedFuture;

/// A future without a name.
struct BoxedFuture(std::pin::Pin<Box<dyn Future<Output = ()> + Send>>);

impl std::fmt::Debug for BoxedFuture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("future")
    }
}

impl Bound {
    /// Opens the sockets, so that their addresses are known and errors show before anything runs.
    pub async fn bind(config: ServeConfig) -> Result<Self, ServeError> {
        let (tls, tls_reload) = match config.tls.clone().map(TlsFiles::watch).transpose()? {
            Some((receiver, reload)) => (Some(receiver), Some(BoxedFuture(Box::pin(reload)))),
            None => (None, None),
        };
        let mut xds = Vec::new();
        for address in &config.xds {
            xds.push(Listener::bind(address, tls.clone()).await?);
        }
        let admin = match &config.admin {
            Some(address) => Some(Listener::bind(address, None).await?),
            None => None,
        };
        Ok(Self { config, xds, admin, tls_reload, queries: mpsc::channel(QUERIES_MAX) })
    }

    /// The xDS addresses, with the ports the system chose.
    pub fn xds_addresses(&self) -> io::Result<Vec<ListenAddress>> {
        self.xds.iter().map(Listener::address).collect()
    }

    /// The admin address.
    pub fn admin_address(&self) -> io::Result<Option<ListenAddress>> {
        self.admin.as_ref().map(Listener::address).transpose()
    }

    /// Where to ask the core, once it runs.
    pub fn queries(&self) -> mpsc::Sender<Query> {
        self.queries.0.clone()
    }

    /// Serves until `shutdown` turns true; then says so by health, ends streams and drains.
    pub async fn run(
        self,
        mut adapters: Vec<Box<dyn Adapter>>,
        mut shutdown: watch::Receiver<bool>,
    ) -> Result<(), ServeError> {
        let Self { config, xds, admin, tls_reload, queries: (queries_tx, queries) } = self;
        let metrics = Metrics::default();
        let (stream_events, streams) = mpsc::channel(STREAM_EVENTS_MAX);
        let (runnable_tx, runnable) = mpsc::unbounded_channel();
        let (sources_tx, sources) = mpsc::channel(SOURCE_BATCHES_MAX);
        let (ready_tx, ready) = watch::channel(false);
        let ends =
            CoreEnds { streams, runnable, sources, queries, ready: ready_tx, shutdown: shutdown.clone() };
        let ids: Vec<SourceId> = adapters.iter().map(|adapter| adapter.source()).collect();
        let source_ends = source_ends(&mut adapters, config.core.state.clone()).await;
        let core = Core::new(config.core.clone(), &ids, metrics.clone(), source_ends);
        // A task beside those of the connections, which it wakes by the thousand: from a thread of its own that costs
        // half as much again. While it compiles it keeps one worker, and the others serve.
        let core_done = tokio::spawn(core.run(ends));

        let mut tasks = JoinSet::new();
        spawn_sources(&mut tasks, adapters, &sources_tx);
        drop(sources_tx);
        if let Some(reload) = tls_reload {
            tasks.spawn(async move {
                reload.0.await;
                Ok(())
            });
        }
        let stream_ends = StreamEnds::new(stream_events, runnable_tx, config.limits);
        let routes =
            grpc_routes(&stream_ends, &queries_tx, &metrics, ready.clone(), shutdown.clone()).await?;
        let (mut listeners, mut servers) = (JoinSet::new(), JoinSet::new());
        for listener in xds {
            let (accepted_tx, incoming) = accepted();
            listeners.spawn(listener.run(accepted_tx));
            let server = grpc_server().add_routes(routes.clone().into());
            let mut stop = shutdown.clone();
            let stopped = async move {
                // An error means that the sender is gone, which is a stop as well.
                let _ = stop.wait_for(|stop| *stop).await;
            };
            servers.spawn(server.serve_with_incoming_shutdown(ReceiverStream::new(incoming), stopped));
        }
        if let Some(listener) = admin {
            let (accepted_tx, incoming) = accepted();
            tasks.spawn(async move {
                listener.run(accepted_tx).await;
                Ok(())
            });
            let app = admin::router(queries_tx, ready, metrics);
            let server = Server::builder().accept_http1(true).add_routes(app.into());
            tasks.spawn(server.serve_with_incoming(ReceiverStream::new(incoming)));
        }
        let told = shutdown.clone();
        tokio::select! {
            _ = shutdown.wait_for(|stop| *stop) => {}
            // The core ends when it is told to stop, perhaps before this is seen here.
            _ = core_done => {
                if !*told.borrow() {
                    return Err(ServeError::Core("it ended; see the log".to_owned()));
                }
            }
            Some(ended) = servers.join_next() => ended.map_err(|error| ServeError::Core(error.to_string()))??,
        }
        let drained =
            async { while listeners.join_next().await.is_some() || servers.join_next().await.is_some() {} };
        if tokio::time::timeout(config.drain, drained).await.is_err() {
            tracing::info!("some streams did not end in time and are cut");
        }
        Ok(())
    }
}

type Tasks = JoinSet<Result<(), tonic::transport::Error>>;

/// What was saved, where to save, and the ways back. Without a place to save it serves all the same.
async fn source_ends(adapters: &mut [Box<dyn Adapter>], folder: Option<PathBuf>) -> SourceEnds {
    let mut ends = SourceEnds::default();
    for adapter in adapters {
        let (sink, feed) = lateen_adapter::status_feed();
        adapter.statuses(feed);
        if !sink.is_closed() {
            ends.statuses.insert(adapter.source(), sink);
        }
    }
    let Some(folder) = folder else { return ends };
    match tokio::task::spawn_blocking(move || state::open(&folder)).await {
        Ok((saved, Ok(writer))) => (ends.saved, ends.writer) = (saved, Some(writer)),
        Ok((saved, Err(error))) => {
            let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
            let sources_saved = saved.len();
            ends.saved = saved;
            tracing::warn!(%error, cause, sources_saved, "what sources say from now on is not saved");
        }
        Err(error) => tracing::error!(%error, "reading what was saved panicked; nothing is saved"),
    }
    ends
}

fn spawn_sources(tasks: &mut Tasks, adapters: Vec<Box<dyn Adapter>>, sources: &mpsc::Sender<ToCore>) {
    for adapter in adapters {
        let sources = sources.clone();
        tasks.spawn(async move {
            lateen_adapter::supervise(adapter, sources).await;
            Ok(())
        });
    }
}

fn grpc_server() -> Server {
    Server::builder()
        .initial_stream_window_size(WINDOWS.0)
        .initial_connection_window_size(WINDOWS.1)
        .http2_keepalive_interval(Some(KEEP_ALIVE.0))
        .http2_keepalive_timeout(Some(KEEP_ALIVE.1))
        .max_concurrent_streams(STREAMS_PER_CONNECTION_MAX)
        .http2_max_header_list_size(16 << 10)
}

async fn grpc_routes(
    ends: &StreamEnds,
    queries: &mpsc::Sender<Query>,
    metrics: &Metrics,
    ready: watch::Receiver<bool>,
    shutdown: watch::Receiver<bool>,
) -> Result<axum::Router, ServeError> {
    let (reporter, health) = tonic_health::server::health_reporter();
    // It begins as serving otherwise.
    reporter.set_service_status("", ServingStatus::NotServing).await;
    tokio::spawn(report_health(reporter, ready, shutdown));
    let reflection = service_names()
        .into_iter()
        .fold(tonic_reflection::server::Builder::configure(), Builder::with_service_name)
        .register_encoded_file_descriptor_set(lateen_proto::reflect::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()?;
    Ok(router(ends)
        .merge(csds::router(queries))
        .merge(lrs::router(metrics))
        .route_service("/grpc.health.v1.Health/{method}", health)
        .route_service("/grpc.reflection.v1.ServerReflection/{method}", reflection)
        .fallback(unknown_method))
}

/// gRPC says so with a status, not with 404.
/// <https://github.com/grpc/grpc/blob/master/doc/statuscodes.md>
async fn unknown_method(uri: http::Uri) -> http::Response<axum::body::Body> {
    Status::unimplemented(format!("{} is not served here", uri.path())).into_http()
}

/// What is served; the descriptors hold many more services.
fn service_names() -> Vec<&'static str> {
    let mut names: Vec<_> = ResourceType::ALL.into_iter().map(|kind| kind.info().service).collect();
    names.extend([
        ADS,
        csds::SERVICE,
        lrs::SERVICE,
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
    ]);
    names
}

/// Serving from the first listing of every source until the server stops.
async fn report_health(
    reporter: HealthReporter,
    mut ready: watch::Receiver<bool>,
    mut shutdown: watch::Receiver<bool>,
) {
    while !*shutdown.borrow_and_update() {
        let serving = *ready.borrow_and_update();
        let status = if serving { ServingStatus::Serving } else { ServingStatus::NotServing };
        reporter.set_service_status("", status).await;
        // An error means that the sender is gone, which is the end, too.
        let changed = tokio::select! {
            changed = ready.changed() => changed,
            changed = shutdown.changed() => changed,
        };
        if changed.is_err() {
            break;
        }
    }
    reporter.set_service_status("", ServingStatus::NotServing).await;
}

/// Path of a Unix socket or address in the form that clients are given.
pub fn bootstrap_target(address: &ListenAddress) -> String {
    match address {
        ListenAddress::Tcp(tcp) => tcp.to_string(),
        ListenAddress::Unix(path) => format!("unix:{}", absolute(path).display()),
    }
}

fn absolute(path: &PathBuf) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.clone())
}
