//! Routes attached to a `Service`: routes of the mesh. <https://gateway-api.sigs.k8s.io/mesh/>

use super::{
    Converted, Derived, MeshInput, Report,
    backend::service_host,
    derived,
    route::{Attachable, Ranked, ranked},
    start,
};
use crate::{
    gateway_api::ParentRef,
    istio::VirtualService,
    kind::{Kind, ObjectKey},
    object::{ConfigObject, ParsedObject},
};

/// Converts the routes that one namespace attaches to a service. Hosts of the routes are not looked at: a route
/// of the mesh is about its service. Routes of another namespace than the service's hold only for clients there:
/// <https://gateway-api.sigs.k8s.io/geps/gep-1294/>
pub fn mesh(input: &MeshInput<'_>) -> Converted {
    let mut report = Report::default();
    let mut all: Vec<Ranked<'_>> = Vec::new();
    for route in input.routes.iter().copied().filter_map(Attachable::of) {
        if route.object.key.namespace != input.routes_namespace {
            continue;
        }
        let mut ports: Vec<Option<u32>> = route
            .parents
            .iter()
            .filter(|parent| names(parent, route.object, input))
            .map(|p| p.port)
            .collect();
        ports.sort_unstable();
        ports.dedup();
        if ports.contains(&None) {
            ports = vec![None];
        }
        for port in ports {
            all.extend(ranked(route.object, None, port, &input.around, &mut report));
        }
    }
    all.sort_by(|left, right| left.rank.cmp(&right.rank));
    let objects = virtual_service(input, &all).into_iter().collect();
    Converted { objects, findings: report.findings, ..Converted::default() }
}

fn names(parent: &ParentRef, route: &ParsedObject, input: &MeshInput<'_>) -> bool {
    parent.is_service()
        && parent.name == input.name
        && parent.namespace.as_ref().unwrap_or(&route.key.namespace) == input.namespace
}

fn virtual_service(input: &MeshInput<'_>, all: &[Ranked<'_>]) -> Option<Derived> {
    let from: Vec<&ParsedObject> = all.iter().map(|ranked| ranked.object).collect();
    let own = input.namespace == input.routes_namespace;
    let spec = VirtualService {
        span: start(from.first()?),
        hosts: vec![service_host(input.namespace, input.name, input.around.domain)],
        gateways: vec!["mesh".to_owned()],
        http: all.iter().flat_map(|ranked| ranked.routes.iter().cloned()).collect(),
        // "The parentRef of a Service is its frontend", an address and a port, and no name:
        // https://gateway-api.sigs.k8s.io/geps/gep-1294/
        by_address: true,
        export_to: if own { Vec::new() } else { vec![".".to_owned()] },
        ..VirtualService::default()
    };
    let name = format!("{}.{}~mesh", input.name, input.namespace);
    let parent = ObjectKey::new(Kind::Service, input.routes_namespace, input.name);
    derived(Kind::VirtualService, &parent, name, ConfigObject::from(spec), &from)
}
