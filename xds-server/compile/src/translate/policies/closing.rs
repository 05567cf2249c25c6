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

/// What a policy closes, among all that hold for a workload. `None` if it refuses nothing.
/// <https://istio.io/latest/docs/concepts/security/#implicit-enablement>
pub(super) fn closes(policy: &Sourced<ConfigObject>, all: &[Policy]) -> Option<Closes> {
    let everything = |exactly| Closes { requests: true, streams: true, exactly };
    match &*policy.spec {
        // Says what it would do, and does nothing.
        ConfigObject::AuthorizationPolicy(_) if policy.dry_run => None,
        ConfigObject::AuthorizationPolicy(spec) => match spec.action {
            // What one policy allows is allowed.
            AuthorizationAction::Allow if all.iter().any(allows_everything) => None,
            AuthorizationAction::Allow => {
                let exactly = all.iter().all(|other| !allows_something(other));
                Some(everything(exactly))
            }
            AuthorizationAction::Deny | AuthorizationAction::Custom if spec.rules.is_empty() => None,
            AuthorizationAction::Deny => Some(everything(spec.rules.iter().any(matches_everything))),
            AuthorizationAction::Custom => Some(everything(false)),
            AuthorizationAction::Audit => None,
        },
        ConfigObject::WasmPlugin(spec) => plugin(spec.fail_strategy, spec.kind, &spec.matches),
        ConfigObject::TrafficExtension(spec) => {
            let wasm = spec.wasm.as_ref()?;
            plugin(wasm.fail_strategy, wasm.kind, &spec.matches)
        }
        _ => None,
    }
}

/// A module that is not there has failed.
fn plugin(fails: FailStrategy, kind: PluginType, matches: &[TrafficSelector]) -> Option<Closes> {
    let inbound = matches.is_empty() || matches.iter().any(|wanted| wanted.mode != TrafficSide::Client);
    match (fails, kind) {
        _ if !inbound => None,
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
            if spec.action == AuthorizationAction::Allow && !policy.dry_run =>
        {
            Some(spec)
        }
        _ => None,
    }
}

fn allows_everything(policy: &Policy) -> bool {
    allow(policy).is_some_and(|spec| spec.rules.iter().any(matches_everything))
}

fn allows_something(policy: &Policy) -> bool {
    allow(policy).is_some_and(|spec| !spec.rules.is_empty())
}

/// A rule without conditions.
fn matches_everything(rule: &AuthorizationRule) -> bool {
    let AuthorizationRule { from, to, when, .. } = rule;
    from.is_empty() && to.is_empty() && when.is_empty()
}

/// Does it ask for mutual TLS anywhere?
pub(super) fn is_strict(spec: &ConfigObject) -> bool {
    let ConfigObject::PeerAuthentication(spec) = spec else { return false };
    spec.mtls.iter().chain(spec.port_level_mtls.values()).any(|mtls| mtls.mode == MutualTlsMode::Strict)
}
