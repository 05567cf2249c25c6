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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::translate::cold;

    #[test]
    fn tls_that_can_not_be_had_is_an_error_whoever_asks_for_it() {
        let world = cold::world(
            "
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge, namespace: infra}
spec:
  servers:
  - {port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}
  - {port: {number: 443, name: https, protocol: HTTPS}, hosts: ['*'], tls: {mode: SIMPLE, credentialName: cert}}
  - {port: {number: 444, name: mtls, protocol: TLS}, hosts: ['*'], tls: {mode: ISTIO_MUTUAL}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: BackendTLSPolicy
metadata: {name: cart, namespace: shop}
spec: {targetRefs: [{group: '', kind: Service, name: cart}], validation: {hostname: a}}
",
        );
        let found = |choice| unapplied(&world, choice).iter().map(ToString::to_string).collect::<Vec<_>>();
        let closed = found(Unapplied::Close);
        let places =
            ["mesh.yaml:14:8: error LAT3020", "mesh.yaml:8:5: error LAT3020", "mesh.yaml:9:5: error LAT3020"];
        assert_eq!(closed.len(), places.len(), "{closed:#?}");
        assert!(places.iter().all(|place| closed.iter().any(|it| it.starts_with(place))), "{closed:#?}");
        // A server whose TLS is not there stays closed; it is not served in the clear.
        let ignored = found(Unapplied::Ignore);
        let of = |severity| ignored.iter().filter(|it| it.contains(severity)).count();
        assert_eq!((of("error"), of("warning")), (2, 1), "{ignored:#?}");
    }
}
