//! Streams, types, bounds.

use lateen_xds::{Limits, Refusal, SessionOptions, Variant};

use crate::rig::{Cluster, Endpoints, Listener, Rig, VirtualHost, delta, list, options};

#[test]
fn aggregated_stream_needs_a_type() {
    let mut rig = Rig::sotw();
    let mut ask = list(Cluster, &[]);
    ask.0.type_url.clear();
    let refusal = rig.try_send(&ask).unwrap_err();
    assert_eq!((refusal.code(), refusal), (3, Refusal::NoType));
}

#[test]
fn separate_stream_implies_its_type_and_refuses_others() {
    let mut rig = Rig::with(SessionOptions { only: Some(Cluster), ..options(Variant::Sotw) });
    rig.set(Cluster, "a", "1", &[]);
    let mut ask = list(Cluster, &[]);
    ask.0.type_url.clear();
    rig.send(&ask);
    assert_eq!(rig.expect().names(), ["a"]);
    let refusal = rig.try_send(&list(Listener, &[])).unwrap_err();
    assert_eq!(refusal.code(), 3);
    assert!(refusal.to_string().contains("Listener"), "{refusal}");
}

#[test]
fn unknown_types_disturb_nobody() {
    let mut rig = Rig::sotw();
    rig.set(Cluster, "a", "1", &[]);
    let mut ask = list(Cluster, &["x"]);
    ask.0.type_url = "type.googleapis.com/envoy.config.cluster.v9.Cluster".into();
    rig.send(&ask);
    rig.silent();
    // There is no state-of-the-world variant of VHDS.
    rig.send(&list(VirtualHost, &["r/h"]));
    rig.silent();
    rig.send(&list(Cluster, &[]));
    assert_eq!(rig.expect().names(), ["a"]);
}

#[test]
fn requests_of_the_other_variant_are_refused() {
    let refusal = Rig::sotw().try_send(&delta(Cluster, &[], &[])).unwrap_err();
    assert_eq!((refusal.code(), refusal), (3, Refusal::OtherVariant));
    assert!(Rig::delta().try_send(&list(Cluster, &[])).is_err());
}

#[test]
fn names_are_bounded_and_the_text_says_the_bound() {
    let limits = Limits { names_max: 3, name_bytes_max: 10, ..Limits::default() };
    let mut rig = Rig::with(SessionOptions { limits, ..options(Variant::Sotw) });
    let refusal = rig.try_send(&list(Endpoints, &["a", "b", "c", "d"])).unwrap_err();
    assert_eq!(refusal.code(), 8);
    assert_eq!(refusal.to_string(), "4 resource names on one stream exceed the limit of 3");
    let refusal = rig.try_send(&list(Endpoints, &["a-long-name"])).unwrap_err();
    assert_eq!(refusal.code(), 3);
    assert_eq!(refusal.to_string(), "a resource name of 11 bytes exceeds the limit of 10 bytes");
    rig.send(&list(Endpoints, &["a", "b", "c"]));
    rig.send(&list(Endpoints, &["d", "e", "f"]));
    assert!(rig.try_send(&list(Cluster, &["x"])).is_err(), "all types count together");

    let mut rig = Rig::with(SessionOptions { limits, ..options(Variant::Delta) });
    rig.send(&delta(Endpoints, &["a", "b"], &[]));
    rig.send(&delta(Endpoints, &["c"], &["a"]));
    rig.send(&delta(Endpoints, &["d"], &["d", "d"]));
    rig.send(&delta(Endpoints, &["b", "c"], &[]));
    assert!(rig.try_send(&delta(Cluster, &["x", "y"], &[])).is_err());
    let held = [("a", "1"), ("b", "1"), ("c", "1"), ("d", "1")];
    assert!(rig.try_send(&delta(Listener, &[], &[]).holding(&held)).is_err());
}

#[test]
fn error_messages_are_cut() {
    let mut rig = Rig::delta();
    rig.put(Cluster, "a", "1");
    rig.send(&delta(Cluster, &[], &[]));
    let reply = rig.expect();
    rig.nack(&reply, &"é".repeat(10_000));
    let message = rig.session.status()[0].message.clone().unwrap();
    assert_eq!(message.len(), Limits::default().message_bytes_max);
}

#[test]
fn every_name_of_a_session_is_visited() {
    let mut rig = Rig::delta();
    rig.put(Cluster, "a", "1");
    rig.put(Listener, "l", "1");
    rig.send(&delta(Cluster, &[], &[]));
    rig.send(&delta(Endpoints, &["e"], &[]));
    rig.send(&delta(Listener, &["*", "l"], &[]));
    rig.expect();
    let mut seen = std::collections::BTreeSet::new();
    rig.session.visit_names(&mut |name| {
        seen.insert(rig.view.names.text(name).to_string());
    });
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), ["a", "e", "l"]);
    assert_eq!(rig.session.wildcards().collect::<Vec<_>>(), [Cluster, Listener]);
    assert_eq!(rig.session.subscriptions().count(), 2);
}
