//! `lateen`: one binary for the control plane, its tools and the demo.

/// As the standard library's, which panics when nobody reads (`lateen status | head`).
macro_rules! println {
    ($($arg:tt)*) => { $crate::output::line(format_args!($($arg)*)) };
}

/// As the standard library's, which panics when nobody reads.
macro_rules! eprintln {
    ($($arg:tt)*) => { $crate::output::aside(format_args!($($arg)*)) };
}

mod adapters;
mod admin;
mod args;
mod commands;
mod demo;
mod output;

use std::{io::IsTerminal, process::ExitCode};

use clap::Parser;

use crate::args::{Args, Command, Conformance};

/// A control plane holds many small, long-lived objects and makes many short-lived ones on several threads: with the
/// system's allocator its resident memory is more than twice as large (figures in ARCHITECTURE.md).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let args = Args::parse();
    start_log(&args.log);
    // The core may keep one worker for as long as it compiles.
    let workers = std::thread::available_parallelism().map_or(2, |cores| cores.get().max(2));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(workers).enable_all().build();
    let runtime = match runtime {
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
            let usage = error.is::<output::Usage>();
            ExitCode::from(if usage { output::EXIT_USAGE } else { output::EXIT_FAILED })
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
        Command::Conformance(Conformance::Client(run)) => commands::conformance::run_client(*run).await,
        Command::Conformance(Conformance::Compare(compare)) => commands::conformance::compare(&compare),
        Command::Conformance(Conformance::Serve(serve)) => commands::conformance_serve::run(serve).await,
        Command::Completion { shell } => {
            commands::completion(shell);
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn start_log(filter: &str) {
    let filter = match tracing_subscriber::EnvFilter::builder().parse(filter) {
        Ok(filter) => filter,
        Err(error) => {
            eprintln!("lateen: --log {filter:?} is no filter ({error}); `warn` is taken");
            tracing_subscriber::EnvFilter::new("warn")
        }
    };
    // It warns of each watched folder that is removed; what that means is told by who watches.
    let quiet = "notify=error".parse().ok().filter(|_| !filter.to_string().contains("notify="));
    let filter = match quiet {
        Some(quiet) if filter.max_level_hint().is_none_or(|level| level >= tracing::Level::WARN) => {
            filter.add_directive(quiet)
        }
        Some(_) | None => filter,
    };
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        // It would tell of a log that can't be written by writing to it.
        .log_internal_errors(false)
        .init();
}
