//! N7, N9, N10: gRPC clients that others wrote resolve `xds:///` targets through our server, call, follow changes of
//! every kind that their documentation names, and reject nothing.
//! <https://grpc.github.io/grpc/core/md_doc_grpc_xds_features.html>

use std::{collections::BTreeMap, net::SocketAddr};

use anyhow::ensure;
use lateen_tests::{
    backend::Backend,
    grpc::{Caller, Client, Language},
    mesh,
    server::{Server, until},
    tap::Tap,
};
use serde_json::{Value, json};

use crate::tonic_xds::TonicXds;

pub const HOST: &str = "echo.shop.svc.cluster.local";
pub const TARGET: &str = "xds:///echo.shop.svc.cluster.local:80";
pub const OTHER: &str = "other.shop.svc.cluster.local";
/// Calls of which shares are taken.
const CALLS: u32 = 200;

/// An xDS bootstrap for a client in region `r1`. `scheme` is what the client wants before an address.
pub fn bootstrap(scheme: &str, servers: &[SocketAddr]) -> Value {
    let server = |address: &SocketAddr| {
        json!({
            "server_uri": format!("{scheme}{address}"),
            "channel_creds": [{ "type": "insecure" }],
            "server_features": ["xds_v3"],
        })
    };
    json!({
        "xds_servers": servers.iter().map(server).collect::<Vec<_>>(),
        "node": {
            "id": "sidecar~127.0.0.1~client.shop~shop.svc.cluster.local",
            "locality": { "region": "r1", "zone": "z1" },
        },
    })
}

/// A mesh, a server, and a client of it.
struct Scene<C> {
    folder: tempfile::TempDir,
    backends: [Backend; 3],
    server: Server,
    tap: Tap,
    client: C,
}

impl<C: Caller> Scene<C> {
    fn start(scheme: &str, start: impl FnOnce(&Value) -> anyhow::Result<C>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let backends = ["first", "second", "third"].map(|name| Backend::grpc(name).unwrap());
        let write = |name: &str, text: String| std::fs::write(folder.path().join(name), text).unwrap();
        write("echo.yaml", mesh::service(HOST, "GRPC", &[&backends[0]]));
        write("other.yaml", mesh::service(OTHER, "GRPC", &[&backends[1]]));
        let server = Server::start(folder.path()).unwrap();
        let tap = Tap::start(server.xds, false).unwrap();
        let client = start(&bootstrap(scheme, &[tap.address])).unwrap();
        Self { folder, backends, server, tap, client }
    }

    /// Waits until a call with these headers is answered by a backend.
    #[track_caller]
    fn answered(&mut self, by: &str, headers: &[(&str, &str)]) {
        until(&format!("answered by {by}"), || {
            let answer = self.client.call("hello", headers)?;
            ensure!(answer == format!("{by}:hello"), "{answer}");
            Ok(true)
        })
        .unwrap();
    }

    /// Answers by backend.
    fn answers(&mut self, calls: u32, headers: &[(&str, &str)]) -> BTreeMap<String, u32> {
        let mut answers = BTreeMap::new();
        for _ in 0..calls {
            let answer = self.client.call("", headers).unwrap();
            *answers.entry(answer).or_default() += 1;
        }
        answers
    }

    fn edit(&self, name: &str, text: &str) {
        assert!(self.folder.path().is_dir());
        self.server.edit(name, text).unwrap();
    }

    /// Other clusters and other endpoints.
    fn follows(&mut self) {
        self.answered("first", &[]);
        self.edit("route.yaml", &mesh::split("echo", "mesh", HOST, &[(OTHER, 100)]));
        self.answered("second", &[]);
        self.edit("other.yaml", &mesh::service(OTHER, "GRPC", &[&self.backends[2]]));
        self.answered("third", &[]);
    }

    /// <https://github.com/grpc/proposal/blob/master/A28-xds-traffic-splitting-and-routing.md>
    fn splits(&mut self) {
        self.edit("route.yaml", &mesh::split("echo", "mesh", HOST, &[(HOST, 80), (OTHER, 20)]));
        self.answered("first", &[]);
        self.answered("third", &[]);
        let answers = self.answers(CALLS, &[]);
        let share = answers.get("first").copied().unwrap_or_default() * 100 / CALLS;
        // Six standard deviations of 200 calls of which 80 % are meant to go there.
        assert!((63..=97).contains(&share), "{answers:?}");
    }

    /// <https://github.com/grpc/proposal/blob/master/A28-xds-traffic-splitting-and-routing.md#header-matching>
    fn matches_headers(&mut self) {
        self.edit("route.yaml", &by_header(HOST, OTHER));
        self.answered("third", &[("x-version", "v2")]);
        self.answered("first", &[]);
        let with = self.answers(10, &[("x-version", "v2")]);
        assert_eq!(with, BTreeMap::from([("third".to_owned(), 10)]));
        let without = self.answers(10, &[("x-version", "v1")]);
        assert_eq!(without, BTreeMap::from([("first".to_owned(), 10)]));
    }

    /// <https://github.com/grpc/proposal/blob/master/A42-xds-ring-hash-lb-policy.md>
    fn hashes(&mut self) {
        std::fs::remove_file(self.folder.path().join("route.yaml")).unwrap();
        let all: Vec<&Backend> = self.backends.iter().collect();
        let text = [
            mesh::service(HOST, "GRPC", &all),
            rule("loadBalancer: {consistentHash: {httpHeaderName: x-user}}"),
        ];
        self.edit("echo.yaml", &text.join("---\n"));
        let mut chosen = BTreeMap::new();
        // Before the policy is in use, a user's calls go round.
        until("each user's calls go to one backend", || {
            chosen.clear();
            for user in 0..12 {
                let user = format!("user-{user}");
                let answers = self.answers(6, &[("x-user", &user)]);
                ensure!(answers.len() == 1, "{user}: {answers:?}");
                chosen.extend(answers.into_keys().map(|backend| (backend, user.clone())));
            }
            Ok(true)
        })
        .unwrap();
        assert!(chosen.len() > 1, "all users go to one backend: {chosen:?}");
    }

    /// The client's own region first; when nothing is left there, the server says where to go instead.
    /// <https://github.com/grpc/proposal/blob/master/A27-xds-global-load-balancing.md#priorities>
    fn fails_over(&mut self) {
        let rule = rule("outlierDetection: {consecutive5xxErrors: 5}");
        let [near, far, _] = &self.backends;
        let (near, far) = ((near.port(), "r1/z1"), (far.port(), "r2/z1"));
        self.edit("echo.yaml", &[in_places(&[near, far]), rule.clone()].join("---\n"));
        until("only the near one is called", || {
            let answers = self.answers(20, &[]);
            ensure!(answers.len() == 1 && answers.contains_key("first"), "{answers:?}");
            Ok(true)
        })
        .unwrap();
        self.edit("echo.yaml", &[in_places(&[far]), rule].join("---\n"));
        self.answered("second", &[]);
    }

    /// Services that make sense to an Envoy: of any address, behind a Unix socket, for requests that pass through.
    fn takes_what_is_odd(&mut self) {
        let entry = |name: &str, rest: &str| {
            format!(
                "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: {name}, namespace: \
                 shop}}\nspec: {{hosts: [{name}.shop], ports: [{{number: 80, name: grpc, protocol: GRPC}}], {rest}}}\n"
            )
        };
        let passing = "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: passing, namespace: \
                       shop}\nspec: {host: passing.shop, trafficPolicy: {loadBalancer: {simple: PASSTHROUGH}}}\n";
        let far = self.backends[1].port();
        let text = [
            entry("anywhere", "resolution: NONE"),
            entry("unresolved", "resolution: DNS"),
            entry("socket", "resolution: STATIC, endpoints: [{address: \"unix:///run/none\"}]"),
            entry(
                "passing",
                &format!("resolution: STATIC, endpoints: [{{address: 127.0.0.1, ports: {{grpc: {far}}}}}]"),
            ),
            passing.to_owned(),
            mesh::split(
                "echo",
                "mesh",
                HOST,
                &[("passing.shop", 97), ("anywhere.shop", 1), ("unresolved.shop", 1), ("socket.shop", 1)],
            ),
        ];
        self.edit("route.yaml", &text.join("---\n"));
        self.answered("second", &[]);
    }

    fn is_told_nothing_that_it_rejects(&self) {
        self.server.until_synced(1).unwrap();
        let status = self.server.status().unwrap();
        assert_eq!(status["nodes"][0]["stream"], "sotw ads", "{status:#}");
        assert_eq!(self.tap.rejections(), Vec::<String>::new());
    }
}

fn by_header(host: &str, with: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: echo, namespace: shop}}\n\
         spec:\n  hosts: [{host}]\n  http:\n  - match: [{{headers: {{x-version: {{exact: v2}}}}}}]\n    route: \
         [{{destination: {{host: {with}}}}}]\n  - route: [{{destination: {{host: {host}}}}}]\n"
    )
}

/// A `DestinationRule` of the target's host.
fn rule(policy: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: echo, namespace: shop}}\n\
         spec:\n  host: {HOST}\n  trafficPolicy: {{{policy}}}\n"
    )
}

/// The target's host, at ports of 127.0.0.1, each in a place.
fn in_places(ports: &[(u16, &str)]) -> String {
    let endpoint = |(port, place): &(u16, &str)| {
        format!("{{address: 127.0.0.1, ports: {{grpc: {port}}}, locality: {place}}}")
    };
    let endpoints: Vec<String> = ports.iter().map(endpoint).collect();
    format!(
        "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: echo, namespace: shop}}\n\
         spec:\n  hosts: [{HOST}]\n  resolution: STATIC\n  ports: [{{number: 80, name: grpc, protocol: \
         GRPC}}]\n  endpoints: [{}]\n",
        endpoints.join(", ")
    )
}

fn scene(language: Language) -> Scene<Client> {
    Scene::start("", |bootstrap| Client::start(language, TARGET, bootstrap))
}

fn everything(mut scene: Scene<Client>) {
    scene.follows();
    scene.splits();
    scene.matches_headers();
    scene.hashes();
    scene.fails_over();
    scene.takes_what_is_odd();
    scene.is_told_nothing_that_it_rejects();
}

#[test]
fn n7_grpcio_follows_splits_matches_hashes_and_fails_over() {
    everything(scene(Language::Python));
}

#[test]
fn n9_grpc_go_follows_splits_matches_hashes_and_fails_over() {
    everything(scene(Language::Go));
}

#[test]
fn n9_grpc_js_follows_splits_matches_hashes_and_fails_over() {
    everything(scene(Language::Node));
}

/// It knows no ring hash: <https://github.com/grpc/proposal/blob/master/A42-xds-ring-hash-lb-policy.md>.
#[test]
fn n10_tonic_xds_follows_splits_and_matches() {
    let mut scene = Scene::start("http://", |bootstrap| TonicXds::start(TARGET, bootstrap));
    scene.follows();
    scene.splits();
    scene.matches_headers();
    scene.takes_what_is_odd();
    scene.is_told_nothing_that_it_rejects();
}
