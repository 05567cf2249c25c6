//! Where routes lead.

use std::sync::Arc;

use lateen_config::istio::Destination;
use lateen_model::{Host, Service};

use super::{
    super::{
        Read, Target, names,
        notes::{NO_DESTINATION, Notes},
        policy::Policy,
        read::{self, Routes},
    },
    Context,
};
use crate::select::Rules;

/// Where a route leads.
#[derive(Debug)]
pub(crate) struct Place {
    /// Name of the cluster.
    pub cluster: Arc<str>,
    /// The definition, where the client sees one.
    pub service: Option<Arc<Service>>,
    rules: Rules,
    port: u16,
    subset: Option<String>,
}

impl Place {
    /// The traffic policy there.
    pub(crate) fn policy(&self) -> Policy<'_> {
        self.rules.policy(self.subset.as_deref(), self.port)
    }
}

/// Looks up a destination, and notes it where it is not there for this client.
pub(crate) fn resolve(
    r: &mut dyn Read,
    notes: &mut Notes,
    context: &Context<'_>,
    from: &Routes,
    to: &Destination,
) -> Place {
    let host = Host::resolve(&to.host, &from.namespace, context.domain);
    let target = context.targets.iter().find(|target| target.host == host);
    let service = target
        .and_then(|target| target.namespace.as_ref())
        .and_then(|namespace| read::service_in(r, &host, namespace));
    let given = to.port.as_ref().and_then(|port| u16::try_from(port.number).ok());
    let port = given.unwrap_or_else(|| match service.as_ref().map(|service| service.ports.as_slice()) {
        Some([only]) => only.number,
        Some(_) | None => context.port,
    });
    let rules = target.map(|target| Rules::load(r, target.rules.as_ref())).unwrap_or_default();
    let subset = (!to.subset.is_empty()).then(|| to.subset.clone());
    let place = Place {
        cluster: names::cluster(port, subset.as_deref(), host.as_str()),
        service,
        rules,
        port,
        subset,
    };
    match place.missing(&host) {
        // Envoy answers 503 for a cluster that is not there: the route is its own error.
        Some(text) => notes.warn(NO_DESTINATION, Some((&from.key, &from.origin)), text),
        None => notes.cluster(r, &place.cluster),
    }
    for rule in place.rules.iter() {
        notes.origin(&rule.origin);
    }
    place
}

impl Place {
    fn missing(&self, host: &Host) -> Option<String> {
        let Some(service) = &self.service else { return Some(format!("no service {host} is visible")) };
        if !service.ports.iter().any(|port| port.number == self.port) {
            return Some(format!("service {host} has no port {}", self.port));
        }
        let name = self.subset.as_ref()?;
        let unknown = self.rules.subset(name).is_none();
        unknown.then(|| format!("no DestinationRule gives {host} a subset {name}"))
    }
}

/// The service itself.
pub(crate) fn own(
    r: &mut dyn Read,
    notes: &mut Notes,
    targets: &[Target],
    service: &Arc<Service>,
    port: u16,
) -> Place {
    let target = targets.iter().find(|target| target.host == service.host);
    let rules = target.map(|target| Rules::load(r, target.rules.as_ref())).unwrap_or_default();
    let cluster = names::cluster(port, None, service.host.as_str());
    notes.cluster(r, &cluster);
    for rule in rules.iter() {
        notes.origin(&rule.origin);
    }
    Place { cluster, service: Some(service.clone()), rules, port, subset: None }
}
