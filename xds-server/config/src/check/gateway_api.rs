//! The Gateway API: gateways, classes and grants. The rules are those of the API's own schemas.
//! <https://gateway-api.sigs.k8s.io/reference/spec/>

use std::collections::BTreeMap;

use super::{Check, names, values};
use crate::{
    Metadata, codes,
    findings::Findings,
    gateway_api::{
        BackendTlsPolicy, FromNamespaces, Gateway, GatewayClass, Listener, ListenerTlsMode, ReferenceGrant,
    },
    path::Path,
};

impl Check for GatewayClass {
    fn check(&self, _: &Metadata, at: &Path<'_>, out: &mut Findings) {
        let domain = self
            .controller_name
            .split_once('/')
            .is_some_and(|(domain, path)| names::is_dns_subdomain(domain) && !path.is_empty());
        if !domain {
            let message = "the controller needs a name with a domain and a path";
            out.error(codes::NAME, &at.field("controllerName"), message).hint("such as lateen.io/gateway");
        }
        // https://gateway-api.sigs.k8s.io/reference/spec/#gatewayclassspec
        if self.description.as_ref().is_some_and(|text| text.chars().count() > 64) {
            let message = "a description has 64 characters at most";
            out.error(codes::RANGE, &at.field("description"), message);
        }
    }
}

impl Check for BackendTlsPolicy {
    fn check(&self, _: &Metadata, at: &Path<'_>, out: &mut Findings) {
        for (field, given) in [("validation", &self.validation), ("options", &self.options)] {
            if given.is_some() {
                let message = format!("{field} has no effect, because TLS to backends is not applied yet");
                out.warn(codes::NO_EFFECT, &at.field(field), message);
            }
        }
        let at = at.field("targetRefs");
        if self.target_refs.is_empty() {
            out.warn(codes::NO_EFFECT, &at, "the policy has no effect, because it is for no backend");
        }
        for (index, target) in self.target_refs.iter().enumerate() {
            if !target.is_service() {
                let message = format!(
                    "a target of kind {} has no effect, because only Services are backends",
                    target.kind
                );
                out.warn(codes::NO_EFFECT, &at.index(index), message);
            }
        }
    }
}

impl Check for ReferenceGrant {
    fn check(&self, _: &Metadata, at: &Path<'_>, out: &mut Findings) {
        if self.from.is_empty() {
            out.error(codes::MISSING, &at.field("from"), "the grant is for nobody");
        }
        if self.to.is_empty() {
            out.error(codes::MISSING, &at.field("to"), "the grant is of nothing");
        }
        for (index, from) in self.from.iter().enumerate() {
            let parent = at.field("from");
            let at = parent.index(index);
            if from.kind.is_empty() {
                out.error(codes::MISSING, &at.field("kind"), "a kind is needed");
            }
            if !names::is_dns_label(&from.namespace) {
                out.error(codes::NAME, &at.field("namespace"), "a namespace is needed");
            }
        }
        for (index, to) in self.to.iter().enumerate() {
            if to.kind.is_empty() {
                out.error(codes::MISSING, &at.field("to").index(index).field("kind"), "a kind is needed");
            }
        }
    }
}

impl Check for Gateway {
    fn check(&self, _: &Metadata, at: &Path<'_>, out: &mut Findings) {
        if self.gateway_class_name.is_empty() {
            out.error(codes::MISSING, &at.field("gatewayClassName"), "a gateway needs a class");
        }
        let listeners = at.field("listeners");
        if self.listeners.is_empty() {
            out.error(codes::MISSING, &listeners, "a gateway needs listeners");
        }
        let mut by_name: BTreeMap<&str, usize> = BTreeMap::new();
        for (index, listener) in self.listeners.iter().enumerate() {
            let at = listeners.index(index);
            check_listener(listener, &at, out);
            if let Some(first) = by_name.insert(&listener.name, index) {
                let message = format!("listeners[{first}] has the name {} already", listener.name);
                out.error(codes::DUPLICATE_PART, &at.field("name"), message);
            }
        }
        for (index, address) in self.addresses.iter().enumerate() {
            let parent = at.field("addresses");
            let at = parent.index(index);
            let fits = match address.kind.as_deref().unwrap_or("IPAddress") {
                "IPAddress" => address.value.is_empty() || names::is_ip(&address.value),
                "Hostname" => names::is_host(&address.value),
                own => own.contains('/') || own == "NamedAddress",
            };
            if !fits {
                let message = format!("\"{}\" is not such an address", names::shorten(&address.value));
                out.error(codes::ADDRESS, &at.field("value"), message);
            }
        }
    }
}

fn check_listener(listener: &Listener, at: &Path<'_>, out: &mut Findings) {
    if !names::is_dns_subdomain(&listener.name) {
        out.error(codes::NAME, &at.field("name"), "a listener needs a name");
    }
    values::port(listener.port, &at.field("port"), out);
    if let Some(host) = &listener.hostname {
        hostname(host, &at.field("hostname"), out);
    }
    match &*listener.protocol {
        "HTTP" | "TCP" | "UDP" => {
            if listener.tls.is_some() {
                let message = format!("a listener with protocol {} takes no tls", listener.protocol);
                out.error(codes::COMBINATION, &at.field("tls"), message);
            }
            if listener.hostname.is_some() && listener.protocol != "HTTP" {
                let message = format!("a listener with protocol {} takes no hostname", listener.protocol);
                out.error(codes::COMBINATION, &at.field("hostname"), message);
            }
        }
        "HTTPS" | "TLS" => check_tls(listener, at, out),
        other => {
            const PROTOCOLS: [&str; 5] = ["HTTP", "HTTPS", "TLS", "TCP", "UDP"];
            let hint = match crate::decode::nearest(other, PROTOCOLS) {
                Some(near) => format!("did you mean {near}?"),
                None => format!("the protocols are {}", PROTOCOLS.join(", ")),
            };
            // The API leaves protocols open, and makes a wrong one the listener's fault, not the gateway's.
            let message =
                format!("unknown protocol \"{}\": the listener is not served", names::shorten(other));
            out.warn(codes::UNKNOWN_VALUE, &at.field("protocol"), message).hint(hint);
        }
    }
    let namespaces = listener.allowed_routes.as_ref().and_then(|allowed| allowed.namespaces.as_ref());
    if let Some(namespaces) = namespaces
        && namespaces.from == FromNamespaces::Selector
        && namespaces.selector.is_none()
    {
        let at = at.field("allowedRoutes");
        out.error(codes::MISSING, &at.field("namespaces"), "from: Selector needs a selector");
    }
}

fn check_tls(listener: &Listener, at: &Path<'_>, out: &mut Findings) {
    let tls_at = at.field("tls");
    let Some(tls) = &listener.tls else {
        let message = format!("a listener with protocol {} needs tls: it is not served", listener.protocol);
        out.warn(codes::COMBINATION, &tls_at, message);
        return;
    };
    if listener.protocol == "HTTPS" && tls.mode == ListenerTlsMode::Passthrough {
        let message = "a listener with protocol HTTPS ends TLS itself";
        out.error(codes::COMBINATION, &tls_at.field("mode"), message)
            .hint("use protocol TLS to pass it through");
    }
    if tls.mode == ListenerTlsMode::Terminate && tls.certificate_refs.is_empty() && tls.options.is_empty() {
        let message = "a listener that ends TLS needs certificateRefs";
        out.error(codes::MISSING, &tls_at.field("certificateRefs"), message);
    }
    for (index, reference) in tls.certificate_refs.iter().enumerate() {
        if reference.name.is_empty() {
            let at = tls_at.field("certificateRefs");
            out.error(codes::MISSING, &at.index(index).field("name"), "the reference has no name");
        }
    }
}

/// A host, or `*.` and a host; no address.
/// <https://gateway-api.sigs.k8s.io/reference/spec/#hostname>
pub(super) fn hostname(host: &str, at: &Path<'_>, out: &mut Findings) {
    let body = host.strip_prefix("*.").unwrap_or(host);
    if !names::is_dns_subdomain(body) || names::is_ip(body) {
        let message = format!("\"{}\" is not a hostname", names::shorten(host));
        out.error(codes::HOST, at, message).hint("write a name in lower case, or *. and a name");
    }
}
