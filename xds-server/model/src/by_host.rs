//! Values by host, where hosts meet that are wildcards: found without looking at all of them.

use std::collections::BTreeMap;

/// Values by host. Hosts are in lower case; a wildcard is `*`, or `*.` and a name.
#[derive(Clone, Debug)]
pub struct ByHost<V> {
    /// By the name read backwards: all that a wildcard covers stand together.
    rows: BTreeMap<Box<str>, V>,
}

impl<V> Default for ByHost<V> {
    fn default() -> Self {
        Self { rows: BTreeMap::new() }
    }
}

impl<V> ByHost<V> {
    /// The value of this host.
    pub fn get(&self, host: &str) -> Option<&V> {
        self.rows.get(&*backwards(host))
    }

    /// The value of this host, to change it.
    pub fn get_mut(&mut self, host: &str) -> Option<&mut V> {
        self.rows.get_mut(&*backwards(host))
    }

    /// The value of this host, which it has from now on.
    pub fn of(&mut self, host: &str) -> &mut V
    where
        V: Default,
    {
        self.rows.entry(backwards(host)).or_default()
    }

    /// The host has no value any more.
    pub fn remove(&mut self, host: &str) {
        self.rows.remove(&*backwards(host));
    }

    /// The values of the hosts that have a name in common with this one: of itself, of wildcards that cover it, and,
    /// where it is a wildcard, of all that it covers. One look-up for each label, and no more than what is found.
    pub fn meeting<'a>(&'a self, host: &str) -> impl Iterator<Item = &'a V> + use<'a, V> {
        let own = backwards(host);
        let wildcards = own.match_indices('.').filter_map(|(dot, _)| Some(format!("{}*", own.get(..=dot)?)));
        let mut covering: Vec<&V> = Vec::new();
        for wildcard in wildcards.chain([String::from("*")]) {
            // A wildcard is among what it covers itself.
            if *wildcard != *own {
                covering.extend(self.rows.get(&*wildcard));
            }
        }
        let (start, is_wildcard) = own.strip_suffix('*').map_or((&*own, false), |start| (start, true));
        let start: Box<str> = start.into();
        let from = self.rows.range(start.clone()..);
        let covered = from.take_while(
            move |(name, _)| if is_wildcard { name.starts_with(&*start) } else { **name == start },
        );
        covering.into_iter().chain(covered.map(|(_, value)| value))
    }
}

fn backwards(host: &str) -> Box<str> {
    host.chars().rev().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Host;

    #[test]
    fn hosts_meet_where_one_covers_the_other() {
        let all = ["*", "*.a", "*.b.a", "a", "b.a", "c.b.a", "xb.a", "*.xb.a", "b", "*.c", "a.c"];
        let mut by_host: ByHost<&str> = ByHost::default();
        for host in all {
            *by_host.of(host) = host;
        }
        for host in all.iter().copied().chain(["d.b.a", "*.d.b.a", "x.b", "*.b"]) {
            let mut found: Vec<&str> = by_host.meeting(host).copied().collect();
            found.sort_unstable();
            let own = Host::from(host);
            let meets = |other: &&&str| {
                let other = Host::from(**other);
                own == other || own.covers(&other) || other.covers(&own)
            };
            let mut expected: Vec<&str> = all.iter().filter(meets).copied().collect();
            expected.sort_unstable();
            assert_eq!(found, expected, "{host}");
        }
        by_host.remove("b.a");
        assert_eq!(by_host.get("b.a"), None);
        assert_eq!(by_host.meeting("b.a").count(), 2);
    }
}
