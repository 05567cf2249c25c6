//! Retries.
//! <https://istio.io/latest/docs/reference/config/networking/virtual-service/#HTTPRetry>

use lateen_config::istio::{HttpRetry, MeshConfig};
use lateen_proto::{
    any::pack, envoy::extensions::retry::host::previous_hosts::v3::PreviousHostsPredicate,
    google::protobuf::Any,
};

use super::super::{
    ClientProfile,
    wire::{
        self,
        rds::{
            RetryPolicy,
            retry_policy::{
                RetryBackOff, RetryHostPredicate, RetryPriority, retry_host_predicate, retry_priority,
            },
        },
    },
};

/// What is retried where nobody says anything: what never reached the server, and what a gRPC server asks to
/// be tried again.
/// <https://istio.io/latest/docs/concepts/traffic-management/#retries>
const RETRY_ON: &str = "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes";
const RETRIES: u32 = 2;
/// How often another endpoint is looked for than the one that failed.
const SELECTION_ATTEMPTS: i64 = 5;
/// The conditions that proxyless clients know.
/// <https://github.com/grpc/proposal/blob/master/A44-xds-retry.md>
const GRPC_CONDITIONS: [&str; 5] =
    ["cancelled", "deadline-exceeded", "internal", "resource-exhausted", "unavailable"];

/// The policy of a route; `None` where nothing is retried.
pub(super) fn policy(
    mesh: &MeshConfig,
    own: Option<&HttpRetry>,
    profile: ClientProfile,
) -> Option<RetryPolicy> {
    let mut policy = RetryPolicy {
        retry_on: RETRY_ON.into(),
        num_retries: Some(RETRIES.into()),
        retry_host_predicate: vec![other_hosts()],
        host_selection_retry_max_attempts: SELECTION_ATTEMPTS,
        ..Default::default()
    };
    if let Some(retry) = own.or(mesh.default_http_retry_policy.as_ref()) {
        let attempts = u32::try_from(retry.attempts).ok().filter(|attempts| *attempts > 0)?;
        policy.num_retries = Some(attempts.into());
        policy.per_try_timeout = wire::duration(retry.per_try_timeout.filter(|t| !t.is_zero()));
        if !retry.retry_on.is_empty() {
            (policy.retry_on, policy.retriable_status_codes) = conditions(&retry.retry_on);
        }
        if retry.retry_ignore_previous_hosts == Some(false) {
            policy.retry_host_predicate.clear();
            policy.host_selection_retry_max_attempts = 0;
        }
        if retry.retry_remote_localities == Some(true) {
            policy.retry_priority = Some(other_priorities());
        }
        policy.retry_back_off = retry.backoff.filter(|b| !b.is_zero()).map(|base| RetryBackOff {
            base_interval: Some(base.into()),
            // Envoy's own default, ten times the base, holds.
            max_interval: None,
        });
    }
    match profile {
        ClientProfile::Envoy(_) | ClientProfile::Lateen => Some(policy),
        ClientProfile::Grpc => grpc(&policy),
    }
}

/// Status codes among the conditions go to their own field.
fn conditions(text: &str) -> (String, Vec<u32>) {
    let mut conditions = Vec::new();
    let mut codes = Vec::new();
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        match part.parse::<u32>() {
            Ok(code) => codes.push(code),
            Err(_) => conditions.push(part),
        }
    }
    if !codes.is_empty() && !conditions.contains(&"retriable-status-codes") {
        conditions.push("retriable-status-codes");
    }
    (conditions.join(","), codes)
}

/// Proxyless clients retry by gRPC's own status only.
fn grpc(policy: &RetryPolicy) -> Option<RetryPolicy> {
    let known: Vec<&str> =
        policy.retry_on.split(',').filter(|condition| GRPC_CONDITIONS.contains(condition)).collect();
    (!known.is_empty()).then(|| RetryPolicy {
        retry_on: known.join(","),
        num_retries: policy.num_retries,
        retry_back_off: policy.retry_back_off,
        ..Default::default()
    })
}

fn other_hosts() -> RetryHostPredicate {
    RetryHostPredicate {
        name: "envoy.retry_host_predicates.previous_hosts".into(),
        config_type: Some(retry_host_predicate::ConfigType::TypedConfig(pack(&PreviousHostsPredicate {}))),
    }
}

fn other_priorities() -> RetryPriority {
    let config = Any {
        type_url: "type.googleapis.com/envoy.extensions.retry.priority.previous_priorities.v3.\
                   PreviousPrioritiesConfig"
            .into(),
        // Field 1, `update_frequency`: 2, as Istio has it.
        value: vec![0x08, 0x02].into(),
    };
    RetryPriority {
        name: "envoy.retry_priorities.previous_priorities".into(),
        config_type: Some(retry_priority::ConfigType::TypedConfig(config)),
    }
}
