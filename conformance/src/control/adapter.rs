//! `adapter.Adapter` of xds-test-harness: a group's whole state in one call.
//! <https://github.com/ii/xds-test-harness/blob/main/api/adapter/adapter.proto>
//!
//! It tells neither names (they are in the resources) nor anything but resources. The harness's own targets read
//! nothing but the names and make up contents; a server that serves what it is told is judged more closely.

use std::{collections::BTreeSet, sync::Mutex};

use async_trait::async_trait;
use lateen_proto::google::protobuf::Any;
use prost::Message;

use super::{Capabilities, Change, Control, ControlError, Feature, grpc::Channel, shelf::Shelf};

pub(crate) const SERVICE: &str = "adapter.Adapter";

#[derive(Clone, PartialEq, Message)]
pub(crate) struct SetStateRequest {
    #[prost(string, tag = "1")]
    pub(crate) node: String,
    #[prost(string, tag = "2")]
    pub(crate) version: String,
    #[prost(message, repeated, tag = "3")]
    pub(crate) resources: Vec<Any>,
}

/// The response of every method but `ClearState`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Success {
    #[prost(bool, tag = "1")]
    pub(crate) success: bool,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ClearStateRequest {
    #[prost(string, tag = "1")]
    pub(crate) node: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ClearStateResponse {
    #[prost(string, tag = "1")]
    pub(crate) response: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ResourceRequest {
    #[prost(string, tag = "1")]
    pub(crate) node: String,
    #[prost(string, tag = "2")]
    pub(crate) type_url: String,
    #[prost(string, tag = "3")]
    pub(crate) resource_name: String,
    #[prost(string, tag = "4")]
    pub(crate) version: String,
}

/// A server that speaks `adapter.Adapter`.
#[derive(Debug)]
pub struct Adapter {
    channel: Channel,
    features: BTreeSet<Feature>,
    /// Held for no longer than it takes to note a change; a task would only make the order of calls less clear.
    told: Mutex<(Shelf, u64)>,
}

impl Adapter {
    /// The control port at `HOST:PORT`. The protocol can't say what the server can do: the caller does.
    pub fn new(at: impl Into<String>, features: BTreeSet<Feature>) -> Self {
        Self { channel: Channel::new(at), features, told: Mutex::default() }
    }

    /// The request that tells the group's state after `change`.
    fn note(&self, group: &str, change: &Change) -> SetStateRequest {
        let mut told = self.told.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let (all, version) = &mut *told;
        all.apply(group, change);
        *version += 1;
        let resources = all.of(group).resources.into_values().map(|resource| resource.body);
        SetStateRequest {
            node: group.to_owned(),
            version: version.to_string(),
            resources: resources.collect(),
        }
    }
}

#[async_trait]
impl Control for Adapter {
    async fn capabilities(&self) -> Result<Capabilities, ControlError> {
        Ok(Capabilities { groups: true, features: self.features.clone() })
    }

    async fn apply(&self, group: &str, change: Change) -> Result<(), ControlError> {
        if !change.conditions.is_empty() {
            return Err(ControlError::Unsupported { what: "conditions" });
        }
        if change.synced.is_some() {
            return Err(ControlError::Unsupported { what: "a world that is not known" });
        }
        let Success { success } =
            self.channel.unary("/adapter.Adapter/SetState", self.note(group, &change)).await?;
        if success { Ok(()) } else { Err(ControlError::Refused { reason: "no success".to_owned() }) }
    }

    async fn clear(&self, group: &str) -> Result<(), ControlError> {
        self.told.lock().unwrap_or_else(std::sync::PoisonError::into_inner).0.clear(group);
        let request = ClearStateRequest { node: group.to_owned() };
        let ClearStateResponse { response: _ } =
            self.channel.unary("/adapter.Adapter/ClearState", request).await?;
        Ok(())
    }
}
