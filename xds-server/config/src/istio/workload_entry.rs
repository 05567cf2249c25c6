//! `WorkloadEntry`. <https://istio.io/latest/docs/reference/config/networking/workload-entry/>

use std::{borrow::Cow, collections::BTreeMap};

use super::common::Labels;
use crate::{Metadata, decode::object};

object! {
    /// One instance that no platform's registry knows; also an endpoint of a `ServiceEntry`.
    pub struct WorkloadEntry {
        /// An IP address, a DNS name, or `unix://` with a path.
        address: String = "address",
        /// Port of the instance by the port's name in the service.
        ports: BTreeMap<String, u32> = "ports",
        labels: Labels = "labels",
        network: String = "network"
            without_effect "endpoints of other networks are reached at their own addresses: gateways of networks are not read",
        /// `region/zone/subzone`
        locality: String = "locality",
        weight: Option<u32> = "weight",
        service_account: String = "serviceAccount" without_effect "proxies have no identities yet",
    }
}

impl WorkloadEntry {
    /// Labels of the instance, where the entry is an object: its own and those of the metadata, which count where both
    /// have one. <https://istio.io/latest/docs/reference/config/networking/workload-entry/#WorkloadEntry-labels>
    pub fn labels_of<'a>(&'a self, meta: &'a Metadata) -> Cow<'a, Labels> {
        if meta.labels.is_empty() {
            return Cow::Borrowed(&self.labels);
        }
        if self.labels.is_empty() {
            return Cow::Borrowed(&meta.labels);
        }
        let mut all = self.labels.clone();
        all.extend(meta.labels.iter().map(|(name, value)| (name.clone(), value.clone())));
        Cow::Owned(all)
    }
}
