//! VHDS as stock Envoy 1.40 speaks it.
//! <https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_conn_man/vhds>

use lateen_xds::{SessionOptions, TypeState, Variant};

use crate::rig::{Cluster, Rig, RouteConfiguration, VirtualHost, delta, options};

/// A route configuration whose hosts are delivered by VHDS.
fn routes(rig: &mut Rig, name: &str, content: &str) {
    rig.put_refs(RouteConfiguration, name, content, &[(VirtualHost, name)]);
}

fn started() -> Rig {
    let mut rig = Rig::delta();
    routes(&mut rig, "80", "1");
    for host in ["80/a", "80/b"] {
        rig.put(VirtualHost, host, "1");
    }
    rig.send(&delta(RouteConfiguration, &["80"], &[]));
    assert_eq!(rig.expect_ack().names(), ["80"]);
    assert_eq!(rig.expect_ack().names(), ["80/a", "80/b"], "right behind, without a request");
    // Envoy's only request for the type: empty, without a name.
    rig.send(&delta(VirtualHost, &[], &[]));
    rig.silent();
    for status in rig.session.status() {
        assert_eq!(status.state, TypeState::Synced, "{status:?}");
    }
    rig
}

#[test]
fn hosts_are_pushed_behind_their_route_configuration() {
    let mut rig = started();
    rig.put(VirtualHost, "80/b", "2");
    assert_eq!(rig.expect_ack().names(), ["80/b"]);
    rig.put(VirtualHost, "80/c", "1");
    assert_eq!(rig.expect_ack().names(), ["80/c"]);
    rig.remove(VirtualHost, "80/a");
    assert_eq!(rig.expect_ack().removed(), ["80/a"]);
    rig.put(VirtualHost, "81/x", "1");
    rig.silent();
}

#[test]
fn update_of_the_route_configuration_keeps_the_hosts() {
    let mut rig = started();
    routes(&mut rig, "80", "2");
    assert_eq!(rig.expect_ack().names(), ["80"]);
    rig.silent();
}

#[test]
fn one_route_configuration_per_response() {
    let mut rig = started();
    routes(&mut rig, "81", "1");
    rig.put(VirtualHost, "81/x", "1");
    rig.send(&delta(RouteConfiguration, &["81"], &[]));
    assert_eq!(rig.expect_ack().names(), ["81"]);
    assert_eq!(rig.expect_ack().names(), ["81/x"], "no request for it ever comes");
    for host in ["80/a", "81/x", "80/b"] {
        rig.put(VirtualHost, host, "2");
    }
    assert_eq!(rig.expect_ack().names(), ["80/a", "80/b"]);
    assert_eq!(rig.expect_ack().names(), ["81/x"]);
    rig.silent();
}

#[test]
fn no_hosts_is_said_by_a_removal() {
    let mut rig = Rig::delta();
    routes(&mut rig, "82", "1");
    rig.send(&delta(RouteConfiguration, &["82"], &[]));
    assert_eq!(rig.expect_ack().names(), ["82"]);
    assert_eq!(rig.expect_ack().removed(), ["82/none"]);
    rig.silent();
    rig.put(VirtualHost, "82/a", "1");
    assert_eq!(rig.expect_ack().names(), ["82/a"]);
}

#[test]
fn resubscribed_route_configuration_brings_all_hosts_again() {
    let mut rig = started();
    rig.send(&delta(RouteConfiguration, &[], &["80"]));
    rig.put(VirtualHost, "80/a", "2");
    rig.silent();
    rig.send(&delta(RouteConfiguration, &["80"], &[]));
    assert_eq!(rig.expect_ack().names(), ["80"]);
    assert_eq!(rig.expect_ack().names(), ["80/a", "80/b"]);
    // Without having unsubscribed, too.
    rig.send(&delta(RouteConfiguration, &["80"], &[]));
    rig.expect_ack();
    assert_eq!(rig.expect_ack().names(), ["80/a", "80/b"]);
}

#[test]
fn reconnect_gets_the_difference_of_the_hosts_of_known_route_configurations() {
    let mut rig = started();
    let (rc, a) = (rig.version(RouteConfiguration, "80"), rig.version(VirtualHost, "80/a"));
    rig.reconnect();
    rig.set(VirtualHost, "80/new", "1", &[]);
    rig.send(&delta(RouteConfiguration, &["80"], &[]).holding(&[("80", &rc)]));
    rig.silent();
    let held = [("80/a", &*a), ("80/b", "old"), ("80/gone", "1"), ("79/left", "1")];
    rig.send(&delta(VirtualHost, &[], &[]).holding(&held));
    let reply = rig.expect_ack();
    assert_eq!((reply.names(), reply.removed()), (vec!["80/b", "80/new"], vec!["80/gone"]));
    rig.silent();
}

/// Envoy lists the hosts of a route configuration that it dropped and is given anew.
#[test]
fn claims_about_a_route_configuration_that_is_sent_anew_are_not_believed() {
    let mut rig = started();
    let a = rig.version(VirtualHost, "80/a");
    rig.reconnect();
    rig.send(&delta(RouteConfiguration, &["80"], &[]));
    rig.send(&delta(VirtualHost, &[], &[]).holding(&[("80/a", &a)]));
    assert_eq!(rig.expect_ack().names(), ["80"]);
    assert_eq!(rig.expect_ack().names(), ["80/a", "80/b"]);
}

#[test]
fn reconnect_without_a_word_about_hosts_gets_them_all_after_a_while() {
    let mut rig = started();
    let rc = rig.version(RouteConfiguration, "80");
    rig.reconnect();
    rig.send(&delta(RouteConfiguration, &["80"], &[]).holding(&[("80", &rc)]));
    rig.silent();
    rig.now_ms += 15_000;
    assert_eq!(rig.expect_ack().names(), ["80/a", "80/b"]);
}

#[test]
fn host_waits_for_its_cluster_and_cluster_for_its_host() {
    let mut rig = started();
    rig.send(&delta(Cluster, &[], &[]));
    rig.settle();
    rig.put(Cluster, "c", "1");
    rig.put_refs(VirtualHost, "80/a", "2", &[(Cluster, "c")]);
    let clusters = rig.expect();
    rig.silent();
    rig.ack(&clusters);
    assert_eq!(rig.expect_ack().names(), ["80/a"]);
    rig.remove(Cluster, "c");
    rig.put(VirtualHost, "80/a", "3");
    let hosts = rig.expect();
    assert_eq!(hosts.names(), ["80/a"]);
    rig.silent();
    rig.ack(&hosts);
    assert_eq!(rig.expect_ack().removed(), ["c"]);
}

/// A removal would leave the request that waits for the host waiting.
#[test]
fn unknown_host_asked_for_by_name_is_answered_without_a_body() {
    let mut rig = started();
    rig.send(&delta(VirtualHost, &["80/nobody"], &[]));
    let reply = rig.expect_ack();
    assert_eq!(reply.resources.get("80/nobody"), Some(&None));
    assert_eq!(reply.aliases["80/nobody"], ["80/nobody"]);
    rig.put(VirtualHost, "80/nobody", "1");
    assert_eq!(rig.expect_ack().names(), ["80/nobody"]);
}

#[test]
fn star_of_a_reconnecting_on_demand_client_changes_nothing() {
    let mut rig = started();
    rig.put(VirtualHost, "81/x", "1");
    rig.reconnect();
    rig.send(&delta(RouteConfiguration, &["80"], &[]));
    rig.send(&delta(VirtualHost, &["*", "80/a"], &[]));
    rig.expect_ack();
    assert_eq!(rig.expect_ack().names(), ["80/a", "80/b"]);
    rig.silent();
}

#[test]
fn separate_stream_of_hosts_is_a_wildcard() {
    let mut rig = Rig::with(SessionOptions { only: Some(VirtualHost), ..options(Variant::Delta) });
    rig.put(VirtualHost, "80/a", "1");
    rig.put(VirtualHost, "81/x", "1");
    rig.send(&delta(VirtualHost, &[], &[]));
    assert_eq!(rig.expect_ack().names(), ["80/a", "81/x"]);
}
