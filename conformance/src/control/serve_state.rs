//! What `adapter.Adapter` and `XdsConfigControlService` need remembered: whole states become changes.

use lateen_proto::{
    envoy::config::{
        cluster::v3::Cluster,
        endpoint::v3::{ClusterLoadAssignment, cluster_load_assignment::Policy},
        listener::v3::Listener,
        route::v3::RouteConfiguration,
    },
    google::protobuf::{Any, UInt32Value},
};
use prost::{Message, Name};
use tokio::sync::Mutex;

use super::{Change, ControlError, RawResource, ResourceKey, grpc::Named, serve::Target, shelf::Shelf};

/// What was told by protocols that need it remembered.
pub(crate) struct States {
    target: Target,
    /// Held over the call, so that the target is told in the order in which it is noted.
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    shelf: Shelf,
    stops: Vec<ResourceKey>,
}

impl States {
    pub(crate) fn new(target: Target) -> Self {
        Self { target, inner: Mutex::default() }
    }

    /// The group has these resources from now on, and no others.
    pub(crate) async fn replace(&self, group: &str, put: Vec<RawResource>) -> Result<(), ControlError> {
        let mut inner = self.inner.lock().await;
        let kept: Vec<ResourceKey> = put.iter().map(RawResource::key).collect();
        let before = inner.shelf.of(group).resources.into_keys();
        let remove = before.filter(|key| !kept.contains(key)).collect();
        let change = Change { put, remove, ..Change::default() };
        self.tell(&mut inner, group, change).await
    }

    pub(crate) async fn apply(&self, group: &str, change: Change) -> Result<(), ControlError> {
        self.tell(&mut *self.inner.lock().await, group, change).await
    }

    async fn tell(&self, inner: &mut Inner, group: &str, change: Change) -> Result<(), ControlError> {
        self.target.apply(group, change.clone()).await?;
        inner.shelf.apply(group, &change);
        Ok(())
    }

    pub(crate) async fn clear(&self, group: &str) -> Result<(), ControlError> {
        let mut inner = self.inner.lock().await;
        self.target.clear(group).await?;
        inner.shelf.clear(group);
        Ok(())
    }

    pub(crate) async fn bodies(&self, group: &str) -> Vec<Any> {
        let inner = self.inner.lock().await;
        inner.shelf.of(group).resources.into_values().map(|resource| resource.body).collect()
    }

    pub(crate) async fn stop_on_request(&self, key: ResourceKey) -> Result<Vec<ResourceKey>, ControlError> {
        let mut inner = self.inner.lock().await;
        self.target.stop_on_request(key.clone()).await?;
        if !inner.stops.contains(&key) {
            inner.stops.push(key);
        }
        Ok(inner.stops.clone())
    }

    /// A resource of this name, with nothing in it but the name.
    pub(crate) async fn add(&self, group: &str, key: ResourceKey) -> Result<(), ControlError> {
        let value = Named { name: key.name.clone() }.encode_to_vec().into();
        let put = vec![RawResource::new(key.name, Any { type_url: key.type_url, value })];
        self.apply(group, Change { put, ..Change::default() }).await
    }

    /// Makes the resource another one, in a way that harms nobody and is a function of `version`.
    pub(crate) async fn update(
        &self,
        group: &str,
        key: ResourceKey,
        version: &str,
    ) -> Result<(), ControlError> {
        let mut inner = self.inner.lock().await;
        let Some(mut resource) = inner.shelf.of(group).resources.remove(&key) else {
            return Err(ControlError::Refused { reason: format!("there is no {} to update", key.name) });
        };
        resource.body.value = changed(&resource.body, version)?.into();
        let change = Change { put: vec![resource], ..Change::default() };
        self.tell(&mut inner, group, change).await
    }
}

fn changed(body: &Any, version: &str) -> Result<Vec<u8>, ControlError> {
    fn edit<M: Message + Default>(body: &Any, edit: impl FnOnce(&mut M)) -> Result<Vec<u8>, ControlError> {
        let mut message =
            M::decode(&*body.value).map_err(|error| ControlError::Refused { reason: error.to_string() })?;
        edit(&mut message);
        Ok(message.encode_to_vec())
    }
    let text = format!("version-{version}");
    let url = body.type_url.as_str();
    if url == Cluster::type_url() {
        edit(body, |cluster: &mut Cluster| cluster.alt_stat_name = text)
    } else if url == Listener::type_url() {
        edit(body, |listener: &mut Listener| listener.stat_prefix = text)
    } else if url == RouteConfiguration::type_url() {
        edit(body, |routes: &mut RouteConfiguration| routes.internal_only_headers = vec![text])
    } else if url == ClusterLoadAssignment::type_url() {
        let factor = 100 + version.bytes().fold(0, |sum: u32, byte| (sum * 31 + u32::from(byte)) % 10_000);
        edit(body, |endpoints: &mut ClusterLoadAssignment| {
            let policy = endpoints.policy.get_or_insert_with(Policy::default);
            policy.overprovisioning_factor = Some(UInt32Value { value: factor });
        })
    } else {
        Err(ControlError::Refused {
            reason: format!("a {url} can't be updated without being told its content"),
        })
    }
}
