//! `lateen diff FILES`.

use std::process::ExitCode;

use lateen_xds_server::status::{Difference, Proposal, ProposedDocument};

use super::files;
use crate::{
    admin,
    args::{Diff as Args, Format},
    output,
};

/// Prints what would change; nothing is applied.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let (files, unread) = files::read(&args.files)?;
    for finding in &unread {
        eprintln!("{finding}");
    }
    let documents = files.into_iter().map(|file| ProposedDocument {
        location: file.location,
        body: String::from_utf8_lossy(&file.body).into_owned(),
    });
    let proposal = Proposal { documents: documents.collect() };
    let difference: Difference = admin::post(&args.server, "/debug/diff", &proposal).await?;
    match args.output {
        Format::Json => output::json(&difference)?,
        Format::Table => print(&difference),
    }
    let same = difference.changes.is_empty() && difference.findings.is_empty() && unread.is_empty();
    Ok(if same { ExitCode::SUCCESS } else { ExitCode::from(output::EXIT_FINDINGS) })
}

fn print(difference: &Difference) {
    for finding in &difference.findings {
        println!("{finding}");
    }
    if difference.changes.is_empty() {
        println!("no resource of any connected node would change");
        return;
    }
    let mut table = output::table(&["CHANGE", "TYPE", "NAME", "NODES"]);
    for change in &difference.changes {
        let nodes = match change.nodes.as_slice() {
            [one] => one.clone(),
            many => format!("{} nodes", many.len()),
        };
        table.add_row([change.change.clone(), change.kind.clone(), change.name.clone(), nodes]);
    }
    println!("{table}");
}
