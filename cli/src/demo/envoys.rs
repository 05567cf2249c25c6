//! Stock Envoys as child processes that do not outlive the demo.

use std::{
    env, fs, io,
    net::SocketAddr,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use serde_json::Value;
use tokio::process::{Child, Command};

use super::client::{CallError, Http};

/// How often a file is looked for.
const POLL: Duration = Duration::from_millis(20);
/// How long an Envoy may take until its admin port is open.
const START_LIMIT: Duration = Duration::from_secs(30);
/// Lines of a log that are shown.
const LOG_LINES: usize = 8;

/// Why there is no Envoy.
#[derive(Debug, thiserror::Error)]
pub enum EnvoyError {
    /// Not given, and not on the path.
    #[error("no Envoy: give one with --envoy PATH (tools/fetch-envoy.sh fetches one and prints its path)")]
    NotFound,
    /// Given, but not to be run.
    #[error("{} is no program that can be run", .0.display())]
    NotExecutable(PathBuf),
    /// A file of its folder can't be written.
    #[error("the files of Envoy {name} can't be written: {source}")]
    Files {
        /// Which.
        name: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It can't be started.
    #[error("Envoy {name} can't be started: {source}")]
    Spawn {
        /// Which.
        name: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It ended, or never opened its admin port.
    #[error("Envoy {name} {what}\n{log}")]
    Failed {
        /// Which.
        name: String,
        /// What happened.
        what: String,
        /// The end of its log.
        log: String,
    },
}

/// The Envoy to run: the one given, else the one on the path.
pub fn find(given: Option<&Path>) -> Result<PathBuf, EnvoyError> {
    match given {
        // A relative path is one of this folder, also without a slash in it.
        Some(path) => {
            let path = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
            if is_executable(&path) { Ok(path) } else { Err(EnvoyError::NotExecutable(path)) }
        }
        None => on_path("envoy").ok_or(EnvoyError::NotFound),
    }
}

fn on_path(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|folder| folder.join(program)).find(|file| is_executable(file))
}

fn is_executable(file: &Path) -> bool {
    fs::metadata(file).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// A running Envoy; killed when dropped.
#[derive(Debug)]
pub struct Envoy {
    /// Name of its workload.
    pub name: String,
    /// Its admin port.
    pub admin: SocketAddr,
    child: Child,
    log: PathBuf,
}

/// An Envoy that was started.
#[derive(Debug)]
pub struct Starting {
    name: String,
    child: Child,
    log: PathBuf,
    admin_file: PathBuf,
}

impl Starting {
    /// Starts an Envoy whose files are in a folder. To be called on the main thread: see [`command`].
    pub fn spawn(program: &Path, folder: &Path, name: &str, bootstrap: &Value) -> Result<Self, EnvoyError> {
        let files = |source| EnvoyError::Files { name: name.to_owned(), source };
        let bootstrap_file = folder.join(format!("{name}.json"));
        let admin_file = folder.join(format!("{name}.admin"));
        let log = folder.join(format!("{name}.log"));
        fs::write(&bootstrap_file, bootstrap.to_string()).map_err(files)?;
        let log_file = fs::File::create(&log).map_err(files)?;
        let mut command = command(program);
        command
            .arg("-c")
            .arg(&bootstrap_file)
            .arg("--admin-address-path")
            .arg(&admin_file)
            .args(["--disable-hot-restart", "--concurrency", "1", "--log-level", "warning"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log_file)
            // Ctrl-C at the terminal is for the demo, which then ends them in order.
            .process_group(0)
            .kill_on_drop(true);
        let child = command.spawn().map_err(|source| EnvoyError::Spawn { name: name.to_owned(), source })?;
        Ok(Self { name: name.to_owned(), child, log, admin_file })
    }

    /// Waits until its admin port is open.
    pub async fn started(mut self) -> Result<Envoy, EnvoyError> {
        let deadline = tokio::time::Instant::now() + START_LIMIT;
        loop {
            let admin = fs::read_to_string(&self.admin_file).ok().and_then(|text| text.trim().parse().ok());
            if let Some(admin) = admin {
                return Ok(Envoy { name: self.name, admin, child: self.child, log: self.log });
            }
            let ended = self.child.try_wait().ok().flatten();
            let late = tokio::time::Instant::now() > deadline;
            if ended.is_some() || late {
                let what = match ended {
                    Some(status) => format!("ended: {status}"),
                    None => format!("did not start within {START_LIMIT:?}"),
                };
                return Err(EnvoyError::Failed { name: self.name, what, log: tail(&self.log) });
            }
            tokio::time::sleep(POLL).await;
        }
    }
}

/// The command; where `setpriv` is, the kernel ends the Envoy even when the demo is killed with SIGKILL. It does so
/// when the *thread* ends that started it, so that has to be the main thread.
/// <https://man7.org/linux/man-pages/man2/PR_SET_PDEATHSIG.2const.html>
fn command(program: &Path) -> Command {
    match on_path("setpriv") {
        Some(setpriv) => {
            let mut command = Command::new(setpriv);
            command.args(["--pdeathsig", "KILL", "--"]).arg(program);
            command
        }
        None => Command::new(program),
    }
}

impl Envoy {
    /// Is it live, that is: are all its listeners there?
    pub async fn is_ready(&self) -> bool {
        let answer = Http::new(self.admin).get("localhost", "/ready", &[]).await;
        answer.is_ok_and(|answer| answer.status.is_success())
    }

    /// A page of its admin port.
    pub async fn page(&self, path: &str) -> Result<String, CallError> {
        Ok(Http::new(self.admin).get("localhost", path, &[]).await?.text())
    }

    /// The sum of all counters and gauges whose name contains all parts.
    pub async fn sum(&self, parts: &[&str]) -> Result<u64, CallError> {
        let all = self.page("/stats").await?;
        let fitting = all
            .lines()
            .filter_map(|line| line.split_once(": "))
            .filter(|(name, _)| parts.iter().all(|part| name.contains(part)));
        Ok(fitting.filter_map(|(_, value)| value.trim().parse::<u64>().ok()).sum())
    }

    /// The end of its log.
    pub fn log(&self) -> String {
        tail(&self.log)
    }

    /// Ends it and waits for its end.
    pub async fn end(mut self) {
        // It may have ended already.
        let _ = self.child.kill().await;
    }
}

fn tail(log: &Path) -> String {
    let text = fs::read(log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let from = lines.len().saturating_sub(LOG_LINES);
    lines.get(from..).unwrap_or_default().join("\n")
}
