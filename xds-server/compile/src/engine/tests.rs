use std::collections::BTreeSet;

use lateen_model::{Host, ObjectKind, SourceEvent, SourceId, event::Object};
use lateen_registry::{Changes, FactKey, Registry, World};
use lateen_xds::Names;

use super::{Evaluated, Graph, Program, Reader};
use crate::translate::Read;

/// How many services two hosts have together: two reads, a value that often stays the same.
struct Count;

impl Program for Count {
    type Key = (&'static str, &'static str);
    type Value = usize;
    type Context = ();

    fn compute((): &(), key: &Self::Key, reader: &mut Reader<'_>) -> usize {
        [key.0, key.1]
            .into_iter()
            .filter(|host| reader.fact(&FactKey::Service(Host::from(*host))).is_some())
            .count()
    }
}

fn change(registry: &mut Registry, host: &str, there: bool) -> Changes {
    let source = SourceId("test".into());
    let id = lateen_model::ObjectId { kind: ObjectKind::Document, name: host.into() };
    let text = format!(
        "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: x-{}}}\nspec:\n  hosts: [{host}]\n  \
         resolution: NONE\n  ports: [{{number: 80, name: http, protocol: HTTP}}]\n",
        host.replace('.', "-")
    );
    let event = if there {
        let object = Object::Document(lateen_model::Document { body: text.into_bytes().into() });
        SourceEvent::Upsert { id, object }
    } else {
        SourceEvent::Remove { id }
    };
    registry.apply(&source, event, 0)
}

fn readers(graph: &Graph<Count>, changes: &Changes) -> BTreeSet<super::MemoId> {
    graph.readers(&changes.facts)
}

#[test]
fn a_change_reaches_exactly_the_memos_that_read_it_absent_or_not() {
    let mut registry = Registry::new(&[SourceId("test".into())]);
    let (mut graph, mut names) = (Graph::<Count>::default(), Names::default());
    let (left, _) = graph.hold(("a.x", "b.x"));
    let (right, _) = graph.hold(("b.x", "c.x"));
    for id in [left, right] {
        assert_eq!(graph.evaluate(id, &World::new(), &mut names, &()), Evaluated::Changed(None));
    }
    let changes = change(&mut registry, "a.x", true);
    assert_eq!(readers(&graph, &changes), BTreeSet::from([left]), "{changes:?}");
    let changes = change(&mut registry, "b.x", true);
    assert_eq!(readers(&graph, &changes), BTreeSet::from([left, right]));
    assert_eq!(graph.evaluate(left, registry.world(), &mut names, &()), Evaluated::Changed(Some(0)));
    assert_eq!(graph.evaluate(left, registry.world(), &mut names, &()), Evaluated::Same);
    let changes = change(&mut registry, "d.x", true);
    assert!(readers(&graph, &changes).is_empty());
}

#[test]
fn a_memo_without_a_holder_is_dropped_with_its_reads() {
    let registry = Registry::new(&[]);
    let (mut graph, mut names) = (Graph::<Count>::default(), Names::default());
    let (id, is_new) = graph.hold(("a.x", "b.x"));
    assert!(is_new && !graph.hold(("a.x", "b.x")).1);
    graph.evaluate(id, registry.world(), &mut names, &());
    graph.release(id);
    assert!(graph.is_live(id));
    graph.release(id);
    assert!(!graph.is_live(id) && graph.is_empty());
    assert!(graph.readers(&BTreeSet::from([FactKey::Service(Host::from("a.x"))])).is_empty());
}
