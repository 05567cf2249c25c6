//! What the commands print, and how they end.

use std::{
    fs::OpenOptions,
    process::{Command, Stdio},
};

fn lateen(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lateen"));
    command.args(args);
    command
}

/// `lateen completion bash | head -0`.
#[test]
fn a_reader_that_has_seen_enough_ends_the_command_quietly() {
    let mut child =
        lateen(&["completion", "bash"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let end = child.wait_with_output().unwrap();
    assert!(end.status.success() && end.stderr.is_empty(), "{end:?}");
}

#[test]
fn a_full_disk_is_an_error() {
    let full = || OpenOptions::new().write(true).open("/dev/full").unwrap();
    let end = lateen(&["completion", "bash"]).stdout(full()).output().unwrap();
    let told = String::from_utf8_lossy(&end.stderr).into_owned();
    assert_eq!(end.status.code(), Some(3), "{told}");
    assert!(told.contains("can't write"), "{told}");
    // Where not even that can be said, the exit code says it.
    let end = lateen(&["completion", "bash"]).stdout(full()).stderr(full()).status().unwrap();
    assert_eq!(end.code(), Some(3));
}

#[test]
fn wrong_usage_has_an_exit_code_of_its_own() {
    for args in [
        &["serve"][..],
        &["serve", "--adapter", "zookeeper=x"],
        &["serve", "--adapter", "file="],
        &["serve", "--adapter", "file=a", "--adapter", "file=a"],
        &["bootstrap", "--name", "a~b"],
        &["bootstrap", "--xds", "nowhere"],
        &["bootstrap", "--locality", "a/b/c/d"],
        &["config", "edge", "--type", "nothing"],
        &["analyze", "--ignore", "ALL", "."],
    ] {
        let end = lateen(args).output().unwrap();
        assert_eq!(end.status.code(), Some(2), "{args:?}: {end:?}");
    }
}
