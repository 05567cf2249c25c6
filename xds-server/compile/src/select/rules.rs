//! Which `DestinationRule`s apply to a service, and what they come to together.

use std::{collections::BTreeSet, sync::Arc};

use lateen_config::istio::{DestinationRule, Subset};
use lateen_model::{Namespace, Service, service::Visibility};
use lateen_registry::Selector;

use super::Client;
use crate::translate::{Policy, Read, Rule, RuleSet, read};

impl Client<'_> {
    /// The rules that apply to a service for this client, `None` if there are none.
    ///
    /// They are looked for in the client's namespace, then in the service's, then in the root namespace; the first
    /// that has any answers alone. For a client in the root namespace, whose rules are meant for the whole mesh,
    /// only those that nobody else sees come before the service's namespace. In a namespace the most specific host
    /// counts, and that of rules which the client does not see hides less specific ones too.
    /// <https://istio.io/latest/docs/ops/best-practices/traffic-management/#cross-namespace-configuration>
    pub(crate) fn rules(&self, r: &mut dyn Read, service: &Service) -> Option<RuleSet> {
        let cells: Vec<_> = std::iter::once(service.host.clone())
            .chain(service.host.wildcards())
            .map(|cell| (read::destination_rules(r, &cell), cell))
            .filter(|(rules, _)| !rules.is_empty())
            .collect();
        let of = |holds: &dyn Fn(&Rule) -> bool| {
            cells.iter().find_map(|(rules, cell)| {
                let held: Vec<&Rule> = rules.iter().filter(|rule| holds(rule)).collect();
                (!held.is_empty()).then_some((held, cell))
            })
        };
        let own = |rule: &Rule| {
            rule.namespace == *self.namespace
                && if self.root == *self.namespace { is_private(rule) } else { self.sees(rule) }
        };
        let exported = |namespace: &Namespace, rule: &Rule| rule.namespace == *namespace && !is_private(rule);
        let from_service = |rule: &Rule| exported(&service.namespace, rule);
        let from_root = |rule: &Rule| exported(&self.root, rule);
        let set = |(held, cell): (Vec<&Rule>, &lateen_model::Host)| {
            let seen: Vec<&Rule> = held.into_iter().filter(|rule| self.sees(rule)).collect();
            let rules = self.together(&seen);
            (!rules.is_empty()).then(|| RuleSet { host: cell.clone(), rules: rules.into() })
        };
        if let Some(found) = of(&own) {
            // Also where all of them select other workloads.
            return set(found);
        }
        of(&from_service).and_then(&set).or_else(|| of(&from_root).and_then(&set))
    }

    /// May the client's namespace use the rule?
    fn sees(&self, rule: &Rule) -> bool {
        match &rule.spec.workload_selector {
            Some(_) => rule.namespace == *self.namespace,
            None => rule.export_to.allows(self.namespace),
        }
    }

    /// Does the rule select the client among the workloads of its namespace? `None` without a selector.
    fn selected(&self, rule: &Rule) -> Option<bool> {
        let selector = selector(&rule.spec)?;
        Some(selector.is_empty() || self.selectors.contains(&selector))
    }

    /// The rules that are merged, of those of one host in one namespace that the client sees, in precedence order.
    ///
    /// Rules that are exported to the same namespaces are one, and one that is exported to more namespaces joins a
    /// narrower one before it. What is left apart is not merged: the last of them counts. Rules that select the
    /// client come before all that select nobody, and are merged where they select the same.
    fn together(&self, seen: &[&Rule]) -> Vec<lateen_config::ObjectKey> {
        let selecting = seen.iter().find(|rule| self.selected(rule) == Some(true));
        if let Some(first) = selecting {
            let same = |rule: &&&Rule| rule.spec.workload_selector == first.spec.workload_selector;
            return seen.iter().filter(same).map(|rule| rule.key.clone()).collect();
        }
        let mut groups: Vec<(&Visibility, Vec<lateen_config::ObjectKey>)> = Vec::new();
        for rule in seen.iter().filter(|rule| rule.spec.workload_selector.is_none()) {
            let mut joined = false;
            for (to, group) in &mut groups {
                if **to == rule.export_to || widens(&rule.export_to, to) {
                    group.push(rule.key.clone());
                    joined = true;
                }
            }
            if !joined {
                groups.push((&rule.export_to, vec![rule.key.clone()]));
            }
        }
        groups.pop().map(|(_, group)| group).unwrap_or_default()
    }
}

/// The labels that a rule selects workloads by.
fn selector(rule: &DestinationRule) -> Option<Selector> {
    let labels = &rule.workload_selector.as_ref()?.match_labels;
    let shared = labels.iter().map(|(name, value)| (name.as_str().into(), value.as_str().into()));
    Some(Arc::new(shared.collect()))
}

/// Is the rule for its own namespace alone?
fn is_private(rule: &Rule) -> bool {
    let own = |list: &[Namespace]| matches!(list, [only] if *only == rule.namespace);
    rule.spec.workload_selector.is_some()
        || matches!(&rule.export_to, Visibility::Namespaces(list) if own(list))
}

/// Do all namespaces of `narrow` stand in `wide` too? Only lists are compared: everybody is not a list.
fn widens(wide: &Visibility, narrow: &Visibility) -> bool {
    match (wide, narrow) {
        (Visibility::Namespaces(wide), Visibility::Namespaces(narrow)) => {
            narrow.iter().all(|namespace| wide.contains(namespace))
        }
        (Visibility::All, _) | (_, Visibility::All) => false,
    }
}

/// The rules of a [`RuleSet`] as they are now, merged.
/// <https://istio.io/latest/docs/ops/best-practices/traffic-management/#split-virtual-services>
#[derive(Clone, Debug, Default)]
pub(crate) struct Rules(Vec<Rule>);

impl Rules {
    /// Reads the rules of a set.
    pub(crate) fn load(r: &mut dyn Read, set: Option<&RuleSet>) -> Self {
        let Some(set) = set else { return Self::default() };
        let cell = read::destination_rules(r, &set.host);
        let found = set.rules.iter().filter_map(|key| cell.iter().find(|rule| rule.key == *key));
        Self(found.cloned().collect())
    }

    /// The rules, in precedence order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Rule> {
        self.0.iter()
    }

    /// The names of all subsets.
    pub(crate) fn subsets(&self) -> BTreeSet<&str> {
        self.0.iter().flat_map(|rule| &rule.spec.subsets).map(|subset| subset.name.as_str()).collect()
    }

    /// The subset of that name, of the first rule that has one.
    pub(crate) fn subset(&self, name: &str) -> Option<&Subset> {
        self.0.iter().flat_map(|rule| &rule.spec.subsets).find(|subset| subset.name == name)
    }

    /// The policy of a port, for all endpoints or those of a subset: that of the first rule that has one for the
    /// whole host, refined by the subset's.
    pub(crate) fn policy(&self, subset: Option<&str>, port: u16) -> Policy<'_> {
        let whole = self.0.iter().find_map(|rule| rule.spec.traffic_policy.as_ref());
        let subset = subset.and_then(|name| self.subset(name));
        Policy::of(whole, subset, port)
    }

    /// The rule that gives the policy of the whole host, or that of the subset.
    pub(crate) fn about(&self) -> Option<&Rule> {
        self.0.iter().find(|rule| rule.spec.traffic_policy.is_some()).or(self.0.first())
    }
}
