//! Endpoints as seen from a place: shares and failover.
//! <https://istio.io/latest/docs/reference/config/networking/destination-rule/#LocalityLoadBalancerSetting>

use std::collections::{BTreeMap, BTreeSet};

use lateen_config::istio::Distribute;
use lateen_model::{Endpoint, Locality};

use super::{
    EndpointView,
    endpoint::{Group, Instance, weight_of},
    load_balancing::Localities,
};

/// The share of a locality is kept to this part of a percent.
const PRECISION: u64 = 1000;

/// Sets weights or priorities for a client at `view`; what the client gets no share of is left out.
pub(crate) fn arranged<'a>(
    groups: Vec<Group<'a>>,
    setting: Localities<'_>,
    outlier_detection: bool,
    view: &EndpointView,
) -> Vec<Group<'a>> {
    if !setting.distribute.is_empty() {
        return distributed(groups, setting.distribute, &view.locality);
    }
    // Without detection, Envoy would never call a priority unhealthy and never fail over.
    if !outlier_detection {
        return groups;
    }
    if !setting.failover_priority.is_empty() {
        return by_labels(groups, setting.failover_priority, view);
    }
    if view.locality.is_empty() {
        return groups;
    }
    let to = setting.failover.iter().find(|rule| *rule.from == *view.locality.region).map(|rule| &*rule.to);
    let mut groups = groups;
    for group in &mut groups {
        group.priority = distance(&view.locality, &group.locality, to);
    }
    compact(groups)
}

/// How far a place is from the client's.
fn distance(here: &Locality, there: &Locality, failover_to: Option<&str>) -> u32 {
    if here.region != there.region {
        return match failover_to {
            Some(region) if region != &*there.region => 4,
            Some(_) | None => 3,
        };
    }
    match (here.zone == there.zone, here.sub_zone == there.sub_zone) {
        (true, true) => 0,
        (true, false) => 1,
        (false, _) => 2,
    }
}

/// Envoy and gRPC want priorities from 0 without a gap.
fn compact(mut groups: Vec<Group<'_>>) -> Vec<Group<'_>> {
    let used: BTreeSet<u32> = groups.iter().map(|group| group.priority).collect();
    let rank: BTreeMap<u32, u32> = used.into_iter().zip(0..).collect();
    for group in &mut groups {
        group.priority = rank.get(&group.priority).copied().unwrap_or(0);
    }
    groups.sort_by(|a, b| (a.priority, &a.locality).cmp(&(b.priority, &b.locality)));
    groups
}

fn distributed<'a>(groups: Vec<Group<'a>>, rules: &[Distribute], here: &Locality) -> Vec<Group<'a>> {
    let Some(rule) = rules.iter().find(|rule| within(here, &rule.from)) else { return groups };
    // The longest pattern is the most specific.
    let mut patterns: Vec<(&String, u32)> = rule.to.iter().map(|(to, weight)| (to, *weight)).collect();
    patterns.sort_by_key(|(to, _)| std::cmp::Reverse(to.len()));
    let mut left = groups;
    let mut kept = Vec::new();
    for (pattern, share) in patterns {
        let (mut matched, rest): (Vec<_>, Vec<_>) =
            left.into_iter().partition(|group| within(&group.locality, pattern));
        left = rest;
        let total: u64 = matched.iter().map(|group| u64::from(group.weight)).sum();
        for group in &mut matched {
            let part = u64::from(share) * PRECISION * u64::from(group.weight) / total.max(1);
            group.weight = u32::try_from(part).unwrap_or(u32::MAX).max(1);
        }
        if share > 0 {
            kept.extend(matched);
        }
    }
    kept.sort_by(|a, b| a.locality.cmp(&b.locality));
    kept
}

/// Is a place in `region/zone/subzone`, where `*` and what is left out stand for anything?
fn within(place: &Locality, pattern: &str) -> bool {
    let parts = [&*place.region, &*place.zone, &*place.sub_zone];
    pattern.split('/').zip(parts).all(|(wanted, part)| wanted == "*" || wanted == part)
}

/// Endpoints that agree with the client in more of the labels, counted from the first, come first.
fn by_labels<'a>(groups: Vec<Group<'a>>, labels: &[String], view: &EndpointView) -> Vec<Group<'a>> {
    let mut split: BTreeMap<(u32, Locality), Vec<Instance<'a>>> = BTreeMap::new();
    for group in groups {
        for instance in group.instances {
            let agree = labels.iter().take_while(|label| agrees(label, view, instance.endpoint)).count();
            let priority = u32::try_from(labels.len() - agree).unwrap_or(u32::MAX);
            split.entry((priority, group.locality.clone())).or_default().push(instance);
        }
    }
    let group = |((priority, locality), instances): (_, Vec<Instance<'a>>)| Group {
        locality,
        weight: weight_of(&instances),
        instances,
        priority,
    };
    compact(split.into_iter().map(group).collect())
}

fn agrees(label: &str, view: &EndpointView, endpoint: &Endpoint) -> bool {
    let (name, given) = label.split_once('=').map_or((label, None), |(name, value)| (name, Some(value)));
    let wanted = given.or_else(|| {
        let own = view.failover_labels.get(name).map(|value| &**value);
        own.or_else(|| of_place(name, &view.locality, &view.network))
    });
    let labelled = endpoint.labels.get(name).map(|value| &**value);
    let found = labelled.or_else(|| of_place(name, &endpoint.locality, &endpoint.network));
    wanted.unwrap_or_default() == found.unwrap_or_default()
}

/// Labels that say where something is.
fn of_place<'a>(label: &str, place: &'a Locality, network: &'a str) -> Option<&'a str> {
    match label {
        "topology.kubernetes.io/region" => Some(&place.region),
        "topology.kubernetes.io/zone" => Some(&place.zone),
        "topology.istio.io/subzone" => Some(&place.sub_zone),
        "topology.istio.io/network" => Some(network),
        _ => None,
    }
}
