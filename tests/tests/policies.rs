//! Policies and settings that can't be applied, on stock Envoy: what they would protect is closed, open connections
//! meet a change with their next request, and no listener is touched for it.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its functions too")]

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    time::Duration,
};

use lateen_tests::{
    backend::Backend,
    envoy::Envoy,
    http,
    mesh::{self, APP, EDGE},
    server::{Server, until},
};

const DENY: &str = "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\n\
    metadata: {name: nobody, namespace: shop}\nspec:\n  rules:\n  - from: [{source: {namespaces: [bank]}}]\n";
const TOKENS: &str = "apiVersion: security.istio.io/v1\nkind: RequestAuthentication\n\
    metadata: {name: tokens, namespace: shop}\nspec:\n  jwtRules: [{issuer: https://issuer.example.com}]\n";
const HOST: &str = "shop.example.com";

/// A connection of HTTP/1.1 that stays open.
struct Open(TcpStream);

impl Open {
    fn to(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_mins(2))).unwrap();
        Self(stream)
    }

    /// The status of a request. Fails if the connection ends.
    fn get(&mut self, headers: &str) -> anyhow::Result<u16> {
        write!(self.0, "GET / HTTP/1.1\r\nhost: {HOST}\r\n{headers}\r\n")?;
        let (mut head, mut byte) = (Vec::new(), [0]);
        while !head.ends_with(b"\r\n\r\n") {
            anyhow::ensure!(self.0.read(&mut byte)? == 1, "the connection ended");
            head.push(byte[0]);
        }
        let head = String::from_utf8(head)?.to_ascii_lowercase();
        anyhow::ensure!(!head.contains("connection: close"), "the connection is drained: {head}");
        let field = |name: &str| head.lines().find_map(|line| line.strip_prefix(name));
        let length = field("content-length: ").map_or(Ok(0), |text| text.trim().parse())?;
        self.0.read_exact(&mut vec![0; length])?;
        Ok(head.split(' ').nth(1).unwrap_or_default().parse()?)
    }

    /// Asks until the answer has this status: a change is in force some moments after it was acknowledged.
    fn until(&mut self, status: u16, headers: &str) {
        until(&format!("{status} on an open connection"), || Ok(self.get(headers)? == status)).unwrap();
    }
}

/// What a drained or changed listener would leave behind.
fn listeners(envoy: &Envoy) -> Vec<(&'static str, u64)> {
    let names = [
        "listener_manager.listener_added",
        "listener_manager.listener_modified",
        "listener_manager.listener_removed",
        "listener_manager.listener_in_place_updated",
        "listener_manager.total_listeners_draining",
        "listener_manager.total_filter_chains_draining",
        "listener_manager.lds.update_success",
    ];
    names.into_iter().map(|name| (name, envoy.stat(name).unwrap())).collect()
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// A gateway and the sidecar of a workload, both in front of one backend.
fn mesh(folder: &Path, gateway: u16, ingress: u16, backend: &Backend) {
    let sidecar = format!(
        "apiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {{name: app, namespace: shop}}\nspec:\n  \
         workloadSelector: {{labels: {{app: app}}}}\n  ingress:\n  - port: {{number: {ingress}, protocol: HTTP, name: \
         http}}\n    bind: 127.0.0.1\n    captureMode: NONE\n    defaultEndpoint: 127.0.0.1:{}\n",
        backend.port()
    );
    let all = [
        mesh::gateway(gateway),
        sidecar,
        mesh::service("a.shop.svc.cluster.local", "HTTP", &[backend]),
        mesh::split("a", "edge", HOST, &[("a.shop.svc.cluster.local", 100)]),
    ];
    std::fs::write(folder.join("mesh.yaml"), all.join("---\n")).unwrap();
}

#[test]
fn a_policy_reaches_open_connections_and_drains_nothing() {
    for streams in ["ads-delta", "ads-sotw", "delta", "sotw"] {
        let folder = tempfile::tempdir().unwrap();
        let backend = Backend::http("a").unwrap();
        let (gateway, ingress) = (mesh::free_port(), mesh::free_port());
        mesh(folder.path(), gateway, ingress, &backend);
        let server = Server::start(folder.path()).unwrap();
        let flags = ["--streams", streams];
        let envoys = [(&EDGE[..], gateway), (&APP[..], ingress)].map(|(node, port)| {
            let envoy = Envoy::start(server.xds, &[node, &flags].concat()).unwrap();
            envoy.until_ready().unwrap();
            (envoy, port)
        });
        server.until_synced(2).unwrap();
        // One is used all the time, the other one only before and after all changes.
        let mut open: Vec<[Open; 2]> =
            envoys.iter().map(|(_, port)| [Open::to(local(*port)), Open::to(local(*port))]).collect();
        for one in open.iter_mut().flatten() {
            one.until(200, "");
        }
        let before: Vec<_> = envoys.iter().map(|(envoy, _)| listeners(envoy)).collect();

        let token = "authorization: Bearer abc\r\n";
        for (name, policy, refused, headers) in
            [("deny.yaml", DENY, 403, ""), ("tokens.yaml", TOKENS, 401, token)]
        {
            server.edit(name, policy).unwrap();
            for [used, _] in &mut open {
                used.until(refused, headers);
                assert_eq!(used.get(token).unwrap(), refused);
                // Without a token there is nothing to verify.
                assert_eq!(used.get("").unwrap(), if refused == 401 { 200 } else { refused });
            }
            let status = server.status().unwrap();
            assert!(status["errors"].as_u64().unwrap() > 0, "{status}");
            server.remove(name).unwrap();
            for [used, _] in &mut open {
                used.until(200, headers);
            }
        }
        let after: Vec<_> = envoys.iter().map(|(envoy, _)| listeners(envoy)).collect();
        assert_eq!(before, after, "{streams}");
        for [_, waited] in &mut open {
            assert_eq!(waited.get("").unwrap(), 200);
        }
        for (envoy, _) in &envoys {
            assert_eq!(envoy.rejected().unwrap(), 0, "{}", envoy.rejections());
        }
    }
}

#[test]
fn tls_that_cant_be_applied_closes_and_is_ignored_only_when_told() {
    let folder = tempfile::tempdir().unwrap();
    let backend = Backend::http("a").unwrap();
    let (gateway, ingress) = (mesh::free_port(), mesh::free_port());
    mesh(folder.path(), gateway, ingress, &backend);
    let rule = "apiVersion: networking.istio.io/v1\nkind: DestinationRule\n\
        metadata: {name: a, namespace: shop}\nspec:\n  host: a.shop.svc.cluster.local\n  \
        trafficPolicy: {tls: {mode: MUTUAL, credentialName: cert}}\n";
    std::fs::write(folder.path().join("rule.yaml"), rule).unwrap();
    for (choice, status, errors) in [("close", 503, 1), ("ignore", 200, 0)] {
        let server = Server::start_at(folder.path(), "127.0.0.1:0", &["--unapplied", choice]).unwrap();
        let envoy = Envoy::start(server.xds, &EDGE).unwrap();
        envoy.until_ready().unwrap();
        server.until_synced(1).unwrap();
        let answer = http::request(local(gateway), "GET", "/", &[("host", HOST)]).unwrap();
        assert_eq!(answer.status, status, "{answer:?}");
        let told = server.status().unwrap();
        assert_eq!(told["errors"].as_u64().unwrap(), errors, "{told}");
        let findings = told["findings"].to_string();
        assert!(findings.contains("LAT3020") && findings.contains("rule.yaml:6:19"), "{findings}");
        assert_eq!(envoy.rejected().unwrap(), 0, "{}", envoy.rejections());
    }
}

#[test]
fn with_and_without_ignore_no_client_says_what_a_token_would_and_nothing_is_allowed_by_what_is_ignored() {
    let folder = tempfile::tempdir().unwrap();
    let backend = Backend::http("a").unwrap();
    let (gateway, ingress) = (mesh::free_port(), mesh::free_port());
    mesh(folder.path(), gateway, ingress, &backend);
    let tokens = format!(
        "{TOKENS}  - issuer: https://other.example.com\n    outputPayloadToHeader: x-payload\n    outputClaimToHeaders: \
         [{{header: x-subject, claim: sub}}]\n"
    );
    let tokens = tokens.replace(
        "jwtRules: [{issuer: https://issuer.example.com}]",
        "jwtRules:\n  - issuer: https://issuer.example.com",
    );
    let nothing = DENY.replace("nobody", "nothing").replace(
        "spec:\n  rules:\n  - from: [{source: {namespaces: [bank]}}]\n",
        "spec: {selector: {matchLabels: {app: app}}}\n",
    );
    let some = DENY.replace(
        "rules:\n  - from: [{source: {namespaces: [bank]}}]\n",
        "selector: {matchLabels: {app: app}}\n  rules: [{to: [{operation: {paths: [/public]}}]}]\n",
    );
    std::fs::write(folder.path().join("policies.yaml"), [tokens, nothing, some].join("---\n")).unwrap();
    for choice in ["close", "ignore"] {
        let server = Server::start_at(folder.path(), "127.0.0.1:0", &["--unapplied", choice]).unwrap();
        let [edge, app] = [&EDGE[..], &APP[..]].map(|node| Envoy::start(server.xds, node).unwrap());
        for envoy in [&edge, &app] {
            envoy.until_ready().unwrap();
        }
        server.until_synced(2).unwrap();
        let forged = [("host", HOST), ("x-payload", "e30"), ("x-subject", "admin"), ("x-other", "kept")];
        let answer = http::request(local(gateway), "GET", "/", &forged).unwrap();
        assert_eq!(answer.status, 200, "{choice}: {answer:?}");
        let body = &answer.body;
        assert!(
            body.contains("x-other") && !body.contains("x-payload") && !body.contains("x-subject"),
            "{body}"
        );
        // A token that nobody can look at.
        let token = [("host", HOST), ("authorization", "Bearer abc")];
        let refused = http::request(local(gateway), "GET", "/", &token).unwrap().status;
        assert_eq!(refused, if choice == "close" { 401 } else { 200 });
        // The workload is closed by the policy that allows nothing.
        assert_eq!(http::request(local(ingress), "GET", "/secret", &[("host", HOST)]).unwrap().status, 403);
        assert_eq!([edge.rejected().unwrap(), app.rejected().unwrap()], [0, 0], "{}", edge.rejections());
    }
}
