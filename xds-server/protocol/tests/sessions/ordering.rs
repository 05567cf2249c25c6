//! Make before break.
//! <https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#eventual-consistency-considerations>

use std::sync::Arc;

use lateen_model::hash::SetHash;
use lateen_xds::{
    Resource, ResourceRef, ResourceType, SessionOptions, Variant,
    resource::{RefSet, Refs},
};

use crate::rig::{
    Cluster, Endpoints, Listener, Reply, Rig, RouteConfiguration, Secret, delta, list, options,
};

/// A mesh with one listener, one route configuration, one cluster and its endpoints.
fn world(rig: &mut Rig) {
    rig.set(Cluster, "c1", "1", &[(Endpoints, "c1")]);
    rig.set(Endpoints, "c1", "1", &[]);
    rig.set(Listener, "l", "1", &[(RouteConfiguration, "r")]);
    rig.set(RouteConfiguration, "r", "1", &[(Cluster, "c1")]);
}

fn subscribe(rig: &mut Rig) {
    for (kind, names) in
        [(Cluster, &[][..]), (Endpoints, &["c1"][..]), (Listener, &[][..]), (RouteConfiguration, &["r"][..])]
    {
        rig.send(&delta(kind, names, &[]));
    }
}

fn kinds(replies: &[Reply]) -> Vec<ResourceType> {
    replies.iter().map(Reply::kind).collect()
}

fn in_sync() -> Rig {
    let mut rig = Rig::delta();
    world(&mut rig);
    subscribe(&mut rig);
    let all = rig.settle();
    assert_eq!(kinds(&all), [Cluster, Endpoints, Listener, RouteConfiguration]);
    rig
}

#[test]
fn new_things_go_in_push_order_and_routes_wait_for_clusters() {
    let mut rig = in_sync();
    rig.put_refs(RouteConfiguration, "r", "2", &[(Cluster, "c2")]);
    rig.put_refs(Listener, "l2", "1", &[(Cluster, "c2")]);
    rig.put_refs(Listener, "l3", "1", &[(RouteConfiguration, "r3")]);
    rig.put_refs(Cluster, "c2", "1", &[(Endpoints, "c2")]);
    rig.put(Endpoints, "c2", "1");
    let clusters = rig.expect();
    assert_eq!((clusters.kind(), clusters.names()), (Cluster, vec!["c2"]));
    // A listener does not wait for its route configuration, which Envoy asks for only afterwards.
    assert_eq!(rig.expect_ack().names(), ["l3"]);
    rig.silent();
    // Endpoints are never held back: without them the cluster does not warm and its ACK does not come.
    rig.send(&delta(Endpoints, &["c2"], &[]));
    assert_eq!(rig.expect_ack().kind(), Endpoints);
    rig.silent();
    rig.ack(&clusters);
    assert_eq!(rig.expect_ack().names(), ["l2"]);
    assert_eq!(rig.expect_ack().kind(), RouteConfiguration);
    rig.silent();
}

#[test]
fn only_dependents_wait_and_they_get_the_newest() {
    let mut rig = in_sync();
    rig.put_refs(RouteConfiguration, "other", "1", &[(Cluster, "c1")]);
    rig.send(&delta(RouteConfiguration, &["other"], &[]));
    rig.settle();
    rig.put_refs(Cluster, "c2", "1", &[]);
    rig.put_refs(RouteConfiguration, "r", "2", &[(Cluster, "c2")]);
    rig.put_refs(RouteConfiguration, "other", "2", &[(Cluster, "c1")]);
    let clusters = rig.expect();
    assert_eq!(rig.expect_ack().names(), ["other"]);
    rig.put_refs(RouteConfiguration, "r", "3", &[(Cluster, "c2")]);
    rig.silent();
    rig.ack(&clusters);
    let reply = rig.expect();
    assert_eq!((reply.names(), reply.content("r")), (vec!["r"], "3"));
}

#[test]
fn gate_falls_by_deadline() {
    let mut rig = in_sync();
    rig.put_refs(Cluster, "c2", "1", &[]);
    rig.put_refs(RouteConfiguration, "r", "2", &[(Cluster, "c2")]);
    rig.expect();
    rig.silent();
    assert_eq!(rig.session.deadline(), Some(rig.now_ms + 5_000));
    rig.now_ms += 4_999;
    assert_eq!(rig.next(), None);
    rig.now_ms += 1;
    assert_eq!(rig.expect().names(), ["r"]);
}

/// <https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#nack>
#[test]
fn nack_of_a_cluster_stops_its_dependents_only() {
    let mut rig = in_sync();
    rig.put_refs(Cluster, "c2", "bad", &[]);
    rig.put_refs(RouteConfiguration, "r", "2", &[(Cluster, "c2")]);
    let reply = rig.expect();
    rig.nack(&reply, "no");
    rig.silent();
    rig.put(Listener, "l9", "1");
    assert_eq!(rig.expect_ack().names(), ["l9"]);
    rig.put_refs(Cluster, "c2", "good", &[]);
    let reply = rig.expect();
    rig.silent();
    rig.ack(&reply);
    assert_eq!(rig.expect().names(), ["r"]);
}

#[test]
fn unsubscribing_the_cluster_opens_its_gate() {
    let mut rig = Rig::delta();
    world(&mut rig);
    rig.send(&delta(Cluster, &["c1"], &[]));
    rig.send(&delta(RouteConfiguration, &["r"], &[]));
    assert_eq!(rig.expect().kind(), Cluster);
    rig.silent();
    rig.send(&delta(Cluster, &[], &["c1"]));
    assert_eq!(rig.expect().kind(), RouteConfiguration);
}

#[test]
fn clusters_that_the_client_does_not_ask_for_hold_nothing_back() {
    let mut rig = Rig::delta();
    world(&mut rig);
    rig.send(&delta(Listener, &["l"], &[]));
    assert_eq!(rig.expect_ack().names(), ["l"]);
    rig.send(&delta(RouteConfiguration, &["r"], &[]));
    assert_eq!(rig.expect_ack().names(), ["r"]);
    rig.send(&delta(Cluster, &["other"], &[]));
    rig.settle();
    rig.put_refs(RouteConfiguration, "r", "2", &[(Cluster, "c1")]);
    assert_eq!(rig.expect_ack().names(), ["r"]);
}

/// A cluster that is still waiting for the answers to earlier ones counts as not sent.
#[test]
fn route_waits_for_a_cluster_that_could_not_be_sent_yet() {
    let mut rig = in_sync();
    let mut held_back = Vec::new();
    for i in 0..4 {
        rig.put(Cluster, "c1", &format!("changed {i}"));
        held_back.push(rig.expect());
    }
    rig.settle_endpoints();
    rig.put_refs(Cluster, "c2", "1", &[]);
    rig.put_refs(RouteConfiguration, "r", "2", &[(Cluster, "c2")]);
    rig.silent();
    rig.ack(&held_back[3]);
    let reply = rig.expect();
    assert_eq!(reply.names(), ["c2"]);
    rig.silent();
    rig.ack(&reply);
    assert_eq!(rig.expect().names(), ["r"]);
}

impl Rig {
    fn settle_endpoints(&mut self) {
        while let Some(reply) = self.next() {
            assert_eq!(reply.kind(), Endpoints);
            self.ack(&reply);
        }
    }
}

#[test]
fn cluster_is_removed_after_its_route_has_moved_and_that_was_accepted() {
    let mut rig = in_sync();
    rig.put_refs(Cluster, "c2", "1", &[]);
    rig.remove(Cluster, "c1");
    rig.remove(Endpoints, "c1");
    rig.put_refs(RouteConfiguration, "r", "2", &[(Cluster, "c2")]);
    let clusters = rig.expect();
    assert_eq!((clusters.names(), clusters.removed()), (vec!["c2"], vec![]));
    rig.silent();
    rig.ack(&clusters);
    let routes = rig.expect();
    assert_eq!(routes.names(), ["r"]);
    // Sent is not accepted, also when the cluster is looked at again.
    rig.changed(Cluster, "c1");
    rig.silent();
    rig.ack(&routes);
    let clusters = rig.expect();
    assert_eq!((clusters.kind(), clusters.removed()), (Cluster, vec!["c1"]));
    let endpoints = rig.expect();
    assert_eq!((endpoints.kind(), endpoints.removed()), (Endpoints, vec!["c1"]));
    rig.silent();
}

#[test]
fn sotw_cluster_stays_in_the_complete_set_until_then() {
    let mut rig = Rig::sotw();
    world(&mut rig);
    let ask = |kind: ResourceType| match kind {
        Endpoints => list(kind, &["c1"]),
        RouteConfiguration => list(kind, &["r"]),
        _ => list(kind, &[]),
    };
    for kind in [Cluster, Endpoints, Listener, RouteConfiguration] {
        rig.send(&ask(kind));
        let reply = rig.expect();
        rig.send(&ask(kind).of(&reply));
    }
    rig.put_refs(Cluster, "c2", "1", &[]);
    rig.remove(Cluster, "c1");
    rig.put_refs(RouteConfiguration, "r", "2", &[(Cluster, "c2")]);
    let clusters = rig.expect();
    assert_eq!(clusters.names(), ["c1", "c2"]);
    assert_eq!(clusters.content("c1"), "1");
    rig.send(&ask(Cluster).of(&clusters));
    let routes = rig.expect();
    rig.silent();
    rig.send(&ask(RouteConfiguration).of(&routes));
    assert_eq!(rig.expect().names(), ["c2"]);
}

#[test]
fn nack_of_the_route_keeps_the_old_cluster() {
    let mut rig = in_sync();
    rig.put_refs(Cluster, "c2", "1", &[]);
    rig.remove(Cluster, "c1");
    rig.put_refs(RouteConfiguration, "r", "bad", &[(Cluster, "c2")]);
    rig.expect_ack();
    let routes = rig.expect();
    rig.nack(&routes, "no");
    rig.now_ms += 600_000;
    rig.silent();
    rig.put_refs(RouteConfiguration, "r", "2", &[(Cluster, "c2")]);
    rig.expect_ack();
    assert_eq!(rig.expect_ack().removed(), ["c1"]);
}

#[test]
fn removed_listener_frees_its_cluster_when_that_is_accepted() {
    let mut rig = in_sync();
    rig.put_refs(Listener, "tcp", "1", &[(Cluster, "c2")]);
    rig.put_refs(Cluster, "c2", "1", &[]);
    rig.settle();
    rig.remove(Cluster, "c2");
    rig.remove(Listener, "tcp");
    let listeners = rig.expect();
    assert_eq!(listeners.removed(), ["tcp"]);
    rig.changed(Cluster, "c2");
    rig.silent();
    rig.ack(&listeners);
    assert_eq!(rig.expect_ack().removed(), ["c2"]);
}

#[test]
fn unsubscribed_route_frees_its_cluster() {
    let mut rig = in_sync();
    rig.put_refs(Cluster, "c2", "1", &[]);
    rig.put_refs(RouteConfiguration, "r", "bad", &[(Cluster, "c2")]);
    rig.expect_ack();
    let routes = rig.expect();
    rig.nack(&routes, "no");
    rig.remove(Cluster, "c1");
    rig.silent();
    rig.send(&delta(RouteConfiguration, &[], &["r"]));
    assert_eq!(rig.expect_ack().removed(), ["c1"]);
}

/// Envoy applies the good part of a response that it rejects: what the other part referred to may be in use.
#[test]
fn cluster_of_a_resource_that_was_rejected_with_others_stays() {
    let mut rig = in_sync();
    rig.put_refs(Cluster, "c2", "1", &[]);
    rig.put_refs(Listener, "a", "1", &[]);
    rig.put_refs(Listener, "b", "1", &[]);
    rig.settle();
    rig.put_refs(Listener, "a", "bad", &[]);
    rig.put_refs(Listener, "b", "2", &[(Cluster, "c2")]);
    let both = rig.expect();
    rig.put_refs(Listener, "b", "3", &[]);
    rig.remove(Cluster, "c2");
    rig.nack(&both, "bad a");
    let mut order = Vec::new();
    while let Some(reply) = rig.next() {
        order.extend(reply.removed().into_iter().map(|name| format!("-{name}")));
        order.extend(reply.names().into_iter().map(|name| format!("{name}={}", reply.content(name))));
        rig.changed(Cluster, "c2");
        if reply.resources.values().flatten().any(|content| content == "bad") {
            rig.nack(&reply, "bad a");
        } else {
            rig.ack(&reply);
        }
    }
    assert_eq!(order, ["a=bad", "b=3", "-c2"], "a is tried alone, b was pending");
}

#[test]
fn cluster_of_a_resource_that_was_rejected_alone_is_not_in_use() {
    let mut rig = in_sync();
    rig.put_refs(Cluster, "c2", "1", &[]);
    rig.expect_ack();
    rig.put_refs(Listener, "l", "bad", &[(Cluster, "c2")]);
    let reply = rig.expect();
    rig.nack(&reply, "no");
    rig.put_refs(Listener, "l", "1", &[(RouteConfiguration, "r")]);
    rig.silent();
    rig.remove(Cluster, "c2");
    assert_eq!(rig.expect().removed(), ["c2"]);
}

/// A route configuration of a thousand clusters has no list of them.
#[test]
fn references_may_be_a_set() {
    struct All(Vec<ResourceRef>);
    impl RefSet for All {
        fn contains(&self, target: ResourceRef) -> bool {
            self.0.contains(&target)
        }
        fn visit(&self, visit: &mut dyn FnMut(ResourceRef)) {
            self.0.iter().copied().for_each(visit);
        }
        fn digest(&self) -> SetHash {
            Refs::list(self.0.clone()).digest()
        }
    }
    let mut rig = in_sync();
    let named = |rig: &mut Rig, names: &[&str], content: &str| {
        let all = names.iter().map(|name| ResourceRef { kind: Cluster, name: rig.id(name) }).collect();
        let made = rig.view.make(RouteConfiguration, "r", content, &[]);
        let resource = Resource {
            kind: made.kind,
            name: made.name,
            version: made.version,
            body: made.body.clone(),
            refs: Refs::Set(Arc::new(All(all))),
            origins: made.origins.clone(),
        };
        rig.view.resources.insert((RouteConfiguration, made.name), Arc::new(resource));
        rig.changed(RouteConfiguration, "r");
    };
    rig.put_refs(Cluster, "c2", "1", &[]);
    named(&mut rig, &["c1", "c2"], "2");
    let clusters = rig.expect();
    rig.silent();
    rig.ack(&clusters);
    assert_eq!(rig.expect_ack().content("r"), "2");
    rig.set(Cluster, "c3", "1", &[]);
    rig.unset(Cluster, "c1");
    named(&mut rig, &["c2", "c3"], "3");
    rig.changed(Cluster, "c1");
    rig.changed(Cluster, "c3");
    assert_eq!(rig.expect_ack().names(), ["c3"]);
    assert_eq!(rig.expect_ack().content("r"), "3");
    assert_eq!(rig.expect_ack().removed(), ["c1"]);
}

#[test]
fn gate_of_a_cluster_that_comes_back_begins_anew() {
    let mut rig = in_sync();
    rig.put(Cluster, "c2", "1");
    rig.expect();
    rig.now_ms += 4_000;
    rig.remove(Cluster, "c2");
    assert_eq!(rig.expect().removed(), ["c2"]);
    rig.put(Cluster, "c2", "1");
    rig.put_refs(RouteConfiguration, "r", "2", &[(Cluster, "c2")]);
    assert_eq!(rig.expect().names(), ["c2"]);
    rig.now_ms += 4_000;
    rig.silent();
    rig.now_ms += 1_000;
    assert_eq!(rig.expect().names(), ["r"]);
}

/// A secret or an extension configuration that is referred to must not be removed.
#[test]
fn referenced_secret_and_extension_config_stay() {
    let mut rig = in_sync();
    let referred = [(Secret, "s"), (ResourceType::ExtensionConfig, "x")];
    for (kind, name) in referred {
        rig.put(kind, name, "1");
        rig.send(&delta(kind, &[name], &[]));
    }
    rig.put_refs(Listener, "l", "2", &referred);
    rig.settle();
    for (kind, name) in referred {
        rig.remove(kind, name);
    }
    rig.silent();
    rig.put_refs(Listener, "l", "3", &[]);
    assert_eq!(kinds(&rig.settle()), [Listener, Secret, ResourceType::ExtensionConfig]);
}

/// Envoy warms the cluster until it sees the assignment again, and does not ask for it.
#[test]
fn endpoints_follow_every_change_of_their_cluster() {
    let mut rig = in_sync();
    rig.put_refs(Cluster, "c1", "2", &[(Endpoints, "c1")]);
    let clusters = rig.expect();
    assert_eq!(clusters.kind(), Cluster);
    let endpoints = rig.expect();
    assert_eq!((endpoints.kind(), endpoints.content("c1")), (Endpoints, "1"), "without the cluster's ACK");
    rig.silent();

    let mut rig = Rig::sotw();
    world(&mut rig);
    rig.send(&list(Cluster, &[]));
    let clusters = rig.expect();
    rig.send(&list(Cluster, &[]).of(&clusters));
    rig.send(&list(Endpoints, &["c1"]));
    let endpoints = rig.expect();
    rig.send(&list(Endpoints, &["c1"]).of(&endpoints));
    rig.put_refs(Cluster, "c1", "2", &[(Endpoints, "c1")]);
    assert_eq!(rig.expect().kind(), Cluster);
    assert_eq!(rig.expect().content("c1"), "1");
    // Envoy then repeats its last request for endpoints.
    rig.send(&list(Endpoints, &["c1"]).of(&endpoints));
    rig.silent();
}

#[test]
fn endpoints_of_a_changed_cluster_that_do_not_exist_are_said_to_be_absent_again() {
    let mut rig = in_sync();
    rig.put_refs(Cluster, "e", "1", &[(Endpoints, "e")]);
    rig.send(&delta(Endpoints, &["e"], &[]));
    rig.settle();
    rig.put_refs(Cluster, "e", "2", &[(Endpoints, "e")]);
    assert_eq!(rig.expect().kind(), Cluster);
    assert_eq!(rig.expect().removed(), ["e"]);
}

/// After a reconnect while a cluster warmed, Envoy asks for endpoints first; answered before the cluster they
/// do not warm it.
#[test]
fn endpoints_asked_for_before_clusters_are_sent_again_behind_them() {
    for variant in [Variant::Sotw, Variant::Delta] {
        let mut rig = Rig::with(options(variant));
        world(&mut rig);
        if variant == Variant::Sotw {
            rig.send(&list(Endpoints, &["c1"]));
            let reply = rig.expect();
            rig.send(&list(Endpoints, &["c1"]).of(&reply));
            rig.send(&list(Cluster, &[]));
        } else {
            let eds = rig.version(Endpoints, "c1");
            rig.send(&delta(Endpoints, &["c1"], &[]).holding(&[("c1", &eds)]));
            rig.silent();
            rig.send(&delta(Cluster, &[], &[]).holding(&[("c1", "older")]));
        }
        assert_eq!(rig.expect().kind(), Cluster);
        let reply = rig.expect();
        assert_eq!((reply.kind(), reply.names()), (Endpoints, vec!["c1"]));
    }
}

#[test]
fn unchanged_cluster_on_reconnect_costs_nothing() {
    let mut rig = in_sync();
    rig.reconnect();
    for (kind, names, name) in [
        (Cluster, &[][..], "c1"),
        (Endpoints, &["c1"][..], "c1"),
        (Listener, &[][..], "l"),
        (RouteConfiguration, &["r"][..], "r"),
    ] {
        let version = rig.version(kind, name);
        rig.send(&delta(kind, names, &[]).holding(&[(name, &version)]));
    }
    let all = rig.settle();
    assert_eq!(kinds(&all), [Cluster, Listener]);
    assert!(all.iter().all(|reply| reply.resources.is_empty() && reply.removed.is_empty()));
    // And what it holds is known, with its references.
    rig.set(RouteConfiguration, "r", "2", &[]);
    rig.changed(RouteConfiguration, "r");
    rig.remove(Cluster, "c1");
    let routes = rig.expect();
    assert_eq!((routes.kind(), routes.content("r")), (RouteConfiguration, "2"));
    rig.changed(Cluster, "c1");
    rig.silent();
    rig.ack(&routes);
    assert_eq!(rig.expect_ack().removed(), ["c1"]);
}

/// A route to a service that no longer exists keeps its bytes, so no answer will come for it: what the client has
/// is what it should have, and Envoy answers 503 where the cluster was.
#[test]
fn cluster_goes_though_the_accepted_route_names_it_when_that_route_is_the_wanted_one() {
    for reconnects in [false, true] {
        let mut rig = in_sync();
        if reconnects {
            rig.reconnect();
            for (kind, names, name) in [
                (Cluster, &[][..], "c1"),
                (Endpoints, &["c1"][..], "c1"),
                (Listener, &[][..], "l"),
                (RouteConfiguration, &["r"][..], "r"),
            ] {
                let version = rig.version(kind, name);
                rig.send(&delta(kind, names, &[]).holding(&[(name, &version)]));
            }
            rig.settle();
        }
        rig.remove(Cluster, "c1");
        rig.remove(Endpoints, "c1");
        let gone = rig.expect_ack();
        assert_eq!((gone.kind(), gone.removed()), (Cluster, vec!["c1"]));
        let gone = rig.expect_ack();
        assert_eq!((gone.kind(), gone.removed()), (Endpoints, vec!["c1"]));
        rig.silent();
    }

    let mut rig = Rig::sotw();
    world(&mut rig);
    rig.set(Cluster, "c2", "1", &[]);
    let ask = |kind: ResourceType| match kind {
        RouteConfiguration => list(kind, &["r"]),
        _ => list(kind, &[]),
    };
    for kind in [Cluster, Listener, RouteConfiguration] {
        rig.send(&ask(kind));
        let reply = rig.expect();
        rig.send(&ask(kind).of(&reply));
    }
    rig.remove(Cluster, "c1");
    assert_eq!(rig.expect().names(), ["c2"]);
}

#[test]
fn removals_after_a_reconnect_wait_for_the_routes() {
    let mut rig = Rig::delta();
    world(&mut rig);
    rig.set(RouteConfiguration, "r", "2", &[(Cluster, "c1")]);
    let c1 = rig.version(Cluster, "c1");
    let l = rig.version(Listener, "l");
    rig.send(&delta(Cluster, &[], &[]).holding(&[("c1", &c1), ("old", "1")]));
    let clusters = rig.expect_ack();
    assert_eq!((clusters.names(), clusters.removed()), (vec![], vec![]));
    rig.send(&delta(Listener, &[], &[]).holding(&[("l", &l)]));
    rig.expect_ack();
    rig.send(&delta(RouteConfiguration, &["r"], &[]).holding(&[("r", "that named old")]));
    let routes = rig.expect();
    assert_eq!(routes.names(), ["r"]);
    rig.silent();
    rig.ack(&routes);
    assert_eq!(rig.expect_ack().removed(), ["old"]);
}

#[test]
fn removals_after_a_reconnect_wait_no_longer_than_this() {
    let mut rig = Rig::delta();
    rig.send(&delta(Cluster, &[], &[]).holding(&[("old", "1")]));
    rig.expect_ack();
    rig.silent();
    assert_eq!(rig.session.deadline(), Some(rig.now_ms + 15_000));
    rig.now_ms += 15_000;
    assert_eq!(rig.expect_ack().removed(), ["old"]);
}

#[test]
fn separate_streams_hold_nothing_back() {
    let mut rig = Rig::with(SessionOptions { only: Some(RouteConfiguration), ..options(Variant::Delta) });
    world(&mut rig);
    rig.send(&delta(RouteConfiguration, &["r"], &[]));
    assert_eq!(rig.expect_ack().names(), ["r"]);
}
