//! The check of the conformance suite itself: each deliberate fault of our server is found by its cases.
//!
//! `cargo test --workspace --features lateen/faults --test mutations`

#![allow(clippy::unwrap_used, reason = "a test that can't go on has failed")]

use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use lateen_conformance::{
    context::{Patience, Target},
    control::{Connect, Control},
    faults::FOUND_BY,
    run::{self, Options, RunResult, Verdict},
};
use lateen_xds::faults::Fault;

/// All faults together.
const TIME_MAX: Duration = Duration::from_mins(3);

/// What a fault makes a case wait for never comes: that is seen soon enough.
const SHORT: Patience = Patience { within: Duration::from_secs(2), quiet: Duration::from_millis(250) };

/// `lateen conformance serve`, killed when dropped.
struct Server {
    child: Child,
    target: Target,
}

impl Server {
    async fn start(binary: &Path, fault: Option<&str>) -> Self {
        let mut command = Command::new(binary);
        command.args(["--log", "off", "conformance", "serve"]).stdout(Stdio::piped());
        if let Some(fault) = fault {
            command.args(["--fault", fault]);
        }
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut address = |what: &str| {
            let line = lines.next().expect("the server said where it listens").unwrap();
            line.strip_prefix(what).expect(&line).to_owned()
        };
        let (xds, control) = (address("xDS on "), address("control on "));
        let control: Arc<dyn Control> = Arc::new(Connect::new(control));
        let capabilities = control.capabilities().await.unwrap();
        Self { child, target: Target { address: xds, control, capabilities, replica: None } }
    }

    async fn run(&self, cases: &[&str], patience: Patience) -> Vec<RunResult> {
        let filter = cases.iter().map(ToString::to_string).collect();
        let options = Options { filter, patience, ..Options::default() };
        run::run(&self.target, &options, |_| {}).await
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The runs that failed, by id, and why.
fn failures(results: &[RunResult]) -> Vec<(String, String)> {
    let failure = |result: &'_ RunResult| match &result.verdict {
        Verdict::Failed { reason, .. } => Some((result.instance.id(), reason.clone())),
        Verdict::Passed | Verdict::Noted { .. } | Verdict::NotApplicable { .. } => None,
    };
    results.iter().filter_map(failure).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_fault_is_found_by_its_cases() {
    let named: BTreeSet<&str> = FOUND_BY.iter().map(|(fault, _)| *fault).collect();
    let all: BTreeSet<&str> = Fault::ALL.iter().map(|fault| fault.name()).collect();
    assert_eq!(named, all, "every fault has its cases");
    assert!(all.len() >= 30);

    let cases: BTreeSet<&str> = FOUND_BY.iter().flat_map(|(_, cases)| cases.iter().copied()).collect();
    // Another build, without faults, may put its binary in the place of this one.
    let folder = tempfile::tempdir().unwrap();
    let binary = folder.path().join("lateen");
    std::fs::copy(env!("CARGO_BIN_EXE_lateen"), &binary).unwrap();

    let sound = Server::start(&binary, None).await;
    let results = sound.run(&cases.into_iter().collect::<Vec<_>>(), Patience::default()).await;
    let failed = failures(&results);
    assert!(failed.is_empty(), "without a fault: {failed:#?}");
    drop(sound);

    let began = Instant::now();
    let mut missed = Vec::new();
    for (fault, cases) in FOUND_BY {
        let server = Server::start(&binary, Some(fault)).await;
        let results = server.run(cases, SHORT).await;
        let found = failures(&results);
        let by: BTreeSet<&str> = found.iter().map(|(id, _)| id.split('/').next().unwrap()).collect();
        eprintln!(
            "{fault}: {} of {} runs failed ({by:?}), {:?}",
            found.len(),
            results.len(),
            began.elapsed()
        );
        if found.is_empty() {
            missed.push(*fault);
        }
    }
    assert!(missed.is_empty(), "not found: {missed:?}");
    assert!(began.elapsed() < TIME_MAX, "took {:?}", began.elapsed());
}
