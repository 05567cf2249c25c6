//! `lateen serve`.

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Context, bail};
use lateen_adapter::Adapter;
use lateen_model::Unapplied;
use lateen_registry::GuardSettings;
use lateen_xds_server::{
    core::CoreConfig,
    listen::ListenAddress,
    serve::{Bound, ServeConfig},
    service::StreamLimits,
    tls::TlsFiles,
};
use serde::Deserialize;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};

use crate::{adapters, args::Serve as Args, output::Usage};

/// Where xDS is served unless told otherwise.
const XDS_DEFAULT: &str = "127.0.0.1:15010";
/// Where the admin port is unless told otherwise.
const ADMIN_DEFAULT: &str = "127.0.0.1:15014";

/// The settings file.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Settings {
    adapters: Vec<String>,
    xds_listen: Vec<String>,
    admin: Option<String>,
    tls: Option<TlsSettings>,
    state: Option<PathBuf>,
    unapplied: Option<String>,
}

/// Certificate files.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct TlsSettings {
    certificate: PathBuf,
    key: PathBuf,
    client_ca: Option<PathBuf>,
}

/// Runs until SIGINT or SIGTERM.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let settings = match &args.config {
        Some(path) => {
            let text =
                std::fs::read_to_string(path).with_context(|| format!("can't read {}", path.display()))?;
            serde_saphyr::from_str(&text).with_context(|| format!("in {}", path.display()))?
        }
        None => Settings::default(),
    };
    let (config, adapters) = resolve(args, settings)?;
    raise_file_limit();
    let bound = Bound::bind(config).await?;
    for address in bound.xds_addresses()? {
        println!("xDS on {address}");
    }
    if let Some(address) = bound.admin_address()? {
        println!("admin on {address}");
    }
    let (stop, stopped) = watch::channel(false);
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        stop.send_replace(true);
    });
    bound.run(adapters, stopped).await?;
    Ok(ExitCode::SUCCESS)
}

/// Each client is an open file: as many as the system lets us, where shells give 1,024.
fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
}

/// Flags over the settings file over the defaults.
fn resolve(args: Args, settings: Settings) -> anyhow::Result<(ServeConfig, Vec<Box<dyn Adapter>>)> {
    let Args {
        adapters,
        config: _,
        xds_listen,
        admin_listen,
        tls_cert,
        tls_key,
        tls_ca,
        drain,
        state,
        no_state,
        hold_removals,
        unchecked,
        unapplied,
    } = args;
    if unchecked {
        lateen_config::switch_checks_off();
    }
    let Settings {
        adapters: more_adapters,
        xds_listen: more_listen,
        admin,
        tls,
        state: state_set,
        unapplied: unapplied_set,
    } = settings;
    let unapplied = match (unapplied, unapplied_set) {
        (Some(choice), _) => choice,
        (None, Some(text)) => text.parse().context("unapplied")?,
        (None, None) => Unapplied::default(),
    };
    let specs = if adapters.is_empty() { more_adapters } else { adapters };
    if specs.is_empty() {
        bail!(Usage("no source given: --adapter file=DIR (several are allowed)".to_owned()));
    }
    if let Some(twice) =
        specs.iter().enumerate().find_map(|(at, spec)| specs[..at].contains(spec).then_some(spec))
    {
        bail!(Usage(format!("--adapter {twice} is given twice")));
    }
    let is_remote = specs.iter().any(|spec| !adapters::is_local(spec));
    let state = match state.or(state_set) {
        _ if no_state => None,
        Some(folder) => Some(folder),
        None if is_remote => default_state(),
        None => None,
    };
    let guard = GuardSettings {
        confirm_ms: u64::try_from(hold_removals.as_millis()).unwrap_or(u64::MAX),
        ..GuardSettings::default()
    };
    let adapters = specs.iter().map(|spec| adapters::from_flag(spec)).collect::<anyhow::Result<_>>()?;
    let parse = |text: String| text.parse::<ListenAddress>().map_err(anyhow::Error::msg);
    let mut xds = xds_listen;
    if xds.is_empty() {
        xds = more_listen.into_iter().map(parse).collect::<anyhow::Result<_>>()?;
    }
    if xds.is_empty() {
        xds.push(parse(XDS_DEFAULT.to_owned())?);
    }
    let admin = match admin_listen {
        Some(address) => address,
        None => parse(admin.unwrap_or_else(|| ADMIN_DEFAULT.to_owned()))?,
    };
    let tls = match (tls_cert, tls_key) {
        (Some(certificate), Some(key)) => Some(TlsFiles { certificate, key, client_ca: tls_ca }),
        _ => tls.map(|TlsSettings { certificate, key, client_ca }| TlsFiles { certificate, key, client_ca }),
    };
    if tls.as_ref().is_some_and(|tls| tls.client_ca.is_none()) {
        tracing::warn!(
            "no --tls-ca: no client can prove who it is, so every client of a TLS address is refused"
        );
    }
    let config = ServeConfig {
        xds,
        tls,
        admin: Some(admin),
        core: CoreConfig { guard, state, unapplied, ..CoreConfig::default() },
        limits: StreamLimits::default(),
        drain,
    };
    Ok((config, adapters))
}

/// `$XDG_STATE_HOME/lateen`: <https://specifications.freedesktop.org/basedir-spec/latest/#variables>. None where
/// there is no home.
fn default_state() -> Option<PathBuf> {
    let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let home = || absolute("HOME").map(|home| home.join(".local/state"));
    absolute("XDG_STATE_HOME").or_else(home).map(|folder| folder.join("lateen"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_settings_are_refused() {
        assert!(serde_saphyr::from_str::<Settings>("adapter: [x]").is_err());
        let settings: Settings = serde_saphyr::from_str("adapters: [file=mesh]\nadmin: 127.0.0.1:1").unwrap();
        assert_eq!(settings.adapters, ["file=mesh"]);
    }
}
