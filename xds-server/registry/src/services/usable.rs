//! Which endpoints clients can be sent, the same for every platform.
//!
//! One address that a client can't read makes it reject the whole endpoint set. So what no client could reach is
//! left out here, by name, and the others serve.

use std::{collections::BTreeMap, sync::Arc};

use lateen_model::{Address, Diagnostic, Endpoint, Host, Resolution, Severity, diagnostic::Code};

use crate::codes;

/// Heaviest weight of an endpoint: sums of thousands of them stay below the 2³² that Envoy allows a locality.
/// <https://www.envoyproxy.io/docs/envoy/v1.40.0/api-v3/config/endpoint/v3/endpoint_components.proto#config-endpoint-v3-lbendpoint>
const WEIGHT_MAX: u32 = 65_535;
/// How many endpoints of a service get a finding each; of the rest there is one with their count.
const FINDINGS_MAX: usize = 20;

/// Leaves out of the endpoints of a service those that can't be reached, and bounds weights. `resolution` is that
/// of the service; `None` while nothing defines it. Returns what was found.
pub(super) fn retain(
    host: &Host,
    resolution: Option<Resolution>,
    endpoints: &mut Vec<Endpoint>,
) -> Vec<Diagnostic> {
    let mut found = Findings { host, all: Vec::new(), more: 0 };
    endpoints.retain_mut(|endpoint| keep(&mut found, resolution, endpoint));
    found.finish()
}

fn keep(found: &mut Findings<'_>, resolution: Option<Resolution>, endpoint: &mut Endpoint) -> bool {
    let address = &endpoint.address;
    if let Some(why) = address.fault() {
        found.add(codes::ENDPOINT, endpoint, &format!("is left out: {why}"), None);
        return false;
    }
    let by_name = matches!(resolution, None | Some(Resolution::Dns | Resolution::DnsRoundRobin));
    if matches!(address, Address::Name(_)) && !by_name {
        let text = "is left out: it is a name, and the service's instances are found by address";
        let hint = "give its IP address, or define the host with `resolution: DNS`";
        found.add(codes::ENDPOINT, endpoint, text, Some(hint));
        return false;
    }
    let is_socket = matches!(address, Address::Unix(_));
    if !is_socket && endpoint.ports.values().any(|number| *number == 0) {
        let (given, missing): (BTreeMap<_, _>, BTreeMap<_, _>) =
            endpoint.ports.iter().map(|(name, number)| (name.clone(), *number)).partition(|(_, n)| *n != 0);
        let names: Vec<String> = missing.keys().map(|name| format!("{name:?}")).collect();
        let text = format!("has no number from 1 to 65535 for its port {}", names.join(", "));
        let is_left_out = given.is_empty();
        let text = if is_left_out { format!("is left out: it {text}") } else { text };
        found.add(codes::ENDPOINT, endpoint, &text, None);
        endpoint.ports = Arc::new(given);
        if is_left_out {
            return false;
        }
    }
    if endpoint.weight > WEIGHT_MAX {
        let text = format!("has the weight {}; {WEIGHT_MAX} is the most, and counts", endpoint.weight);
        found.add(codes::WEIGHT, endpoint, &text, None);
        endpoint.weight = WEIGHT_MAX;
    }
    true
}

struct Findings<'a> {
    host: &'a Host,
    all: Vec<Diagnostic>,
    more: usize,
}

impl Findings<'_> {
    fn add(&mut self, code: Code, endpoint: &Endpoint, text: &str, hint: Option<&str>) {
        if self.all.len() == FINDINGS_MAX {
            self.more += 1;
            return;
        }
        self.all.push(Diagnostic {
            code,
            severity: Severity::Warning,
            object: None,
            origin: Some(endpoint.origin.clone()),
            path: String::new(),
            message: format!("instance {:?} of {} {text}", endpoint.address.to_string(), self.host),
            hint: hint.map(str::to_owned),
        });
    }

    fn finish(mut self) -> Vec<Diagnostic> {
        if self.more > 0
            && let Some(last) = self.all.last_mut()
        {
            last.message = format!("{}; there are findings about {} more instances", last.message, self.more);
        }
        self.all
    }
}
