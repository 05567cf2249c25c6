//! `grpc.testing.xdsconfig.XdsConfigControlService` of the gRPC project's interoperability tests: single resources,
//! the same for everybody.
//! <https://github.com/grpc/psm-interop/blob/main/protos/grpc/testing/xdsconfig/xdsconfig.proto>

use std::{collections::BTreeSet, sync::Mutex};

use async_trait::async_trait;
use lateen_proto::google::protobuf::Any;
use prost::Message;

use super::{Capabilities, Change, Control, ControlError, Feature, ResourceKey, grpc::Channel, shelf::Shelf};

pub(crate) const SERVICE: &str = "grpc.testing.xdsconfig.XdsConfigControlService";

#[derive(Clone, PartialEq, Message)]
pub(crate) struct SetResourcesRequest {
    #[prost(message, repeated, tag = "1")]
    pub(crate) resources: Vec<ResourceToSet>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ResourceToSet {
    #[prost(string, tag = "1")]
    pub(crate) type_url: String,
    #[prost(string, tag = "2")]
    pub(crate) name: String,
    /// None: the resource is gone.
    #[prost(message, optional, tag = "3")]
    pub(crate) body: Option<Any>,
}

/// All resources of the server.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct SetResourcesResponse {
    #[prost(message, repeated, tag = "1")]
    pub(crate) resource: Vec<Any>,
}

/// The server is to end, without a word, when a client asks for this.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct StopOnRequestRequest {
    #[prost(string, tag = "1")]
    pub(crate) type_url: String,
    #[prost(string, tag = "2")]
    pub(crate) name: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct StopOnRequestResponse {
    #[prost(message, repeated, tag = "1")]
    pub(crate) filters: Vec<StopOnRequestRequest>,
}

/// A server that speaks `XdsConfigControlService`.
#[derive(Debug)]
pub struct XdsConfig {
    channel: Channel,
    features: BTreeSet<Feature>,
    /// What is there to be cleared. Held only to note a change.
    told: Mutex<Shelf>,
}

impl XdsConfig {
    /// The control port at `HOST:PORT`. The protocol can't say what the server can do: the caller does.
    pub fn new(at: impl Into<String>, features: BTreeSet<Feature>) -> Self {
        Self { channel: Channel::new(at), features, told: Mutex::default() }
    }

    async fn set(&self, resources: Vec<ResourceToSet>) -> Result<(), ControlError> {
        if resources.is_empty() {
            return Ok(());
        }
        let path = "/grpc.testing.xdsconfig.XdsConfigControlService/SetResources";
        let SetResourcesResponse { resource: _ } =
            self.channel.unary(path, SetResourcesRequest { resources }).await?;
        Ok(())
    }

    fn told(&self) -> std::sync::MutexGuard<'_, Shelf> {
        self.told.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

fn gone(ResourceKey { type_url, name }: ResourceKey) -> ResourceToSet {
    ResourceToSet { type_url, name, body: None }
}

#[async_trait]
impl Control for XdsConfig {
    async fn capabilities(&self) -> Result<Capabilities, ControlError> {
        Ok(Capabilities { groups: false, features: self.features.clone() })
    }

    async fn apply(&self, group: &str, change: Change) -> Result<(), ControlError> {
        if !change.conditions.is_empty() {
            return Err(ControlError::Unsupported { what: "conditions" });
        }
        if change.synced.is_some() {
            return Err(ControlError::Unsupported { what: "a world that is not known" });
        }
        self.told().apply(group, &change);
        let put = change.put.into_iter().map(|resource| {
            let ResourceKey { type_url, name } = resource.key();
            ResourceToSet { type_url, name, body: Some(resource.body) }
        });
        self.set(change.remove.into_iter().map(gone).chain(put).collect()).await
    }

    async fn clear(&self, group: &str) -> Result<(), ControlError> {
        let all = {
            let mut told = self.told();
            let all = told.of(group).resources.into_keys().map(gone).collect();
            told.clear(group);
            all
        };
        self.set(all).await
    }

    async fn stop_on_request(&self, key: ResourceKey) -> Result<(), ControlError> {
        let path = "/grpc.testing.xdsconfig.XdsConfigControlService/StopOnRequest";
        let request = StopOnRequestRequest { type_url: key.type_url, name: key.name };
        let StopOnRequestResponse { filters: _ } = self.channel.unary(path, request).await?;
        Ok(())
    }
}
