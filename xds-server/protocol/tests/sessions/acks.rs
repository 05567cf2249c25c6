//! Nonces, ACK, stale requests, flow.
//! <https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#ack>

use lateen_xds::{Limits, SessionOptions, TypeState, Variant};

use crate::rig::{Cluster, Endpoints, Listener, Rig, RouteConfiguration, delta, list, options};

#[test]
fn ack_is_silent_and_reported_once() {
    let mut rig = Rig::sotw();
    rig.set(Cluster, "a", "1", &[]);
    rig.set(Cluster, "b", "1", &[]);
    rig.send(&list(Cluster, &[]));
    let reply = rig.expect();
    assert_eq!(rig.session.status()[0].state, TypeState::Stale);
    rig.now_ms += 12;
    rig.send(&list(Cluster, &[]).of(&reply));
    assert_eq!(rig.acked(), ["a", "b"]);
    assert_eq!(rig.outcome.answered_ms, Some(12));
    rig.silent();
    assert_eq!(rig.session.status()[0].state, TypeState::Synced);
    // Envoy repeats an ACK when it wants endpoints again.
    rig.send(&list(Cluster, &[]).of(&reply));
    assert_eq!(rig.acked(), [""; 0]);
    rig.silent();
}

#[test]
fn complete_sets_report_only_what_was_new_in_them() {
    let mut rig = Rig::sotw();
    rig.set(Cluster, "a", "1", &[]);
    rig.set(Cluster, "b", "1", &[]);
    rig.send(&list(Cluster, &[]));
    let reply = rig.expect();
    rig.send(&list(Cluster, &[]).of(&reply));
    rig.put(Cluster, "b", "2");
    let reply = rig.expect();
    rig.send(&list(Cluster, &[]).of(&reply));
    assert_eq!(rig.acked(), ["b"]);
}

#[test]
fn stale_sotw_request_causes_no_response_and_loses_no_name() {
    let mut rig = Rig::sotw();
    for name in ["a", "b"] {
        rig.set(Endpoints, name, "1", &[]);
    }
    rig.send(&list(Endpoints, &["a"]));
    let first = rig.expect();
    rig.put(Endpoints, "a", "2");
    let second = rig.expect();
    // Same names: silence.
    rig.send(&list(Endpoints, &["a"]).of(&first));
    rig.silent();
    // New names: remembered, sent exactly once, with the ACK that repeats them.
    rig.send(&list(Endpoints, &["a", "b"]).of(&first));
    rig.silent();
    rig.send(&list(Endpoints, &["a", "b"]).of(&second));
    let third = rig.expect();
    assert_eq!(third.names(), ["b"]);
    rig.send(&list(Endpoints, &["a", "b"]).of(&third));
    rig.silent();
}

#[test]
fn name_of_a_stale_request_goes_with_the_next_push() {
    let mut rig = Rig::sotw();
    for name in ["a", "b"] {
        rig.set(Endpoints, name, "1", &[]);
    }
    rig.send(&list(Endpoints, &["a"]));
    let first = rig.expect();
    rig.put(Endpoints, "a", "2");
    rig.expect();
    rig.send(&list(Endpoints, &["a", "b"]).of(&first));
    rig.silent();
    rig.put(Endpoints, "a", "3");
    assert_eq!(rig.expect().names(), ["a", "b"]);
}

#[test]
fn foreign_nonces_answer_nothing() {
    let mut rig = Rig::sotw();
    rig.set(Cluster, "a", "1", &[]);
    rig.set(Listener, "l", "1", &[]);
    rig.send(&list(Cluster, &[]));
    let clusters = rig.expect();
    rig.send(&list(Listener, &[]));
    let listeners = rig.expect();
    for nonce in
        [&*listeners.nonce, "6-1", "8-1", "7-ffff", "7-", "-", "x", "7-1-1", "99999999999999999999-1"]
    {
        rig.send(&list(Cluster, &[]).nonce(nonce));
        assert_eq!(rig.acked(), [""; 0], "{nonce}");
        rig.send(&list(Cluster, &[]).nonce(nonce).error("no"));
        assert_eq!((rig.guilty().len(), &rig.outcome.nack), (0, &None), "{nonce}");
        rig.silent();
    }
    rig.send(&list(Cluster, &[]).of(&clusters));
    assert_eq!(rig.acked(), ["a"]);
}

#[test]
fn nonce_of_an_earlier_stream_is_an_initial_request() {
    let mut rig = Rig::sotw();
    rig.set(Cluster, "a", "1", &[]);
    rig.send(&list(Cluster, &[]));
    let old = rig.expect();
    rig.reconnect();
    rig.send(&list(Cluster, &[]).of(&old));
    assert_eq!(rig.acked(), [""; 0]);
    assert_eq!(rig.expect().names(), ["a"]);
}

/// <https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#when-to-send-an-update>
#[test]
fn delta_honours_subscriptions_whatever_the_nonce() {
    let mut rig = Rig::delta();
    for name in ["a", "b", "c"] {
        rig.set(Endpoints, name, "1", &[]);
    }
    rig.send(&delta(Endpoints, &["a"], &[]));
    let first = rig.expect();
    rig.put(Endpoints, "a", "2");
    rig.expect();
    rig.send(&delta(Endpoints, &["b"], &[]).of(&first));
    assert_eq!(rig.expect().names(), ["b"]);
    rig.send(&delta(Endpoints, &["c"], &["a"]).nonce("rubbish").error("what?"));
    assert_eq!(rig.expect().names(), ["c"]);
    rig.put(Endpoints, "a", "3");
    rig.silent();
}

/// A client that holds its answers back blocks neither other types nor the final state.
#[test]
fn silent_client_gets_the_newest_state_not_history() {
    for variant in [Variant::Sotw, Variant::Delta] {
        let mut rig = Rig::with(options(variant));
        rig.set(Cluster, "a", "0", &[]);
        rig.set(Endpoints, "e", "0", &[]);
        let sotw = variant == Variant::Sotw;
        rig.send(&if sotw { list(Cluster, &[]) } else { delta(Cluster, &[], &[]) });
        let mut last = rig.expect();
        let mut sent = 1;
        for i in 1..1_000 {
            rig.put(Cluster, "a", &i.to_string());
            if let Some(reply) = rig.next() {
                last = reply;
                sent += 1;
            }
        }
        assert_eq!(sent, Limits::default().flight_max);
        assert!(rig.session.memory_bytes() < 4_096, "{}", rig.session.memory_bytes());
        rig.send(&if sotw { list(Endpoints, &["e"]) } else { delta(Endpoints, &["e"], &[]) });
        assert_eq!(rig.expect().names(), ["e"], "other types go on");
        rig.silent();
        let answer = if sotw { list(Cluster, &[]) } else { delta(Cluster, &[], &[]) };
        rig.send(&answer.of(&last));
        assert_eq!(rig.expect().content("a"), "999");
        rig.silent();
    }
}

/// Envoy withholds the ACK of a cluster that warms for up to 15 s.
#[test]
fn unanswered_responses_hold_back_the_next_for_a_while_only() {
    let mut rig = Rig::delta();
    rig.set(Cluster, "a", "0", &[]);
    rig.send(&delta(Cluster, &[], &[]));
    for i in 1..=4 {
        rig.expect();
        rig.put(Cluster, "a", &i.to_string());
    }
    rig.silent();
    assert_eq!(rig.session.deadline(), Some(rig.now_ms + 15_000));
    rig.now_ms += 14_999;
    assert_eq!(rig.next(), None);
    rig.now_ms += 1;
    assert_eq!(rig.expect().content("a"), "4");
    // There is an end even to that.
    for i in 5..100 {
        rig.now_ms += 15_000;
        rig.put(Cluster, "a", &i.to_string());
        let _ = rig.next();
    }
    assert_eq!(rig.session.status()[0].last_number, Limits::default().flight_hard_max as u64);
    assert!(rig.session.memory_bytes() < 8_192);
}

#[test]
fn unanswered_bytes_hold_back_the_next() {
    let mut rig = Rig::delta();
    let large = "x".repeat(300 << 10);
    rig.set(RouteConfiguration, "r", &large, &[]);
    rig.send(&delta(RouteConfiguration, &["r"], &[]));
    let reply = rig.expect();
    rig.put(RouteConfiguration, "r", "small");
    rig.silent();
    rig.ack(&reply);
    assert_eq!(rig.expect().content("r"), "small");
}

#[test]
fn sotw_client_may_leave_out_answers() {
    let mut rig = Rig::sotw();
    rig.set(Cluster, "a", "1", &[]);
    rig.send(&list(Cluster, &[]));
    rig.expect();
    rig.put(Cluster, "b", "1");
    rig.expect();
    rig.put(Cluster, "c", "1");
    let last = rig.expect();
    rig.send(&list(Cluster, &[]).of(&last));
    assert_eq!(rig.acked(), ["a", "b", "c"]);
    assert_eq!(rig.session.status()[0].state, TypeState::Synced);
}

/// <https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#grouping-resources-into-responses>
#[test]
fn large_responses_are_split_where_they_may_be() {
    let limits = Limits { response_bytes: 10_000, flight_max: 100, ..Limits::default() };
    let body = "x".repeat(3_000);
    let names: Vec<String> = (0..10).map(|i| format!("r{i}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    for variant in [Variant::Sotw, Variant::Delta] {
        let mut rig = Rig::with(SessionOptions { limits, ..options(variant) });
        for name in &names {
            rig.set(Endpoints, name, &body, &[]);
            rig.set(Cluster, name, &body, &[]);
        }
        rig.set(Endpoints, "huge", &"x".repeat(50_000), &[]);
        let sotw = variant == Variant::Sotw;
        let mut asked = names.clone();
        asked.push("huge");
        rig.send(&if sotw { list(Endpoints, &asked) } else { delta(Endpoints, &asked, &[]) });
        let mut got = Vec::new();
        while let Some(reply) = rig.next() {
            assert!(reply.bytes <= 10_000 || reply.names() == ["huge"], "{} bytes", reply.bytes);
            got.extend(reply.resources.into_keys());
        }
        got.sort();
        let mut all: Vec<String> = asked.iter().map(ToString::to_string).collect();
        all.sort();
        assert_eq!(got, all);
        rig.send(&if sotw { list(Cluster, &[]) } else { delta(Cluster, &[], &[]) });
        let first = rig.expect();
        assert_eq!(first.resources.len(), if sotw { 10 } else { 3 });
    }
}

/// A late answer does not stop what waits for another reason.
#[test]
fn stale_answer_does_not_hold_back_changes() {
    let mut rig = Rig::sotw();
    rig.set(Cluster, "a", "0", &[]);
    rig.send(&list(Cluster, &[]));
    let first = rig.expect();
    for i in 1..4 {
        rig.put(Cluster, "a", &i.to_string());
        rig.expect();
    }
    rig.put(Cluster, "a", "4");
    rig.silent();
    rig.send(&list(Cluster, &[]).of(&first));
    assert_eq!(rig.expect().content("a"), "4");
}
