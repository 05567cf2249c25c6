//! Typed reads of the world.

use std::sync::Arc;

use lateen_config::{
    ObjectKey,
    istio::{DestinationRule, MeshConfig, Sidecar, VirtualService},
};
use lateen_model::{Endpoint, Host, Namespace, Service, Unapplied};
use lateen_registry::{Fact, FactKey, Sourced, SourcedList};

use super::Read;

/// A `DestinationRule` with where it comes from.
pub(crate) type Rule = Arc<Sourced<DestinationRule>>;
/// A `VirtualService` with where it comes from.
pub(crate) type Routes = Arc<Sourced<VirtualService>>;

/// Where objects for the whole mesh live, unless the mesh says otherwise.
const ROOT_NAMESPACE: &str = "istio-system";

/// The mesh's configuration.
pub(crate) fn mesh(r: &mut dyn Read) -> Arc<MeshConfig> {
    r.fact(&FactKey::Mesh).and_then(Fact::mesh).unwrap_or_default()
}

/// What happens to settings that protect something and can't be applied.
pub(crate) fn unapplied(r: &mut dyn Read) -> Unapplied {
    r.fact(&FactKey::Unapplied).and_then(Fact::unapplied).unwrap_or_default()
}

/// The namespace of objects for the whole mesh.
pub(crate) fn root_namespace(mesh: &MeshConfig) -> Namespace {
    Namespace::from(if mesh.root_namespace.is_empty() { ROOT_NAMESPACE } else { &mesh.root_namespace })
}

/// The definitions of a host, in precedence order.
pub(crate) fn services(r: &mut dyn Read, host: &Host) -> Arc<[Arc<Service>]> {
    r.fact(&FactKey::Service(host.clone())).and_then(Fact::services).unwrap_or_default()
}

/// One definition of a host.
pub(crate) fn service_in(r: &mut dyn Read, host: &Host, namespace: &Namespace) -> Option<Arc<Service>> {
    services(r, host).iter().find(|service| service.namespace == *namespace).cloned()
}

/// The endpoints of a definition.
pub(crate) fn endpoints(r: &mut dyn Read, host: &Host, namespace: &Namespace) -> Arc<[Endpoint]> {
    let key = FactKey::Endpoints(host.clone(), namespace.clone());
    r.fact(&key).and_then(Fact::endpoints).map(|set| set.endpoints.clone()).unwrap_or_default()
}

/// The rules of exactly this host, in precedence order.
pub(crate) fn destination_rules(r: &mut dyn Read, host: &Host) -> SourcedList<DestinationRule> {
    r.fact(&FactKey::DestinationRules(host.clone())).and_then(Fact::destination_rules).unwrap_or_default()
}

/// The mesh's `VirtualService`s of exactly this host, in precedence order.
pub(crate) fn virtual_services(r: &mut dyn Read, host: &Host) -> SourcedList<VirtualService> {
    r.fact(&FactKey::VirtualServices(host.clone())).and_then(Fact::virtual_services).unwrap_or_default()
}

/// One `VirtualService`.
pub(crate) fn virtual_service(r: &mut dyn Read, key: &ObjectKey) -> Option<Routes> {
    r.fact(&FactKey::VirtualService(key.clone())).and_then(Fact::virtual_service)
}

/// One `Sidecar`.
pub(crate) fn sidecar(r: &mut dyn Read, key: &ObjectKey) -> Option<Arc<Sourced<Sidecar>>> {
    let cell = FactKey::Sidecars(Namespace::from(key.namespace.as_str()));
    let all = r.fact(&cell).and_then(Fact::sidecars)?;
    all.iter().find(|sidecar| sidecar.key == *key).cloned()
}
