//! A Consul agent that is the only server.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, ensure};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, SanType, date_time_ymd};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::{Running, binary, free_ports};

/// The token that may everything, where there are tokens.
pub const MANAGEMENT: &str = "7d0b7c1e-6a3f-4d7e-9c39-0d6f0c0a0001";
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// How Consul is started.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Options {
    /// Permissions are checked, and nobody has any without a token.
    pub acl: bool,
    /// HTTPS with a certificate of a private authority, and only for clients that have one too.
    pub tls: bool,
    /// What is registered and written survives a restart.
    pub durable: bool,
}

/// A Consul agent. It ends, and what it stored is removed, when it is dropped.
#[derive(Debug)]
pub struct Consul {
    running: Running,
    options: Options,
    /// HTTP, HTTPS, server, gossip.
    ports: [u16; 4],
}

impl Consul {
    /// Starts one on free ports; it has a leader when this returns.
    pub async fn start(options: Options) -> anyhow::Result<Self> {
        let mut attempts = 0;
        loop {
            let mut consul = Self { running: Running::prepare("consul")?, options, ports: free_ports()? };
            if options.tls {
                consul.issue("server")?;
                consul.issue("client")?;
            }
            attempts += 1;
            match consul.restart().await {
                Ok(()) => return Ok(consul),
                // Somebody took a port between its choice and its use.
                Err(error) if attempts < 5 && format!("{error:#}").contains("address already in use") => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Where it listens for HTTP.
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.ports[0]).into()
    }

    /// The same as a URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address())
    }

    /// Where it listens for HTTPS.
    pub fn tls_address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.ports[1]).into()
    }

    /// Its Unix socket.
    pub fn socket(&self) -> PathBuf {
        self.running.folder().join("consul.sock")
    }

    /// A folder that goes with it: `ca.pem`, `client.pem`, `client.key` where there is TLS.
    pub fn folder(&self) -> &Path {
        self.running.folder()
    }

    /// Starts it again, on the same ports; without `durable` everything is forgotten.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        self.running.kill();
        let mut command = self.command()?;
        let port = self.ports[0];
        self.running.start(&mut command, || async move { has_leader(port).await }).await
    }

    /// Kills it.
    pub fn kill(&mut self) {
        self.running.kill();
    }

    /// Stops it from doing anything, as a machine that hangs.
    pub fn pause(&self) -> anyhow::Result<()> {
        self.running.pause()
    }

    /// Lets it go on.
    pub fn resume(&self) -> anyhow::Result<()> {
        self.running.resume()
    }

    /// Makes a new certificate for `name` (`server`, `client`) of a new authority; the server takes it when it is
    /// started, or on `reload`.
    pub fn issue(&self, name: &str) -> anyhow::Result<()> {
        self.issue_until(name, 4096)
    }

    /// The same for one that has expired.
    pub fn issue_expired(&self, name: &str) -> anyhow::Result<()> {
        self.issue_until(name, 2020)
    }

    fn issue_until(&self, name: &str, year: i32) -> anyhow::Result<()> {
        let folder = self.folder();
        let key_path = folder.join("ca.key");
        let mut authority = CertificateParams::default();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        if !key_path.exists() {
            fs::write(&key_path, KeyPair::generate()?.serialize_pem())?;
        }
        let authority_key = KeyPair::from_pem(&fs::read_to_string(&key_path)?)?;
        if !folder.join("ca.pem").exists() {
            fs::write(folder.join("ca.pem"), authority.self_signed(&authority_key)?.pem())?;
        }
        let issuer = Issuer::new(authority, authority_key);
        let key = KeyPair::generate()?;
        let mut certificate = CertificateParams::new(vec!["localhost".to_owned()])?;
        certificate.subject_alt_names.push(SanType::IpAddress(Ipv4Addr::LOCALHOST.into()));
        certificate.not_after = date_time_ymd(year, 1, 1);
        fs::write(folder.join(format!("{name}.pem")), certificate.signed_by(&key, &issuer)?.pem())?;
        Ok(fs::write(folder.join(format!("{name}.key")), key.serialize_pem())?)
    }

    /// Asks with the management token.
    pub async fn ask(&self, method: &str, path: &str, body: &str) -> anyhow::Result<String> {
        ask(self.ports[0], method, path, body.as_bytes()).await
    }

    /// The same with any bytes.
    pub async fn ask_bytes(&self, method: &str, path: &str, body: &[u8]) -> anyhow::Result<String> {
        ask(self.ports[0], method, path, body).await
    }

    /// Everything that is stored, as an archive.
    pub async fn snapshot(&self) -> anyhow::Result<Vec<u8>> {
        exchange(self.ports[0], "GET", "/v1/snapshot", b"").await
    }

    /// Replaces everything that is stored.
    pub async fn restore(&self, snapshot: &[u8]) -> anyhow::Result<()> {
        exchange(self.ports[0], "PUT", "/v1/snapshot", snapshot).await.map(drop)
    }

    fn command(&self) -> anyhow::Result<Command> {
        let [http, https, server, gossip] = self.ports;
        let Options { acl, tls, durable } = self.options;
        let mut command = Command::new(binary("consul")?);
        command.arg("agent");
        if durable {
            command.args(["-server", "-bootstrap-expect=1", "-data-dir=data", "-ui=false"]);
        } else {
            command.arg("-dev");
        }
        let socket = self.socket();
        let mut hcl = format!(
            "disable_update_check = true\nleave_on_terminate = false\n\
             addresses {{ http = \"127.0.0.1 unix://{}\" }}\n\
             ports {{ http = {http}\n grpc = -1\n grpc_tls = -1\n dns = -1\n server = {server}\n \
             serf_lan = {gossip}\n serf_wan = -1\n https = {} }}\n\
             performance {{ raft_multiplier = 1 }}\n\
             limits {{ http_max_conns_per_client = 1000 }}\n",
            socket.display(),
            if tls { i32::from(https) } else { -1 }
        );
        if acl {
            hcl += "acl { enabled = true\n default_policy = \"deny\"\n token_ttl = \"0s\"\n tokens { ";
            hcl +=
                &[" initial_management = \"", MANAGEMENT, "\"\n agent = \"", MANAGEMENT, "\" } }\n"].concat();
        }
        if tls {
            hcl += "tls { https { ca_file = \"ca.pem\"\n cert_file = \"server.pem\"\n key_file = \"server.key\"\n \
                    verify_incoming = true } }\n";
        }
        let path = self.folder().join("consul.hcl");
        fs::write(&path, hcl)?;
        command.arg(format!("-config-file={}", path.display()));
        command.args([
            "-bind=127.0.0.1",
            "-client=127.0.0.1",
            "-node=c0",
            "-datacenter=dc1",
            "-log-level=warn",
        ]);
        Ok(command)
    }
}

async fn ask(port: u16, method: &str, path: &str, body: &[u8]) -> anyhow::Result<String> {
    Ok(String::from_utf8_lossy(&exchange(port, method, path, body).await?).into_owned())
}

/// One request, and the body of its answer; a refusal is an error.
async fn exchange(port: u16, method: &str, path: &str, body: &[u8]) -> anyhow::Result<Vec<u8>> {
    let exchange = async {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
        let head = format!(
            "{method} {path} HTTP/1.0\r\nX-Consul-Token: {MANAGEMENT}\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).await?;
        stream.write_all(body).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        anyhow::Ok(answer)
    };
    let answer = timeout(PATIENCE, exchange).await.context("no answer in time")??;
    let end = answer.windows(4).position(|part| part == b"\r\n\r\n").context("no answer")?;
    let (head, body) = (String::from_utf8_lossy(&answer[..end]), answer[end + 4..].to_vec());
    let status = head.split(' ').nth(1).unwrap_or_default();
    ensure!(status == "200", "{method} {path}: {head}\n{}", String::from_utf8_lossy(&body));
    Ok(body)
}

/// Does it lead, and know itself? The agent registers itself a moment after it leads.
async fn has_leader(port: u16) -> bool {
    let listed = ask(port, "GET", "/v1/catalog/services?consistent", b"").await;
    listed.is_ok_and(|listed| listed.contains("\"consul\""))
}
