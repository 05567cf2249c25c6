//! `lateen serve` and its tools on a real etcd: kill -9 while it saves, restarts without the source, mass removals,
//! `adapter test` and `adapter compare`.

#![allow(clippy::unwrap_used, reason = "a test that can't go on has failed")]

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use lateen_test_servers::{
    binary,
    consul::{self, Consul},
    etcd::Etcd,
    free_ports,
};
use serde_json::Value;

/// How long anything may take; builds may keep the machine busy meanwhile.
const PATIENCE: Duration = Duration::from_mins(1);

fn lateen(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lateen"));
    command.args(args).env_remove("LATEEN_STATE").env_remove("LATEEN_SERVER");
    command
}

fn etcdctl(url: &str, args: &[&str]) -> Output {
    let mut command = Command::new(binary("etcdctl").unwrap());
    let output = command.args(["--endpoints", url]).args(args).output().unwrap();
    assert!(output.status.success(), "etcdctl {args:?}: {output:?}");
    output
}

fn put_endpoint(url: &str, prefix: &str, number: usize, weight: usize) {
    let key = format!("{prefix}endpoints/shop/cart/i{number}");
    let value = format!(
        "{{\"address\":\"10.0.0.{number}\",\"ports\":{{\"http\":8080}},\"weight\":{}}}",
        weight.max(1)
    );
    etcdctl(url, &["put", &key, &value]);
}

/// A service with so many instances.
fn fill(url: &str, prefix: &str, instances: usize) {
    let service = "{\"ports\":[{\"name\":\"http\",\"number\":80}]}";
    etcdctl(url, &["put", &format!("{prefix}services/shop/cart"), service]);
    (1..=instances).for_each(|number| put_endpoint(url, prefix, number, 1));
}

/// A control plane; killed when dropped.
struct Server {
    child: Child,
    admin: String,
}

impl Server {
    fn start(folder: &Path, adapter: &str, state: &[&str]) -> Self {
        let [port] = free_ports().unwrap();
        let (admin, xds) = (format!("127.0.0.1:{port}"), format!("unix:{}", folder.join("xds").display()));
        let flags = ["serve", "--adapter", adapter, "--xds-listen", &xds, "--admin-listen", &admin];
        let log = std::fs::File::options().create(true).append(true).open(folder.join("log")).unwrap();
        let mut command = lateen(&flags);
        let child = command.args(state).stdout(Stdio::null()).stderr(log).spawn().unwrap();
        Self { child, admin }
    }

    /// The status, when the server answers.
    fn status(&self) -> Option<(Option<i32>, Value)> {
        let output = lateen(&["status", "--server", &self.admin, "--output", "json"]).output().unwrap();
        Some((output.status.code(), serde_json::from_slice(&output.stdout).ok()?))
    }

    /// Waits until the status is as wanted.
    fn until(&mut self, what: &str, wanted: impl Fn(&Value) -> bool) -> (Option<i32>, Value) {
        let end = Instant::now() + PATIENCE;
        loop {
            let status = self.status();
            if let Some(status) = status.as_ref().filter(|(_, status)| wanted(status)) {
                return status.clone();
            }
            assert!(self.child.try_wait().unwrap().is_none(), "the server ended");
            assert!(Instant::now() < end, "not {what}: {status:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Stops the thread that changes things, also when the test fails.
struct Stopped<'a>(&'a AtomicBool);

impl Drop for Stopped<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn is_ready(status: &Value) -> bool {
    status["ready"] == true
}

fn source(status: &Value) -> &Value {
    &status["sources"][0]
}

/// Faults rows 1 and 2, with processes that die at any moment.
#[tokio::test(flavor = "multi_thread")]
async fn a_control_plane_that_is_killed_and_cut_off_serves_what_it_knew() {
    let mut etcd = Etcd::start().await.unwrap();
    let (url, folder) = (etcd.url(), tempfile::tempdir().unwrap());
    let adapter = format!("etcd={url}");
    let state: PathBuf = folder.path().join("state");
    let keep = ["--state", state.to_str().unwrap()];
    fill(&url, "/lateen/", 20);

    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _stopped = Stopped(&stop);
        // It changes all the time, so that the server is killed while it writes.
        scope.spawn(|| {
            for weight in 1.. {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                put_endpoint(&url, "/lateen/", weight % 20 + 1, weight);
            }
        });
        for changes in [1, 3, 9, 27] {
            let mut server = Server::start(folder.path(), &adapter, &keep);
            server.until("changing", |status| status["revision"].as_u64() > Some(changes));
            server.kill();
        }
    });

    etcd.kill();
    let mut server = Server::start(folder.path(), &adapter, &keep);
    let began = Instant::now();
    let (code, status) = server.until("ready", is_ready);
    println!("ready {:?} after the start, with etcd down", began.elapsed());
    let source_now = source(&status);
    assert_eq!(code, Some(1), "what is stale is not well");
    assert!(source_now["saved_unix_ms"].is_u64() && source_now["stale_ms"].is_u64(), "{status}");
    // The service, and the set of its endpoints.
    assert_eq!(source_now["objects"], 2, "{status}");
    let text = lateen(&["status", "--server", &server.admin]).output().unwrap();
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(text.contains("STALE") && text.contains("from saved state of 20"), "{text}");

    // etcd is back with the data it had: the flag goes.
    etcd.restart().await.unwrap();
    let (code, _) = server.until("well", |status| source(status)["saved_unix_ms"].is_null());
    assert_eq!(code, Some(0));
    server.kill();
    assert!(std::fs::read_dir(&state).unwrap().count() == 1, "nothing was damaged");

    // Without what was saved, nothing is invented.
    etcd.kill();
    let mut server = Server::start(folder.path(), &adapter, &["--no-state"]);
    let (_, status) = server.until("failed", |status| source(status)["stale_ms"].is_u64());
    assert!(!is_ready(&status), "{status}");
    etcd.restart().await.unwrap();
    server.until("ready", is_ready);
}

/// Faults row 3.
#[tokio::test(flavor = "multi_thread")]
async fn instances_that_go_at_once_are_held_for_a_time() {
    let etcd = Etcd::start().await.unwrap();
    let (url, folder) = (etcd.url(), tempfile::tempdir().unwrap());
    fill(&url, "/lateen/", 30);
    let flags = ["--no-state", "--hold-removals", "2"];
    let mut server = Server::start(folder.path(), &format!("etcd={url}"), &flags);
    server.until("ready", is_ready);
    etcdctl(&url, &["del", "--prefix", "/lateen/endpoints/"]);
    let (code, status) = server.until("held", |status| source(status)["held_removals"].as_u64() > Some(0));
    assert_eq!(code, Some(1));
    let findings = status["findings"].to_string();
    assert!(findings.contains("LAT2404") && findings.contains("30 endpoints"), "{findings}");
    let (code, _) = server.until("let go", |status| source(status)["held_removals"] == 0);
    assert_eq!(code, Some(0));
    // One alone goes at once.
    fill(&url, "/lateen/", 30);
    let before = server.status().unwrap().1["revision"].as_u64();
    etcdctl(&url, &["del", "/lateen/endpoints/shop/cart/i7"]);
    let (_, status) = server.until("changed", |status| status["revision"].as_u64() > before);
    assert_eq!(source(&status)["held_removals"], 0);
}

/// Faults row 3: long before the time is over, the adapter looks a second time, and what is gone then goes.
#[tokio::test(flavor = "multi_thread")]
async fn instances_that_are_gone_at_a_second_look_go() {
    let etcd = Etcd::start().await.unwrap();
    let (url, folder) = (etcd.url(), tempfile::tempdir().unwrap());
    fill(&url, "/lateen/", 30);
    let flags = ["--no-state", "--hold-removals", "3600"];
    let mut server = Server::start(folder.path(), &format!("etcd={url}"), &flags);
    server.until("ready", is_ready);
    etcdctl(&url, &["del", "--prefix", "/lateen/endpoints/"]);
    server.until("held", |status| source(status)["held_removals"].as_u64() > Some(0));
    let began = Instant::now();
    let (code, _) = server.until("let go", |status| source(status)["held_removals"] == 0);
    println!("a second look came after {:?}", began.elapsed());
    assert_eq!(code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn sources_are_tried_and_compared() {
    let etcd = Etcd::start().await.unwrap();
    let url = etcd.url();
    fill(&url, "/a/", 3);
    fill(&url, "/b/", 3);
    let of = |prefix: &str| format!("etcd={url}?prefix={prefix}");
    let (one, other) = (of("/a/"), of("/b/"));
    let run = |args: &[&str]| {
        let output = lateen(args).output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };

    let (code, text) = run(&["adapter", "test", &one, "--seconds", "0", "--output", "json"]);
    let report: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(code, Some(0), "{text}");
    assert_eq!(
        (&report["counts"]["services"], &report["counts"]["endpoints"]),
        (&1.into(), &3.into()),
        "{text}"
    );
    assert!(report["listedMs"].is_u64() && report["error"].is_null(), "{text}");

    assert_eq!(run(&["adapter", "compare", &one, &other]), (Some(0), "no differences\n".to_owned()));
    put_endpoint(&url, "/b/", 2, 9);
    let (code, text) = run(&["adapter", "compare", &one, &other, "--output", "json"]);
    let differences: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((code, differences.as_array().unwrap().len()), (Some(1), 2), "{text}");
    assert!(text.contains("10.0.0.2") && text.contains("weight 9"), "{text}");
    etcdctl(&url, &["put", "/a/services/shop/only", "{\"ports\":[{\"name\":\"http\",\"number\":80}]}"]);
    let (_, text) = run(&["adapter", "compare", &one, &other]);
    assert!(text.contains("only.shop.svc.cluster.local in shop"), "{text}");

    // Configuration is compared field by field, however it is written.
    let route = |weight: u32| {
        format!(
            "{{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {{name: v}}, spec: {{hosts: [a], \
             http: [{{route: [{{destination: {{host: b}}, weight: {weight}}}]}}]}}}}"
        )
    };
    etcdctl(&url, &["put", "/a/config/v", &route(90)]);
    etcdctl(&url, &["put", "/b/config/w", &format!("# elsewhere\n{}", route(10))]);
    let (_, text) = run(&["adapter", "compare", &one, &other]);
    assert!(text.contains("VirtualService default/v") && text.contains("route[0].weight: 90"), "{text}");

    drop(etcd);
    let (code, text) = run(&["adapter", "test", &one, "--timeout", "1"]);
    assert!(code == Some(3) && text.contains("NOT LISTED"), "{text}");
    let output = lateen(&["adapter", "compare", &one, &other, "--timeout", "1"]).output().unwrap();
    assert_eq!(output.status.code(), Some(3), "{output:?}");
}

/// Beside the watch everything is listed again and again: what the listings show, the watch has told.
#[tokio::test(flavor = "multi_thread")]
async fn the_lag_of_a_watch_is_measured_without_writing() {
    let etcd = Etcd::start().await.unwrap();
    let consul = Consul::start(consul::Options::default()).await.unwrap();
    let url = etcd.url();
    fill(&url, "/lateen/", 3);
    for adapter in [format!("etcd={url}"), format!("consul={}", consul.url())] {
        let flags = ["adapter", "test", &adapter, "--seconds", "3", "--output", "json"];
        let mut running = lateen(&flags);
        let mut running = running.stdout(Stdio::piped()).spawn().unwrap();
        for weight in 2.. {
            if running.try_wait().unwrap().is_some() {
                break;
            }
            put_endpoint(&url, "/lateen/", 1, weight);
            let instance = format!("{{\"Name\": \"web\", \"Address\": \"10.0.0.1\", \"Port\": {weight}}}");
            consul.ask("PUT", "/v1/agent/service/register", &instance).await.unwrap();
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        let output = running.wait_with_output().unwrap();
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        let lag = &report["lag"];
        println!("{adapter}: {lag}");
        assert_eq!(
            (output.status.code(), lag["missed"].as_array().map(Vec::len)),
            (Some(0), Some(0)),
            "{report}"
        );
        assert!(lag["compared"].as_u64() > Some(0) && lag["mostMs"].as_i64() < Some(3_000), "{report}");
    }
}
