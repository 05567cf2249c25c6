//! `lateen status`.

use std::process::ExitCode;

use lateen_xds_server::status::{Node, Status, SyncState};

use crate::{
    admin,
    args::{Format, Status as Args},
    output,
};

/// Prints sources, nodes and what was rejected; fails when something is stale, rejected or not ready.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let status: Status = admin::get(&args.server, "/debug/status").await?;
    match args.output {
        Format::Json => output::json(&status)?,
        Format::Table => print(&status),
    }
    Ok(if is_well(&status) { ExitCode::SUCCESS } else { ExitCode::from(output::EXIT_FINDINGS) })
}

fn is_well(status: &Status) -> bool {
    let rejected = |node: &Node| node.types.iter().any(|t| t.state == SyncState::Nack);
    status.ready
        && status.sources.iter().all(|source| source.stale_ms.is_none())
        && !status.nodes.iter().any(rejected)
}

fn print(status: &Status) {
    println!("{}, revision {}\n", if status.ready { "ready" } else { "NOT READY" }, status.revision);
    let mut sources = output::table(&["SOURCE", "STATE", "OBJECTS", "FINDINGS"]);
    for source in &status.sources {
        let state = match (source.synced, source.stale_ms) {
            (_, Some(ms)) => format!("STALE {}", output::age(ms)),
            (true, None) => "synced".to_owned(),
            (false, None) => "listing".to_owned(),
        };
        sources.add_row([source.id.clone(), state, source.objects.to_string(), source.findings.to_string()]);
    }
    println!("{sources}\n");
    let mut nodes = output::table(&["NODE", "STREAM", "CONNECTED", "TYPE", "STATE", "AGE", "RESOURCES"]);
    for node in &status.nodes {
        let head = [node.id.clone(), node.stream.clone(), output::age(node.connected_ms)];
        let mut head = Some(head);
        for kind in &node.types {
            let mut row = head.take().map_or_else(|| vec![String::new(); 3], Vec::from);
            row.extend([
                kind.kind.clone(),
                kind.state.to_string(),
                output::age(kind.age_ms),
                kind.held.to_string(),
            ]);
            nodes.add_row(row);
        }
    }
    println!("{nodes}");
    for node in &status.nodes {
        for kind in &node.types {
            print_rejections(node, kind);
        }
    }
    if !status.findings.is_empty() {
        println!("\nfindings:");
        for finding in &status.findings {
            println!("  {finding}");
        }
    }
}

fn print_rejections(node: &Node, kind: &lateen_xds_server::status::TypeStatus) {
    let Some(message) = &kind.message else { return };
    println!("\n{} rejected by {}: {message}", kind.kind, node.id);
    for rejected in &kind.rejected {
        let origins = if rejected.origins.is_empty() {
            "made by lateen".to_owned()
        } else {
            rejected.origins.join(", ")
        };
        println!("  {}  from {origins}", rejected.name);
    }
}
