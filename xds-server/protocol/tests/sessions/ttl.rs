//! Times to live.
//! <https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#ttl>

use crate::rig::{Cluster, Endpoints, Rig, delta, list};

fn set_ttl(rig: &mut Rig, kind: lateen_xds::ResourceType, name: &str, ttl_ms: Option<u32>) {
    let id = rig.id(name);
    match ttl_ms {
        Some(ttl_ms) => drop(rig.view.ttl_ms.insert((kind, id), ttl_ms)),
        None => drop(rig.view.ttl_ms.remove(&(kind, id))),
    }
}

#[test]
fn delta_heartbeat_has_no_body_and_comes_in_time() {
    let mut rig = Rig::delta();
    rig.set(Endpoints, "a", "1", &[]);
    rig.set(Endpoints, "b", "1", &[]);
    set_ttl(&mut rig, Endpoints, "a", Some(4_500));
    rig.send(&delta(Endpoints, &["a", "b"], &[]));
    let reply = rig.expect_ack();
    assert_eq!(reply.ttl_ms.iter().collect::<Vec<_>>(), [(&"a".to_owned(), &4_500)]);
    rig.silent();
    let due = rig.session.deadline().unwrap();
    assert!(due - rig.now_ms < 4_500 / 2);
    rig.now_ms = due;
    let beat = rig.expect_ack();
    assert_eq!(beat.resources.iter().collect::<Vec<_>>(), [(&"a".to_owned(), &None)]);
    assert_eq!((&beat.versions["a"], beat.ttl_ms["a"]), (&reply.versions["a"], 4_500));
    rig.silent();
    // A full response puts the next heartbeat off.
    rig.now_ms += 1_000;
    rig.put(Endpoints, "a", "2");
    rig.expect_ack();
    rig.silent();
    rig.now_ms += 1_000;
    rig.silent();
    // Without a time to live it is sent once more, whole.
    set_ttl(&mut rig, Endpoints, "a", None);
    rig.now_ms = rig.session.deadline().unwrap();
    let reply = rig.expect_ack();
    assert_eq!((reply.content("a"), reply.ttl_ms.len()), ("2", 0));
    rig.silent();
    assert_eq!(rig.session.deadline(), None);
}

/// Envoy 1.40 takes a state-of-the-world heartbeat without a body for a removal of the cluster.
#[test]
fn sotw_heartbeat_has_its_body() {
    let mut rig = Rig::sotw();
    rig.set(Cluster, "a", "1", &[]);
    rig.set(Cluster, "b", "1", &[]);
    set_ttl(&mut rig, Cluster, "a", Some(30_000));
    rig.send(&list(Cluster, &[]));
    let reply = rig.expect();
    assert_eq!(reply.ttl_ms["a"], 30_000);
    rig.send(&list(Cluster, &[]).of(&reply));
    rig.silent();
    rig.now_ms = rig.session.deadline().unwrap();
    let beat = rig.expect();
    assert_eq!((beat.content("a"), beat.content("b"), beat.ttl_ms["a"]), ("1", "1", 30_000));
}

#[test]
fn heartbeat_stops_with_the_resource() {
    let mut rig = Rig::delta();
    rig.set(Endpoints, "a", "1", &[]);
    set_ttl(&mut rig, Endpoints, "a", Some(3_000));
    rig.send(&delta(Endpoints, &["a"], &[]));
    rig.settle();
    rig.remove(Endpoints, "a");
    rig.settle();
    rig.now_ms += 10_000;
    rig.silent();
    rig.now_ms += 10_000;
    rig.silent();
    assert_eq!(rig.session.deadline(), None);
}
