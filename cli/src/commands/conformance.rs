//! `lateen conformance run` and `client`: prove a server, or a client, against the specification.

use std::{
    io::{IsTerminal, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use anyhow::Context;
use clap::Args as ClapArgs;
use lateen_conformance::{
    case::{Level, Variant},
    client::{self, Client, bootstrap::Kind},
    context::{Patience, Target},
    control::{Adapter, Connect, Control, Feature, XdsConfig},
    report::{Report, beside, html, json, junit},
    run::{self, Options, RunResult, Verdict},
};

use crate::output::{self, EXIT_FINDINGS};

/// Proves an xDS server against the specification.
///
/// Exit codes: 0 all that apply pass, 1 some fail, 2 wrong usage, 3 it could not be run.
#[derive(Debug, ClapArgs)]
pub struct ConformanceRun {
    /// Where the server serves xDS.
    #[arg(long, value_name = "HOST:PORT")]
    pub target: String,
    /// How the server is told what to serve: `lateen`, `adapter` (xds-test-harness) or `xdsconfig` (gRPC), and where.
    #[arg(long, value_name = "KIND=HOST:PORT", value_parser = control)]
    pub control: (ControlKind, String),
    /// A second server that is told the same: a replica.
    #[arg(long, value_name = "HOST:PORT", requires = "replica_control")]
    pub replica: Option<String>,
    /// How the replica is told.
    #[arg(long, value_name = "KIND=HOST:PORT", value_parser = control, requires = "replica")]
    pub replica_control: Option<(ControlKind, String)>,
    /// Something the server has that its control protocol does not say; may be repeated.
    #[arg(long, value_name = "FEATURE")]
    pub feature: Vec<Feature>,
    /// Something the server lacks; may be repeated.
    #[arg(long, value_name = "FEATURE")]
    pub without: Vec<Feature>,
    /// Only these: a group (`B`), a case (`B3`), a run (`B3/delta-ads/EDS`, or how it begins) or a tag (`nack`).
    #[arg(long, value_name = "WHAT", value_delimiter = ',')]
    pub filter: Vec<String>,
    /// Only rules that bind so much: `must`, `should` (and must) or `extension` (all).
    #[arg(long, value_name = "LEVEL", default_value = "extension", value_parser = level)]
    pub level: Level,
    /// How many times, each in another order.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    pub repeat: u16,
    /// Decides the order; another one each time if not told.
    #[arg(long)]
    pub seed: Option<u64>,
    /// Runs at once.
    #[arg(long, default_value_t = 48, value_parser = clap::value_parser!(u16).range(1..))]
    pub concurrency: u16,
    /// For how long nothing may come where nothing must come, in milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 250)]
    pub quiet_ms: u64,
    /// How long a message that must come may take, in milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 5000)]
    pub within_ms: u64,
    /// What the server is called in reports.
    #[arg(long, default_value = "the server")]
    pub name: String,
    /// Writes the report as JSON.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Writes the report as `JUnit` XML.
    #[arg(long, value_name = "FILE")]
    pub junit: Option<PathBuf>,
    /// Writes the report as one HTML page.
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
}

/// Proves an xDS client against the specification, by a scripted server. Each run starts a client of its own.
///
/// Exit codes: 0 all pass or are noted as known of the client, 1 some fail, 2 wrong usage, 3 it could not be run.
#[derive(Debug, ClapArgs)]
pub struct ConformanceClient {
    /// How a client is started, split at spaces. `{bootstrap}` is the path of the bootstrap made for the run,
    /// `{address}` and `{port}` the server's, `{variant}` the variant's name, and `{admin}` the path of a file into
    /// which the client writes the address of an admin port like Envoy's.
    #[arg(long, value_name = "COMMAND")]
    pub command: String,
    /// Whose bootstrap is made: `envoy` or `none`.
    #[arg(long, value_name = "CLIENT", default_value = "none", value_parser = bootstrap)]
    pub bootstrap: Kind,
    /// Only these: a case (`P3`), a run (`P3/delta-ads`) or a tag (`nack`).
    #[arg(long, value_name = "WHAT", value_delimiter = ',')]
    pub filter: Vec<String>,
    /// How many times, each in another order.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    pub repeat: u16,
    /// Decides the order.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Clients at once.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..))]
    pub concurrency: u16,
    /// For how long nothing may come where nothing must come, in milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 500)]
    pub quiet_ms: u64,
    /// How long a message that must come may take, in milliseconds; the client's start is part of it.
    #[arg(long, value_name = "MS", default_value_t = 10_000)]
    pub within_ms: u64,
    /// What the client is called in reports.
    #[arg(long, default_value = "the client")]
    pub name: String,
    /// Writes the report as JSON.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Writes the report as `JUnit` XML.
    #[arg(long, value_name = "FILE")]
    pub junit: Option<PathBuf>,
    /// Writes the report as one HTML page.
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
}

/// Prints reports of several servers side by side, as Markdown: counts for each group, failed cases with their clauses.
#[derive(Debug, ClapArgs)]
pub struct ConformanceCompare {
    /// What `lateen conformance run --json` wrote.
    #[arg(value_name = "REPORT", required = true)]
    pub reports: Vec<PathBuf>,
}

/// Prints the reports side by side.
pub fn compare(args: &ConformanceCompare) -> anyhow::Result<ExitCode> {
    let read = |path: &PathBuf| {
        std::fs::read_to_string(path).with_context(|| format!("can't read {}", path.display()))
    };
    let reports = args.reports.iter().map(read).collect::<anyhow::Result<Vec<_>>>()?;
    println!("{}", beside::write(&reports).context("this is no report of conformance run --json")?);
    Ok(ExitCode::SUCCESS)
}

fn bootstrap(text: &str) -> Result<Kind, String> {
    match text {
        "envoy" => Ok(Kind::Envoy),
        "none" => Ok(Kind::None),
        other => Err(format!("no bootstrap is made for {other:?}: envoy or none")),
    }
}

/// Runs the cases for clients and writes the reports.
pub async fn run_client(args: ConformanceClient) -> anyhow::Result<ExitCode> {
    let words = args.command.split_whitespace().map(str::to_owned).collect();
    let client = Client::Command(client::Command { words, bootstrap: args.bootstrap });
    let options = Options {
        filter: args.filter,
        level: Level::Extension,
        repeat: usize::from(args.repeat),
        seed: args.seed,
        concurrency: usize::from(args.concurrency),
        patience: Patience {
            within: Duration::from_millis(args.within_ms),
            quiet: Duration::from_millis(args.quiet_ms),
        },
    };
    let total = client::select(&options).len() * options.repeat;
    anyhow::ensure!(total > 0, "the filter selects no case");
    let mut progress = Progress::new(total);
    let start = Instant::now();
    let results = client::run(&client, &options, |result| progress.told(result)).await;
    progress.end();
    let took_ms = start.elapsed().as_millis();
    let report = Report { server: args.name, seed: args.seed, took_ms, results };
    write(args.json.as_deref(), || json::write(&report).to_string())?;
    write(args.junit.as_deref(), || junit::write(&report))?;
    write(args.html.as_deref(), || html::write(&report))?;
    print(&report);
    Ok(if report.runs().failed == 0 { ExitCode::SUCCESS } else { ExitCode::from(EXIT_FINDINGS) })
}

/// The control protocols.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ControlKind {
    /// `lateen.conformance.v1.Control`.
    Lateen,
    /// `adapter.Adapter`.
    Adapter,
    /// `grpc.testing.xdsconfig.XdsConfigControlService`.
    XdsConfig,
}

fn control(text: &str) -> Result<(ControlKind, String), String> {
    let (kind, at) = text.split_once('=').ok_or("KIND=HOST:PORT is expected")?;
    let kind = match kind {
        "lateen" => ControlKind::Lateen,
        "adapter" => ControlKind::Adapter,
        "xdsconfig" => ControlKind::XdsConfig,
        other => {
            return Err(format!("no control protocol is called {other:?}: lateen, adapter or xdsconfig"));
        }
    };
    Ok((kind, at.to_owned()))
}

fn level(text: &str) -> Result<Level, String> {
    [Level::Must, Level::Should, Level::Extension]
        .into_iter()
        .find(|level| level.name() == text)
        .ok_or_else(|| "must, should or extension is expected".to_owned())
}

/// Runs the cases and writes the reports.
pub async fn run(args: ConformanceRun) -> anyhow::Result<ExitCode> {
    let target = target(&args).await?;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let seed = args.seed.unwrap_or(now.as_secs());
    let options = Options {
        filter: args.filter.clone(),
        level: args.level,
        repeat: usize::from(args.repeat),
        seed,
        concurrency: usize::from(args.concurrency),
        patience: Patience {
            within: Duration::from_millis(args.within_ms),
            quiet: Duration::from_millis(args.quiet_ms),
        },
    };
    let total = run::select(&options).len() * options.repeat;
    anyhow::ensure!(total > 0, "the filter selects no case");
    let mut progress = Progress::new(total);
    let start = Instant::now();
    let results = run::run(&target, &options, |result| progress.told(result)).await;
    progress.end();
    let report = Report { server: args.name, seed, took_ms: start.elapsed().as_millis(), results };
    write(args.json.as_deref(), || json::write(&report).to_string())?;
    write(args.junit.as_deref(), || junit::write(&report))?;
    write(args.html.as_deref(), || html::write(&report))?;
    print(&report);
    Ok(if report.runs().failed == 0 { ExitCode::SUCCESS } else { ExitCode::from(EXIT_FINDINGS) })
}

async fn target(args: &ConformanceRun) -> anyhow::Result<Target> {
    let control = open(&args.control, args);
    let mut capabilities = control.capabilities().await.context("asking the server what it has")?;
    let replica = match (&args.replica, &args.replica_control) {
        (Some(address), Some(control)) => {
            capabilities.features.insert(Feature::Replica);
            Some((address.clone(), open(control, args)))
        }
        _ => None,
    };
    capabilities.features.extend(args.feature.iter().copied());
    capabilities.features.retain(|feature| !args.without.contains(feature));
    Ok(Target { address: args.target.clone(), control, capabilities, replica })
}

fn open((kind, at): &(ControlKind, String), args: &ConformanceRun) -> Arc<dyn Control> {
    // The others' protocols can't say what the server has: the four variants are taken for granted.
    let variants = [Feature::Sotw, Feature::Delta, Feature::Ads, Feature::Separate];
    let features = variants.into_iter().chain(args.feature.iter().copied()).collect();
    match kind {
        ControlKind::Lateen => Arc::new(Connect::new(at.as_str())),
        ControlKind::Adapter => Arc::new(Adapter::new(at.as_str(), features)),
        ControlKind::XdsConfig => Arc::new(XdsConfig::new(at.as_str(), features)),
    }
}

fn write(path: Option<&Path>, text: impl FnOnce() -> String) -> anyhow::Result<()> {
    let Some(path) = path else { return Ok(()) };
    std::fs::write(path, text()).with_context(|| format!("can't write {}", path.display()))
}

/// A line on stderr that is written over, where somebody looks.
struct Progress {
    total: usize,
    done: usize,
    failed: usize,
    shown: bool,
}

impl Progress {
    fn new(total: usize) -> Self {
        Self { total, done: 0, failed: 0, shown: std::io::stderr().is_terminal() }
    }

    fn told(&mut self, result: &RunResult) {
        self.done += 1;
        self.failed += usize::from(matches!(result.verdict, Verdict::Failed { .. }));
        if self.shown {
            let (done, total, failed) = (self.done, self.total, self.failed);
            // A terminal that can't be written to shows no progress, and the run goes on.
            let _ = write!(std::io::stderr(), "\r{done} of {total}, {failed} failed ");
        }
    }

    fn end(&self) {
        if self.shown {
            eprintln!("");
        }
    }
}

fn print(report: &Report) {
    let mut header = vec!["CASE", "LEVEL"];
    header.extend(Variant::ALL.map(Variant::name));
    header.push("CLAIM");
    let mut table = output::table(&header);
    for (case, cells) in report.matrix() {
        let mut row = vec![case.id.to_owned(), case.level.name().to_owned()];
        row.extend(Variant::ALL.map(|v| cells.get(&v).map_or("-", |count| count.word()).to_owned()));
        row.push(case.name.to_owned());
        table.add_row(row);
    }
    println!("{table}");
    for (result, reason, transcript) in report.failures() {
        let case = result.instance.case;
        println!("\nFAIL {} (round {}): {}\n  {reason}", result.instance.id(), result.round, case.name);
        println!("  {}: {}", case.clause.title, case.clause.url);
        for line in transcript {
            println!("    {line}");
        }
    }
    for result in &report.results {
        if let Verdict::Noted { what, reference, reason } = &result.verdict {
            println!("\nnoted {}: {what} ({reference})\n  {reason}", result.instance.id());
        }
    }
    let (cases, runs) = (report.cases(), report.runs());
    if cases.noted > 0 {
        println!("\n{} cases in {} runs are noted as known of the client", cases.noted, runs.noted);
    }
    println!(
        "\n{} of {} applicable cases pass, {} do not apply; {} runs: {} passed, {} failed, {} do not apply; {:.1} s, \
         seed {}",
        cases.passed,
        cases.passed + cases.failed + cases.noted,
        cases.skipped,
        runs.passed + runs.failed + runs.noted + runs.skipped,
        runs.passed,
        runs.failed,
        runs.skipped,
        Duration::from_millis(u64::try_from(report.took_ms).unwrap_or(u64::MAX)).as_secs_f64(),
        report.seed
    );
}
