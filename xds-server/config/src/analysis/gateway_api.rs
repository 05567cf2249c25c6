//! The Gateway API. What concerns attachment, grants and listeners is found by the conversion itself, which is
//! run here for its findings; here is what it can't see: objects that are not there.

use std::collections::{BTreeMap, BTreeSet};

use lateen_model::Diagnostic;

use super::{Analyse, index::Index};
use crate::{
    ConfigObject, Kind, ParsedObject, codes,
    convert::{self, GatewayInput, MeshInput, Parent, Surroundings},
    findings::Findings,
    gateway_api::{
        Backend, Gateway, GatewayClass, GrpcRoute, HttpRoute, ParentRef, ReferenceGrant, RouteFilter,
    },
    path::Path,
};

impl Analyse for Gateway {
    fn enter<'a>(&'a self, object: &'a ParsedObject, index: &mut Index<'a>) {
        let id = (&*object.key.namespace, &*object.key.name);
        index.api_gateways.insert(id, (object, self));
    }

    fn look(&self, object: &ParsedObject, index: &Index<'_>, at: &Path<'_>, out: &mut Findings) {
        gateway(object, self, index, at, out);
    }
}

impl Analyse for HttpRoute {
    fn look(&self, object: &ParsedObject, index: &Index<'_>, at: &Path<'_>, out: &mut Findings) {
        http_route(object, self, index, at, out);
    }
}

impl Analyse for GrpcRoute {
    fn look(&self, object: &ParsedObject, index: &Index<'_>, at: &Path<'_>, out: &mut Findings) {
        grpc_route(object, self, index, at, out);
    }
}

impl Analyse for ReferenceGrant {
    fn look(&self, _: &ParsedObject, index: &Index<'_>, at: &Path<'_>, out: &mut Findings) {
        grant(self, index, at, out);
    }
}

fn gateway(object: &ParsedObject, spec: &Gateway, index: &Index<'_>, at: &Path<'_>, out: &mut Findings) {
    for (number, listener) in spec.listeners.iter().enumerate() {
        let Some(tls) = &listener.tls else { continue };
        let parent = at.field("listeners");
        let listener_at = parent.index(number);
        let tls_at = listener_at.field("tls");
        let refs_at = tls_at.field("certificateRefs");
        for (number, reference) in tls.certificate_refs.iter().enumerate() {
            let Some(secrets) = &index.secrets else { continue };
            let namespace = reference.namespace.as_ref().unwrap_or(&object.key.namespace);
            if !secrets.contains(&(&**namespace, &*reference.name)) {
                let message = format!("the secret {namespace}/{} is unknown", reference.name);
                out.warn(codes::LISTENER_SECRET, &refs_at.index(number), message);
            }
        }
    }
    for (number, address) in
        spec.addresses.iter().enumerate().filter(|(_, address)| !address.value.is_empty())
    {
        let earlier = index.api_gateways.values().find(|(other, gateway)| {
            other.key != object.key
                && crate::precedence::precedes(other, object)
                && gateway
                    .addresses
                    .iter()
                    .any(|other| other.value == address.value && other.kind == address.kind)
        });
        if let Some((other, _)) = earlier {
            let parent = at.field("addresses");
            let message = format!("{} asks for the address {} too", other.key, address.value);
            out.warn(codes::GATEWAY_ADDRESS, &parent.index(number), message);
        }
    }
}

fn http_route(object: &ParsedObject, spec: &HttpRoute, index: &Index<'_>, at: &Path<'_>, out: &mut Findings) {
    parents(object, &spec.parent_refs, index, at, out);
    for (number, rule) in spec.rules.iter().enumerate() {
        let rules = at.field("rules");
        let at = rules.index(number);
        let redirects = rule.filters.iter().any(|filter| filter.request_redirect.is_some());
        if rule.backend_refs.is_empty() && !redirects {
            out.warn(codes::NO_BACKEND, &at, "the rule has no backend: its requests are answered with 500");
        }
        for (number, backend) in rule.backend_refs.iter().enumerate() {
            let reference = Reference {
                service: backend.is_service(),
                namespace: backend.namespace.as_deref(),
                name: &backend.name,
                port: backend.port,
            };
            let parent = at.field("backendRefs");
            look_up(object, &reference, index, &parent.index(number), out);
        }
        mirrors(object, &rule.filters, index, &at, out);
    }
}

fn grpc_route(object: &ParsedObject, spec: &GrpcRoute, index: &Index<'_>, at: &Path<'_>, out: &mut Findings) {
    parents(object, &spec.parent_refs, index, at, out);
    for (number, rule) in spec.rules.iter().enumerate() {
        let rules = at.field("rules");
        let at = rules.index(number);
        if rule.backend_refs.is_empty() {
            out.warn(
                codes::NO_BACKEND,
                &at,
                "the rule has no backend: its calls are answered with UNAVAILABLE",
            );
        }
        for (number, backend) in rule.backend_refs.iter().enumerate() {
            let reference = Reference {
                service: backend.is_service(),
                namespace: backend.namespace.as_deref(),
                name: &backend.name,
                port: backend.port,
            };
            let parent = at.field("backendRefs");
            look_up(object, &reference, index, &parent.index(number), out);
        }
        mirrors(object, &rule.filters, index, &at, out);
    }
}

fn grant(spec: &ReferenceGrant, index: &Index<'_>, at: &Path<'_>, out: &mut Findings) {
    for (number, from) in spec.from.iter().enumerate() {
        if index.lacks_namespace(&from.namespace) {
            let parent = at.field("from");
            let message = format!("the namespace {} is unknown", from.namespace);
            out.warn(codes::GRANT_NAMESPACE, &parent.index(number).field("namespace"), message);
        }
    }
}

fn parents(object: &ParsedObject, list: &[ParentRef], index: &Index<'_>, at: &Path<'_>, out: &mut Findings) {
    for (number, parent) in list.iter().enumerate() {
        let refs = at.field("parentRefs");
        let at = refs.index(number);
        let namespace = parent.namespace.as_ref().unwrap_or(&object.key.namespace);
        let id = (&**namespace, &*parent.name);
        let (what, names): (_, Vec<&str>) = if parent.is_gateway() && !index.api_gateways.contains_key(&id) {
            ("gateway", index.api_gateways.keys().map(|(_, name)| *name).collect())
        } else if parent.is_service() && !index.services.contains_key(&id) {
            ("service", index.services.keys().map(|(_, name)| *name).collect())
        } else {
            continue;
        };
        let near = crate::decode::nearest(&parent.name, names);
        out.error(
            codes::PARENT_UNKNOWN,
            &at.field("name"),
            format!("the {what} {namespace}/{} is unknown", parent.name),
        )
        .maybe_hint(near.map(|near| format!("did you mean {near}?")));
    }
}

struct Reference<'a> {
    service: bool,
    namespace: Option<&'a str>,
    name: &'a str,
    port: Option<u32>,
}

fn look_up(
    object: &ParsedObject,
    reference: &Reference<'_>,
    index: &Index<'_>,
    at: &Path<'_>,
    out: &mut Findings,
) {
    // Backends of other kinds are the conversion's to judge.
    if !reference.service {
        return;
    }
    let namespace = reference.namespace.unwrap_or(&object.key.namespace);
    let Some(service) = index.services.get(&(namespace, reference.name)) else {
        let own = index.services.keys().filter(|(of, _)| *of == namespace).map(|(_, name)| *name);
        let near = crate::decode::nearest(reference.name, own);
        let message = format!("the service {namespace}/{} is unknown", reference.name);
        out.error(codes::BACKEND_UNKNOWN, &at.field("name"), message)
            .maybe_hint(near.map(|near| format!("did you mean {near}?")));
        return;
    };
    let Some(port) = reference.port else { return };
    if !service.ports.is_empty() && service.ports.iter().all(|known| known.port != port) {
        let numbers: Vec<_> = service.ports.iter().map(|port| port.port.to_string()).collect();
        out.error(codes::BACKEND_PORT, &at.field("port"), format!("the service has no port {port}"))
            .hint(format!("its ports are {}", numbers.join(", ")));
    }
}

fn mirrors(
    object: &ParsedObject,
    filters: &[RouteFilter],
    index: &Index<'_>,
    at: &Path<'_>,
    out: &mut Findings,
) {
    for (number, filter) in filters.iter().enumerate() {
        let backend = filter.request_mirror.as_ref().and_then(|mirror| mirror.backend_ref.as_ref());
        let Some(backend) = backend else { continue };
        let reference = Reference {
            service: backend.is_service(),
            namespace: backend.namespace.as_deref(),
            name: &backend.name,
            port: backend.port,
        };
        let parent = at.field("filters");
        let filter_at = parent.index(number);
        let mirror = filter_at.field("requestMirror");
        look_up(object, &reference, index, &mirror.field("backendRef"), out);
    }
}

/// The findings of the conversion of all gateways and services.
pub(super) fn converted(index: &Index<'_>) -> Vec<Diagnostic> {
    let mut by_parent: BTreeMap<Parent, Vec<&ParsedObject>> = BTreeMap::new();
    for object in index.objects {
        for parent in convert::parents(object) {
            let routes = by_parent.entry(parent).or_default();
            if object.key.kind != Kind::Gateway {
                routes.push(object);
            }
        }
    }
    let grants: Vec<_> = index.of_kind(Kind::ReferenceGrant).collect();
    let labels: BTreeMap<&str, _> =
        index.of_kind(Kind::Namespace).map(|object| (&*object.key.name, &object.meta.labels)).collect();
    let classes: BTreeMap<&str, &GatewayClass> = index
        .of_kind(Kind::GatewayClass)
        .filter_map(|object| match &object.spec {
            ConfigObject::GatewayClass(class) => Some((&*object.key.name, &**class)),
            _ => None,
        })
        .collect();
    let mut found = BTreeSet::new();
    for (parent, routes) in &by_parent {
        let around = Surroundings {
            grants: &grants,
            namespace_labels: &|namespace| labels.get(namespace).copied(),
            domain: index.domain,
        };
        let converted = match parent {
            Parent::Gateway { namespace, name } => {
                let Some((gateway, spec)) = index.api_gateways.get(&(&**namespace, &**name)) else {
                    continue;
                };
                let class = classes.get(&*spec.gateway_class_name).copied();
                convert::gateway(&GatewayInput { gateway, class, routes, around })
            }
            Parent::Service { namespace, name, routes: routes_namespace } => {
                convert::mesh(&MeshInput { namespace, name, routes_namespace, routes, around })
            }
        };
        found.extend(converted.findings);
    }
    found.into_iter().collect()
}
