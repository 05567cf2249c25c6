//! One client in a thousand that stops reading: the others wait no longer for it, and it costs the server little
//! memory, however much changes meanwhile.
//!
//! `cargo test --workspace --test stalled -- --nocapture` tells the figures. How long others wait is judged only when
//! `LATEEN_SLOWER_MAX` says how much longer it may be (1.1), on a machine that does nothing else.

#![allow(clippy::unwrap_used, reason = "a test that can't go on has failed")]
#![allow(clippy::print_stderr, reason = "the figures are what is asked for")]

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use lateen_conformance::{
    case::Variant,
    content,
    context::{Context, Patience, Target},
    control::{Connect, Control},
    stream::Stream,
};
use lateen_xds::ResourceType::{Cluster, RouteConfiguration};
use tokio::sync::mpsc;

/// The clients that read.
const READERS: usize = 999;
/// Changes while the last client reads, and as many while it does not, in turns.
const CHANGES: usize = 20;
const TURN: usize = 5;
/// More than HTTP/2 takes in for a client that does not read.
const LARGE_BYTES: usize = 512 << 10;
/// Changes of what the client is subscribed to, while it does not read: 32 MiB.
const UNREAD: u32 = 64;
/// What of that may stay: the newest, and what was under way.
const GROWTH_BYTES_MAX: u64 = 4 << 20;
/// `lateen conformance serve`, killed when dropped.
struct Server {
    child: Child,
    target: Target,
}

impl Server {
    async fn start() -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_lateen"))
            .args(["--log", "off", "conformance", "serve"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut address = |what: &str| {
            let line = lines.next().expect("the server said where it listens").unwrap();
            line.strip_prefix(what).expect(&line).to_owned()
        };
        let (address, control) = (address("xDS on "), address("control on "));
        let control: Arc<dyn Control> = Arc::new(Connect::new(control));
        let capabilities = control.capabilities().await.unwrap();
        Self { child, target: Target { address, control, capabilities, replica: None } }
    }

    fn group(&self, variant: Variant, name: &str) -> Context {
        // Longer than the test: who waits for the next change has not failed.
        let patience = Patience { within: Duration::from_mins(30), ..Patience::default() };
        Context::new(self.target.clone(), variant, Cluster, name.to_owned(), patience)
    }

    /// Resident memory.
    fn memory_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Clients that acknowledge whatever comes, and tell when it came.
struct Crowd {
    context: Context,
    name: String,
    number: u32,
    came: mpsc::UnboundedReceiver<(u32, Instant)>,
}

impl Crowd {
    async fn gather(context: Context) -> Self {
        let (told, came) = mpsc::unbounded_channel();
        let name = context.name("shared");
        context.put(&name, 1).await.unwrap();
        let mut opening = tokio::task::JoinSet::new();
        for _ in 0..READERS {
            let (context, told, name) = (context.clone(), told.clone(), name.clone());
            opening.spawn(async move {
                let mut stream = context.open().await.unwrap();
                stream.subscribe(Cluster, &[&name]).await.unwrap();
                let response = stream.next_acked(Cluster).await.unwrap();
                assert!(response.get(&name).is_some());
                tokio::spawn(read(stream, context, name, told));
            });
        }
        while let Some(opened) = opening.join_next().await {
            opened.unwrap();
        }
        Self { context, name, number: 1, came }
    }

    /// Changes what all hold; the time until 99 % of them had it.
    async fn change(&mut self) -> Duration {
        self.number += 1;
        let began = Instant::now();
        self.context.put(&self.name, self.number).await.unwrap();
        let mut took = Vec::with_capacity(READERS);
        while took.len() < READERS {
            let (number, at) =
                tokio::time::timeout(Duration::from_secs(30), self.came.recv()).await.unwrap().unwrap();
            assert_eq!(number, self.number, "one change after the other");
            took.push(at.duration_since(began));
        }
        took.sort_unstable();
        took[READERS * 99 / 100]
    }
}

/// Until the server, or the test, ends.
async fn read(
    mut stream: Stream,
    context: Context,
    name: String,
    told: mpsc::UnboundedSender<(u32, Instant)>,
) {
    let mut number = 2;
    while let Ok(response) = stream.next_acked(Cluster).await {
        let body = context.body(&name, number);
        if response.get(&name).and_then(|r| r.body.as_ref()) == Some(&body) {
            let _ = told.send((number, response.at));
            number += 1;
        }
    }
}

/// The client that stops, and something large for it.
struct Stalling {
    context: Context,
    name: String,
    number: u32,
    stream: Stream,
    /// Has what the client that stops has, and reads: when it has a change, the work for that change is done, and what is
    /// measured next does not run beside it.
    witness: Stream,
}

impl Stalling {
    async fn start(context: Context) -> Self {
        let name = context.name("large");
        let stream = context.open_unread().await.unwrap();
        let witness = context.open().await.unwrap();
        let mut client = Self { context, name, number: 1, stream, witness };
        let body = client.body();
        client.context.change().put_body(&client.name, body).apply().await.unwrap();
        for stream in [&mut client.stream, &mut client.witness] {
            stream.subscribe(RouteConfiguration, &[&client.name]).await.unwrap();
        }
        client.catch_up().await;
        client
    }

    async fn change(&mut self) {
        self.number += 1;
        let (name, body) = (self.name.clone(), self.body());
        self.context.change().put_body(&name, body.clone()).apply().await.unwrap();
        self.witness.until(RouteConfiguration, "the change", |k| k.has(&name, &body)).await.unwrap();
    }

    fn body(&self) -> lateen_proto::google::protobuf::Any {
        content::large_routes(&self.name, LARGE_BYTES + self.number as usize)
    }

    async fn catch_up(&mut self) {
        let (name, body) = (self.name.clone(), self.body());
        self.stream.until(RouteConfiguration, "the newest", |k| k.has(&name, &body)).await.unwrap();
    }
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

/// How much longer the others wait, as a ratio of the medians of what 99 % of them waited for each change.
async fn slower(crowd: &mut Crowd, client: &mut Stalling) -> f64 {
    let (mut reading, mut stalled) = (Vec::new(), Vec::new());
    for _ in 0..CHANGES / TURN {
        for _ in 0..TURN {
            client.change().await;
            client.catch_up().await;
            reading.push(crowd.change().await);
        }
        for _ in 0..TURN {
            client.change().await;
            stalled.push(crowd.change().await);
        }
        client.catch_up().await;
    }
    let (reading, stalled) = (median(&mut reading), median(&mut stalled));
    let ratio = stalled.as_secs_f64() / reading.as_secs_f64();
    eprintln!(
        "p99 of {READERS} clients: {reading:?} while the last one reads, {stalled:?} while not: × {ratio:.3}"
    );
    ratio
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_stops_reading_costs_the_others_nothing_and_the_server_little() {
    let server = Server::start().await;
    let mut crowd = Crowd::gather(server.group(Variant::SotwAds, "crowd")).await;
    for variant in [Variant::SotwAds, Variant::DeltaAds] {
        let mut client = Stalling::start(server.group(variant, variant.name())).await;
        let ratio = slower(&mut crowd, &mut client).await;
        if let Ok(most) = std::env::var("LATEEN_SLOWER_MAX") {
            assert!(ratio <= most.parse().unwrap(), "the others wait longer: × {ratio:.3}");
        }

        let before = server.memory_bytes();
        for _ in 0..UNREAD {
            client.change().await;
        }
        let growth = server.memory_bytes().saturating_sub(before);
        eprintln!(
            "{}: memory of {} KiB grew by {} KiB over {UNREAD} changes of {} KiB not read",
            variant.name(),
            before >> 10,
            growth >> 10,
            LARGE_BYTES >> 10
        );
        assert!(growth <= GROWTH_BYTES_MAX, "grew by {growth} bytes");
        client.catch_up().await;
    }
}
