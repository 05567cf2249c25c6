//! Editing the files of a mesh under load costs no request.

use std::time::Instant;

use lateen_tests::{
    load::Outcome,
    scene::{self, CONNECTIONS, RATE, Scene},
    server::Server,
};

const WEIGHT_EDITS: u32 = 200;
const ENDPOINT_CHANGES: usize = 50;
const RENAMES: usize = 20;

#[test]
fn no_request_fails_while_weights_endpoints_and_hosts_change() {
    for streams in ["ads-delta", "ads-sotw"] {
        edit_under_load(streams);
    }
}

fn edit_under_load(streams: &str) {
    let scene = Scene::new().unwrap();
    let server = Server::start(scene.folder.path()).unwrap();
    let envoys = scene.envoys(&server, streams).unwrap();
    let load = scene.load();
    load.wait(u64::from(RATE)).unwrap();
    let began = Instant::now();

    for edit in 0..WEIGHT_EDITS {
        server.edit("weights-0.yaml", &scene.weights(0, edit * 37 % 101)).unwrap();
    }
    let weights = began.elapsed();
    // Never without an endpoint.
    let sets = [0b001, 0b011, 0b110, 0b100, 0b101, 0b111];
    for change in 0..ENDPOINT_CHANGES {
        server.edit("a.yaml", &scene.endpoints(sets[change % sets.len()])).unwrap();
    }
    let endpoints = began.elapsed();
    for index in 0..RENAMES {
        let next = [scene.host(index + 1), scene.weights(index + 1, 50)].join("---\n");
        server.edit(&format!("host-{}.yaml", index + 1), &next).unwrap();
        load.switch(&Scene::host_name(index + 1));
        // What was asked of the old host is answered: each connection has had a request of the new one.
        load.wait(4 * CONNECTIONS as u64).unwrap();
        if index == 0 {
            server.remove("weights-0.yaml").unwrap();
        }
        server.remove(&format!("host-{index}.yaml")).unwrap();
    }
    let renames = began.elapsed();

    load.wait(u64::from(RATE)).unwrap();
    let outcome = load.stop();
    report(streams, &outcome);
    println!(
        "  {WEIGHT_EDITS} weight edits in {weights:.1?}, {ENDPOINT_CHANGES} endpoint changes in {:.1?}, {RENAMES} renames in {:.1?}",
        endpoints - weights,
        renames - endpoints
    );
    outcome.assert_none_failed();
    scene::assert_none_rejected(&envoys);
    for name in ["a-0", "a-1", "a-2", "b-0"] {
        assert!(outcome.by_backend.contains_key(name), "{name} was never asked: {:?}", outcome.by_backend);
    }
}

fn report(streams: &str, outcome: &Outcome) {
    let Outcome { ok, failed, by_backend, slowest, .. } = outcome;
    println!("{streams}: {ok} requests answered, {failed} failed, slowest {slowest:.1?}, {by_backend:?}");
}
