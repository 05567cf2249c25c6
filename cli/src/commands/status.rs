//! `lateen status`.

use std::process::ExitCode;

use lateen_xds_server::status::{Node, Source, Status, SyncState};

use crate::{
    admin,
    args::{Format, Status as Args},
    output,
};

/// Prints sources, nodes and what was rejected; fails when something is stale, rejected, not ready, or an error.
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
        && status.errors == 0
        && status.sources.iter().all(|source| {
            source.stale_ms.is_none() && source.saved_unix_ms.is_none() && source.held_removals == 0
        })
        && !status.nodes.iter().any(rejected)
}

fn print(status: &Status) {
    println!("{}, revision {}\n", if status.ready { "ready" } else { "NOT READY" }, status.revision);
    let mut sources = output::table(&["SOURCE", "STATE", "OBJECTS", "HELD", "FINDINGS"]);
    for source in &status.sources {
        let (state, held) = (state_of(source), source.held_removals.to_string());
        let (objects, findings) = (source.objects.to_string(), source.findings.to_string());
        sources.add_row([source.id.clone(), state, objects, held, findings]);
    }
    println!("{sources}\n");
    for source in &status.sources {
        if let Some(error) = &source.error {
            println!("{}: {error}\n", source.id);
        }
    }
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
        println!("\nfindings, {} of them errors:", status.errors);
        for finding in &status.findings {
            println!("  {finding}");
        }
    }
}

/// In words, what matters most first.
fn state_of(source: &Source) -> String {
    let stale = source.stale_ms.map(|ms| format!("STALE {}", output::age(ms)));
    let saved = source.saved_unix_ms.map(|ms| format!("from saved state of {}", output::time(ms)));
    match (stale, saved) {
        (Some(stale), Some(saved)) => format!("{stale}, {saved}"),
        (Some(one), None) | (None, Some(one)) => one,
        (None, None) if source.synced => "synced".to_owned(),
        (None, None) => "listing".to_owned(),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn source() -> Source {
        Source {
            id: "consul=x".to_owned(),
            synced: true,
            stale_ms: None,
            error: None,
            saved_unix_ms: None,
            held_removals: 0,
            objects: 0,
            findings: 0,
        }
    }

    fn is_well_with(source: Source) -> bool {
        is_well(&Status { ready: true, sources: vec![source], ..Status::default() })
    }

    #[test]
    fn a_source_says_how_old_it_is() {
        assert_eq!(state_of(&source()), "synced");
        assert_eq!(state_of(&Source { synced: false, ..source() }), "listing");
        let restored = Source { stale_ms: Some(3_000), saved_unix_ms: Some(951_782_399_000), ..source() };
        assert_eq!(state_of(&restored), "STALE 3s, from saved state of 2000-02-28T23:59:59Z");
    }

    #[test]
    fn what_is_stale_saved_or_held_is_not_well() {
        assert!(is_well_with(source()));
        assert!(!is_well_with(Source { stale_ms: Some(1), ..source() }));
        assert!(!is_well_with(Source { saved_unix_ms: Some(1), ..source() }));
        assert!(!is_well_with(Source { held_removals: 1, ..source() }));
    }
}
