use serde_json::json;

use super::*;
use crate::config::Settings;

fn mirror() -> Mirror {
    let settings = Settings::parse("http://x").unwrap();
    Mirror::new(Rules { source: settings.source.0, hosts: settings.hosts, port: 80 })
}

fn key() -> ServiceKey {
    ("default".into(), "web".into())
}

fn registration(alloc: &str, port: u16) -> Registration {
    serde_json::from_value(json!({
        "ID": format!("_nomad-task-{alloc}-group-g-web-http"), "ServiceName": "web", "Namespace": "default",
        "AllocID": alloc, "Address": "10.0.0.7", "Port": port, "Tags": null,
    }))
    .unwrap()
}

fn alloc(id: &str, status: &str, modify_index: u64) -> Alloc {
    serde_json::from_value(json!({
        "ID": id, "DesiredStatus": "run", "ClientStatus": status, "ModifyIndex": modify_index,
    }))
    .unwrap()
}

fn health_of(events: &[SourceEvent]) -> Vec<lateen_model::Health> {
    let endpoints = events.iter().find_map(|event| match event {
        SourceEvent::Upsert { object: Object::Endpoints { endpoints, .. }, .. } => Some(endpoints),
        _ => None,
    });
    endpoints.unwrap().iter().map(|endpoint| endpoint.health).collect()
}

fn variable(index: u64, items: &[(&str, &str)]) -> Variable {
    let items = items.iter().map(|(item, body)| ((*item).to_owned(), (*body).to_owned())).collect();
    Variable { modify_index: index, items }
}

fn stub(path: &str, modify_index: u64) -> VariableStub {
    VariableStub { namespace: "default".to_owned(), path: path.to_owned(), modify_index }
}

#[test]
fn only_what_changed_is_told() {
    let mut mirror = mirror();
    assert_eq!(mirror.service(&key(), 5, vec![registration("a", 1)]).unwrap().len(), 2);
    assert_eq!(mirror.service(&key(), 6, vec![registration("a", 1)]).unwrap(), []);
    // Another instance: endpoints only.
    let events = mirror.service(&key(), 7, vec![registration("a", 1), registration("b", 2)]).unwrap();
    assert_eq!(events.len(), 1);
    assert_eq!(mirror.service(&key(), 8, vec![]).unwrap().len(), 2);
    assert_eq!(mirror.service(&key(), 9, vec![]).unwrap(), []);
}

#[test]
fn an_older_answer_is_not_taken() {
    let mut mirror = mirror();
    mirror.service(&key(), 5, vec![registration("a", 1)]).unwrap();
    assert_eq!(mirror.service(&key(), 4, vec![]), Err(WentBack));
    assert_eq!(mirror.services().count(), 1);
}

#[test]
fn health_follows_the_allocation_and_old_news_do_not_count() {
    use lateen_model::Health::{Healthy, Unhealthy};
    let mut mirror = mirror();
    assert_eq!(mirror.alloc(alloc("a", "pending", 10)), []);
    let events = mirror.service(&key(), 12, vec![registration("a", 1)]).unwrap();
    assert_eq!(health_of(&events), [Unhealthy]);
    assert_eq!(health_of(&mirror.alloc(alloc("a", "running", 14))), [Healthy]);
    assert_eq!(mirror.alloc(alloc("a", "pending", 13)), []);
    assert_eq!(mirror.alloc(alloc("a", "running", 14)), []);
    assert_eq!(health_of(&mirror.alloc(alloc("a", "failed", 15))), [Unhealthy]);
}

#[test]
fn allocations_that_are_over_are_forgotten() {
    let mut mirror = mirror();
    mirror.alloc(alloc("batch", "running", 1));
    mirror.alloc(alloc("batch", "complete", 2));
    mirror.alloc(alloc("a", "running", 3));
    mirror.service(&key(), 4, vec![registration("a", 1)]).unwrap();
    mirror.alloc(alloc("a", "complete", 5));
    assert_eq!(mirror.facts.allocs.len(), 1);
    // Its registration outlives it: it must not look healthy because nothing is known of it any more.
    let events = mirror.service(&key(), 5, vec![registration("a", 1), registration("b", 2)]).unwrap();
    assert_eq!(health_of(&events), [lateen_model::Health::Unhealthy, lateen_model::Health::Healthy]);
    mirror.service(&key(), 6, vec![]).unwrap();
    assert!(mirror.facts.allocs.is_empty() && mirror.by_alloc.is_empty());
}

#[test]
fn an_allocation_that_vanished_takes_no_traffic() {
    use lateen_model::Health::{Healthy, Unhealthy};
    let mut mirror = mirror();
    mirror.alloc(alloc("old", "running", 3));
    mirror.alloc(alloc("new", "running", 9));
    mirror.service(&key(), 9, vec![registration("new", 1), registration("old", 2)]).unwrap();
    // The new one is not in a list that is older than it.
    assert_eq!(health_of(&mirror.allocs_listed(5, &BTreeSet::new())), [Healthy, Unhealthy]);
    assert_eq!(mirror.allocs_listed(5, &BTreeSet::new()), []);
}

#[test]
fn each_item_of_a_variable_is_a_document() {
    let mut mirror = mirror();
    let key = ("default".into(), "lateen/config/a".into());
    let names = |events: &[SourceEvent]| -> Vec<String> {
        let name = |event: &SourceEvent| match event {
            SourceEvent::Upsert { id, .. } => format!("+{}", id.name),
            SourceEvent::Remove { id } => format!("-{}", id.name),
            SourceEvent::Invalid { id, .. } => format!("!{}", id.name),
            SourceEvent::Resync(_) | SourceEvent::Synced(_) => String::new(),
        };
        events.iter().map(name).collect()
    };
    let events = mirror.variable(&key, variable(1, &[("x", "1"), ("y", "1")]));
    assert_eq!(names(&events), ["+default/lateen/config/a#x", "+default/lateen/config/a#y"]);
    let events = mirror.variable(&key, variable(2, &[("y", "2"), ("z", "1")]));
    let expected = ["-default/lateen/config/a#x", "+default/lateen/config/a#y", "+default/lateen/config/a#z"];
    assert_eq!(names(&events), expected);
    assert_eq!(mirror.changed_variables(&[stub("lateen/config/a", 2)]), []);
    assert_eq!(mirror.changed_variables(&[stub("lateen/config/a", 3)]), std::slice::from_ref(&key));
    assert_eq!(mirror.missing_variables(&[]), std::slice::from_ref(&key));
    let events = mirror.variable_gone(&key);
    assert_eq!(names(&events), ["-default/lateen/config/a#y", "-default/lateen/config/a#z"]);
}

#[test]
fn what_can_not_be_read_keeps_what_it_said() {
    let mut mirror = mirror();
    let key = ("default".into(), "lateen/config/a".into());
    mirror.variable(&key, variable(1, &[("x", "1")]));
    let count = |events: &[SourceEvent]| {
        let invalid = events.iter().filter(|event| matches!(event, SourceEvent::Invalid { .. })).count();
        (invalid, events.len())
    };
    assert_eq!(count(&mirror.unreadable(&stub("lateen/config/a", 2), "403".to_owned())), (1, 1));
    // A Variable that was never read: one finding for all of it.
    assert_eq!(count(&mirror.unreadable(&stub("lateen/config/b", 2), "403".to_owned())), (1, 1));
    let listing = mirror.listing();
    assert_eq!(count(&listing), (2, 9), "{listing:?}");
    // Readable again and the same: told, which takes the finding back.
    let events = mirror.variable(&key, variable(3, &[("x", "1")]));
    assert!(matches!(events.last(), Some(SourceEvent::Upsert { .. })), "{events:?}");
}
