//! The server dies and comes back; the mesh goes on.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its functions too")]

use std::collections::BTreeMap;

use lateen_tests::{
    envoy::Envoy,
    mesh::{APP, EDGE},
    scene::{self, RATE, Scene},
    server::{Server, until},
    tap::Tap,
    wire::ResponseHead,
};

#[test]
fn kill_9_and_restart_under_load_cost_no_request_and_a_change_made_meanwhile_arrives() {
    for streams in ["ads-delta", "ads-sotw"] {
        let scene = Scene::new().unwrap();
        let server = Server::start(scene.folder.path()).unwrap();
        let xds = server.xds.to_string();
        let envoys = scene.envoys(&server, streams).unwrap();
        let load = scene.load();
        load.wait(u64::from(RATE)).unwrap();
        assert_eq!(load.outcome().by_backend.get("b-0"), None);

        server.kill();
        until_disconnected(&envoys);
        load.wait(u64::from(RATE)).unwrap();
        std::fs::write(scene.folder.path().join("weights-0.yaml"), scene.weights(0, 0)).unwrap();
        let server = Server::start_at(scene.folder.path(), &xds, &[]).unwrap();
        server.until_synced(2).unwrap();

        until("answered by b", || Ok(load.outcome().by_backend.contains_key("b-0"))).unwrap();
        load.wait(u64::from(RATE)).unwrap();
        let outcome = load.stop();
        println!("{streams}: {} requests answered, {} failed", outcome.ok, outcome.failed);
        outcome.assert_none_failed();
        scene::assert_none_rejected(&envoys);
    }
}

#[test]
fn a_reconnecting_delta_envoy_with_unchanged_state_receives_no_resources() {
    let scene = Scene::new().unwrap();
    let server = Server::start(scene.folder.path()).unwrap();
    let xds = server.xds.to_string();
    let taps = [Tap::start(server.xds, true).unwrap(), Tap::start(server.xds, true).unwrap()];
    let envoys =
        [Envoy::start(taps[0].address, &APP).unwrap(), Envoy::start(taps[1].address, &EDGE).unwrap()];
    for envoy in &envoys {
        envoy.until_ready().unwrap();
    }
    server.until_synced(2).unwrap();
    let types = ["Cluster", "ClusterLoadAssignment", "Listener", "RouteConfiguration"];
    for tap in &taps {
        let mut first = resources(&tap.take());
        // The slots of HTTP policies, where requests come in from outside.
        first.remove("TypedExtensionConfig");
        assert_eq!(first.keys().map(String::as_str).collect::<Vec<_>>(), types, "{first:?}");
        assert!(first.values().all(|count| *count > 0), "{first:?}");
    }

    server.kill();
    until_disconnected(&envoys);
    let server = Server::start_at(scene.folder.path(), &xds, &[]).unwrap();
    // A change that arrives proves that all four types have been asked for and answered before.
    server.until_synced(2).unwrap();
    server.edit("a.yaml", &scene.endpoints(0b001)).unwrap();

    let after = taps.each_ref().map(|tap| resources(&tap.take()));
    println!("resources sent since the restart, one endpoint change of the sidecar among them: {after:?}");
    for (role, after) in ["sidecar", "gateway"].into_iter().zip(&after) {
        for (kind, count) in after {
            let changed = u64::from(role == "sidecar" && kind == "ClusterLoadAssignment");
            assert_eq!(*count, changed, "{role} {kind}: {after:?}");
        }
    }
}

/// Resources by the last word of their type.
fn resources(responses: &[ResponseHead]) -> BTreeMap<String, u64> {
    let mut sum = BTreeMap::new();
    for response in responses {
        let kind = response.type_url.rsplit('.').next().unwrap_or_default();
        *sum.entry(kind.to_owned()).or_default() += response.resources as u64;
    }
    sum
}

fn until_disconnected(envoys: &[Envoy]) {
    for envoy in envoys {
        until("disconnected", || Ok(envoy.stat("control_plane.connected_state")? == 0)).unwrap();
    }
}
