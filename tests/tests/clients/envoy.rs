//! N1 to N4 and N6: stock Envoy of two releases, in every way to open its streams: it is served resources of every
//! type that a mesh has, rejects nothing, and holds what was meant.
//! <https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#variants-of-the-xds-transport-protocol>

use std::{collections::BTreeSet, net::SocketAddr};

use anyhow::ensure;
use lateen_tests::{
    backend::Backend,
    envoy::{Envoy, Release},
    http,
    mesh::{self, APP, EDGE},
    pki::Authority,
    server::{Server, until},
    view,
};
use serde_json::{Value, json};

use crate::told::{self, Told};

const VARIANTS: [&str; 4] = ["ads-sotw", "ads-delta", "sotw", "delta"];
const WEB: &str = "web.shop.svc.cluster.local";

fn local(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// The name of the backend that answers.
fn answered_by(address: SocketAddr, host: &str) -> anyhow::Result<String> {
    let answer = http::request(address, "GET", "/", &[("host", host)])?;
    ensure!(answer.status == 200, "{answer:?}");
    let body: Value = serde_json::from_str(&answer.body)?;
    Ok(body["name"].as_str().unwrap_or_default().to_owned())
}

/// A gateway and a sidecar have what the mesh means them to have: LDS, RDS, CDS, EDS.
fn has_its_mesh(release: Release, streams: &str) {
    let folder = tempfile::tempdir().unwrap();
    let web = Backend::http("web").unwrap();
    let (gateway, egress) = (mesh::free_port(), mesh::free_port());
    let text = [
        mesh::service(WEB, "HTTP", &[&web]),
        mesh::gateway(gateway),
        mesh::split("web", "edge", "shop.example.com", &[(WEB, 100)]),
        mesh::sidecar("app", egress),
    ];
    std::fs::write(folder.path().join("mesh.yaml"), text.join("---\n")).unwrap();
    let server = Server::start(folder.path()).unwrap();
    for (role, port, host) in [(&EDGE[..], gateway, "shop.example.com"), (&APP, egress, WEB)] {
        let envoy =
            Envoy::start_release(release, server.xds, &[role, &["--streams", streams]].concat()).unwrap();
        envoy.until_ready().unwrap();
        let answered = until("answered by web", || Ok(answered_by(local(port), host)? == "web"));
        assert_eq!(envoy.rejected().unwrap(), 0, "{}", envoy.rejections());
        answered.unwrap();
        let node = view::node_id(role);
        view::until_equal(&server, &envoy, &node).unwrap();
        let (meant, held) = (view::meant(&server, &node).unwrap(), view::held(&envoy).unwrap());
        let different = view::different(&meant, &held, streams.ends_with("delta"));
        assert!(different.is_empty(), "not as meant: {different:#?}");
    }
}

/// Where an Envoy's further resources come from when its streams are opened so.
fn source(streams: &str) -> Value {
    let separate = |api_type: &str| {
        json!({
            "resource_api_version": "V3",
            "api_config_source": {
                "api_type": api_type,
                "transport_api_version": "V3",
                "set_node_on_first_message_only": true,
                "grpc_services": [{ "envoy_grpc": { "cluster_name": "xds-grpc" } }],
            },
        })
    };
    match streams {
        "sotw" => separate("GRPC"),
        "delta" => separate("DELTA_GRPC"),
        _ => told::ads(),
    }
}

/// A listener with routes of the same name.
fn listener(name: &str, port: u16, source: &Value, transport: Option<Value>) -> Value {
    let manager = told::manager(("rds", json!({ "config_source": source, "route_config_name": name })), &[]);
    let mut chain = json!({ "filters": [{ "name": "manager", "typed_config": manager }] });
    if let Some(transport) = transport {
        chain["transport_socket"] = transport;
    }
    json!({
        "@type": told::type_url("envoy.config.listener.v3.Listener"),
        "name": name,
        "address": told::address(port),
        "filter_chains": [chain],
    })
}

fn tls(context: &str, common: &Value) -> Value {
    json!({
        "name": "tls",
        "typed_config": {
            "@type": told::type_url(&format!("envoy.extensions.transport_sockets.tls.v3.{context}")),
            "common_tls_context": common,
        },
    })
}

fn secret(name: &str, kind: &str, value: &Value) -> Value {
    json!({
        "@type": told::type_url("envoy.extensions.transport_sockets.tls.v3.Secret"),
        "name": name,
        kind: value,
    })
}

/// The certificate of the inner listener, made anew each time.
fn certificate(authority: &Authority) -> Value {
    let folder = tempfile::tempdir().unwrap();
    let files = authority.server(folder.path(), "server").unwrap();
    let text = |path| std::fs::read_to_string(path).unwrap();
    secret(
        "certificate",
        "tls_certificate",
        &json!({
            "certificate_chain": { "inline_string": text(files.certificate) },
            "private_key": { "inline_string": text(files.key) },
        }),
    )
}

fn roots(authority: &Authority) -> Value {
    let folder = tempfile::tempdir().unwrap();
    let path = authority.write(&folder.path().join("ca.crt")).unwrap();
    let text = std::fs::read_to_string(path).unwrap();
    secret("roots", "validation_context", &json!({ "trusted_ca": { "inline_string": text } }))
}

/// A layer that lets so many percent through.
fn runtime(percent: u32) -> Value {
    json!({
        "@type": told::type_url("envoy.service.runtime.v3.Runtime"),
        "name": "layer",
        "layer": { "lateen.open": percent },
    })
}

/// A request goes through a first listener, whose route a runtime key opens, and then by TLS, of which both sides come
/// as secrets, through a second one to the backend: LDS, RDS, CDS, EDS, SDS, RTDS.
fn inner_world(ports: [u16; 2], source: &Value, authority: &Authority, web: &Backend) -> Vec<Value> {
    let sds = |name: &str| json!({ "name": name, "sds_config": source });
    let downstream =
        tls("DownstreamTlsContext", &json!({ "tls_certificate_sds_secret_configs": [sds("certificate")] }));
    let upstream =
        tls("UpstreamTlsContext", &json!({ "validation_context_sds_secret_config": sds("roots") }));
    let mut inner = told::cluster("inner", source);
    inner["transport_socket"] = upstream;
    let open = json!({
        "match": {
            "prefix": "/",
            "runtime_fraction": { "default_value": { "numerator": 0 }, "runtime_key": "lateen.open" },
        },
        "route": { "cluster": "inner" },
    });
    vec![
        listener("outer", ports[0], source, None),
        listener("inner", ports[1], source, Some(downstream)),
        told::routes("outer", &json!([open])),
        told::routes("inner", &json!([{ "match": { "prefix": "/" }, "route": { "cluster": "web" } }])),
        inner,
        told::cluster("web", source),
        told::endpoints("inner", ports[1]),
        told::endpoints("web", web.port()),
        certificate(authority),
        roots(authority),
        runtime(100),
    ]
}

fn has_secrets_and_runtime(release: Release, streams: &str) {
    let authority = Authority::new().unwrap();
    let web = Backend::http("web").unwrap();
    let ports = [mesh::free_port(), mesh::free_port()];
    let source = source(streams);
    let server = Told::start("127.0.0.1:0");
    let node = view::node_id(&APP);
    server.put(&node, &inner_world(ports, &source, &authority, &web));
    let bootstrap = Envoy::bootstrap(server.xds, &[&APP[..], &["--streams", streams]].concat()).unwrap();
    let mut bootstrap: Value = serde_json::from_slice(&bootstrap).unwrap();
    bootstrap["layered_runtime"] =
        json!({ "layers": [{ "name": "told", "rtds_layer": { "name": "layer", "rtds_config": source } }] });
    let envoy = Envoy::start_release_with(release, bootstrap.to_string().as_bytes()).unwrap();
    envoy.until_ready().unwrap();
    let outer = local(ports[0]);
    until("answered by web, by TLS", || Ok(answered_by(outer, "any")? == "web")).unwrap();

    let held = view::held(&envoy).unwrap();
    let held: BTreeSet<(&str, &str)> =
        held.keys().map(|(kind, name)| (kind.as_str(), name.as_str())).collect();
    let kinds = ["CDS", "EDS", "LDS", "RDS"];
    let names = |kind| if kind == "CDS" || kind == "EDS" { ["inner", "web"] } else { ["inner", "outer"] };
    let meant = kinds.into_iter().flat_map(|kind| names(kind).map(|name| (kind, name))).collect();
    assert_eq!(held, meant);
    let secrets = http::get(envoy.admin, "/config_dump?resource=dynamic_active_secrets").unwrap().body;
    assert!(secrets.contains("\"certificate\"") && secrets.contains("\"roots\""), "{secrets}");

    // A new certificate is taken in place of the old one; then the key closes the route.
    let taken = || envoy.stats_ending(".ssl_context_update_by_sds");
    let before = taken().unwrap();
    server.put(&node, &[certificate(&authority)]);
    until("the new certificate taken", || Ok(taken()? > before)).unwrap();
    assert_eq!(answered_by(outer, "any").unwrap(), "web");
    server.put(&node, &[runtime(0)]);
    let status = || anyhow::Ok(http::request(outer, "GET", "/", &[("host", "any")])?.status);
    until("no route is open", || Ok(status()? == 404)).unwrap();
    assert_eq!(envoy.rejected().unwrap(), 0, "{}", envoy.rejections());
}

fn is_served(release: Release, streams: &str) {
    has_its_mesh(release, streams);
    has_secrets_and_runtime(release, streams);
}

#[test]
fn n1_envoy_is_served_by_state_of_the_world_ads() {
    is_served(Release::Current, "ads-sotw");
}

#[test]
fn n2_envoy_is_served_by_delta_ads() {
    is_served(Release::Current, "ads-delta");
}

#[test]
fn n3_envoy_is_served_by_separate_state_of_the_world_streams() {
    is_served(Release::Current, "sotw");
}

#[test]
fn n4_envoy_is_served_by_separate_delta_streams() {
    is_served(Release::Current, "delta");
}

#[test]
fn n6_the_oldest_envoy_is_served_in_every_variant() {
    for streams in VARIANTS {
        println!("{streams}");
        is_served(Release::Oldest, streams);
    }
}
