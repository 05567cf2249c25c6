//! What one change costs at different sizes of the mesh, from the event to the names that streams are told:
//! `cost [SIZE [CHANGES [WHAT [VIEWS]]]]`.
//!
//! - `endpoint`, `route`, `service`: of SIZE services, for one sidecar in each of VIEWS namespaces that see everything;
//! - `gateway`: of one of SIZE routes of a gateway with VIEWS servers, each for a domain of its own;
//! - `sidecars`: of one of SIZE services, for VIEWS namespaces whose `Sidecar` imports ten hosts each.
//!
//! `tools/bench.sh cost` runs it under callgrind, which counts only what is below [`measured`].

#![allow(clippy::print_stdout, reason = "a program for the terminal")]

use std::{sync::Arc, time::Instant};

use lateen_compile::Compiler;
use lateen_model::{Document, NodeInfo, ObjectId, ObjectKind, Scope, SourceEvent, SourceId, event::Object};
use lateen_registry::Registry;

fn upsert(name: &str, text: String) -> SourceEvent {
    let object = Object::Document(Document { body: text.into_bytes().into() });
    SourceEvent::Upsert { id: ObjectId { kind: ObjectKind::Document, name: name.into() }, object }
}

fn service(n: usize) -> SourceEvent {
    let text = format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: s{n}, namespace: ns{}}}\nspec: {{ports: [{{name: http, port: 80}}]}}\n",
        n % 40
    );
    upsert(&format!("service/{n}"), text)
}

fn slice(n: usize, last: usize) -> SourceEvent {
    let endpoints = |ip: usize| format!("{{addresses: [10.{}.{}.{ip}]}}", n / 256, n % 256);
    let all = [1, 2, 3, 4, last].map(endpoints).join(", ");
    let text = format!(
        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: s{n}-1, namespace: ns{}, labels: {{kubernetes.io/service-name: s{n}}}}}\naddressType: IPv4\nports: [{{name: http, port: 8080}}]\nendpoints: [{all}]\n",
        n % 40
    );
    upsert(&format!("slice/{n}"), text)
}

fn route(n: usize, weight: usize) -> SourceEvent {
    let text = format!(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: v{n}, namespace: ns{}}}\nspec:\n  hosts: [s{n}]\n  http:\n  - route:\n    - {{destination: {{host: s{n}}}, weight: {weight}}}\n    - {{destination: {{host: other}}, weight: {}}}\n",
        n % 40,
        100 - weight
    );
    upsert(&format!("route/{n}"), text)
}

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

const SERVERS: usize = 100;

/// A gateway with so many servers, each for its own domain.
fn gateway(servers: usize) -> SourceEvent {
    let server = |n: usize| {
        format!(
            "  - {{port: {{number: 80, name: http-{n}, protocol: HTTP}}, hosts: ['*.d{n}.example.com']}}\n"
        )
    };
    let text = format!(
        "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {{name: edge, namespace: ns0}}\nspec:\n  selector: {{app: edge}}\n  servers:\n{}",
        (0..servers).map(server).collect::<String>()
    );
    upsert("gateway", text)
}

/// A route of the gateway, with a host of its own.
fn edge_route(n: usize, servers: usize, weight: usize) -> SourceEvent {
    let to =
        |service: usize| format!("destination: {{host: s{service}.ns{}.svc.cluster.local}}", service % 40);
    let text = format!(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: e{n}, namespace: ns{}}}\nspec:\n  hosts: [r{n}.d{}.example.com]\n  gateways: [ns0/edge]\n  http:\n  - route:\n    - {{{}, weight: {weight}}}\n    - {{{}, weight: {}}}\n",
        n % 40,
        n % servers,
        to(n % SERVERS),
        to((n + 1) % SERVERS),
        100 - weight
    );
    upsert(&format!("edge/{n}"), text)
}

/// A `Sidecar` for a namespace of clients, which imports ten hosts.
fn sidecar(n: usize, services: usize) -> SourceEvent {
    let host = |at: usize| {
        let service = (n * 31 + at * 97) % services;
        format!("\"*/s{service}.ns{}.svc.cluster.local\"", service % 40)
    };
    let text = format!(
        "apiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {{name: narrow, namespace: team{n}}}\nspec: {{egress: [{{hosts: [{}]}}]}}\n",
        (0..10).map(host).collect::<Vec<_>>().join(", ")
    );
    upsert(&format!("sidecar/{n}"), text)
}

/// The mesh, and the nodes that are connected to it.
fn mesh(what: &str, size: usize, views: usize) -> (Vec<SourceEvent>, Vec<NodeInfo>) {
    let services = |count: usize| (0..count).flat_map(|n| [service(n), slice(n, 5), route(n, 50)]);
    match what {
        "gateway" => {
            let routes = (0..size).map(|n| edge_route(n, views, 50));
            let mut node = NodeInfo::from_id("router~10.255.0.1~edge.ns0~ns0.svc.cluster.local");
            node.labels.insert("app".into(), "edge".into());
            (services(SERVERS).chain([gateway(views)]).chain(routes).collect(), vec![node])
        }
        "sidecars" => {
            let node = |n: usize| {
                NodeInfo::from_id(&format!(
                    "sidecar~10.255.{}.{}~c.team{n}~team{n}.svc.cluster.local",
                    n / 256,
                    n % 256
                ))
            };
            let sidecars = (0..views).map(|n| sidecar(n, size));
            (services(size).chain(sidecars).collect(), (0..views).map(node).collect())
        }
        _ => {
            let node = |n: usize| {
                NodeInfo::from_id(&format!("sidecar~10.255.0.{n}~c{n}.ns{n}~ns{n}.svc.cluster.local"))
            };
            (services(size).collect(), (0..views).map(node).collect())
        }
    }
}

/// Resident memory of the process, in MB; `None` where the system does not tell.
fn resident_mb() -> Option<usize> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<usize>().ok()? / 1024)
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
        "service" => service(size + n),
        _ => slice(n * 7 % size, 6 + n % 199),
    };
    let events: Vec<SourceEvent> = (0..changes).map(event).collect();
    let (began, before) = (Instant::now(), compiler.evaluations());
    let told: usize =
        events.into_iter().map(|event| measured(&mut registry, &mut compiler, &source, event)).sum();
    let each = changes.max(1);
    println!(
        "{size} × {views}, {what}: {:?}, {} evaluations and {} tables each; {} MB with the registry alone, {} MB with all views",
        began.elapsed() / u32::try_from(each).unwrap_or(1),
        (compiler.evaluations() - before) / each as u64,
        told / each,
        without.unwrap_or(0),
        with.unwrap_or(0),
    );
}
