//! Rejections.
//! <https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#ack-and-nack-semantics-summary>

use lateen_xds::{HeldState, TypeState, Variant};

use crate::rig::{Cluster, Endpoints, Listener, Reply, Rig, RouteConfiguration, delta, list};

#[test]
fn nack_of_one_resource_is_followed_by_silence() {
    for kind in [Cluster, Listener] {
        let mut rig = Rig::sotw();
        rig.set(kind, "a", "bad", &[]);
        rig.send(&list(kind, &[]));
        let reply = rig.expect();
        rig.send(&list(kind, &[]).of(&reply).error("no a"));
        assert_eq!(rig.guilty(), ["a"]);
        assert_eq!(&*rig.outcome.guilty[0].message, "no a");
        rig.silent();
        rig.changed(kind, "a");
        rig.silent();
        assert_eq!(rig.session.status()[0].state, TypeState::Nack);
        assert_eq!(rig.session.held(kind).next().unwrap().state, HeldState::Rejected);
        rig.put(kind, "a", "good");
        let reply = rig.expect();
        assert_eq!(reply.content("a"), "good");
        rig.send(&list(kind, &[]).of(&reply));
        assert_eq!(rig.session.status()[0].state, TypeState::Synced);
    }
    let mut rig = Rig::delta();
    rig.set(Endpoints, "a", "1", &[]);
    rig.send(&delta(Endpoints, &["a"], &[]));
    rig.settle();
    rig.put(Endpoints, "a", "bad");
    let reply = rig.expect();
    rig.nack(&reply, "no");
    assert_eq!(rig.guilty(), ["a"]);
    rig.silent();
    rig.put(Endpoints, "a", "1");
    rig.silent();
    assert_eq!(rig.session.status()[0].state, TypeState::Synced, "it has what it should have");
    rig.put(Endpoints, "a", "2");
    assert_eq!(rig.expect_ack().content("a"), "2");
    assert_eq!(rig.session.status()[0].state, TypeState::Synced);
}

/// Only `error_detail` makes a NACK, never a version; the version of a request is not even looked at.
#[test]
fn first_request_with_an_error_is_an_initial_request() {
    for (mut rig, ask) in [(Rig::sotw(), list(Cluster, &[])), (Rig::delta(), delta(Cluster, &[], &[]))] {
        rig.set(Cluster, "a", "1", &[]);
        rig.send(&ask.error("duplicate name c1 found"));
        assert_eq!((rig.guilty().len(), &rig.outcome.nack), (0, &None));
        assert_eq!(rig.expect().names(), ["a"]);
    }
}

#[test]
fn subscription_in_a_nack_is_honoured() {
    let mut rig = Rig::sotw();
    rig.set(Endpoints, "a", "bad", &[]);
    rig.set(Endpoints, "b", "1", &[]);
    rig.send(&list(Endpoints, &["a"]));
    let reply = rig.expect();
    rig.send(&list(Endpoints, &["a", "b"]).of(&reply).error("no"));
    let reply = rig.expect();
    assert_eq!(reply.names(), ["b"]);

    let mut rig = Rig::delta();
    rig.set(Endpoints, "a", "bad", &[]);
    rig.set(Endpoints, "b", "1", &[]);
    rig.send(&delta(Endpoints, &["a"], &[]));
    let reply = rig.expect();
    rig.send(&delta(Endpoints, &["b"], &["a"]).of(&reply).error("no"));
    assert_eq!(rig.expect().names(), ["b"]);
    rig.put(Endpoints, "a", "2");
    rig.silent();
}

/// Plays a client that rejects every response with one of `bad` in it. What it holds in the end.
fn play(rig: &mut Rig, bad: &[&str], first: Option<Reply>) -> (Vec<String>, Vec<String>, usize) {
    let sotw = rig.session.options().variant == Variant::Sotw;
    let (mut guilty, mut responses) = (Vec::new(), 0);
    let mut held = std::collections::BTreeMap::new();
    let mut next = first.or_else(|| rig.next());
    while let Some(reply) = next {
        responses += 1;
        assert!(responses < 200, "no end");
        let rejects = reply.resources.values().flatten().any(|content| bad.contains(&content.as_str()));
        let ask = if sotw { list(reply.kind(), &[]) } else { delta(reply.kind(), &[], &[]) };
        if rejects {
            rig.send(&ask.of(&reply).error("bad"));
            guilty.extend(rig.guilty());
        } else {
            if sotw {
                held.clear();
            }
            held.extend(reply.resources.clone());
            for name in &reply.removed {
                held.remove(name);
            }
            rig.send(&ask.of(&reply));
        }
        next = rig.next();
    }
    let held = held.into_iter().map(|(name, content)| format!("{name}={}", content.unwrap())).collect();
    guilty.sort();
    (held, guilty, responses)
}

#[test]
fn guilty_are_found_by_bisection() {
    for variant in [Rig::sotw, Rig::delta] {
        let mut rig = variant();
        for i in 0..16 {
            rig.set(Cluster, &format!("c{i:02}"), if i == 5 || i == 11 { "bad" } else { "good" }, &[]);
        }
        let sotw = rig.session.options().variant == Variant::Sotw;
        rig.send(&if sotw { list(Cluster, &[]) } else { delta(Cluster, &[], &[]) });
        let (held, guilty, responses) = play(&mut rig, &["bad"], None);
        assert_eq!(guilty, ["c05", "c11"]);
        let all = (0..16).filter(|i| *i != 5 && *i != 11).map(|i| format!("c{i:02}=good"));
        assert_eq!(held, all.collect::<Vec<_>>());
        assert!(responses <= 1 + 2 * 2 * 4, "{responses}");
        rig.put(Cluster, "c05", "good");
        let (_, guilty, _) = play(&mut rig, &["bad"], None);
        assert_eq!(guilty, [""; 0]);
        assert_eq!(rig.session.status()[0].state, TypeState::Nack, "c11 is still bad");
        rig.put(Cluster, "c11", "good");
        play(&mut rig, &["bad"], None);
        assert_eq!(rig.session.status()[0].state, TypeState::Synced);
    }
}

#[test]
fn last_accepted_version_stays_in_the_complete_set() {
    let mut rig = Rig::sotw();
    for name in ["a", "b", "c"] {
        rig.set(Listener, name, "1", &[]);
    }
    rig.send(&list(Listener, &[]));
    play(&mut rig, &[], None);
    for name in ["a", "b", "c"] {
        rig.put(Listener, name, if name == "b" { "bad" } else { "2" });
    }
    let (held, guilty, _) = play(&mut rig, &["bad"], None);
    assert_eq!(guilty, ["b"]);
    assert_eq!(held, ["a=2", "b=1", "c=2"]);
    rig.put(Listener, "d", "1");
    let (held, ..) = play(&mut rig, &["bad"], None);
    assert_eq!(held, ["a=2", "b=1", "c=2", "d=1"]);
}

/// A client that reconnects must not lose for a moment what it had and what others accept.
#[test]
fn bisection_tries_first_what_others_have_accepted() {
    let mut rig = Rig::sotw();
    for name in ["a", "b", "c", "d"] {
        rig.set(Cluster, name, "1", &[]);
        rig.bless(Cluster, name);
    }
    rig.set(Cluster, "x", "bad", &[]);
    rig.set(Cluster, "y", "2", &[]);
    rig.send(&list(Cluster, &[]));
    let reply = rig.expect();
    rig.send(&list(Cluster, &[]).of(&reply).error("something is bad"));
    assert_eq!(rig.outcome.nack.as_ref().unwrap().suspects, 6);
    let reply = rig.expect();
    assert_eq!(reply.names(), ["a", "b", "c", "d"]);
    rig.silent();
    let (held, guilty, _) = play(&mut rig, &["bad"], Some(reply));
    assert_eq!(guilty, ["x"]);
    assert_eq!(held, ["a=1", "b=1", "c=1", "d=1", "y=2"]);
}

/// Envoy applies the good part of a set that it rejects: a set without them would delete it again. Its words are a
/// hint, though, and no more.
#[test]
fn complete_set_lacks_only_what_the_client_names_while_the_guilty_are_sought() {
    for (words, truth) in [("cluster(s) c05: no, c11: no", true), ("cluster(s) c06: no", false)] {
        let mut rig = Rig::sotw();
        for i in 0..16 {
            rig.set(Cluster, &format!("c{i:02}"), if i == 5 || i == 11 { "bad" } else { "good" }, &[]);
        }
        rig.send(&list(Cluster, &[]));
        let reply = rig.expect();
        rig.send(&list(Cluster, &[]).of(&reply).error(words));
        let reply = rig.expect();
        assert_eq!(reply.resources.len(), if truth { 14 } else { 15 });
        let (held, guilty, responses) = play(&mut rig, &["bad"], Some(reply));
        assert_eq!((held.len(), guilty), (14, vec!["c05".to_owned(), "c11".to_owned()]));
        assert!(responses <= if truth { 3 } else { 2 + 2 * 2 * 4 }, "{responses}");
    }
}

#[test]
fn complaint_about_what_is_gone_is_gone() {
    for variant in [Rig::sotw, Rig::delta] {
        let mut rig = variant();
        let sotw = rig.session.options().variant == Variant::Sotw;
        rig.set(Listener, "a", "1", &[]);
        rig.send(&if sotw { list(Listener, &[]) } else { delta(Listener, &[], &[]) });
        play(&mut rig, &["bad"], None);
        rig.put(Listener, "b", "bad");
        rig.put(Listener, "a", "bad");
        play(&mut rig, &["bad"], None);
        assert_eq!(rig.session.status()[0].state, TypeState::Nack);
        rig.remove(Listener, "b");
        play(&mut rig, &["bad"], None);
        assert_eq!(rig.session.status()[0].state, TypeState::Nack, "a is still bad");
        rig.remove(Listener, "a");
        play(&mut rig, &["bad"], None);
        assert_eq!(rig.session.status()[0].state, TypeState::Synced);
    }
}

/// One trial at a time: a client that does not answer is not sent half after half.
#[test]
fn trials_wait_for_their_answers() {
    for variant in [Rig::sotw, Rig::delta] {
        let mut rig = variant();
        for i in 0..8 {
            rig.set(Cluster, &format!("c{i}"), "1", &[]);
        }
        let sotw = rig.session.options().variant == Variant::Sotw;
        let ask = || if sotw { list(Cluster, &[]) } else { delta(Cluster, &[], &[]) };
        rig.send(&ask());
        let reply = rig.expect();
        rig.send(&ask().of(&reply).error("?"));
        assert_eq!(rig.expect().resources.len(), 4);
        rig.silent();
    }
}

#[test]
fn sotw_changes_wait_while_a_set_is_tried() {
    let mut rig = Rig::sotw();
    for name in ["a", "b"] {
        rig.set(Cluster, name, if name == "a" { "bad" } else { "1" }, &[]);
    }
    rig.send(&list(Cluster, &[]));
    let reply = rig.expect();
    rig.send(&list(Cluster, &[]).of(&reply).error("?"));
    let trial = rig.expect();
    rig.put(Cluster, "c", "1");
    rig.silent();
    let (held, guilty, _) = play(&mut rig, &["bad"], Some(trial));
    assert_eq!(guilty, ["a"]);
    assert_eq!(held, ["b=1", "c=1"]);
}

#[test]
fn client_that_has_a_version_keeps_it_in_silence() {
    let mut rig = Rig::delta();
    rig.set(RouteConfiguration, "r", "of others", &[]);
    rig.bless(RouteConfiguration, "r");
    rig.set(RouteConfiguration, "r", "1", &[]);
    rig.send(&delta(RouteConfiguration, &["r"], &[]));
    rig.settle();
    rig.put(RouteConfiguration, "r", "bad");
    let reply = rig.expect();
    rig.nack(&reply, "no");
    rig.silent();
    // But when it asks again, it has let go of it.
    rig.send(&delta(RouteConfiguration, &["r"], &[]));
    assert_eq!(rig.expect().content("r"), "of others");
}

#[test]
fn complete_set_judged_together_with_an_unanswered_one() {
    let mut rig = Rig::sotw();
    rig.set(Cluster, "a", "1", &[]);
    rig.send(&list(Cluster, &[]));
    play(&mut rig, &[], None);
    rig.put(Cluster, "b", "bad");
    let first = rig.expect();
    rig.put(Cluster, "c", "1");
    let second = rig.expect();
    assert_eq!(second.names(), ["a", "b", "c"]);
    rig.send(&list(Cluster, &[]).of(&first).error("bad b"));
    rig.silent();
    let (held, guilty, _) = play(&mut rig, &["bad"], Some(second));
    assert_eq!(guilty, ["b"]);
    assert_eq!(held, ["a=1", "c=1"]);
}

#[test]
fn superseded_version_is_not_tried_again() {
    let mut rig = Rig::delta();
    rig.set(Cluster, "a", "1", &[]);
    rig.send(&delta(Cluster, &[], &[]));
    rig.settle();
    rig.put(Cluster, "a", "bad");
    let bad = rig.expect();
    rig.put(Cluster, "a", "2");
    let good = rig.expect();
    rig.nack(&bad, "no");
    assert_eq!(rig.guilty(), ["a"]);
    rig.silent();
    rig.ack(&good);
    assert_eq!(rig.acked(), ["a"]);
    rig.silent();
    assert_eq!(rig.session.status()[0].state, TypeState::Synced);

    // Rejected both: what the client holds is the first version.
    rig.put(Cluster, "a", "bad");
    let one = rig.expect();
    rig.put(Cluster, "a", "bad too");
    let two = rig.expect();
    rig.nack(&one, "no");
    rig.nack(&two, "no");
    rig.put(Cluster, "a", "2");
    rig.silent();
}

#[test]
fn version_sent_twice_before_it_was_rejected_is_not_sent_a_third_time() {
    let mut rig = Rig::delta();
    rig.set(Cluster, "a", "bad", &[]);
    rig.set(Cluster, "b", "1", &[]);
    rig.send(&delta(Cluster, &["a"], &[]));
    let one = rig.expect();
    rig.send(&delta(Cluster, &["a", "b"], &[]));
    let two = rig.expect();
    assert_eq!(two.names(), ["a", "b"]);
    rig.nack(&one, "no");
    assert_eq!(rig.guilty(), ["a"]);
    rig.silent();
    rig.nack(&two, "no");
    assert_eq!(rig.expect_ack().names(), ["b"], "the other one is innocent");
    rig.silent();
    assert_eq!(rig.session.status()[0].state, TypeState::Nack);
}

#[test]
fn removal_in_a_rejected_response_is_said_again() {
    let mut rig = Rig::delta();
    rig.set(Endpoints, "a", "1", &[]);
    rig.set(Endpoints, "b", "1", &[]);
    rig.send(&delta(Endpoints, &["a", "b"], &[]));
    rig.settle();
    rig.unset(Endpoints, "a");
    rig.set(Endpoints, "b", "bad", &[]);
    rig.changed(Endpoints, "a");
    rig.changed(Endpoints, "b");
    let reply = rig.expect();
    assert_eq!((reply.names(), reply.removed()), (vec!["b"], vec!["a"]));
    rig.nack(&reply, "bad b");
    let reply = rig.expect();
    assert_eq!((reply.names(), reply.removed()), (vec![], vec!["a"]));
    // But not for ever.
    rig.nack(&reply, "even so");
    rig.silent();
}

/// A new proxy gets last-good, not nothing.
#[test]
fn client_without_a_version_gets_the_last_good_one() {
    let mut rig = Rig::delta();
    rig.set(RouteConfiguration, "r", "good", &[]);
    rig.bless(RouteConfiguration, "r");
    rig.set(RouteConfiguration, "r", "bad", &[]);
    rig.send(&delta(RouteConfiguration, &["r"], &[]));
    let reply = rig.expect();
    assert_eq!(reply.content("r"), "bad");
    rig.nack(&reply, "no");
    let reply = rig.expect();
    assert_eq!(reply.content("r"), "good");
    rig.nack(&reply, "nothing is good enough");
    rig.silent();
}

#[test]
fn condemned_versions_are_never_sent() {
    for kind in [Listener, RouteConfiguration] {
        let mut rig = Rig::delta();
        rig.set(kind, "r", "good", &[]);
        rig.bless(kind, "r");
        rig.set(kind, "r", "bad", &[]);
        let (id, bad) = (rig.id("r"), rig.version(kind, "r"));
        rig.view.condemned.insert((kind, id, u64::from_str_radix(&bad, 16).unwrap()));
        rig.send(&delta(kind, &["r"], &[]));
        assert_eq!(rig.expect_ack().content("r"), "good");
        rig.changed(kind, "r");
        rig.silent();
        rig.view.good.clear();
        rig.reconnect();
        rig.send(&delta(kind, &["r"], &[]));
        assert_eq!(rig.expect_ack().removed(), ["r"], "it must not wait for nothing");
    }
}

#[test]
fn rejected_version_is_not_taken_for_held() {
    let mut rig = Rig::delta();
    for name in ["a", "b"] {
        rig.set(Cluster, name, "1", &[]);
    }
    rig.send(&delta(Cluster, &[], &[]));
    rig.settle();
    rig.put(Cluster, "a", "bad");
    let reply = rig.expect();
    rig.nack(&reply, "no");
    rig.put(Cluster, "b", "2");
    assert_eq!(rig.expect_ack().names(), ["b"], "an unrelated push does not bring it again");
    rig.put(Cluster, "a", "3");
    assert_eq!(rig.expect_ack().names(), ["a"]);
}

#[test]
fn unsubscribing_forgets_the_rejection() {
    let mut rig = Rig::delta();
    rig.set(Endpoints, "a", "bad", &[]);
    rig.send(&delta(Endpoints, &["a"], &[]));
    let reply = rig.expect();
    rig.nack(&reply, "no");
    rig.send(&delta(Endpoints, &[], &["a"]));
    rig.send(&delta(Endpoints, &["a"], &[]));
    assert_eq!(rig.expect().names(), ["a"]);
}
