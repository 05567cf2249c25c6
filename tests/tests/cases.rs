//! Committed cases of the compiler, asked over HTTP: what Envoy would refuse is found before it is sent, and whatever
//! is beside it serves.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its functions too")]

use std::{collections::BTreeSet, fmt::Write as _, net::SocketAddr, path::Path};

use lateen_tests::{
    backend::Backend,
    envoy::Envoy,
    http,
    load::Load,
    mesh, netns,
    server::{self, Server},
};

const EDGE: &[&str] = &["--gateway", "--name", "edge", "--namespace", "default", "--label", "app=edge"];
/// Where the cases have their back end.
const BACKEND: u16 = 31_901;

/// A request to the gateway of `gateway-checked`, and the start of what it is answered with.
const REQUESTS: &[(&str, &str, &[(&str, &str)], u16)] = &[
    ("good.test", "/", &[], 200),
    ("bad-regex.test", "/api/a/x", &[], 404),
    ("bad-command.test", "/", &[], 404),
    ("fault.test", "/", &[], 200),
    ("fault.test", "/delay", &[], 200),
    ("fault.test", "/http2", &[], 200),
    ("without.test", "/", &[], 202),
    ("without.test", "/", &[("x-seen", "yes")], 203),
    ("without.test", "/", &[("x-seen", "")], 203),
    ("redirect.test", "/derived", &[], 301),
    ("redirect.test", "/", &[], 301),
    ("b.test", "/", &[], 200),
];

#[test]
fn what_envoy_would_refuse_leaves_its_neighbours_alone() {
    netns::run("what_envoy_would_refuse_leaves_its_neighbours_alone", || {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let _inside = runtime.enter();
        checked();
    })
    .unwrap();
}

fn checked() {
    let _backend = Backend::http_at("a", ([127, 0, 0, 1], BACKEND).into()).unwrap();
    let case = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../xds-server/compile/cases/gateway-checked"));
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(case.join("input.yaml"), folder.path().join("input.yaml")).unwrap();
    let server = Server::start(folder.path()).unwrap();
    let envoy = Envoy::start(server.xds, &[EDGE, &["--ip", "127.0.0.1"]].concat()).unwrap();
    envoy.until_ready().unwrap();
    let gateway = SocketAddr::from(([127, 0, 0, 1], 8080));
    for (host, path, headers, wanted) in REQUESTS {
        let headers = [&[("host", *host)], *headers].concat();
        let answer = http::request(gateway, "GET", path, &headers).unwrap();
        assert_eq!(answer.status, *wanted, "{host}{path} {headers:?}: {}", answer.body);
    }
    // Half of the endpoints of w.test are nowhere; the one that is here serves.
    server::until("w.test serves", || {
        Ok(http::request(gateway, "GET", "/", &[("host", "w.test")])?.status == 200)
    })
    .unwrap();
    let redirected = raw(gateway, "redirect.test");
    assert!(redirected.contains("location: https://redirect.test/\r\n"), "{redirected}");
    assert_eq!(envoy.rejected().unwrap(), 0, "{}", envoy.rejections());
    let named = found(&server);
    assert!(named.contains("bad-regex") && named.contains("bad-command"), "{named:?}");
}

/// The head of an answer, as it came.
fn raw(address: SocketAddr, host: &str) -> String {
    use std::io::{Read as _, Write as _};
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    stream
        .write_all(format!("GET / HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n").as_bytes())
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// The names of the objects that findings with a line are about.
fn found(server: &Server) -> BTreeSet<String> {
    let status = server.status().unwrap();
    let findings = status["findings"].as_array().into_iter().flatten();
    let name = |finding: &serde_json::Value| {
        // As text: `file:line:column: error CODE Kind namespace/name: …`.
        let text = finding.as_str().map_or_else(|| finding.to_string(), str::to_owned);
        let (_, object) = text.split_once("VirtualService ")?;
        let (_, name) = object.split_once('/')?;
        name.split([':', ' ', '"']).next().map(str::to_owned)
    };
    findings.filter_map(name).collect()
}

/// Ways to write a route that Envoy would refuse.
const FAULTY: [&str; 10] = [
    "match: [{uri: {regex: '/a/[^/]++/x'}}], ",
    "match: [{headers: {x: {regex: 'a{1001}'}}}], ",
    "headers: {request: {set: {x: '%SUBJECT%'}}}, ",
    "headers: {response: {add: {x: '%REQ(a b)%'}}}, ",
    "headers: {request: {set: {':path': /x}}}, ",
    "headers: {request: {add: {x: \"a\\nb\"}}}, ",
    "timeout: 9223372037s, ",
    "rewrite: {uri: \"/a\\r\\nb\"}, ",
    "fault: {abort: {httpStatus: 700, percentage: {value: 1}}}, ",
    "corsPolicy: {allowOrigins: [{regex: '(?R)'}]}, ",
];

fn host(index: usize, faulty: bool) -> String {
    let fault = if faulty { FAULTY[index / 10 % FAULTY.len()] } else { "" };
    format!(
        "---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: h{index}, namespace: shop}}\nspec:\n  \
         hosts: [h{index}.test]\n  gateways: [edge]\n  http: [{{{fault}route: [{{destination: {{host: a.test}}}}]}}]\n"
    )
}

fn is_faulty(index: usize) -> bool {
    index % 10 == 3
}

/// 200 hosts on one gateway, 20 of them faulty in 10 ways: a fresh Envoy serves the 180, and each of the 20 has its
/// finding. Once mended they serve, and meanwhile nobody else notices.
#[tokio::test(flavor = "multi_thread")]
async fn of_200_hosts_the_180_good_ones_serve_and_each_faulty_one_is_named() {
    let backend = Backend::http("a").unwrap();
    let port = mesh::free_port();
    let folder = tempfile::tempdir().unwrap();
    let text = |faulty: &dyn Fn(usize) -> bool| {
        (0..200).fold(String::new(), |mut text, index| {
            write!(text, "{}", host(index, faulty(index))).unwrap();
            text
        })
    };
    std::fs::write(
        folder.path().join("mesh.yaml"),
        format!("{}---\n{}", mesh::gateway(port), mesh::service("a.test", "HTTP", &[&backend])),
    )
    .unwrap();
    std::fs::write(folder.path().join("hosts.yaml"), text(&is_faulty)).unwrap();
    let server = Server::start(folder.path()).unwrap();
    let envoy = Envoy::start(server.xds, &mesh::EDGE).unwrap();
    envoy.until_ready().unwrap();
    let gateway = SocketAddr::from(([127, 0, 0, 1], port));
    let status = |index: usize| {
        http::request(gateway, "GET", "/", &[("host", &format!("h{index}.test"))]).map(|answer| answer.status)
    };
    for index in 0..200 {
        let wanted = if is_faulty(index) { 404 } else { 200 };
        assert_eq!(status(index).unwrap(), wanted, "h{index}");
    }
    let named = found(&server);
    let faulty: BTreeSet<String> =
        (0..200).filter(|index| is_faulty(*index)).map(|index| format!("h{index}")).collect();
    assert!(faulty.is_subset(&named), "{named:?}");
    let load = Load::start(gateway, "h0.test", 100, 2);
    load.wait(20).unwrap();
    server.edit("hosts.yaml", &text(&|_| false)).unwrap();
    for index in 0..200 {
        server::until("mended", || Ok(status(index)? == 200)).unwrap();
    }
    load.wait(20).unwrap();
    load.stop().assert_none_failed();
    assert_eq!(envoy.rejected().unwrap(), 0, "{}", envoy.rejections());
}
