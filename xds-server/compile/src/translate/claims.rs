//! Which filter chain has which connections: Envoy refuses a listener in which two chains match the same ones, or in
//! which a chain names a server in a form that it does not know.
//! <https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/listener/v3/listener_components.proto#config-listener-v3-filterchainmatch>

use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    sync::Arc,
};

use lateen_model::Version;
use lateen_proto::envoy::config::{core::v3::CidrRange, listener::v3::FilterChainMatch};

use super::wire;

/// A match with more combinations of names and ranges is not translated.
const COMBINATIONS_MAX: usize = 10_000;
/// What a chain with a longer name matches is in its name as a hash.
const NAME_BYTES_MAX: usize = 200;

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

type Text = Arc<str>;

/// What two chains must not match both: protocols, destination, server name and source, each empty for any.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Cell {
    protocols: Text,
    to: Text,
    name: Text,
    from: Text,
}

impl Cell {
    /// Is it every connection?
    pub(crate) fn is_everything(&self) -> bool {
        self.to.is_empty() && self.name.is_empty() && self.from.is_empty()
    }
}

/// Which chain of a listener, by number, has which connections.
#[derive(Debug, Default)]
pub(crate) struct Claims(BTreeMap<Cell, usize>);

impl Claims {
    /// Narrows a chain to what no chain before it matches; false if that is nothing.
    pub(crate) fn claim(&mut self, matching: &mut FilterChainMatch) -> bool {
        self.narrow(matching).is_some()
    }

    fn narrow(&mut self, matching: &mut FilterChainMatch) -> Option<()> {
        let Lists { protocols, mut names, mut to, mut from } = Lists::of(matching)?;
        let is_free = |to: &Text, name: &Text, from: &Text| {
            let (to, name, from) = (to.clone(), name.clone(), from.clone());
            !self.0.contains_key(&Cell { protocols: protocols.clone(), to, name, from })
        };
        // A name, or else a range, goes to a chain as a whole.
        names.retain(|name| to.iter().any(|to| from.iter().any(|from| is_free(to, name, from))));
        to.retain(|to| names.iter().all(|name| from.iter().any(|from| is_free(to, name, from))));
        from.retain(|from| names.iter().all(|name| to.iter().all(|to| is_free(to, name, from))));
        let lists = Lists { protocols, names, to, from };
        let cells: Vec<Cell> = lists.cells().collect();
        if cells.is_empty() {
            return None;
        }
        self.0.extend(cells.into_iter().map(|cell| (cell, 0)));
        let Lists { protocols: _, mut names, mut to, mut from } = lists;
        matching.server_names.retain(|name| names.remove(&*name.to_ascii_lowercase()));
        matching.prefix_ranges.retain(|range| to.remove(&*written(range)));
        matching.source_prefix_ranges.retain(|range| from.remove(&*written(range)));
        Some(())
    }

    /// Gives a chain all that it matches and that no other has. Returns what others have, and who.
    pub(crate) fn give(&mut self, chain: usize, matching: &FilterChainMatch) -> Vec<(Cell, usize)> {
        let mut lost = Vec::new();
        for cell in Lists::of(matching).iter().flat_map(Lists::cells) {
            match self.0.entry(cell) {
                Entry::Vacant(free) => drop(free.insert(chain)),
                Entry::Occupied(taken) => lost.push((taken.key().clone(), *taken.get())),
            }
        }
        lost
    }

    /// Who has it?
    pub(crate) fn owner(&self, cell: &Cell) -> Option<usize> {
        self.0.get(cell).copied()
    }

    /// Gives it to another chain, whoever has it.
    pub(crate) fn hand_over(&mut self, cell: Cell, chain: usize) {
        self.0.insert(cell, chain);
    }

    /// What each chain has.
    pub(crate) fn by_chain(self) -> BTreeMap<usize, Vec<Cell>> {
        let mut all: BTreeMap<usize, Vec<Cell>> = BTreeMap::new();
        for (cell, chain) in self.0 {
            all.entry(chain).or_default().push(cell);
        }
        all
    }
}

/// Matches that come to these cells, which are some of what `whole` matches: one for those names, destinations and
/// sources that go together.
pub(crate) fn matches(whole: &FilterChainMatch, cells: Vec<Cell>) -> Vec<FilterChainMatch> {
    let mut by_name: BTreeMap<Text, BTreeMap<Text, BTreeSet<Text>>> = BTreeMap::new();
    for Cell { protocols: _, to, name, from } in cells {
        by_name.entry(name).or_default().entry(to).or_default().insert(from);
    }
    let mut matches = Vec::new();
    for (rest, names) in together(by_name) {
        for (from, to) in together(rest) {
            let mut matching = whole.clone();
            Lists { protocols: Text::default(), names: names.clone(), to, from }.write(&mut matching);
            matches.push(matching);
        }
    }
    matches
}

/// Those that have the same.
fn together<T: Ord>(all: BTreeMap<Text, T>) -> BTreeMap<T, BTreeSet<Text>> {
    let mut same: BTreeMap<T, BTreeSet<Text>> = BTreeMap::new();
    for (one, has) in all {
        same.entry(has).or_default().insert(one);
    }
    same
}

/// What a match lists, each entry as it is told from others.
struct Lists {
    protocols: Text,
    names: BTreeSet<Text>,
    to: BTreeSet<Text>,
    from: BTreeSet<Text>,
}

impl Lists {
    /// `None` if a list has no entry that is usable.
    fn of(matching: &FilterChainMatch) -> Option<Self> {
        // A chain for TLS would take from one for anything: the first of them keeps what it has.
        let clear = matching.transport_protocol == "raw_buffer";
        let ranges = |list: &[CidrRange]| one_or_any(list, |range| Some(written(range)));
        Some(Self {
            protocols: format!("{clear} {:?}", matching.application_protocols).into(),
            names: one_or_any(&matching.server_names, |name| {
                Some(name.to_ascii_lowercase()).filter(|name| is_name(name))
            })?,
            to: ranges(&matching.prefix_ranges)?,
            from: ranges(&matching.source_prefix_ranges)?,
        })
    }

    fn cells(&self) -> impl Iterator<Item = Cell> {
        let ranges = || self.to.iter().flat_map(|to| self.from.iter().map(move |from| (to, from)));
        self.names.iter().flat_map(move |name| {
            ranges().map(move |(to, from)| Cell {
                protocols: self.protocols.clone(),
                to: to.clone(),
                name: name.clone(),
                from: from.clone(),
            })
        })
    }

    /// Puts these lists into a match.
    fn write(self, matching: &mut FilterChainMatch) {
        let texts = |list: BTreeSet<Text>| list.into_iter().filter(|text| !text.is_empty());
        let ranges = |list| texts(list).filter_map(|text| wire::cidr(&text)).collect();
        matching.server_names = texts(self.names).map(|name| name.to_string()).collect();
        matching.prefix_ranges = ranges(self.to);
        matching.source_prefix_ranges = ranges(self.from);
    }
}

/// What is matched, in words; of no two chains of a listener the same. None for everything.
pub(crate) fn words(matching: &FilterChainMatch) -> Vec<String> {
    let FilterChainMatch {
        destination_port,
        prefix_ranges,
        address_suffix,
        suffix_len,
        direct_source_prefix_ranges,
        source_type,
        source_prefix_ranges,
        source_ports,
        server_names,
        transport_protocol,
        application_protocols,
    } = matching;
    let mut words = server_names.clone();
    words.extend(destination_port.iter().map(|port| format!(":{}", port.value)));
    words.extend(prefix_ranges.iter().map(written));
    if !address_suffix.is_empty() {
        words.push(format!("*{address_suffix}/{}", suffix_len.map_or(0, |length| length.value)));
    }
    words.extend(direct_source_prefix_ranges.iter().map(|it| format!("directly from {}", written(it))));
    if *source_type != 0 {
        words.push(format!("from sources of type {source_type}"));
    }
    words.extend(source_prefix_ranges.iter().map(|it| format!("from {}", written(it))));
    words.extend(source_ports.iter().map(|port| format!("from :{port}")));
    words.extend(Some(transport_protocol).filter(|it| !it.is_empty()).cloned());
    words.extend(application_protocols.iter().cloned());
    words
}

/// The name of a chain: what it matches, so that it does not depend on which others there are. Envoy keeps the
/// connections of a chain that is the same as before, name included.
/// <https://www.envoyproxy.io/docs/envoy/v1.40.0/configuration/listeners/lds>
pub(crate) fn chain_name(listener: &str, matching: &FilterChainMatch) -> String {
    let words = words(matching).join(",");
    if words.len() > NAME_BYTES_MAX {
        format!("{listener}_{}", Version::of(words.as_bytes()))
    } else {
        format!("{listener}_{words}")
    }
}

/// The entries of a list; without entries the one that stands for any. `None` if no entry is usable.
fn one_or_any<T>(list: &[T], write: impl Fn(&T) -> Option<String>) -> Option<BTreeSet<Text>> {
    if list.is_empty() {
        return Some(BTreeSet::from([Text::default()]));
    }
    let written: BTreeSet<Text> = list.iter().filter_map(write).map(Text::from).collect();
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
    fn what_is_left_of_a_chain_is_matched_by_as_few_as_can_be() {
        let whole = chain(&["a", "b", "C"], &["10.0.0.0/8", "11.0.0.0/8"], &[]);
        let mut claims = Claims::default();
        assert!(claims.give(0, &whole).is_empty());
        let lost = claims.give(1, &chain(&["c", "d"], &["10.1.2.3/8"], &[]));
        assert_eq!(lost.len(), 1);
        let (cell, owner) = lost.into_iter().next().unwrap();
        assert_eq!(owner, 0);
        claims.hand_over(cell, 2);
        let shown =
            |it: &FilterChainMatch| format!("{} to {}", it.server_names.join("+"), it.prefix_ranges.len());
        let left = |cells: &[Cell]| matches(&whole, cells.to_vec()).iter().map(shown).collect::<Vec<_>>();
        let all = claims.by_chain();
        assert_eq!(left(&all[&0]), ["a+b to 2", "c to 1"]);
        assert_eq!(left(&all[&1]), ["d to 1"]);
        assert_eq!(left(&all[&2]), ["c to 1"]);
    }

    #[test]
    fn a_name_says_what_is_matched_and_is_not_long() {
        let named = |names: &[&str]| chain_name("l", &chain(names, &["10.0.0.0/8"], &[]));
        assert_eq!(named(&["a", "b"]), "l_a,b,10.0.0.0/8");
        let (one, other) = ("x".repeat(201), "y".repeat(201));
        assert_ne!(named(&[&one]), named(&[&other]));
        assert!(named(&[&one]).len() < 30, "{}", named(&[&one]));
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
