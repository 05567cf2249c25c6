//! What a session reads.

use std::sync::Arc;

use crate::{NameId, Names, Resource, ResourceType};

/// Why a name can't be had now, though it is not known to be absent.
/// <https://github.com/cncf/xds/blob/main/proposals/TP3-xds-error-propagation.md>
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Obstacle {
    /// The client may not have it: it is told so, and what it holds of it is taken away.
    Denied,
    /// Whoever knows it can't be asked: the client is told so and keeps what it holds.
    Unavailable,
}

/// How a resource that goes by several names is told.
/// <https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#resource-names>
#[derive(Clone, Copy, Debug)]
pub struct Spelling<'a> {
    /// Its own name.
    pub name: NameId,
    /// The others.
    pub aliases: &'a [Arc<str>],
}

/// What a session can see of the compiled tables, already bound to its node's views.
pub trait View {
    /// The interner of all names.
    fn names(&self) -> &Names;

    /// The current version of a resource that this node may have. None: it does not exist for this node.
    fn get(&self, kind: ResourceType, name: NameId) -> Option<&Arc<Resource>>;

    /// Visits what a wildcard subscriber sees, in any order, each name once.
    fn members(&self, kind: ResourceType, visit: &mut dyn FnMut(NameId, &Arc<Resource>));

    /// Does a wildcard subscriber see `name`?
    fn is_member(&self, kind: ResourceType, name: NameId) -> bool;

    /// Visits the virtual hosts (`ROUTE_CONFIGURATION/…`) of a route configuration that has its hosts delivered
    /// by VHDS. Such a route configuration carries a reference of kind `VirtualHost` to its *own* name, which
    /// says so also where there are no hosts.
    fn hosts_of(&self, route_configuration: NameId, visit: &mut dyn FnMut(NameId, &Arc<Resource>));

    /// Is everything synced, so that absence means absence? While it is false nothing is called missing.
    fn ready(&self) -> bool;

    /// What to send in place of a version that was rejected or is condemned: the last version of the resource
    /// that a client of this profile has accepted.
    fn last_good(&self, kind: ResourceType, name: NameId) -> Option<&Arc<Resource>>;

    /// Have independent identities of this client profile rejected exactly this version?
    fn condemned(&self, resource: &Resource) -> bool;

    /// How long a client may use the resource without hearing of it again, in milliseconds.
    /// <https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#resource-ttl>
    fn ttl_ms(&self, resource: &Resource) -> Option<u32> {
        let _ = resource;
        None
    }

    /// How the resource is told that `name` stands for, if it goes by several names. [`View::get`] knows it by
    /// each of them.
    fn spelling(&self, kind: ResourceType, name: NameId) -> Option<Spelling<'_>> {
        let _ = (kind, name);
        None
    }

    /// What stands between the client and a resource, besides its absence: [`View::get`] does not have it then.
    fn obstacle(&self, kind: ResourceType, name: NameId) -> Option<Obstacle> {
        let _ = (kind, name);
        None
    }
}
