//! `lateen`: one binary for the control plane, its tools and the demo.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "printing is what a command line tool does")]

mod adapters;
mod admin;
mod args;
mod commands;
mod demo;
mod output;

use std::process::ExitCode;

use clap::Parser;

use crate::args::{Args, Command, Conformance};

/// A control plane holds many small, long-lived objects and makes many short-lived ones on several threads: with the
/// system's allocator its resident memory is more than twice as large (figures in ARCHITECTURE.md).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let args = Args::parse();
    start_log(&args.log);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("lateen: can't start: {error}");
            return ExitCode::from(output::EXIT_FAILED);
        }
    };
    match runtime.block_on(run(args)) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("lateen: {error:#}");
            ExitCode::from(output::EXIT_FAILED)
        }
    }
}

async fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args.command {
        Command::Serve(serve) => commands::serve::run(serve).await,
        Command::Adapter(adapter) => commands::adapter::run(adapter).await,
        // Larger than all others together.
        Command::Registry(registry) => Box::pin(commands::registry::run(registry)).await,
        Command::Bootstrap(bootstrap) => commands::bootstrap::run(&bootstrap),
        Command::Analyze(analyze) => commands::analyze::run(&analyze),
        Command::Status(status) => commands::status::run(status).await,
        Command::Config(config) => commands::config::run(config).await,
        Command::Diff(diff) => commands::diff::run(diff).await,
        Command::Demo(demo) => demo::run(demo).await,
        Command::Conformance(Conformance::Run(run)) => commands::conformance::run(*run).await,
        Command::Conformance(Conformance::Serve(serve)) => commands::conformance_serve::run(serve).await,
        Command::Completion { shell } => {
            commands::completion(shell);
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn start_log(filter: &str) {
    let filter = tracing_subscriber::EnvFilter::try_new(filter)
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
}
