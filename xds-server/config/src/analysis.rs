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
mod kubernetes;
mod leads;
mod meeting;
mod mesh_config;
mod route;
mod selectors;
mod service_entry;
mod shadow;
mod sidecar;
mod virtual_service;
mod workload_entry;

use std::collections::{BTreeMap, HashSet};

use lateen_model::{Diagnostic, Host, Namespace, diagnostic::Code};

use crate::{ObjectKey, ParsedObject, codes, findings::Findings, gateway_api as api, istio, path::Path};
use index::Index;

/// What the analysis does with objects of one kind.
pub(crate) trait Analyse {
    /// Enters the object into the look-ups that others need.
    fn enter<'a>(&'a self, _object: &'a ParsedObject, _index: &mut Index<'a>) {}

    /// Adds findings about the object among all others; what it says stands at `at`.
    fn look(&self, _object: &ParsedObject, _index: &Index<'_>, _at: &Path<'_>, _out: &mut Findings) {}
}

/// Kinds about which there is nothing to say among others.
macro_rules! silent {
    ($($type:ty),* $(,)?) => { $(impl Analyse for $type {})* };
}

silent!(
    api::BackendTlsPolicy,
    api::GatewayClass,
    istio::AuthorizationPolicy,
    istio::PeerAuthentication,
    istio::RequestAuthentication,
    istio::Telemetry,
    istio::EnvoyFilter,
    istio::WasmPlugin,
    istio::TrafficExtension,
    istio::WorkloadProxyConfig,
    istio::WorkloadGroup,
);

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
    let merged = index::merged(objects);
    let index = Index::new(objects, elsewhere, &merged);
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
            object.spec.analyse().look(object, &index, &Path::ROOT.field("spec"), &mut out);
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

/// Does an object with these annotations not want to hear of a code about itself?
pub fn silences(annotations: &BTreeMap<String, String>, code: Code) -> bool {
    ignores(annotations.get(IGNORE), code.0)
}

/// Message and hint about a `ServiceEntry` that defines the host of a platform's service of another namespace. The
/// service counts, but for clients of the entry's namespace.
/// <https://istio.io/latest/docs/reference/config/networking/sidecar/>
pub fn foreign_entry(host: &Host, owner: &Namespace, own: &Namespace) -> (String, String) {
    (
        format!("{host} is a service of the namespace {owner}: this entry holds for clients of {own} only"),
        "give exportTo: [\".\"] if that is what you want, or else another host".to_owned(),
    )
}

/// Message and hint about a `VirtualService` that routes the host of another namespace for others.
pub fn foreign_routes(host: &Host, owner: &Namespace) -> (String, String) {
    (
        format!("{host} belongs to the namespace {owner}, and this object routes it for others too"),
        "move the object there, or give exportTo: [\".\"] to route only for this namespace".to_owned(),
    )
}

fn ignores(annotation: Option<&String>, code: &str) -> bool {
    let Some(codes) = annotation else { return false };
    codes.trim().is_empty() || codes.split(',').any(|ignored| ignored.trim() == code)
}
