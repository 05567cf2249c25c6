//! gRPC clients that others wrote, each a process that calls once for each line it reads.

use std::{
    io::{BufRead, BufReader, Write},
    path::PathBuf,
    process::{ChildStdin, ChildStdout, Command, Stdio},
};

use anyhow::{Context, ensure};
use serde_json::{Value, json};

use crate::process::Process;

/// Something that calls, and says what it was answered.
pub trait Caller {
    /// One call of [`METHOD`]; an error of the call is an error here.
    fn call(&mut self, message: &str, headers: &[(&str, &str)]) -> anyhow::Result<String>;
}

/// The method that is called.
pub const METHOD: &str = "/test.Echo/Say";

/// Whose client.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Language {
    /// grpcio, which is gRPC's C core.
    Python,
    /// grpc-go.
    Go,
    /// grpc-js.
    Node,
}

/// A client process.
#[derive(Debug)]
pub struct Client {
    _process: Process,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
}

/// The Python with grpcio: `LATEEN_PYTHON`, as `make e2e` sets it. Without it the test fails: it is not skipped.
pub fn python() -> anyhow::Result<PathBuf> {
    let path = std::env::var_os("LATEEN_PYTHON").context("LATEEN_PYTHON names no Python; run `make e2e`")?;
    Ok(path.into())
}

impl Client {
    /// Starts a client of `target` with an xDS bootstrap.
    /// <https://github.com/grpc/proposal/blob/master/A27-xds-global-load-balancing.md#xdsclient-and-bootstrap-file>
    pub fn start(language: Language, target: &str, bootstrap: &Value) -> anyhow::Result<Self> {
        let mut command = match language {
            Language::Python => {
                let mut command = Command::new(python()?);
                command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/clients/client.py"));
                command
            }
            Language::Go => Command::new(lateen_test_servers::client("grpc-go")?),
            Language::Node => Command::new(lateen_test_servers::client("grpc-js")?),
        };
        let mut process = Process::spawn(
            command
                .args([target, METHOD])
                .env("GRPC_XDS_BOOTSTRAP_CONFIG", bootstrap.to_string())
                .stdin(Stdio::piped())
                .stdout(Stdio::piped()),
        )?;
        let requests = process.child().stdin.take().context("stdin")?;
        let answers = BufReader::new(process.child().stdout.take().context("stdout")?);
        Ok(Self { _process: process, requests, answers })
    }
}

impl Caller for Client {
    fn call(&mut self, message: &str, headers: &[(&str, &str)]) -> anyhow::Result<String> {
        let headers: serde_json::Map<String, Value> =
            headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).into())).collect();
        writeln!(self.requests, "{}", json!({ "message": message, "headers": headers }))?;
        let mut line = String::new();
        ensure!(self.answers.read_line(&mut line)? > 0, "the client has ended");
        let answer: Value = serde_json::from_str(&line)?;
        Ok(answer["ok"].as_str().with_context(|| answer.to_string())?.to_owned())
    }
}
