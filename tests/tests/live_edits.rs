//! Editing the files of a mesh under load costs no request.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its functions too")]
#![allow(clippy::print_stdout, reason = "the figures are part of the result")]

use std::time::Instant;

use lateen_tests::{
    load::Outcome,
    mesh::{APP, EDGE},
    scene::{self, CONNECTIONS, RATE, Scene},
    server::Server,
    view,
};

const WEIGHT_EDITS: u32 = 200;
const ENDPOINT_CHANGES: usize = 50;
const RENAMES: usize = 20;
/// Sets of endpoints of `a`, never empty.
const ENDPOINTS: [usize; 6] = [0b001, 0b011, 0b110, 0b100, 0b101, 0b111];

#[test]
fn no_request_fails_while_weights_endpoints_and_hosts_change() {
    for streams in ["ads-delta", "ads-sotw", "delta", "sotw"] {
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
    let routes = format!(".rds.{}.update_success", scene.egress.port());
    let routes = envoys[0].stats_ending(&routes).unwrap();
    assert!(routes >= u64::from(WEIGHT_EDITS), "the sidecar has seen {routes} edits of {WEIGHT_EDITS}");
    let began = Instant::now();
    for change in 0..ENDPOINT_CHANGES {
        server.edit("a.yaml", &scene.endpoints(ENDPOINTS[change % ENDPOINTS.len()])).unwrap();
    }
    let endpoints = began.elapsed();
    let began = Instant::now();
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
        "  {WEIGHT_EDITS} weight edits in {weights:.1?}, {ENDPOINT_CHANGES} endpoint changes in {endpoints:.1?}, {RENAMES} renames in {renames:.1?}"
    );
    outcome.assert_none_failed();
    scene::assert_none_rejected(&envoys);
    for name in ["a-0", "a-1", "a-2", "b-0"] {
        assert!(outcome.by_backend.contains_key(name), "{name} was never asked: {:?}", outcome.by_backend);
    }
}

/// Nobody waits between these edits: what is sent while an answer is outstanding is the newest of each.
#[test]
fn no_request_fails_in_a_burst_of_edits_and_its_last_state_arrives() {
    let scene = Scene::new().unwrap();
    let server = Server::start(scene.folder.path()).unwrap();
    let envoys = scene.envoys(&server, "ads-delta").unwrap();
    let load = scene.load();
    load.wait(u64::from(RATE)).unwrap();
    for edit in 0..WEIGHT_EDITS {
        server.write("weights-0.yaml", &scene.weights(0, edit * 37 % 101)).unwrap();
        server.write("a.yaml", &scene.endpoints(ENDPOINTS[edit as usize % ENDPOINTS.len()])).unwrap();
        let host = 1 + edit % 3;
        let name = format!("host-{host}.yaml");
        if scene.folder.path().join(&name).exists() {
            std::fs::remove_file(scene.folder.path().join(&name)).unwrap();
        } else {
            server.write(&name, &scene.host(host as usize)).unwrap();
        }
    }
    // The last edit: nothing goes to `b` from here on.
    server.edit("weights-0.yaml", &scene.weights(0, 100)).unwrap();
    for (envoy, role) in envoys.iter().zip([&APP[..], &EDGE[..]]) {
        view::until_equal(&server, envoy, &view::node_id(role)).unwrap();
    }
    load.wait(2 * CONNECTIONS as u64).unwrap();
    let before = load.outcome().by_backend.get("b-0").copied();
    load.wait(u64::from(RATE)).unwrap();
    let outcome = load.stop();
    report("burst", &outcome);
    outcome.assert_none_failed();
    assert_eq!(outcome.by_backend.get("b-0").copied(), before, "b is still asked");
    scene::assert_none_rejected(&envoys);
}

fn report(streams: &str, outcome: &Outcome) {
    let Outcome { ok, failed, by_backend, slowest, .. } = outcome;
    println!("{streams}: {ok} requests answered, {failed} failed, slowest {slowest:.1?}, {by_backend:?}");
}
