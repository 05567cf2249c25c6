//! N5: thirty steps of change under 500 requests a second cost no request, where all types share a stream. Separate
//! streams have no order among them: there a route may come before its cluster, and requests fail for a moment.
//! <https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#eventual-consistency-considerations>

use lateen_tests::{
    envoy::Release,
    load::Outcome,
    mesh::{self, APP},
    scene::{self, RATE, Scene},
    server::Server,
    view,
};

/// What promises an order of clusters and routes.
const VARIANTS: [&str; 2] = ["ads-sotw", "ads-delta"];

const A: &str = "a.shop.svc.cluster.local";
/// Each of the six kinds of steps, so often.
const ROUNDS: usize = 5;

/// Where the sidecar sends the host's requests: destinations in Istio's form, each with its weight.
fn route(destinations: &[(&str, u32)]) -> String {
    let to = destinations.iter().map(|(to, weight)| format!("{{destination: {{{to}}}, weight: {weight}}}"));
    format!(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: weights-0, namespace: \
         shop}}\nspec:\n  hosts: [{host}]\n  gateways: [mesh]\n  http: [{{route: [{to}]}}]\n",
        host = Scene::host_name(0),
        to = to.collect::<Vec<_>>().join(", "),
    )
}

/// A rule for `a`, with a subset or without.
fn rule(round: usize, subset: bool) -> String {
    let subsets =
        if subset { format!("[{{name: one, labels: {{version: a-{}}}}}]", round % 3) } else { "[]".into() };
    format!(
        "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: a, namespace: shop}}\n\
         spec:\n  host: {A}\n  trafficPolicy: {{connectionPool: {{tcp: {{connectTimeout: {}s}}}}}}\n  subsets: \
         {subsets}\n",
        round + 1
    )
}

/// One round: what `route.yaml` and `a.yaml` hold after each of its steps. A step changes both sides of a reference at
/// once: what is new comes before it is referred to, and what is gone goes after.
fn steps(scene: &Scene, round: usize) -> [(&'static str, String); 6] {
    let extra = format!("extra-{round}.shop.svc.cluster.local");
    let (a, b) = (format!("host: {A}"), "host: b.shop.svc.cluster.local");
    let (one, more) = (format!("host: {A}, subset: one"), format!("host: {extra}"));
    let service = mesh::service(&extra, "HTTP", &[&scene.b]);
    // The bits of endpoints that stay: never the same in two rounds, and never none.
    let bits = [0b011, 0b110, 0b101, 0b001, 0b010][round % ROUNDS];
    let joined = |parts: &[String]| parts.join("---\n");
    [
        // A cluster appears, and half of the requests go there.
        ("weights-0.yaml", joined(&[service, route(&[(&a, 50), (&more, 50)])])),
        // Endpoints change.
        ("a.yaml", scene.endpoints(bits)),
        // The cluster is gone, with its route.
        ("weights-0.yaml", route(&[(&a, 70), (b, 30)])),
        // All endpoints are back; a cluster of a subset appears, and the whole cluster changes and warms.
        ("weights-0.yaml", joined(&[rule(round, true), route(&[(&one, 60), (&a, 40)])])),
        // A listener of the gateway appears, or goes.
        ("listener.yaml", extra_listener(round)),
        // The subset is gone, with its route, and the cluster changes again.
        ("weights-0.yaml", joined(&[rule(round + ROUNDS, false), route(&[(&a, 100)])])),
    ]
}

/// A second listener of the gateway, in even rounds.
fn extra_listener(round: usize) -> String {
    let gateway = mesh::gateway(mesh::free_port()).replace("name: edge,", "name: second,");
    if round.is_multiple_of(2) { gateway } else { "# none\n".into() }
}

fn churns(release: Release, streams: &str) {
    let scene = Scene::new().unwrap();
    let server = Server::start(scene.folder.path()).unwrap();
    let envoys = scene.envoys_of(release, &server, streams).unwrap();
    let load = scene.load();
    load.wait(u64::from(RATE)).unwrap();
    let mut taken = 0;
    for round in 0..ROUNDS {
        for (file, text) in steps(&scene, round) {
            server.edit(file, &text).unwrap();
            // Some requests see each step.
            load.wait(u64::from(RATE / 10)).unwrap();
            taken += 1;
        }
        server.edit("a.yaml", &scene.endpoints(0b111)).unwrap();
    }
    load.wait(u64::from(RATE)).unwrap();
    // The gateway keeps the routes of listeners that drain, for ten minutes.
    view::until_equal(&server, &envoys[0], &view::node_id(&APP)).unwrap();
    let second = envoys[1].stats_ending("listener_manager.listener_added").unwrap();
    assert!(second > ROUNDS as u64 / 2, "the gateway has seen {second} listeners");
    let outcome = load.stop();
    let Outcome { ok, failed, by_backend, slowest, .. } = &outcome;
    println!(
        "{release:?} {streams}: {taken} steps, {ok} answered, {failed} failed, slowest {slowest:.1?}, {by_backend:?}"
    );
    outcome.assert_none_failed();
    scene::assert_none_rejected(&envoys);
    for name in ["a-0", "a-1", "a-2", "b-0"] {
        assert!(outcome.by_backend.contains_key(name), "{name} was never asked: {:?}", outcome.by_backend);
    }
}

#[test]
fn n5_thirty_steps_under_load_fail_no_request_on_envoy() {
    for streams in VARIANTS {
        churns(Release::Current, streams);
    }
}

#[test]
fn n5_thirty_steps_under_load_fail_no_request_on_the_oldest_envoy() {
    for streams in VARIANTS {
        churns(Release::Oldest, streams);
    }
}
