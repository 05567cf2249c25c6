//! An API server of Kubernetes with an etcd of its own, and the controllers that a mesh needs.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Context;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::{Running, binary, free_ports};

/// What of Kubernetes is started.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// The controllers that fill slices, end namespaces and collect garbage too.
    pub controllers: bool,
}

/// A user that the server knows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum User {
    /// May everything.
    Admin,
    /// A member of no group that may anything: what it may is what the test binds.
    Mesh,
}

impl User {
    fn token(self) -> &'static str {
        match self {
            Self::Admin => "admin-token",
            Self::Mesh => "mesh-token",
        }
    }
}

/// A cluster without machines. The servers end, and what they stored is removed, when it is dropped.
#[derive(Debug)]
pub struct Kubernetes {
    controllers: Option<Running>,
    server: Running,
    etcd: Running,
    port: u16,
    etcd_ports: [u16; 2],
}

impl Kubernetes {
    /// Starts one, on free ports.
    pub async fn start(options: Options) -> anyhow::Result<Self> {
        let [port, client, peer] = free_ports()?;
        let etcd = Running::prepare("etcd")?;
        let server = Running::prepare("kube-apiserver")?;
        write_credentials(server.folder())?;
        let mut all = Self { controllers: None, server, etcd, port, etcd_ports: [client, peer] };
        for user in [User::Admin, User::Mesh] {
            all.write_kubeconfig(user, all.address())?;
        }
        all.start_etcd().await?;
        all.start_server().await?;
        if options.controllers {
            all.start_controllers().await?;
        }
        Ok(all)
    }

    /// Where the API server listens.
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// The API server's address as a URL.
    pub fn url(&self) -> String {
        format!("https://{}", self.address())
    }

    /// The file with the authority of the server's certificate.
    pub fn authority(&self) -> PathBuf {
        self.server.folder().join("ca.crt")
    }

    /// What a user shows the server.
    pub fn token(&self, user: User) -> &'static str {
        user.token()
    }

    /// A kubeconfig for a user, straight to the server.
    pub fn kubeconfig(&self, user: User) -> PathBuf {
        self.kubeconfig_path(user, self.address())
    }

    /// A kubeconfig for a user through something that stands before the server.
    pub fn kubeconfig_through(&self, user: User, address: SocketAddr) -> anyhow::Result<PathBuf> {
        self.write_kubeconfig(user, address)
    }

    fn kubeconfig_path(&self, user: User, address: SocketAddr) -> PathBuf {
        self.server.folder().join(format!("{}-{}.kubeconfig", user.token(), address.port()))
    }

    fn write_kubeconfig(&self, user: User, address: SocketAddr) -> anyhow::Result<PathBuf> {
        let (authority, token) = (self.authority(), user.token());
        let text = format!(
            "apiVersion: v1\nkind: Config\n\
             clusters: [{{name: t, cluster: {{server: \"https://{address}\", certificate-authority: {}}}}}]\n\
             users: [{{name: u, user: {{token: {token}}}}}]\n\
             contexts: [{{name: t, context: {{cluster: t, user: u}}}}]\n\
             current-context: t\n",
            authority.display()
        );
        let path = self.kubeconfig_path(user, address);
        fs::write(&path, text)?;
        Ok(path)
    }

    /// Kills the API server; what it stored stays.
    pub fn kill(&mut self) {
        self.server.kill();
    }

    /// Starts the API server again, over what is stored, on the same port.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        self.start_server().await
    }

    /// Keeps what is stored now, for [`Kubernetes::put_back`]. Both servers are restarted for it.
    pub async fn save(&mut self) -> anyhow::Result<()> {
        self.exchange("data", "saved").await
    }

    /// Puts back what was saved, as an operator does who restores an old snapshot.
    pub async fn put_back(&mut self) -> anyhow::Result<()> {
        self.exchange("saved", "data").await
    }

    async fn exchange(&mut self, from: &str, to: &str) -> anyhow::Result<()> {
        self.server.kill();
        self.etcd.kill();
        let [from, to] = [from, to].map(|name| self.etcd.folder().join(name));
        if to.exists() {
            fs::remove_dir_all(&to)?;
        }
        let status = Command::new("cp").arg("-r").args([&from, &to]).status()?;
        anyhow::ensure!(status.success(), "cp -r failed");
        self.start_etcd().await?;
        self.start_server().await
    }

    /// Stops the API server from doing anything, while its connections stay open.
    pub fn pause(&self) -> anyhow::Result<()> {
        self.server.pause()
    }

    /// Lets it go on.
    pub fn resume(&self) -> anyhow::Result<()> {
        self.server.resume()
    }

    /// Makes the server forget a user's token: from its next start on it is not known.
    pub fn revoke(&self, user: User) -> anyhow::Result<()> {
        let path = self.server.folder().join("tokens.csv");
        let left: Vec<String> = fs::read_to_string(&path)?
            .lines()
            .filter(|line| !line.starts_with(user.token()))
            .map(str::to_owned)
            .collect();
        Ok(fs::write(path, left.join("\n"))?)
    }

    /// The version up to which etcd knows everything, and then nothing older: what was not seen can't be told any
    /// more.
    pub fn compact(&self) -> anyhow::Result<()> {
        let [client, _] = self.etcd_ports;
        let etcdctl = |arguments: &[&str]| -> anyhow::Result<String> {
            let endpoint = format!("--endpoints=http://127.0.0.1:{client}");
            let output = Command::new(binary("etcdctl")?).arg(endpoint).args(arguments).output()?;
            anyhow::ensure!(output.status.success(), "etcdctl: {}", String::from_utf8_lossy(&output.stderr));
            Ok(String::from_utf8_lossy(&output.stdout).into_owned())
        };
        let status = etcdctl(&["endpoint", "status", "--write-out=json"])?;
        let revision = status.split("\"revision\":").nth(1).context("no revision")?;
        let revision: String = revision.chars().take_while(char::is_ascii_digit).collect();
        etcdctl(&["compact", &revision]).map(drop)
    }

    async fn start_etcd(&mut self) -> anyhow::Result<()> {
        let [client, peer] = self.etcd_ports;
        let mut command = Command::new(binary("etcd")?);
        command
            .args(["--data-dir=data", "--unsafe-no-fsync", "--name=one", "--log-level=warn"])
            .arg(format!("--listen-client-urls=http://127.0.0.1:{client}"))
            .arg(format!("--advertise-client-urls=http://127.0.0.1:{client}"))
            .arg(format!("--listen-peer-urls=http://127.0.0.1:{peer}"))
            .arg(format!("--initial-advertise-peer-urls=http://127.0.0.1:{peer}"))
            .arg(format!("--initial-cluster=one=http://127.0.0.1:{peer}"))
            // Elections of one need not wait.
            .args(["--heartbeat-interval=20", "--election-timeout=200"]);
        self.etcd.start(&mut command, || is_healthy(client)).await
    }

    async fn start_server(&mut self) -> anyhow::Result<()> {
        let [client, _] = self.etcd_ports;
        let port = self.port;
        let mut command = Command::new(binary("kube-apiserver")?);
        command
            .arg(format!("--etcd-servers=http://127.0.0.1:{client}"))
            .arg(format!("--secure-port={port}"))
            .args(["--bind-address=127.0.0.1", "--advertise-address=127.0.0.1"])
            .args(["--endpoint-reconciler-type=none", "--service-cluster-ip-range=10.0.0.0/16"])
            .args(["--tls-cert-file=server.crt", "--tls-private-key-file=server.key"])
            .args(["--client-ca-file=ca.crt", "--token-auth-file=tokens.csv"])
            .args(["--service-account-issuer=https://kubernetes.default.svc"])
            .args(["--service-account-key-file=sa.pub", "--service-account-signing-key-file=sa.key"])
            .args(["--authorization-mode=RBAC", "--disable-admission-plugins=ServiceAccount"])
            .args(["--allow-privileged=true", "--profiling=false"]);
        let log = self.server.folder().join("log");
        let seen = fs::metadata(&log).map_or(0, |log| log.len());
        self.server.start(&mut command, || is_serving(port, &log, seen)).await?;
        self.ready().await
    }

    /// Waits until the server says that it is ready.
    async fn ready(&self) -> anyhow::Result<()> {
        let authority = self.authority();
        for _ in 0..600 {
            let output = tokio::process::Command::new("curl")
                .args(["--silent", "--fail", "--max-time", "5", "--noproxy", "*", "--cacert"])
                .arg(&authority)
                .args(["--header", "Authorization: Bearer admin-token"])
                .arg(format!("{}/readyz", self.url()))
                .output()
                .await?;
            if output.status.success() {
                return Ok(());
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        let log = fs::read_to_string(self.server.folder().join("log")).unwrap_or_default();
        let tail: Vec<&str> = log.lines().rev().take(20).collect();
        anyhow::bail!("kube-apiserver is not ready:\n{}", tail.join("\n"))
    }

    async fn start_controllers(&mut self) -> anyhow::Result<()> {
        let [port] = free_ports()?;
        let kubeconfig = self.kubeconfig(User::Admin);
        let folder = self.server.folder();
        let mut command = Command::new(binary("kube-controller-manager")?);
        for option in ["kubeconfig", "authentication-kubeconfig", "authorization-kubeconfig"] {
            command.arg(format!("--{option}={}", kubeconfig.display()));
        }
        command
            .arg(format!("--secure-port={port}"))
            .arg(format!("--service-account-private-key-file={}", folder.join("sa.key").display()))
            .arg(format!("--root-ca-file={}", folder.join("ca.crt").display()))
            .args([
                "--bind-address=127.0.0.1",
                "--leader-elect=false",
                "--use-service-account-credentials=false",
            ])
            .arg(
                "--controllers=endpointslice-controller,namespace-controller,garbage-collector-controller,\
                 serviceaccount-controller,root-ca-certificate-publisher-controller",
            );
        let mut running = Running::prepare("kube-controller-manager")?;
        running
            .start(
                &mut command,
                || async move { TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.is_ok() },
            )
            .await?;
        self.controllers = Some(running);
        Ok(())
    }
}

/// etcd's answer to `/health` over plain HTTP.
async fn is_healthy(port: u16) -> bool {
    let ask = async {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
        stream.write_all(b"GET /health HTTP/1.0\r\n\r\n").await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        anyhow::Ok(answer.contains("\"true\""))
    };
    matches!(timeout(std::time::Duration::from_secs(2), ask).await, Ok(Ok(true)))
}

/// Does it take connections? The log is looked at, because a port that was free may be taken by somebody else.
async fn is_serving(port: u16, log: &Path, seen: u64) -> bool {
    let text = fs::read(log).unwrap_or_default();
    let new = text.get(usize::try_from(seen).unwrap_or(usize::MAX)..).unwrap_or_default();
    String::from_utf8_lossy(new).contains("Serving securely")
        && TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.is_ok()
}

fn write_credentials(folder: &Path) -> anyhow::Result<()> {
    let authority_key = KeyPair::generate()?;
    let mut authority = CertificateParams::default();
    authority.distinguished_name.push(DnType::CommonName, "test-ca");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    fs::write(folder.join("ca.crt"), authority.self_signed(&authority_key)?.pem())?;
    let issuer = Issuer::new(authority, authority_key);
    let server_key = KeyPair::generate()?;
    let mut server =
        CertificateParams::new(vec!["localhost".to_owned(), "kubernetes.default.svc".to_owned()])?;
    server.distinguished_name.push(DnType::CommonName, "kube-apiserver");
    server.subject_alt_names.push(SanType::IpAddress(Ipv4Addr::LOCALHOST.into()));
    server.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
    fs::write(folder.join("server.crt"), server.signed_by(&server_key, &issuer)?.pem())?;
    fs::write(folder.join("server.key"), server_key.serialize_pem())?;
    let accounts = KeyPair::generate()?;
    fs::write(folder.join("sa.key"), accounts.serialize_pem())?;
    fs::write(folder.join("sa.pub"), accounts.public_key_pem())?;
    let tokens = "admin-token,admin,admin-uid,\"system:masters\"\nmesh-token,mesh,mesh-uid,\"mesh\"\n";
    Ok(fs::write(folder.join("tokens.csv"), tokens)?)
}
