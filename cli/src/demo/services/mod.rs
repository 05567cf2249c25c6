//! The applications. Each listens on a port of 127.0.0.1 that the system chooses and knows nothing of the mesh.

mod grpc;
mod http;
mod shop;
mod tcp;
mod websocket;

use std::{
    collections::BTreeMap,
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{net::TcpListener, task::JoinSet};

pub use self::grpc::{Added, Frames, Item, Messages, Streamed, Total, framed, streamed};
use super::plan::{Speaks, Workload};

/// Different keys that are remembered; further ones are not told apart.
const KEYS_MAX: usize = 10_000;
/// Pause after a connection could not be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// One application: who it is and what it has seen.
#[derive(Debug)]
pub struct App {
    /// Name of the service.
    pub service: &'static str,
    /// Label of the instance.
    pub version: &'static str,
    /// Name of the instance.
    pub instance: &'static str,
    /// Share of its requests that fail of themselves: one in so many, 0 for none.
    fails_one_in: u64,
    /// All requests are answered with 503.
    broken: AtomicBool,
    received: AtomicU64,
    // Locks rather than a task: they are held for one look-up, by connections of their own.
    marks: Mutex<BTreeMap<String, u64>>,
    attempts: Mutex<BTreeMap<String, u64>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic while it was held leaves a count that is one off at most.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn count(counts: &Mutex<BTreeMap<String, u64>>, key: &str) -> u64 {
    let mut counts = lock(counts);
    if !counts.contains_key(key) && counts.len() >= KEYS_MAX {
        return u64::MAX;
    }
    let count = counts.entry(key.to_owned()).or_default();
    *count += 1;
    *count
}

impl App {
    /// An application that has seen nothing.
    pub fn new(service: &'static str, version: &'static str, instance: &'static str) -> Self {
        Self {
            service,
            version,
            instance,
            fails_one_in: if service == "flaky" { 20 } else { 0 },
            broken: AtomicBool::new(false),
            received: AtomicU64::new(0),
            marks: Mutex::default(),
            attempts: Mutex::default(),
        }
    }

    /// Makes it fail always, or mends it.
    pub fn set_broken(&self, broken: bool) {
        self.broken.store(broken, Ordering::Relaxed);
    }

    /// Requests received with this value of `x-demo-mark`.
    pub fn marked(&self, mark: &str) -> u64 {
        lock(&self.marks).get(mark).copied().unwrap_or(0)
    }

    fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Relaxed)
    }

    /// Notes a request; is it one that fails of itself?
    fn receive(&self, mark: Option<&str>) -> bool {
        let number = self.received.fetch_add(1, Ordering::Relaxed) + 1;
        if let Some(mark) = mark {
            count(&self.marks, mark);
        }
        self.is_broken() || (self.fails_one_in > 0 && number.is_multiple_of(self.fails_one_in))
    }

    /// Which attempt with this key is this?
    fn attempt(&self, key: &str) -> u64 {
        count(&self.attempts, key)
    }

    fn statistics(&self) -> serde_json::Value {
        serde_json::json!({
            "service": self.service,
            "instance": self.instance,
            "broken": self.is_broken(),
            "received": self.received.load(Ordering::Relaxed),
            "marks": *lock(&self.marks),
        })
    }
}

/// Where the applications' calls go.
#[derive(Clone, Copy, Debug)]
pub struct Upstreams {
    /// The sidecar's listener for services that speak HTTP.
    pub http: SocketAddr,
    /// Its listener for the ledger.
    pub tcp: SocketAddr,
}

/// An application whose socket is open.
#[derive(Debug)]
pub struct Bound {
    /// What it is.
    pub app: Arc<App>,
    speaks: Speaks,
    listener: TcpListener,
}

impl Bound {
    /// Opens the socket of a workload's application.
    pub async fn workload(workload: &Workload) -> io::Result<Self> {
        Self::bind(App::new(workload.service, workload.version, workload.name), workload.speaks).await
    }

    /// Opens the socket of an application.
    pub async fn bind(app: App, speaks: Speaks) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        Ok(Self { app: Arc::new(app), speaks, listener })
    }

    /// Where it listens.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until its task is aborted.
    pub async fn run(self, upstreams: Upstreams) {
        let Self { app, speaks, listener } = self;
        // Dropped with this future: its connections end with it.
        let mut connections = JoinSet::new();
        loop {
            let stream = match listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // Out of descriptors, most likely; they come back as connections end.
                    tracing::warn!(service = app.service, %error, "a connection was not accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            // Latency matters more than packets here; a failure only costs some of it.
            let _ = stream.set_nodelay(true);
            let app = app.clone();
            match speaks {
                Speaks::Tcp => connections.spawn(tcp::echo(app, stream)),
                Speaks::Http1 if app.service == "shop" => {
                    connections.spawn(shop::serve(app, upstreams, stream))
                }
                Speaks::Http1 | Speaks::Http2 => connections.spawn(http::serve(app, stream)),
                Speaks::Grpc => connections.spawn(grpc::serve(app, stream)),
                Speaks::WebSocket => connections.spawn(websocket::serve(app, stream)),
            };
            while connections.try_join_next().is_some() {}
        }
    }
}
