//! `lateen bootstrap`: an Envoy bootstrap for a node.
//! <https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/bootstrap/v3/bootstrap.proto>

use std::{collections::BTreeMap, net::IpAddr, process::ExitCode};

use serde_json::{Value, json};

use crate::{
    args::{Bootstrap, Streams},
    output,
};

/// Name of the cluster of the control plane; resources of nodes with separate streams name it.
pub const XDS_CLUSTER: &str = "xds-grpc";

/// Prints it as JSON, which is YAML too.
pub fn run(args: &Bootstrap) -> anyhow::Result<ExitCode> {
    output::json(&bootstrap(args))?;
    Ok(ExitCode::SUCCESS)
}

/// The bootstrap.
pub fn bootstrap(args: &Bootstrap) -> Value {
    let labels: BTreeMap<&str, &str> = args.labels.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    let role = if args.gateway { "router" } else { "sidecar" };
    let Bootstrap { name, namespace, ip, domain, .. } = args;
    let mut node = json!({
        "id": format!("{role}~{ip}~{name}.{namespace}~{namespace}.svc.{domain}"),
        "cluster": format!("{name}.{namespace}"),
        "metadata": { "NAMESPACE": namespace, "LABELS": labels, "INSTANCE_IPS": ip.to_string() },
    });
    if let Some(locality) = &args.locality {
        let mut parts = locality.splitn(3, '/');
        let mut part = || parts.next().unwrap_or_default();
        node["locality"] = json!({ "region": part(), "zone": part(), "sub_zone": part() });
    }
    json!({
        "node": node,
        "admin": { "address": socket_address(&args.admin.ip().to_string(), args.admin.port()) },
        "dynamic_resources": dynamic_resources(args.streams),
        "static_resources": { "clusters": [xds_cluster(args)] },
        "layered_runtime": { "layers": [{ "name": "lateen", "static_layer": runtime() }] },
    })
}

/// Envoy's limit of 100 for the size of a compiled regex rejects ordinary ones, and with one the routes of all. This is
/// what Istio sets.
/// <https://www.envoyproxy.io/docs/envoy/latest/api-v3/type/matcher/v3/regex.proto#type-matcher-v3-regexmatcher-googlere2>
fn runtime() -> Value {
    json!({ "re2.max_program_size.error_level": 32_768 })
}

fn dynamic_resources(streams: Streams) -> Value {
    let api = |api_type: &str| {
        json!({
            "api_type": api_type,
            "transport_api_version": "V3",
            "set_node_on_first_message_only": true,
            "grpc_services": [{ "envoy_grpc": { "cluster_name": XDS_CLUSTER } }],
        })
    };
    let ads = |api_type| {
        let source = json!({ "ads": {}, "resource_api_version": "V3", "initial_fetch_timeout": "0s" });
        json!({ "ads_config": api(api_type), "lds_config": source, "cds_config": source })
    };
    let separate = |api_type| {
        let source = json!({
            "api_config_source": api(api_type), "resource_api_version": "V3", "initial_fetch_timeout": "0s",
        });
        json!({ "lds_config": source, "cds_config": source })
    };
    match streams {
        Streams::AdsDelta => ads("DELTA_GRPC"),
        Streams::AdsSotw => ads("GRPC"),
        Streams::Delta => separate("DELTA_GRPC"),
        Streams::Sotw => separate("GRPC"),
    }
}

fn xds_cluster(args: &Bootstrap) -> Value {
    let (kind, address) = if let Some(path) = args.xds.strip_prefix("unix:") {
        ("STATIC", json!({ "pipe": { "path": path } }))
    } else {
        // The argument was looked at before: it has a port.
        let (host, port) = args.xds.rsplit_once(':').unwrap_or((&args.xds, "15010"));
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let kind = if host.parse::<IpAddr>().is_ok() { "STATIC" } else { "STRICT_DNS" };
        (kind, socket_address(host, port.parse().unwrap_or(15010)))
    };
    let mut cluster = json!({
        "name": XDS_CLUSTER,
        "type": kind,
        "connect_timeout": "1s",
        "load_assignment": {
            "cluster_name": XDS_CLUSTER,
            "endpoints": [{ "lb_endpoints": [{ "endpoint": { "address": address } }] }],
        },
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": { "http2_protocol_options": {
                    "connection_keepalive": { "interval": "30s", "timeout": "20s" },
                } },
            },
        },
    });
    if let Some(ca) = &args.tls_ca {
        let mut common = json!({ "validation_context": { "trusted_ca": { "filename": ca } } });
        if let (Some(certificate), Some(key)) = (&args.tls_cert, &args.tls_key) {
            common["tls_certificates"] = json!([{ "certificate_chain": { "filename": certificate }, "private_key": { "filename": key } }]);
        }
        cluster["transport_socket"] = json!({
            "name": "envoy.transport_sockets.tls",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
                "common_tls_context": common,
            },
        });
    }
    cluster
}

fn socket_address(host: &str, port: u16) -> Value {
    json!({ "socket_address": { "address": host, "port_value": port } })
}
