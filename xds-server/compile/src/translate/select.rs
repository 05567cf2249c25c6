//! Which objects apply to a host, as a client's namespace sees it.

use std::sync::Arc;

use lateen_config::istio::{DestinationRule, MeshConfig, Subset};
use lateen_model::{Host, Namespace, Service};

use super::{
    Read, RuleSet, Target,
    read::{self, Routes, Rule},
    sidecar_scope::Scope,
};

/// The definition of `host` that clients in `namespace` see: their own, else the first by precedence.
pub(crate) fn service(
    r: &mut dyn Read,
    namespace: &Namespace,
    host: &Host,
    scope: Option<&Scope>,
) -> Option<Arc<Service>> {
    let all = read::services(r, host);
    let mut seen = all.iter().filter(|service| {
        service.export_to.allows(namespace)
            && scope.is_none_or(|scope| scope.imports(&service.namespace, host))
    });
    let first = seen.next()?;
    if first.namespace == *namespace {
        return Some(first.clone());
    }
    Some(seen.find(|service| service.namespace == *namespace).unwrap_or(first).clone())
}

/// The rules for a service. They are looked for in the client's namespace, then in the service's, then in the
/// root namespace; in each the most specific host counts.
/// <https://istio.io/latest/docs/ops/best-practices/traffic-management/#cross-namespace-configuration>
pub(crate) fn rules(
    r: &mut dyn Read,
    mesh: &MeshConfig,
    client: &Namespace,
    host: &Host,
    service: &Namespace,
) -> Option<RuleSet> {
    let root = read::root_namespace(mesh);
    let mut namespaces = vec![client];
    for next in [service, &root] {
        if !namespaces.contains(&next) {
            namespaces.push(next);
        }
    }
    let cells: Vec<_> = std::iter::once(host.clone())
        .chain(host.wildcards())
        .map(|cell| (read::destination_rules(r, &cell), cell))
        .filter(|(rules, _)| !rules.is_empty())
        .collect();
    namespaces.into_iter().find_map(|namespace| {
        cells.iter().find_map(|(rules, cell)| {
            let applies = |rule: &&Rule| {
                rule.namespace == *namespace
                    && rule.spec.workload_selector.is_none()
                    && rule.export_to.allows(client)
            };
            let found: Vec<_> = rules.iter().filter(applies).map(|rule| rule.key.clone()).collect();
            (!found.is_empty()).then(|| RuleSet { host: cell.clone(), rules: found.into() })
        })
    })
}

/// The `VirtualService` of a host: the exact host beats wildcards, the first by precedence wins.
pub(crate) fn virtual_service(
    r: &mut dyn Read,
    client: &Namespace,
    host: &Host,
    scope: &Scope,
) -> Option<Routes> {
    std::iter::once(host.clone()).chain(host.wildcards()).find_map(|cell| {
        let all = read::virtual_services(r, &cell);
        let applies =
            |routes: &&Routes| routes.export_to.allows(client) && scope.imports(&routes.namespace, host);
        all.iter().find(applies).cloned()
    })
}

/// A host that routes lead to.
pub(crate) fn target(r: &mut dyn Read, mesh: &MeshConfig, client: &Namespace, host: Host) -> Target {
    let namespace = service(r, client, &host, None).map(|service| service.namespace.clone());
    let rules = namespace.as_ref().and_then(|of| rules(r, mesh, client, &host, of));
    Target { host, namespace, rules }
}

/// The rules of a set, as they are now.
pub(crate) fn load(r: &mut dyn Read, set: Option<&RuleSet>) -> Vec<Rule> {
    let Some(set) = set else { return Vec::new() };
    let cell = read::destination_rules(r, &set.host);
    set.rules.iter().filter_map(|key| cell.iter().find(|rule| rule.key == *key)).cloned().collect()
}

/// The subset of that name: rules of one host are merged, and the first that has it gives it.
/// <https://istio.io/latest/docs/ops/best-practices/traffic-management/#split-virtual-services>
pub(crate) fn subset<'a>(rules: &'a [Rule], name: &str) -> Option<&'a Subset> {
    rules.iter().flat_map(|rule| &rule.spec.subsets).find(|subset| subset.name == name)
}

/// The rule that gives the policy of the whole host.
pub(crate) fn leading(rules: &[Rule]) -> Option<&DestinationRule> {
    rules.first().map(|rule| &*rule.spec)
}
