//! What one change costs at different sizes of the mesh: `cargo run --release --example cost -- SERVICES [CHANGES
//! [endpoint|route|service]]`.
//!
//! For exact figures run it under callgrind twice with different counts of changes; the difference is theirs.

#![allow(clippy::print_stdout, reason = "a program for the terminal")]

use std::time::Instant;

use lateen_model::{Document, ObjectId, ObjectKind, Scope, SourceEvent, SourceId, event::Object};
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

fn main() {
    let only = std::env::args().nth(3);
    let mut arguments = std::env::args().skip(1);
    let mut number = |default| arguments.next().and_then(|text| text.parse().ok()).unwrap_or(default);
    let (services, changes): (usize, usize) = (number(1_000), number(1_000));
    let source = SourceId("bench".into());
    let mut registry = Registry::new(std::slice::from_ref(&source));
    let scope = Scope { kind: ObjectKind::Document, prefix: "".into() };
    let began = Instant::now();
    registry.apply(&source, SourceEvent::Resync(scope.clone()), 0);
    for n in 0..services {
        for event in [service(n), slice(n, 5), route(n, 50)] {
            registry.apply(&source, event, 0);
        }
    }
    let listed = registry.apply(&source, SourceEvent::Synced(scope), 0);
    println!("{services} services listed in {:?}, {} facts", began.elapsed(), listed.facts.len());
    assert_eq!(registry.diagnostics().next(), None);

    let mut measure = |what: &str, event: &dyn Fn(usize) -> SourceEvent| {
        if only.as_ref().is_some_and(|only| !what.starts_with(only)) {
            return;
        }
        let events: Vec<SourceEvent> = (0..changes).map(event).collect();
        let began = Instant::now();
        let facts: usize =
            events.into_iter().map(|event| registry.apply(&source, event, 0).facts.len()).sum();
        println!(
            "{what}: {:?} and {} facts each",
            began.elapsed() / u32::try_from(changes.max(1)).unwrap_or(1),
            facts / changes.max(1)
        );
    };
    measure("endpoint changed", &|n| slice(n * 7 % services, 6 + n % 199));
    measure("route changed", &|n| route(n * 7 % services, n % 99 + 1));
    measure("service added", &|n| service(services + n));
}
