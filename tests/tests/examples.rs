//! The tours of `examples/`, as they stand in its pages: every command of their `sh` blocks is run, on the real servers,
//! in a network namespace where the ports that they name are free.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its functions too")]
#![allow(clippy::print_stdout, reason = "what a tour shows is in the output")]

use std::{
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, ensure};
use lateen_test_servers::kubernetes::{Kubernetes, Options, User};
use lateen_tests::{backend::RUNTIME, envoy, netns, server};

/// Seconds that a tour may take.
const PATIENCE: &str = "120";
/// What Envoy passes on of the example's web server.
const ANSWERED: &str = "HTTP/1.1 200 OK";

#[test]
fn the_tour_of_files_works() {
    netns::run("the_tour_of_files_works", || tour("file", &[], &[ANSWERED, "edge.yaml:11:"])).unwrap();
}

#[test]
fn the_tour_of_consul_works() {
    netns::run("the_tour_of_consul_works", || tour("consul", &[], &[ANSWERED])).unwrap();
}

#[test]
fn the_tour_of_nomad_works() {
    netns::run("the_tour_of_nomad_works", || tour("nomad", &[], &[ANSWERED])).unwrap();
}

#[test]
fn the_tour_of_etcd_works() {
    netns::run("the_tour_of_etcd_works", || {
        tour("etcd", &[], &[ANSWERED, "endpoints/default/hello/"]);
    })
    .unwrap();
}

#[test]
fn the_tour_of_several_at_once_works() {
    netns::run("the_tour_of_several_at_once_works", || {
        tour("together", &[], &[ANSWERED, " of consul=", " of etcd="]);
    })
    .unwrap();
}

#[test]
fn the_tour_of_kubernetes_works() {
    netns::run("the_tour_of_kubernetes_works", || {
        let cluster = RUNTIME.block_on(Kubernetes::start(Options { controllers: true })).unwrap();
        let kubeconfig = cluster.kubeconfig(User::Admin).display().to_string();
        // The namespace has no address that `hostname` would tell.
        tour(
            "kubernetes",
            &[("KUBECONFIG", &kubeconfig), ("ADDRESS", "10.0.0.1")],
            &[ANSWERED, "Reconciled"],
        );
    })
    .unwrap();
}

fn tour(name: &str, settings: &[(&str, &str)], shown: &[&str]) {
    if let Err(error) = run(name, settings, shown) {
        panic!("the tour {name}: {error:#}");
    }
}

/// Runs the blocks of a page. What they start ends with them: it is in a namespace of processes of its own.
fn run(name: &str, settings: &[(&str, &str)], shown: &[&str]) -> anyhow::Result<()> {
    let root = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let page = std::fs::read_to_string(root.join("examples").join(name).join("README.md"))?;
    let folder = tempfile::tempdir()?;
    for part in ["examples", "deploy"] {
        symlink(root.join(part).canonicalize()?, folder.path().join(part))?;
    }
    let script = folder.path().join("tour");
    std::fs::write(&script, format!("set -eu\n{}", blocks(&page)?))?;
    let output = folder.path().join("output");
    let write = || std::fs::File::options().create(true).append(true).open(&output);
    let status = Command::new("timeout")
        .args(["--signal", "KILL", PATIENCE, "unshare", "--pid", "--fork", "--kill-child", "--mount-proc"])
        .args(["bash", "-x"])
        .arg(&script)
        .current_dir(folder.path())
        .env("PATH", path(folder.path())?)
        .env("ENVOY", envoy::binary()?)
        .env("TMPDIR", folder.path())
        // Nomad does not start where it is set.
        .env_remove("AWS_CA_BUNDLE")
        .envs(settings.iter().copied())
        .stdout(write()?)
        .stderr(write()?)
        .status()
        .context("timeout, unshare and bash")?;
    let output = String::from_utf8_lossy(&std::fs::read(&output)?).into_owned();
    println!("{output}");
    ensure!(status.success(), "{status}, see above");
    for wanted in shown {
        ensure!(output.contains(wanted), "{wanted:?} is not shown, see above");
    }
    Ok(())
}

/// The commands of a page.
fn blocks(page: &str) -> anyhow::Result<String> {
    let mut commands = String::new();
    for block in page.split("```sh\n").skip(1) {
        commands += block.split_once("```").context("a block that does not end")?.0;
    }
    ensure!(!commands.is_empty(), "a page without commands");
    Ok(commands)
}

/// The programs that the tours use: this build's, and the servers of the tests.
fn path(folder: &Path) -> anyhow::Result<String> {
    let programs = folder.join("bin");
    std::fs::create_dir(&programs)?;
    symlink(std::fs::canonicalize(server::binary())?, programs.join("lateen"))?;
    let servers = lateen_test_servers::binary("consul")?;
    let servers = servers.parent().context("a folder")?;
    let rest = std::env::var("PATH")?;
    Ok(format!("{}:{}:{rest}", programs.display(), servers.display()))
}
