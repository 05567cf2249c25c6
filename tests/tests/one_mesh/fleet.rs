//! Five platforms, all real, and what runs on them.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    process::{Command, Stdio},
};

use anyhow::Context;
use lateen_test_servers::{
    consul::{self, Consul},
    etcd::Etcd,
    kubernetes::{self, Kubernetes},
    nomad::{self, Nomad, WebJob},
};
use lateen_tests::{
    backend::Backend,
    cluster::Cluster,
    envoy::Envoy,
    mesh, netns,
    process::Process,
    server::{self, until},
};
use serde_json::{Value, json};

/// The mesh namespace of all that is here.
pub const NAMESPACE: &str = "shop";
/// The service that two platforms have.
pub const SHARED: &str = "shared";
/// Where applications listen, behind their sidecars.
const APPLICATIONS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 9);
/// Where instances are called, where the platform doesn't choose the port.
const PORT: u16 = 8080;

/// Where a workload runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Platform {
    /// A folder of files.
    File,
    /// Kubernetes.
    Kubernetes,
    /// Consul.
    Consul,
    /// Nomad.
    Nomad,
    /// etcd.
    Etcd,
}

/// All of them.
pub const PLATFORMS: [Platform; 5] =
    [Platform::File, Platform::Kubernetes, Platform::Consul, Platform::Nomad, Platform::Etcd];

impl Platform {
    /// As in `--adapter KIND=`.
    pub fn kind(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Kubernetes => "kubernetes",
            Self::Consul => "consul",
            Self::Nomad => "nomad",
            Self::Etcd => "etcd",
        }
    }
}

/// The host of a service.
pub fn host(service: &str) -> String {
    format!("{service}.{NAMESPACE}.svc.cluster.local")
}

/// An instance of a service, which is a client, too.
#[derive(Debug)]
pub struct Workload {
    /// Of the workload, its service and its label `app`.
    pub name: String,
    /// Where the platform says that it is, and where its sidecar takes calls.
    pub entry: SocketAddr,
    /// Where its sidecar takes calls to others.
    pub egress: SocketAddr,
}

impl Workload {
    /// Its sidecar.
    pub fn sidecar(&self, xds: SocketAddr) -> anyhow::Result<Envoy> {
        let (ip, label) = (self.entry.ip().to_string(), format!("app={}", self.name));
        let node = ["--ip", &ip, "--name", &self.name, "--namespace", NAMESPACE, "--label", &label];
        Envoy::start(xds, &node)
    }

    /// Calls enter at its address and go on to the application; it may call everybody.
    fn document(&self) -> String {
        let Self { name, entry, egress } = self;
        format!(
            "apiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {{name: {name}, namespace: {NAMESPACE}}}\n\
             spec:\n  workloadSelector: {{labels: {{app: {name}}}}}\n  ingress:\n  \
             - port: {{number: {port}, name: http, protocol: HTTP}}\n    bind: {ip}\n    captureMode: NONE\n    \
             defaultEndpoint: {APPLICATIONS}:{port}\n  egress:\n  \
             - port: {{number: {egress_port}, name: http, protocol: HTTP}}\n    bind: {egress_ip}\n    \
             captureMode: NONE\n    hosts: [\"./*\"]\n",
            ip = entry.ip(),
            port = entry.port(),
            egress_ip = egress.ip(),
            egress_port = egress.port(),
        )
    }
}

/// The platforms, and what the test runs for those that don't do it themselves.
pub struct Fleet {
    folder: tempfile::TempDir,
    cluster: Cluster,
    /// Consul, to be killed.
    pub consul: Consul,
    nomad: Nomad,
    etcd: Etcd,
    backends: Vec<Backend>,
    registrations: Vec<Process>,
}

impl Fleet {
    /// Starts all of them.
    pub async fn start() -> anyhow::Result<Self> {
        let (kubernetes, consul, nomad, etcd) = tokio::try_join!(
            Kubernetes::start(kubernetes::Options { controllers: true }),
            Consul::start(consul::Options::default()),
            Nomad::start(nomad::Options::default()),
            Etcd::start(),
        )?;
        nomad.put_namespace(NAMESPACE).await?;
        let cluster = Cluster::of(kubernetes).await?;
        cluster.define().await?;
        cluster.add_machine().await?;
        cluster
            .apply(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}))
            .await?;
        let folder = tempfile::tempdir()?;
        Ok(Self { folder, cluster, consul, nomad, etcd, backends: Vec::new(), registrations: Vec::new() })
    }

    /// The folder that is the platform of files.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Flags.
    pub fn adapters(&self) -> [String; 5] {
        PLATFORMS.map(|platform| match platform {
            Platform::File => format!("file={}", self.folder().display()),
            Platform::Kubernetes => self.cluster.adapter(),
            Platform::Consul => format!("consul={}?namespace={NAMESPACE}", self.consul.url()),
            Platform::Nomad => format!("nomad={}", self.nomad.url()),
            Platform::Etcd => format!("etcd={}", self.etcd.url()),
        })
    }

    /// Runs `svc-PLATFORM` there; what configures its sidecar is read from the platform, too.
    pub async fn run(&mut self, platform: Platform) -> anyhow::Result<Workload> {
        let name = format!("svc-{}", platform.kind());
        let egress = SocketAddr::from((netns::address(), PORT));
        let entry = match platform {
            // It chooses the port, and starts the application itself.
            Platform::Nomad => self.run_on_nomad(&name).await?,
            Platform::File | Platform::Kubernetes | Platform::Consul | Platform::Etcd => {
                let entry = SocketAddr::from((netns::address(), mesh::free_port()));
                self.backends.push(Backend::http_at(&name, (APPLICATIONS, entry.port()).into())?);
                self.register(platform, &name, entry).await?;
                entry
            }
        };
        let workload = Workload { name, entry, egress };
        self.deliver(platform, &workload.name, &workload.document()).await?;
        Ok(workload)
    }

    /// Runs instances of [`SHARED`] in Kubernetes and Consul, without sidecars: each with its locality.
    pub async fn share(&mut self) -> anyhow::Result<Vec<(Platform, SocketAddr, &'static str)>> {
        let mut places = Vec::new();
        for (platform, locality) in [(Platform::Kubernetes, "r1/z1"), (Platform::Consul, "dc1")] {
            let at = SocketAddr::from((netns::address(), PORT));
            let backend = Backend::http_at(&format!("{SHARED}-{}", platform.kind()), at)?;
            self.backends.push(backend);
            self.register(platform, SHARED, at).await?;
            places.push((platform, at, locality));
        }
        Ok(places)
    }

    /// Ends the instance of [`SHARED`] on Kubernetes.
    pub async fn end_shared_pod(&self) -> anyhow::Result<()> {
        self.cluster.remove_pod(NAMESPACE, SHARED).await
    }

    /// Tells the platform of an instance.
    async fn register(&mut self, platform: Platform, name: &str, at: SocketAddr) -> anyhow::Result<()> {
        let (ip, port) = (at.ip(), at.port());
        match platform {
            Platform::File => {
                let document = format!(
                    "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\n\
                     metadata: {{name: {name}, namespace: {NAMESPACE}}}\nspec:\n  hosts: [{host}]\n  \
                     location: MESH_INTERNAL\n  resolution: STATIC\n  \
                     ports: [{{number: 80, name: http, protocol: HTTP}}]\n  \
                     endpoints: [{{address: {ip}, ports: {{http: {port}}}}}]\n",
                    host = host(name),
                );
                std::fs::write(self.folder().join(format!("service-{name}.yaml")), document)?;
            }
            Platform::Kubernetes => {
                let service = json!({
                    "apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": NAMESPACE},
                    "spec": {
                        "selector": {"app": name}, "ports": [{"name": "http", "port": 80, "targetPort": port}],
                    },
                });
                self.cluster.apply(&service).await?;
                self.cluster.run_pod(NAMESPACE, name, name, ip).await?;
            }
            Platform::Consul => {
                let service = json!({
                    "ID": name, "Name": name, "Address": ip, "Port": port, "Meta": {"protocol": "http"},
                    "Check": {"Name": "answers", "TCP": at, "Interval": "1s", "Timeout": "1s", "Status": "passing"},
                });
                self.consul.ask("PUT", "/v1/agent/service/register", &service.to_string()).await?;
            }
            Platform::Etcd => {
                let ports = json!({"ports": [{"name": "http", "number": 80, "protocol": "HTTP"}]});
                let key = format!("/lateen/services/{NAMESPACE}/{name}");
                self.etcd.ctl(&["put", &key, &ports.to_string()])?;
                self.registrations.push(self.register_with_etcd(name, at)?);
            }
            Platform::Nomad => anyhow::bail!("Nomad starts what it registers"),
        }
        Ok(())
    }

    /// The instance's own registration, which keeps its lease alive.
    fn register_with_etcd(&self, name: &str, at: SocketAddr) -> anyhow::Result<Process> {
        let process = Process::spawn(
            Command::new(server::binary())
                .args(["registry", "register", name, "--namespace", NAMESPACE, "--etcd", &self.etcd.url()])
                .args(["--address", &at.ip().to_string(), "--port", &format!("http={}", at.port())])
                .stdout(Stdio::null()),
        )?;
        let prefix = format!("/lateen/endpoints/{NAMESPACE}/{name}/");
        until("registered", || {
            Ok(self.etcd.ctl(&["get", "--prefix", "--keys-only", &prefix])?.contains(name))
        })?;
        Ok(process)
    }

    async fn run_on_nomad(&self, name: &str) -> anyhow::Result<SocketAddr> {
        let backend = env!("CARGO_BIN_EXE_backend");
        let job = WebJob {
            namespace: NAMESPACE.to_owned(),
            tags: vec!["protocol=http".to_owned()],
            command: Some(format!("exec {backend} {name} {APPLICATIONS}:${{NOMAD_PORT_http}}")),
            ..WebJob::new(name)
        };
        self.nomad.run(&job).await?;
        let instance = self
            .nomad
            .until("an instance", |nomad| async move {
                Ok(nomad.instances(NAMESPACE, name).await?.into_iter().next())
            })
            .await?;
        let ip = instance["Address"].as_str().context("an address")?;
        let port = instance["Port"].as_u64().context("a port")?;
        Ok(format!("{ip}:{port}").parse()?)
    }

    /// Configuration by way of the platform.
    async fn deliver(&self, platform: Platform, name: &str, document: &str) -> anyhow::Result<()> {
        match platform {
            Platform::File => std::fs::write(self.folder().join(format!("{name}.yaml")), document)?,
            Platform::Kubernetes => self.cluster.apply_all(document).await?,
            Platform::Consul => {
                let key = format!("/v1/kv/lateen/config/{name}");
                self.consul.ask("PUT", &key, document).await.map(drop)?;
            }
            Platform::Nomad => {
                let items: Value = json!({"yaml": document});
                self.nomad.put_variable(&format!("lateen/config/{name}"), &items).await?;
            }
            Platform::Etcd => drop(self.etcd.ctl(&["put", &format!("/lateen/config/{name}"), document])?),
        }
        Ok(())
    }
}
