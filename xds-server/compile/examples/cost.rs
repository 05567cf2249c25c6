//! What one change costs at different sizes of the mesh, from the event to the names that streams are told:
//! `cost [SIZE [CHANGES [WHAT [VIEWS]]]]`.
//!
//! - `endpoint`, `route`, `service`: of SIZE services, for one sidecar in each of VIEWS namespaces that see everything;
//! - `gateways`: of one of SIZE `Gateway`s with a server of HTTPS each, which share a port;
//! - `names`: of one of SIZE `VirtualService`s with a route of TLS for a name of its own, of one server;
//! - `gateway`: of one of SIZE routes of a gateway with VIEWS servers, each for a domain of its own;
//! - `hosts`, `entry`, `servers`: of the only `VirtualService`, `ServiceEntry` or `Gateway`, which has SIZE hosts;
//! - `sidecars`: of one of SIZE services, for VIEWS namespaces whose `Sidecar` imports ten hosts each.
//!
//! `tools/bench.sh cost` runs it under callgrind, which counts only what is below [`measured`].

#![allow(clippy::print_stdout, reason = "a program for the terminal")]

use std::{sync::Arc, time::Duration};

use lateen_compile::Compiler;
use lateen_model::{ObjectKind, Scope, SourceEvent, SourceId};
use lateen_registry::Registry;

#[path = "cost/mesh.rs"]
mod mesh;

use mesh::{edge_route, large, mesh, name_route, route, service, shared_gateway, slice};

/// What is counted.
#[inline(never)]
fn measured(
    registry: &mut Registry,
    compiler: &mut Compiler,
    source: &SourceId,
    event: SourceEvent,
) -> usize {
    let changes = registry.apply(source, event, 0);
    compiler.apply(registry.world(), &changes);
    compiler.take_changed().changed.len()
}

/// Resident memory of the process, in MB; `None` where the system does not tell.
fn resident_mb() -> Option<usize> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<usize>().ok()? / 1024)
}

/// CPU time of this thread; `None` where the system does not tell.
fn cpu_time() -> Option<Duration> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    Some(Duration::from_nanos(text.split_whitespace().next()?.parse().ok()?))
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let mut number = |default| arguments.next().and_then(|text| text.parse().ok()).unwrap_or(default);
    let (size, changes): (usize, usize) = (number(1_000), number(100));
    let what = arguments.next().unwrap_or_else(|| "endpoint".to_owned());
    let views: usize = arguments.next().and_then(|text| text.parse().ok()).unwrap_or(4);
    let source = SourceId("bench".into());
    let mut registry = Registry::new(std::slice::from_ref(&source));
    let scope = Scope { kind: ObjectKind::Document, prefix: "".into() };
    let (events, nodes) = mesh(&what, size, views);
    registry.apply(&source, SourceEvent::Resync(scope.clone()), 0);
    for event in events {
        registry.apply(&source, event, 0);
        // As the server does, which saves them.
        drop(registry.take_touched());
    }
    registry.apply(&source, SourceEvent::Synced(scope), 0);
    assert_eq!(registry.diagnostics().next(), None);
    let without = resident_mb();
    let mut compiler = Compiler::new();
    for node in nodes {
        let handle = compiler.attach(registry.world(), &Arc::new(node));
        compiler.subscribe_all(registry.world(), handle);
    }
    compiler.take_changed();
    let with = resident_mb();

    let event = |n: usize| match what.as_str() {
        "route" => route(n * 7 % size, n % 49 + 1),
        "gateway" => edge_route(n * 7 % size, views, n % 49 + 1),
        "gateways" => shared_gateway(n * 7 % size, n % 49 + 1),
        "names" => name_route(n * 7 % size, n % 49 + 1),
        "service" => service(size + n),
        "hosts" | "entry" | "servers" => large(&what, size, n % 49 + 1),
        _ => slice(n * 7 % size, 6 + n % 199),
    };
    let events: Vec<SourceEvent> = (0..changes).map(event).collect();
    let (began, before) = (cpu_time(), compiler.evaluations());
    let told: usize =
        events.into_iter().map(|event| measured(&mut registry, &mut compiler, &source, event)).sum();
    let each = changes.max(1);
    let spent = cpu_time().zip(began).map(|(now, began)| now.saturating_sub(began)).unwrap_or_default();
    println!(
        "{size} × {views}, {what}: {:?} of CPU, {} evaluations and {} tables each; {} MB with the registry alone, {} MB with all views",
        spent / u32::try_from(each).unwrap_or(1),
        (compiler.evaluations() - before) / each as u64,
        told / each,
        without.unwrap_or(0),
        with.unwrap_or(0),
    );
}
