//! Endpoint sets from their parts.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::Arc,
};

use lateen_model::{Address, Endpoint, Service};

/// Port names of later definitions with the first definition's name for the same port.
pub(super) type Aliases = Vec<(Arc<str>, Arc<str>)>;

/// Definitions of one service may name the same port differently; endpoints are looked up by the first's name.
pub(super) fn aliases<'a>(definitions: impl Iterator<Item = &'a Arc<Service>>) -> Aliases {
    let mut names: BTreeMap<(u16, bool), &Arc<str>> = BTreeMap::new();
    let mut aliases = BTreeSet::new();
    for port in definitions.flat_map(|service| &service.ports) {
        let first = *names.entry(super::merge::identity(port)).or_insert(&port.name);
        if *first != port.name {
            aliases.insert((port.name.clone(), first.clone()));
        }
    }
    aliases.into_iter().collect()
}

/// All endpoints, each once, ordered by address and ports. Where two parts name the same address and ports, the
/// first part's counts; where two sources name the same address and port, though perhaps other ports beside it, the
/// first source's counts. Parts come with the place of their source, in order.
pub(super) fn union<'a>(
    parts: impl Iterator<Item = (u32, &'a Arc<[Endpoint]>)>,
    aliases: &Aliases,
) -> Vec<Endpoint> {
    let (mut all, mut ends): (Vec<Endpoint>, Vec<(u32, usize)>) = (Vec::new(), Vec::new());
    for (rank, part) in parts {
        all.extend(part.iter().cloned());
        match ends.last_mut() {
            Some((last, end)) if *last == rank => *end = all.len(),
            Some(_) | None => ends.push((rank, all.len())),
        }
    }
    if !aliases.is_empty() {
        for endpoint in &mut all {
            rename(endpoint, aliases);
        }
    }
    if ends.len() > 1 {
        all = first_source_counts(all, &ends, aliases);
    }
    // The sort is stable: of equals the first part's comes first, and stays.
    all.sort_by(|one, other| (&one.address, &one.ports).cmp(&(&other.address, &other.ports)));
    all.dedup_by(|later, first| later.address == first.address && later.ports == first.ports);
    all
}

/// Takes out of the endpoints of later sources the ports that an earlier one has at the same address, and those
/// that have none left.
fn first_source_counts(all: Vec<Endpoint>, ends: &[(u32, usize)], aliases: &Aliases) -> Vec<Endpoint> {
    // Another name for a port is the same port.
    let is_alias = |name: &Arc<str>| aliases.iter().any(|(alias, _)| alias == name);
    let mut taken: HashSet<(Address, Arc<str>, u16)> = HashSet::new();
    let mut kept: Vec<Endpoint> = Vec::with_capacity(all.len());
    let mut all = all.into_iter().enumerate().peekable();
    for (_, end) in ends {
        let before = kept.len();
        while let Some((_, mut endpoint)) = all.next_if(|(at, _)| at < end) {
            let place = |name: &Arc<str>, number: u16| (endpoint.address.clone(), name.clone(), number);
            let is_taken = |(name, number): (&Arc<str>, &u16)| taken.contains(&place(name, *number));
            if endpoint.ports.iter().any(is_taken) {
                let free = endpoint.ports.iter().filter(|port| !is_taken(*port));
                let free: BTreeMap<_, _> = free.map(|(name, number)| (name.clone(), *number)).collect();
                if free.keys().all(is_alias) {
                    continue;
                }
                endpoint.ports = Arc::new(free);
            }
            kept.push(endpoint);
        }
        for endpoint in kept.iter().skip(before) {
            let ports = endpoint.ports.iter();
            taken.extend(ports.map(|(name, number)| (endpoint.address.clone(), name.clone(), *number)));
        }
    }
    kept
}

fn rename(endpoint: &mut Endpoint, aliases: &Aliases) {
    let missing = aliases.iter().filter_map(|(name, first)| {
        let number = endpoint.ports.get(name)?;
        (!endpoint.ports.contains_key(first)).then(|| (first.clone(), *number))
    });
    let missing: Vec<_> = missing.collect();
    if !missing.is_empty() {
        let mut ports = (*endpoint.ports).clone();
        ports.extend(missing);
        endpoint.ports = Arc::new(ports);
    }
}
