//! gRPC clients that others wrote resolve `xds:///` targets through our server, call, and follow changes.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its functions too")]

use std::{
    io::{BufRead, BufReader, Write},
    process::{ChildStdin, ChildStdout, Command, Stdio},
};

use anyhow::{Context, ensure};
use bytes::{Buf, BufMut, Bytes};
use lateen_tests::{
    backend::{Backend, RUNTIME},
    mesh,
    process::Process,
    server::{Server, until},
};
use serde_json::{Value, json};
use tonic::{
    Status,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
};
use tonic_xds::{BootstrapConfig, XdsChannelBuilder, XdsChannelConfig, XdsChannelGrpc, XdsUri};

const HOST: &str = "echo.shop.svc.cluster.local";
const TARGET: &str = "xds:///echo.shop.svc.cluster.local:80";
const METHOD: &str = "/test.Echo/Say";

/// A client that calls once and says what it was answered.
trait Client {
    fn call(&mut self, request: &str) -> anyhow::Result<String>;
}

struct Python {
    _process: Process,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Python {
    fn start(bootstrap: &Value) -> anyhow::Result<Self> {
        let python =
            std::env::var_os("LATEEN_PYTHON").context("LATEEN_PYTHON names no Python; run `make e2e`")?;
        let mut process = Process::spawn(
            Command::new(python)
                .args([concat!(env!("CARGO_MANIFEST_DIR"), "/clients/grpc_client.py"), TARGET, METHOD])
                .env("GRPC_XDS_BOOTSTRAP_CONFIG", bootstrap.to_string())
                .stdin(Stdio::piped())
                .stdout(Stdio::piped()),
        )?;
        let requests = process.child().stdin.take().context("stdin")?;
        let answers = BufReader::new(process.child().stdout.take().context("stdout")?);
        Ok(Self { _process: process, requests, answers })
    }
}

impl Client for Python {
    fn call(&mut self, request: &str) -> anyhow::Result<String> {
        writeln!(self.requests, "{request}")?;
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        let answer: Value = serde_json::from_str(&line)?;
        Ok(answer["ok"].as_str().with_context(|| answer.to_string())?.to_owned())
    }
}

struct TonicXds(tonic::client::Grpc<XdsChannelGrpc>);

impl TonicXds {
    fn start(bootstrap: &Value) -> anyhow::Result<Self> {
        let bootstrap = BootstrapConfig::from_json(&bootstrap.to_string())?;
        let config = XdsChannelConfig::new(XdsUri::parse(TARGET)?).with_bootstrap(bootstrap);
        let _entered = RUNTIME.enter();
        Ok(Self(tonic::client::Grpc::new(XdsChannelBuilder::new(config).build_grpc_channel()?)))
    }
}

impl Client for TonicXds {
    fn call(&mut self, request: &str) -> anyhow::Result<String> {
        let request = tonic::Request::new(Bytes::copy_from_slice(request.as_bytes()));
        RUNTIME.block_on(async {
            self.0.ready().await.map_err(|error| anyhow::anyhow!("not ready: {error:?}"))?;
            let answer = self.0.unary(request, METHOD.parse()?, Raw).await?;
            Ok(String::from_utf8(answer.into_inner().to_vec())?)
        })
    }
}

/// Messages as they are on the wire.
#[derive(Clone, Copy, Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        let length = buffer.remaining();
        Ok(Some(buffer.copy_to_bytes(length)))
    }
}

fn bootstrap(server_uri: &str) -> Value {
    json!({
        "xds_servers": [{
            "server_uri": server_uri,
            "channel_creds": [{ "type": "insecure" }],
            "server_features": ["xds_v3"],
        }],
        "node": { "id": "sidecar~127.0.0.1~client.shop~shop.svc.cluster.local", "metadata": { "GENERATOR": "grpc" } },
    })
}

fn resolves_calls_and_follows<C: Client>(scheme: &str, start: impl FnOnce(&Value) -> anyhow::Result<C>) {
    let folder = tempfile::tempdir().unwrap();
    let [first, second, third] = ["first", "second", "third"].map(|name| Backend::grpc(name).unwrap());
    let write = |name: &str, text: String| std::fs::write(folder.path().join(name), text).unwrap();
    let other = "other.shop.svc.cluster.local";
    write("echo.yaml", mesh::service(HOST, "GRPC", &[&first]));
    write("other.yaml", mesh::service(other, "GRPC", &[&second]));
    let server = Server::start(folder.path()).unwrap();
    let mut client = start(&bootstrap(&format!("{scheme}{}", server.xds))).unwrap();

    let answered = |client: &mut C, by: &str| {
        until(&format!("answered by {by}"), || {
            let answer = client.call("hello")?;
            ensure!(answer == format!("{by}:hello"), "{answer}");
            Ok(true)
        })
        .unwrap();
    };
    answered(&mut client, "first");
    // A route to another service, then other endpoints of that one, then half and half.
    server.write("route.yaml", &mesh::split("echo", "mesh", HOST, &[(other, 100)])).unwrap();
    answered(&mut client, "second");
    server.write("other.yaml", &mesh::service(other, "GRPC", &[&third])).unwrap();
    answered(&mut client, "third");
    server.write("route.yaml", &mesh::split("echo", "mesh", HOST, &[(HOST, 50), (other, 50)])).unwrap();
    answered(&mut client, "first");
    answered(&mut client, "third");

    server.until_synced(1).unwrap();
    let status = server.status().unwrap();
    assert_eq!(status["nodes"][0]["stream"], "sotw ads", "{status:#}");
}

#[test]
fn python_grpcio_resolves_calls_and_follows_changes() {
    resolves_calls_and_follows("", Python::start);
}

#[test]
fn tonic_xds_resolves_calls_and_follows_changes() {
    resolves_calls_and_follows("http://", TonicXds::start);
}
