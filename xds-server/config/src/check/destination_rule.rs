//! `DestinationRule`.

use std::collections::BTreeSet;

use super::{Check, names, traffic_policy};
use crate::{Metadata, codes, findings::Findings, istio::DestinationRule, path::Path};

impl Check for DestinationRule {
    fn check(&self, _: &Metadata, at: &Path<'_>, out: &mut Findings) {
        if self.host.is_empty() {
            out.error(codes::MISSING, &at.field("host"), "the object has no host");
        } else if !names::is_ip(&self.host) {
            names::wildcard_host(&self.host, &at.field("host"), out);
        }
        if let Some(policy) = &self.traffic_policy {
            traffic_policy::check(policy, &at.field("trafficPolicy"), out);
        }
        let mut seen = BTreeSet::new();
        for (index, subset) in self.subsets.iter().enumerate() {
            let parent = at.field("subsets");
            let at = parent.index(index);
            if !names::is_dns_label(&subset.name) {
                let message = format!("\"{}\" is not the name of a subset", names::shorten(&subset.name));
                out.error(codes::NAME, &at.field("name"), message)
                    .hint("a name has lower-case letters, digits and - and at most 63 characters");
            } else if !seen.insert(&*subset.name) {
                let message = format!("the subset {} is defined twice", subset.name);
                out.error(codes::DUPLICATE_PART, &at.field("name"), message);
            }
            names::labels(&subset.labels, &at.field("labels"), out);
            if let Some(policy) = &subset.traffic_policy {
                traffic_policy::check(policy, &at.field("trafficPolicy"), out);
            }
        }
        names::export_to(&self.export_to, names::ExportOf::Configuration, &at.field("exportTo"), out);
        if let Some(selector) = &self.workload_selector {
            let at = at.field("workloadSelector");
            names::labels(&selector.match_labels, &at.field("matchLabels"), out);
            if self.export_to.iter().any(|entry| entry != ".") {
                out.error(codes::COMBINATION, &at, "with a workloadSelector, exportTo can only be \".\"");
            }
        }
    }
}
