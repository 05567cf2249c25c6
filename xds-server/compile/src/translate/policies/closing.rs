//! What a policy closes that can't be applied.

use lateen_config::{
    ConfigObject,
    istio::{
        AuthorizationAction, AuthorizationPolicy, AuthorizationRule, FailStrategy, MutualTlsMode, PluginType,
        TrafficSelector, TrafficSide,
    },
};
use lateen_registry::Sourced;

use super::Policy;

/// What is closed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Closes {
    /// All requests are refused.
    pub requests: bool,
    /// All connections end that carry anything but HTTP.
    pub streams: bool,
    /// Is it just what the policy says?
    pub exactly: bool,
}

/// What a policy closes, among all that hold for a workload whose requests are on this side. `None` if it refuses
/// nothing. <https://istio.io/latest/docs/concepts/security/#implicit-enablement>
pub(super) fn closes(policy: &Sourced<ConfigObject>, all: &[Policy], side: TrafficSide) -> Option<Closes> {
    let everything = |exactly| Closes { requests: true, streams: true, exactly };
    match &*policy.spec {
        // Says what it would do, and does nothing.
        ConfigObject::AuthorizationPolicy(_) if policy.dry_run => None,
        // One that only audits, or does not fail closed, could be read so far. Of another it is not known what it refuses.
        ConfigObject::AuthorizationPolicy(spec) if policy.unreadable => {
            (spec.action != AuthorizationAction::Audit).then(|| everything(false))
        }
        ConfigObject::WasmPlugin(spec) if policy.unreadable => {
            (spec.fail_strategy != FailStrategy::Open).then(|| everything(false))
        }
        ConfigObject::TrafficExtension(spec) if policy.unreadable => {
            let fails_open = spec.wasm.as_ref().is_some_and(|wasm| wasm.fail_strategy == FailStrategy::Open);
            (!fails_open && spec.lua.is_none()).then(|| everything(false))
        }
        ConfigObject::AuthorizationPolicy(spec) => match spec.action {
            // What one policy allows is allowed.
            AuthorizationAction::Allow if all.iter().any(allows_everything) => None,
            // One that allows nothing is in force as it is, whatever others would allow that can't be applied.
            AuthorizationAction::Allow => Some(everything(spec.rules.is_empty())),
            AuthorizationAction::Deny | AuthorizationAction::Custom if spec.rules.is_empty() => None,
            AuthorizationAction::Deny => Some(everything(spec.rules.iter().any(matches_everything))),
            AuthorizationAction::Custom => Some(everything(false)),
            AuthorizationAction::Audit => None,
        },
        ConfigObject::WasmPlugin(spec) => plugin(spec.fail_strategy, spec.kind, &spec.matches, side),
        ConfigObject::TrafficExtension(spec) => {
            let wasm = spec.wasm.as_ref()?;
            plugin(wasm.fail_strategy, wasm.kind, &spec.matches, side)
        }
        _ => None,
    }
}

/// A module that is not there has failed.
fn plugin(
    fails: FailStrategy,
    kind: PluginType,
    matches: &[TrafficSelector],
    side: TrafficSide,
) -> Option<Closes> {
    let is_meant =
        |wanted: &TrafficSelector| [TrafficSide::Undefined, TrafficSide::Both, side].contains(&wanted.mode);
    match (fails, kind) {
        _ if !matches.is_empty() && !matches.iter().any(is_meant) => None,
        (FailStrategy::Open, _) => None,
        (FailStrategy::Close | FailStrategy::Reload, PluginType::Network) => {
            Some(Closes { requests: true, streams: true, exactly: false })
        }
        (FailStrategy::Close | FailStrategy::Reload, PluginType::Unspecified | PluginType::Http) => {
            Some(Closes { requests: true, streams: false, exactly: false })
        }
    }
}

fn allow(policy: &Policy) -> Option<&AuthorizationPolicy> {
    match &*policy.spec {
        ConfigObject::AuthorizationPolicy(spec)
            if spec.action == AuthorizationAction::Allow && !policy.dry_run && !policy.unreadable =>
        {
            Some(spec)
        }
        _ => None,
    }
}

fn allows_everything(policy: &Policy) -> bool {
    allow(policy).is_some_and(|spec| spec.rules.iter().any(matches_everything))
}

/// A rule without conditions.
fn matches_everything(rule: &AuthorizationRule) -> bool {
    let AuthorizationRule { from, to, when, .. } = rule;
    from.is_empty() && to.is_empty() && when.is_empty()
}

/// Does it ask for mutual TLS anywhere, or may it?
pub(super) fn is_strict(policy: &Sourced<ConfigObject>) -> bool {
    let ConfigObject::PeerAuthentication(spec) = &*policy.spec else { return false };
    policy.unreadable
        || spec
            .mtls
            .iter()
            .chain(spec.port_level_mtls.values())
            .any(|mtls| mtls.mode == MutualTlsMode::Strict)
}
