//! Bootstraps of known clients, and the configuration sources that resources for them name.

use std::net::SocketAddr;

use lateen_proto::envoy::config::core::v3::{
    AggregatedConfigSource, ApiConfigSource, ApiVersion, ConfigSource, GrpcService, api_config_source,
    config_source, grpc_service,
};
use serde_json::{Value, json};

use crate::case::Variant;

const CLUSTER: &str = "xds";

/// Whose bootstrap is made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Envoy's: <https://www.envoyproxy.io/docs/envoy/latest/configuration/overview/bootstrap>
    Envoy,
    /// None: the command says all.
    None,
}

/// The bootstrap of a client of the server at that address.
pub fn make(kind: Kind, server: SocketAddr, variant: Variant) -> Value {
    match kind {
        Kind::None => Value::Null,
        Kind::Envoy => envoy(server, variant),
    }
}

fn envoy(server: SocketAddr, variant: Variant) -> Value {
    let api = json!({
        "api_type": if variant.is_delta() { "DELTA_GRPC" } else { "GRPC" },
        "transport_api_version": "V3",
        "set_node_on_first_message_only": true,
        "grpc_services": [{ "envoy_grpc": { "cluster_name": CLUSTER } }],
    });
    let dynamic = if variant.is_ads() {
        let source = json!({ "ads": {}, "resource_api_version": "V3" });
        json!({ "ads_config": api, "lds_config": source, "cds_config": source })
    } else {
        let source = json!({ "api_config_source": api, "resource_api_version": "V3" });
        json!({ "lds_config": source, "cds_config": source })
    };
    let address = |port: u16| json!({ "socket_address": { "address": "127.0.0.1", "port_value": port } });
    json!({
        "node": { "id": "conformance", "cluster": "conformance" },
        "admin": { "address": address(0) },
        "dynamic_resources": dynamic,
        "static_resources": { "clusters": [{
            "name": CLUSTER,
            "type": "STATIC",
            "connect_timeout": "1s",
            "load_assignment": {
                "cluster_name": CLUSTER,
                "endpoints": [{ "lb_endpoints": [{ "endpoint": { "address": address(server.port()) } }] }],
            },
            "typed_extension_protocol_options": {
                "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                    "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                    "explicit_http_config": { "http2_protocol_options": {} },
                },
            },
        }] },
    })
}

/// Where a resource says that what it names comes from: the server, in the same variant.
pub(crate) fn source(variant: Variant) -> ConfigSource {
    let specifier = if variant.is_ads() {
        config_source::ConfigSourceSpecifier::Ads(AggregatedConfigSource::default())
    } else {
        let api = if variant.is_delta() {
            api_config_source::ApiType::DeltaGrpc
        } else {
            api_config_source::ApiType::Grpc
        };
        let service = GrpcService {
            target_specifier: Some(grpc_service::TargetSpecifier::EnvoyGrpc(grpc_service::EnvoyGrpc {
                cluster_name: CLUSTER.to_owned(),
                ..grpc_service::EnvoyGrpc::default()
            })),
            ..GrpcService::default()
        };
        config_source::ConfigSourceSpecifier::ApiConfigSource(ApiConfigSource {
            api_type: api.into(),
            transport_api_version: ApiVersion::V3.into(),
            grpc_services: vec![service],
            set_node_on_first_message_only: true,
            ..ApiConfigSource::default()
        })
    };
    ConfigSource {
        resource_api_version: ApiVersion::V3.into(),
        config_source_specifier: Some(specifier),
        ..ConfigSource::default()
    }
}
