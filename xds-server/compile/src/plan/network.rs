//! Network filters.

use lateen_proto::{
    any::pack,
    envoy::{
        config::listener::v3 as lds,
        extensions::filters::network::{
            http_connection_manager::v3::http_connection_manager::RouteSpecifier,
            tcp_proxy::v3::{TcpProxy, tcp_proxy::ClusterSpecifier},
        },
    },
};
use prost::{Message, Name};

use super::{Http, Phase, Site, access_log};
use crate::translate::names;

/// A network filter, not encoded yet.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Network {
    /// A connection manager.
    Http(Box<Http>),
    /// A TCP proxy.
    Tcp(Box<TcpProxy>),
}

impl Site<'_> {
    /// A connection manager.
    pub(crate) fn http(&self, stat_prefix: String, routes: RouteSpecifier) -> Network {
        Network::Http(Box::new(Http::new(self, stat_prefix, routes)))
    }

    /// A TCP proxy to where it says; its access log is the site's. It goes nowhere where streams are refused.
    pub(crate) fn tcp(&self, proxy: TcpProxy) -> Network {
        if self.policy.refuses_streams {
            return self.closed();
        }
        Network::Tcp(Box::new(TcpProxy { access_log: access_log::of(self), ..proxy }))
    }

    /// A TCP proxy to a cluster.
    pub(crate) fn to_cluster(self, cluster: &str) -> Network {
        self.tcp(to(cluster))
    }

    /// Ends every connection as soon as it is accepted. A filter that looks at what clients send would come too
    /// late for protocols in which the server speaks first.
    pub(crate) fn closed(&self) -> Network {
        Network::Tcp(Box::new(TcpProxy { access_log: access_log::of(self), ..to(names::BLACK_HOLE) }))
    }
}

fn to(cluster: &str) -> TcpProxy {
    TcpProxy {
        stat_prefix: cluster.to_owned(),
        cluster_specifier: Some(ClusterSpecifier::Cluster(cluster.to_owned())),
        ..Default::default()
    }
}

impl Network {
    pub(crate) fn phase(&self) -> Phase {
        match self {
            Self::Http(_) | Self::Tcp(_) => Phase::Terminal,
        }
    }

    pub(super) fn finish(self) -> lds::Filter {
        match self {
            Self::Http(http) => filter("envoy.filters.network.http_connection_manager", &http.finish()),
            Self::Tcp(proxy) => filter("envoy.filters.network.tcp_proxy", &*proxy),
        }
    }
}

fn filter<M: Message + Name>(name: &str, config: &M) -> lds::Filter {
    lds::Filter {
        name: name.to_owned(),
        config_type: Some(lds::filter::ConfigType::TypedConfig(pack(config))),
    }
}
