//! The HTTP connection manager.

use lateen_config::istio::{MeshConfig, NormalizationType};
use lateen_proto::{
    any::pack,
    envoy::{
        config::listener::v3 as lds,
        extensions::filters::{
            http::{cors::v3::Cors, fault::v3::HttpFault, grpc_stats::v3 as grpc_stats, router::v3::Router},
            network::http_connection_manager::v3::{
                HttpConnectionManager, HttpFilter, Rds,
                http_connection_manager::{PathWithEscapedSlashesAction, RouteSpecifier, UpgradeConfig},
                http_filter,
            },
        },
    },
    google::protobuf,
};
use prost::{Message, Name};

use super::{
    super::{ClientProfile, route, wire},
    access_log,
};

/// Name of the network filter.
pub(crate) const HTTP_CONNECTION_MANAGER: &str = "envoy.filters.network.http_connection_manager";

/// A connection manager with what all of ours have in common: those of sidecars and of gateways.
/// <https://www.envoyproxy.io/docs/envoy/v1.40.0/configuration/http/http_conn_man/http_conn_man>
pub(crate) fn connection_manager(
    mesh: &MeshConfig,
    profile: ClientProfile,
    stat_prefix: &str,
    routes: RouteSpecifier,
) -> HttpConnectionManager {
    let mut manager = HttpConnectionManager {
        stat_prefix: stat_prefix.to_owned(),
        route_specifier: Some(routes),
        http_filters: filters(profile),
        ..Default::default()
    };
    if profile == ClientProfile::Grpc {
        return manager;
    }
    manager.upgrade_configs = vec![UpgradeConfig { upgrade_type: "websocket".into(), ..Default::default() }];
    // Streams may be idle for as long as their ends like: Envoy's 5 minutes would cut long polls and streams.
    manager.stream_idle_timeout = Some(protobuf::Duration::default());
    manager.use_remote_address = Some(false.into());
    manager.access_log = access_log::of(mesh);
    normalize(&mut manager, mesh);
    manager
}

/// <https://istio.io/latest/docs/reference/config/istio.mesh.v1alpha1/#MeshConfig-ProxyPathNormalization>
fn normalize(manager: &mut HttpConnectionManager, mesh: &MeshConfig) {
    let wanted = mesh.path_normalization.as_ref().map(|p| p.normalization).unwrap_or_default();
    manager.normalize_path = Some((wanted != NormalizationType::None).into());
    match wanted {
        NormalizationType::Default | NormalizationType::None | NormalizationType::Base => {}
        NormalizationType::MergeSlashes => manager.merge_slashes = true,
        NormalizationType::DecodeAndMergeSlashes => {
            manager.merge_slashes = true;
            manager.path_with_escaped_slashes_action =
                PathWithEscapedSlashesAction::UnescapeAndForward as i32;
        }
    }
}

fn filters(profile: ClientProfile) -> Vec<HttpFilter> {
    let stats = grpc_stats::FilterConfig {
        emit_filter_state: true,
        per_method_stat_specifier: Some(
            grpc_stats::filter_config::PerMethodStatSpecifier::StatsForAllMethods(false.into()),
        ),
        ..Default::default()
    };
    let fault = http_filter(route::FAULT, &HttpFault::default());
    let router = http_filter("envoy.filters.http.router", &Router::default());
    match profile {
        ClientProfile::Grpc => vec![fault, router],
        ClientProfile::Envoy(_) | ClientProfile::Lateen => vec![
            http_filter("envoy.filters.http.grpc_stats", &stats),
            fault,
            http_filter(route::CORS, &Cors {}),
            router,
        ],
    }
}

/// An HTTP filter.
fn http_filter<M: Message + Name>(name: &str, config: &M) -> HttpFilter {
    HttpFilter {
        name: name.to_owned(),
        config_type: Some(http_filter::ConfigType::TypedConfig(pack(config))),
        ..Default::default()
    }
}

/// Routes come by RDS.
pub(crate) fn rds(profile: ClientProfile, name: &str) -> RouteSpecifier {
    RouteSpecifier::Rds(Rds {
        config_source: Some(wire::config_source(profile)),
        route_config_name: name.to_owned(),
    })
}

/// A network filter.
pub(crate) fn network_filter<M: Message + Name>(name: &str, config: &M) -> lds::Filter {
    lds::Filter {
        name: name.to_owned(),
        config_type: Some(lds::filter::ConfigType::TypedConfig(pack(config))),
    }
}
