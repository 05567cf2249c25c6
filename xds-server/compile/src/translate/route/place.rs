//! Where routes lead.

use std::sync::Arc;

use lateen_config::{
    istio::{Destination, VirtualService},
    path::Path,
};
use lateen_model::{Diagnostic, Host, Service, Severity};

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
    let target = target(context.targets, &host);
    let service = target
        .and_then(|target| target.namespace.as_ref())
        .and_then(|namespace| read::service_in(r, &host, namespace));
    let given = to.port.as_ref().and_then(|port| u16::try_from(port.number).ok());
    let only = || service.as_ref().and_then(|service| service.only_port()).map(|only| only.number);
    let port = given.or_else(only).unwrap_or(context.port);
    let rules = target.map(|target| Rules::load(r, target.rules.as_ref())).unwrap_or_default();
    let subset = (!to.subset.is_empty()).then(|| to.subset.clone());
    let place = Place {
        cluster: names::cluster(port, subset.as_deref(), host.as_str()),
        service,
        rules,
        port,
        subset,
    };
    let status = if from.spec.http.iter().any(|http| http.missing_is_500) { 500 } else { 503 };
    match place.missing(&host, status) {
        // What Envoy answers for a cluster that is not there: the route is its own error.
        Some(missing) => notes.finding(missing.finding(from, to, notes.count() < LOCATED_MAX)),
        None => notes.cluster(r, &place.cluster),
    }
    for rule in place.rules.iter() {
        notes.origin(&rule.origin);
    }
    place
}

/// How many findings of one resource are looked up in the object's text: each costs a walk over it.
const LOCATED_MAX: usize = 100;

/// What of a destination is not there.
struct Missing {
    /// The field that names it.
    field: &'static str,
    message: String,
    hint: &'static str,
}

impl Missing {
    /// The finding, at the field of the object where the destination stands, or at the object.
    fn finding(self, from: &Routes, to: &Destination, is_located: bool) -> Diagnostic {
        let mut origin = from.origin.clone();
        let mut path = String::new();
        if is_located {
            with_path(&from.spec, to, &mut |destination| {
                let field = destination.field(self.field);
                if let Some(span) = from.spans.find(&field) {
                    (origin.line, origin.column) = (span.line, span.column);
                    path = field.to_string();
                }
            });
        }
        Diagnostic {
            code: NO_DESTINATION,
            severity: Severity::Error,
            object: Some(from.key.to_ref()),
            origin: Some(origin),
            path,
            message: self.message,
            hint: Some(self.hint.to_owned()),
        }
    }
}

/// Calls with the path of a destination of these routes, if it is one; of a copy, with that of the first equal one.
fn with_path(spec: &VirtualService, to: &Destination, found: &mut dyn FnMut(&Path<'_>)) {
    if !with_path_where(spec, &|destination| std::ptr::eq(destination, to), found) {
        with_path_where(spec, &|destination| destination == to, found);
    }
}

/// Calls with the path of the first destination that is as wanted; false if there is none.
fn with_path_where(
    spec: &VirtualService,
    wanted: &dyn Fn(&Destination) -> bool,
    found: &mut dyn FnMut(&Path<'_>),
) -> bool {
    let root = Path::ROOT.field("spec");
    let is = |destination: &Option<Destination>| destination.as_ref().is_some_and(wanted);
    for (at, http) in spec.http.iter().enumerate() {
        let list = root.field("http");
        let here = list.index(at);
        if let Some(at) = http.route.iter().position(|route| is(&route.destination)) {
            found(&here.field("route").index(at).field("destination"));
            return true;
        }
        if is(&http.mirror) {
            found(&here.field("mirror"));
            return true;
        }
        if let Some(at) = http.mirrors.iter().position(|mirror| is(&mirror.destination)) {
            found(&here.field("mirrors").index(at).field("destination"));
            return true;
        }
    }
    for (at, tcp) in spec.tcp.iter().enumerate() {
        if let Some(route) = tcp.route.iter().position(|route| is(&route.destination)) {
            found(&root.field("tcp").index(at).field("route").index(route).field("destination"));
            return true;
        }
    }
    for (at, tls) in spec.tls.iter().enumerate() {
        if let Some(route) = tls.route.iter().position(|route| is(&route.destination)) {
            found(&root.field("tls").index(at).field("route").index(route).field("destination"));
            return true;
        }
    }
    false
}

impl Place {
    /// Istio keeps such a route, and so is it here: Envoy answers `status`.
    fn missing(&self, host: &Host, status: u16) -> Option<Missing> {
        let missing = |field, message, hint| Some(Missing { field, message, hint });
        let Some(service) = &self.service else {
            let text = format!("no service {host} is visible: requests are answered with {status}");
            return missing("host", text, "name a host that a Service or ServiceEntry defines and exports");
        };
        if service.port(self.port).is_none() {
            let text =
                format!("service {host} has no port {}: requests are answered with {status}", self.port);
            return missing("port", text, "name one of its ports that is not of UDP");
        }
        let name = self.subset.as_ref()?;
        let is_known = self.rules.subset(name).is_some();
        let text = || {
            format!("no DestinationRule gives {host} a subset {name}: requests are answered with {status}")
        };
        if is_known { None } else { missing("subset", text(), "define it, or name one that is defined") }
    }
}

/// One of the targets, which are sorted by their hosts.
fn target<'a>(targets: &'a [Target], host: &Host) -> Option<&'a Target> {
    let index = targets.binary_search_by(|target| target.host.cmp(host)).ok()?;
    targets.get(index)
}

/// The service itself.
pub(crate) fn own(
    r: &mut dyn Read,
    notes: &mut Notes,
    targets: &[Target],
    service: &Arc<Service>,
    port: u16,
) -> Place {
    let target = target(targets, &service.host);
    let rules = target.map(|target| Rules::load(r, target.rules.as_ref())).unwrap_or_default();
    let cluster = names::cluster(port, None, service.host.as_str());
    notes.cluster(r, &cluster);
    for rule in rules.iter() {
        notes.origin(&rule.origin);
    }
    Place { cluster, service: Some(service.clone()), rules, port, subset: None }
}
