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
    translate::{Shell, names},
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

    pub(crate) fn iter(&self) -> Box<dyn Iterator<Item = (&Arc<str>, &Arc<Piece>)> + '_> {
        match self {
            Self::Routes(hosts, _) => Box::new(hosts.iter()),
            Self::Chains(chains) => Box::new(chains.chains.iter()),
        }
    }

    /// Exchanges a part. Without another form a virtual host is left out, and a filter chain is closed: if it were
    /// absent, another chain would carry its connections. False where that can't be done.
    #[must_use]
    pub(crate) fn set(&mut self, name: &Arc<str>, piece: Option<Arc<Piece>>) -> bool {
        match self {
            Self::Routes(hosts, _) => drop(hosts.set(name, piece)),
            Self::Chains(chains) => {
                let closed = || chains.chains.get(name).and_then(|chain| closed(chain)).map(Arc::new);
                let Some(piece) = piece.or_else(closed) else { return false };
                chains.chains.insert(name.clone(), piece);
            }
        }
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

/// A filter chain that matches the same, and ends every connection. `None` for a virtual host.
fn closed(piece: &Piece) -> Option<Piece> {
    let mut bytes = piece.wrapped.clone();
    if decode_key(&mut bytes).ok()? != (FILTER_CHAINS, WireType::LengthDelimited) {
        return None;
    }
    decode_varint(&mut bytes).ok()?;
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

/// Does it stand in the place of a filter chain?
pub(crate) fn is_closed(piece: &Piece) -> bool {
    closed(piece).is_some_and(|closed| closed.version == piece.version)
}

/// A filter chain is known by what it matches, which no other one of its listener may match.
fn unique(taken: &mut BTreeSet<Arc<str>>, chain: &FilterChain) -> Arc<str> {
    let matching = chain.filter_chain_match.clone().unwrap_or_default();
    let mut name = if matching.server_names.is_empty() {
        matching.transport_protocol.clone()
    } else {
        matching.server_names.join(",")
    };
    if let Some(port) = matching.destination_port {
        name = format!("{name}:{}", port.value);
    }
    for range in matching.prefix_ranges.iter().chain(&matching.source_prefix_ranges) {
        let length = range.prefix_len.as_ref().map_or(0, |length| length.value);
        name = format!("{name} {}/{length}", range.address_prefix);
    }
    for protocol in &matching.application_protocols {
        name = format!("{name} {protocol}");
    }
    if !chain.name.is_empty() {
        name = format!("{} {name}", chain.name);
    }
    let mut unique: Arc<str> = name.trim().into();
    let mut number = 1;
    while !taken.insert(unique.clone()) {
        number += 1;
        unique = format!("{} #{number}", name.trim()).into();
    }
    unique
}

#[cfg(test)]
mod tests {
    use lateen_proto::envoy::config::listener::v3::{FilterChainMatch, Listener};

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
    fn a_listener_of_one_chain_has_no_parts() {
        let listener = Listener { filter_chains: vec![chain("b")], ..Default::default() };
        assert!(Chains::of(&listener.encode_to_vec().into()).is_none());
    }
}
