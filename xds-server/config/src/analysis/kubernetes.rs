//! Kubernetes' own kinds: services and slices are looked at, the others are what selectors and references find.

use super::{Analyse, common::protocol_of, index::Index};
use crate::{
    ParsedObject, codes,
    decode::IntOrString,
    findings::Findings,
    kubernetes::{self, EndpointSlice, Namespace, Pod, Secret, Service},
    path::Path,
};

impl Analyse for Service {
    fn enter<'a>(&'a self, object: &'a ParsedObject, index: &mut Index<'a>) {
        index.add_service(object, self);
    }

    fn look(&self, object: &ParsedObject, index: &Index<'_>, at: &Path<'_>, out: &mut Findings) {
        service(object, self, index, at, out);
    }
}

impl Analyse for EndpointSlice {
    fn enter<'a>(&'a self, object: &'a ParsedObject, index: &mut Index<'a>) {
        let is_pod = |endpoint: &kubernetes::SliceEndpoint| {
            endpoint.target_ref.as_ref().is_some_and(|target| target.kind == "Pod")
        };
        if let Some(service) = object.meta.labels.get("kubernetes.io/service-name")
            && self.endpoints.iter().any(is_pod)
        {
            index.of_pods.insert((&object.key.namespace, service));
        }
    }

    fn look(&self, object: &ParsedObject, index: &Index<'_>, _: &Path<'_>, out: &mut Findings) {
        slice(object, index, out);
    }
}

impl Analyse for Namespace {
    fn enter<'a>(&'a self, object: &'a ParsedObject, index: &mut Index<'a>) {
        index.namespaces.get_or_insert_default().insert(&object.key.name);
    }
}

impl Analyse for Pod {
    fn enter<'a>(&'a self, object: &'a ParsedObject, index: &mut Index<'a>) {
        index.workloads.entry(&object.key.namespace).or_default().push(&object.meta.labels);
    }
}

impl Analyse for Secret {
    fn enter<'a>(&'a self, object: &'a ParsedObject, index: &mut Index<'a>) {
        let id = (&*object.key.namespace, &*object.key.name);
        index.secrets.get_or_insert_default().insert(id);
    }
}

fn service(
    object: &ParsedObject,
    spec: &kubernetes::Service,
    index: &Index<'_>,
    at: &Path<'_>,
    out: &mut Findings,
) {
    for (number, port) in spec.ports.iter().enumerate() {
        let parent = at.field("ports");
        let at = parent.index(number);
        if protocol_of(port).is_some() || spec.kind == kubernetes::ServiceType::ExternalName {
            continue;
        }
        if let Some(protocol) = &port.app_protocol {
            let message = format!("the protocol \"{protocol}\" is unknown: the port carries TCP");
            out.warn(codes::APP_PROTOCOL, &at.field("appProtocol"), message);
        } else {
            let message = format!("the name of port {} tells no protocol: it is sniffed", port.port);
            out.info(codes::PORT_NAME, &at.field("name"), message)
                .hint("name it http, grpc, tcp, …, perhaps with - and more, or give appProtocol");
        }
    }
    shared_ports(object, spec, index, at, out);
    if !spec.selector.is_empty() && index.selects_nothing(&spec.selector, Some(&object.key.namespace)) {
        out.warn(codes::SERVICE_SELECTOR, &at.field("selector"), "the selector matches no workload");
    }
}

/// Two services lead to one port of the same workloads. What comes in there is taken for what one of them says.
fn shared_ports(
    object: &ParsedObject,
    spec: &kubernetes::Service,
    index: &Index<'_>,
    at: &Path<'_>,
    out: &mut Findings,
) {
    // The second by name is told of the first.
    let id = (&*object.key.namespace, &*object.key.name);
    let earlier = index.leads.before(id, spec, &index.selectors);
    for (number, earlier) in earlier.into_iter().enumerate() {
        let parent = at.field("ports");
        let at = parent.index(number);
        let same = "leads to the same port of the same workloads";
        if let Some(name) = earlier.protocol {
            let message = format!("the service {name} {same}, and gives it another protocol");
            out.warn(codes::PORT_PROTOCOLS, &at, message).hint("give both ports the same protocol");
        }
        if let Some((name, theirs)) = earlier.number {
            out.info(codes::PORT_NUMBERS, &at, format!("the service {name} {same}, from its port {theirs}"));
        }
    }
}

/// The port of the workloads.
pub(super) fn target(port: &kubernetes::ServicePort) -> IntOrString {
    port.target_port.clone().unwrap_or(IntOrString::Int(i64::from(port.port)))
}

fn slice(object: &ParsedObject, index: &Index<'_>, out: &mut Findings) {
    let at = Path::ROOT.field("metadata");
    let at = at.field("labels");
    let Some(name) = object.meta.labels.get("kubernetes.io/service-name") else {
        out.warn(codes::SLICE_SERVICE, &at, "the slice belongs to no service")
            .hint("add the label kubernetes.io/service-name");
        return;
    };
    if !index.services.contains_key(&(&*object.key.namespace, &**name)) {
        let message = format!("the slice belongs to the service {name}, which is unknown");
        out.warn(codes::SLICE_SERVICE, &at.key("kubernetes.io/service-name"), message);
    }
}
