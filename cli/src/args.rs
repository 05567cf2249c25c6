//! The command line.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};
use lateen_model::Unapplied;
use lateen_xds_server::listen::ListenAddress;

use crate::commands::{
    conformance::{ConformanceClient, ConformanceCompare, ConformanceRun},
    registry::RegistryArgs,
};

/// A service mesh for every platform: configures stock Envoy, gRPC clients and its own proxy over xDS.
///
/// Exit codes: 0 fine, 1 findings (or differences, or nodes out of sync), 2 wrong usage, 3 it could not be done.
#[derive(Debug, Parser)]
#[command(name = "lateen", version, propagate_version = true)]
pub struct Args {
    /// What is logged to stderr, for example `info` or `lateen_xds_server=debug`.
    #[arg(long, global = true, default_value = "warn", env = "LATEEN_LOG", hide_env_values = true)]
    pub log: String,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Runs the control plane.
    Serve(Serve),
    /// Prints the bootstrap that makes a stock Envoy a node of the mesh.
    Bootstrap(Bootstrap),
    /// Looks at a source of services and configuration without serving it.
    Adapter(Adapter),
    /// Writes and shows services, instances and configuration in etcd; registers instances.
    Registry(RegistryArgs),
    /// Says what is wrong with configuration files, before anything is applied.
    Analyze(Analyze),
    /// Shows sources, connected nodes, and what is out of sync or rejected.
    Status(Status),
    /// Shows what a node is given, each resource with the object and line it comes from.
    Config(Config),
    /// Shows which resources of which nodes would change if files were applied. Exit code 1: something would.
    Diff(Diff),
    /// Runs small services behind stock Envoys, configured live from a folder of YAML.
    Demo(Demo),
    /// Proves xDS servers against the specification.
    #[command(subcommand)]
    Conformance(Conformance),
    /// Prints completions for a shell.
    Completion {
        /// Which.
        shell: clap_complete::Shell,
    },
}

/// The conformance suite.
#[derive(Debug, Subcommand)]
pub enum Conformance {
    /// Proves an xDS server against the specification, over the wire.
    Run(Box<ConformanceRun>),
    /// Proves an xDS client against the specification, by a scripted server.
    Client(Box<ConformanceClient>),
    /// Prints reports of several servers side by side, as Markdown.
    Compare(ConformanceCompare),
    /// Runs our xDS server with resources that are told over a control port, in one of three protocols:
    /// `lateen.conformance.v1.Control`, `adapter.Adapter`, `grpc.testing.xdsconfig.XdsConfigControlService`.
    Serve(ConformanceServe),
}

/// Runs our xDS server with resources that are told.
#[derive(Debug, ClapArgs)]
pub struct ConformanceServe {
    /// Where xDS is served: `IP:PORT` (loopback) or `unix:PATH`.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    pub listen: ListenAddress,
    /// Where resources are told.
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:0")]
    pub control: SocketAddr,
    /// The admin port.
    #[arg(long, value_name = "ADDR")]
    pub admin: Option<ListenAddress>,
    /// Does one thing wrong on purpose.
    #[cfg(feature = "faults")]
    #[arg(long)]
    pub fault: Option<lateen_xds::faults::Fault>,
}

/// How results are printed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Table,
    /// For programs.
    Json,
}

/// Runs the control plane.
#[derive(Debug, ClapArgs)]
pub struct Serve {
    /// A source of services and configuration: `file=DIR`, `kubernetes[=CONTEXT]`, `consul=URL`, `nomad=URL`,
    /// `etcd=URLS`. May be repeated; the first wins a conflict.
    #[arg(long = "adapter", value_name = "KIND=WHERE")]
    pub adapters: Vec<String>,
    /// A YAML file with the same settings (`adapters`, `xdsListen`, `admin`, `tls`, `state`, `unapplied`); flags win over it.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Where xDS is served: `IP:PORT` or `unix:PATH`; may be repeated. Anything but loopback needs TLS.
    #[arg(long, value_name = "ADDR")]
    pub xds_listen: Vec<ListenAddress>,
    /// The admin port for `lateen status` (over TCP) and Prometheus; loopback or `unix:PATH`.
    #[arg(long, value_name = "ADDR")]
    pub admin_listen: Option<ListenAddress>,
    /// PEM file with the server's certificate chain; read again when it changes.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// PEM file with its private key.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// PEM file with the roots that client certificates must chain to (mTLS).
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_ca: Option<PathBuf>,
    /// How long streams may finish after a signal.
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = seconds)]
    pub drain: Duration,
    /// Where what sources say is kept, to serve it after a restart with the sources out of reach. Without this, in
    /// `$XDG_STATE_HOME/lateen` (`~/.local/state/lateen`), unless all sources are files.
    #[arg(long, value_name = "DIR", env = "LATEEN_STATE", conflicts_with = "no_state")]
    pub state: Option<PathBuf>,
    /// Keeps nothing, and serves nothing that was kept.
    #[arg(long)]
    pub no_state: bool,
    /// How long more than half (and more than ten) of the services, endpoints or policies of a source that go at once
    /// are held, unless a second listing confirms it; 0 holds nothing.
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = seconds)]
    pub hold_removals: Duration,
    /// Checks no values of objects, so that clients are sent what they will reject. For tests.
    #[arg(long, hide = true)]
    pub unchecked: bool,
    /// What happens to settings that protect something and can't be applied: `close` what they would protect (the
    /// default), or `ignore` them. `docs/unapplied.md` says what that is for each kind.
    #[arg(long, value_name = "CHOICE")]
    pub unapplied: Option<Unapplied>,
}

/// A number of seconds, with or without an `s`.
pub fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 =
        text.trim_end_matches('s').parse().map_err(|_| format!("{text:?} is no number of seconds"))?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

/// Looks at a source.
#[derive(Debug, ClapArgs)]
pub struct Adapter {
    /// What to do.
    #[command(subcommand)]
    pub command: AdapterCommand,
}

/// What to do with a source.
#[derive(Debug, Subcommand)]
pub enum AdapterCommand {
    /// Connects, lists, watches for a while, and says what was there and how fast it came. Exit code 3: it could
    /// not be listed, or contact was lost and did not come back.
    Test(TestAdapter),
    /// Says what one source has and the other one has not. Exit code 1: they differ.
    Compare(CompareAdapters),
}

/// Tries a source.
#[derive(Debug, ClapArgs)]
pub struct TestAdapter {
    /// The source, as for `lateen serve --adapter`.
    #[arg(value_name = "KIND=WHERE")]
    pub adapter: String,
    /// How long to watch after the listing.
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = seconds)]
    pub seconds: Duration,
    /// How long the listing may take.
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = seconds)]
    pub timeout: Duration,
    /// Table or JSON.
    #[arg(long, short, value_enum, default_value_t)]
    pub output: Format,
}

/// Compares two sources.
#[derive(Debug, ClapArgs)]
pub struct CompareAdapters {
    /// One source, as for `lateen serve --adapter`.
    #[arg(value_name = "KIND=WHERE")]
    pub first: String,
    /// The other one.
    #[arg(value_name = "KIND=WHERE")]
    pub second: String,
    /// How long each listing may take.
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = seconds)]
    pub timeout: Duration,
    /// Table or JSON.
    #[arg(long, short, value_enum, default_value_t)]
    pub output: Format,
}

/// How an Envoy opens its streams.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum)]
pub enum Streams {
    /// One aggregated stream, changes only.
    #[default]
    AdsDelta,
    /// One aggregated stream, state of the world.
    AdsSotw,
    /// A stream for each type, changes only.
    Delta,
    /// A stream for each type, state of the world.
    Sotw,
}

/// Prints an Envoy bootstrap.
#[derive(Clone, Debug, ClapArgs)]
pub struct Bootstrap {
    /// Workload name.
    #[arg(long, default_value = "app", value_parser = dns_name)]
    pub name: String,
    /// Namespace.
    #[arg(long, short, default_value = "default", value_parser = dns_name)]
    pub namespace: String,
    /// Address of the workload.
    #[arg(long, default_value = "127.0.0.1")]
    pub ip: IpAddr,
    /// Is it a gateway?
    #[arg(long)]
    pub gateway: bool,
    /// Labels that selectors match, `key=value`; may be repeated.
    #[arg(long = "label", short, value_name = "KEY=VALUE", value_parser = key_value)]
    pub labels: Vec<(String, String)>,
    /// Region/zone/sub-zone.
    #[arg(long, value_name = "R/Z/S", value_parser = locality)]
    pub locality: Option<String>,
    /// DNS domain of the platform.
    #[arg(long, default_value = "cluster.local", value_parser = dns_name)]
    pub domain: String,
    /// Address of the control plane: `IP:PORT`, `HOST:PORT` or `unix:PATH`.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:15010", value_parser = target)]
    pub xds: String,
    /// How the Envoy opens its streams.
    #[arg(long, value_enum, default_value_t)]
    pub streams: Streams,
    /// The Envoy's admin address; port 0 lets the system choose.
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:15000")]
    pub admin: std::net::SocketAddr,
    /// PEM file with the roots that the control plane's certificate chains to; switches TLS on.
    #[arg(long, value_name = "FILE")]
    pub tls_ca: Option<PathBuf>,
    /// PEM file with the node's certificate.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// PEM file with its key.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
}

/// Letters, digits, dots and hyphens: what may be part of a node's id.
fn dns_name(text: &str) -> Result<String, String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-');
    let is_name = !text.is_empty() && text.len() <= 253 && text.chars().all(fits);
    is_name.then(|| text.to_owned()).ok_or_else(|| "a name has letters, digits, dots and hyphens".to_owned())
}

/// `REGION[/ZONE[/SUB-ZONE]]`.
fn locality(text: &str) -> Result<String, String> {
    let fits = text.split('/').count() <= 3;
    fits.then(|| text.to_owned()).ok_or_else(|| "a locality is REGION/ZONE/SUB-ZONE".to_owned())
}

/// `IP:PORT`, `HOST:PORT` or `unix:PATH`.
fn target(text: &str) -> Result<String, String> {
    if text.strip_prefix("unix:").is_some_and(|path| !path.is_empty()) {
        return Ok(text.to_owned());
    }
    let (host, port) = text.rsplit_once(':').ok_or("it is IP:PORT, HOST:PORT or unix:PATH")?;
    let port = port.parse::<u16>().ok().filter(|port| *port > 0);
    port.ok_or_else(|| format!("the port of {text:?} is none"))?;
    let inner = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    if inner.is_some_and(|inner| inner.parse::<std::net::Ipv6Addr>().is_ok()) {
        return Ok(text.to_owned());
    }
    dns_name(host).map(|_| text.to_owned())
}

/// The short name of a type of resources.
fn resource_type(text: &str) -> Result<String, String> {
    let mut all = lateen_xds::ResourceType::ALL.into_iter().map(|kind| kind.info().short);
    if all.clone().any(|short| short.eq_ignore_ascii_case(text)) {
        return Ok(text.to_owned());
    }
    Err(format!("no such type; these are: {}", all.by_ref().collect::<Vec<_>>().join(", ")))
}

/// The code of a finding.
fn code(text: &str) -> Result<String, String> {
    let digits = text.strip_prefix("LAT").filter(|digits| digits.len() == 4);
    let is_code = digits.is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
    is_code
        .then(|| text.to_owned())
        .ok_or_else(|| "a code is LAT and four digits; see docs/diagnostics.md".to_owned())
}

/// `KEY=VALUE`.
pub fn key_value(text: &str) -> Result<(String, String), String> {
    text.split_once('=')
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .ok_or_else(|| format!("{text:?} is not KEY=VALUE"))
}

/// Analyzes files.
#[derive(Debug, ClapArgs)]
pub struct Analyze {
    /// Files, or folders of YAML; `-` is standard input.
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Fail from this severity on.
    #[arg(long, value_enum, default_value_t)]
    pub fail_on: FailOn,
    /// What the server is started with: `close` or `ignore` what protects something and can't be applied.
    #[arg(long, value_name = "CHOICE", default_value_t)]
    pub unapplied: Unapplied,
    /// Codes to leave out (LAT1001); may be repeated.
    #[arg(long, value_name = "CODE", value_parser = code)]
    pub ignore: Vec<String>,
    /// Table or JSON.
    #[arg(long, short, value_enum, default_value_t)]
    pub output: Format,
}

/// From which severity on a command fails.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum)]
pub enum FailOn {
    /// Errors only.
    #[default]
    Error,
    /// Warnings too.
    Warning,
    /// Anything.
    Info,
}

/// Where the server's admin port is.
#[derive(Clone, Debug, ClapArgs)]
pub struct Server {
    /// The server's admin port.
    #[arg(long = "server", value_name = "ADDR", default_value = "127.0.0.1:15014", env = "LATEEN_SERVER")]
    pub address: String,
}

/// Shows the status.
#[derive(Debug, ClapArgs)]
pub struct Status {
    /// Which server.
    #[command(flatten)]
    pub server: Server,
    /// Table or JSON.
    #[arg(long, short, value_enum, default_value_t)]
    pub output: Format,
}

/// Shows a node's configuration.
#[derive(Debug, ClapArgs)]
pub struct Config {
    /// Node id, or a part of it that fits one node only.
    pub node: String,
    /// Only this type: cds, eds, lds, rds, …
    #[arg(long = "type", short = 't', value_parser = resource_type)]
    pub kind: Option<String>,
    /// Only resources whose name contains this.
    #[arg(long)]
    pub name: Option<String>,
    /// Print the resources themselves, too.
    #[arg(long)]
    pub full: bool,
    /// Which server.
    #[command(flatten)]
    pub server: Server,
    /// Table or JSON.
    #[arg(long, short, value_enum, default_value_t)]
    pub output: Format,
}

/// Shows what files would change.
#[derive(Debug, ClapArgs)]
pub struct Diff {
    /// Files, or folders of YAML.
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Which server.
    #[command(flatten)]
    pub server: Server,
    /// Table or JSON.
    #[arg(long, short, value_enum, default_value_t)]
    pub output: Format,
}

/// Runs the demo.
#[derive(Debug, ClapArgs)]
pub struct Demo {
    /// The Envoy to run; without it, the one on the path.
    #[arg(long, value_name = "PATH", env = "LATEEN_ENVOY")]
    pub envoy: Option<PathBuf>,
    /// Runs the tour as assertions, puts the files back, and exits 0 only if all hold.
    #[arg(long)]
    pub check: bool,
    /// Where the configuration is written; files that are there and meant to be edited stay as they are.
    #[arg(long, value_name = "DIR", default_value = "lateen-demo")]
    pub folder: PathBuf,
    /// Port of the ingress gateway on 127.0.0.1; with --check another one if it is taken.
    #[arg(long, value_name = "PORT", default_value = "8080", value_parser = clap::value_parser!(u16).range(1..))]
    pub ingress_port: u16,
    /// Requests per second of the load; 0 is none.
    #[arg(long, value_name = "N", default_value = "20", value_parser = clap::value_parser!(u32).range(..=2000))]
    pub rate: u32,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Args::command().debug_assert();
    }
}
