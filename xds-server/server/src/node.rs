//! From an xDS `Node` to the node of the model.
//! <https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/core/v3/base.proto#envoy-v3-api-msg-config-core-v3-node>

use std::collections::BTreeMap;

use crate::service::Method;
use lateen_model::{Locality, Namespace, NodeInfo, NodeRole, Streams, text::is_unprintable};
use lateen_proto::{
    Message,
    envoy::config::core::v3::Node,
    google::protobuf::{Struct, value::Kind},
};

/// Longest id of a node, in bytes; one of Istio's form has four names of at most 253.
const ID_BYTES_MAX: usize = 1_024;
/// Most bytes of a node without its extensions: each stream keeps them for status.
const NODE_BYTES_MAX: usize = 64 << 10;

/// Is the node one to keep and to show? The error says why not.
pub fn check_node(node: &Node) -> Result<(), String> {
    if node.id.len() > ID_BYTES_MAX || node.id.chars().any(is_unprintable) {
        return Err(format!("the node's id must be of printable characters, at most {ID_BYTES_MAX} bytes"));
    }
    let bytes = node.encoded_len();
    if bytes > NODE_BYTES_MAX {
        return Err(format!(
            "the node has {bytes} bytes without extensions, the limit is {NODE_BYTES_MAX} bytes"
        ));
    }
    Ok(())
}

/// Reads id, metadata (Istio's keys) and user agent. Whatever is missing or of another type stays at what the
/// id says.
pub fn node_info(node: &Node, method: Method) -> NodeInfo {
    let mut info = NodeInfo::from_id(&node.id);
    info.delta = method.delta;
    info.streams = match (method.only, method.delta) {
        (None, _) => Streams::Aggregated,
        (Some(_), false) => Streams::SeparateSotw,
        (Some(_), true) => Streams::SeparateDelta,
    };
    info.user_agent = node.user_agent_name.as_str().into();
    if node.user_agent_name.starts_with("gRPC") || node.user_agent_name == "tonic-xds" {
        info.role = NodeRole::Grpc;
    }
    if let Some(locality) = &node.locality {
        info.locality = Locality {
            region: locality.region.as_str().into(),
            zone: locality.zone.as_str().into(),
            sub_zone: locality.sub_zone.as_str().into(),
        };
    }
    let Some(metadata) = &node.metadata else { return info };
    if let Some(namespace) = text(metadata, "NAMESPACE").filter(|text| !text.is_empty()) {
        info.namespace = Namespace::from(namespace);
    }
    if let Some(network) = text(metadata, "NETWORK") {
        info.network = network.into();
    }
    if let Some(cluster) = text(metadata, "CLUSTER_ID") {
        info.cluster_id = cluster.into();
    }
    if text(metadata, "GENERATOR") == Some("grpc") {
        info.role = NodeRole::Grpc;
    }
    // A comma-separated list: https://istio.io/latest/docs/reference/commands/pilot-agent/
    for ip in text(metadata, "INSTANCE_IPS").unwrap_or_default().split(',') {
        if let Ok(ip) = ip.trim().parse()
            && !info.addresses.contains(&ip)
        {
            info.addresses.push(ip);
        }
    }
    if let Some(Kind::StructValue(labels)) = value(metadata, "LABELS") {
        info.labels = texts(labels);
    }
    info
}

fn value<'a>(metadata: &'a Struct, key: &str) -> Option<&'a Kind> {
    metadata.fields.get(key)?.kind.as_ref()
}

fn text<'a>(metadata: &'a Struct, key: &str) -> Option<&'a str> {
    match value(metadata, key)? {
        Kind::StringValue(text) => Some(text),
        _ => None,
    }
}

fn texts(labels: &Struct) -> BTreeMap<std::sync::Arc<str>, std::sync::Arc<str>> {
    let strings = labels.fields.iter().filter_map(|(key, value)| match value.kind.as_ref()? {
        Kind::StringValue(text) => Some((key.as_str().into(), text.as_str().into())),
        _ => None,
    });
    strings.collect()
}

#[cfg(test)]
mod tests {
    use lateen_proto::google::protobuf::Value;

    use super::*;

    const ADS: Method = Method { delta: true, only: None };

    fn string(text: &str) -> Value {
        Value { kind: Some(Kind::StringValue(text.to_owned())) }
    }

    #[test]
    fn istio_metadata_is_understood() {
        let labels = Struct { fields: BTreeMap::from([("app".to_owned(), string("cart"))]) };
        let fields = BTreeMap::from([
            ("NAMESPACE".to_owned(), string("shop")),
            ("INSTANCE_IPS".to_owned(), string("10.0.0.1,fd00::1,nonsense")),
            ("LABELS".to_owned(), Value { kind: Some(Kind::StructValue(labels)) }),
        ]);
        let node = Node {
            id: "sidecar~10.0.0.1~cart-1.other~other.svc.cluster.local".to_owned(),
            user_agent_name: "envoy".to_owned(),
            metadata: Some(Struct { fields }),
            ..Node::default()
        };
        let info = node_info(&node, ADS);
        assert_eq!(info.namespace.as_str(), "shop");
        assert_eq!(info.addresses.len(), 2);
        assert_eq!(&*info.labels["app"], "cart");
        assert_eq!(info.role, NodeRole::Sidecar);
    }

    #[test]
    fn grpc_clients_are_known_by_their_user_agent() {
        let node = Node { user_agent_name: "gRPC C-core Linux".to_owned(), ..Node::default() };
        assert_eq!(node_info(&node, ADS).role, NodeRole::Grpc);
    }
}
