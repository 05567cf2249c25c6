//! `lateen serve` as a child process.

use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use serde_json::Value;

use crate::{http, process::Process};

/// A running server.
#[derive(Debug)]
pub struct Server {
    process: Process,
    /// Its folder of configuration.
    pub folder: PathBuf,
    /// Its xDS port.
    pub xds: SocketAddr,
    /// Its admin port.
    pub admin: SocketAddr,
}

/// The binary under test: `LATEEN_BIN`, as `make e2e` sets it.
pub fn binary() -> PathBuf {
    std::env::var_os("LATEEN_BIN").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../target/debug/lateen")),
        PathBuf::from,
    )
}

impl Server {
    /// Starts a server on ports that the system chooses and waits until it is ready.
    pub fn start(folder: &Path) -> anyhow::Result<Self> {
        Self::start_at(folder, "127.0.0.1:0", &[])
    }

    /// Starts a server whose xDS address is `xds`, with further flags.
    pub fn start_at(folder: &Path, xds: &str, flags: &[&str]) -> anyhow::Result<Self> {
        Self::start_from(&[&format!("file={}", folder.display())], folder, xds, flags)
    }

    /// Starts a server with these adapters; `folder` is where [`Self::write`] writes, if one reads it.
    pub fn start_from(adapters: &[&str], folder: &Path, xds: &str, flags: &[&str]) -> anyhow::Result<Self> {
        let mut command = Command::new(binary());
        command
            .args(["serve", "--xds-listen", xds, "--admin-listen", "127.0.0.1:0"])
            .args(adapters.iter().flat_map(|adapter| ["--adapter", adapter]))
            .args(flags)
            .stdout(Stdio::piped());
        let mut process = Process::spawn(&mut command).context("can't start lateen")?;
        let output = process.child().stdout.take().context("stdout")?;
        let mut lines = BufReader::new(output).lines();
        let mut address = |prefix: &str| -> anyhow::Result<SocketAddr> {
            let line = lines.next().context("lateen ended")??;
            line.strip_prefix(prefix)
                .with_context(|| format!("unexpected line {line:?}"))?
                .parse()
                .map_err(Into::into)
        };
        let server = Self {
            xds: address("xDS on ")?,
            admin: address("admin on ")?,
            process,
            folder: folder.to_owned(),
        };
        server.until("ready", |s| Ok(http::get(s.admin, "/ready")?.status == 200))?;
        Ok(server)
    }

    /// What `lateen status` reads.
    pub fn status(&self) -> anyhow::Result<Value> {
        Ok(serde_json::from_str(&http::get(self.admin, "/debug/status")?.body)?)
    }

    /// Waits until something holds, at most two minutes.
    pub fn until(&self, what: &str, holds: impl Fn(&Self) -> anyhow::Result<bool>) -> anyhow::Result<()> {
        until(what, || holds(self))
    }

    /// Replaces a file, and waits until the change has reached every node.
    pub fn edit(&self, name: &str, text: &str) -> anyhow::Result<()> {
        self.edited(|| self.write(name, text))
    }

    /// Removes a file, and waits until the change has reached every node.
    pub fn remove(&self, name: &str) -> anyhow::Result<()> {
        self.edited(|| Ok(std::fs::remove_file(self.folder.join(name))?))
    }

    fn edited(&self, edit: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<()> {
        let before = self.status()?["revision"].as_u64();
        edit()?;
        self.until("live on every node", |server| {
            let status = server.status()?;
            let out = out_of_sync(&status);
            anyhow::ensure!(out.is_empty(), "{out:?}");
            Ok(status["revision"].as_u64() > before)
        })
    }

    /// Waits until so many different nodes are connected, and all they subscribed to has been acknowledged.
    pub fn until_synced(&self, nodes: usize) -> anyhow::Result<()> {
        self.until("all nodes in sync", |server| {
            let status = server.status()?;
            let out = out_of_sync(&status);
            anyhow::ensure!(out.is_empty(), "{out:?}");
            // A node with separate streams is there once for each.
            let connected = status["nodes"].as_array().into_iter().flatten();
            let connected: BTreeSet<&str> = connected.filter_map(|node| node["id"].as_str()).collect();
            Ok(connected.len() == nodes)
        })
    }

    /// Kills the process without notice.
    pub fn kill(mut self) {
        // Already gone is fine.
        let _ = self.process.child().kill();
    }

    /// The process.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Replaces a file of the folder in one step.
    pub fn write(&self, name: &str, text: &str) -> anyhow::Result<()> {
        Ok(crate::bench::world::replace(&self.folder, name, text)?)
    }
}

/// Nodes and types whose state is not SYNCED, as `lateen status` says it.
pub fn out_of_sync(status: &Value) -> Vec<String> {
    let mut out = Vec::new();
    for node in status["nodes"].as_array().into_iter().flatten() {
        for kind in node["types"].as_array().into_iter().flatten() {
            if kind["state"] != "SYNCED" {
                out.push(format!("{} {} {} {}", node["id"], kind["kind"], kind["state"], kind["message"]));
            }
        }
    }
    out
}

/// Waits until something holds, at most two minutes; the last error is part of the failure.
pub fn until(what: &str, mut holds: impl FnMut() -> anyhow::Result<bool>) -> anyhow::Result<()> {
    let began = Instant::now();
    loop {
        let result = holds();
        if matches!(result, Ok(true)) {
            return Ok(());
        }
        if began.elapsed() > Duration::from_mins(2) {
            bail!("not {what} within two minutes; last look: {result:?}");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}
