//! The HTTP connection manager.

use lateen_config::istio::{MeshConfig, NormalizationType};
use lateen_proto::{
    any::pack,
    envoy::{
        config::core::v3::{
            Http2ProtocolOptions, HttpProtocolOptions, http_protocol_options::HeadersWithUnderscoresAction,
        },
        extensions::filters::{
            http::{cors::v3::Cors, fault::v3::HttpFault, grpc_stats::v3 as grpc_stats, router::v3::Router},
            network::http_connection_manager::v3::{
                HttpConnectionManager, HttpFilter as Encoded, Rds,
                http_connection_manager::{
                    ForwardClientCertDetails, PathWithEscapedSlashesAction, RouteSpecifier,
                    SetCurrentClientCertDetails, UpgradeConfig,
                },
                http_filter,
            },
        },
    },
    google::protobuf::Duration,
};
use prost::{Message, Name};

use super::{Direction, Phase, Site, Slot, access_log};
use crate::translate::{ClientProfile, route, wire};

/// <https://www.envoyproxy.io/docs/envoy/latest/configuration/best_practices/edge>
const STREAMS_MAX: u32 = 100;
/// As above.
const STREAM_WINDOW_BYTES: u32 = 64 * 1024;
/// As above.
const CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;
/// As above.
const CONNECTION_IDLE_S: i64 = 3600;
/// As above: how long a client may take for the headers of a request.
const REQUEST_HEADERS_S: i64 = 10;

/// A connection manager, not encoded yet.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Http {
    profile: ClientProfile,
    /// Everything but the filters.
    pub manager: HttpConnectionManager,
    /// The filters, in any order.
    pub filters: Vec<HttpFilter>,
}

/// An HTTP filter, not encoded yet.
#[allow(clippy::large_enum_variant, reason = "a list has five of them, and lives for one compilation")]
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum HttpFilter {
    /// A place for a policy.
    Slot(Slot),
    /// Counts of gRPC calls.
    GrpcStats(grpc_stats::FilterConfig),
    /// Faults that routes ask for.
    Fault(HttpFault),
    /// Cross-origin requests, as routes allow them.
    Cors(Cors),
    /// The router.
    Router(Router),
}

impl Http {
    /// The connection manager of a site: what all have in common, and what the direction needs.
    /// <https://www.envoyproxy.io/docs/envoy/v1.40.0/configuration/http/http_conn_man/http_conn_man>
    pub(crate) fn new(site: &Site<'_>, stat_prefix: String, routes: RouteSpecifier) -> Self {
        let mut manager =
            HttpConnectionManager { stat_prefix, route_specifier: Some(routes), ..Default::default() };
        if site.profile != ClientProfile::Grpc {
            common(&mut manager, site);
            match site.direction {
                Direction::Inbound => inbound(&mut manager),
                Direction::Outbound => {}
                Direction::Gateway => edge(&mut manager, site.mesh),
            }
        }
        Self { profile: site.profile, manager, filters: filters(site) }
    }

    /// The slots among the filters.
    pub(super) fn slots(&self) -> impl Iterator<Item = Slot> + '_ {
        self.filters
            .iter()
            .filter_map(|filter| if let HttpFilter::Slot(slot) = filter { Some(*slot) } else { None })
    }

    /// The message.
    pub(super) fn finish(self) -> HttpConnectionManager {
        let Self { profile, manager, mut filters } = self;
        filters.sort_by_key(HttpFilter::phase);
        let http_filters = filters.into_iter().map(|filter| filter.finish(profile)).collect();
        HttpConnectionManager { http_filters, ..manager }
    }
}

fn common(manager: &mut HttpConnectionManager, site: &Site<'_>) {
    manager.upgrade_configs = vec![UpgradeConfig { upgrade_type: "websocket".into(), ..Default::default() }];
    // Streams may be idle for as long as their ends like: Envoy's 5 minutes would cut long polls and streams.
    manager.stream_idle_timeout = Some(Duration::default());
    manager.use_remote_address = Some(false.into());
    manager.access_log = access_log::of(site);
    normalize(manager, site.mesh);
}

/// The workload learns who called from a header; whoever calls can't forge it.
fn inbound(manager: &mut HttpConnectionManager) {
    manager.forward_client_cert_details = ForwardClientCertDetails::AppendForward as i32;
    manager.set_current_client_cert_details = Some(SetCurrentClientCertDetails {
        subject: Some(true.into()),
        dns: true,
        uri: true,
        ..Default::default()
    });
}

/// What faces the world trusts nothing that a client says about itself.
/// <https://www.envoyproxy.io/docs/envoy/latest/configuration/best_practices/edge>
fn edge(manager: &mut HttpConnectionManager, mesh: &MeshConfig) {
    let trusted = mesh.default_config.as_ref().and_then(|config| config.gateway_topology.as_ref());
    let seconds = |seconds| Some(Duration { seconds, nanos: 0 });
    manager.use_remote_address = Some(true.into());
    manager.xff_num_trusted_hops = trusted.and_then(|topology| topology.num_trusted_proxies).unwrap_or(0);
    manager.forward_client_cert_details = ForwardClientCertDetails::SanitizeSet as i32;
    manager.set_current_client_cert_details = Some(SetCurrentClientCertDetails {
        subject: Some(true.into()),
        cert: true,
        dns: true,
        uri: true,
        ..Default::default()
    });
    manager.common_http_protocol_options = Some(HttpProtocolOptions {
        idle_timeout: seconds(CONNECTION_IDLE_S),
        headers_with_underscores_action: HeadersWithUnderscoresAction::RejectRequest as i32,
        ..Default::default()
    });
    manager.http2_protocol_options = Some(Http2ProtocolOptions {
        max_concurrent_streams: Some(STREAMS_MAX.into()),
        initial_stream_window_size: Some(STREAM_WINDOW_BYTES.into()),
        initial_connection_window_size: Some(CONNECTION_WINDOW_BYTES.into()),
        ..Default::default()
    });
    manager.request_headers_timeout = seconds(REQUEST_HEADERS_S);
    if mesh.path_normalization.is_none() {
        manager.merge_slashes = true;
        manager.path_with_escaped_slashes_action = PathWithEscapedSlashesAction::UnescapeAndRedirect as i32;
    }
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

fn filters(site: &Site<'_>) -> Vec<HttpFilter> {
    let stats = grpc_stats::FilterConfig {
        emit_filter_state: true,
        per_method_stat_specifier: Some(
            grpc_stats::filter_config::PerMethodStatSpecifier::StatsForAllMethods(false.into()),
        ),
        ..Default::default()
    };
    let fault = HttpFilter::Fault(HttpFault::default());
    let router = HttpFilter::Router(Router::default());
    let slots = Slot::of(site.direction, site.profile).iter().copied().map(HttpFilter::Slot);
    match site.profile {
        ClientProfile::Grpc => vec![fault, router],
        ClientProfile::Envoy(_) | ClientProfile::Lateen => {
            slots.chain([HttpFilter::GrpcStats(stats), fault, HttpFilter::Cors(Cors {}), router]).collect()
        }
    }
}

impl HttpFilter {
    fn phase(&self) -> Phase {
        match self {
            Self::Slot(slot) => slot.phase(),
            Self::GrpcStats(_) => Phase::Statistics,
            Self::Fault(_) | Self::Cors(_) => Phase::Route,
            Self::Router(_) => Phase::Terminal,
        }
    }

    fn finish(self, profile: ClientProfile) -> Encoded {
        match self {
            Self::Slot(slot) => slot.finish(profile),
            Self::GrpcStats(config) => inline("envoy.filters.http.grpc_stats", &config),
            Self::Fault(config) => inline(route::FAULT, &config),
            Self::Cors(config) => inline(route::CORS, &config),
            Self::Router(config) => inline("envoy.filters.http.router", &config),
        }
    }
}

fn inline<M: Message + Name>(name: &str, config: &M) -> Encoded {
    Encoded {
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
