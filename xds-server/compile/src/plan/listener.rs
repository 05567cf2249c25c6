//! Listeners: the one place where a plan becomes bytes.

use lateen_model::Origin;
use lateen_proto::{
    any::pack,
    envoy::{
        config::listener::v3::{
            self as lds, ApiListener, FilterChain, FilterChainMatch, ListenerFilter,
            ListenerFilterChainMatchPredicate, listener_filter::ConfigType,
        },
        extensions::{
            filters::listener::{
                http_inspector::v3::HttpInspector, original_dst::v3::OriginalDst,
                tls_inspector::v3::TlsInspector,
            },
            transport_sockets::tls::v3::DownstreamTlsContext,
        },
    },
};
use lateen_xds::ResourceType;

use super::{Http, Network};
use crate::translate::{Read, notes::Notes, wire};

/// What the HTTP inspector calls the protocols that it recognizes.
/// <https://www.envoyproxy.io/docs/envoy/v1.40.0/configuration/listeners/listener_filters/http_inspector>
pub(crate) const SNIFFED: [&str; 3] = ["http/1.0", "http/1.1", "h2c"];

/// A listener, not encoded yet.
#[derive(Debug, Default)]
pub(crate) struct Listener {
    /// Everything but filters and chains.
    pub base: lds::Listener,
    /// What looks at connections before a chain is chosen.
    pub inspectors: Vec<Inspector>,
    /// The chains.
    pub chains: Vec<Chain>,
    /// The chain for what no other is meant for.
    pub default: Option<Chain>,
}

/// A filter chain, not encoded yet.
#[derive(Clone, Debug, Default)]
pub(crate) struct Chain {
    /// Name; empty for none.
    pub name: String,
    /// Which connections it is for.
    pub matching: FilterChainMatch,
    /// TLS that ends here.
    pub tls: Option<DownstreamTlsContext>,
    /// What becomes of them.
    pub filters: Vec<Network>,
    /// The objects that it is made from, of those of the listener; what says most about it first.
    pub origins: Vec<Origin>,
}

/// A listener filter.
#[derive(Clone, Debug)]
pub(crate) enum Inspector {
    /// Where was it going before it was redirected?
    OriginalDestination,
    /// Is it TLS, and for which server? Not on connections that the predicate names.
    Tls(Option<ListenerFilterChainMatchPredicate>),
    /// Is it HTTP? Not on connections that the predicate names.
    Http(Option<ListenerFilterChainMatchPredicate>),
}

impl Chain {
    /// A chain of one filter for all connections.
    pub(crate) fn of(filter: Network) -> Self {
        Self { filters: vec![filter], ..Self::default() }
    }

    fn finish(self, r: &mut dyn Read, notes: &mut Notes) -> FilterChain {
        let Self { name, matching, tls, mut filters, origins } = self;
        notes.chain(origins);
        filters.sort_by_key(Network::phase);
        for http in filters
            .iter()
            .filter_map(|filter| if let Network::Http(http) = filter { Some(http) } else { None })
        {
            for slot in http.slots() {
                notes.reference(r, ResourceType::ExtensionConfig, slot.name());
            }
        }
        let socket = |tls| wire::transport_socket("envoy.transport_sockets.tls", pack(tls));
        FilterChain {
            name,
            filter_chain_match: (matching != FilterChainMatch::default()).then_some(matching),
            transport_socket: tls.as_ref().map(socket),
            filters: filters.into_iter().map(Network::finish).collect(),
            ..Default::default()
        }
    }
}

impl Listener {
    /// The message. The resources that slots name are noted.
    pub(crate) fn finish(self, r: &mut dyn Read, notes: &mut Notes) -> lds::Listener {
        let Self { base, inspectors, chains, default } = self;
        lds::Listener {
            listener_filters: inspectors.into_iter().map(Inspector::finish).collect(),
            filter_chains: chains.into_iter().map(|chain| chain.finish(r, notes)).collect(),
            // The last one: it is no part of a listener that is accepted or rejected alone.
            default_filter_chain: default.map(|chain| chain.finish(r, notes)),
            ..base
        }
    }
}

impl Inspector {
    fn finish(self) -> ListenerFilter {
        let (name, config, disabled) = match self {
            Self::OriginalDestination => ("original_dst", pack(&OriginalDst::default()), None),
            Self::Tls(disabled) => ("tls_inspector", pack(&TlsInspector::default()), disabled),
            Self::Http(disabled) => ("http_inspector", pack(&HttpInspector::default()), disabled),
        };
        ListenerFilter {
            name: format!("envoy.filters.listener.{name}"),
            filter_disabled: disabled,
            config_type: Some(ConfigType::TypedConfig(config)),
        }
    }
}

/// The listener of a proxyless client's target.
pub(crate) fn api_listener(name: &str, http: Http) -> lds::Listener {
    let api_listener = Some(ApiListener { api_listener: Some(pack(&http.finish())) });
    lds::Listener { name: name.to_owned(), api_listener, ..Default::default() }
}
