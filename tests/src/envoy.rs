//! Stock Envoy as a child process, configured by `lateen bootstrap`.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::Context;
use serde_json::Value;

use crate::{http, process::Process, server};

/// A running Envoy.
#[derive(Debug)]
pub struct Envoy {
    /// The process.
    pub process: Process,
    /// Its admin port.
    pub admin: SocketAddr,
    folder: tempfile::TempDir,
}

/// Which Envoy.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Release {
    /// The one that the project is made for.
    Current,
    /// The oldest that the registry has.
    Oldest,
}

impl Release {
    fn binary(self) -> anyhow::Result<PathBuf> {
        match self {
            Self::Current => binary(),
            Self::Oldest => lateen_test_servers::client("envoy-oldest"),
        }
    }
}

/// The Envoy binary: `LATEEN_ENVOY`, as `make e2e` sets it. Without it the test fails: it is not skipped.
pub fn binary() -> anyhow::Result<PathBuf> {
    let path = std::env::var_os("LATEEN_ENVOY").context("LATEEN_ENVOY names no Envoy; run `make e2e`")?;
    Ok(path.into())
}

impl Envoy {
    /// Starts an Envoy as the node that `node` (flags of `lateen bootstrap`) describes.
    pub fn start(xds: SocketAddr, node: &[&str]) -> anyhow::Result<Self> {
        Self::start_release(Release::Current, xds, node)
    }

    /// The same with a certain release.
    pub fn start_release(release: Release, xds: SocketAddr, node: &[&str]) -> anyhow::Result<Self> {
        Self::start_release_with(release, &Self::bootstrap(xds, node)?)
    }

    /// What `lateen bootstrap` prints for a node.
    pub fn bootstrap(xds: SocketAddr, node: &[&str]) -> anyhow::Result<Vec<u8>> {
        let bootstrap = Command::new(server::binary())
            .args(["bootstrap", "--admin", "127.0.0.1:0", "--xds", &xds.to_string()])
            .args(node)
            .output()?;
        anyhow::ensure!(bootstrap.status.success(), "{}", String::from_utf8_lossy(&bootstrap.stderr));
        Ok(bootstrap.stdout)
    }

    /// Starts an Envoy with a bootstrap.
    pub fn start_with(bootstrap: &[u8]) -> anyhow::Result<Self> {
        Self::start_release_with(Release::Current, bootstrap)
    }

    /// The same with a certain release.
    pub fn start_release_with(release: Release, bootstrap: &[u8]) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("bootstrap.json");
        std::fs::write(&file, bootstrap)?;
        let admin_file = folder.path().join("admin");
        let log = std::fs::File::create(folder.path().join("log"))?;
        let process = Process::spawn(
            Command::new(release.binary()?)
                .arg("-c")
                .arg(&file)
                .arg("--admin-address-path")
                .arg(&admin_file)
                .args(["--disable-hot-restart", "--concurrency", "1", "--log-level", "info"])
                .stdout(Stdio::null())
                .stderr(log),
        )?;
        let mut admin = None;
        server::until("started", || {
            admin = std::fs::read_to_string(&admin_file)?.trim().parse().ok();
            Ok(admin.is_some())
        })?;
        Ok(Self { process, admin: admin.context("admin address")?, folder })
    }

    /// The log.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.path().join("log")).unwrap_or_default()
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// A counter or gauge by its exact name; 0 when it does not exist.
    pub fn stat(&self, name: &str) -> anyhow::Result<u64> {
        let all = http::get(self.admin, "/stats")?.body;
        let line = all.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        Ok(line.and_then(|value| value.trim().parse().ok()).unwrap_or(0))
    }

    /// The sum of all counters whose name ends so.
    pub fn stats_ending(&self, end: &str) -> anyhow::Result<u64> {
        let all = http::get(self.admin, "/stats")?.body;
        let values =
            all.lines().filter_map(|line| line.split_once(": ")).filter(|(name, _)| name.ends_with(end));
        Ok(values.filter_map(|(_, value)| value.trim().parse::<u64>().ok()).sum())
    }

    /// Waits until it is live: every listener and cluster has warmed.
    pub fn until_ready(&self) -> anyhow::Result<()> {
        server::until("ready", || Ok(http::get(self.admin, "/ready")?.status == 200))
            .with_context(|| self.log_tail())
    }

    /// `/config_dump` with endpoints.
    pub fn config_dump(&self) -> anyhow::Result<Value> {
        Ok(serde_json::from_str(&http::get(self.admin, "/config_dump?include_eds")?.body)?)
    }

    /// How many updates of any kind it has rejected.
    pub fn rejected(&self) -> anyhow::Result<u64> {
        self.stats_ending(".update_rejected")
    }

    /// What the log says of rejected updates.
    pub fn rejections(&self) -> String {
        let log = self.log();
        let words = |line: &str| line.split_once("rejected: ").map(|(_, words)| words.to_owned());
        let all: std::collections::BTreeSet<String> = log.lines().filter_map(words).collect();
        all.into_iter().take(5).collect::<Vec<_>>().join("\n")
    }

    fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().rev().take(6).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }
}
