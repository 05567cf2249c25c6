//! The adapter for Kubernetes: services, configuration and secrets from it, statuses back to it.
//!
//! Every object is handed over as a document, in the JSON that the API server has, without what the server keeps
//! for itself (`managedFields`, `resourceVersion`, `status`); what it means is decided where all documents are read.
//!
//! | Kubernetes | mesh |
//! |---|---|
//! | `Service`, `Namespace` | document `Service/NAMESPACE/NAME`, `Namespace/NAME` |
//! | `EndpointSlice` | document, with the region of each endpoint's node (`deprecatedTopology`), and its zone where it has none |
//! | `Pod` | document with labels, addresses, phase, service account and node, no more |
//! | `Node` | read for region and zone only |
//! | `ConfigMap` named `istio` | document: the mesh's configuration |
//! | kinds of Istio, the Gateway API, and `MeshConfig` | document `KIND.GROUP/NAMESPACE/NAME` |
//! | `Secret` | only those that gateways name (`credentialName`, `certificateRefs`), each read by its name |
//!
//! The flag is `--adapter kubernetes[=CONTEXT][?OPTION=VALUE&…]`; for several clusters it is repeated.
//!
//! | option | |
//! |---|---|
//! | `kubeconfig` | path; else `KUBECONFIG`, `~/.kube/config`, or inside a cluster its service account |
//! | `namespaces` | read only these, with commas between; kinds without namespaces are read all the same |
//! | `status` | `on` (default) or `off`: is status written? |
//! | `lease-namespace` | where the lease `lateen-status` of the replica that writes is; default that of the access |
//!
//! Each kind is listed in pages and watched on its own. A watch that breaks goes on where it was; one that can't is
//! listed again, and what the core knows stays until the new listing is whole. A kind that is not defined counts as
//! empty and is found when its definition comes. A kind that may not be read is reported, and the others go on; if its objects
//! may refuse something (`security.istio.io`, `extensions.istio.io`, `BackendTLSPolicy`), nothing is handed over before it was listed. A
//! server that is silent for 12 seconds or a little more is given up, and connected to anew.
//!
//! Limits: an object of more than 1 MiB is a finding and keeps what it said before; 1,000 secrets are followed.
//! Sub-zones are not known to Kubernetes: the label `istio-locality` of a pod sets a whole locality.

mod api;
mod config;
mod feed;
mod follow;
mod kinds;
mod leader;
mod secrets;
mod status;
mod statuses;
mod translate;
mod translation;
mod watch;

use std::{convert::Infallible, future::pending, sync::Arc};

use async_trait::async_trait;
use lateen_adapter::{Adapter, AdapterError, ConfigError, EventSink, StatusFeed};
use lateen_model::SourceId;

use self::{api::Api, config::Settings, leader::Lease, statuses::Statuses};

/// The lease of the replica that writes status.
const LEASE: &str = "lateen-status";

/// A cluster as a source.
#[derive(Debug)]
pub struct KubernetesAdapter {
    settings: Settings,
    source: Arc<str>,
    /// The same in each run, so that a run takes over its predecessor's lease at once.
    identity: String,
    statuses: Option<StatusFeed>,
}

impl KubernetesAdapter {
    /// From what stands behind `--adapter kubernetes=`: `[CONTEXT][?OPTION=VALUE&…]`, percent-encoded.
    pub fn from_flag(value: &str) -> Result<Self, ConfigError> {
        let settings = Settings::parse(value)?;
        let source = settings.source().into();
        Ok(Self { settings, source, identity: leader::identity(), statuses: None })
    }
}

#[async_trait]
impl Adapter for KubernetesAdapter {
    fn source(&self) -> SourceId {
        SourceId(self.source.clone())
    }

    fn statuses(&mut self, feed: StatusFeed) {
        self.statuses = self.settings.status.then_some(feed);
    }

    async fn run(&mut self, events: &mut EventSink) -> Result<Infallible, AdapterError> {
        let (api, namespace) = watch::connect(&self.settings).await?;
        let namespace = self.settings.lease_namespace.clone().unwrap_or(namespace);
        let lease = Lease::new(api.clone(), namespace, LEASE, self.identity.clone());
        let writing = write(api.clone(), lease, self.statuses.as_mut());
        tokio::select! {
            ended = watch::run(self.source.clone(), &self.settings, api, events) => ended,
            never = writing => match never {},
        }
    }
}

async fn write(api: Api, lease: Lease, feed: Option<&mut StatusFeed>) -> Infallible {
    if let Some(feed) = feed {
        Statuses::new(api, lease).run(feed).await;
    }
    pending().await
}
