//! A Nomad agent: server and client in one, in memory, with `raw_exec` tasks on loopback addresses.
//!
//! Nomad runs as root and mounts cgroups for its tasks. Tasks would outlive an agent that is killed; when a [`Nomad`]
//! is dropped they are ended with it.

use std::{
    fs,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, bail};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, sleep, timeout},
};

use crate::{Running, binary, free_ports};

/// How long something that Nomad does may take.
const PATIENCE: Duration = Duration::from_mins(1);
/// How long it may take to end.
const LEAVE: Duration = Duration::from_secs(10);
/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(10);

/// What kind of agent.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Address of a Consul agent (`127.0.0.1:8500`) where services with that provider go.
    pub consul: Option<String>,
    /// Access control: a management token is made, and without a token nothing is given.
    pub acl: bool,
    /// TLS files (CA, certificate, key); clients have to show a certificate too.
    pub tls: Option<[PathBuf; 3]>,
    /// Keep the servers' data, so that a restart finds them. Takes some seconds more to start.
    pub persistent: bool,
}

/// A running agent.
#[derive(Debug)]
pub struct Nomad {
    running: Running,
    port: u16,
    options: Options,
    token: String,
}

/// A service that a job offers: a Python web server on a port that Nomad chooses, answering with a file.
#[derive(Clone, Debug)]
pub struct WebJob {
    /// Name of the job.
    pub name: String,
    /// Name of the service.
    pub service: String,
    /// Nomad namespace.
    pub namespace: String,
    /// `nomad` or `consul`.
    pub provider: &'static str,
    /// Instances.
    pub count: u32,
    /// Tags of the service.
    pub tags: Vec<String>,
    /// Tags of instances that are canaries.
    pub canary_tags: Vec<String>,
    /// Canaries of an update; 0 for a rolling update.
    pub canaries: u32,
    /// Any text; a change of it replaces the instances.
    pub version: String,
    /// A shell command instead of the web server.
    pub command: Option<String>,
    /// How long an instance that is to be stopped still runs after its service was taken out.
    pub shutdown_delay: Duration,
}

impl WebJob {
    /// One instance in namespace `default`.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            service: name.to_owned(),
            namespace: "default".to_owned(),
            provider: "nomad",
            count: 1,
            tags: Vec::new(),
            canary_tags: Vec::new(),
            canaries: 0,
            version: String::new(),
            command: None,
            shutdown_delay: Duration::ZERO,
        }
    }

    fn body(&self) -> Value {
        // `exec`, so that what is stopped is the server and not a shell around it.
        let server = "exec python3 -m http.server --bind 127.0.0.1 ${NOMAD_PORT_http}";
        let command = self.command.as_deref().unwrap_or(server);
        json!({ "Job": {
            "ID": self.name, "Name": self.name, "Namespace": self.namespace, "Type": "service",
            "Datacenters": ["dc1"],
            "Update": {
                "MaxParallel": 1, "Canary": self.canaries, "HealthCheck": "task_states",
                "MinHealthyTime": 200_000_000, "HealthyDeadline": 30_000_000_000_u64,
                "ProgressDeadline": 60_000_000_000_u64,
            },
            "TaskGroups": [{
                "Name": "g", "Count": self.count,
                "RestartPolicy": { "Attempts": 0, "Mode": "fail", "Interval": 5_000_000_000_u64, "Delay": 1_000_000_000 },
                "ReschedulePolicy": { "Attempts": 0, "Unlimited": false },
                "Networks": [{ "Mode": "host", "DynamicPorts": [{ "Label": "http" }] }],
                "Services": [{
                    "Name": self.service, "Provider": self.provider, "PortLabel": "http",
                    "Tags": self.tags, "CanaryTags": self.canary_tags,
                }],
                "Tasks": [{
                    "Name": "t", "Driver": "raw_exec", "KillTimeout": 1_000_000_000,
                    "ShutdownDelay": u64::try_from(self.shutdown_delay.as_nanos()).unwrap_or(u64::MAX),
                    "Config": { "command": "/bin/sh", "args": ["-c", command] },
                    "Env": { "VERSION": self.version },
                    "Resources": { "CPU": 20, "MemoryMB": 10 },
                }],
            }],
        } })
    }
}

impl Nomad {
    /// Starts an agent, and waits until it runs tasks.
    pub async fn start(options: Options) -> anyhow::Result<Self> {
        let running = Running::prepare("nomad")?;
        let [port, others @ ..] = free_ports::<3>()?;
        let mut nomad = Self { running, port, options, token: String::new() };
        fs::write(nomad.running.folder().join("agent.hcl"), nomad.config(others))?;
        nomad.restart().await?;
        Ok(nomad)
    }

    /// Starts it again. Without `persistent` it has forgotten everything, tokens and tasks included.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        let mut command = Command::new(binary("nomad")?);
        command.args(["agent", "-config=agent.hcl"]).env_remove("AWS_CA_BUNDLE");
        command.env("TMPDIR", self.running.folder());
        if self.options.persistent {
            command
                .args(["-server", "-client", "-bootstrap-expect=1", "-data-dir"])
                .arg(self.running.folder().join("data"));
        } else {
            command.arg("-dev");
        }
        if self.options.acl {
            command.arg("-acl-enabled");
        }
        let (port, tls) = (self.port, self.options.tls.is_some());
        self.running
            .start(&mut command, move || async move {
                if tls {
                    return TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.is_ok();
                }
                matches!(call(port, "", "GET", "/v1/status/leader", None).await, Ok((200, body)) if body.as_str().is_some_and(|leader| leader.contains(':')))
            })
            .await?;
        if self.options.acl && (self.token.is_empty() || !self.options.persistent) {
            let made = self.until("the first token", |nomad| async move {
                let (status, body) = nomad.call("POST", "/v1/acl/bootstrap", None).await?;
                Ok((status == 200).then_some(body))
            });
            let made = made.await?;
            let secret = made.pointer("/SecretID").and_then(Value::as_str).context("no SecretID")?;
            secret.clone_into(&mut self.token);
        }
        if !tls {
            self.until("a node that is ready", |nomad| async move {
                let nodes = nomad.get("/v1/nodes").await?;
                let ready =
                    nodes.as_array().is_some_and(|nodes| nodes.iter().any(|node| node["Status"] == "ready"));
                Ok(ready.then_some(()))
            })
            .await?;
            // The keys that Variables are encrypted with are made some time after that.
            self.until("Variables to be writable", |nomad| async move {
                nomad.put_variable("ready", &json!({ "is": "ready" })).await?;
                nomad.delete_variable("ready").await.map(Some)
            })
            .await?;
        }
        Ok(())
    }

    /// Where it answers.
    pub fn url(&self) -> String {
        let scheme = if self.options.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://127.0.0.1:{}", self.port)
    }

    /// The same as address and port.
    pub fn address(&self) -> std::net::SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// The management token; empty without access control.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// Its folder, for files that a test needs.
    pub fn folder(&self) -> &Path {
        self.running.folder()
    }

    /// Kills it. Its tasks go on.
    pub fn kill(&mut self) {
        self.running.kill();
    }

    /// Makes it hang.
    pub fn pause(&self) -> anyhow::Result<()> {
        self.running.pause()
    }

    /// Lets it go on.
    pub fn resume(&self) -> anyhow::Result<()> {
        self.running.resume()
    }

    /// Any call with the management token: status and body (`null` when that is no JSON).
    pub async fn call(&self, method: &str, path: &str, body: Option<&Value>) -> anyhow::Result<(u16, Value)> {
        call(self.port, &self.token, method, path, body).await
    }

    /// Reads something that is there.
    pub async fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.done("GET", path, None).await
    }

    /// Writes a Variable.
    pub async fn put_variable(&self, path: &str, items: &Value) -> anyhow::Result<()> {
        let body = json!({ "Path": path, "Items": items });
        self.done("PUT", &format!("/v1/var/{path}"), Some(&body)).await.map(drop)
    }

    /// Removes a Variable.
    pub async fn delete_variable(&self, path: &str) -> anyhow::Result<()> {
        self.done("DELETE", &format!("/v1/var/{path}"), None).await.map(drop)
    }

    /// Makes a namespace.
    pub async fn put_namespace(&self, name: &str) -> anyhow::Result<()> {
        self.done("PUT", &format!("/v1/namespace/{name}"), Some(&json!({ "Name": name }))).await.map(drop)
    }

    /// Makes or changes an ACL policy.
    pub async fn put_policy(&self, name: &str, rules: &str) -> anyhow::Result<()> {
        let body = json!({ "Name": name, "Rules": rules });
        self.done("PUT", &format!("/v1/acl/policy/{name}"), Some(&body)).await.map(drop)
    }

    /// Makes a token with a policy: its accessor and its secret.
    pub async fn make_token(&self, policy: &str) -> anyhow::Result<(String, String)> {
        let body = json!({ "Name": policy, "Type": "client", "Policies": [policy] });
        let made = self.done("PUT", "/v1/acl/token", Some(&body)).await?;
        let text = |name: &str| made.get(name).and_then(Value::as_str).map(str::to_owned).context("no token");
        Ok((text("AccessorID")?, text("SecretID")?))
    }

    /// Revokes a token.
    pub async fn delete_token(&self, accessor: &str) -> anyhow::Result<()> {
        self.done("DELETE", &format!("/v1/acl/token/{accessor}"), None).await.map(drop)
    }

    /// Starts a job, or changes it.
    pub async fn run(&self, job: &WebJob) -> anyhow::Result<()> {
        self.done("PUT", "/v1/jobs", Some(&job.body())).await.map(drop)
    }

    /// Stops a job: its instances drain.
    pub async fn halt(&self, job: &WebJob) -> anyhow::Result<()> {
        let path = format!("/v1/job/{}?namespace={}", job.name, job.namespace);
        self.done("DELETE", &path, None).await.map(drop)
    }

    /// Stops a job and forgets it, with its allocations: its client may not notice that for long.
    pub async fn stop(&self, job: &WebJob) -> anyhow::Result<()> {
        let path = format!("/v1/job/{}?purge=true&namespace={}", job.name, job.namespace);
        self.done("DELETE", &path, None).await.map(drop)
    }

    /// Ids of a job's allocations that run, of all jobs for an empty name.
    pub async fn running_allocs(&self, job: &str) -> anyhow::Result<Vec<String>> {
        let allocs = self.get("/v1/allocations?namespace=*").await?;
        let running =
            allocs.as_array().into_iter().flatten().filter(|alloc| {
                alloc["ClientStatus"] == "running" && (job.is_empty() || alloc["JobID"] == job)
            });
        Ok(running.filter_map(|alloc| alloc["ID"].as_str().map(str::to_owned)).collect())
    }

    /// Instances of a service, as Nomad has them.
    pub async fn instances(&self, namespace: &str, service: &str) -> anyhow::Result<Vec<Value>> {
        let found = self.get(&format!("/v1/service/{service}?namespace={namespace}")).await?;
        Ok(found.as_array().cloned().unwrap_or_default())
    }

    /// Asks again and again until there is an answer.
    pub async fn until<'a, T, F>(&'a self, what: &str, ask: impl Fn(&'a Self) -> F) -> anyhow::Result<T>
    where
        F: Future<Output = anyhow::Result<Option<T>>>,
    {
        let end = Instant::now() + PATIENCE;
        loop {
            let answer = ask(self).await;
            if let Ok(Some(found)) = answer {
                return Ok(found);
            }
            if Instant::now() > end {
                bail!("waited in vain for {what}: {:?}", answer.err());
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Stops one allocation; Nomad starts another for it.
    pub async fn stop_alloc(&self, id: &str) -> anyhow::Result<()> {
        self.done("POST", &format!("/v1/allocation/{id}/stop"), None).await.map(drop)
    }

    /// Makes the canaries of a job's newest deployment the new version.
    pub async fn promote(&self, job: &str) -> anyhow::Result<()> {
        self.until("a deployment that can be promoted", |nomad| async move {
            let deployment = nomad.get(&format!("/v1/job/{job}/deployment")).await?;
            let id = deployment["ID"].as_str().context("no deployment")?;
            let body = json!({ "DeploymentID": id, "All": true });
            let (status, _) =
                nomad.call("POST", &format!("/v1/deployment/promote/{id}"), Some(&body)).await?;
            Ok((status == 200).then_some(()))
        })
        .await
    }

    async fn done(&self, method: &str, path: &str, body: Option<&Value>) -> anyhow::Result<Value> {
        let (status, answer) = self.call(method, path, body).await?;
        anyhow::ensure!((200..300).contains(&status), "{method} {path}: {status}: {answer}");
        Ok(answer)
    }

    fn config(&self, [rpc, gossip]: [u16; 2]) -> String {
        let port = self.port;
        // Loopback is all there is; without the deny list the agent looks for a cloud and for CNI plugins.
        let mut text = format!(
            r#"name = "n0"
bind_addr = "127.0.0.1"
log_level = "WARN"
disable_update_check = true
leave_on_terminate = false
advertise {{
  http = "127.0.0.1"
  rpc = "127.0.0.1"
  serf = "127.0.0.1"
}}
ports {{
  http = {port}
  rpc = {rpc}
  serf = {gossip}
}}
client {{
  network_interface = "lo"
  meta {{
    zone = "z1"
  }}
  options = {{
    "driver.allowlist" = "raw_exec"
    "fingerprint.denylist" = "env_aws,env_gce,env_azure,env_digitalocean,cni,bridge"
  }}
}}
plugin "raw_exec" {{
  config {{
    enabled = true
  }}
}}
limits {{
  http_max_conns_per_client = 0
}}
"#
        );
        text.push_str(&self.options.consul.as_ref().map_or_else(
            || {
                "consul {\n  address = \"127.0.0.1:1\"\n  client_auto_join = false\n  server_auto_join = false\n  \
                 auto_advertise = false\n}\n"
                    .to_owned()
            },
            |address| format!("consul {{\n  address = \"{address}\"\n}}\n"),
        ));
        if let Some([ca, certificate, key]) = &self.options.tls {
            let (ca, certificate, key) = (ca.display(), certificate.display(), key.display());
            let tls = format!(
                "tls {{\n  http = true\n  verify_https_client = true\n  ca_file = \"{ca}\"\n  cert_file = \
                 \"{certificate}\"\n  key_file = \"{key}\"\n}}\n"
            );
            text.push_str(&tls);
        }
        text
    }
}

/// A dev agent that is asked to end stops its tasks and unmounts their folders; what is left of them then, or of an
/// agent that was killed, is found by the folder in its environment.
impl Drop for Nomad {
    fn drop(&mut self) {
        let id = self.running.id();
        if id != 0 {
            let _ = self.running.signal("CONT").and_then(|()| self.running.signal("INT"));
            let end = std::time::Instant::now() + LEAVE;
            while is_alive(id) && std::time::Instant::now() < end {
                std::thread::sleep(Duration::from_millis(20));
            }
            self.running.kill();
        }
        let folder = self.running.folder().to_string_lossy().into_owned();
        let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
        for process in processes {
            let environment = fs::read(process.path().join("environ")).unwrap_or_default();
            let id = process.file_name();
            if environment.windows(folder.len()).any(|part| part == folder.as_bytes()) {
                let _ = Command::new("kill").arg("-KILL").arg(id).status();
            }
        }
        // A folder with something mounted in it can't be removed.
        for mount in fs::read_to_string("/proc/self/mounts").unwrap_or_default().lines() {
            if let Some(place) = mount.split(' ').nth(1).filter(|place| place.starts_with(&folder)) {
                let _ = Command::new("umount").args(["--lazy", place]).status();
            }
        }
    }
}

fn is_alive(id: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    // The state follows the name in brackets; Z is one that has ended and was not waited for.
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

/// HTTP in its simplest form: a client crate would be one more thing that could be wrong.
async fn call(
    port: u16,
    token: &str,
    method: &str,
    path: &str,
    body: Option<&Value>,
) -> anyhow::Result<(u16, Value)> {
    timeout(ANSWER, async {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
        let body = body.map(Value::to_string).unwrap_or_default();
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.0\r\nHost: nomad\r\nX-Nomad-Token: {token}\r\nContent-Length: {length}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await?;
        stream.write_all(body.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        let text = String::from_utf8_lossy(&answer);
        let (head, body) = text.split_once("\r\n\r\n").context("no answer")?;
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).context("no status")?;
        let value = serde_json::from_str(body).unwrap_or_else(|_| Value::String(body.to_owned()));
        Ok((status, value))
    })
    .await?
}
