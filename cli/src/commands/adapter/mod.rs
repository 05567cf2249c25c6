//! `lateen adapter`: looks at a source without serving it.

mod compare;
mod lag;
mod probe;
mod seen;

use std::process::ExitCode;

use crate::args::{Adapter as Args, AdapterCommand};

/// Runs one of the two.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args.command {
        AdapterCommand::Test(args) => probe::test(args).await,
        AdapterCommand::Compare(args) => compare::compare(args).await,
    }
}
