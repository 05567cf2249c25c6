//! What Consul's HTTP API says. Lists and maps that are empty come as `null`.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};

/// An instance, its node, and the checks of both.
/// <https://developer.hashicorp.com/consul/api-docs/health#list-service-instances-for-service>
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Instance {
    pub(crate) node: Node,
    pub(crate) service: Service,
    #[serde(default, deserialize_with = "nullable")]
    pub(crate) checks: Vec<Check>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Node {
    #[serde(rename = "Node", deserialize_with = "nullable")]
    pub(crate) name: String,
    #[serde(deserialize_with = "nullable")]
    pub(crate) address: String,
    #[serde(deserialize_with = "nullable")]
    pub(crate) datacenter: String,
    #[serde(deserialize_with = "nullable")]
    pub(crate) tagged_addresses: BTreeMap<String, String>,
    #[serde(deserialize_with = "nullable")]
    pub(crate) meta: BTreeMap<String, String>,
    pub(crate) locality: Option<Locality>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Service {
    #[serde(rename = "ID", deserialize_with = "nullable")]
    pub(crate) id: String,
    #[serde(deserialize_with = "nullable")]
    pub(crate) kind: String,
    #[serde(deserialize_with = "nullable")]
    pub(crate) tags: Vec<String>,
    #[serde(deserialize_with = "nullable")]
    pub(crate) address: String,
    #[serde(deserialize_with = "nullable")]
    pub(crate) tagged_addresses: BTreeMap<String, TaggedAddress>,
    #[serde(deserialize_with = "nullable")]
    pub(crate) meta: BTreeMap<String, String>,
    pub(crate) port: i64,
    #[serde(deserialize_with = "nullable")]
    pub(crate) ports: Vec<Port>,
    #[serde(deserialize_with = "nullable")]
    pub(crate) socket_path: String,
    pub(crate) weights: Weights,
    pub(crate) locality: Option<Locality>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct TaggedAddress {
    pub(crate) address: String,
    pub(crate) port: i64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Port {
    pub(crate) name: String,
    #[serde(rename = "Port")]
    pub(crate) number: i64,
    pub(crate) default: bool,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Weights {
    pub(crate) passing: i64,
    pub(crate) warning: i64,
}

impl Default for Weights {
    fn default() -> Self {
        Self { passing: 1, warning: 1 }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Locality {
    pub(crate) region: String,
    pub(crate) zone: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Check {
    #[serde(rename = "CheckID")]
    pub(crate) check_id: String,
    pub(crate) status: String,
}

/// A key. <https://developer.hashicorp.com/consul/api-docs/kv#read-key>
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Pair {
    pub(crate) key: String,
    /// Base64; none where the value is empty.
    #[serde(default)]
    pub(crate) value: Option<String>,
    pub(crate) modify_index: u64,
}

fn nullable<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(from: D) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(from)?.unwrap_or_default())
}
