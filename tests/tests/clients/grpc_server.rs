//! N8: grpcio as a server that xDS configures, with access rules. No source compiles these resources yet: they are
//! told ready-made.
//! <https://github.com/grpc/proposal/blob/master/A36-xds-for-servers.md>
//! <https://github.com/grpc/proposal/blob/master/A41-xds-rbac.md>

use std::process::{Command, Stdio};

use anyhow::ensure;
use lateen_tests::{grpc::python, mesh, process::Process, server::until, tap::Tap};
use serde_json::{Value, json};
use tonic::Code;

use crate::{
    grpc::bootstrap,
    plain::Plain,
    told::{self, Told},
};

const NODE: &str = "sidecar~127.0.0.1~client.shop~shop.svc.cluster.local";
const RBAC: &str = "envoy.extensions.filters.http.rbac.v3.RBAC";

/// The listener of a server, whose callers must say this name in a header.
fn listener(port: u16, caller: &str) -> Value {
    let rules = json!({
        "rules": { "action": "ALLOW", "policies": { "named": {
            "permissions": [{ "any": true }],
            "principals": [{ "header": { "name": "x-caller", "string_match": { "exact": caller } } }],
        } } },
    });
    let routes = json!({
        "name": "inbound",
        "virtual_hosts": [{
            "name": "all",
            "domains": ["*"],
            "routes": [{ "match": { "prefix": "" }, "non_forwarding_action": {} }],
        }],
    });
    let manager = told::manager(("route_config", routes), &[told::filter("rbac", RBAC, &rules)]);
    json!({
        "@type": told::type_url("envoy.config.listener.v3.Listener"),
        "name": format!("grpc/server?xds.resource.listening_address=127.0.0.1:{port}"),
        "address": told::address(port),
        "filter_chains": [{ "filters": [{ "name": "manager", "typed_config": manager }] }],
    })
}

fn ends_with(client: &mut Plain, caller: &str, wanted: Option<Code>) {
    until(&format!("{caller} answered {wanted:?}"), || {
        let answer = client.ask(&[("x-caller", caller)]);
        let code = answer.as_ref().err().map(tonic::Status::code);
        ensure!(code == wanted, "{answer:?}");
        Ok(true)
    })
    .unwrap();
}

#[test]
fn n8_a_grpcio_server_takes_its_listener_and_access_rules_and_follows_them() {
    let port = mesh::free_port();
    let server = Told::start("127.0.0.1:0");
    let tap = Tap::start(server.xds, false).unwrap();
    server.put(NODE, &[listener(port, "cart")]);
    let mut boot = bootstrap("", &[tap.address]);
    boot["server_listener_resource_name_template"] = "grpc/server?xds.resource.listening_address=%s".into();
    let _process = Process::spawn(
        Command::new(python().unwrap())
            .args([
                concat!(env!("CARGO_MANIFEST_DIR"), "/clients/server.py"),
                &format!("127.0.0.1:{port}"),
                "served",
            ])
            .env("GRPC_XDS_BOOTSTRAP_CONFIG", boot.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::null()),
    )
    .unwrap();
    let mut client = Plain::new(port);
    ends_with(&mut client, "cart", None);
    ends_with(&mut client, "thief", Some(Code::PermissionDenied));

    // Another caller is allowed, and the first one is not any more.
    server.put(NODE, &[listener(port, "basket")]);
    ends_with(&mut client, "basket", None);
    ends_with(&mut client, "cart", Some(Code::PermissionDenied));
    assert_eq!(tap.rejections(), Vec::<String>::new());
}
