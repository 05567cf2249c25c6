//! Writes statuses, while this replica holds the lease.

use std::{collections::BTreeMap, sync::Arc};

use http::Method;
use k8s_openapi::jiff::Timestamp;
use lateen_adapter::{ObjectStatus, StatusFeed};
use lateen_model::ObjectId;
use serde_json::Value;
use tokio::time::sleep;

use crate::{
    api::{Api, ApiError, chain},
    kinds::{KINDS, Kind},
    leader::{EVERY, Lease},
    status,
};

/// So many changes are taken at once.
const TAKEN_MAX: usize = 32;
/// So often a status is written again when somebody else wrote the object meanwhile.
const TRIES: usize = 4;

/// Writes what the feed says.
pub(crate) struct Statuses {
    api: Api,
    lease: Lease,
    /// The version in which objects of a kind are there.
    versions: BTreeMap<String, &'static str>,
}

impl Statuses {
    pub(crate) fn new(api: Api, lease: Lease) -> Self {
        Self { api, lease, versions: BTreeMap::new() }
    }

    /// Writes until the core is gone, and gives up the lease then.
    pub(crate) async fn run(mut self, feed: &mut StatusFeed) {
        let mut was_held = false;
        loop {
            self.renew().await;
            let is_held = self.lease.is_held();
            if is_held != was_held {
                tracing::info!(is_held, "lease for writing status");
            }
            if is_held && !was_held {
                // What an earlier leader did not get to is unknown.
                feed.all_again();
            }
            was_held = is_held;
            if !is_held {
                sleep(EVERY).await;
                continue;
            }
            let changes = tokio::select! {
                changes = feed.changed(TAKEN_MAX) => changes,
                () = sleep(EVERY) => continue,
            };
            let Some(changes) = changes else { break };
            let mut is_broken = false;
            for (id, status) in changes {
                let Some(status) = status else { continue };
                self.renew().await;
                // Whoever has the lease now writes it.
                let written = if self.lease.is_held() && !is_broken {
                    self.write(&id, &status).await
                } else {
                    Ok(false)
                };
                match written {
                    Ok(true) => {}
                    Ok(false) => feed.again(id),
                    Err(
                        error @ (ApiError::Forbidden { .. }
                        | ApiError::Status { .. }
                        | ApiError::Malformed { .. }),
                    ) => {
                        // Trying again would be refused again; the object's next status is tried.
                        tracing::warn!(object = &*id.name, error = chain(&error), "status not written");
                    }
                    Err(error) => {
                        tracing::debug!(object = &*id.name, error = chain(&error), "status not written yet");
                        is_broken = true;
                        feed.again(id);
                    }
                }
            }
            if is_broken {
                sleep(EVERY).await;
            }
        }
        if let Err(error) = self.lease.release().await {
            tracing::debug!(error = chain(&error), "lease not released; it ends by itself");
        }
    }

    async fn renew(&mut self) {
        if self.lease.is_due()
            && let Err(error) = self.lease.renew().await
        {
            tracing::warn!(error = chain(&error), "lease for writing status not renewed");
        }
    }

    /// Writes a status where it differs; false where others wrote the object each time.
    async fn write(&mut self, id: &ObjectId, status: &Arc<ObjectStatus>) -> Result<bool, ApiError> {
        let Some((kind, namespace, name)) = Kind::parse(&id.name) else { return Ok(true) };
        for _ in 0..TRIES {
            let Some((version, mut object)) = self.read(kind, namespace, name).await? else {
                return Ok(true);
            };
            let class = self.class_of(kind, &object).await?;
            let now = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
            let Some(new) = status::next(kind, &object, class.as_ref(), status, &now) else {
                return Ok(true);
            };
            object["status"] = new;
            let path = format!("{}/{name}/status", path(kind, version, namespace));
            let act = format!("write the status of {}", id.name);
            match self.api.write::<Value>(Method::PUT, &path, &object, &act).await {
                Ok(_) | Err(ApiError::NotFound { .. }) => return Ok(true),
                Err(ApiError::Conflict { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }

    /// The object as it is now, in the best version that the server has.
    async fn read(
        &mut self,
        kind: &Kind,
        namespace: &str,
        name: &str,
    ) -> Result<Option<(&'static str, Value)>, ApiError> {
        let known = self.versions.get(&kind.full_name()).copied();
        let others = kind.versions.iter().copied().filter(|version| Some(*version) != known);
        for version in known.into_iter().chain(others) {
            let path = format!("{}/{name}", path(kind, version, namespace));
            match self.api.get(&path, &format!("read {path}")).await {
                Ok(object) => {
                    self.versions.insert(kind.full_name(), version);
                    return Ok(Some((version, object)));
                }
                Err(ApiError::NotFound { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// The class of a gateway of the Gateway API.
    async fn class_of(&mut self, kind: &Kind, object: &Value) -> Result<Option<Value>, ApiError> {
        let class = object.pointer("/spec/gatewayClassName").and_then(Value::as_str);
        let (Some(name), "gateway.networking.k8s.io") = (class, kind.group) else { return Ok(None) };
        let is_class = |kind: &&Kind| kind.name == "GatewayClass";
        let Some(kind) = KINDS.iter().find(is_class) else { return Ok(None) };
        Ok(self.read(kind, "", name).await?.map(|(_, class)| class))
    }
}

fn path(kind: &Kind, version: &str, namespace: &str) -> String {
    kind.path(version, (!namespace.is_empty()).then_some(namespace))
}
