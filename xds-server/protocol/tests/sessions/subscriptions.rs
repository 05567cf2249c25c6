//! What the client asks for.
//! <https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#how-the-client-specifies-what-resources-to-return>

use lateen_xds::{ClientProfile, ResourceType, SessionOptions, Variant};

use crate::rig::{Cluster, Endpoints, Listener, Rig, RouteConfiguration, Secret, delta, list, options};

fn with(rig: fn() -> Rig, kind: ResourceType, names: &[&str]) -> Rig {
    let mut rig = rig();
    for name in names {
        rig.set(kind, name, "1", &[]);
    }
    rig
}

#[test]
fn sotw_empty_first_request_is_the_legacy_wildcard() {
    for kind in [Cluster, Listener, ResourceType::ScopedRoute] {
        let mut rig = with(Rig::sotw, kind, &["a", "b"]);
        rig.hide(kind, "b");
        rig.send(&list(kind, &[]));
        assert_eq!(rig.outcome.wildcard, [(kind, true)]);
        let reply = rig.expect();
        assert_eq!(reply.names(), ["a"]);
        rig.send(&list(kind, &[]).of(&reply));
        rig.silent();
        rig.put(kind, "c", "1");
        assert_eq!(rig.expect().names(), ["a", "c"]);
    }
}

/// Decided: the legacy wildcard is for LDS, CDS and SRDS only.
#[test]
fn empty_first_request_of_other_types_asks_for_nothing() {
    for kind in [Endpoints, RouteConfiguration, Secret] {
        let mut rig = with(Rig::sotw, kind, &["a"]);
        rig.send(&list(kind, &[]));
        rig.silent();
        let mut rig = with(Rig::delta, kind, &["a"]);
        rig.send(&delta(kind, &[], &[]));
        rig.silent();
    }
}

#[test]
fn sotw_star_is_wildcard_and_names_beside_it_add_to_it() {
    let mut rig = with(Rig::sotw, Cluster, &["a", "b"]);
    rig.hide(Cluster, "b");
    rig.send(&list(Cluster, &["*"]));
    let reply = rig.expect();
    assert_eq!(reply.names(), ["a"]);
    rig.send(&list(Cluster, &["*", "b"]).of(&reply));
    let reply = rig.expect();
    assert_eq!(reply.names(), ["a", "b"]);
    // The star goes, the name stays.
    rig.send(&list(Cluster, &["b"]).of(&reply));
    assert_eq!(rig.outcome.wildcard, [(Cluster, false)]);
    rig.silent();
    rig.put(Cluster, "a", "2");
    rig.silent();
    rig.put(Cluster, "b", "2");
    assert_eq!(rig.expect().names(), ["b"]);
}

#[test]
fn sotw_empty_list_after_names_asks_for_nothing() {
    let mut rig = with(Rig::sotw, Listener, &["a", "b"]);
    rig.send(&list(Listener, &["a"]));
    let reply = rig.expect();
    assert_eq!(reply.names(), ["a"]);
    rig.send(&list(Listener, &[]).of(&reply));
    assert_eq!(rig.outcome.wildcard, []);
    rig.silent();
    rig.put(Listener, "a", "2");
    rig.put(Listener, "b", "2");
    rig.silent();
}

#[test]
fn sotw_named_subset_of_a_wildcard_type() {
    let mut rig = with(Rig::sotw, Cluster, &["a", "b", "c"]);
    rig.send(&list(Cluster, &["c", "a"]));
    let reply = rig.expect();
    assert_eq!(reply.names(), ["a", "c"]);
    rig.put(Cluster, "b", "2");
    rig.silent();
}

#[test]
fn sotw_added_name_is_sent_at_the_same_version() {
    let mut rig = with(Rig::sotw, Endpoints, &["a", "b"]);
    rig.send(&list(Endpoints, &["a"]));
    let reply = rig.expect();
    rig.send(&list(Endpoints, &["a", "b"]).of(&reply));
    assert_eq!(rig.outcome.subscribed.len(), 1);
    let reply = rig.expect();
    assert_eq!(reply.names(), ["b"]);
    rig.send(&list(Endpoints, &["a", "b"]).of(&reply));
    rig.silent();
}

#[test]
fn sotw_removed_name_gets_no_updates_and_is_sent_again_when_it_is_back() {
    let mut rig = with(Rig::sotw, RouteConfiguration, &["a", "b"]);
    rig.send(&list(RouteConfiguration, &["a", "b"]));
    let reply = rig.expect();
    rig.send(&list(RouteConfiguration, &["b"]).of(&reply));
    assert_eq!(rig.outcome.unsubscribed.len(), 1);
    rig.silent();
    rig.changed(RouteConfiguration, "a");
    rig.silent();
    rig.send(&list(RouteConfiguration, &["a", "b"]).of(&reply));
    assert_eq!(rig.expect().names(), ["a"]);
}

#[test]
fn sotw_unknown_name_is_remembered() {
    let mut rig = Rig::sotw();
    rig.send(&list(RouteConfiguration, &["later"]));
    let _ = rig.next();
    rig.put(RouteConfiguration, "later", "1");
    assert_eq!(rig.expect().names(), ["later"]);
}

/// An empty assignment ends the warming of a cluster, an empty response does not (measured on Envoy 1.40).
#[test]
fn sotw_unknown_endpoints_are_answered_with_an_empty_assignment() {
    let mut rig = with(Rig::sotw, Endpoints, &["a"]);
    rig.send(&list(Endpoints, &["a", "none"]));
    let reply = rig.expect();
    assert_eq!(reply.content("none"), "(no endpoints)");
    assert_eq!(reply.content("a"), "1");
    rig.send(&list(Endpoints, &["a", "none"]).of(&reply));
    rig.silent();
    rig.put(Endpoints, "none", "now");
    assert_eq!(rig.expect().content("none"), "now");
}

#[test]
fn nothing_is_called_missing_before_the_view_is_ready() {
    let mut rig = Rig::sotw();
    rig.view.unready = true;
    rig.send(&list(Endpoints, &["a"]));
    rig.send(&list(Cluster, &[]));
    rig.silent();
    rig.view.unready = false;
    rig.session.on_ready();
    assert_eq!(rig.expect().kind(), Cluster);
    assert_eq!(rig.expect().content("a"), "(no endpoints)");

    let mut rig = Rig::delta();
    rig.view.unready = true;
    rig.send(&delta(Cluster, &[], &[]).holding(&[("gone", "0123456789abcdef")]));
    rig.send(&delta(Endpoints, &["a"], &[]));
    rig.silent();
    rig.view.unready = false;
    rig.session.on_ready();
    rig.now_ms += 60_000;
    assert_eq!(rig.expect().removed(), ["gone"]);
    assert_eq!(rig.expect().removed(), ["a"]);
}

/// <https://github.com/cncf/xds/blob/main/proposals/TP3-xds-error-propagation.md>
#[test]
fn sotw_missing_names_are_errors_for_clients_that_read_them() {
    let grpc = SessionOptions { profile: ClientProfile::Grpc, ..options(Variant::Sotw) };
    let mut rig = Rig::with(grpc);
    rig.set(Listener, "here", "1", &[]);
    rig.send(&list(Listener, &["here", "nowhere"]));
    let reply = rig.expect();
    assert_eq!(reply.names(), ["here"]);
    assert_eq!(reply.missing.iter().collect::<Vec<_>>(), [(&"nowhere".to_owned(), &5)]);
    rig.send(&list(Listener, &["here", "nowhere"]).of(&reply));
    rig.silent();
    // Said once.
    rig.put(Listener, "here", "2");
    assert_eq!(rig.expect().missing.len(), 0);

    let mut rig = Rig::sotw();
    rig.send(&list(Listener, &["nowhere"]));
    assert_eq!(rig.expect().missing.len(), 0);
}

#[test]
fn odd_names_are_tolerated() {
    let many: Vec<String> = (0..10_000).map(|i| format!("n{i}")).collect();
    let mut names: Vec<&str> = many.iter().map(String::as_str).collect();
    names.extend(["", "a", "a", "Ünïcødé\u{0}", " "]);
    let mut rig = with(Rig::sotw, RouteConfiguration, &["a", "n77"]);
    rig.send(&list(RouteConfiguration, &names));
    assert_eq!(rig.expect().names(), ["a", "n77"]);

    let mut rig = with(Rig::delta, RouteConfiguration, &["a", "n77"]);
    rig.send(&delta(RouteConfiguration, &names, &["", "*", "never heard of"]));
    let reply = rig.expect();
    assert_eq!(reply.names(), ["a", "n77"]);
    assert_eq!(reply.removed.len(), 10_000 - 1 + 2);
    assert!(!reply.removed.contains(""));
}

#[test]
fn sotw_complete_sets_delete_by_absence_also_the_last_one() {
    let mut rig = with(Rig::sotw, Listener, &["a", "b"]);
    rig.send(&list(Listener, &[]));
    let reply = rig.expect();
    rig.send(&list(Listener, &[]).of(&reply));
    rig.put(Listener, "a", "2");
    let reply = rig.expect();
    assert_eq!(reply.names(), ["a", "b"], "always the complete set");
    rig.send(&list(Listener, &[]).of(&reply));
    rig.remove(Listener, "a");
    let reply = rig.expect();
    assert_eq!(reply.names(), ["b"]);
    rig.send(&list(Listener, &[]).of(&reply));
    rig.remove(Listener, "b");
    assert_eq!(rig.expect().names(), [""; 0]);
}

#[test]
fn sotw_an_empty_world_is_answered_for_wildcard_types() {
    let mut rig = Rig::sotw();
    rig.send(&list(Cluster, &[]));
    assert_eq!(rig.expect().names(), [""; 0]);
}

#[test]
fn sotw_other_types_are_sent_in_parts_and_lose_nothing() {
    let mut rig = with(Rig::sotw, Endpoints, &["a", "b", "c"]);
    rig.send(&list(Endpoints, &["a", "b", "c"]));
    let reply = rig.expect();
    rig.send(&list(Endpoints, &["a", "b", "c"]).of(&reply));
    rig.put(Endpoints, "b", "2");
    assert_eq!(rig.expect().names(), ["b"]);
}

/// <https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#resource-versions>
#[test]
fn versions_follow_content_and_nothing_else() {
    let version = |contents: &[(&str, &str)]| {
        let mut rig = Rig::sotw();
        for (name, content) in contents {
            rig.set(Cluster, name, content, &[]);
        }
        rig.send(&list(Cluster, &[]));
        rig.expect().version
    };
    let ab = version(&[("a", "1"), ("b", "1")]);
    assert_eq!(ab, version(&[("b", "1"), ("a", "1")]), "the same on another replica");
    assert_ne!(ab, version(&[("a", "1"), ("b", "2")]));
    assert_ne!(ab, version(&[("a", "1")]));

    let mut rig = with(Rig::sotw, Cluster, &["a", "b"]);
    rig.send(&list(Cluster, &[]));
    assert_eq!(rig.expect().version, ab);
    rig.put(Cluster, "b", "2");
    assert_ne!(rig.expect().version, ab);
    rig.put(Cluster, "b", "1");
    assert_eq!(rig.expect().version, ab, "back to what it was");
}

#[test]
fn delta_legacy_wildcard_stays_when_names_are_added() {
    let mut rig = with(Rig::delta, Cluster, &["a", "b"]);
    rig.hide(Cluster, "b");
    rig.send(&delta(Cluster, &[], &[]));
    assert_eq!(rig.expect_ack().names(), ["a"]);
    rig.send(&delta(Cluster, &["b"], &[]));
    assert_eq!(rig.expect_ack().names(), ["b"]);
    rig.put(Cluster, "a", "2");
    assert_eq!(rig.expect_ack().names(), ["a"]);
    // Only the star ends it, and the name stays.
    rig.send(&delta(Cluster, &[], &["*"]));
    rig.put(Cluster, "a", "3");
    rig.silent();
    rig.put(Cluster, "b", "2");
    assert_eq!(rig.expect_ack().names(), ["b"]);
    // The last name: nothing, not the wildcard again.
    rig.send(&delta(Cluster, &[], &["b"]));
    rig.put(Cluster, "a", "4");
    rig.put(Cluster, "b", "4");
    rig.silent();
}

#[test]
fn delta_star_is_wildcard() {
    let mut rig = with(Rig::delta, Listener, &["a"]);
    rig.send(&delta(Listener, &["x", "*"], &[]));
    let reply = rig.expect_ack();
    assert_eq!((reply.names(), reply.removed()), (vec!["a"], vec!["x"]));
    rig.send(&delta(Listener, &["*"], &[]));
    rig.silent();
}

/// A wildcard needs both lists empty: this client says that it wants nothing.
#[test]
fn delta_first_request_that_only_unsubscribes_is_no_wildcard() {
    let mut rig = with(Rig::delta, Cluster, &["a"]);
    rig.send(&delta(Cluster, &["*"], &["*"]));
    assert_eq!(rig.next().map_or(0, |reply| reply.resources.len()), 0);
    let mut rig = with(Rig::delta, Cluster, &["a"]);
    rig.send(&delta(Cluster, &[], &["a"]));
    rig.silent();
}

#[test]
fn delta_name_unsubscribed_under_a_wildcard_is_answered() {
    let mut rig = with(Rig::delta, Cluster, &["in", "out"]);
    rig.hide(Cluster, "out");
    rig.send(&delta(Cluster, &["*", "in", "out", "none"], &[]));
    rig.settle();
    rig.send(&delta(Cluster, &[], &["in"]));
    assert_eq!(rig.expect_ack().names(), ["in"]);
    rig.send(&delta(Cluster, &[], &["out"]));
    assert_eq!(rig.expect_ack().removed(), ["out"]);
    rig.send(&delta(Cluster, &[], &["none"]));
    assert_eq!(rig.expect_ack().removed(), ["none"]);
    rig.put(Cluster, "out", "2");
    rig.silent();
}

#[test]
fn delta_later_subscription_is_always_answered() {
    let mut rig = with(Rig::delta, Endpoints, &["a"]);
    rig.send(&delta(Endpoints, &["a"], &[]));
    assert_eq!(rig.expect_ack().names(), ["a"]);
    rig.send(&delta(Endpoints, &["a"], &[]));
    assert_eq!(rig.outcome.subscribed, [], "it was subscribed before");
    assert_eq!(rig.expect_ack().names(), ["a"]);
    rig.send(&delta(Endpoints, &[], &["a"]));
    rig.send(&delta(Endpoints, &["a"], &[]));
    assert_eq!(rig.expect_ack().names(), ["a"]);
    rig.silent();
}

#[test]
fn delta_unknown_name_is_removed_at_once_and_sent_when_it_exists() {
    for kind in [Cluster, Endpoints, Listener, RouteConfiguration, Secret] {
        let mut rig = Rig::delta();
        rig.send(&delta(kind, &["later"], &[]));
        assert_eq!(rig.expect_ack().removed(), ["later"]);
        rig.silent();
        rig.put(kind, "later", "1");
        assert_eq!(rig.expect_ack().names(), ["later"]);
        rig.remove(kind, "later");
        assert_eq!(rig.expect_ack().removed(), ["later"]);
        rig.put(kind, "later", "1");
        assert_eq!(rig.expect_ack().names(), ["later"], "the subscription outlives the removal");
    }
}

#[test]
fn delta_phantom_unsubscription_is_ignored() {
    let mut rig = with(Rig::delta, Endpoints, &["a"]);
    rig.send(&delta(Endpoints, &["a"], &["b"]));
    rig.settle();
    rig.send(&delta(Endpoints, &[], &["b", "never"]));
    rig.silent();
    assert_eq!(rig.outcome.unsubscribed, []);
    rig.put(Endpoints, "a", "2");
    assert_eq!(rig.expect().names(), ["a"]);
}

#[test]
fn delta_name_in_both_lists_ends_unsubscribed() {
    let mut rig = with(Rig::delta, Endpoints, &["a"]);
    rig.send(&delta(Endpoints, &["a"], &["a"]));
    rig.silent();
    rig.put(Endpoints, "a", "2");
    rig.silent();
    assert_eq!(rig.session.subscriptions().count(), 0);
}

#[test]
fn delta_only_what_changed_is_sent() {
    let mut rig = with(Rig::delta, Cluster, &["a", "b", "c"]);
    rig.send(&delta(Cluster, &[], &[]));
    rig.settle();
    rig.changed(Cluster, "a");
    rig.silent();
    rig.put(Cluster, "b", "2");
    rig.put(Cluster, "b", "3");
    let reply = rig.expect();
    assert_eq!((reply.names(), reply.content("b")), (vec!["b"], "3"));
    assert_eq!(reply.versions["b"], rig.version(Cluster, "b"));
}

#[test]
fn delta_reconnect_in_sync_gets_one_empty_answer_for_a_wildcard_type() {
    let mut rig = with(Rig::delta, Cluster, &["a", "b"]);
    let (a, b) = (rig.version(Cluster, "a"), rig.version(Cluster, "b"));
    rig.send(&delta(Cluster, &[], &[]).holding(&[("a", &a), ("b", &b)]));
    let reply = rig.expect_ack();
    assert_eq!((reply.names(), reply.removed()), (vec![], vec![]));
    rig.silent();
    rig.put(Cluster, "a", "2");
    assert_eq!(rig.expect_ack().names(), ["a"]);
}

#[test]
fn delta_reconnect_gets_the_difference() {
    let mut rig = with(Rig::delta, Endpoints, &["same", "changed", "new"]);
    let same = rig.version(Endpoints, "same");
    let held = [("same", &*same), ("changed", "other"), ("gone", "0000000000000001"), ("unasked", "1")];
    rig.send(&delta(Endpoints, &["same", "changed", "gone", "new"], &[]).holding(&held));
    let reply = rig.expect_ack();
    assert_eq!(reply.names(), ["changed", "new"]);
    assert_eq!(reply.removed(), ["gone"]);
    rig.silent();
    // What is only in the versions is no subscription.
    rig.put(Endpoints, "unasked", "2");
    rig.silent();
}

/// Versions count in a type's first request on a stream only.
#[test]
fn delta_later_initial_versions_are_ignored() {
    let mut rig = with(Rig::delta, Endpoints, &["a", "b"]);
    rig.send(&delta(Endpoints, &["a"], &[]));
    rig.settle();
    let b = rig.version(Endpoints, "b");
    rig.send(&delta(Endpoints, &["b"], &[]).holding(&[("b", &b)]));
    assert_eq!(rig.expect_ack().names(), ["b"]);
}

#[test]
fn moving_to_another_view_sends_the_difference() {
    for mut rig in [with(Rig::sotw, Endpoints, &["a", "b"]), with(Rig::delta, Endpoints, &["a", "b"])] {
        let sotw = rig.session.options().variant == Variant::Sotw;
        rig.send(&if sotw { list(Endpoints, &["a", "b"]) } else { delta(Endpoints, &["a", "b"], &[]) });
        rig.expect();
        rig.set(Endpoints, "b", "of the other view", &[]);
        rig.session.on_view_moved();
        assert_eq!(rig.expect().names(), ["b"]);
        rig.session.on_view_moved();
        rig.silent();
    }
    let mut rig = with(Rig::delta, Cluster, &["a", "b"]);
    rig.send(&delta(Cluster, &[], &[]));
    rig.settle();
    rig.unset(Cluster, "a");
    rig.set(Cluster, "c", "1", &[]);
    rig.session.on_view_moved();
    let reply = rig.expect_ack();
    assert_eq!((reply.names(), reply.removed()), (vec!["c"], vec!["a"]));
}

#[test]
fn a_change_of_membership_is_a_change() {
    let mut rig = with(Rig::delta, Cluster, &["a", "b"]);
    rig.send(&delta(Cluster, &["*", "b"], &[]));
    rig.settle();
    rig.hide(Cluster, "a");
    rig.hide(Cluster, "b");
    assert_eq!(rig.expect_ack().removed(), ["a"], "b was asked for by name");
}
