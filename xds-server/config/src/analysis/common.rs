//! What several kinds share.

use lateen_model::Protocol;

use super::index::Index;
use crate::{codes, findings::Findings, kubernetes, path::Path};

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
