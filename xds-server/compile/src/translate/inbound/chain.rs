//! Filter chains of inbound listeners.

use lateen_model::Protocol;
use lateen_proto::{
    envoy::{
        config::{
            listener::v3::FilterChainMatch,
            route::v3::{
                Decorator, RetryPolicy, Route, RouteAction, RouteConfiguration, RouteMatch, VirtualHost,
                route, route_action, route_match,
            },
        },
        extensions::{
            filters::network::http_connection_manager::v3::http_connection_manager::RouteSpecifier,
            transport_sockets::tls::v3::DownstreamTlsContext,
        },
    },
    google::protobuf::Duration,
};

use crate::plan::{Chain, Network, SNIFFED, Site};

/// How connections are carried on.
#[derive(Clone, Copy)]
pub(super) struct To<'a> {
    /// Name of the chain.
    pub name: &'a str,
    /// The cluster.
    pub cluster: &'a str,
    /// The port, where the chain is for one.
    pub port: Option<u16>,
}

/// The chains for a port, or for all other ports: one where the protocol is known, else one for what is
/// sniffed to be HTTP and one for the rest.
pub(super) fn chains(
    site: &Site<'_>,
    to: To<'_>,
    protocol: Protocol,
    tls: Option<&DownstreamTlsContext>,
    matching: &FilterChainMatch,
) -> Vec<Chain> {
    let chain = |filter: Network, versions: &[&str]| {
        let mut matching = matching.clone();
        matching.application_protocols = versions.iter().map(|&v| v.to_owned()).collect();
        Chain { name: to.name.to_owned(), matching, tls: tls.cloned(), ..Chain::of(filter) }
    };
    match protocol {
        Protocol::Http | Protocol::Http2 | Protocol::Grpc | Protocol::GrpcWeb => {
            vec![chain(http(site, to), &[])]
        }
        // What TLS ends here carries is HTTP.
        Protocol::Https if tls.is_some() => vec![chain(http(site, to), &[])],
        Protocol::Unknown => {
            vec![chain(http(site, to), &SNIFFED), chain(site.to_cluster(to.cluster), &[])]
        }
        Protocol::Tls | Protocol::Https | Protocol::Tcp | Protocol::OpaqueTcp | Protocol::Udp => {
            vec![chain(site.to_cluster(to.cluster), &[])]
        }
    }
}

fn http(site: &Site<'_>, to: To<'_>) -> Network {
    let stat_prefix = match to.port {
        Some(port) => format!("inbound_0.0.0.0_{port}"),
        None => to.cluster.to_owned(),
    };
    site.http(stat_prefix, RouteSpecifier::RouteConfig(routes(to)))
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
