//! Backends of routes, and the permission to refer to them.

use lateen_model::span::Span;

use super::{BACKEND, BACKEND_KIND, NOT_GRANTED, Report, Surroundings, route::Attachable};
use crate::{
    istio::{Destination, PortSelector},
    kind::Kind,
    object::{ConfigObject, ParsedObject},
};

/// A reference to a backend, from any of the types that hold one.
pub struct BackendRef<'a> {
    /// Is it a `Service`?
    pub is_service: bool,
    /// Its kind, for findings.
    pub kind: &'a str,
    /// Its name.
    pub name: &'a str,
    /// Its namespace; none is the route's.
    pub namespace: Option<&'a str>,
    /// Its port.
    pub port: Option<u32>,
    /// Where it is written.
    pub span: Span,
}

/// The destination; `None`, and a finding, where there is none to send requests to.
pub fn destination(
    backend: &BackendRef<'_>,
    route: &ParsedObject,
    around: &Surroundings<'_>,
    report: &mut Report,
) -> Option<Destination> {
    if !backend.is_service {
        let message = format!("a backend of kind {} is not supported, only Service is", backend.kind);
        report.error(BACKEND_KIND, route, backend.span, message);
        return None;
    }
    let namespace = backend.namespace.unwrap_or(&route.key.namespace);
    let reference = Reference { group: "", kind: "Service", namespace, name: backend.name };
    if !is_own_parent(&reference, route) && !granted(&reference, route, around) {
        let message = format!(
            "no ReferenceGrant in namespace {namespace} lets a {} of namespace {} refer to Service {}",
            route.key.kind, route.key.namespace, backend.name
        );
        report.error(NOT_GRANTED, route, backend.span, message);
        return None;
    }
    // "port is required when the referent is a Kubernetes Service":
    // https://gateway-api.sigs.k8s.io/reference/spec/#backendobjectreference
    let Some(port) = backend.port else {
        let message = format!("the backend Service {} needs a port", backend.name);
        report.error(BACKEND, route, backend.span, message);
        return None;
    };
    Some(Destination {
        span: backend.span,
        host: service_host(namespace, backend.name, around.domain),
        subset: String::new(),
        port: Some(PortSelector { span: backend.span, number: port }),
    })
}

/// Is the service what the route is attached to? A consumer's route to its own parent only changes what the consumer
/// could do anyway, so it needs no grant: <https://gateway-api.sigs.k8s.io/geps/gep-1294/#cross-namespace-references>
fn is_own_parent(to: &Reference<'_>, route: &ParsedObject) -> bool {
    Attachable::of(route).is_some_and(|attachable| {
        attachable.parents.iter().any(|parent| {
            parent.is_service()
                && parent.name == to.name
                && parent.namespace.as_ref().unwrap_or(&route.key.namespace) == to.namespace
        })
    })
}

/// The host of a service.
pub fn service_host(namespace: &str, name: &str, domain: &str) -> String {
    format!("{name}.{namespace}.svc.{domain}")
}

/// What is referred to.
pub struct Reference<'a> {
    /// Its group.
    pub group: &'a str,
    /// Its kind.
    pub kind: &'a str,
    /// Its namespace.
    pub namespace: &'a str,
    /// Its name.
    pub name: &'a str,
}

/// May `from` refer to it? Within a namespace always, across only as a `ReferenceGrant` there says.
/// <https://gateway-api.sigs.k8s.io/reference/spec/#referencegrant>
pub fn granted(to: &Reference<'_>, from: &ParsedObject, around: &Surroundings<'_>) -> bool {
    if to.namespace == from.key.namespace {
        return true;
    }
    around.grants.iter().any(|grant| {
        let ConfigObject::ReferenceGrant(spec) = &grant.spec else { return false };
        grant.key.kind == Kind::ReferenceGrant
            && grant.key.namespace == to.namespace
            && spec.from.iter().any(|source| {
                source.group == from.key.kind.group()
                    && source.kind == from.key.kind.as_str()
                    && source.namespace == from.key.namespace
            })
            && spec.to.iter().any(|target| {
                target.group == to.group
                    && target.kind == to.kind
                    && target.name.as_deref().is_none_or(|name| name == to.name)
            })
    })
}
