//! The server dies and comes back; the mesh goes on.

use lateen_tests::{
    envoy::Envoy,
    scene::{self, RATE, Scene},
    server::{Server, until},
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
fn a_reconnecting_envoy_with_unchanged_state_receives_no_resources() {
    let scene = Scene::new().unwrap();
    let server = Server::start(scene.folder.path()).unwrap();
    let xds = server.xds.to_string();
    let envoys = scene.envoys(&server, "ads-delta").unwrap();
    let before: Vec<_> = envoys.iter().map(|envoy| updates(envoy).unwrap()).collect();

    server.kill();
    until_disconnected(&envoys);
    let server = Server::start_at(scene.folder.path(), &xds, &[]).unwrap();
    server.until_synced(2).unwrap();
    // A change that is asked for after the reconnect proves that what came before it has been handled.
    server.edit("a.yaml", &scene.endpoints(0b001)).unwrap();

    for (envoy, before) in envoys.iter().zip(before) {
        let after = updates(envoy).unwrap();
        let more: Vec<_> =
            after.iter().zip(&before).map(|((name, now), (_, then))| (*name, now - then)).collect();
        // The sidecar has the endpoints of `a`, the gateway does not.
        println!("updates applied since the restart, one endpoint change among them: {more:?}");
        for (name, more) in more {
            assert!(more == 0 || name == ENDPOINTS && more == 1, "{name}: {more} updates");
        }
    }
}

const ENDPOINTS: &str = "cluster.outbound|80||a.shop.svc.cluster.local.update_success";

/// Updates that Envoy has applied, by subscription.
fn updates(envoy: &Envoy) -> anyhow::Result<Vec<(&'static str, u64)>> {
    let names = [
        "cluster_manager.cds.update_success",
        "listener_manager.lds.update_success",
        ENDPOINTS,
        "cluster.outbound|80||b.shop.svc.cluster.local.update_success",
        "cluster.outbound|80||hop.shop.svc.cluster.local.update_success",
    ];
    names.into_iter().map(|name| Ok((name, envoy.stat(name)?))).collect()
}

fn until_disconnected(envoys: &[Envoy]) {
    for envoy in envoys {
        until("disconnected", || Ok(envoy.stat("control_plane.connected_state")? == 0)).unwrap();
    }
}
