//! What protects something and can't be applied, looked for in the whole world rather than for a node: what a user is
//! told before anything is served. `docs/unapplied.md` has the table.

use std::collections::BTreeSet;

use lateen_config::Kind;
use lateen_model::{Diagnostic, Unapplied};
use lateen_registry::{Fact, World};

use super::{backend_tls, closed, gateway, inbound, policies};

/// Findings about all objects that close something, in order.
pub fn unapplied(world: &World, choice: Unapplied) -> Vec<Diagnostic> {
    let mut found = BTreeSet::new();
    for fact in world.keys().filter_map(|key| world.get(key)) {
        match fact {
            Fact::DestinationRules(rules) => {
                found.extend(rules.iter().flat_map(|rule| closed::of_rule(rule, choice)));
            }
            Fact::Gateway(one) => found.extend(gateway::closed_servers(one)),
            Fact::Sidecars(sidecars) => {
                found.extend(sidecars.iter().flat_map(|one| inbound::closed_ports(one)));
            }
            Fact::Policies(all) => {
                found.extend(all.iter().filter_map(|policy| match policy.key.kind {
                    Kind::BackendTlsPolicy => Some(backend_tls::finding(policy, choice)),
                    _ => policies::of_policy(policy, choice),
                }));
            }
            _ => {}
        }
    }
    found.into_iter().collect()
}
