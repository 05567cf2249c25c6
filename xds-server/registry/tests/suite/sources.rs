//! Listings, failures, staleness.

use lateen_model::SourceEvent;
use lateen_registry::Registry;

use crate::feed::{Feed, listing, remove, scope, source, upsert};

fn namespace(name: &str) -> String {
    format!("{{apiVersion: v1, kind: Namespace, metadata: {{name: {name}}}}}")
}

fn held(feed: &Feed) -> usize {
    // The mesh's configuration is always there.
    feed.world().keys().len() - 1
}

#[test]
fn a_listing_is_one_change() {
    let mut feed = Feed::new();
    assert!(!feed.registry.synced());
    let events = listing(&[("a", &namespace("a")), ("b", &namespace("b"))]);
    let mut sizes: Vec<usize> = events.into_iter().map(|event| feed.apply(event).facts.len()).collect();
    assert_eq!(sizes.pop(), Some(2));
    assert!(sizes.iter().all(|size| *size == 0), "{sizes:?}");
    assert!(feed.registry.synced());
}

#[test]
fn a_listing_sweeps_its_scope_only() {
    let mut feed = Feed::new();
    for event in listing(&[("x/a", &namespace("a")), ("x/b", &namespace("b")), ("y/c", &namespace("c"))]) {
        feed.apply(event);
    }
    feed.apply(SourceEvent::Resync(scope("x/")));
    feed.apply(upsert("x/b", &namespace("b")));
    feed.apply(upsert("y/d", &namespace("d")));
    let changes = feed.apply(SourceEvent::Synced(scope("x/")));
    assert_eq!(changes.facts.len(), 2, "a is gone, d is new: {changes:?}");
    assert_eq!(held(&feed), 3);
    // The end of a listing that never began sweeps nothing.
    assert!(feed.apply(SourceEvent::Synced(scope("y/"))).is_empty());
}

#[test]
fn all_scopes_of_the_first_listing_must_end() {
    let mut feed = Feed::new();
    feed.apply(SourceEvent::Resync(scope("x/")));
    feed.apply(SourceEvent::Resync(scope("y/")));
    feed.apply(SourceEvent::Synced(scope("x/")));
    assert!(!feed.registry.synced());
    feed.apply(SourceEvent::Synced(scope("y/")));
    assert!(feed.registry.synced());
}

#[test]
fn a_failed_listing_removes_nothing() {
    let mut feed = Feed::new();
    for event in listing(&[("a", &namespace("a")), ("b", &namespace("b"))]) {
        feed.apply(event);
    }
    let of = feed.source.clone();
    feed.apply(SourceEvent::Resync(scope("")));
    feed.registry.source_failed(&of, "connection reset", 7);
    let status = feed.registry.sources().remove(0);
    assert_eq!((status.stale_since, status.error.as_deref()), (Some(7), Some("connection reset")));
    assert!(feed.registry.synced(), "last good keeps being served");
    feed.registry.source_failed(&of, "refused", 9);
    assert_eq!(feed.registry.sources()[0].stale_since, Some(7), "stale since the first failure");
    // The end of the abandoned listing, should it come, sweeps nothing.
    feed.apply(SourceEvent::Synced(scope("")));
    assert_eq!(held(&feed), 2);
    for event in listing(&[("a", &namespace("a"))]) {
        feed.apply(event);
    }
    feed.registry.source_recovered(&of, 11);
    assert_eq!(held(&feed), 1);
    let status = feed.registry.sources().remove(0);
    assert_eq!((status.stale_since, status.error, status.objects), (None, None, 1));
}

#[test]
fn every_source_must_be_listed() {
    let (one, two) = (source("one"), source("two"));
    let mut registry = Registry::new(&[one.clone(), two.clone()]);
    for event in listing(&[]) {
        registry.apply(&one, event, 1);
    }
    assert!(!registry.synced());
    for event in listing(&[("bad.yaml", "x: [")]) {
        registry.apply(&two, event, 5);
    }
    assert!(registry.synced());
    let status = registry.sources().remove(1);
    assert_eq!((status.id, status.findings, status.objects, status.last_event), (two, 1, 0, Some(5)));
}

#[test]
fn a_removed_document_takes_its_findings_along() {
    let mut feed = Feed::new();
    feed.put("a", "x: [");
    assert_eq!(feed.findings().len(), 1);
    feed.apply(remove("a"));
    assert!(feed.findings().is_empty());
}
