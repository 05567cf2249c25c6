//! `WorkloadEntry`. <https://istio.io/latest/docs/reference/config/networking/workload-entry/>

use std::collections::BTreeMap;

use super::common::Labels;
use crate::decode::object;

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
