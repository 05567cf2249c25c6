//! The cells of the World: their keys and values.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use lateen_config::{ConfigObject, Kind, ObjectKey, Precedence, istio, reference, yaml::SpanTable};
use lateen_model::{Endpoint, Host, Namespace, Origin, Service, Unapplied, service::Visibility};

use crate::SecretRef;

/// A `Gateway` of Istio's form (those of the Gateway API are converted), by namespace and name.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct GatewayId {
    /// Its namespace.
    pub namespace: Namespace,
    /// Its name.
    pub name: Arc<str>,
}

impl GatewayId {
    /// Of an object.
    pub fn of(key: &ObjectKey) -> Self {
        Self { namespace: Namespace::from(key.namespace.as_str()), name: key.name.as_str().into() }
    }

    /// The gateway that an object of the namespace names.
    pub fn named(reference: &str, namespace: &Namespace) -> Self {
        let (namespace, name) = reference::gateway(reference, namespace.as_str());
        Self { namespace: Namespace::from(namespace), name: name.into() }
    }
}

impl std::fmt::Display for GatewayId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// Labels that are asked for: all must be there with these values.
pub type Selector = Arc<BTreeMap<Arc<str>, Arc<str>>>;

/// Labels that an object asks of clients, and of which.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct ClientSelector {
    /// The clients it can matter to.
    pub asked: Asked,
    /// The labels.
    pub labels: Selector,
}

/// Which clients an object asks for labels.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Asked {
    /// Sidecars and gateways of this namespace: by the `workloadSelector` of a `DestinationRule`.
    Namespace(Namespace),
    /// Sidecars of namespaces that see the object: by `sourceLabels` of a `VirtualService` of the mesh.
    Sidecars(Visibility),
}

impl ClientSelector {
    /// Are clients of this namespace asked?
    pub fn asks(&self, namespace: &Namespace, is_gateway: bool) -> bool {
        match &self.asked {
            Asked::Namespace(own) => own == namespace,
            Asked::Sidecars(seen_by) => !is_gateway && seen_by.allows(namespace),
        }
    }
}

/// Key of a cell. Index cells are facts too, so that every question is one keyed read.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum FactKey {
    /// The mesh's configuration; the defaults where nobody gives one.
    Mesh,
    /// What happens to settings that can't be applied; there is no cell while that is the default.
    Unapplied,
    /// A namespace that some source knows, with its labels.
    Namespace(Namespace),
    /// All definitions of exactly this host, at most one for each namespace: the platform's own first, each kind in
    /// precedence order.
    Service(Host),
    /// The endpoints of one definition, of all sources. There is no cell without an endpoint.
    Endpoints(Host, Namespace),
    /// The `DestinationRule`s whose resolved host is exactly this, a wildcard included; precedence order.
    DestinationRules(Host),
    /// The `VirtualService`s of the gateway `mesh` that have exactly this host, a wildcard included;
    /// precedence order.
    VirtualServices(Host),
    /// The `VirtualService`s bound to a gateway that have routes for HTTP and exactly this host, a wildcard included;
    /// precedence order.
    GatewayRoutes(GatewayId, Host),
    /// The `VirtualService`s bound to a gateway that have routes for TLS or TCP, in precedence order.
    GatewayStreams(GatewayId),
    /// One `VirtualService` by its key: delegates are found so, and a resource that depends on one of many of a
    /// gateway reads only this.
    VirtualService(ObjectKey),
    /// The `Sidecar`s of a namespace, in precedence order.
    Sidecars(Namespace),
    /// All gateways with their selectors, in precedence order.
    Gateways,
    /// One gateway.
    Gateway(GatewayId),
    /// The services that have an endpoint at this address, in order: what is inbound there.
    ServicesAt(IpAddr),
    /// The services that have this virtual address, in precedence order.
    AddressOf(IpAddr),
    /// The distinct labels that objects ask of clients, and of which clients: `sourceLabels` of `VirtualService`s, and
    /// the `workloadSelector`s of `DestinationRule`s.
    SourceSelectors,
    /// The names of labels that some `failoverPriority` looks at, of a `DestinationRule` or of the mesh.
    FailoverLabels,
    /// A secret, for TLS: that it is there, not what it holds ([`crate::SecretStore`]).
    Secret(Namespace, Arc<str>),
    /// The policies of a kind ([`lateen_config::kind::Role::Policy`]) in a namespace, in precedence order.
    Policies(Kind, Namespace),
}

impl FactKey {
    /// The host that the cell is about, if it is about one.
    pub fn host(&self) -> Option<&Host> {
        match self {
            Self::Service(host)
            | Self::Endpoints(host, _)
            | Self::DestinationRules(host)
            | Self::VirtualServices(host)
            | Self::GatewayRoutes(_, host) => Some(host),
            Self::Mesh
            | Self::Unapplied
            | Self::Namespace(_)
            | Self::GatewayStreams(_)
            | Self::VirtualService(_)
            | Self::Sidecars(_)
            | Self::Gateways
            | Self::Gateway(_)
            | Self::ServicesAt(_)
            | Self::AddressOf(_)
            | Self::SourceSelectors
            | Self::FailoverLabels
            | Self::Secret(..)
            | Self::Policies(..) => None,
        }
    }
}

/// Objects in precedence order.
pub type SourcedList<T> = Arc<[Arc<Sourced<T>>]>;

/// Value of a cell; cheap to clone.
#[derive(Clone, PartialEq, Debug)]
pub enum Fact {
    /// Of [`FactKey::Mesh`].
    Mesh(Arc<istio::MeshConfig>),
    /// Of [`FactKey::Unapplied`].
    Unapplied(Unapplied),
    /// Of [`FactKey::Namespace`].
    Namespace(Arc<NamespaceFact>),
    /// Of [`FactKey::Service`].
    Services(Arc<[Arc<Service>]>),
    /// Of [`FactKey::Endpoints`].
    Endpoints(Arc<EndpointSet>),
    /// Of [`FactKey::DestinationRules`].
    DestinationRules(SourcedList<istio::DestinationRule>),
    /// Of [`FactKey::VirtualServices`], [`FactKey::GatewayRoutes`] and [`FactKey::GatewayStreams`].
    VirtualServices(SourcedList<istio::VirtualService>),
    /// Of [`FactKey::VirtualService`].
    VirtualService(Arc<Sourced<istio::VirtualService>>),
    /// Of [`FactKey::Sidecars`].
    Sidecars(SourcedList<istio::Sidecar>),
    /// Of [`FactKey::Gateways`].
    Gateways(Arc<[GatewayServers]>),
    /// Of [`FactKey::Gateway`].
    Gateway(Arc<Sourced<istio::Gateway>>),
    /// Of [`FactKey::ServicesAt`] and [`FactKey::AddressOf`].
    ServicesAt(Arc<[(Host, Namespace)]>),
    /// Of [`FactKey::SourceSelectors`].
    SourceSelectors(Arc<BTreeSet<ClientSelector>>),
    /// Of [`FactKey::FailoverLabels`].
    FailoverLabels(Arc<BTreeSet<Arc<str>>>),
    /// Of [`FactKey::Secret`].
    Secret(Arc<SecretRef>),
    /// Of [`FactKey::Policies`].
    Policies(SourcedList<ConfigObject>),
}

macro_rules! accessors {
    ($($(#[$meta:meta])* $name:ident: $variant:ident -> $type:ty;)*) => {
        impl Fact {
            $($(#[$meta])*
            pub fn $name(self) -> Option<$type> {
                if let Self::$variant(value) = self { Some(value) } else { None }
            })*
        }
    };
}

accessors! {
    /// The mesh's configuration.
    mesh: Mesh -> Arc<istio::MeshConfig>;
    /// What happens to settings that can't be applied.
    unapplied: Unapplied -> Unapplied;
    /// A namespace.
    namespace: Namespace -> Arc<NamespaceFact>;
    /// Definitions of a host.
    services: Services -> Arc<[Arc<Service>]>;
    /// Endpoints of a definition.
    endpoints: Endpoints -> Arc<EndpointSet>;
    /// Rules of a host.
    destination_rules: DestinationRules -> SourcedList<istio::DestinationRule>;
    /// Routes of a host or a gateway.
    virtual_services: VirtualServices -> SourcedList<istio::VirtualService>;
    /// One of them.
    virtual_service: VirtualService -> Arc<Sourced<istio::VirtualService>>;
    /// Sidecars of a namespace.
    sidecars: Sidecars -> SourcedList<istio::Sidecar>;
    /// All gateways.
    gateways: Gateways -> Arc<[GatewayServers]>;
    /// One gateway.
    gateway: Gateway -> Arc<Sourced<istio::Gateway>>;
    /// Services at an address.
    services_at: ServicesAt -> Arc<[(Host, Namespace)]>;
    /// Selectors of clients.
    source_selectors: SourceSelectors -> Arc<BTreeSet<ClientSelector>>;
    /// Names of labels.
    failover_labels: FailoverLabels -> Arc<BTreeSet<Arc<str>>>;
    /// A secret.
    secret: Secret -> Arc<SecretRef>;
    /// Policies of a kind in a namespace.
    policies: Policies -> SourcedList<ConfigObject>;
}

/// A configuration object as the translation reads it: without what changes although nothing changed (the
/// platform's revision, its status).
#[derive(Debug)]
pub struct Sourced<T> {
    /// Which object.
    pub key: ObjectKey,
    /// Its namespace.
    pub namespace: Namespace,
    /// Its position among objects that it contradicts.
    pub precedence: Precedence,
    /// Whom it holds for: `exportTo`, or the mesh's default for the kind.
    pub export_to: Visibility,
    /// Where it begins.
    pub origin: Origin,
    /// All objects it was made from: its own origin, or for one made from the Gateway API those of the originals.
    pub origins: Arc<[Origin]>,
    /// Where its fields are; empty for a converted object.
    pub spans: Arc<SpanTable>,
    /// Is it to say what it would do, and to do nothing?
    /// <https://istio.io/latest/docs/reference/config/annotations/#SecurityDryRun>
    pub dry_run: bool,
    /// Does it stand in for a policy that was never readable? Then it says no more than whom it selects.
    pub unreadable: bool,
    /// What it says.
    pub spec: Arc<T>,
}

impl<T: PartialEq> PartialEq for Sourced<T> {
    fn eq(&self, other: &Self) -> bool {
        // The positions follow from the text; an object that moved has another origin or another span inside.
        let Self {
            key,
            namespace: _,
            precedence,
            export_to,
            origin,
            origins,
            spans: _,
            dry_run,
            unreadable,
            spec,
        } = self;
        // Most objects of a list that has changed are the same values as before.
        std::ptr::eq(self, other)
            || *key == other.key
                && *precedence == other.precedence
                && *origin == other.origin
                && *export_to == other.export_to
                && *dry_run == other.dry_run
                && *unreadable == other.unreadable
                && *origins == other.origins
                && (Arc::ptr_eq(spec, &other.spec) || **spec == *other.spec)
    }
}

/// A namespace.
#[derive(Clone, PartialEq, Debug)]
pub struct NamespaceFact {
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Where it was read.
    pub origin: Origin,
}

/// Which proxies a gateway configures.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GatewayServers {
    /// The gateway.
    pub id: GatewayId,
    /// Labels of its proxies; empty for all. The key `lateen_config::convert::SELECT_NAMESPACE` asks for the
    /// proxy's namespace.
    pub selector: Selector,
}

/// The endpoints of one definition of a service, each once, ordered by address and ports.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct EndpointSet {
    /// The endpoints.
    pub endpoints: Arc<[Endpoint]>,
}
