//! What a `Sidecar` lets a workload reach, and through which listeners.
//! <https://istio.io/latest/docs/reference/config/networking/sidecar/>

use std::{collections::BTreeSet, sync::Arc};

use lateen_config::istio::{
    CaptureMode, Destination, EgressListener, InterceptionMode, MeshConfig, MeshOutboundMode, OutboundMode,
    Sidecar,
};
use lateen_model::{Host, Namespace, Origin, Protocol};
use lateen_registry::Definition;

use super::{
    Bind, Families, OutboundView, Read,
    read::{self, Routes},
};
use crate::select::Imports;

/// The egress side of a view.
#[derive(PartialEq, Debug)]
pub struct Scope {
    /// Its listeners; at least one.
    pub(crate) listeners: Vec<Egress>,
    /// What happens to traffic to unknown hosts.
    pub(crate) unknown: Unknown,
    /// Where the `Sidecar` was read.
    pub(crate) origin: Option<Origin>,
    /// The host of the proxy for unknown hosts: it is there whether a listener names it or not.
    proxy: Option<Host>,
    /// The wildcards that cover what the listeners import.
    wider: BTreeSet<Host>,
}

/// What happens to traffic to unknown hosts.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Unknown {
    /// It goes where it was going.
    Allow,
    /// It goes nowhere.
    Block,
    /// It goes through this service.
    Proxy(Destination),
}

/// One egress listener, or the one for all ports.
#[derive(PartialEq, Debug)]
pub(crate) struct Egress {
    imports: Imports,
    /// Its own port; without one it stands for all ports of the services that it imports.
    pub port: Option<EgressPort>,
    /// The address it is bound to or stands for; none is the wildcard, or loopback where the socket is opened.
    pub bind: Option<Arc<str>>,
    /// Do connections come from `virtualOutbound`? Otherwise the socket is opened.
    pub captured: bool,
}

/// The port of an egress listener.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct EgressPort {
    pub number: u16,
    pub speaks: Speaks,
    /// Its route configuration, where it speaks HTTP.
    pub route_config: Arc<str>,
}

/// What an egress listener with a port expects.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Speaks {
    /// As for a service's port.
    Protocol(Protocol),
    /// HTTP for services on any port, told apart by the `Host` header.
    AnyPort,
}

impl Egress {
    /// Is a host that is defined in `namespace` reached through this listener?
    pub(crate) fn imports(&self, namespace: &Namespace, host: &Host) -> bool {
        self.imports.service(namespace, host)
    }

    /// Does a `VirtualService` hold for what is reached through this listener?
    pub(crate) fn imports_routes(&self, routes: &Routes, domain: &str) -> bool {
        self.imports.routes(routes, domain)
    }
}

/// Where to look for the hosts that a scope imports: in one place for each import, never everywhere.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Wanted<'a> {
    /// This host, whoever defines it.
    Host(&'a Host),
    /// Hosts that a namespace defines.
    Namespace(&'a Namespace),
    /// Hosts that a wildcard covers, whoever defines them.
    Wildcard(&'a Host),
}

/// The scope of a view.
pub fn outbound_scope(r: &mut dyn Read, view: &OutboundView) -> Scope {
    let mesh = read::mesh(r);
    Scope::of(r, view, &mesh)
}

impl Scope {
    /// Is the host one that clients of this namespace see? A service or a `VirtualService` that has it is exported to
    /// them and imported.
    pub(crate) fn shows(&self, client: &Namespace, host: &Host, definitions: &[Definition]) -> bool {
        let is_there = |namespace| self.imports(namespace, host) || self.imports_under(namespace, host);
        definitions.iter().any(|one| one.visibility.allows(client) && is_there(&one.namespace))
    }

    /// Where all hosts are that [`Scope::shows`] can be true of.
    pub(crate) fn wanted(&self) -> impl Iterator<Item = Wanted<'_>> {
        let imports = self.listeners.iter().flat_map(|listener| listener.imports.named());
        let wanted = imports.map(|(namespace, host)| match namespace {
            _ if !host.is_wildcard() => Wanted::Host(host),
            Some(namespace) => Wanted::Namespace(namespace),
            None => Wanted::Wildcard(host),
        });
        wanted.chain(self.proxy.iter().chain(&self.wider).map(Wanted::Host))
    }

    /// The scope of a view.
    fn of(r: &mut dyn Read, view: &OutboundView, mesh: &MeshConfig) -> Self {
        let sidecar = view.sidecar.as_ref().and_then(|key| read::sidecar(r, key));
        let none =
            mesh.default_config.as_ref().is_some_and(|c| c.interception_mode == InterceptionMode::None);
        let mut listeners: Vec<Egress> = Vec::new();
        for from in sidecar.iter().flat_map(|s| &s.spec.egress) {
            // `.` is the workload's namespace, also in the root namespace's `Sidecar`.
            let next = Egress::of(from, &view.namespace, none, &listeners);
            listeners.push(next);
        }
        if listeners.is_empty() {
            // No egress is every host that is exported to the namespace.
            let imports = Imports::everything();
            listeners.push(Egress { imports, port: None, bind: None, captured: !none });
        }
        let unknown = unknown(sidecar.as_ref().map(|s| &*s.spec), mesh);
        let proxy = match &unknown {
            Unknown::Proxy(proxy) => Some(Host::resolve(&proxy.host, &view.namespace, &view.domain)),
            Unknown::Allow | Unknown::Block => None,
        };
        let imports = listeners.iter().flat_map(|listener| listener.imports.named());
        let wider =
            imports.flat_map(|(_, host)| host.wildcards()).filter(|host| host.as_str() != "*").collect();
        Self { listeners, unknown, origin: sidecar.map(|s| s.origin.clone()), proxy, wider }
    }

    /// Is a host that is defined in `namespace` reached at all?
    fn imports(&self, namespace: &Namespace, host: &Host) -> bool {
        self.proxies_through(host) || self.listeners.iter().any(|listener| listener.imports(namespace, host))
    }

    /// Is a host imported that this wildcard covers? A `VirtualService` of the wildcard comes with it.
    fn imports_under(&self, namespace: &Namespace, wildcard: &Host) -> bool {
        self.wider.contains(wildcard)
            && self
                .listeners
                .iter()
                .flat_map(|listener| listener.imports.named())
                .any(|(of, host)| of.is_none_or(|of| of == namespace) && wildcard.covers(host))
    }

    /// Does traffic to unknown hosts go through this one?
    pub(crate) fn proxies_through(&self, host: &Host) -> bool {
        self.proxy.as_ref() == Some(host)
    }

    /// Does anything come from captured connections?
    pub(crate) fn captures(&self) -> bool {
        self.listeners.iter().any(|listener| listener.captured)
    }

    /// The listener with this route configuration, if one with a port has it.
    pub(crate) fn with_route_config(&self, name: &str) -> Option<&Egress> {
        self.listeners.iter().find(|l| l.port.as_ref().is_some_and(|p| &*p.route_config == name))
    }

    /// Has a listener with a port of its own this place? Then the one for all other ports keeps out of it.
    pub(crate) fn is_claimed(&self, bind: &Bind, families: Families) -> bool {
        let own = |l: &Egress| l.port.as_ref().map(|port| l.bind(families, port.number));
        self.listeners.iter().filter_map(own).any(|claimed| claimed == *bind)
    }

    /// The route configuration for all services on a port: its number, unless a listener of its own has that.
    pub(crate) fn shared_route_config(&self, port: u16) -> Arc<str> {
        let name = port.to_string();
        if self.with_route_config(&name).is_some() { format!("*_{port}").into() } else { name.into() }
    }
}

impl Egress {
    fn of(from: &EgressListener, own: &Namespace, never_captured: bool, before: &[Egress]) -> Self {
        let captured = match from.capture_mode {
            CaptureMode::None => false,
            CaptureMode::Default => !never_captured,
            CaptureMode::Iptables => true,
        };
        let bind: Option<Arc<str>> = (!from.bind.is_empty()).then(|| from.bind.as_str().into());
        let unix = bind.as_ref().is_some_and(|bind| bind.starts_with("unix://"));
        let port = from.port.as_ref().and_then(|port| {
            let number = u16::try_from(port.number).ok().filter(|number| *number > 0 || unix)?;
            let protocol = Protocol::from_name(&port.protocol);
            let any_port = port.protocol.eq_ignore_ascii_case("HTTP_PROXY")
                || (unix && protocol.is_some_and(Protocol::is_http));
            let speaks = if any_port {
                Speaks::AnyPort
            } else {
                Speaks::Protocol(protocol.unwrap_or(Protocol::Unknown))
            };
            Some(EgressPort { number, speaks, route_config: route_config(number, bind.as_ref(), before) })
        });
        let imports = Imports::parse(&from.hosts, own);
        Self { imports, port, bind, captured }
    }

    /// Where the listener is: its address and port for a port that clients call.
    pub(crate) fn bind(&self, families: Families, port: u16) -> Bind {
        let address = match &self.bind {
            Some(bind) => bind.clone(),
            None => match (self.captured, families) {
                (true, Families::V4 | Families::Dual) => "0.0.0.0".into(),
                (true, Families::V6) => "::".into(),
                (false, Families::V4 | Families::Dual) => "127.0.0.1".into(),
                (false, Families::V6) => "::1".into(),
            },
        };
        let port = if address.starts_with("unix://") { 0 } else { port };
        Bind { address, port, bound: !self.captured }
    }
}

/// Istio's name of the route configuration is the port, or the path of the socket; the address is put before
/// the port where another listener has that name already.
fn route_config(port: u16, bind: Option<&Arc<str>>, before: &[Egress]) -> Arc<str> {
    let name: Arc<str> = match bind {
        Some(bind) if bind.starts_with("unix://") => bind.clone(),
        _ => port.to_string().into(),
    };
    let taken = before.iter().any(|l| l.port.as_ref().is_some_and(|p| p.route_config == name));
    if taken { format!("{}_{port}", bind.map_or("127.0.0.1", |b| b)).into() } else { name }
}

fn unknown(sidecar: Option<&Sidecar>, mesh: &MeshConfig) -> Unknown {
    if let Some(policy) = sidecar.and_then(|s| s.outbound_traffic_policy.as_ref()) {
        return match (&policy.egress_proxy, policy.mode) {
            (Some(proxy), _) => Unknown::Proxy(proxy.clone()),
            (None, Some(OutboundMode::AllowAny)) => Unknown::Allow,
            // What a policy without a mode means, as its first value.
            (None, Some(OutboundMode::RegistryOnly) | None) => Unknown::Block,
        };
    }
    match mesh.outbound_traffic_policy.as_ref().and_then(|policy| policy.mode) {
        Some(MeshOutboundMode::RegistryOnly) => Unknown::Block,
        Some(MeshOutboundMode::AllowAny | MeshOutboundMode::AllowAnyDynamicDns) | None => Unknown::Allow,
    }
}
