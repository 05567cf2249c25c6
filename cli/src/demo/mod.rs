//! `lateen demo`: six small services and a front, each instance behind a stock Envoy, a gateway, the control plane,
//! and a folder of YAML that says what becomes of the traffic. All in one process and its children, without root.

mod check;
mod client;
mod envoys;
mod load;
mod mesh;
mod plan;
mod services;
mod tour;

use std::{
    fmt::Write as _,
    fs, io,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use lateen_adapter_file::FileAdapter;
use lateen_xds_server::{
    core::CoreConfig,
    listen::ListenAddress,
    serve::{Bound, ServeConfig},
    service::StreamLimits,
};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
    task::JoinSet,
};

use self::{
    client::Http,
    envoys::{Envoy, Starting},
    plan::{NAMESPACE, Ports, SHOP, Speaks, WORKLOADS, Workload},
    services::{App, Upstreams},
};
use crate::{
    args::{Bootstrap, Demo as Args, Streams},
    commands::bootstrap::bootstrap,
};

/// Where `lateen status` looks for the admin port.
const ADMIN: &str = "127.0.0.1:15014";
/// How long it may take from the start to the first answer.
const READY_LIMIT: Duration = Duration::from_mins(1);
/// How often it is looked whether there is an answer.
const POLL: Duration = Duration::from_millis(20);

/// Everything that runs. What it started ends when it is dropped.
struct Running {
    folder: PathBuf,
    ports: Ports,
    apps: Vec<(Workload, Arc<App>, SocketAddr)>,
    envoys: Vec<Envoy>,
    admin: Option<String>,
    stop: watch::Sender<bool>,
    tasks: JoinSet<anyhow::Result<()>>,
    // Last, so that the Envoys are gone before their files are.
    _scratch: tempfile::TempDir,
}

/// Runs until a signal, or until the check is through.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    let stopped = async {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hang_up.recv() => {}
        }
    };
    tokio::select! {
        outcome = demo(&args) => outcome,
        () = stopped => {
            println!("\nstopped; the files stay in {}", args.folder.display());
            // A check that was cut short has not passed.
            Ok(if args.check { ExitCode::from(crate::output::EXIT_FAILED) } else { ExitCode::SUCCESS })
        }
    }
}

async fn demo(args: &Args) -> anyhow::Result<ExitCode> {
    let begun = Instant::now();
    let mut running = start(args).await?;
    let first = running.until_answered().await?;
    println!("first 200 through gateway and sidecars after {:.1} s", (begun.elapsed()).as_secs_f64());
    println!("  {}", first.trim_end());
    if args.check {
        let passed = check::run(&running).await?;
        running.end().await;
        return Ok(if passed { ExitCode::SUCCESS } else { ExitCode::from(crate::output::EXIT_FINDINGS) });
    }
    println!("{}", tour::text(&running));
    let gateway = running.gateway();
    tokio::select! {
        () = load::run(gateway, args.rate) => unreachable!("the load runs until it is dropped"),
        Some(ended) = running.tasks.join_next() => ended??,
    }
    bail!("a part of the demo ended on its own")
}

async fn start(args: &Args) -> anyhow::Result<Running> {
    let program = envoys::find(args.envoy.as_deref())?;
    let ports = Ports::choose(ingress_port(args)?)?;
    let (stop, stopped) = watch::channel(false);
    let mut tasks = JoinSet::new();

    let upstreams = Upstreams {
        http: SocketAddr::new(SHOP.egress(), ports.http),
        tcp: SocketAddr::new(SHOP.egress(), ports.tcp),
    };
    let mut apps = Vec::new();
    for workload in WORKLOADS {
        let bound = services::Bound::workload(&workload).await.context("no port for a service")?;
        apps.push((workload, bound.app.clone(), bound.address()?));
        tasks.spawn(async move {
            bound.run(upstreams).await;
            Ok(())
        });
    }
    let outside = services::Bound::bind(App::new("outside", "v1", "outside"), Speaks::Http1).await?;
    let outside_address = outside.address()?;
    tasks.spawn(async move {
        outside.run(upstreams).await;
        Ok(())
    });

    let addresses: Vec<(Workload, SocketAddr)> =
        apps.iter().map(|(workload, _, address)| (*workload, *address)).collect();
    write_files(&args.folder, &mesh::Addresses { ports, apps: &addresses, outside: outside_address })
        .with_context(|| format!("can't write the files in {}", args.folder.display()))?;
    println!("configuration: {}", args.folder.display());
    for finding in mesh::findings(&args.folder) {
        println!("  {finding}");
    }

    let bound = control_plane().await?;
    let xds = bound.xds_addresses()?.first().map(ToString::to_string).context("no xDS address")?;
    let admin = bound.admin_address()?.map(|address| address.to_string());
    println!("control plane: xDS on {xds}, admin on {}", admin.as_deref().unwrap_or("-"));
    let adapter = FileAdapter::new(args.folder.clone());
    tasks.spawn(async move { Ok(bound.run(vec![Box::new(adapter)], stopped).await?) });

    println!("starting {} Envoys ({})", WORKLOADS.len() + 1, program.display());
    let scratch = tempfile::Builder::new().prefix("lateen-demo-").tempdir()?;
    let mut starting = vec![Starting::spawn(
        &program,
        scratch.path(),
        "ingress",
        &bootstrap(&node("ingress", "ingress", Ipv4Addr::LOCALHOST.into(), &xds)),
    )?];
    for workload in WORKLOADS {
        let mut node = node(workload.name, workload.service, workload.ingress(), &xds);
        node.labels.push(("version".to_owned(), workload.version.to_owned()));
        starting.push(Starting::spawn(&program, scratch.path(), workload.name, &bootstrap(&node))?);
    }
    let mut envoys = Vec::new();
    for envoy in starting {
        envoys.push(envoy.started().await?);
    }
    Ok(Running { folder: args.folder.clone(), ports, apps, envoys, admin, stop, tasks, _scratch: scratch })
}

/// The gateway's port. People expect the one that is documented; a check does as well with any.
fn ingress_port(args: &Args) -> anyhow::Result<u16> {
    if plan::is_free(SocketAddr::from((Ipv4Addr::LOCALHOST, args.ingress_port))) {
        return Ok(args.ingress_port);
    }
    ensure!(
        args.check,
        "port {} of 127.0.0.1 is taken; choose another one with --ingress-port",
        args.ingress_port
    );
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// Writes what depends on this run, and what the reader edits where it is not there.
fn write_files(folder: &Path, addresses: &mesh::Addresses<'_>) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    for file in mesh::generated(addresses) {
        mesh::write(folder, &file)?;
    }
    for file in mesh::editable() {
        if !folder.join(file.name).exists() {
            mesh::write(folder, &file)?;
        }
    }
    Ok(())
}

/// The control plane, in this process. Its admin port is the usual one if that is free.
async fn control_plane() -> anyhow::Result<Bound> {
    let any: SocketAddr = (Ipv4Addr::LOCALHOST, 0).into();
    let usual: SocketAddr = ADMIN.parse()?;
    let admin = if plan::is_free(usual) { usual } else { any };
    let config = ServeConfig {
        xds: vec![ListenAddress::Tcp(any)],
        tls: None,
        admin: Some(ListenAddress::Tcp(admin)),
        core: CoreConfig::default(),
        limits: StreamLimits::default(),
        drain: Duration::from_secs(1),
    };
    Ok(Bound::bind(config).await?)
}

/// What `lateen bootstrap` would be told for an Envoy of the demo.
fn node(name: &str, app: &str, ip: std::net::IpAddr, xds: &str) -> Bootstrap {
    let labels = [("app", app), ("workload", name)];
    Bootstrap {
        name: name.to_owned(),
        namespace: NAMESPACE.to_owned(),
        ip,
        gateway: name == "ingress",
        labels: labels.map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec(),
        locality: None,
        domain: "cluster.local".to_owned(),
        xds: xds.to_owned(),
        streams: Streams::default(),
        admin: (Ipv4Addr::LOCALHOST, 0).into(),
        tls_ca: None,
        tls_cert: None,
        tls_key: None,
    }
}

impl Running {
    /// Where the gateway listens.
    fn gateway(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.ports.ingress).into()
    }

    /// The application of a workload.
    fn app(&self, name: &str) -> anyhow::Result<&Arc<App>> {
        let found = self.apps.iter().find(|(workload, _, _)| workload.name == name);
        found.map(|(_, app, _)| app).with_context(|| format!("no workload {name}"))
    }

    /// The Envoy of a workload.
    fn envoy(&self, name: &str) -> anyhow::Result<&Envoy> {
        self.envoys.iter().find(|envoy| envoy.name == name).with_context(|| format!("no Envoy {name}"))
    }

    /// Waits for a page in which every service took part; returns it.
    async fn until_answered(&mut self) -> anyhow::Result<String> {
        let client = Http::new(self.gateway());
        let deadline = Instant::now() + READY_LIMIT;
        loop {
            let last = match client.get("shop.localhost", "/", &[]).await {
                Ok(answer) if answer.status.is_success() => {
                    let page = answer.json();
                    let parts = ["catalog", "reviews", "flaky"];
                    if parts.iter().all(|part| page[part]["status"] == 200)
                        && page["ledger"]["instance"].is_string()
                    {
                        return Ok(answer.text());
                    }
                    answer.text()
                }
                Ok(answer) => format!("{} {}", answer.status, answer.text()),
                Err(error) => error.to_string(),
            };
            if let Some(ended) = self.tasks.try_join_next() {
                ended??;
                bail!("a part of the demo ended on its own");
            }
            ensure!(
                Instant::now() < deadline,
                "no answer within {READY_LIMIT:?}: {last}\n{}",
                self.not_ready().await
            );
            tokio::time::sleep(POLL).await;
        }
    }

    /// The Envoys that are not live, with the end of their logs.
    async fn not_ready(&self) -> String {
        let mut text = String::new();
        for envoy in &self.envoys {
            if !envoy.is_ready().await {
                // Writing to a String does not fail.
                let _ = writeln!(text, "Envoy {} is not live:\n{}", envoy.name, envoy.log());
            }
        }
        text
    }

    /// Ends everything in order.
    async fn end(self) {
        let Self { envoys, stop, mut tasks, .. } = self;
        for envoy in envoys {
            envoy.end().await;
        }
        stop.send_replace(true);
        tasks.shutdown().await;
    }
}
