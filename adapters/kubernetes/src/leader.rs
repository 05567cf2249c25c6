//! Which replica writes: the one that holds a lease.
//! <https://kubernetes.io/docs/concepts/architecture/leases/>

use std::{hash::BuildHasher, time::Duration};

use http::Method;
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::api::{Api, ApiError};

/// How long a lease is good without being renewed, as everybody reckons by his own clock.
const DURATION: Duration = Duration::from_secs(15);
/// How long its holder takes it for good: less, so that two never write at once.
const HELD: Duration = Duration::from_secs(10);
/// How often it is renewed, or asked for.
pub(crate) const EVERY: Duration = Duration::from_secs(3);

/// A lease, held or asked for.
pub(crate) struct Lease {
    api: Api,
    namespace: String,
    name: &'static str,
    identity: String,
    /// When it was last renewed, if it is ours.
    renewed: Option<Instant>,
    /// What somebody else's lease said, and since when it says so.
    seen: Option<(Value, Instant)>,
}

/// What is to be done about a lease.
#[derive(Debug, PartialEq)]
enum Act {
    /// It is ours, or free, or its holder is gone: write this.
    Write(Value),
    /// Somebody else has it.
    Wait,
}

impl Lease {
    /// Asks for nothing yet. The identity has to be another one for each replica, and for each of its lives.
    pub(crate) fn new(api: Api, namespace: String, name: &'static str, identity: String) -> Self {
        Self { api, namespace, name, identity, renewed: None, seen: None }
    }

    /// May we write now?
    pub(crate) fn is_held(&self) -> bool {
        self.renewed.is_some_and(|renewed| renewed.elapsed() < HELD)
    }

    /// Is it time to renew it, or to ask for it?
    pub(crate) fn is_due(&self) -> bool {
        self.renewed.is_none_or(|renewed| renewed.elapsed() >= EVERY)
    }

    fn path(&self) -> String {
        format!("/apis/coordination.k8s.io/v1/namespaces/{}/leases", self.namespace)
    }

    /// Takes or renews it, if that may be.
    pub(crate) async fn renew(&mut self) -> Result<(), ApiError> {
        let one = format!("{}/{}", self.path(), self.name);
        let asked = Instant::now();
        let written: Result<Value, ApiError> = match self.api.get::<Value>(&one, "read the lease").await {
            Ok(lease) => match self.judge(&lease, asked) {
                Act::Write(lease) => self.api.write(Method::PUT, &one, &lease, "renew the lease").await,
                Act::Wait => {
                    self.renewed = None;
                    return Ok(());
                }
            },
            Err(ApiError::NotFound { .. }) => {
                let lease = json!({
                    "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
                    "metadata": {"name": self.name, "namespace": self.namespace},
                    "spec": self.spec(0, &now()),
                });
                self.api.write(Method::POST, &self.path(), &lease, "create the lease").await
            }
            Err(error) => Err(error),
        };
        match written {
            // It holds from when it was asked for, not from when the answer came.
            Ok(_) => self.renewed = Some(asked),
            // Another replica was faster.
            Err(ApiError::Conflict { .. }) => self.renewed = None,
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Gives it up, so that another replica need not wait until it is over.
    pub(crate) async fn release(&mut self) -> Result<(), ApiError> {
        if self.renewed.take().is_none() {
            return Ok(());
        }
        let one = format!("{}/{}", self.path(), self.name);
        let mut lease: Value = self.api.get(&one, "read the lease").await?;
        if holder(&lease) != self.identity {
            return Ok(());
        }
        lease["spec"]["holderIdentity"] = "".into();
        // Written over the version that was read: if it is another one's by now, it stays that one's.
        match self.api.write::<Value>(Method::PUT, &one, &lease, "release the lease").await {
            Ok(_) | Err(ApiError::Conflict { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn judge(&mut self, lease: &Value, now: Instant) -> Act {
        let holder = holder(lease);
        let spec = lease.get("spec").cloned().unwrap_or_default();
        let transitions = spec.get("leaseTransitions").and_then(Value::as_i64).unwrap_or(0);
        if holder == self.identity {
            let since = spec.get("acquireTime").and_then(Value::as_str).map_or_else(self::now, str::to_owned);
            return Act::Write(self.over(lease, &self.spec(transitions, &since)));
        }
        let seconds = spec.get("leaseDurationSeconds").and_then(Value::as_u64);
        let lasts = seconds.map_or(DURATION, |seconds| Duration::from_secs(seconds.min(3600)));
        // Whose clock is right is not known: a lease is over when we have seen no renewal for so long.
        let since = match &self.seen {
            Some((seen, since)) if *seen == spec => *since,
            Some(_) | None => {
                self.seen = Some((spec, now));
                now
            }
        };
        if !holder.is_empty() && now.duration_since(since) < lasts {
            return Act::Wait;
        }
        Act::Write(self.over(lease, &self.spec(transitions.saturating_add(1), &self::now())))
    }

    /// The lease with another content, over the version that was read.
    fn over(&self, lease: &Value, spec: &Value) -> Value {
        let version = lease.pointer("/metadata/resourceVersion").cloned().unwrap_or_default();
        json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": {"name": self.name, "namespace": self.namespace, "resourceVersion": version},
            "spec": spec,
        })
    }

    fn spec(&self, transitions: i64, since: &str) -> Value {
        json!({
            "holderIdentity": self.identity,
            "leaseDurationSeconds": DURATION.as_secs(),
            "acquireTime": since,
            "renewTime": now(),
            "leaseTransitions": transitions,
        })
    }
}

fn holder(lease: &Value) -> &str {
    lease.pointer("/spec/holderIdentity").and_then(Value::as_str).unwrap_or_default()
}

/// A name that no other replica has.
pub(crate) fn identity() -> String {
    let host = std::env::var("HOSTNAME").unwrap_or_else(|_| "lateen".to_owned());
    let chance = std::collections::hash_map::RandomState::new().hash_one(std::process::id());
    format!("{host}_{chance:016x}")
}

/// As leases have it.
fn now() -> String {
    Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()
}
