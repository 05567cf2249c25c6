//! The control plane under load, against its floor. `xds-bench --help` says how; `make bench` runs it.
//!
//! Three processes: the server under test (`lateen serve`, or the floor), the clients, and this one, which writes
//! files, waits for the last acknowledgement and reads the kernel's accounts.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a benchmark reports on stdout")]

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write},
    net::SocketAddr,
    path::PathBuf,
    process::{ChildStdin, ChildStdout, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use lateen_tests::{
    bench::{
        canned::{self, Recording},
        client::{self, Plan, Shared, now_us},
        world::World,
    },
    process::Process,
};
use lateen_xds::ResourceType;
use serde_json::{Value, json};
use tokio::sync::{broadcast, watch};

fn main() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.first().map(String::as_str) {
        Some("clients") => tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?
            .block_on(clients(serde_json::from_str(&args[1])?)),
        Some("floor") => tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()?
            .block_on(floor(&PathBuf::from(&args[1]))),
        _ => orchestrate(&Options::parse(&args)?),
    }
}

// ---- the clients' process -------------------------------------------------------------------------------------

async fn clients(settings: Value) -> anyhow::Result<()> {
    let plan = Arc::new(Plan {
        target: settings["target"].as_str().context("target")?.parse()?,
        clients: usize::try_from(settings["clients"].as_u64().context("clients")?)?,
        namespaces: usize::try_from(settings["namespaces"].as_u64().context("namespaces")?)?,
        delta: settings["delta"].as_bool().context("delta")?,
        routes: vec!["80".to_owned()],
        vhds: settings["vhds"].as_bool().unwrap_or(false),
    });
    let shared = Arc::new(Shared::recording());
    let (stop, stopped) = watch::channel(0);
    start(&plan, &shared, &stopped, false);
    let (lines_tx, mut lines) = tokio::sync::mpsc::channel::<String>(8);
    std::thread::spawn(move || {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            if lines_tx.blocking_send(line).is_err() {
                return;
            }
        }
    });
    while let Some(line) = lines.recv().await {
        let words: Vec<&str> = line.split(' ').collect();
        let counts = &shared.counts;
        let bytes = || counts.bytes.load(std::sync::atomic::Ordering::Relaxed);
        match words.as_slice() {
            ["sync"] => {
                counts.until(|c| c.synced.load(std::sync::atomic::Ordering::Acquire) >= plan.clients).await;
                println!("{}", json!({ "at_us": now_us(), "bytes": bytes() }));
            }
            ["watch", kind, count] => {
                let kind = kind_of(kind)?;
                let target = counts.acked(kind) + count.parse::<u64>()?;
                let bytes_before = bytes();
                println!("armed");
                counts.until(|c| c.acked(kind) >= target).await;
                println!("{}", json!({ "at_us": counts.last_us(kind), "bytes": bytes() - bytes_before }));
            }
            ["reconnect"] => {
                let bytes_before = bytes();
                let before = [ResourceType::Cluster, ResourceType::Listener].map(|kind| counts.acked(kind));
                stop.send_modify(|generation| *generation += 1);
                let began = now_us();
                start(&plan, &shared, &stopped, true);
                let target = plan.clients as u64;
                counts
                    .until(|c| {
                        c.acked(ResourceType::Cluster) >= before[0] + target
                            && c.acked(ResourceType::Listener) >= before[1] + target
                    })
                    .await;
                // Whatever is still on its way belongs to the sum: a bounded quiet period.
                let mut seen = bytes();
                loop {
                    tokio::time::sleep(Duration::from_millis(300)).await;
                    if bytes() == seen {
                        break;
                    }
                    seen = bytes();
                }
                let last = [ResourceType::Cluster, ResourceType::Listener].map(|kind| counts.last_us(kind));
                println!(
                    "{}",
                    json!({ "took_us": last[0].max(last[1]) - began, "bytes": bytes() - bytes_before })
                );
            }
            ["record", path] => {
                let record = shared.record.as_ref().context("recording")?.lock().expect("record").clone();
                let frames: Vec<Value> =
                    record.iter().map(|(kind, bytes)| json!([kind.info().url, bytes.to_vec()])).collect();
                std::fs::write(path, serde_json::to_vec(&json!({ "delta": plan.delta, "frames": frames }))?)?;
                println!("recorded");
            }
            _ => bail!("unknown command {line:?}"),
        }
    }
    Ok(())
}

fn start(plan: &Arc<Plan>, shared: &Arc<Shared>, stopped: &watch::Receiver<u32>, again: bool) {
    for index in 0..plan.clients {
        let (plan, shared, stopped) = (plan.clone(), shared.clone(), stopped.clone());
        tokio::spawn(async move {
            // A refused connection is tried again, as every client does; a broken stream is an error.
            for attempt in 1..=20 {
                match client::run(&plan, index, &shared, again, stopped.clone()).await {
                    Err(error) if error.is::<std::io::Error>() || attempt < 20 => {
                        eprintln!("client {index}, attempt {attempt}: {error:#}");
                        tokio::time::sleep(Duration::from_millis(200)).await;
                    }
                    _ => break,
                }
            }
        });
    }
}

fn kind_of(short: &str) -> anyhow::Result<ResourceType> {
    ResourceType::ALL.into_iter().find(|kind| kind.info().short == short).context("no such type")
}

// ---- the floor's process --------------------------------------------------------------------------------------

async fn floor(recording: &PathBuf) -> anyhow::Result<()> {
    let value: Value = serde_json::from_slice(&std::fs::read(recording)?)?;
    let mut frames = Vec::new();
    for frame in value["frames"].as_array().context("frames")? {
        let kind = ResourceType::from_url(frame[0].as_str().context("type")?).context("type")?;
        let bytes: Vec<u8> = serde_json::from_value(frame[1].clone())?;
        frames.push((kind, bytes::Bytes::from(bytes)));
    }
    // The last frame of a type that came after all first answers is the update to push.
    let updates: BTreeMap<ResourceType, bytes::Bytes> = frames.iter().cloned().collect();
    let delta = value["delta"].as_bool().unwrap_or(true);
    let mut first = Vec::new();
    let mut last_seen = BTreeMap::new();
    for (kind, frame) in &frames {
        last_seen.entry(*kind).or_insert_with(Vec::new).push(frame.clone());
    }
    for (kind, mut all) in last_seen {
        if all.len() > 1 && matches!(kind, ResourceType::Endpoints | ResourceType::RouteConfiguration) {
            all.truncate(1);
        }
        first.extend(all.into_iter().map(|frame| (kind, frame)));
    }
    let socket = tokio::net::TcpSocket::new_v4()?;
    socket.bind("127.0.0.1:0".parse()?)?;
    let listener = socket.listen(4096)?;
    println!("{}", listener.local_addr()?);
    let (pushes, _) = broadcast::channel(16);
    let server = tokio::spawn(canned::serve(listener, Arc::new(Recording { first, delta }), pushes.clone()));
    tokio::task::spawn_blocking(move || -> anyhow::Result<()> {
        for line in std::io::stdin().lines() {
            let kind = kind_of(line?.trim())?;
            let frame = canned::framed(updates.get(&kind).context("no update of that type was recorded")?);
            let _ = pushes.send(frame);
        }
        Ok(())
    })
    .await??;
    server.abort();
    Ok(())
}

// ---- the benchmark --------------------------------------------------------------------------------------------

#[derive(Debug)]
struct Options {
    lateen: PathBuf,
    world: World,
    clients: usize,
    delta: bool,
    vhds: bool,
    rounds: usize,
    json: bool,
}

impl Options {
    fn parse(args: &[String]) -> anyhow::Result<Self> {
        let mut options = Self {
            lateen: "target/release/lateen".into(),
            world: World { services: 1000, endpoints: 5, namespaces: 40 },
            clients: 2000,
            delta: true,
            vhds: false,
            rounds: 7,
            json: false,
        };
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            let mut number =
                || -> anyhow::Result<usize> { Ok(args.next().context("a number is missing")?.parse()?) };
            match arg.as_str() {
                "--lateen" => options.lateen = args.next().context("--lateen needs a path")?.into(),
                "--services" => options.world.services = number()?,
                "--endpoints" => options.world.endpoints = number()?,
                "--namespaces" => options.world.namespaces = number()?,
                "--clients" => options.clients = number()?,
                "--rounds" => options.rounds = number()?,
                "--sotw" => options.delta = false,
                "--vhds" => options.vhds = true,
                "--json" => options.json = true,
                _ => bail!(
                    "{arg:?}: xds-bench [--lateen PATH] [--services N] [--endpoints N] [--namespaces N] \
                     [--clients N] [--rounds N] [--sotw] [--vhds] [--json]"
                ),
            }
        }
        Ok(options)
    }
}

/// A child that answers lines with lines.
struct Talker {
    process: Process,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Talker {
    fn start(command: &mut Command) -> anyhow::Result<Self> {
        let mut process = Process::spawn(command.stdin(Stdio::piped()).stdout(Stdio::piped()))?;
        let input = process.child().stdin.take().context("stdin")?;
        let output = BufReader::new(process.child().stdout.take().context("stdout")?);
        Ok(Self { process, input, output })
    }

    fn say(&mut self, line: &str) -> anyhow::Result<()> {
        Ok(writeln!(self.input, "{line}").and_then(|()| self.input.flush())?)
    }

    fn hear(&mut self) -> anyhow::Result<String> {
        let mut line = String::new();
        if self.output.read_line(&mut line)? == 0 {
            bail!("a process of the benchmark ended early");
        }
        Ok(line.trim().to_owned())
    }

    fn hear_json(&mut self) -> anyhow::Result<Value> {
        Ok(serde_json::from_str(&self.hear()?)?)
    }
}

#[derive(Clone, Copy, Debug)]
struct Figure {
    latency: Duration,
    cpu: Duration,
    bytes: u64,
}

fn median(mut figures: Vec<Figure>) -> Figure {
    figures.sort_by_key(|figure| figure.latency);
    let latency = figures[figures.len() / 2].latency;
    figures.sort_by_key(|figure| figure.cpu);
    Figure { latency, ..figures[figures.len() / 2] }
}

/// Lets `act` cause a push and waits for the last acknowledgement.
fn measure(
    server: &Process,
    clients: &mut Talker,
    (kind, count): (ResourceType, usize),
    act: impl FnOnce() -> anyhow::Result<()>,
) -> anyhow::Result<Figure> {
    // What an earlier step left over must be done first.
    std::thread::sleep(Duration::from_millis(150));
    clients.say(&format!("watch {} {count}", kind.info().short))?;
    clients.hear()?;
    let (cpu, began) = (server.cpu(), now_us());
    act()?;
    let done = clients.hear_json()?;
    let latency = Duration::from_micros(done["at_us"].as_u64().context("at_us")?.saturating_sub(began));
    std::thread::sleep(Duration::from_millis(150));
    Ok(Figure { latency, cpu: server.cpu().saturating_sub(cpu), bytes: done["bytes"].as_u64().unwrap_or(0) })
}

fn start_clients(options: &Options, target: SocketAddr) -> anyhow::Result<Talker> {
    let settings = json!({
        "target": target.to_string(), "clients": options.clients, "namespaces": options.world.namespaces,
        "delta": options.delta, "vhds": options.vhds,
    });
    Talker::start(Command::new(std::env::current_exe()?).args(["clients", &settings.to_string()]))
}

fn orchestrate(options: &Options) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let mesh_folder = folder.path().join("mesh");
    let mesh = format!(
        "apiVersion: lateen.io/v1\nkind: MeshConfig\nmetadata: {{name: mesh}}\nspec: {{lateen: {{vhds: {}}}}}\n",
        options.vhds
    );
    options.world.write(&mesh_folder, &mesh)?;
    let mut report = Report::new(options);

    let mut server = Talker::start(Command::new(&options.lateen).args([
        "serve",
        "--adapter",
        &format!("file={}", mesh_folder.display()),
        "--xds-listen",
        "127.0.0.1:0",
        "--admin-listen",
        "127.0.0.1:0",
    ]))?;
    let target: SocketAddr = server.hear()?.trim_start_matches("xDS on ").parse()?;
    server.hear()?;
    std::thread::sleep(Duration::from_secs(2));
    report.memory("server alone", &server.process);

    let (cpu, began) = (server.process.cpu(), now_us());
    let mut clients = start_clients(options, target)?;
    clients.say("sync")?;
    let synced = clients.hear_json()?;
    let latency = Duration::from_micros(synced["at_us"].as_u64().context("at_us")? - began);
    let bytes = synced["bytes"].as_u64().unwrap_or(0);
    report.line(
        "all in sync from cold",
        Figure { latency, cpu: server.process.cpu().saturating_sub(cpu), bytes },
    );
    report.memory("with all clients", &server.process);

    let world = &options.world;
    let everyone = options.clients;
    let endpoints = |round: usize| Ok(world.write_endpoints(&mesh_folder, 7, round + 1)?);
    let mut figures = Vec::new();
    for round in 0..options.rounds {
        figures.push(measure(&server.process, &mut clients, (ResourceType::Endpoints, everyone), || {
            endpoints(round)
        })?);
    }
    let endpoint_change = median(figures);
    report.line("endpoint change, last ACK", endpoint_change);

    let one = world.namespace(10);
    let in_one = (0..everyone).filter(|index| world.namespace(*index) == one).count();
    if !options.vhds {
        // First make the route visible to one namespace only, then change it.
        measure(
            &server.process,
            &mut clients,
            (ResourceType::RouteConfiguration, everyone - in_one),
            || Ok(world.write_exported_route(&mesh_folder, 10, 1, Some(&one))?),
        )?;
        let mut figures = Vec::new();
        for round in 0..options.rounds {
            let kind = (ResourceType::RouteConfiguration, in_one);
            figures.push(measure(&server.process, &mut clients, kind, || {
                Ok(world.write_exported_route(&mesh_folder, 10, round + 2, Some(&one))?)
            })?);
        }
        report.line("VirtualService change, one namespace", median(figures));
    }

    let kind = if options.vhds { ResourceType::VirtualHost } else { ResourceType::RouteConfiguration };
    server.process.reset_peak();
    let mut figures = Vec::new();
    for round in 0..options.rounds.min(5) {
        figures.push(measure(&server.process, &mut clients, (kind, everyone), || {
            Ok(world.write_route(&mesh_folder, 20, round + 2)?)
        })?);
    }
    let route_change = median(figures);
    report.line("VirtualService change, everyone", route_change);
    report.memory("after pushes to all", &server.process);

    let recording = folder.path().join("recording.json");
    clients.say(&format!("record {}", recording.display()))?;
    clients.hear()?;

    let cpu = server.process.cpu();
    clients.say("reconnect")?;
    let again = clients.hear_json()?;
    let latency = Duration::from_micros(again["took_us"].as_u64().unwrap_or(0));
    let bytes = again["bytes"].as_u64().unwrap_or(0);
    report.line(
        "reconnect of all, unchanged",
        Figure { latency, cpu: server.process.cpu().saturating_sub(cpu), bytes },
    );
    report.memory("after reconnect", &server.process);
    drop(clients);
    drop(server);

    measure_floor(options, &recording, &mut report, endpoint_change, route_change, kind)?;
    report.finish();
    Ok(())
}

fn measure_floor(
    options: &Options,
    recording: &std::path::Path,
    report: &mut Report,
    endpoint_change: Figure,
    route_change: Figure,
    route_kind: ResourceType,
) -> anyhow::Result<()> {
    let mut floor = Talker::start(Command::new(std::env::current_exe()?).arg("floor").arg(recording))?;
    let target: SocketAddr = floor.hear()?.parse()?;
    let (cpu, began) = (floor.process.cpu(), now_us());
    let mut clients = start_clients(options, target)?;
    clients.say("sync")?;
    let synced = clients.hear_json()?;
    let latency = Duration::from_micros(synced["at_us"].as_u64().context("at_us")? - began);
    let bytes = synced["bytes"].as_u64().unwrap_or(0);
    report
        .line("floor: all in sync", Figure { latency, cpu: floor.process.cpu().saturating_sub(cpu), bytes });
    let Talker { process, input, output: _ } = &mut floor;
    for (kind, label, ours) in [
        (ResourceType::Endpoints, "endpoint change", endpoint_change),
        (route_kind, "VirtualService change, everyone", route_change),
    ] {
        let mut figures = Vec::new();
        for _ in 0..options.rounds {
            figures.push(measure(process, &mut clients, (kind, options.clients), || {
                writeln!(input, "{}", kind.info().short)?;
                Ok(input.flush()?)
            })?);
        }
        let floor_figure = median(figures);
        report.line(&format!("floor: {label}"), floor_figure);
        report.ratio(label, ours, floor_figure);
    }
    Ok(())
}

struct Report {
    json: bool,
    values: serde_json::Map<String, Value>,
    began: Instant,
}

impl Report {
    fn new(options: &Options) -> Self {
        let World { services, endpoints, namespaces } = options.world;
        let variant = if options.delta { "delta" } else { "SotW" };
        let vhds = if options.vhds { ", VHDS" } else { "" };
        println!(
            "{services} services x {endpoints} endpoints in {namespaces} namespaces, {} {variant} ADS clients{vhds}",
            options.clients
        );
        println!("{:<42} {:>10} {:>10} {:>12}", "", "latency", "CPU", "bytes");
        Self { json: options.json, values: serde_json::Map::new(), began: Instant::now() }
    }

    #[allow(clippy::cast_precision_loss, reason = "figures for people")]
    fn line(&mut self, label: &str, figure: Figure) {
        let ms = |duration: Duration| duration.as_secs_f64() * 1e3;
        println!(
            "{label:<42} {:>7.1} ms {:>7.1} ms {:>9.3} MB",
            ms(figure.latency),
            ms(figure.cpu),
            figure.bytes as f64 / 1e6
        );
        let value =
            json!({ "latency_ms": ms(figure.latency), "cpu_ms": ms(figure.cpu), "bytes": figure.bytes });
        self.values.insert(label.to_owned(), value);
    }

    #[allow(clippy::cast_precision_loss, reason = "figures for people")]
    fn memory(&mut self, label: &str, process: &Process) {
        let (now, peak) = process.memory();
        println!("{:<42} {:>7.1} MB RSS {:>7.1} MB peak", label, now as f64 / 1e6, peak as f64 / 1e6);
        self.values.insert(format!("memory {label}"), json!({ "rss": now, "peak": peak }));
    }

    fn ratio(&mut self, label: &str, ours: Figure, floor: Figure) {
        let ratio = |a: Duration, b: Duration| a.as_secs_f64() / b.as_secs_f64().max(1e-9);
        let (latency, cpu) = (ratio(ours.latency, floor.latency), ratio(ours.cpu, floor.cpu));
        println!("{:<42} {latency:>8.2} x {cpu:>8.2} x", format!("ratio to the floor: {label}"));
        self.values.insert(format!("ratio {label}"), json!({ "latency": latency, "cpu": cpu }));
    }

    fn finish(self) {
        println!("took {:.0} s", self.began.elapsed().as_secs_f64());
        if self.json {
            println!("{}", Value::Object(self.values));
        }
    }
}
