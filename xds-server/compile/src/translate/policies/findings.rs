//! What is said about policies.

use lateen_config::{
    ConfigObject,
    istio::{AuthorizationAction, FailStrategy},
    path::Path,
};
use lateen_model::{Diagnostic, Origin, Severity};
use lateen_registry::Sourced;

use crate::translate::notes::{NO_EFFECT, Unmet};

/// Why a policy can't be applied, where that stands in it, what is closed for that, and how to open it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Text {
    field: &'static str,
    why: &'static str,
    closed: &'static str,
    remedy: &'static str,
}

const TOKENS: Text = Text {
    field: "jwtRules",
    why: "tokens are not verified yet",
    closed: "requests that carry one are answered with 401",
    remedy: "remove the policy, or call without a token",
};
const PLAINTEXT: Text = Text {
    field: "mtls",
    why: "mode STRICT needs the mesh's own certificates",
    closed: "connections to the workloads and ports that it holds for end at once",
    remedy: "mode PERMISSIVE takes plain text",
};
const RULES: Text = Text {
    field: "rules",
    why: "the rules are not evaluated yet",
    closed: "all requests and connections to the workloads that it selects are refused",
    remedy: "remove the policy, or select fewer workloads",
};
const CUSTOM: Text = Text {
    field: "provider",
    why: "action CUSTOM asks nobody yet",
    closed: "all requests and connections to the workloads that it selects are refused",
    remedy: "remove the policy, or select fewer workloads",
};
const PLUGIN: Text = Text {
    field: "failStrategy",
    why: "the module is not loaded yet, and failStrategy is not FAIL_OPEN",
    closed: "all requests to the workloads that it selects are refused",
    remedy: "failStrategy FAIL_OPEN serves without the module",
};

const UNREADABLE: Text = Text {
    field: "",
    why: "the policy can't be read, and never could",
    closed: "all requests and connections that it may be about are refused",
    remedy: "correct the errors of the object, or remove it",
};

/// What is said of a policy that closes.
pub(super) fn of(policy: &Sourced<ConfigObject>) -> Text {
    match &*policy.spec {
        _ if policy.unreadable => UNREADABLE,
        ConfigObject::RequestAuthentication(_) => TOKENS,
        ConfigObject::PeerAuthentication(_) => PLAINTEXT,
        ConfigObject::AuthorizationPolicy(spec) if spec.action == AuthorizationAction::Custom => CUSTOM,
        ConfigObject::WasmPlugin(_) | ConfigObject::TrafficExtension(_) => PLUGIN,
        _ => RULES,
    }
}

pub(super) fn unmet(policy: &Sourced<ConfigObject>, text: Text) -> Unmet<'_> {
    let Text { field, why, closed, remedy } = text;
    Unmet {
        about: Some((&policy.key, place(policy, field))),
        path: path(field),
        why: why.to_owned(),
        closed: closed.to_owned(),
        remedy,
    }
}

/// What is said of a policy that holds for somebody and refuses nothing.
pub(super) fn without_effect(policy: &Sourced<ConfigObject>) -> Option<Diagnostic> {
    let (field, why) = match &*policy.spec {
        ConfigObject::AuthorizationPolicy(_) if policy.dry_run => {
            ("action", "what would be refused in a dry run is not logged yet")
        }
        ConfigObject::AuthorizationPolicy(spec) if spec.action == AuthorizationAction::Audit => {
            ("action", "requests are not audited yet")
        }
        ConfigObject::Telemetry(_) => ("", "telemetry is that of the mesh's configuration"),
        ConfigObject::EnvoyFilter(_) => ("configPatches", "patches are not applied"),
        ConfigObject::WasmPlugin(spec) if spec.fail_strategy == FailStrategy::Open => {
            ("failStrategy", "the module is not loaded, and failStrategy is FAIL_OPEN")
        }
        ConfigObject::WasmPlugin(_) => {
            ("match", "the module is not loaded, and requests in the other direction pass without it")
        }
        ConfigObject::TrafficExtension(_) => ("", "the extension is not loaded"),
        _ => return None,
    };
    let path = path(field);
    Some(Diagnostic {
        code: NO_EFFECT,
        severity: Severity::Warning,
        object: Some(policy.key.to_ref()),
        origin: Some(place(policy, field)),
        path,
        message: format!("{} has no effect, because {why}", policy.key.kind),
        hint: None,
    })
}

fn path(field: &str) -> String {
    if field.is_empty() { "spec".to_owned() } else { format!("spec.{field}") }
}

fn place(policy: &Sourced<ConfigObject>, field: &str) -> Origin {
    let mut origin = policy.origin.clone();
    let spec = Path::ROOT.field("spec");
    let path = if field.is_empty() { spec } else { spec.field(field) };
    if let Some(span) = policy.spans.find(&path) {
        (origin.line, origin.column) = (span.line, span.column);
    }
    origin
}
