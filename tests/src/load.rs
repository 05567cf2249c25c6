//! An open-loop load: requests become due at a fixed rate, whatever happened to those before.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, sync::mpsc, task::JoinHandle, time};

use crate::backend::RUNTIME;

/// A request that took longer has failed.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Failures that are kept in words.
const FAILURES_KEPT: usize = 5;

/// What happened until now.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Requests answered with 200.
    pub ok: u64,
    /// All others.
    pub failed: u64,
    /// The first few failures: when, for which host, and why.
    pub failures: Vec<String>,
    /// Answers by the name of the backend.
    pub by_backend: BTreeMap<String, u64>,
    /// The longest time from when a request was due to its answer.
    pub slowest: Duration,
}

/// A running load.
#[derive(Debug)]
pub struct Load {
    shared: Arc<Shared>,
    tasks: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    address: SocketAddr,
    began: Instant,
    host: Mutex<String>,
    outcome: Mutex<Outcome>,
}

impl Load {
    /// Starts `rate` requests a second for `host` through `address`, over `connections` keep-alive connections.
    pub fn start(address: SocketAddr, host: &str, rate: u32, connections: usize) -> Self {
        let shared = Arc::new(Shared {
            address,
            began: Instant::now(),
            host: Mutex::new(host.to_owned()),
            outcome: Mutex::default(),
        });
        let mut tasks = Vec::new();
        let mut workers = Vec::new();
        for _ in 0..connections {
            // Due requests queue up while a connection is busy; the queue ends with the test.
            let (due, queue) = mpsc::unbounded_channel();
            workers.push(due);
            tasks.push(RUNTIME.spawn(work(shared.clone(), queue)));
        }
        tasks.push(RUNTIME.spawn(async move {
            let mut ticks = time::interval(Duration::from_secs(1) / rate);
            ticks.set_missed_tick_behavior(time::MissedTickBehavior::Burst);
            for worker in (0..workers.len()).cycle() {
                let due = ticks.tick().await;
                if workers[worker].send(due).is_err() {
                    return;
                }
            }
        }));
        Self { shared, tasks }
    }

    /// Asks for another host from the next request on.
    pub fn switch(&self, host: &str) {
        host.clone_into(&mut self.shared.host.lock().expect("host"));
    }

    /// What happened until now.
    pub fn outcome(&self) -> Outcome {
        self.shared.outcome.lock().expect("outcome").clone()
    }

    /// Waits until `count` more requests were finished.
    pub fn wait(&self, count: u64) -> anyhow::Result<()> {
        let finished = |outcome: &Outcome| outcome.ok + outcome.failed;
        let before = finished(&self.outcome());
        crate::server::until("more requests finished", || Ok(finished(&self.outcome()) >= before + count))
    }

    /// Ends the load and says what happened.
    pub fn stop(self) -> Outcome {
        self.tasks.iter().for_each(JoinHandle::abort);
        self.outcome()
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Outcome {
    /// Fails if any request did.
    pub fn assert_none_failed(&self) {
        assert!(self.ok > 0, "nothing was asked");
        assert_eq!(
            self.failed,
            0,
            "{} of {} failed: {:#?}",
            self.failed,
            self.ok + self.failed,
            self.failures
        );
    }
}

type Connection = SendRequest<Empty<Bytes>>;

async fn work(shared: Arc<Shared>, mut queue: mpsc::UnboundedReceiver<time::Instant>) {
    let mut connection = None;
    while let Some(due) = queue.recv().await {
        let host = shared.host.lock().expect("host").clone();
        let result = time::timeout(TIMEOUT, ask(&shared, &mut connection, &host)).await;
        let result = result.context("no answer in time").and_then(|result| result);
        let mut outcome = shared.outcome.lock().expect("outcome");
        outcome.slowest = outcome.slowest.max(due.elapsed());
        match result {
            Ok(backend) => {
                outcome.ok += 1;
                *outcome.by_backend.entry(backend).or_default() += 1;
            }
            Err(error) => {
                connection = None;
                outcome.failed += 1;
                if outcome.failures.len() < FAILURES_KEPT {
                    let at = shared.began.elapsed();
                    outcome.failures.push(format!("{at:?} {host}: {error:#}"));
                }
            }
        }
    }
}

/// One request; the name of the backend that answered.
async fn ask(shared: &Shared, connection: &mut Option<Connection>, host: &str) -> anyhow::Result<String> {
    let request = || Request::get("/").header("host", host).body(Empty::<Bytes>::new());
    let answer = loop {
        let sender = match connection {
            Some(sender) if !sender.is_closed() => sender,
            _ => connection.insert(connect(shared.address).await?),
        };
        if sender.ready().await.is_err() {
            *connection = None;
            continue;
        }
        match sender.try_send_request(request()?).await {
            Ok(answer) => break answer,
            // The connection was closed while idle and nothing was sent: as any HTTP client does, on a new one.
            Err(error) if error.message().is_some() => *connection = None,
            Err(error) => return Err(error.into_error().into()),
        }
    };
    let status = answer.status();
    let backend = answer.headers().get("x-backend").and_then(|name| name.to_str().ok()).map(str::to_owned);
    let flags = answer.headers().get("x-envoy-response-flags").cloned();
    let body = answer.into_body().collect().await.context("body")?.to_bytes();
    ensure!(status == 200, "{status} {flags:?} {}", String::from_utf8_lossy(&body));
    backend.context("no backend says that it has answered")
}

async fn connect(address: SocketAddr) -> anyhow::Result<Connection> {
    let socket = TcpStream::connect(address).await.context("connect")?;
    socket.set_nodelay(true)?;
    let (sender, connection) = http1::handshake(TokioIo::new(socket)).await?;
    tokio::spawn(connection);
    Ok(sender)
}
