//! Endpoint sets from their parts.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use lateen_model::{Endpoint, Service};

/// Port names of later definitions with the first definition's name for the same port.
pub(super) type Aliases = Vec<(Arc<str>, Arc<str>)>;

/// Definitions of one service may name the same port differently; endpoints are looked up by the first's name.
pub(super) fn aliases<'a>(definitions: impl Iterator<Item = &'a Arc<Service>>) -> Aliases {
    let mut names: BTreeMap<u16, &Arc<str>> = BTreeMap::new();
    let mut aliases = BTreeSet::new();
    for port in definitions.flat_map(|service| &service.ports) {
        let first = *names.entry(port.number).or_insert(&port.name);
        if *first != port.name {
            aliases.insert((port.name.clone(), first.clone()));
        }
    }
    aliases.into_iter().collect()
}

/// All endpoints, each once, ordered by address and ports. Where two parts name the same address and ports, the
/// first part's counts.
pub(super) fn union<'a>(
    parts: impl Iterator<Item = &'a Arc<[Endpoint]>>,
    aliases: &Aliases,
) -> Vec<Endpoint> {
    let mut all: Vec<Endpoint> = parts.flat_map(|part| part.iter().cloned()).collect();
    if !aliases.is_empty() {
        for endpoint in &mut all {
            rename(endpoint, aliases);
        }
    }
    // The sort is stable: of equals the first part's comes first, and stays.
    all.sort_by(|one, other| (&one.address, &one.ports).cmp(&(&other.address, &other.ports)));
    all.dedup_by(|later, first| later.address == first.address && later.ports == first.ports);
    all
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
