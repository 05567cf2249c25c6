//! A server process with a folder of its own.

use std::{
    fs::{self, File},
    future::Future,
    net::{Ipv4Addr, TcpListener},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, bail};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

/// How long a server may take until it answers; builds may keep both cores busy meanwhile.
const PATIENCE: Duration = Duration::from_mins(1);
/// What of its log is shown when it does not start.
const LOG_SHOWN: usize = 3000;

/// Ports that are free now.
pub fn free_ports<const N: usize>() -> anyhow::Result<[u16; N]> {
    let listeners = [(); N].map(|()| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)));
    let mut ports = [0; N];
    for (port, listener) in ports.iter_mut().zip(listeners) {
        *port = listener?.local_addr()?.port();
    }
    Ok(ports)
}

/// A server that is killed, and whose folder is removed, when dropped.
#[derive(Debug)]
pub struct Running {
    name: &'static str,
    folder: TempDir,
    child: Option<Child>,
}

impl Running {
    /// A folder for a server that is not started yet.
    pub fn prepare(name: &'static str) -> anyhow::Result<Self> {
        Ok(Self { name, folder: tempfile::Builder::new().prefix(name).tempdir()?, child: None })
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Starts it (again), in its folder with its output in a log there, and waits until `is_up`.
    pub async fn start<F>(&mut self, command: &mut Command, is_up: impl Fn() -> F) -> anyhow::Result<()>
    where
        F: Future<Output = bool>,
    {
        self.kill();
        let path = self.folder().join("log");
        let log = File::options().create(true).append(true).open(&path)?;
        command.current_dir(self.folder()).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = command.spawn().with_context(|| format!("starting {}", self.name))?;
        self.child = Some(child);
        let end = Instant::now() + PATIENCE;
        while !is_up().await {
            let ended = self.child.as_mut().map(Child::try_wait).transpose()?.flatten();
            if ended.is_some() || Instant::now() > end {
                let log = fs::read_to_string(&path).unwrap_or_default();
                let shown = log.char_indices().rev().nth(LOG_SHOWN).map_or(0, |(at, _)| at);
                bail!("{} does not start ({ended:?}):\n{}", self.name, &log[shown..]);
            }
            sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// Process id, 0 when it does not run.
    pub fn id(&self) -> u32 {
        self.child.as_ref().map_or(0, Child::id)
    }

    /// Kills it; its folder stays.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Already gone is fine.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Stops it from doing anything, as a machine that hangs: connections stay open and silent.
    pub fn pause(&self) -> anyhow::Result<()> {
        self.signal("STOP")
    }

    /// Lets it go on.
    pub fn resume(&self) -> anyhow::Result<()> {
        self.signal("CONT")
    }

    /// Sends a signal by name (`TERM`).
    pub fn signal(&self, name: &str) -> anyhow::Result<()> {
        let status = Command::new("kill").arg(format!("-{name}")).arg(self.id().to_string()).status()?;
        anyhow::ensure!(status.success(), "kill -{name} failed");
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}
