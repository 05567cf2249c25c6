//! The client under test: a command line, or a task inside this process.

use std::{
    fmt, future::Future, net::SocketAddr, path::PathBuf, pin::Pin, process::Stdio, sync::Arc, time::Duration,
};

use http_body_util::{BodyExt, Empty};
use hyper_util::{client::legacy, rt::TokioExecutor};
use tokio::task::JoinHandle;

use super::bootstrap;
use crate::{
    case::Variant,
    context::{Failure, Outcome},
};

/// Bytes of the client's log shown where a case fails.
const LOG_BYTES_MAX: usize = 2000;

/// How a client is started.
#[derive(Clone)]
pub enum Client {
    /// By a command line: a process for each run.
    Command(Command),
    /// As a task of this process.
    Task(Arc<Start>),
}

/// Starts a client of the server at that address, in that variant.
pub type Start = dyn Fn(SocketAddr, Variant) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync;

/// A client's command line.
#[derive(Clone, Debug)]
pub struct Command {
    /// The words of the command. `{bootstrap}` becomes the path of the bootstrap made for the run, `{address}` and
    /// `{port}` the server's, `{variant}` the variant's name, `{admin}` the path of a file into which the client
    /// writes the address of an admin port like Envoy's.
    pub words: Vec<String>,
    /// The bootstrap that is made.
    pub bootstrap: bootstrap::Kind,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Command(command) => f.debug_tuple("Command").field(command).finish(),
            Self::Task(_) => f.write_str("Task"),
        }
    }
}

/// A client that runs until it is dropped.
#[derive(Debug)]
pub(crate) enum Running {
    Process { _child: Box<tokio::process::Child>, folder: tempfile::TempDir, admin: bool },
    Task(JoinHandle<()>),
}

impl Drop for Running {
    fn drop(&mut self) {
        match self {
            // The child is killed by its own drop.
            Self::Process { .. } => {}
            Self::Task(task) => task.abort(),
        }
    }
}

impl Running {
    pub(crate) fn start(client: &Client, server: SocketAddr, variant: Variant) -> Outcome<Self> {
        match client {
            Client::Task(start) => Ok(Self::Task(tokio::spawn(start(server, variant)))),
            Client::Command(command) => process(command, server, variant)
                .map_err(|error| Failure::Broken(format!("starting the client: {error}"))),
        }
    }

    /// The end of what the client said.
    pub(crate) fn log(&self) -> Option<String> {
        let Self::Process { folder, .. } = self else { return None };
        let log = std::fs::read(folder.path().join("log")).ok()?;
        let from = log.len().saturating_sub(LOG_BYTES_MAX);
        log.get(from..).map(|end| String::from_utf8_lossy(end).into_owned())
    }

    /// Asks the admin port. `None`: there is none.
    pub(crate) async fn admin(&self, path: &str) -> Outcome<Option<String>> {
        let Self::Process { folder, admin: true, .. } = self else { return Ok(None) };
        let file: PathBuf = folder.path().join("admin");
        let broken = |what: String| Failure::Broken(format!("asking the client's admin port: {what}"));
        // The file is there once the client has its port.
        let address = tokio::time::timeout(Duration::from_secs(10), async {
            loop {
                match std::fs::read_to_string(&file) {
                    Ok(address) if !address.is_empty() => return address,
                    _ => tokio::time::sleep(Duration::from_millis(20)).await,
                }
            }
        })
        .await
        .map_err(|_| broken("it has not told its address".to_owned()))?;
        let client: legacy::Client<_, Empty<bytes::Bytes>> =
            legacy::Client::builder(TokioExecutor::new()).build_http();
        let uri = format!("http://{}{path}", address.trim())
            .parse()
            .map_err(|error| broken(format!("{address}: {error}")))?;
        let response = client.get(uri).await.map_err(|error| broken(error.to_string()))?;
        let body = response.into_body().collect().await.map_err(|error| broken(error.to_string()))?;
        Ok(Some(String::from_utf8_lossy(&body.to_bytes()).into_owned()))
    }
}

fn process(command: &Command, server: SocketAddr, variant: Variant) -> std::io::Result<Running> {
    let folder = tempfile::tempdir()?;
    let bootstrap_file = folder.path().join("bootstrap.json");
    std::fs::write(&bootstrap_file, bootstrap::make(command.bootstrap, server, variant).to_string())?;
    let admin = folder.path().join("admin");
    let log = std::fs::File::create(folder.path().join("log"))?;
    let fill = |word: &String| {
        word.replace("{bootstrap}", &bootstrap_file.to_string_lossy())
            .replace("{address}", &server.to_string())
            .replace("{port}", &server.port().to_string())
            .replace("{variant}", variant.name())
            .replace("{admin}", &admin.to_string_lossy())
    };
    let mut words = command.words.iter().map(fill);
    let program = words.next().ok_or_else(|| std::io::Error::other("the command is empty"))?;
    let child = tokio::process::Command::new(program)
        .args(words)
        .stdin(Stdio::null())
        .stdout(Stdio::from(log.try_clone()?))
        .stderr(Stdio::from(log))
        .kill_on_drop(true)
        .spawn()?;
    let has_admin = command.words.iter().any(|word| word.contains("{admin}"));
    Ok(Running::Process { _child: Box::new(child), folder, admin: has_admin })
}
