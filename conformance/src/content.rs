//! Resources that cases serve: valid for a real client, small, and told apart by a number.

use std::collections::BTreeMap;

use lateen_proto::{
    any,
    envoy::{
        config::{
            cluster::v3::{Cluster, cluster},
            core::v3::{
                Address, AggregatedConfigSource, ApiVersion, ConfigSource, DataSource, SocketAddress,
                TypedExtensionConfig, address, config_source, data_source, socket_address,
            },
            endpoint::v3::{ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints, lb_endpoint},
            listener::v3::{Filter, FilterChain, Listener, filter},
            route::v3::{
                DirectResponseAction, Route, RouteAction, RouteConfiguration, RouteMatch,
                ScopedRouteConfiguration, VirtualHost, route, route_action, route_match,
                scoped_route_configuration,
            },
        },
        extensions::{
            filters::{
                http::{buffer::v3::Buffer, router::v3::Router},
                network::http_connection_manager::v3::{
                    HttpConnectionManager, HttpFilter, Rds, http_connection_manager, http_filter,
                },
            },
            transport_sockets::tls::v3::{GenericSecret, Secret, secret},
        },
        service::runtime::v3::Runtime,
    },
    google::protobuf::{Any, Struct, UInt32Value, Value, value},
};
use lateen_xds::ResourceType;

/// Are they the same resource? Servers may encode what they were told anew, with its fields in another order.
pub fn same(one: &Any, other: &Any) -> bool {
    fn equal<M: prost::Message + prost::Name + Default + PartialEq>(one: &Any, other: &Any) -> bool {
        matches!((any::unpack::<M>(one), any::unpack::<M>(other)), (Ok(one), Ok(other)) if one == other)
    }
    let kind = ResourceType::from_url(&one.type_url);
    let read: fn(&Any, &Any) -> bool = match kind {
        _ if one == other => return true,
        _ if one.type_url != other.type_url => return false,
        None => return false,
        Some(ResourceType::Cluster) => equal::<Cluster>,
        Some(ResourceType::Endpoints) => equal::<ClusterLoadAssignment>,
        Some(ResourceType::Secret) => equal::<Secret>,
        Some(ResourceType::ExtensionConfig) => equal::<TypedExtensionConfig>,
        Some(ResourceType::Listener) => equal::<Listener>,
        Some(ResourceType::RouteConfiguration) => equal::<RouteConfiguration>,
        Some(ResourceType::ScopedRoute) => equal::<ScopedRouteConfiguration>,
        Some(ResourceType::VirtualHost) => equal::<VirtualHost>,
        Some(ResourceType::Runtime) => equal::<Runtime>,
    };
    read(one, other)
}

/// A resource of any type that refers to nothing else. `number` decides the content: equal numbers, equal bytes.
pub fn body(kind: ResourceType, name: &str, number: u32) -> Any {
    match kind {
        ResourceType::Cluster => any::pack(&Cluster {
            name: name.to_owned(),
            connect_timeout: Some(seconds(number)),
            ..Cluster::default()
        }),
        ResourceType::Endpoints => endpoints(name, number),
        ResourceType::Secret => any::pack(&Secret {
            name: name.to_owned(),
            r#type: Some(secret::Type::GenericSecret(GenericSecret {
                secret: Some(DataSource {
                    specifier: Some(data_source::Specifier::InlineString(format!("secret {number}"))),
                    ..DataSource::default()
                }),
                ..GenericSecret::default()
            })),
        }),
        ResourceType::ExtensionConfig => any::pack(&TypedExtensionConfig {
            name: name.to_owned(),
            typed_config: Some(any::pack(&Buffer {
                max_request_bytes: Some(UInt32Value { value: 1000 + number }),
            })),
        }),
        ResourceType::Listener => any::pack(&listener(name, number)),
        ResourceType::RouteConfiguration => any::pack(&RouteConfiguration {
            name: name.to_owned(),
            virtual_hosts: vec![answering("all", "*", number)],
            ..RouteConfiguration::default()
        }),
        ResourceType::ScopedRoute => any::pack(&ScopedRouteConfiguration {
            name: name.to_owned(),
            route_configuration: Some(RouteConfiguration {
                name: format!("{name}-routes"),
                virtual_hosts: vec![answering("all", "*", number)],
                ..RouteConfiguration::default()
            }),
            key: Some(scoped_route_configuration::Key {
                fragments: vec![scoped_route_configuration::key::Fragment {
                    r#type: Some(scoped_route_configuration::key::fragment::Type::StringKey(name.to_owned())),
                }],
            }),
            ..ScopedRouteConfiguration::default()
        }),
        ResourceType::VirtualHost => {
            let host = name.rsplit_once('/').map_or(name, |(_, host)| host);
            any::pack(&answering(name, host, number))
        }
        ResourceType::Runtime => {
            let value = Value { kind: Some(value::Kind::NumberValue(f64::from(number))) };
            any::pack(&Runtime {
                name: name.to_owned(),
                layer: Some(Struct { fields: BTreeMap::from([("conformance.number".to_owned(), value)]) }),
            })
        }
    }
}

/// A cluster whose endpoints come by EDS over the same stream.
pub fn eds_cluster(name: &str, number: u32) -> Any {
    any::pack(&Cluster {
        name: name.to_owned(),
        connect_timeout: Some(seconds(number)),
        cluster_discovery_type: Some(cluster::ClusterDiscoveryType::Type(cluster::DiscoveryType::Eds.into())),
        eds_cluster_config: Some(cluster::EdsClusterConfig {
            eds_config: Some(aggregated()),
            ..cluster::EdsClusterConfig::default()
        }),
        ..Cluster::default()
    })
}

/// A route configuration that sends everything to one cluster.
pub fn route_to(name: &str, cluster: &str) -> Any {
    let action = RouteAction {
        cluster_specifier: Some(route_action::ClusterSpecifier::Cluster(cluster.to_owned())),
        ..RouteAction::default()
    };
    let host = VirtualHost {
        name: "all".to_owned(),
        domains: vec!["*".to_owned()],
        routes: vec![any_path(route::Action::Route(action))],
        ..VirtualHost::default()
    };
    any::pack(&RouteConfiguration {
        name: name.to_owned(),
        virtual_hosts: vec![host],
        ..RouteConfiguration::default()
    })
}

/// A listener whose routes come by RDS over the same stream.
pub fn rds_listener(name: &str, routes: &str, number: u32) -> Any {
    let last = HttpFilter {
        name: "router".to_owned(),
        config_type: Some(http_filter::ConfigType::TypedConfig(any::pack(&Router::default()))),
        ..HttpFilter::default()
    };
    let manager = HttpConnectionManager {
        stat_prefix: "conformance".to_owned(),
        http_filters: vec![last],
        route_specifier: Some(http_connection_manager::RouteSpecifier::Rds(Rds {
            config_source: Some(aggregated()),
            route_config_name: routes.to_owned(),
        })),
        ..HttpConnectionManager::default()
    };
    let filter = Filter {
        name: "http".to_owned(),
        config_type: Some(filter::ConfigType::TypedConfig(any::pack(&manager))),
    };
    let mut listener = listener(name, number);
    listener.filter_chains = vec![FilterChain { filters: vec![filter], ..FilterChain::default() }];
    any::pack(&listener)
}

/// An assignment with one endpoint, whose port is made of the number.
pub fn endpoints(name: &str, number: u32) -> Any {
    let endpoint = LbEndpoint {
        host_identifier: Some(lb_endpoint::HostIdentifier::Endpoint(Endpoint {
            address: Some(loopback(10_000 + number % 50_000)),
            ..Endpoint::default()
        })),
        ..LbEndpoint::default()
    };
    let locality = LocalityLbEndpoints {
        lb_endpoints: vec![endpoint],
        load_balancing_weight: Some(UInt32Value { value: 1 }),
        ..LocalityLbEndpoints::default()
    };
    any::pack(&ClusterLoadAssignment {
        cluster_name: name.to_owned(),
        endpoints: vec![locality],
        ..ClusterLoadAssignment::default()
    })
}

/// A route configuration of at least `bytes`.
pub fn large_routes(name: &str, bytes: usize) -> Any {
    let mut host = answering("all", "*", 1);
    if let Some(route) = host.routes.first_mut() {
        route.name = "x".repeat(bytes);
    }
    any::pack(&RouteConfiguration {
        name: name.to_owned(),
        virtual_hosts: vec![host],
        ..RouteConfiguration::default()
    })
}

fn listener(name: &str, number: u32) -> Listener {
    Listener {
        name: name.to_owned(),
        address: Some(loopback(10_000 + number % 50_000)),
        ..Listener::default()
    }
}

fn answering(name: &str, domain: &str, number: u32) -> VirtualHost {
    VirtualHost {
        name: name.to_owned(),
        domains: vec![domain.to_owned()],
        routes: vec![any_path(route::Action::DirectResponse(DirectResponseAction {
            status: 200 + number % 300,
            ..DirectResponseAction::default()
        }))],
        ..VirtualHost::default()
    }
}

fn any_path(action: route::Action) -> Route {
    Route {
        r#match: Some(RouteMatch {
            path_specifier: Some(route_match::PathSpecifier::Prefix("/".to_owned())),
            ..RouteMatch::default()
        }),
        action: Some(action),
        ..Route::default()
    }
}

fn aggregated() -> ConfigSource {
    ConfigSource {
        resource_api_version: ApiVersion::V3.into(),
        config_source_specifier: Some(config_source::ConfigSourceSpecifier::Ads(
            AggregatedConfigSource::default(),
        )),
        ..ConfigSource::default()
    }
}

fn loopback(port: u32) -> Address {
    Address {
        address: Some(address::Address::SocketAddress(SocketAddress {
            address: "127.0.0.1".to_owned(),
            port_specifier: Some(socket_address::PortSpecifier::PortValue(port)),
            ..SocketAddress::default()
        })),
    }
}

fn seconds(number: u32) -> lateen_proto::google::protobuf::Duration {
    lateen_proto::google::protobuf::Duration { seconds: i64::from(number) + 1, nanos: 0 }
}
