//! Virtual hosts one by one, an option of the mesh for delta clients, on stock Envoy.
//! <https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_conn_man/vhds>
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its functions too")]

use lateen_tests::{
    http,
    scene::{RATE, Scene, assert_none_rejected},
    server::{Server, until},
};

/// Changes of one virtual host while requests run.
const EDITS: u32 = 50;

#[test]
fn virtual_hosts_come_one_by_one_and_change_under_load_without_a_failed_request() {
    let scene = Scene::new().unwrap();
    let mesh =
        "apiVersion: lateen.io/v1\nkind: MeshConfig\nmetadata: {name: mesh}\nspec: {lateen: {vhds: true}}\n";
    std::fs::write(scene.folder.path().join("mesh.yaml"), mesh).unwrap();
    let server = Server::start(scene.folder.path()).unwrap();
    let envoys = scene.envoys(&server, "ads-delta").unwrap();
    let [sidecar, _] = &envoys;

    let dump = sidecar.config_dump().unwrap().to_string();
    assert!(dump.contains("\"vhds\""), "the sidecar's routes say nothing of VHDS: {dump}");
    let status = server.status().unwrap().to_string();
    assert!(status.contains("\"VHDS\""), "no node has virtual hosts: {status}");

    // Counts responses of RDS, not of VHDS.
    let updates = format!(".rds.{}.update_success", scene.egress.port());
    let before = sidecar.stats_ending(&updates).unwrap();
    assert!(before > 0, "no statistic ends in {updates}");
    let load = scene.load();
    load.wait(u64::from(RATE)).unwrap();
    for edit in 0..EDITS {
        let to_a = if edit == EDITS - 1 { 0 } else { edit };
        server.edit("weights-0.yaml", &scene.weights(0, to_a)).unwrap();
    }
    load.stop().assert_none_failed();

    // The last edit sends everything to `b`.
    until("only b answers", || {
        let host = Scene::host_name(0);
        for _ in 0..20 {
            let answer = http::request(scene.gateway, "GET", "/", &[("host", host.as_str())])?;
            anyhow::ensure!(answer.status == 200 && answer.body.contains("b-0"), "{answer:?}");
        }
        Ok(true)
    })
    .unwrap();
    assert_none_rejected(&envoys);
    // Only hosts went out: the route configuration that they belong to is as it was.
    assert_eq!(sidecar.stats_ending(&updates).unwrap(), before);
}
