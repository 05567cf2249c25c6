//! TLS from certificate files: who may connect, and as whom.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its functions too")]

use std::{
    net::SocketAddr,
    path::Path,
    process::{Command, Stdio},
};

use lateen_tests::{
    backend::Backend,
    envoy::Envoy,
    http,
    mesh::{self, EDGE},
    pki::{self, Answer, Authority, Files},
    server::{self, Server, until},
};

const NODE: &str = "sidecar~127.0.0.1~cart.shop~shop.svc.cluster.local";
const SHOP: &str = "spiffe://cluster.local/ns/shop/sa/cart";
/// <https://grpc.github.io/grpc/core/md_doc_statuscodes.html>
const PERMISSION_DENIED: &str = "7";
const UNAUTHENTICATED: &str = "16";

struct World {
    mesh: tempfile::TempDir,
    files: tempfile::TempDir,
    root: std::path::PathBuf,
    authority: Authority,
    server: Files,
    _web: Backend,
    gateway: SocketAddr,
}

impl World {
    fn new() -> Self {
        let (mesh, files) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let authority = Authority::new().unwrap();
        let web = Backend::http("web").unwrap();
        let gateway = SocketAddr::from(([127, 0, 0, 1], mesh::free_port()));
        let text = [
            mesh::service("web.shop.svc.cluster.local", "HTTP", &[&web]),
            mesh::gateway(gateway.port()),
            mesh::split("web", "edge", "shop.example.com", &[("web.shop.svc.cluster.local", 100)]),
        ];
        std::fs::write(mesh.path().join("mesh.yaml"), text.join("---\n")).unwrap();
        Self {
            root: authority.write(&files.path().join("ca.crt")).unwrap(),
            server: authority.server(files.path(), "server").unwrap(),
            mesh,
            files,
            authority,
            _web: web,
            gateway,
        }
    }

    fn serve(&self) -> Server {
        let flags = flags(&self.server, &self.root);
        Server::start_at(self.mesh.path(), "127.0.0.1:0", &flags.each_ref().map(String::as_str)).unwrap()
    }

    fn workload(&self, name: &str, id: &str) -> Files {
        self.authority.workload(self.files.path(), name, id).unwrap()
    }
}

/// Of `serve` and `bootstrap` alike.
fn flags(files: &Files, root: &Path) -> [String; 6] {
    let path = |path: &Path| path.display().to_string();
    [
        "--tls-cert".to_owned(),
        path(&files.certificate),
        "--tls-key".to_owned(),
        path(&files.key),
        "--tls-ca".to_owned(),
        path(root),
    ]
}

#[test]
fn an_address_beyond_loopback_without_tls_is_refused_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(server::binary())
        .args(["serve", "--xds-listen", "0.0.0.0:0", "--admin-listen", "127.0.0.1:0", "--adapter"])
        .arg(format!("file={}", folder.path().display()))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{text}");
    for word in ["0.0.0.0:0", "loopback", "--tls-cert", "--tls-key"] {
        assert!(text.contains(word), "{word} is not in {text:?}");
    }
}

#[test]
fn envoy_connects_by_mutual_tls_and_serves() {
    let world = World::new();
    let server = world.serve();
    let identity = world.workload("edge", "spiffe://cluster.local/ns/shop/sa/edge");
    let tls = flags(&identity, &world.root);
    let tls: Vec<&str> = tls.iter().map(String::as_str).collect();
    let envoy = Envoy::start(server.xds, &[&EDGE[..], &tls].concat()).unwrap();
    envoy.until_ready().unwrap();
    until("answered", || {
        let answer = http::request(world.gateway, "GET", "/", &[("host", "shop.example.com")])?;
        Ok(answer.status == 200 && answer.body.contains("web"))
    })
    .unwrap();
    server.until_synced(1).unwrap();
    assert_eq!(envoy.rejected().unwrap(), 0, "{}", envoy.rejections());
}

#[test]
fn a_client_needs_a_certificate_that_a_trusted_root_signed() {
    let world = World::new();
    let server = world.serve();
    let trusted = world.workload("trusted", SHOP);
    let answer = pki::ask(server.xds, &world.root, Some(&trusted), NODE).unwrap();
    assert!(matches!(answer, Answer::Response(_)), "{answer:?}");

    let refused = |identity: Option<&Files>| {
        let answer = pki::ask(server.xds, &world.root, identity, NODE);
        assert!(answer.is_err(), "{answer:?}");
    };
    refused(None);
    let stranger = Authority::new().unwrap().workload(world.files.path(), "stranger", SHOP).unwrap();
    refused(Some(&stranger));
}

#[test]
fn without_roots_for_clients_nobody_is_served_beyond_what_is_local() {
    let world = World::new();
    let [cert, cert_file, key, key_file, ..] = flags(&world.server, &world.root);
    let server =
        Server::start_at(world.mesh.path(), "127.0.0.1:0", &[&cert, &cert_file, &key, &key_file]).unwrap();
    let answer = pki::ask(server.xds, &world.root, None, NODE).unwrap();
    let Answer::Ended(code, message) = answer else { panic!("{answer:?}") };
    assert_eq!(code, UNAUTHENTICATED, "{message}");
}

#[test]
fn a_node_that_claims_another_namespace_than_its_certificate_is_denied() {
    let world = World::new();
    let server = world.serve();
    let identity = world.workload("bank", "spiffe://cluster.local/ns/bank/sa/teller");
    let answer = pki::ask(server.xds, &world.root, Some(&identity), NODE).unwrap();
    let Answer::Ended(code, message) = answer else { panic!("{answer:?}") };
    assert_eq!(code, PERMISSION_DENIED, "{message}");
    for word in ["shop", "bank"] {
        assert!(message.contains(word), "{message}");
    }
    let own = "sidecar~127.0.0.1~teller.bank~bank.svc.cluster.local";
    let answer = pki::ask(server.xds, &world.root, Some(&identity), own).unwrap();
    assert!(matches!(answer, Answer::Response(_)), "{answer:?}");
}

#[test]
fn replaced_certificate_files_are_used_and_damaged_ones_are_not() {
    let world = World::new();
    let server = world.serve();
    let identity = world.workload("trusted", SHOP);
    let answered = |root: &Path| {
        let answer = pki::ask(server.xds, root, Some(&identity), NODE)?;
        Ok(matches!(answer, Answer::Response(_)))
    };
    assert!(answered(&world.root).unwrap());

    // Another root signs the server's certificate from now on; clients are verified by the first as before.
    let other = Authority::new().unwrap();
    let other_root = other.write(&world.files.path().join("other.crt")).unwrap();
    assert!(answered(&other_root).is_err(), "the test proves nothing");
    other.server(world.files.path(), "server").unwrap();
    until("the new certificate in use", || answered(&other_root)).unwrap();
    assert!(answered(&world.root).is_err());

    // Damaged files leave what was loaded in use; once whole again, they are used.
    std::fs::write(&world.server.certificate, "nothing").unwrap();
    let third = Authority::new().unwrap();
    let third_root = third.write(&world.files.path().join("third.crt")).unwrap();
    assert!(answered(&other_root).unwrap());
    third.server(world.files.path(), "server").unwrap();
    until("the third certificate in use", || answered(&third_root)).unwrap();
}
