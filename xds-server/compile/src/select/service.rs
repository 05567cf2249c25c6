//! Which definition of a host a client sees.

use std::sync::Arc;

use lateen_model::{DefinedBy, Host, Namespace, Port, Protocol, Service, service::Visibility};

use super::Client;
use crate::translate::{Egress, HTTP_PORT, Read, Routes, read};

/// The one definition of a host for a client.
#[derive(Clone, Debug)]
pub(crate) struct Definition {
    /// The definition.
    pub service: Arc<Service>,
    /// Does the client call it by its host? Otherwise it is only led to, by the routes of another host.
    pub imported: bool,
}

impl Client<'_> {
    /// The definition of `host` for this client, `None` if it sees none. There is one for each client and host,
    /// whichever listener or route asks: the host is the name of the cluster.
    ///
    /// What the `Sidecar` imports comes first. Of the definitions that one listener imports the client's own counts,
    /// then the platform's, then one that is exported to named namespaces, then the first by precedence. Of several
    /// listeners the first counts, but for a `ServiceEntry` where another imports the platform's own service.
    /// Where nothing is imported, routes of other hosts lead to the definition of the client's namespace, whoever that
    /// is exported to, then to the platform's, then to the first.
    pub(crate) fn service(&self, r: &mut dyn Read, host: &Host) -> Option<Definition> {
        let visible = self.visible(r, host);
        let Some(scope) = self.scope else {
            let service = self.best(&visible, |_| true)?.clone();
            return Some(Definition { service, imported: true });
        };
        let mut chosen: Option<&Arc<Service>> = None;
        for listener in &scope.listeners {
            let imported = |service: &Service| listener.imports(&service.namespace, host);
            let Some(found) = self.best(&visible, imported) else { continue };
            let keeps = chosen.is_some_and(|chosen| {
                chosen.defined_by == DefinedBy::Platform || found.defined_by == DefinedBy::ServiceEntry
            });
            if !keeps {
                chosen = Some(found);
            }
        }
        let imported = chosen.is_some() || scope.proxies_through(host);
        let all = read::services(r, host);
        let own = || all.iter().filter(|s| s.namespace == *self.namespace).min_by_key(|s| s.defined_by);
        let other = || visible.iter().min_by_key(|s| s.defined_by);
        let service = chosen.or_else(own).or_else(other)?.clone();
        Some(Definition { service, imported })
    }

    /// Is the host reached through this listener?
    pub(crate) fn listens(&self, r: &mut dyn Read, listener: &Egress, host: &Host) -> bool {
        self.visible(r, host).iter().any(|service| listener.imports(&service.namespace, host))
    }

    /// The ports on which the client calls `host` by that very name; empty for all, `None` where it is not a host
    /// for the client.
    pub(crate) fn calls(&self, r: &mut dyn Read, host: &Host) -> Option<Vec<u16>> {
        let service = self.service(r, host).filter(|definition| definition.imported);
        let listeners = self.scope.map(|scope| scope.listeners.as_slice()).unwrap_or_default();
        let routed = read::virtual_services(r, host);
        let holds = |routes: &Routes, l: &Egress| !routes.spec.http.is_empty() && self.holds(routes, Some(l));
        let is_routed = |listener: &Egress| routed.iter().any(|routes| holds(routes, listener));
        let routed = listeners.iter().any(is_routed).then_some(HTTP_PORT);
        let any_port = listeners.iter().any(|listener| listener.port.is_some());
        match service {
            Some(_) if any_port => Some(Vec::new()),
            Some(service) => {
                Some(service.service.ports.iter().map(|port| port.number).chain(routed).collect())
            }
            None => routed.map(|port| vec![port]),
        }
    }

    /// The ports on which the client calls a definition by its address; empty for all, `None` where that is not the
    /// definition that it sees.
    pub(crate) fn calls_by_address(
        &self,
        r: &mut dyn Read,
        host: &Host,
        namespace: &Namespace,
    ) -> Option<Vec<u16>> {
        let found = self.service(r, host).filter(|found| found.imported)?.service;
        let listeners = self.scope.map(|scope| scope.listeners.as_slice()).unwrap_or_default();
        let any_port = listeners.iter().any(|listener| listener.port.is_some());
        let is_http = |port: &&Port| port.protocol.is_http() || port.protocol == Protocol::Unknown;
        let ports = || found.ports.iter().filter(is_http).map(|port| port.number).collect::<Vec<_>>();
        match (found.namespace == *namespace, any_port) {
            (false, _) => None,
            (true, true) => Some(Vec::new()),
            (true, false) => Some(ports()).filter(|ports| !ports.is_empty()),
        }
    }

    /// The definitions of a host that are exported to the client, in their order.
    pub(super) fn visible(&self, r: &mut dyn Read, host: &Host) -> Vec<Arc<Service>> {
        let all = read::services(r, host);
        all.iter().filter(|service| service.export_to.allows(self.namespace)).cloned().collect()
    }

    fn best<'s>(
        &self,
        visible: &'s [Arc<Service>],
        imported: impl Fn(&Service) -> bool,
    ) -> Option<&'s Arc<Service>> {
        let rank = |service: &&Arc<Service>| {
            (service.namespace != *self.namespace, service.defined_by, service.export_to == Visibility::All)
        };
        // Of equal ones the first is taken, and they stand in precedence order.
        visible.iter().filter(|service| imported(service)).min_by_key(rank)
    }
}
