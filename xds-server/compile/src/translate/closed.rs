//! Clusters whose TLS can't be applied: nobody can connect by them, so that nothing travels in the clear that was
//! meant to be protected. `docs/unapplied.md` has the whole table.

use std::sync::Arc;

use lateen_config::{
    ConfigObject,
    istio::{ClientTls, DestinationRule, MeshConfig, TrafficPolicy},
    path::Path,
};
use lateen_model::{Diagnostic, Origin, Streams, Unapplied};
use lateen_registry::Sourced;

use super::{
    ClientProfile, ClusterKey, Read, backend_tls, names,
    notes::{Notes, Unmet},
    policy::Policy,
    pool,
    read::{self, Rule},
    transport,
    wire::cds::{self, circuit_breakers::Thresholds, cluster as c},
};
use crate::select::Rules;

const REMEDY: &str =
    "give files (clientCertificate, privateKey, caCertificates), or mode DISABLE for plain text";

/// Is the cluster closed? And the TLS to be applied, if there is any that can be.
pub(crate) fn wanted<'a>(
    r: &mut dyn Read,
    notes: &mut Notes,
    key: &ClusterKey,
    policy: &Policy<'a>,
    rules: &Rules,
) -> (bool, Option<&'a ClientTls>) {
    if let Some(backend) = of_gateway(r, key) {
        let choice = read::unapplied(r);
        notes.finding(backend_tls::finding(&backend, choice));
        if choice == Unapplied::Close {
            return (true, None);
        }
    }
    let Some(tls) = policy.tls else { return (false, None) };
    let Some(why) = transport::refusal(tls, key.profile) else { return (false, Some(tls)) };
    let choice = read::unapplied(r);
    let found = rules.iter().find_map(|rule| Some((rule, place_of(&rule.spec, tls)?)));
    notes.finding(if let Some((rule, at)) = found {
        of_place(rule, Some(&at), why, choice)
    } else {
        let name = names::cluster(key.port, key.subset.as_deref(), key.host.as_str());
        let closed = format!("cluster {name} is closed");
        let (path, why) = (String::new(), why.to_owned());
        Unmet { about: None, path, why, closed, remedy: REMEDY }.finding(choice)
    });
    (choice == Unapplied::Close, None)
}

/// The policy of the backend, where the client is a gateway.
fn of_gateway(r: &mut dyn Read, key: &ClusterKey) -> Option<Arc<Sourced<ConfigObject>>> {
    let services = if key.gateway { read::services(r, &key.host) } else { return None };
    let service = services.iter().find(|service| service.namespace == key.namespace)?;
    backend_tls::of_port(r, service, key.port)
}

/// What a rule closes of its host, whoever the clients are.
pub(crate) fn of_rule(rule: &Rule, choice: Unapplied) -> Vec<Diagnostic> {
    let subsets = rule.spec.subsets.iter().filter_map(|subset| subset.traffic_policy.as_ref());
    let policies = rule.spec.traffic_policy.iter().chain(subsets);
    let all = policies.flat_map(|policy| {
        policy.tls.iter().chain(policy.port_level_settings.iter().filter_map(|port| port.tls.as_ref()))
    });
    let profile = ClientProfile::Envoy(Streams::Aggregated);
    let refused = all.filter_map(|tls| Some((tls, transport::refusal(tls, profile)?)));
    refused.map(|(tls, why)| of_place(rule, place_of(&rule.spec, tls).as_ref(), why, choice)).collect()
}

/// What is told of a TLS setting of a rule: once, however many clusters it closes.
fn of_place(rule: &Rule, at: Option<&Place>, why: &str, choice: Unapplied) -> Diagnostic {
    let origin = at.map_or_else(|| rule.origin.clone(), |at| at.origin(rule));
    Unmet {
        about: Some((&rule.key, origin)),
        path: at.map(|at| at.with_path(|path| path.to_string())).unwrap_or_default(),
        why: why.to_owned(),
        closed: format!("clusters of {} are closed", rule.spec.host),
        remedy: REMEDY,
    }
    .finding(choice)
}

/// Is the cluster with this policy closed?
pub(crate) fn is_closed(r: &mut dyn Read, profile: ClientProfile, policy: &Policy<'_>) -> bool {
    policy.tls.is_some_and(|tls| transport::refusal(tls, profile).is_some())
        && read::unapplied(r) == Unapplied::Close
}

/// A cluster that has no endpoint and asks for none: no connection is ever made by it. It is not an EDS cluster
/// without endpoints, which would let a moment pass in which those of before are still there.
pub(crate) fn empty(message: &mut cds::Cluster, mesh: &MeshConfig) {
    message.cluster_discovery_type = Some(c::ClusterDiscoveryType::Type(c::DiscoveryType::Static as i32));
    message.connect_timeout = Some(mesh.connect_timeout.unwrap_or(pool::CONNECT_TIMEOUT).into());
}

/// A cluster of a gRPC client that lets no call pass. The clients take no static clusters, so calls are limited to
/// none; those that know no limits get no endpoints either ([`is_closed`]).
/// <https://github.com/grpc/proposal/blob/master/A32-xds-circuit-breaking.md>
pub(crate) fn for_grpc(message: &mut cds::Cluster) {
    let none = Thresholds { max_requests: Some(0.into()), ..Default::default() };
    message.circuit_breakers = Some(cds::CircuitBreakers { thresholds: vec![none], ..Default::default() });
}

/// Where in a rule a `tls` stands.
struct Place {
    subset: Option<usize>,
    port: Option<usize>,
}

fn place_of(rule: &DestinationRule, tls: &ClientTls) -> Option<Place> {
    let subsets =
        rule.subsets.iter().enumerate().map(|(at, subset)| (Some(at), subset.traffic_policy.as_ref()));
    let mut all = std::iter::once((None, rule.traffic_policy.as_ref())).chain(subsets);
    all.find_map(|(subset, policy)| {
        let port = port_of(policy?, tls)?;
        Some(Place { subset, port })
    })
}

/// `Some(None)` if it is that of all ports.
#[allow(clippy::option_option, reason = "whether there is a place, and which port it is of")]
fn port_of(policy: &TrafficPolicy, tls: &ClientTls) -> Option<Option<usize>> {
    let is = |candidate: &Option<ClientTls>| candidate.as_ref().is_some_and(|one| std::ptr::eq(one, tls));
    if is(&policy.tls) {
        return Some(None);
    }
    policy.port_level_settings.iter().position(|port| is(&port.tls)).map(Some)
}

impl Place {
    fn with_path<T>(&self, f: impl FnOnce(&Path<'_>) -> T) -> T {
        let spec = Path::ROOT.field("spec");
        let (subsets, ports);
        let (subset, settings);
        let mut policy = spec.field("trafficPolicy");
        if let Some(at) = self.subset {
            subsets = spec.field("subsets");
            subset = subsets.index(at);
            policy = subset.field("trafficPolicy");
        }
        let Some(at) = self.port else { return f(&policy.field("tls")) };
        ports = policy.field("portLevelSettings");
        settings = ports.index(at);
        f(&settings.field("tls"))
    }

    fn origin(&self, rule: &Rule) -> Origin {
        let mut origin = rule.origin.clone();
        if let Some(span) = self.with_path(|path| rule.spans.find(path)) {
            (origin.line, origin.column) = (span.line, span.column);
        }
        origin
    }
}
