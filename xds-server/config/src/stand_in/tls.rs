//! Of what asks for TLS: no plain text goes where TLS was asked for, because of a mistake that may stand elsewhere.
//!
//! A TLS setting that could be read is as it says. Where one could not be read, or stands where none is looked for (a
//! field's name is misspelt), it is closed. All else of the object is left out.

use super::{field, is_sound, items, nobody, sound};
use crate::{
    Metadata,
    check::{client_tls, server_tls},
    decode::{Decode, nearest},
    istio::{
        ClientTls, ClientTlsMode, DestinationRule, IngressListener, PortSelector, PortTrafficPolicy,
        ServerTls, ServerTlsMode, Sidecar, SidecarPort, Subset, TrafficPolicy,
    },
    path::Path,
    yaml::{Node, Value, is_field},
};

/// The rule with its TLS settings alone; `None` if none asks for TLS, or if the host can't be told.
pub(super) fn destination_rule(spec: &Node, follows: bool, meta: &Metadata) -> Option<DestinationRule> {
    let asked = asked(spec);
    if asked == 0 && !follows {
        return None;
    }
    let host = sound(field(spec, "host").or_else(|| near(spec, "host")))?;
    let of_host = DestinationRule { span: spec.span, host, ..DestinationRule::default() };
    let selected = DestinationRule {
        export_to: sound(field(spec, "exportTo")).unwrap_or_default(),
        workload_selector: sound(field(spec, "workloadSelector")),
        ..of_host.clone()
    };
    let mut placed = 0;
    let exact = DestinationRule {
        traffic_policy: field(spec, "trafficPolicy").and_then(|node| policy(node, &mut placed)),
        subsets: items(field(spec, "subsets")).iter().filter_map(|node| subset(node, &mut placed)).collect(),
        ..selected.clone()
    };
    let closed = |rule| DestinationRule {
        traffic_policy: Some(TrafficPolicy { tls: Some(closed()), ..TrafficPolicy::default() }),
        ..rule
    };
    let exact = (placed == asked && !follows).then_some(exact);
    let mut forms = exact.into_iter().chain([closed(selected), closed(of_host)]);
    forms.find(|rule| is_sound(rule, meta))
}

/// How many settings ask for TLS, wherever they stand.
fn asked(node: &Node) -> usize {
    match &node.value {
        Value::Seq(items) => items.iter().map(asked).sum(),
        Value::Map(entries) => {
            let each = entries.iter().map(|entry| match &*entry.key {
                // These keys are the users' own.
                "labels" | "matchLabels" | "match_labels" => 0,
                key if is_tls(key) => usize::from(client(&entry.value).mode != ClientTlsMode::Disable),
                "mode" => usize::from(is_mode(&entry.value)),
                _ => asked(&entry.value),
            });
            each.sum()
        }
        _ => 0,
    }
}

/// Is it the field, or a misspelling of it?
fn is_tls(key: &str) -> bool {
    is_field(key, "tls") || nearest(key, ["tls"]).is_some()
}

fn is_mode(node: &Node) -> bool {
    let modes = [ClientTlsMode::Simple, ClientTlsMode::Mutual, ClientTlsMode::IstioMutual];
    node.as_str().is_some_and(|text| modes.iter().any(|mode| mode.as_str() == text))
}

fn near<'n>(node: &'n Node, name: &str) -> Option<&'n Node> {
    let Value::Map(entries) = &node.value else { return None };
    entries.iter().find(|entry| nearest(&entry.key, [name]).is_some()).map(|entry| &entry.value)
}

/// The setting as it says, if it can be read; what says that it is off is off.
fn client(node: &Node) -> ClientTls {
    if node.value == Value::Null {
        return ClientTls::default();
    }
    let mut out = nobody();
    let read = ClientTls::decode(node, &Path::ROOT, &mut out);
    if let (Some(tls), 0) = (&read, out.errors()) {
        client_tls(tls, &Path::ROOT, &mut out);
    }
    match read {
        Some(tls) if out.errors() == 0 => tls,
        Some(_) if field(node, "mode").and_then(Node::as_str) == Some(ClientTlsMode::Disable.as_str()) => {
            ClientTls { span: node.span, ..ClientTls::default() }
        }
        _ => ClientTls { span: node.span, ..closed() },
    }
}

fn closed() -> ClientTls {
    ClientTls { mode: ClientTlsMode::IstioMutual, unreadable: true, ..ClientTls::default() }
}

fn placed_client(node: &Node, placed: &mut usize) -> Option<ClientTls> {
    let tls = client(field(node, "tls")?);
    *placed += usize::from(tls.mode != ClientTlsMode::Disable);
    Some(tls)
}

fn policy(node: &Node, placed: &mut usize) -> Option<TrafficPolicy> {
    let tls = placed_client(node, placed);
    let port = |node: &Node| {
        let port: PortSelector = sound(field(node, "port"))?;
        let tls = placed_client(node, placed);
        Some(PortTrafficPolicy { span: node.span, port: Some(port), tls, ..PortTrafficPolicy::default() })
    };
    // One without TLS makes its port an exception.
    let ports: Vec<_> = items(field(node, "portLevelSettings")).iter().filter_map(port).collect();
    (tls.is_some() || !ports.is_empty()).then(|| TrafficPolicy {
        span: node.span,
        tls,
        port_level_settings: ports,
        ..TrafficPolicy::default()
    })
}

fn subset(node: &Node, placed: &mut usize) -> Option<Subset> {
    let name = sound(field(node, "name"))?;
    let labels = match field(node, "labels") {
        Some(labels) => sound(Some(labels))?,
        None => crate::istio::Labels::new(),
    };
    let traffic_policy = Some(policy(field(node, "trafficPolicy")?, placed)?);
    Some(Subset { span: node.span, name, labels, traffic_policy })
}

/// The object with its ingress listeners; `None` if none asks for TLS on a port that can be told.
pub(super) fn sidecar(spec: &Node, meta: &Metadata) -> Option<Sidecar> {
    let mut found = Vec::new();
    listeners(spec, &mut found);
    let mut ingress = Vec::new();
    let mut settings = Vec::new();
    for node in found {
        let Some(read) = IngressListener::decode(node, &Path::ROOT, &mut nobody()) else { continue };
        let is_there = |port: &SidecarPort| {
            let is_first =
                |other: &IngressListener| other.port.as_ref().is_none_or(|o| o.number != port.number);
            (1..=65_535).contains(&port.number) && ingress.iter().all(is_first)
        };
        if read.port.as_ref().is_some_and(is_there) {
            settings.push(asks(node).then(|| server(field(node, "tls"))));
            ingress.push(IngressListener { tls: None, ..read });
        }
    }
    if settings.iter().all(Option::is_none) {
        return None;
    }
    let plain = Sidecar {
        span: spec.span,
        workload_selector: sound(field(spec, "workloadSelector")),
        egress: sound(field(spec, "egress")).unwrap_or_default(),
        inbound_connection_pool: sound(field(spec, "inboundConnectionPool")),
        outbound_traffic_policy: sound(field(spec, "outboundTrafficPolicy")),
        ingress,
    };
    let bare = Sidecar { ingress: plain.ingress.iter().map(port_alone).collect(), ..plain.clone() };
    let alone = |selector| Sidecar {
        span: spec.span,
        workload_selector: selector,
        ingress: bare.ingress.clone(),
        ..Sidecar::default()
    };
    let forms = [plain, bare.clone(), alone(bare.workload_selector.clone()), alone(None)];
    let mut found = forms.into_iter().find(|form| is_sound(form, meta))?;
    found.ingress.iter_mut().zip(settings).for_each(|(listener, tls)| listener.tls = tls);
    Some(found)
}

/// What may be ingress listeners: those in their place, and elsewhere what asks for TLS.
fn listeners<'n>(node: &'n Node, found: &mut Vec<&'n Node>) {
    match &node.value {
        Value::Seq(items) => items.iter().for_each(|item| listeners(item, found)),
        Value::Map(_) if asks(node) => found.push(node),
        Value::Map(entries) => {
            for entry in entries {
                if is_field(&entry.key, "ingress") {
                    found.extend(items(Some(&entry.value)));
                } else if &*entry.key != "labels" {
                    listeners(&entry.value, found);
                }
            }
        }
        _ => {}
    }
}

fn asks(listener: &Node) -> bool {
    let Value::Map(entries) = &listener.value else { return false };
    entries.iter().any(|entry| is_tls(&entry.key) && entry.value.value != Value::Null)
}

/// The setting as it says, if it can be read; else one that no connection can be taken by, as it has no certificate.
fn server(node: Option<&Node>) -> ServerTls {
    let read = || {
        let mut out = nobody();
        let tls = ServerTls::decode(node?, &Path::ROOT, &mut out)?;
        if out.errors() == 0 {
            server_tls(&tls, &Path::ROOT, &mut out);
        }
        (out.errors() == 0).then_some(tls)
    };
    read().unwrap_or_else(|| ServerTls { mode: ServerTlsMode::Simple, ..ServerTls::default() })
}

/// A listener on the port for whatever comes.
fn port_alone(of: &IngressListener) -> IngressListener {
    let number = of.port.as_ref().map_or(0, |port| port.number);
    let port = SidecarPort { number, protocol: "TCP".to_owned(), ..SidecarPort::default() };
    IngressListener {
        span: of.span,
        port: Some(port),
        capture_mode: of.capture_mode,
        ..IngressListener::default()
    }
}
