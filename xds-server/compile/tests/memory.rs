//! What the registry and the compiler keep, in bytes that were asked of the allocator.

use std::{alloc::System, sync::Arc};

use cap::Cap;
use lateen_compile::Compiler;
use lateen_model::SourceId;
use lateen_registry::Registry;

#[allow(dead_code, reason = "what only the example measures")]
#[path = "../examples/cost/mesh.rs"]
mod mesh;

#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

/// Bytes kept by the registry alone, and by the views of these nodes.
fn kept(what: &str, size: usize, views: usize) -> [usize; 2] {
    let start = ALLOCATOR.allocated();
    let (events, nodes) = mesh::mesh(what, size, views);
    let source = SourceId("test".into());
    let mut registry = Registry::new(std::slice::from_ref(&source));
    for event in events {
        registry.apply(&source, event, 0);
        drop(registry.take_touched());
    }
    let before = ALLOCATOR.allocated();
    let mut compiler = Compiler::new();
    for node in nodes {
        let handle = compiler.attach(registry.world(), &Arc::new(node));
        compiler.subscribe_all(registry.world(), handle);
    }
    compiler.take_changed();
    [before - start, ALLOCATOR.allocated() - before]
}

/// One test: what another thread allocates would count.
#[test]
fn memory_follows_what_there_is() {
    // What is made once, at its first use.
    kept("sidecars", 20, 1);

    let [few, _] = kept("endpoint", 200, 0);
    let [many, _] = kept("endpoint", 600, 0);
    let each = (many - few) / 400;
    println!("a service with its slice of five endpoints and its route: {each} bytes");

    let [_, few] = kept("sidecars", 200, 4);
    let [_, many] = kept("sidecars", 200, 12);
    let view = (many - few) / 8;
    println!("a view of ten hosts: {view} bytes");

    let [few, _] = kept("hosts", 200, 0);
    let [many, _] = kept("hosts", 600, 0);
    let host = (many - few) / 400;
    println!("a host of a VirtualService: {host} bytes");

    assert!(each < 13_000, "{each} bytes for each service");
    assert!(view < 130_000, "{view} bytes for each view of ten hosts");
    assert!(host < 2_000, "{host} bytes for each host of a large object");
}
