//! `DestinationRule`. <https://istio.io/latest/docs/reference/config/networking/destination-rule/>

use super::{
    common::{Labels, PolicySelector},
    traffic_policy::TrafficPolicy,
};
use crate::decode::object;

object! {
    /// How traffic to a host is treated after routing.
    pub struct DestinationRule {
        host: String = "host",
        traffic_policy: Option<TrafficPolicy> = "trafficPolicy",
        subsets: Vec<Subset> = "subsets",
        export_to: Vec<String> = "exportTo",
        workload_selector: Option<PolicySelector> = "workloadSelector",
    }
}

object! {
    /// Endpoints with some labels, under a name.
    pub struct Subset {
        name: String = "name",
        labels: Labels = "labels",
        traffic_policy: Option<TrafficPolicy> = "trafficPolicy",
    }
}
