//! What a raw resource names. The compiler knows it of what it makes; of a resource that was told it is read off.

use lateen_proto::{
    any::unpack,
    envoy::{
        config::{
            cluster::v3::{Cluster, cluster::ClusterDiscoveryType},
            core::v3::TransportSocket,
            listener::v3::{Filter, FilterChain, Listener, filter::ConfigType},
            route::v3::{
                RouteAction, RouteConfiguration, ScopedRouteConfiguration, VirtualHost, route::Action,
                route_action::ClusterSpecifier,
            },
        },
        extensions::{
            clusters::aggregate::v3::ClusterConfig as Aggregate,
            filters::network::{
                http_connection_manager::v3::{
                    HttpConnectionManager, HttpFilter, http_connection_manager::RouteSpecifier,
                    http_filter::ConfigType as HttpConfigType,
                },
                tcp_proxy::v3::{TcpProxy, tcp_proxy::ClusterSpecifier as TcpCluster},
            },
            transport_sockets::tls::v3::{
                CommonTlsContext, DownstreamTlsContext, UpstreamTlsContext,
                common_tls_context::ValidationContextType,
            },
        },
    },
    google::protobuf::Any,
};
use lateen_xds::{Names, ResourceRef, ResourceType, resource::Refs, xdstp::normal};
use prost::Message;

/// The references of a body. One that can't be read, or is of a type unknown here, names nothing.
pub(super) fn refs_of(kind: ResourceType, name: &str, body: &[u8], names: &mut Names) -> Refs {
    let mut found = Found::default();
    match kind {
        ResourceType::Cluster => found.cluster(body),
        ResourceType::Listener => found.listener(body),
        ResourceType::RouteConfiguration => found.route_configuration(name, body),
        ResourceType::ScopedRoute => {
            if let Ok(scope) = ScopedRouteConfiguration::decode(body) {
                found.add(ResourceType::RouteConfiguration, &scope.route_configuration_name);
            }
        }
        ResourceType::VirtualHost => {
            if let Ok(host) = VirtualHost::decode(body) {
                found.virtual_host(&host);
            }
        }
        ResourceType::Endpoints
        | ResourceType::Secret
        | ResourceType::ExtensionConfig
        | ResourceType::Runtime => {}
    }
    let refs =
        found.0.into_iter().map(|(kind, name)| ResourceRef { kind, name: names.intern(&normal(&name)) });
    Refs::list(refs.collect())
}

#[derive(Default)]
struct Found(Vec<(ResourceType, String)>);

impl Found {
    fn add(&mut self, kind: ResourceType, name: &str) {
        if !name.is_empty() {
            self.0.push((kind, name.to_owned()));
        }
    }

    fn cluster(&mut self, body: &[u8]) {
        let Ok(cluster) = Cluster::decode(body) else { return };
        if let Some(eds) = &cluster.eds_cluster_config {
            let name = if eds.service_name.is_empty() { &cluster.name } else { &eds.service_name };
            self.add(ResourceType::Endpoints, name);
        }
        if let Some(ClusterDiscoveryType::ClusterType(custom)) = &cluster.cluster_discovery_type
            && let Some(Ok(aggregate)) = custom.typed_config.as_ref().map(unpack::<Aggregate>)
        {
            aggregate.clusters.iter().for_each(|name| self.add(ResourceType::Cluster, name));
        }
        let matched = cluster.transport_socket_matches.iter().filter_map(|m| m.transport_socket.as_ref());
        for socket in cluster.transport_socket.iter().chain(matched) {
            self.transport_socket(socket);
        }
    }

    fn listener(&mut self, body: &[u8]) {
        let Ok(listener) = Listener::decode(body) else { return };
        let api = listener.api_listener.iter().filter_map(|api| api.api_listener.as_ref());
        api.for_each(|any| self.network_filter(any));
        for chain in listener.filter_chains.iter().chain(&listener.default_filter_chain) {
            self.filter_chain(chain);
        }
    }

    fn filter_chain(&mut self, chain: &FilterChain) {
        chain.transport_socket.iter().for_each(|socket| self.transport_socket(socket));
        for Filter { name, config_type } in &chain.filters {
            match config_type {
                Some(ConfigType::TypedConfig(any)) => self.network_filter(any),
                Some(ConfigType::ConfigDiscovery(_)) => self.add(ResourceType::ExtensionConfig, name),
                None => {}
            }
        }
    }

    fn network_filter(&mut self, any: &Any) {
        if let Ok(hcm) = unpack::<HttpConnectionManager>(any) {
            for HttpFilter { name, config_type, .. } in &hcm.http_filters {
                if let Some(HttpConfigType::ConfigDiscovery(_)) = config_type {
                    self.add(ResourceType::ExtensionConfig, name);
                }
            }
            match &hcm.route_specifier {
                Some(RouteSpecifier::Rds(rds)) => {
                    self.add(ResourceType::RouteConfiguration, &rds.route_config_name);
                }
                Some(RouteSpecifier::RouteConfig(routes)) => self.virtual_hosts(routes),
                Some(RouteSpecifier::ScopedRoutes(_)) | None => {}
            }
        } else if let Ok(tcp) = unpack::<TcpProxy>(any) {
            match &tcp.cluster_specifier {
                Some(TcpCluster::Cluster(name)) => self.add(ResourceType::Cluster, name),
                Some(TcpCluster::WeightedClusters(weighted)) => {
                    weighted.clusters.iter().for_each(|c| self.add(ResourceType::Cluster, &c.name));
                }
                None => {}
            }
        }
    }

    fn route_configuration(&mut self, name: &str, body: &[u8]) {
        let Ok(routes) = RouteConfiguration::decode(body) else { return };
        if routes.vhds.is_some() {
            // How a view says that the hosts come by VHDS.
            self.add(ResourceType::VirtualHost, name);
        }
        self.virtual_hosts(&routes);
    }

    fn virtual_hosts(&mut self, routes: &RouteConfiguration) {
        routes.virtual_hosts.iter().for_each(|host| self.virtual_host(host));
    }

    fn virtual_host(&mut self, host: &VirtualHost) {
        for route in &host.routes {
            if let Some(Action::Route(action)) = &route.action {
                self.route(action);
            }
        }
    }

    fn route(&mut self, action: &RouteAction) {
        match &action.cluster_specifier {
            Some(ClusterSpecifier::Cluster(name)) => self.add(ResourceType::Cluster, name),
            Some(ClusterSpecifier::WeightedClusters(weighted)) => {
                weighted.clusters.iter().for_each(|c| self.add(ResourceType::Cluster, &c.name));
            }
            Some(_) | None => {}
        }
        action
            .request_mirror_policies
            .iter()
            .for_each(|mirror| self.add(ResourceType::Cluster, &mirror.cluster));
    }

    fn transport_socket(&mut self, socket: &TransportSocket) {
        use lateen_proto::envoy::config::core::v3::transport_socket::ConfigType;
        let Some(ConfigType::TypedConfig(any)) = &socket.config_type else { return };
        let tls = unpack::<UpstreamTlsContext>(any)
            .ok()
            .and_then(|tls| tls.common_tls_context)
            .or_else(|| unpack::<DownstreamTlsContext>(any).ok().and_then(|tls| tls.common_tls_context));
        if let Some(tls) = tls {
            self.tls(&tls);
        }
    }

    fn tls(&mut self, tls: &CommonTlsContext) {
        for secret in tls.tls_certificate_sds_secret_configs.iter().filter(|s| s.sds_config.is_some()) {
            self.add(ResourceType::Secret, &secret.name);
        }
        let validation = match &tls.validation_context_type {
            Some(ValidationContextType::ValidationContextSdsSecretConfig(secret)) => Some(secret),
            Some(ValidationContextType::CombinedValidationContext(combined)) => {
                combined.validation_context_sds_secret_config.as_ref()
            }
            Some(_) | None => None,
        };
        if let Some(secret) = validation.filter(|secret| secret.sds_config.is_some()) {
            self.add(ResourceType::Secret, &secret.name);
        }
    }
}
