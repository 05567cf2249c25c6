//! Which filter chain has which connections: Envoy refuses a listener in which two chains match the same ones, or in
//! which a chain names a server in a form that it does not know.
//! <https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/listener/v3/listener_components.proto#config-listener-v3-filterchainmatch>

use std::collections::BTreeSet;

use lateen_proto::envoy::config::{core::v3::CidrRange, listener::v3::FilterChainMatch};

/// A match with more combinations of names and ranges is not translated.
const COMBINATIONS_MAX: usize = 10_000;

/// Why a match is not translated that has so many server names, destinations and sources. What grows with one of the
/// lists only is no more than its text.
pub(crate) fn excess(names: usize, destinations: usize, sources: usize) -> Option<String> {
    let all = [names, destinations, sources].map(|many| many.max(1));
    let product = all.iter().fold(1_usize, |product, many| product.saturating_mul(*many));
    let is_list = all.iter().filter(|many| **many > 1).count() < 2;
    (product > COMBINATIONS_MAX && !is_list).then(|| {
        format!("a match has {product} combinations of names and ranges, at most {COMBINATIONS_MAX} are translated")
    })
}

/// What the chains of a listener match so far: protocols, destination, server name and source, each empty for any.
#[derive(Debug, Default)]
pub(crate) struct Claims(BTreeSet<(String, String, String, String)>);

impl Claims {
    /// Narrows a chain to what no chain before it matches; false if that is nothing.
    pub(crate) fn claim(&mut self, matching: &mut FilterChainMatch) -> bool {
        self.narrow(matching).is_some()
    }

    fn narrow(&mut self, matching: &mut FilterChainMatch) -> Option<()> {
        // A chain for TLS would take from one for anything: the first of them keeps what it has.
        let clear = matching.transport_protocol == "raw_buffer";
        let protocols = format!("{clear} {:?}", matching.application_protocols);
        let names = one_or_any(&matching.server_names, |name| {
            Some(name.to_ascii_lowercase()).filter(|name| is_name(name))
        })?;
        let to = one_or_any(&matching.prefix_ranges, |range| Some(written(range)))?;
        let from = one_or_any(&matching.source_prefix_ranges, |range| Some(written(range)))?;
        let is_free = |to: &String, name: &String, from: &String| {
            !self.0.contains(&(protocols.clone(), to.clone(), name.clone(), from.clone()))
        };
        // A name, or else a range, goes to a chain as a whole.
        let mut names: BTreeSet<String> = names
            .into_iter()
            .filter(|name| to.iter().any(|to| from.iter().any(|from| is_free(to, name, from))))
            .collect();
        let to: BTreeSet<String> = to
            .into_iter()
            .filter(|to| names.iter().all(|name| from.iter().any(|from| is_free(to, name, from))))
            .collect();
        let from: BTreeSet<String> = from
            .into_iter()
            .filter(|from| names.iter().all(|name| to.iter().all(|to| is_free(to, name, from))))
            .collect();
        if names.is_empty() || to.is_empty() || from.is_empty() {
            return None;
        }
        for name in &names {
            for to in &to {
                let claims =
                    from.iter().map(|from| (protocols.clone(), to.clone(), name.clone(), from.clone()));
                self.0.extend(claims);
            }
        }
        matching.server_names.retain(|name| names.remove(&name.to_ascii_lowercase()));
        let retain = |ranges: &mut Vec<CidrRange>, mut kept: BTreeSet<String>| {
            ranges.retain(|range| kept.remove(&written(range)));
        };
        retain(&mut matching.prefix_ranges, to);
        retain(&mut matching.source_prefix_ranges, from);
        Some(())
    }
}

/// The entries of a list; without entries the one that stands for any. `None` if no entry is usable.
fn one_or_any<T>(list: &[T], write: impl Fn(&T) -> Option<String>) -> Option<BTreeSet<String>> {
    if list.is_empty() {
        return Some(BTreeSet::from([String::new()]));
    }
    let written: BTreeSet<String> = list.iter().filter_map(write).collect();
    (!written.is_empty()).then_some(written)
}

/// Is it a server's name as Envoy takes it, whole or behind `*.`?
fn is_name(name: &str) -> bool {
    !name.strip_prefix("*.").unwrap_or(name).contains('*')
}

fn written(range: &CidrRange) -> String {
    let length = range.prefix_len.as_ref().map_or(0, |length| length.value);
    format!("{}/{length}", range.address_prefix)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::translate::wire;

    fn chain(names: &[&str], to: &[&str], from: &[&str]) -> FilterChainMatch {
        let ranges = |list: &[&str]| list.iter().filter_map(|text| wire::cidr(text)).collect();
        FilterChainMatch {
            server_names: names.iter().map(|name| (*name).to_owned()).collect(),
            prefix_ranges: ranges(to),
            source_prefix_ranges: ranges(from),
            ..Default::default()
        }
    }

    fn claimed(chains: &[FilterChainMatch]) -> Vec<Option<(Vec<String>, usize, usize)>> {
        let mut claims = Claims::default();
        let show = |mut it: FilterChainMatch| {
            let some = claims.claim(&mut it);
            some.then_some((it.server_names, it.prefix_ranges.len(), it.source_prefix_ranges.len()))
        };
        chains.iter().cloned().map(show).collect()
    }

    #[test]
    fn the_first_chain_has_what_several_match() {
        let chains = [
            chain(&["a", "A", "*.b"], &[], &[]),
            chain(&["a", "c", "*.B", "*-v1.d"], &[], &[]),
            chain(&["*-v1.d"], &[], &[]),
            chain(&["a"], &["10.0.0.0/8"], &[]),
        ];
        let names = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let wanted = [
            Some((names(&["a", "*.b"]), 0, 0)),
            Some((names(&["c"]), 0, 0)),
            None,
            Some((names(&["a"]), 1, 0)),
        ];
        assert_eq!(claimed(&chains), wanted);
    }

    #[test]
    fn combinations_are_bounded_and_lists_are_not() {
        assert_eq!(excess(50_000, 0, 1), None);
        assert_eq!(excess(0, 20_000, 1), None);
        assert_eq!(excess(100, 100, 1), None);
        assert!(excess(101, 100, 0).is_some());
        assert!(excess(usize::MAX, 2, 2).is_some());
    }

    #[test]
    fn ranges_that_are_written_differently_are_the_same() {
        let chains = [
            chain(&[], &["10.0.0.1/8", "10.2.0.0/8"], &[]),
            chain(&[], &["10.0.0.0/8"], &[]),
            chain(&[], &["10.0.0.0/8", "11.0.0.0/8"], &[]),
            chain(&[], &["2001:db8::1/32"], &[]),
            chain(&[], &["2001:0db8:0::/32"], &[]),
            chain(&[], &["10.0.0.0/8"], &["192.168.0.0/16"]),
            chain(&[], &["10.9.9.9/8"], &["192.168.1.0/16"]),
        ];
        let one = |to, from| Some((Vec::new(), to, from));
        assert_eq!(claimed(&chains), [one(1, 0), None, one(1, 0), one(1, 0), None, one(1, 1), None]);
    }
}
