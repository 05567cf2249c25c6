//! One file for each command.

pub mod adapter;
pub mod analyze;
pub mod bootstrap;
pub mod config;
pub mod conformance;
pub mod conformance_serve;
pub mod diff;
pub mod files;
pub mod registry;
pub mod serve;
pub mod status;

use clap::CommandFactory;

/// Prints completions.
pub fn completion(shell: clap_complete::Shell) {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut crate::args::Args::command(), "lateen", &mut script);
    println!("{}", String::from_utf8_lossy(&script).trim_end());
}
