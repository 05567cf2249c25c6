//! What one change costs at different sizes of the mesh, from the event to the names that streams are told, for one
//! sidecar in each of some namespaces that see everything: `cost [SERVICES [CHANGES [endpoint|route|service [VIEWS]]]]`.
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

fn main() {
    let mut arguments = std::env::args().skip(1);
    let mut number = |default| arguments.next().and_then(|text| text.parse().ok()).unwrap_or(default);
    let (services, changes): (usize, usize) = (number(1_000), number(100));
    let what = arguments.next().unwrap_or_else(|| "endpoint".to_owned());
    let views: usize = arguments.next().and_then(|text| text.parse().ok()).unwrap_or(4);
    let source = SourceId("bench".into());
    let mut registry = Registry::new(std::slice::from_ref(&source));
    let scope = Scope { kind: ObjectKind::Document, prefix: "".into() };
    registry.apply(&source, SourceEvent::Resync(scope.clone()), 0);
    for n in 0..services {
        for event in [service(n), slice(n, 5), route(n, 50)] {
            registry.apply(&source, event, 0);
        }
    }
    registry.apply(&source, SourceEvent::Synced(scope), 0);
    assert_eq!(registry.diagnostics().next(), None);
    let mut compiler = Compiler::new();
    for n in 0..views {
        let node = NodeInfo::from_id(&format!("sidecar~10.255.0.{n}~c{n}.ns{n}~ns{n}.svc.cluster.local"));
        let handle = compiler.attach(registry.world(), &Arc::new(node));
        compiler.subscribe_all(registry.world(), handle);
    }
    compiler.take_changed();

    let event = |n: usize| match what.as_str() {
        "route" => route(n * 7 % services, n % 49 + 1),
        "service" => service(services + n),
        _ => slice(n * 7 % services, 6 + n % 199),
    };
    let events: Vec<SourceEvent> = (0..changes).map(event).collect();
    let (began, before) = (Instant::now(), compiler.evaluations());
    let told: usize =
        events.into_iter().map(|event| measured(&mut registry, &mut compiler, &source, event)).sum();
    let each = changes.max(1);
    println!(
        "{services} services, {what}: {:?}, {} evaluations and {} tables each",
        began.elapsed() / u32::try_from(each).unwrap_or(1),
        (compiler.evaluations() - before) / each as u64,
        told / each
    );
}
