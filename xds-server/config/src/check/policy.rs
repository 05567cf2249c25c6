//! Policies of Istio. What becomes of those that hold for workloads is said where they are translated; the others are
//! read and not applied yet, and each says so itself.

use super::{Check, names, values};
use crate::{
    Kind, Metadata, codes,
    findings::Findings,
    istio::{
        AuthorizationAction, AuthorizationPolicy, EnvoyFilter, JwtRule, PeerAuthentication, PolicySelector,
        PolicyTarget, RequestAuthentication, Telemetry, TrafficExtension, WasmPlugin, WorkloadGroup,
        WorkloadProxyConfig,
    },
    path::Path,
};

fn not_applied(kind: Kind, out: &mut Findings) {
    out.warn(codes::NOT_APPLIED, &Path::ROOT.field("kind"), format!("{kind} is known, but not applied yet"));
}

impl Check for AuthorizationPolicy {
    fn check(&self, _: &Metadata, at: &Path<'_>, out: &mut Findings) {
        target(self.selector.as_ref(), self.target_ref.as_ref(), &self.target_refs, at, out);
        let is_custom = self.action == AuthorizationAction::Custom;
        if is_custom != self.provider.is_some() {
            let message = "action CUSTOM and provider need each other";
            out.error(codes::COMBINATION, &at.field("provider"), message);
        }
    }
}

impl Check for PeerAuthentication {
    fn check(&self, _: &Metadata, at: &Path<'_>, out: &mut Findings) {
        target(self.selector.as_ref(), None, &[], at, out);
        let at = at.field("portLevelMtls");
        for port in self.port_level_mtls.keys() {
            if port.parse::<u16>().is_ok_and(|port| port > 0) {
                continue;
            }
            out.error(codes::PORT, &at.key(port), format!("\"{}\" is not a port", names::shorten(port)));
        }
        // https://istio.io/latest/docs/reference/config/security/peer_authentication/#PeerAuthentication
        if !self.port_level_mtls.is_empty()
            && self.selector.as_ref().is_none_or(|all| all.match_labels.is_empty())
        {
            out.error(codes::COMBINATION, &at, "portLevelMtls needs a selector");
        }
    }
}

impl Check for RequestAuthentication {
    fn check(&self, _: &Metadata, at: &Path<'_>, out: &mut Findings) {
        target(self.selector.as_ref(), self.target_ref.as_ref(), &self.target_refs, at, out);
        for (index, rule) in self.jwt_rules.iter().enumerate() {
            jwt_rule(rule, &at.field("jwtRules").index(index), out);
        }
    }
}

fn jwt_rule(rule: &JwtRule, at: &Path<'_>, out: &mut Findings) {
    if rule.issuer.is_empty() {
        out.error(codes::MISSING, &at.field("issuer"), "a rule needs the issuer of the tokens");
    }
    for (index, header) in rule.from_headers.iter().enumerate() {
        let list = at.field("fromHeaders");
        let at = list.index(index);
        if !names::is_token(&header.name) {
            let message = format!("\"{}\" is not the name of a header", names::shorten(&header.name));
            out.error(codes::HEADER, &at.field("name"), message);
        }
        if header.prefix.chars().any(char::is_control) {
            let message = "the start of a header's value must not hold control characters";
            out.error(codes::HEADER, &at.field("prefix"), message);
        }
    }
    values::at_most_one(&[("jwks", !rule.jwks.is_empty()), ("jwksUri", !rule.jwks_uri.is_empty())], at, out);
}

impl Check for Telemetry {
    fn check(&self, _: &Metadata, at: &Path<'_>, out: &mut Findings) {
        target(self.selector.as_ref(), self.target_ref.as_ref(), &self.target_refs, at, out);
    }
}

impl Check for EnvoyFilter {
    fn check(&self, _: &Metadata, at: &Path<'_>, out: &mut Findings) {
        if let Some(selector) = &self.workload_selector {
            names::labels(&selector.labels, &at.field("workloadSelector").field("labels"), out);
        }
        target(None, None, &self.target_refs, at, out);
    }
}

impl Check for WasmPlugin {
    fn check(&self, _: &Metadata, at: &Path<'_>, out: &mut Findings) {
        target(self.selector.as_ref(), self.target_ref.as_ref(), &self.target_refs, at, out);
    }
}

impl Check for TrafficExtension {
    fn check(&self, _: &Metadata, at: &Path<'_>, out: &mut Findings) {
        target(self.selector.as_ref(), None, &self.target_refs, at, out);
        // https://istio.io/latest/docs/reference/config/proxy_extensions/
        values::at_most_one(&[("wasm", self.wasm.is_some()), ("lua", self.lua.is_some())], at, out);
        if self.wasm.is_none() && self.lua.is_none() {
            out.error(codes::MISSING, at, "the object names no filter").hint("give wasm, or lua");
        }
    }
}

impl Check for WorkloadProxyConfig {
    fn check(&self, _: &Metadata, at: &Path<'_>, out: &mut Findings) {
        target(self.selector.as_ref(), None, &[], at, out);
        not_applied(Kind::ProxyConfig, out);
    }
}

impl Check for WorkloadGroup {
    fn check(&self, _: &Metadata, at: &Path<'_>, out: &mut Findings) {
        if let Some(metadata) = &self.metadata {
            names::labels(&metadata.labels, &at.field("metadata").field("labels"), out);
        }
        not_applied(Kind::WorkloadGroup, out);
    }
}

/// Kinds that a policy may be attached to, by group.
const TARGETS: [(&str, &str); 4] = [
    ("gateway.networking.k8s.io", "Gateway"),
    ("gateway.networking.k8s.io", "GatewayClass"),
    ("networking.istio.io", "ServiceEntry"),
    ("", "Service"),
];

/// What a policy holds for: workloads by labels, or objects by name.
/// <https://istio.io/latest/docs/reference/config/type/workload-selector/#PolicyTargetReference>
fn target(
    selector: Option<&PolicySelector>,
    one: Option<&PolicyTarget>,
    several: &[PolicyTarget],
    at: &Path<'_>,
    out: &mut Findings,
) {
    if let Some(target) = one {
        target_ref(target, &at.field("targetRef"), out);
    }
    for (index, target) in several.iter().enumerate() {
        target_ref(target, &at.field("targetRefs").index(index), out);
    }
    let Some(selector) = selector else { return };
    names::labels(&selector.match_labels, &at.field("selector").field("matchLabels"), out);
    if one.is_some() || !several.is_empty() {
        out.error(codes::EXCLUSIVE, &at.field("selector"), "selector and targetRefs exclude each other");
    }
}

fn target_ref(target: &PolicyTarget, at: &Path<'_>, out: &mut Findings) {
    if target.name.is_empty() {
        out.error(codes::MISSING, &at.field("name"), "the target needs a name");
    }
    if !target.namespace.is_empty() {
        let message = "a policy is attached to objects of its own namespace only";
        out.error(codes::REFERENCE, &at.field("namespace"), message);
    }
    let group = if target.group == "core" { "" } else { &*target.group };
    if !TARGETS.iter().any(|(_, kind)| *kind == target.kind) {
        let message = format!("a policy can't be attached to a {}", names::shorten(&target.kind));
        out.error(codes::UNKNOWN_VALUE, &at.field("kind"), message)
            .hint("the kinds are Gateway, GatewayClass, ServiceEntry and Service");
    } else if !TARGETS.contains(&(group, &*target.kind)) {
        let message = format!("the group \"{}\" has no {}", names::shorten(&target.group), target.kind);
        out.error(codes::UNKNOWN_VALUE, &at.field("group"), message);
    }
}
