//! What Nomad's HTTP API says, as far as it is read here. Lists that are `null` are empty, and so are names.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};

/// A registered instance of a service. <https://developer.hashicorp.com/nomad/api-docs/services#read-service>
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Registration {
    #[serde(rename = "ID")]
    pub(crate) id: String,
    pub(crate) service_name: String,
    pub(crate) namespace: String,
    #[serde(default, rename = "NodeID")]
    pub(crate) node_id: String,
    #[serde(default)]
    pub(crate) datacenter: String,
    #[serde(default, rename = "AllocID")]
    pub(crate) alloc_id: String,
    #[serde(default, rename = "JobID")]
    pub(crate) job_id: String,
    #[serde(default, deserialize_with = "nullable")]
    pub(crate) tags: Vec<String>,
    #[serde(default)]
    pub(crate) address: String,
    #[serde(default)]
    pub(crate) port: i64,
}

/// Services of a namespace. <https://developer.hashicorp.com/nomad/api-docs/services#list-services>
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct NamespaceServices {
    pub(crate) namespace: String,
    #[serde(default, deserialize_with = "nullable")]
    pub(crate) services: Vec<ServiceStub>,
}

/// A service in a list.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct ServiceStub {
    pub(crate) service_name: String,
}

/// An allocation: in a list, alone and in an event, which have these in common.
/// <https://developer.hashicorp.com/nomad/api-docs/allocations>
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Alloc {
    #[serde(rename = "ID")]
    pub(crate) id: String,
    pub(crate) namespace: String,
    #[serde(rename = "JobID")]
    pub(crate) job_id: String,
    pub(crate) task_group: String,
    /// `run`, `stop` or `evict`.
    pub(crate) desired_status: String,
    /// `pending`, `running`, `complete`, `failed`, `lost` or `unknown`.
    pub(crate) client_status: String,
    #[serde(deserialize_with = "nullable")]
    pub(crate) desired_transition: DesiredTransition,
    #[serde(deserialize_with = "nullable")]
    pub(crate) deployment_status: DeploymentStatus,
    /// Not in lists.
    #[serde(rename = "DeploymentID")]
    pub(crate) deployment_id: Option<String>,
    pub(crate) create_index: u64,
    pub(crate) modify_index: u64,
    /// When a server last changed it. Not in lists.
    #[serde(rename = "AllocModifyIndex")]
    pub(crate) server_modify_index: Option<u64>,
}

/// What is to happen to an allocation.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct DesiredTransition {
    pub(crate) migrate: Option<bool>,
}

/// How an allocation does in its deployment.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct DeploymentStatus {
    /// `None` while it is not decided.
    pub(crate) healthy: Option<bool>,
}

/// A client node. <https://developer.hashicorp.com/nomad/api-docs/nodes#read-node>
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Node {
    #[serde(deserialize_with = "nullable")]
    pub(crate) meta: BTreeMap<String, String>,
    #[serde(deserialize_with = "nullable")]
    pub(crate) attributes: BTreeMap<String, String>,
}

/// A Variable without what it holds. <https://developer.hashicorp.com/nomad/api-docs/variables/variables#list-variables>
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct VariableStub {
    pub(crate) namespace: String,
    pub(crate) path: String,
    pub(crate) modify_index: u64,
}

/// A Variable. <https://developer.hashicorp.com/nomad/api-docs/variables/variables#read-variable>
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Variable {
    pub(crate) modify_index: u64,
    #[serde(default, deserialize_with = "nullable")]
    pub(crate) items: BTreeMap<String, String>,
}

/// A line of the event stream; `{}` is a heartbeat. <https://developer.hashicorp.com/nomad/api-docs/events>
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Line {
    pub(crate) index: u64,
    #[serde(deserialize_with = "nullable")]
    pub(crate) events: Vec<Event>,
    /// What ended the stream.
    pub(crate) error: Option<serde_json::Value>,
}

/// An event.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Event {
    /// As `JobDeregistered`.
    #[serde(default, rename = "Type")]
    pub(crate) kind: String,
    #[serde(default)]
    pub(crate) namespace: String,
    /// Id of what changed.
    #[serde(default)]
    pub(crate) key: String,
    #[serde(default)]
    pub(crate) index: u64,
    #[serde(default)]
    pub(crate) payload: Payload,
}

/// What changed; topics that are not read here leave both empty.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Payload {
    pub(crate) service: Option<Registration>,
    pub(crate) allocation: Option<Alloc>,
}

fn nullable<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}
