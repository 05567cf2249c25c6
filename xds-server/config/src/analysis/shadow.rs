//! Which conditions take in which: `covers(one, other)` says that whatever satisfies `other` satisfies `one`.
//!
//! Where that can't be told (of two regular expressions, say), the answer is no: a route is called unreachable
//! only when it is.

use std::{
    collections::{BTreeMap, HashSet},
    net::IpAddr,
};

use regex::RegexBuilder;

use crate::istio::{HttpMatch, L4Match, StringMatch, TlsMatch};

/// Larger expressions are not tried out.
const REGEX_SIZE_MAX: usize = 1 << 16;

/// Whose gateways a match without its own has.
#[derive(Clone, Copy)]
pub(super) struct Gateways<'a>(pub(super) &'a [String]);

impl Gateways<'_> {
    fn covers(self, one: &[String], other: &[String]) -> bool {
        let mesh = ["mesh".to_owned()];
        let of_object = if self.0.is_empty() { &mesh[..] } else { self.0 };
        let one = if one.is_empty() { of_object } else { one };
        let other = if other.is_empty() { of_object } else { other };
        other.iter().all(|gateway| one.contains(gateway))
    }
}

pub(super) fn http(one: &HttpMatch, other: &HttpMatch, gateways: Gateways<'_>) -> bool {
    uri(one, other)
        && text(one.scheme.as_ref(), other.scheme.as_ref())
        && text(one.method.as_ref(), other.method.as_ref())
        && text(one.authority.as_ref(), other.authority.as_ref())
        && named(&one.headers, &other.headers)
        && named(&one.query_params, &other.query_params)
        && without(&one.without_headers, &other.without_headers)
        && equal(one.port, other.port)
        && labels(&one.source_labels, &other.source_labels)
        && (one.source_namespace.is_empty() || one.source_namespace == other.source_namespace)
        && gateways.covers(&one.gateways, &other.gateways)
}

pub(super) fn tls(one: &TlsMatch, other: &TlsMatch, gateways: Gateways<'_>) -> bool {
    let sni = |host: &String| one.sni_hosts.iter().any(|wide| host_covers(wide, host));
    other.sni_hosts.iter().all(sni)
        && subnets(&one.destination_subnets, &other.destination_subnets)
        && equal(one.port, other.port)
        && labels(&one.source_labels, &other.source_labels)
        && (one.source_namespace.is_empty() || one.source_namespace == other.source_namespace)
        && gateways.covers(&one.gateways, &other.gateways)
}

pub(super) fn tcp(one: &L4Match, other: &L4Match, gateways: Gateways<'_>) -> bool {
    subnets(&one.destination_subnets, &other.destination_subnets)
        && (one.source_subnet.is_empty()
            || subnet_key(&one.source_subnet) == subnet_key(&other.source_subnet))
        && equal(one.port, other.port)
        && labels(&one.source_labels, &other.source_labels)
        && (one.source_namespace.is_empty() || one.source_namespace == other.source_namespace)
        && gateways.covers(&one.gateways, &other.gateways)
}

/// Does a host, perhaps with a wildcard, cover another?
pub(super) fn host_covers(wide: &str, host: &str) -> bool {
    lateen_model::Host::from(wide.to_ascii_lowercase())
        .covers(&lateen_model::Host::from(host.to_ascii_lowercase()))
}

fn equal(one: Option<u32>, other: Option<u32>) -> bool {
    one.is_none() || one == other
}

fn labels(one: &BTreeMap<String, String>, other: &BTreeMap<String, String>) -> bool {
    one.iter().all(|(key, value)| other.get(key) == Some(value))
}

/// Each subnet of the other is one of these, however it is written.
fn subnets(one: &[String], other: &[String]) -> bool {
    let one_subnets: HashSet<_> = one.iter().map(|subnet| subnet_key(subnet)).collect();
    one.is_empty()
        || !other.is_empty() && other.iter().all(|subnet| one_subnets.contains(&subnet_key(subnet)))
}

/// The bits of the network and how many they are; IPv4 and IPv6 differ. `None` if it is no subnet.
fn subnet_key(text: &str) -> Option<(bool, u128, u32)> {
    let (address, length) =
        text.split_once('/').map_or((text, None), |(address, length)| (address, Some(length)));
    let (is_v4, bits, whole) = match address.parse::<IpAddr>().ok()? {
        IpAddr::V4(ip) => (true, u128::from(ip.to_bits()), 32_u32),
        IpAddr::V6(ip) => (false, ip.to_bits(), 128),
    };
    let length = length.map_or(Some(whole), |length| length.parse().ok())?;
    Some((is_v4, bits.checked_shr(whole.checked_sub(length)?).unwrap_or(0), length))
}

fn uri(one: &HttpMatch, other: &HttpMatch) -> bool {
    let (Some(wide), Some(narrow)) = (&one.uri, &other.uri) else { return one.uri.is_none() };
    match (one.ignore_uri_case, other.ignore_uri_case) {
        (false, false) => covers(wide, narrow),
        (true, _) => covers(&lower(wide), &lower(narrow)),
        // The narrow one takes paths in any case, the wide one only its own: unless it takes all.
        (false, true) => matches!(wide, StringMatch::Prefix(prefix) if prefix == "/") || takes_all(wide),
    }
}

fn lower(wanted: &StringMatch) -> StringMatch {
    match wanted {
        StringMatch::Exact(text) => StringMatch::Exact(text.to_lowercase()),
        StringMatch::Prefix(text) => StringMatch::Prefix(text.to_lowercase()),
        // Envoy never ignores the case of a regular expression.
        StringMatch::Regex(text) => StringMatch::Regex(text.clone()),
        StringMatch::Present => StringMatch::Present,
    }
}

fn text(one: Option<&StringMatch>, other: Option<&StringMatch>) -> bool {
    match (one, other) {
        (None, _) => true,
        (Some(wide), Some(narrow)) => covers(wide, narrow),
        (Some(wide), None) => takes_all(wide),
    }
}

/// Each header that `one` asks for, `other` asks for too, as narrowly or more so.
fn named(one: &BTreeMap<String, StringMatch>, other: &BTreeMap<String, StringMatch>) -> bool {
    one.iter().all(|(name, wide)| {
        let mut same = other.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name));
        same.any(|(_, narrow)| covers(wide, narrow))
    })
}

/// Each header that `one` rules out, `other` rules out too, as widely or more so.
fn without(one: &BTreeMap<String, StringMatch>, other: &BTreeMap<String, StringMatch>) -> bool {
    one.iter().all(|(name, ruled_out)| {
        let mut same = other.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name));
        same.any(|(_, wider)| covers(wider, ruled_out))
    })
}

fn takes_all(wanted: &StringMatch) -> bool {
    matches!(wanted, StringMatch::Regex(text) if matches!(&**text, ".*" | "^.*$" | "^.*" | ".*$"))
}

fn covers(wide: &StringMatch, narrow: &StringMatch) -> bool {
    match (wide, narrow) {
        (StringMatch::Present, _) => true,
        (wide, _) if takes_all(wide) => true,
        (StringMatch::Exact(one), StringMatch::Exact(other))
        | (StringMatch::Regex(one), StringMatch::Regex(other)) => one == other,
        (StringMatch::Prefix(prefix), StringMatch::Exact(text) | StringMatch::Prefix(text)) => {
            text.starts_with(&**prefix)
        }
        (StringMatch::Regex(regex), StringMatch::Exact(text)) => {
            let whole = RegexBuilder::new(&format!("^(?:{regex})$")).size_limit(REGEX_SIZE_MAX).build();
            whole.is_ok_and(|regex| regex.is_match(text))
        }
        // Whatever a regular expression of paths matches begins with a slash.
        (StringMatch::Prefix(prefix), StringMatch::Regex(regex)) => prefix == "/" && regex.starts_with('/'),
        (StringMatch::Exact(_) | StringMatch::Prefix(_) | StringMatch::Regex(_), _) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_that_take_in_others() {
        let exact = |text: &str| StringMatch::Exact(text.to_owned());
        let prefix = |text: &str| StringMatch::Prefix(text.to_owned());
        let regex = |text: &str| StringMatch::Regex(text.to_owned());
        let yes = [
            (prefix("/a"), exact("/a/b")),
            (prefix("/a"), prefix("/ab")),
            (regex("/a.*"), exact("/ab")),
            (regex(".*"), prefix("/")),
            (regex("a|b"), regex("a|b")),
            (StringMatch::Present, regex("x")),
        ];
        for (wide, narrow) in yes {
            assert!(covers(&wide, &narrow), "{wide:?} {narrow:?}");
        }
        let no = [
            (exact("/a"), prefix("/a")),
            (prefix("/ab"), prefix("/a")),
            (regex("/a"), exact("/ab")),
            (regex("/a.*"), prefix("/a")),
            (exact("a"), StringMatch::Present),
        ];
        for (wide, narrow) in no {
            assert!(!covers(&wide, &narrow), "{wide:?} {narrow:?}");
        }
    }
}
