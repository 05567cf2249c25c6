//! Filter chains of inbound listeners.

use lateen_config::istio::MeshConfig;
use lateen_model::Protocol;
use lateen_proto::{
    envoy::{
        config::{
            core::v3::TransportSocket,
            route::v3::{
                Decorator, RetryPolicy, Route, RouteAction, RouteConfiguration, RouteMatch, VirtualHost,
                route, route_action, route_match,
            },
        },
        extensions::filters::network::http_connection_manager::v3::{
            HttpConnectionManager,
            http_connection_manager::{
                ForwardClientCertDetails, RouteSpecifier, SetCurrentClientCertDetails,
            },
        },
    },
    google::protobuf::Duration,
};

use crate::translate::{
    ClientProfile,
    listener::{HTTP_CONNECTION_MANAGER, connection_manager, network_filter, to_cluster},
    wire::lds::{Filter, FilterChain, FilterChainMatch},
};

/// What an unknown protocol turns out to be, if `http_inspector` knows it.
const HTTP_VERSIONS: [&str; 3] = ["http/1.0", "http/1.1", "h2c"];

/// How connections are carried on.
#[derive(Clone, Copy)]
pub(super) struct To<'a> {
    /// Name of the chain.
    pub name: &'a str,
    /// The cluster.
    pub cluster: &'a str,
    /// The port, where the chain is for one.
    pub port: Option<u16>,
    /// Dialect of the node.
    pub profile: ClientProfile,
}

/// The chains for a port, or for all other ports: one where the protocol is known, else one for what is
/// sniffed to be HTTP and one for the rest.
pub(super) fn chains(
    mesh: &MeshConfig,
    to: To<'_>,
    protocol: Protocol,
    tls: Option<&TransportSocket>,
    matching: &FilterChainMatch,
) -> Vec<FilterChain> {
    let chain = |filter: Filter, versions: &[&str]| {
        let mut matching = matching.clone();
        matching.application_protocols = versions.iter().map(|&v| v.to_owned()).collect();
        FilterChain {
            name: to.name.to_owned(),
            filter_chain_match: (matching != FilterChainMatch::default()).then_some(matching),
            filters: vec![filter],
            transport_socket: tls.cloned(),
            ..Default::default()
        }
    };
    match protocol {
        Protocol::Http | Protocol::Http2 | Protocol::Grpc | Protocol::GrpcWeb => {
            vec![chain(http(mesh, to), &[])]
        }
        // What TLS ends here carries is HTTP.
        Protocol::Https if tls.is_some() => vec![chain(http(mesh, to), &[])],
        Protocol::Unknown => {
            vec![chain(http(mesh, to), &HTTP_VERSIONS), chain(to_cluster(mesh, to.cluster), &[])]
        }
        Protocol::Tls | Protocol::Https | Protocol::Tcp | Protocol::OpaqueTcp | Protocol::Udp => {
            vec![chain(to_cluster(mesh, to.cluster), &[])]
        }
    }
}

fn http(mesh: &MeshConfig, to: To<'_>) -> Filter {
    let stat_prefix = match to.port {
        Some(port) => format!("inbound_0.0.0.0_{port}"),
        None => to.cluster.to_owned(),
    };
    let manager = HttpConnectionManager {
        // The workload learns who called from this header; whoever calls can't forge it.
        forward_client_cert_details: ForwardClientCertDetails::AppendForward as i32,
        set_current_client_cert_details: Some(SetCurrentClientCertDetails {
            subject: Some(true.into()),
            dns: true,
            uri: true,
            ..Default::default()
        }),
        ..connection_manager(mesh, to.profile, &stat_prefix, RouteSpecifier::RouteConfig(routes(to)))
    };
    network_filter(HTTP_CONNECTION_MANAGER, &manager)
}

/// All requests go to the workload; how long it takes is its clients' affair.
fn routes(to: To<'_>) -> RouteConfiguration {
    let port = to.port.map_or_else(|| "passthrough".to_owned(), |port| port.to_string());
    let action = RouteAction {
        cluster_specifier: Some(route_action::ClusterSpecifier::Cluster(to.cluster.to_owned())),
        timeout: Some(Duration::default()),
        max_stream_duration: Some(route_action::MaxStreamDuration {
            max_stream_duration: Some(Duration::default()),
            grpc_timeout_header_max: Some(Duration::default()),
            ..Default::default()
        }),
        // Safe for every method: nothing was sent yet.
        retry_policy: Some(RetryPolicy {
            retry_on: "reset-before-request".to_owned(),
            num_retries: Some(2.into()),
            ..Default::default()
        }),
        ..Default::default()
    };
    let route = Route {
        name: "default".to_owned(),
        r#match: Some(RouteMatch {
            path_specifier: Some(route_match::PathSpecifier::Prefix("/".to_owned())),
            ..Default::default()
        }),
        decorator: to.port.map(|port| Decorator { operation: format!(":{port}/*"), ..Default::default() }),
        action: Some(route::Action::Route(action)),
        ..Default::default()
    };
    RouteConfiguration {
        name: to.cluster.to_owned(),
        virtual_hosts: vec![VirtualHost {
            name: format!("inbound|http|{port}"),
            domains: vec!["*".to_owned()],
            routes: vec![route],
            ..Default::default()
        }],
        validate_clusters: Some(false.into()),
        ..Default::default()
    }
}
