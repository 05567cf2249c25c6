//! What is wrong between objects: references that lead nowhere, objects that contradict each other, routes that
//! are never reached.
//!
//! Each object is looked at once, with an index of all of them, so the work grows with the objects and not with
//! their pairs. Where a check needs knowledge that the set does not hold (no workloads, no namespaces, no
//! secrets), it says nothing rather than guess. An object may silence findings about itself with the annotation
//! [`IGNORE`].

mod common;
mod destination_rule;
mod gateway;
mod gateway_api;
mod index;
mod route;
mod service_entry;
mod shadow;
mod sidecar;
mod virtual_service;

use std::collections::{BTreeMap, HashSet};

use lateen_model::{Diagnostic, Host, Namespace};

use crate::{ConfigObject, ObjectKey, ParsedObject, codes, findings::Findings, path::Path};
use index::Index;

/// Names, with commas between them, the codes that are not reported about the object; empty is all.
pub const IGNORE: &str = "lateen.io/ignore";

/// A service that other sources know.
#[derive(Clone, Debug, PartialEq)]
pub struct KnownService {
    /// Its host.
    pub host: Host,
    /// Its namespace.
    pub namespace: Namespace,
    /// Its ports.
    pub ports: Vec<u32>,
}

/// What is known beside the objects.
#[derive(Clone, Debug, PartialEq)]
pub struct Elsewhere {
    /// DNS domain of the platform.
    pub domain: String,
    /// Services of other platforms.
    pub services: Vec<KnownService>,
}

impl Default for Elsewhere {
    fn default() -> Self {
        Self { domain: "cluster.local".to_owned(), services: Vec::new() }
    }
}

/// Looks at the objects together.
pub fn analyze(objects: &[ParsedObject]) -> Vec<Diagnostic> {
    analyze_with(objects, &Elsewhere::default())
}

/// Looks at the objects together with what is known elsewhere.
pub fn analyze_with(objects: &[ParsedObject], elsewhere: &Elsewhere) -> Vec<Diagnostic> {
    let index = Index::new(objects, elsewhere);
    let mut all = Vec::new();
    let mut seen: BTreeMap<&ObjectKey, &ParsedObject> = BTreeMap::new();
    for object in objects {
        let mut out = Findings::about(object);
        if let Some(first) = seen.get(&object.key) {
            let message = format!("the object is defined at {} too; one of them counts", first.origin);
            let at = Path::ROOT.field("metadata");
            out.error(codes::DUPLICATE_OBJECT, &at.field("name"), message);
        } else {
            seen.insert(&object.key, object);
            look(object, &index, &mut out);
        }
        let ignored = object.meta.annotations.get(IGNORE);
        // Two ways to the same finding (a gateway named twice, say) are one finding.
        let mut told = HashSet::new();
        let list = out.into_list().into_iter();
        all.extend(list.filter(|found| !ignores(ignored, found.code.0) && told.insert(found.clone())));
    }
    all.extend(gateway_api::converted(&index));
    all
}

fn ignores(annotation: Option<&String>, code: &str) -> bool {
    let Some(codes) = annotation else { return false };
    codes.trim().is_empty() || codes.split(',').any(|ignored| ignored.trim() == code)
}

fn look(object: &ParsedObject, index: &Index<'_>, out: &mut Findings) {
    let at = Path::ROOT.field("spec");
    match &object.spec {
        ConfigObject::VirtualService(spec) => virtual_service::look(object, spec, index, &at, out),
        ConfigObject::DestinationRule(spec) => destination_rule::look(object, spec, index, &at, out),
        ConfigObject::ServiceEntry(spec) => service_entry::look(object, spec, index, &at, out),
        ConfigObject::IstioGateway(spec) => gateway::look(object, spec, index, &at, out),
        ConfigObject::Sidecar(spec) => sidecar::look(object, spec, index, &at, out),
        ConfigObject::Gateway(spec) => gateway_api::gateway(object, spec, index, &at, out),
        ConfigObject::HttpRoute(spec) => gateway_api::http_route(object, spec, index, &at, out),
        ConfigObject::GrpcRoute(spec) => gateway_api::grpc_route(object, spec, index, &at, out),
        ConfigObject::ReferenceGrant(spec) => gateway_api::grant(spec, index, &at, out),
        ConfigObject::Service(spec) => common::service(object, spec, index, &at, out),
        ConfigObject::EndpointSlice(_) => common::slice(object, index, out),
        ConfigObject::WorkloadEntry(_)
        | ConfigObject::MeshConfig(_)
        | ConfigObject::GatewayClass(_)
        | ConfigObject::Namespace(_)
        | ConfigObject::Pod(_)
        | ConfigObject::Secret(_) => {}
    }
}
