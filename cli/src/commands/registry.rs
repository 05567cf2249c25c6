//! `lateen registry`: writes and shows what the etcd adapter reads.

use std::{
    collections::BTreeMap,
    io::Read,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context, bail};
use clap::{Args as ClapArgs, Subcommand};
use lateen_adapter_etcd::{
    EndpointSpec, HealthSpec, Settings,
    registry::{Registered, Registration, Registry},
};
use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    args::{Format, key_value, seconds},
    output,
};

/// How much of a value a table shows.
const SHOWN: usize = 60;

/// Writes and shows services, instances and configuration in etcd.
#[derive(Debug, ClapArgs)]
pub struct RegistryArgs {
    /// Members of etcd, and options, as behind `lateen serve --adapter etcd=`.
    #[arg(
        long,
        global = true,
        value_name = "URLS",
        default_value = "http://127.0.0.1:2379",
        env = "LATEEN_ETCD"
    )]
    pub etcd: String,
    /// What to do.
    #[command(subcommand)]
    pub command: RegistryCommand,
}

/// What to do with the registry.
#[derive(Debug, Subcommand)]
pub enum RegistryCommand {
    /// Writes a key, if it could be read: `config/NAME`, `services/NAMESPACE/NAME`, `endpoints/NAMESPACE/NAME/INSTANCE`.
    Put {
        /// Without the prefix.
        key: String,
        /// YAML or JSON; `-` is standard input.
        #[arg(default_value = "-")]
        file: PathBuf,
        /// Write configuration even if objects in it are wrong.
        #[arg(long)]
        force: bool,
    },
    /// Removes a key; with a slash at its end, all below it.
    Rm {
        /// Without the prefix.
        key: String,
    },
    /// Lists keys.
    Ls {
        /// Only those that begin so.
        #[arg(default_value = "")]
        under: String,
        /// Table or JSON.
        #[arg(long, short, value_enum, default_value_t)]
        output: Format,
    },
    /// Shows changes as they happen, a line for each, until it is interrupted.
    Watch {
        /// Only keys that begin so.
        #[arg(default_value = "")]
        under: String,
        /// Table or JSON, a line for each.
        #[arg(long, short, value_enum, default_value_t)]
        output: Format,
    },
    /// Registers an instance and keeps it registered until SIGTERM or SIGINT; then it is removed. When this process
    /// dies, the instance goes with its lease.
    Register(Box<Register>),
}

/// Registers an instance.
#[derive(Debug, ClapArgs)]
pub struct Register {
    /// Name of the service.
    pub name: String,
    /// Its namespace.
    #[arg(long, short, default_value = "default")]
    pub namespace: String,
    /// Where the instance is: IP address, host name, or `unix:///PATH`.
    #[arg(long)]
    pub address: String,
    /// Where it listens: `NUMBER` or `NAME=NUMBER`; may be repeated. By default as the service has it.
    #[arg(long = "port", value_name = "[NAME=]NUMBER", value_parser = port)]
    pub ports: Vec<(String, u16)>,
    /// Name of the instance; by default its address and first port.
    #[arg(long)]
    pub instance: Option<String>,
    /// Labels, `key=value`; may be repeated.
    #[arg(long = "label", short, value_name = "KEY=VALUE", value_parser = key_value)]
    pub labels: Vec<(String, String)>,
    /// Region/zone/sub-zone.
    #[arg(long, value_name = "R/Z/S", default_value = "")]
    pub locality: String,
    /// Relative weight.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub weight: Option<u32>,
    /// Whom it runs as.
    #[arg(long, default_value = "")]
    pub service_account: String,
    /// Network, where there are several.
    #[arg(long, default_value = "")]
    pub network: String,
    /// How long it stays when this process is gone, in whole seconds.
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    pub lease: Duration,
    /// How long it is draining, and takes no new requests, before it is removed.
    #[arg(long, value_name = "SECONDS", default_value = "0", value_parser = seconds)]
    pub drain: Duration,
}

fn port(text: &str) -> Result<(String, u16), String> {
    let (name, number) = text.split_once('=').unwrap_or(("", text));
    let number = number.parse().ok().filter(|number| *number > 0);
    number.map(|number| (name.to_owned(), number)).ok_or_else(|| format!("{text:?} is not [NAME=]NUMBER"))
}

/// A key, for JSON.
#[derive(Serialize)]
struct Shown<'a> {
    key: &'a str,
    /// `null` when it is gone.
    value: Option<std::borrow::Cow<'a, str>>,
}

/// Runs it.
pub async fn run(args: RegistryArgs) -> anyhow::Result<ExitCode> {
    let RegistryArgs { etcd, command } = args;
    let settings = Settings::parse(etcd.strip_prefix("etcd=").unwrap_or(&etcd)).context("in --etcd")?;
    let connected = async || Registry::connect(&settings).await.context("connecting to etcd");
    match command {
        RegistryCommand::Put { key, file, force } => {
            let value = read(&file)?;
            if key.starts_with("config/") && !force {
                check(&value, &file)?;
            }
            connected().await?.put(&key, &value).await.with_context(|| format!("putting {key}"))?;
        }
        RegistryCommand::Rm { key } => {
            let removed = connected().await?.remove(&key).await.with_context(|| format!("removing {key}"))?;
            println!("{removed} removed");
            if removed == 0 {
                return Ok(ExitCode::from(output::EXIT_FINDINGS));
            }
        }
        RegistryCommand::Ls { under, output } => ls(connected().await?, &under, output).await?,
        RegistryCommand::Watch { under, output } => watch(connected().await?, &under, output).await?,
        RegistryCommand::Register(register) => self::register(&settings, *register).await?,
    }
    Ok(ExitCode::SUCCESS)
}

fn read(file: &Path) -> anyhow::Result<Vec<u8>> {
    if file != Path::new("-") {
        return std::fs::read(file).with_context(|| format!("reading {}", file.display()));
    }
    let mut value = Vec::new();
    std::io::stdin().read_to_end(&mut value).context("reading standard input")?;
    Ok(value)
}

/// Configuration that is wrong is better refused here than found later.
fn check(value: &[u8], file: &Path) -> anyhow::Result<()> {
    let parsed = lateen_config::parse(value, &"".into(), &file.display().to_string().into());
    for finding in &parsed.diagnostics {
        eprintln!("{finding}");
    }
    if !parsed.invalid.is_empty() {
        bail!("{} of its objects can't be applied; --force writes it nevertheless", parsed.invalid.len());
    }
    Ok(())
}

async fn ls(mut registry: Registry, under: &str, format: Format) -> anyhow::Result<()> {
    let entries = registry.list(under).await.context("listing")?;
    let shown = entries
        .iter()
        .map(|entry| Shown { key: &entry.name, value: Some(String::from_utf8_lossy(&entry.value)) });
    match format {
        Format::Json => output::json(&shown.collect::<Vec<_>>())?,
        Format::Table => {
            let mut table = output::table(&["KEY", "VALUE"]);
            for Shown { key, value } in shown {
                table.add_row([key, &brief(&value.unwrap_or_default())]);
            }
            println!("{table}");
        }
    }
    Ok(())
}

/// The beginning of a value on one line.
fn brief(value: &str) -> String {
    let line: String = value.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(SHOWN) {
        None => line,
        Some((at, _)) => format!("{}…", &line[..at]),
    }
}

async fn watch(mut registry: Registry, under: &str, format: Format) -> anyhow::Result<()> {
    let mut changes = registry.watch(under).await.context("watching")?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    loop {
        let next = tokio::select! {
            next = changes.next() => next.context("watching")?,
            _ = interrupt.recv() => return Ok(()),
            _ = terminate.recv() => return Ok(()),
        };
        for change in &next {
            let value = change.value.as_deref().map(String::from_utf8_lossy);
            match (format, value) {
                (Format::Json, value) => {
                    println!("{}", serde_json::to_string(&Shown { key: &change.name, value })?);
                }
                (Format::Table, Some(value)) => println!("put  {}  {}", change.name, brief(&value)),
                (Format::Table, None) => println!("gone {}", change.name),
            }
        }
    }
}

async fn register(settings: &Settings, register: Register) -> anyhow::Result<()> {
    let Register {
        name,
        namespace,
        address,
        ports,
        instance,
        labels,
        locality,
        weight,
        service_account,
        network,
        lease,
        drain,
    } = register;
    let instance = instance.unwrap_or_else(|| {
        ports.first().map_or_else(|| address.clone(), |(_, port)| format!("{address}:{port}"))
    });
    let spec = EndpointSpec {
        address,
        ports: ports.into_iter().collect::<BTreeMap<_, _>>(),
        labels: labels.into_iter().collect(),
        locality,
        weight,
        health: HealthSpec::Healthy,
        service_account,
        network,
    };
    let service = format!("{namespace}/{name}");
    let registration = Registration::new(settings, &service, &instance, spec, (lease, drain))?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let stop = async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    };
    let told = |standing| match standing {
        Registered::Yes => eprintln!("{service} {instance}: registered"),
        Registered::No(why) => eprintln!("{service} {instance}: not registered, trying again: {why}"),
        Registered::Draining => eprintln!("{service} {instance}: draining"),
        Registered::Removed => eprintln!("{service} {instance}: removed"),
    };
    registration.run(stop, told).await.context("registering")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_have_names_or_none() {
        assert_eq!(port("80"), Ok((String::new(), 80)));
        assert_eq!(port("http=8080"), Ok(("http".to_owned(), 8080)));
        assert!(port("http=").is_err() && port("0").is_err() && port("70000").is_err());
    }

    #[test]
    fn long_values_are_shown_in_part() {
        assert_eq!(brief("a:\n  b"), "a: b");
        assert_eq!(brief(&"é".repeat(100)).chars().count(), SHOWN + 1);
    }

    #[test]
    fn wrong_configuration_is_refused() {
        let wrong = b"apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: a}\nspec: {http: 3}\n";
        assert!(check(wrong, Path::new("a.yaml")).is_err());
        assert!(check(b"{apiVersion: v1, kind: Namespace, metadata: {name: a}}", Path::new("-")).is_ok());
    }
}
