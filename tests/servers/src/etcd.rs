//! etcd: one member, or several.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::{Command, Output},
};

use anyhow::{Context, ensure};
use tokio::{io::AsyncWriteExt, net::TcpStream};

use crate::{Running, binary, free_ports};

/// How often it is tried to find free ports.
const TRIES: usize = 3;

/// Certificates of a server that speaks TLS.
#[derive(Clone, Debug)]
pub struct EtcdTls {
    /// PEM file with its certificate.
    pub cert: PathBuf,
    /// PEM file with its key.
    pub key: PathBuf,
    /// PEM file with the roots that clients' certificates must chain to; without it, none are asked for.
    pub client_ca: Option<PathBuf>,
}

/// How etcd is started.
#[derive(Clone, Debug, Default)]
pub struct EtcdOptions {
    /// Clients speak TLS.
    pub tls: Option<EtcdTls>,
    /// Further flags.
    pub flags: Vec<String>,
}

/// One member; its data survive [`Etcd::kill`].
#[derive(Debug)]
pub struct Etcd {
    running: Running,
    options: EtcdOptions,
    name: String,
    client: u16,
    peer: u16,
    cluster: String,
}

impl Etcd {
    /// A cluster of one, which is ready for clients.
    pub async fn start() -> anyhow::Result<Self> {
        Self::start_with(EtcdOptions::default()).await
    }

    /// The same with options.
    pub async fn start_with(options: EtcdOptions) -> anyhow::Result<Self> {
        let mut tries = 0;
        loop {
            let [client, peer] = free_ports()?;
            let cluster = format!("n0=http://127.0.0.1:{peer}");
            let mut etcd = Self::prepare("n0", client, peer, cluster, options.clone())?;
            tries += 1;
            match etcd.restart().await {
                Ok(()) => return Ok(etcd),
                // A port that was free may be taken meanwhile.
                Err(error) if tries == TRIES => return Err(error),
                Err(_) => {}
            }
        }
    }

    /// A cluster of three.
    pub async fn start_three() -> anyhow::Result<[Self; 3]> {
        let ports: [u16; 6] = free_ports()?;
        let cluster: Vec<String> =
            (0..3).map(|n| format!("n{n}=http://127.0.0.1:{}", ports[3 + n])).collect();
        let member = |n: usize| {
            Self::prepare(&format!("n{n}"), ports[n], ports[3 + n], cluster.join(","), EtcdOptions::default())
        };
        let mut members = [member(0)?, member(1)?, member(2)?];
        let [a, b, c] = &mut members;
        let (a, b, c) = tokio::join!(a.restart(), b.restart(), c.restart());
        a.and(b).and(c)?;
        Ok(members)
    }

    fn prepare(
        name: &str,
        client: u16,
        peer: u16,
        cluster: String,
        options: EtcdOptions,
    ) -> anyhow::Result<Self> {
        let running = Running::prepare("etcd")?;
        Ok(Self { running, options, name: name.to_owned(), client, peer, cluster })
    }

    /// Starts it again at the same address with its data.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        let scheme = if self.options.tls.is_some() { "https" } else { "http" };
        let client = format!("{scheme}://127.0.0.1:{}", self.client);
        let peer = format!("http://127.0.0.1:{}", self.peer);
        // Health is told in the clear on a port of its own, whatever clients speak. It answers when there is a leader.
        let [metrics] = free_ports()?;
        let mut command = Command::new(binary("etcd")?);
        command.args([
            "--name",
            &self.name,
            "--data-dir",
            "data",
            "--unsafe-no-fsync",
            "--log-level",
            "warn",
        ]);
        command.args(["--listen-client-urls", &client, "--advertise-client-urls", &client]);
        command.args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer]);
        command.args(["--initial-cluster", &self.cluster]);
        command.args(["--listen-metrics-urls", &format!("http://127.0.0.1:{metrics}")]);
        // A cluster of one elects itself; no need to wait long for others. Several get time: builds are busy.
        let alone = !self.cluster.contains(',');
        let (heartbeat, election) = if alone { ("20", "200") } else { ("100", "1000") };
        command.args(["--heartbeat-interval", heartbeat, "--election-timeout", election]);
        if let Some(EtcdTls { cert, key, client_ca }) = &self.options.tls {
            command.arg("--cert-file").arg(cert).arg("--key-file").arg(key);
            if let Some(ca) = client_ca {
                command.arg("--client-cert-auth").arg("--trusted-ca-file").arg(ca);
            }
        }
        command.args(&self.options.flags);
        self.running.start(&mut command, || is_healthy(metrics)).await
    }

    /// Where clients connect.
    pub fn url(&self) -> String {
        let scheme = if self.options.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://127.0.0.1:{}", self.client)
    }

    /// The same as an address.
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.client).into()
    }

    /// A folder that is removed with it.
    pub fn folder(&self) -> &Path {
        self.running.folder()
    }

    /// Process id.
    pub fn id(&self) -> u32 {
        self.running.id()
    }

    /// Kills it; its data stay.
    pub fn kill(&mut self) {
        self.running.kill();
    }

    /// Stops it from doing anything, while its connections stay open.
    pub fn pause(&self) -> anyhow::Result<()> {
        self.running.pause()
    }

    /// Lets it go on.
    pub fn resume(&self) -> anyhow::Result<()> {
        self.running.resume()
    }

    /// A copy of its data folder, to be put back later. It must not run.
    pub fn save(&self) -> anyhow::Result<PathBuf> {
        let to = self.folder().join("saved");
        copy(&self.folder().join("data"), &to)?;
        Ok(to)
    }

    /// Puts back what was saved. It must not run.
    pub fn put_back(&self, saved: &Path) -> anyhow::Result<()> {
        let data = self.folder().join("data");
        std::fs::remove_dir_all(&data)?;
        copy(saved, &data)
    }

    /// Runs `etcdctl` against it; what it prints.
    pub fn ctl(&self, args: &[&str]) -> anyhow::Result<String> {
        let mut command = Command::new(binary("etcdctl")?);
        command.arg("--endpoints").arg(self.url()).args(args);
        let Output { status, stdout, stderr } = command.output().context("running etcdctl")?;
        ensure!(status.success(), "etcdctl {args:?}: {}", String::from_utf8_lossy(&stderr));
        Ok(String::from_utf8_lossy(&stdout).into_owned())
    }
}

fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    let status = Command::new("cp").arg("-a").arg(from).arg(to).status()?;
    ensure!(status.success(), "copying {} failed", from.display());
    Ok(())
}

/// Does it say that it is healthy? That is one request; no HTTP client is worth it.
async fn is_healthy(port: u16) -> bool {
    let asked = async {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
        stream.write_all(b"GET /health HTTP/1.0\r\n\r\n").await?;
        let mut answer = Vec::new();
        tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut answer).await?;
        std::io::Result::Ok(answer)
    };
    asked.await.is_ok_and(|answer| String::from_utf8_lossy(&answer).contains("\"true\""))
}
