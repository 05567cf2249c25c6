//! `lateen serve` as a child process.

use std::{
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
        let mut command = Command::new(binary());
        command
            .args(["serve", "--xds-listen", xds, "--admin-listen", "127.0.0.1:0", "--adapter"])
            .arg(format!("file={}", folder.display()))
            .args(flags)
            .stdout(Stdio::piped());
        let mut process = Process::spawn(&mut command).context("can't start lateen")?;
        let output = process.child().stdout.take().context("stdout")?;
        let mut lines = BufReader::new(output).lines();
        let mut address = |prefix: &str| -> anyhow::Result<SocketAddr> {
            let line = lines.next().context("lateen ended")??;
            line.strip_prefix(prefix).with_context(|| format!("unexpected line {line:?}"))?.parse().map_err(Into::into)
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

    /// Waits until something holds, at most 20 s.
    pub fn until(&self, what: &str, holds: impl Fn(&Self) -> anyhow::Result<bool>) -> anyhow::Result<()> {
        until(what, || holds(self))
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

/// Waits until something holds, at most 20 s; the last error is part of the failure.
pub fn until(what: &str, mut holds: impl FnMut() -> anyhow::Result<bool>) -> anyhow::Result<()> {
    let began = Instant::now();
    loop {
        let result = holds();
        if matches!(result, Ok(true)) {
            return Ok(());
        }
        if began.elapsed() > Duration::from_secs(20) {
            bail!("not {what} within 20 s; last look: {result:?}");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}
