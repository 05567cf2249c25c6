//! Services, slices, and what several kinds share.

use lateen_model::Protocol;

use super::index::Index;
use crate::{ParsedObject, codes, findings::Findings, kubernetes, path::Path};

/// The protocol of a port, from `appProtocol` or the name of the port; `None` where neither tells.
/// <https://istio.io/latest/docs/ops/configuration/traffic-management/protocol-selection/>
pub(super) fn protocol_of(port: &kubernetes::ServicePort) -> Option<Protocol> {
    if port.protocol != kubernetes::TransportProtocol::Tcp {
        return Some(Protocol::Udp);
    }
    match &port.app_protocol {
        Some(protocol) => Protocol::from_name(protocol),
        None if port.name.starts_with("grpc-web") => Some(Protocol::GrpcWeb),
        None => Protocol::from_name(port.name.split('-').next().unwrap_or_default()),
    }
}

pub(super) fn service(
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
    if !spec.selector.is_empty() && index.selects_nothing(&spec.selector, Some(&object.key.namespace)) {
        out.warn(codes::SERVICE_SELECTOR, &at.field("selector"), "the selector matches no workload");
    }
}

pub(super) fn slice(object: &ParsedObject, index: &Index<'_>, out: &mut Findings) {
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

/// `exportTo` names namespaces.
pub(super) fn export_to(list: &[String], index: &Index<'_>, at: &Path<'_>, out: &mut Findings) {
    for (number, entry) in list.iter().enumerate() {
        if !matches!(&**entry, "*" | "." | "~") && index.lacks_namespace(entry) {
            let parent = at.field("exportTo");
            let message = format!("the namespace {entry} is unknown");
            out.warn(codes::EXPORT_NAMESPACE, &parent.index(number), message);
        }
    }
}
