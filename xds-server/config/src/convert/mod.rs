//! Gateway API objects as their Istio equivalents: `Gateway`s and `VirtualService`s that the rest translates.
//!
//! A conversion covers one parent: a `Gateway` with the routes attached to it, or a `Service` with the mesh
//! routes attached to it (GAMMA). It is a pure function of the objects in [`GatewayInput`] or [`MeshInput`], so
//! that a registry repeats it only for the parents that [`parents`] names; and that of a gateway, which may have
//! thousands of routes, only for what a change concerns ([`GatewayConversion`]). Precedence between routes is settled
//! here (<https://gateway-api.sigs.k8s.io/reference/spec/#httprouterule>): in the objects made, the first rule
//! that matches is the right one.
//!
//! Names made here contain `~`, which no name of a platform does, so they never collide with users' objects.

mod attach;
mod backend;
mod conversion;
mod filters;
mod gateway;
mod hostname;
mod mesh;
mod precedence;
mod route;
mod rule;

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::Arc,
};

use lateen_model::{
    diagnostic::{Code, Diagnostic, Origin, Severity},
    span::Span,
};

use crate::{
    gateway_api::{Backend, GatewayClass, ParentRef},
    kind::{Kind, ObjectKey},
    object::{ConfigObject, ParsedObject},
    precedence::age,
};

pub use backend::service_host;
pub use conversion::{GatewayConversion, Update};
pub use gateway::gateway;
pub use mesh::mesh;

/// A key in the selector of a converted `Gateway` that asks for the node's namespace, not for a label: a
/// `Gateway` of the Gateway API never configures proxies of other namespaces.
pub const SELECT_NAMESPACE: &str = "~namespace";

/// The label of the proxies that a `Gateway` of the Gateway API configures.
/// <https://gateway-api.sigs.k8s.io/geps/gep-1762/>
pub const SELECT_GATEWAY: &str = "gateway.networking.k8s.io/gateway-name";

/// Controllers whose classes are ours to serve.
pub const CONTROLLERS: &[&str] = &["lateen.io/gateway-controller", "istio.io/gateway-controller"];

/// Classes that are served also where no `GatewayClass` object says who serves them.
pub const CLASSES: &[&str] = &["lateen", "istio"];

/// The class of the gateway is unknown.
pub const CLASS: Code = Code("LAT2301");
/// Listeners of one gateway exclude each other, or can't be served.
pub const LISTENER: Code = Code("LAT2302");
/// The gateway's listeners don't allow the route.
pub const NOT_ATTACHED: Code = Code("LAT2303");
/// A reference to another namespace is not granted.
pub const NOT_GRANTED: Code = Code("LAT2304");
/// The backend is none that requests can be sent to.
pub const BACKEND: Code = Code("LAT2305");
/// The filter can't be applied; requests are answered 500.
pub const FILTER: Code = Code("LAT2306");
/// The certificate cannot be used.
pub const CERTIFICATE: Code = Code("LAT2307");
/// The gateway has no listener such as the route names.
pub const NO_LISTENER: Code = Code("LAT2308");
/// None of the route's hostnames is one of the gateway's.
pub const NO_HOSTNAME: Code = Code("LAT2309");
/// The backend is of a kind that requests are not sent to.
pub const BACKEND_KIND: Code = Code("LAT2310");
/// An older route of the other kind, `HTTPRoute` or `GRPCRoute`, has the host.
pub const COMPETING: Code = Code("LAT2311");

/// What a route is attached to.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Parent {
    /// A `Gateway` of the Gateway API.
    Gateway {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// A `Service`, with the routes that one namespace attaches to it: those of its own namespace hold for all
    /// clients, others for clients of that namespace. <https://gateway-api.sigs.k8s.io/geps/gep-1294/>
    Service {
        /// The service's namespace.
        namespace: String,
        /// The service's name.
        name: String,
        /// The routes' namespace.
        routes: String,
    },
}

/// A conversion's result.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Converted {
    /// Istio objects, in key order.
    pub objects: Vec<Derived>,
    /// What was found wrong.
    pub findings: Vec<Diagnostic>,
    /// The listeners of the gateway with the number of routes attached to each.
    pub attached: BTreeMap<String, u32>,
}

/// An object that users did not write themselves.
#[derive(Clone, PartialEq, Debug)]
pub struct Derived {
    /// The object; its origin is the first of `origins`.
    pub object: ParsedObject,
    /// All objects it was made from.
    pub origins: Vec<Origin>,
}

/// What a conversion looks up beside its own objects.
pub struct Surroundings<'a> {
    /// `ReferenceGrant`s, of all namespaces.
    pub grants: &'a [&'a ParsedObject],
    /// Labels of a namespace, where it is known.
    pub namespace_labels: &'a dyn Fn(&str) -> Option<&'a BTreeMap<String, String>>,
    /// DNS domain of the platform (`cluster.local`).
    pub domain: &'a str,
}

/// A gateway with its routes.
pub struct GatewayInput<'a> {
    /// The `Gateway` of the Gateway API.
    pub gateway: &'a ParsedObject,
    /// Its class, where there is such an object.
    pub class: Option<&'a GatewayClass>,
    /// The routes that name it as a parent; others are passed over. [`GatewayConversion::update`] asks for those that it
    /// needs instead.
    pub routes: &'a [&'a ParsedObject],
    /// The rest.
    pub around: Surroundings<'a>,
}

/// A service with the routes that one namespace attaches to it.
pub struct MeshInput<'a> {
    /// The service's namespace.
    pub namespace: &'a str,
    /// The service's name.
    pub name: &'a str,
    /// The routes' namespace.
    pub routes_namespace: &'a str,
    /// The routes that name it as a parent; others are passed over.
    pub routes: &'a [&'a ParsedObject],
    /// The rest.
    pub around: Surroundings<'a>,
}

/// The parents whose conversion depends on this object: those that a route names, or a gateway itself. Other
/// kinds that conversions read (`GatewayClass`, `ReferenceGrant`, `Namespace`) concern all of them.
pub fn parents(object: &ParsedObject) -> Vec<Parent> {
    let mut parents: Vec<Parent> = match &object.spec {
        ConfigObject::Gateway(_) => {
            vec![Parent::Gateway { namespace: object.key.namespace.clone(), name: object.key.name.clone() }]
        }
        ConfigObject::HttpRoute(route) => {
            route.parent_refs.iter().filter_map(|parent| parent_of(parent, &object.key)).collect()
        }
        ConfigObject::GrpcRoute(route) => {
            route.parent_refs.iter().filter_map(|parent| parent_of(parent, &object.key)).collect()
        }
        _ => Vec::new(),
    };
    parents.sort();
    parents.dedup();
    parents
}

/// Namespace and name of the services that a route sends requests to.
pub fn backends(object: &ParsedObject) -> BTreeSet<(String, String)> {
    let own = &object.key.namespace;
    let named = |is_service: bool, namespace: &Option<String>, name: &str| {
        is_service.then(|| (namespace.as_ref().unwrap_or(own).clone(), name.to_owned()))
    };
    match &object.spec {
        ConfigObject::HttpRoute(route) => {
            let all = route.rules.iter().flat_map(|rule| &rule.backend_refs);
            all.filter_map(|to| named(to.is_service(), &to.namespace, &to.name)).collect()
        }
        ConfigObject::GrpcRoute(route) => {
            let all = route.rules.iter().flat_map(|rule| &rule.backend_refs);
            all.filter_map(|to| named(to.is_service(), &to.namespace, &to.name)).collect()
        }
        _ => BTreeSet::new(),
    }
}

fn parent_of(parent: &ParentRef, route: &ObjectKey) -> Option<Parent> {
    let namespace = parent.namespace.as_ref().unwrap_or(&route.namespace).clone();
    let name = parent.name.clone();
    if parent.is_gateway() {
        Some(Parent::Gateway { namespace, name })
    } else if parent.is_service() {
        Some(Parent::Service { namespace, name, routes: route.namespace.clone() })
    } else {
        None
    }
}

/// Findings about objects whose text is no longer at hand.
#[derive(Default)]
struct Report {
    findings: Vec<Diagnostic>,
    known: HashSet<Diagnostic>,
}

impl Report {
    fn add(&mut self, severity: Severity, code: Code, object: &ParsedObject, span: Span, message: String) {
        let mut origin = object.origin.clone();
        if span.line != 0 {
            (origin.line, origin.column) = (span.line, span.column);
        }
        let finding = Diagnostic {
            code,
            severity,
            object: Some(object.key.to_ref()),
            origin: Some(origin),
            path: String::new(),
            message,
            hint: None,
        };
        // A route that several listeners take is converted once for each.
        if self.known.insert(finding.clone()) {
            self.findings.push(finding);
        }
    }

    fn error(&mut self, code: Code, object: &ParsedObject, span: Span, message: String) {
        self.add(Severity::Error, code, object, span, message);
    }
}

/// Makes an object of `parent`'s namespace, from these originals.
fn derived(
    kind: Kind,
    parent: &ObjectKey,
    name: String,
    spec: ConfigObject,
    from: &[&ParsedObject],
) -> Option<Derived> {
    let mut from = from.to_vec();
    from.sort_by_key(|object| (age(object), &object.key));
    from.dedup_by(|left, right| left.key == right.key);
    let first = from.first()?;
    let key = ObjectKey::new(kind, &parent.namespace, name);
    let mut meta = first.meta.clone();
    meta.name.clone_from(&key.name);
    meta.namespace.clone_from(&key.namespace);
    let object = ParsedObject { meta, origin: first.origin.clone(), spans: Arc::default(), spec, key };
    Some(Derived { object, origins: from.iter().map(|object| object.origin.clone()).collect() })
}

/// Where the object begins.
fn start(object: &ParsedObject) -> Span {
    Span { line: object.origin.line, column: object.origin.column }
}

#[cfg(test)]
mod tests;
