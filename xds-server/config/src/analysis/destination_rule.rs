//! `DestinationRule`.

use std::collections::{BTreeSet, HashMap};

use super::{
    Analyse, common,
    index::{Index, Known, Workloads, selects},
    route,
};
use crate::{
    ParsedObject, codes,
    findings::Findings,
    istio::{DestinationRule, Labels, Subset},
    path::Path,
    precedence::precedes,
};

impl Analyse for DestinationRule {
    fn enter<'a>(&'a self, object: &'a ParsedObject, index: &mut Index<'a>) {
        let host = index.resolve(&self.host, &object.key.namespace);
        let subsets = self.subsets.iter().map(|subset| (host.clone(), &*subset.name));
        index.defined_subsets.extend(subsets);
        index.rules.entry(host).or_default().push((object, self));
    }

    fn look(&self, object: &ParsedObject, index: &Index<'_>, at: &Path<'_>, out: &mut Findings) {
        look(object, self, index, at, out);
    }
}

fn look(object: &ParsedObject, spec: &DestinationRule, index: &Index<'_>, at: &Path<'_>, out: &mut Findings) {
    common::export_to(&spec.export_to, index, at, out);
    let host = index.resolve(&spec.host, &object.key.namespace);
    let known = index.covered_by(&host);
    if known.is_empty() && index.knows_services() {
        let hint = index.nearest_host(&host, &object.key.namespace);
        let message = format!("the host {host} is unknown: the rule has no effect");
        out.warn(codes::RULE_HOST, &at.field("host"), message).maybe_hint(hint);
    }
    let workloads = ByLabel::of_hosts(&known, index);
    for (number, subset) in spec.subsets.iter().enumerate() {
        let parent = at.field("subsets");
        let at = parent.index(number);
        let used = index.used_subsets.contains(&(host.clone(), &*subset.name));
        if subset.labels.is_empty() {
            let message = format!("the subset {} has no labels: it is the whole service", subset.name);
            out.warn(codes::SUBSET_WITHOUT_LABELS, &at, message);
        } else if let Some(message) = workloads.as_ref().and_then(|workloads| workloads.why_empty(subset)) {
            let at = at.field("labels");
            if used {
                out.error(codes::SUBSET_EMPTY, &at, message);
            } else {
                out.info(codes::SUBSET_EMPTY, &at, message);
            }
        }
        if !used && !host.is_wildcard() {
            let message = format!("no route leads to the subset {}", subset.name);
            out.info(codes::SUBSET_UNUSED, &at.field("name"), message);
        }
    }
    twice(object, spec, &host, index, at, out);
    let ports = spec.traffic_policy.iter().flat_map(|policy| &policy.port_level_settings).enumerate();
    for (number, settings) in ports {
        let Some(port) = &settings.port else { continue };
        if !known.is_empty()
            && !known.iter().any(|known| route::has_port(std::slice::from_ref(*known), port.number))
        {
            let policy = at.field("trafficPolicy");
            let list = policy.field("portLevelSettings");
            let message = format!("{host} has no port {}", port.number);
            out.warn(codes::RULE_PORT, &list.index(number).field("port"), message);
        }
    }
}

/// The workloads behind a host, to be looked up by their labels.
struct ByLabel<'a> {
    any: bool,
    /// Some are pods that are not given.
    unknown_pods: bool,
    with: HashMap<(&'a str, &'a str), Vec<&'a Labels>>,
}

impl<'a> ByLabel<'a> {
    /// `None` if not all of them are known.
    fn of_hosts(known: &[&Known<'a>], index: &Index<'a>) -> Option<Self> {
        let mut workloads: Vec<&'a Labels> = Vec::new();
        let mut unknown_pods = false;
        for known in known {
            match &known.workloads {
                Workloads::Selected(_) if known.is_of_unknown_pods(index) => unknown_pods = true,
                Workloads::Selected(selector) => {
                    let found = index.selectors.find(Some(known.namespace.as_str()), selector);
                    workloads.extend(found.map(|(_, _, labels)| labels));
                }
                Workloads::Listed(list) => workloads.extend(list.iter().copied()),
                Workloads::Unknown => return None,
            }
        }
        let mut with: HashMap<_, Vec<_>> = HashMap::new();
        for workload in &workloads {
            for (key, value) in *workload {
                with.entry((&**key, &**value)).or_default().push(*workload);
            }
        }
        Some(Self { any: !workloads.is_empty(), unknown_pods, with })
    }

    /// Says why a subset is empty; `None` if it is not. Looks at the workloads with its rarest label.
    fn why_empty(&self, subset: &Subset) -> Option<String> {
        let name = &subset.name;
        if self.unknown_pods {
            return Some(format!(
                "the endpoints of the host are pods that are not given, and without their labels the subset {name} \
                 is empty"
            ));
        }
        let mut rarest: Option<&[&Labels]> = None;
        for (key, value) in &subset.labels {
            let with = self.with.get(&(&**key, &**value)).map(Vec::as_slice).unwrap_or_default();
            if rarest.is_none_or(|rarest| with.len() < rarest.len()) {
                rarest = Some(with);
            }
        }
        let some = rarest.unwrap_or_default().iter().any(|workload| selects(&subset.labels, workload));
        (self.any && !some)
            .then(|| format!("the labels of the subset {name} are those of no workload of the host"))
    }
}

/// Does another rule of the namespace, which counts more, say the same?
fn twice(
    object: &ParsedObject,
    spec: &DestinationRule,
    host: &lateen_model::Host,
    index: &Index<'_>,
    at: &Path<'_>,
    out: &mut Findings,
) {
    for (other, rule) in index.rules.get(host.as_str()).into_iter().flatten() {
        let same =
            other.key.namespace == object.key.namespace && rule.workload_selector == spec.workload_selector;
        if !same || other.key == object.key || !precedes(other, object) {
            continue;
        }
        if spec.traffic_policy.is_some() && rule.traffic_policy.is_some() {
            let message = format!("{} has a policy for {host} already: this one has no effect", other.key);
            out.warn(codes::RULE_TWICE, &at.field("trafficPolicy"), message);
        }
        let defined: BTreeSet<&str> = rule.subsets.iter().map(|subset| &*subset.name).collect();
        for (number, subset) in spec.subsets.iter().enumerate() {
            if defined.contains(&*subset.name) {
                let parent = at.field("subsets");
                let message = format!("{} defines the subset {} of {host} already", other.key, subset.name);
                out.warn(codes::RULE_TWICE, &parent.index(number).field("name"), message);
            }
        }
    }
}
