//! A resource in parts that a client accepts or rejects one by one: the virtual hosts of a route configuration, the
//! filter chains of a listener.
//!
//! Protobuf lets the elements of a repeated field be written one by one, so a composition of parts is made of their
//! bytes: <https://protobuf.dev/programming-guides/encoding/#last-one-wins>.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use bytes::{Buf, Bytes, BytesMut};
use lateen_model::Version;
use lateen_proto::{
    any::pack,
    envoy::{
        config::listener::v3::{Filter, FilterChain, filter::ConfigType},
        extensions::filters::network::tcp_proxy::v3::{TcpProxy, tcp_proxy::ClusterSpecifier},
    },
};
use lateen_xds::{Body, Resource, ResourceType};
use prost::{
    Message,
    encoding::{DecodeContext, WireType, decode_key, decode_varint, encode_key, encode_varint, skip_field},
};

use crate::{
    routes::{Aggregate, Piece, RouteParts},
    translate::{Shell, VIRTUAL_HOSTS_FIELD, claims, names},
};

/// Field of the filter chains of a `Listener`.
const FILTER_CHAINS: u32 = 3;

/// The parts of a resource, by name.
#[derive(Clone, Debug)]
pub(crate) enum Pieces {
    Routes(Aggregate, Arc<Shell>),
    Chains(Chains),
}

/// A listener of several filter chains.
#[allow(clippy::struct_field_names, reason = "it has chains")]
#[derive(Clone, Debug)]
pub(crate) struct Chains {
    /// What comes before the chains, and what after.
    before: Bytes,
    after: Bytes,
    /// In their order.
    order: Vec<Arc<str>>,
    chains: BTreeMap<Arc<str>, Arc<Piece>>,
}

impl Pieces {
    /// `None` for a resource that is accepted or rejected as a whole.
    pub(crate) fn of(resource: &Resource) -> Option<Self> {
        match resource.kind {
            ResourceType::RouteConfiguration => {
                let parts = resource.body.parts::<RouteParts>()?;
                (!parts.shell.vhds).then(|| Self::Routes(parts.hosts.clone(), parts.shell.clone()))
            }
            ResourceType::Listener => Chains::of(&resource.body.bytes()).map(Self::Chains),
            ResourceType::Cluster
            | ResourceType::Endpoints
            | ResourceType::ScopedRoute
            | ResourceType::VirtualHost
            | ResourceType::Secret
            | ResourceType::ExtensionConfig
            | ResourceType::Runtime => None,
        }
    }

    /// What one part is called in findings.
    pub(crate) const fn noun(kind: ResourceType) -> &'static str {
        match kind {
            ResourceType::Listener => "filter chain",
            _ => "virtual host",
        }
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Arc<Piece>> {
        match self {
            Self::Routes(hosts, _) => hosts.piece(name),
            Self::Chains(chains) => chains.chains.get(name),
        }
    }

    /// Where a filter chain stands among those of its listener. `None` for a virtual host.
    pub(crate) fn position(&self, name: &str) -> Option<usize> {
        let Self::Chains(chains) = self else { return None };
        chains.order.iter().position(|known| **known == *name)
    }

    pub(crate) fn iter(&self) -> Box<dyn Iterator<Item = (&Arc<str>, &Arc<Piece>)> + '_> {
        match self {
            Self::Routes(hosts, _) => Box::new(hosts.iter()),
            Self::Chains(chains) => Box::new(chains.chains.iter()),
        }
    }

    /// The parts that have another form than before, or had none.
    pub(crate) fn differing(&self, before: Option<&Self>) -> Vec<Arc<str>> {
        let same = |name: &str, piece: &Piece| {
            before.and_then(|before| before.get(name)).is_some_and(|before| before.version == piece.version)
        };
        self.iter().filter(|(name, piece)| !same(name, piece)).map(|(name, _)| name.clone()).collect()
    }

    /// Exchanges a part. Without another form it is closed: if it were absent, another virtual host, or chain, would
    /// carry its requests, or connections. A virtual host that is closed already is left out. False where that can't be
    /// done.
    #[must_use]
    pub(crate) fn set(&mut self, name: &Arc<str>, piece: Option<Arc<Piece>>) -> bool {
        let present = self.get(name);
        let closed =
            || closed(present?).filter(|closed| Some(closed.version) != present.map(|it| it.version));
        let piece = piece.or_else(|| closed().map(Arc::new));
        match self {
            Self::Routes(hosts, _) => drop(hosts.set(name, piece)),
            Self::Chains(chains) => {
                let Some(piece) = piece else { return false };
                chains.chains.insert(name.clone(), piece);
            }
        }
        true
    }

    /// Leaves a virtual host out. False for a filter chain.
    #[must_use]
    pub(crate) fn leave_out(&mut self, name: &Arc<str>) -> bool {
        let Self::Routes(hosts, _) = self else { return false };
        drop(hosts.set(name, None));
        true
    }

    /// Is everything around the parts the same?
    pub(crate) fn same_frame(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Routes(_, one), Self::Routes(_, other)) => {
                (&one.before, &one.after) == (&other.before, &other.after)
            }
            (Self::Chains(one), Self::Chains(other)) => {
                (&one.before, &one.after) == (&other.before, &other.after)
            }
            (Self::Routes(..), Self::Chains(_)) | (Self::Chains(_), Self::Routes(..)) => false,
        }
    }

    /// The parts put together; the rest as `whole` has it.
    pub(crate) fn compose(&self, whole: &Resource) -> Resource {
        match self {
            Self::Routes(hosts, shell) => hosts.resource(whole.name, shell, whole.origins.clone()),
            Self::Chains(chains) => {
                let body = chains.encode();
                Resource { version: Version::of(&body), body: Body::Whole(body), ..whole.clone() }
            }
        }
    }
}

impl Chains {
    fn of(listener: &Bytes) -> Option<Self> {
        let (mut names, mut found) = (BTreeSet::new(), Vec::new());
        let slices = slices(listener)?;
        for Slice { start, head, end } in &slices {
            let chain = listener.slice(start + head..*end);
            let name = unique(&mut names, &FilterChain::decode(chain).ok()?);
            found.push((name, Arc::new(Piece::part(listener.slice(*start..*end), *head))));
        }
        let (first, last) = (slices.first()?, slices.last()?);
        Some(Self {
            before: listener.slice(..first.start),
            after: listener.slice(last.end..),
            order: found.iter().map(|(name, _)| name.clone()).collect(),
            chains: found.into_iter().collect(),
        })
    }

    fn encode(&self) -> Bytes {
        let mut body = BytesMut::from(&*self.before);
        for piece in self.order.iter().filter_map(|name| self.chains.get(name)) {
            body.extend_from_slice(&piece.wrapped);
        }
        body.extend_from_slice(&self.after);
        body.freeze()
    }
}

/// Where in an encoded listener a filter chain stands, with tag and length, which are so many bytes.
struct Slice {
    start: usize,
    head: usize,
    end: usize,
}

/// The filter chains of an encoded listener. `None` if they can't be told, and for one that has but one: it is accepted
/// or rejected as a whole.
fn slices(listener: &Bytes) -> Option<Vec<Slice>> {
    let mut rest = listener.clone();
    let mut found: Vec<Slice> = Vec::new();
    while rest.has_remaining() {
        let start = listener.len() - rest.len();
        let (tag, wire) = decode_key(&mut rest).ok()?;
        if (tag, wire) != (FILTER_CHAINS, WireType::LengthDelimited) {
            skip_field(wire, tag, &mut rest, DecodeContext::default()).ok()?;
            continue;
        }
        let len = usize::try_from(decode_varint(&mut rest).ok()?).ok()?;
        let head = listener.len() - rest.len() - start;
        if len > rest.len() || found.last().is_some_and(|last| last.end != start) {
            return None;
        }
        rest.advance(len);
        found.push(Slice { start, head, end: listener.len() - rest.len() });
    }
    (found.len() > 1).then_some(found)
}

/// The versions of the filter chains of an encoded listener, as their parts have them.
pub(crate) fn chain_versions(listener: &Bytes) -> Vec<Version> {
    let slices = slices(listener).unwrap_or_default();
    slices.iter().map(|Slice { start, end, .. }| Version::of(&listener.slice(*start..*end))).collect()
}

/// A part that matches the same and lets nothing pass. `None` if it can't be read.
fn closed(piece: &Piece) -> Option<Piece> {
    let mut bytes = piece.wrapped.clone();
    let (tag, _) = decode_key(&mut bytes).ok()?;
    decode_varint(&mut bytes).ok()?;
    match tag {
        FILTER_CHAINS => closed_chain(bytes),
        VIRTUAL_HOSTS_FIELD => piece.closed(),
        _ => None,
    }
}

/// A filter chain that matches the same, and ends every connection.
fn closed_chain(bytes: Bytes) -> Option<Piece> {
    let FilterChain { filter_chain_match, name, .. } = FilterChain::decode(bytes).ok()?;
    let proxy = TcpProxy {
        stat_prefix: names::BLACK_HOLE.to_owned(),
        cluster_specifier: Some(ClusterSpecifier::Cluster(names::BLACK_HOLE.to_owned())),
        ..Default::default()
    };
    let filter = Filter {
        name: "envoy.filters.network.tcp_proxy".to_owned(),
        config_type: Some(ConfigType::TypedConfig(pack(&proxy))),
    };
    let chain = FilterChain { filter_chain_match, name, filters: vec![filter], ..Default::default() };
    let chain = chain.encode_to_vec();
    let mut wrapped = BytesMut::with_capacity(chain.len() + 6);
    encode_key(FILTER_CHAINS, WireType::LengthDelimited, &mut wrapped);
    encode_varint(chain.len() as u64, &mut wrapped);
    let head = wrapped.len();
    wrapped.extend_from_slice(&chain);
    Some(Piece::part(wrapped.freeze(), head))
}

/// Does it let nothing pass, in the place of another form?
pub(crate) fn is_closed(piece: &Piece) -> bool {
    closed(piece).is_some_and(|closed| closed.version == piece.version)
}

/// A filter chain is known by all that it matches, which no other one of its listener may match; one that matches
/// everything by its name.
/// <https://www.envoyproxy.io/docs/envoy/v1.40.0/api-v3/config/listener/v3/listener_components.proto#config-listener-v3-filterchainmatch>
fn unique(taken: &mut BTreeSet<Arc<str>>, chain: &FilterChain) -> Arc<str> {
    let words = chain.filter_chain_match.as_ref().map(claims::words).unwrap_or_default();
    let name = if words.is_empty() { chain.name.clone() } else { words.join(" ") };
    let mut unique: Arc<str> = name.as_str().into();
    let mut number = 1;
    while !taken.insert(unique.clone()) {
        number += 1;
        unique = format!("{name} #{number}").into();
    }
    unique
}

#[cfg(test)]
mod tests {
    use lateen_proto::envoy::config::{
        core::v3::CidrRange,
        listener::v3::{FilterChainMatch, Listener},
    };

    use super::*;

    fn chain(name: &str) -> FilterChain {
        let matching = FilterChainMatch { server_names: vec![name.to_owned()], ..Default::default() };
        FilterChain { filter_chain_match: Some(matching), ..Default::default() }
    }

    #[test]
    fn a_listener_is_the_sum_of_its_chains() {
        let listener = Listener {
            name: "l".to_owned(),
            filter_chains: vec![chain("b"), chain("a"), chain("c")],
            stat_prefix: "after".to_owned(),
            ..Default::default()
        };
        let bytes = Bytes::from(listener.encode_to_vec());
        let mut chains = Chains::of(&bytes).unwrap();
        assert_eq!(chains.encode(), bytes);
        chains.chains.remove("a");
        let without = Listener::decode(chains.encode()).unwrap();
        assert_eq!(without, Listener { filter_chains: vec![chain("b"), chain("c")], ..listener });
    }

    #[test]
    fn a_chain_is_known_by_all_that_it_matches_and_not_by_where_it_stands() {
        let from = |address: &str, length: u32| CidrRange {
            address_prefix: address.to_owned(),
            prefix_len: Some(length.into()),
        };
        let all = [
            FilterChainMatch::default(),
            FilterChainMatch { server_names: vec!["a".to_owned()], ..Default::default() },
            FilterChainMatch {
                server_names: vec!["a".to_owned()],
                transport_protocol: "tls".to_owned(),
                ..Default::default()
            },
            FilterChainMatch { destination_port: Some(80.into()), ..Default::default() },
            FilterChainMatch { prefix_ranges: vec![from("10.0.0.0", 8)], ..Default::default() },
            FilterChainMatch { source_prefix_ranges: vec![from("10.0.0.0", 8)], ..Default::default() },
            FilterChainMatch { direct_source_prefix_ranges: vec![from("10.0.0.0", 8)], ..Default::default() },
            FilterChainMatch { source_ports: vec![80], ..Default::default() },
            FilterChainMatch { source_type: 1, ..Default::default() },
            FilterChainMatch { application_protocols: vec!["h2c".to_owned()], ..Default::default() },
        ];
        let names = |first: usize| -> BTreeSet<Arc<str>> {
            let chain = |(place, matching): (usize, &FilterChainMatch)| FilterChain {
                filter_chain_match: Some(matching.clone()),
                name: if *matching == FilterChainMatch::default() {
                    "rest".to_owned()
                } else {
                    format!("l_{place}")
                },
                ..Default::default()
            };
            let filter_chains = (first..).zip(&all).map(chain).collect();
            let listener = Listener { filter_chains, ..Default::default() };
            Chains::of(&listener.encode_to_vec().into()).unwrap().order.into_iter().collect()
        };
        assert_eq!(names(0).len(), all.len());
        assert!(names(0).iter().all(|name| !name.contains('#')), "{:?}", names(0));
        assert_eq!(names(0), names(3));
    }

    #[test]
    fn a_listener_of_one_chain_has_no_parts() {
        let listener = Listener { filter_chains: vec![chain("b")], ..Default::default() };
        assert!(Chains::of(&listener.encode_to_vec().into()).is_none());
    }
}
