//! Which service, `VirtualService`s, `DestinationRule`s and `Sidecar` hold for a client and a host.
//!
//! Nothing else in this crate decides precedence between objects: everything that names a host asks a [`Client`], so
//! that one view never has two answers for one host. The rules are Istio's; `docs/selection.md` has them as a table,
//! and `select/tests.rs` holds each of its rows.

mod routes;
mod rules;
mod service;
mod sidecar;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use lateen_config::istio::MeshConfig;
use lateen_model::{Host, Namespace};
use lateen_registry::Selector;

use crate::translate::{GatewayView, OutboundView, Read, Scope, Target, read};

pub(crate) use routes::{Held, Order};
pub(crate) use rules::Rules;
pub(crate) use service::Definition;
pub(crate) use sidecar::{Imports, effective as effective_sidecar};

/// A client, as far as selection depends on it.
#[derive(Debug)]
pub(crate) struct Client<'a> {
    namespace: &'a Namespace,
    /// Where objects for the whole mesh live.
    root: Namespace,
    domain: &'a str,
    /// The selectors that ask for the client's labels, and that these satisfy.
    selectors: &'a BTreeSet<Selector>,
    /// What its `Sidecar` lets it reach; `None` for a gateway, which reaches everything that it may see.
    scope: Option<&'a Scope>,
}

impl<'a> Client<'a> {
    /// A sidecar or a proxyless client.
    pub(crate) fn outbound(view: &'a OutboundView, mesh: &MeshConfig, scope: &'a Scope) -> Self {
        Self {
            namespace: &view.namespace,
            root: read::root_namespace(mesh),
            domain: &view.domain,
            selectors: &view.selectors,
            scope: Some(scope),
        }
    }

    /// A gateway.
    pub(crate) fn gateway(view: &'a GatewayView, mesh: &MeshConfig) -> Self {
        Self {
            namespace: &view.namespace,
            root: read::root_namespace(mesh),
            domain: &view.domain,
            selectors: &view.selectors,
            scope: None,
        }
    }

    /// The definition of a host that routes lead to, with the rules that apply.
    pub(crate) fn target(&self, r: &mut dyn Read, host: Host) -> Target {
        let service = self.service(r, &host).map(|definition| definition.service);
        let rules = service.as_ref().and_then(|service| self.rules(r, service));
        Target { host, namespace: service.map(|service| service.namespace.clone()), rules }
    }
}
