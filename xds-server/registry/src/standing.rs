//! How objects of the Gateway API stand to each other, for their status.
//! <https://gateway-api.sigs.k8s.io/reference/spec/#routestatus>

use std::collections::BTreeMap;

use lateen_config::{
    ConfigObject, ParsedObject,
    convert::{self, BACKEND, NOT_ATTACHED, NOT_GRANTED, Parent},
};
use lateen_model::Host;

use crate::Registry;

/// How a route stands to one parent that it names.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct ParentStanding {
    /// The parent.
    pub parent: Parent,
    /// Does it exist, and is it ours?
    pub known: bool,
    /// Why it does not take the route.
    pub refused: Option<String>,
    /// Which references of the route lead nowhere.
    pub unresolved: Option<String>,
}

impl Registry {
    /// How a route stands to its parents, in their order; nothing for other objects.
    pub fn parents(&self, route: &ParsedObject) -> Vec<ParentStanding> {
        if !matches!(route.spec, ConfigObject::HttpRoute(_) | ConfigObject::GrpcRoute(_)) {
            return Vec::new();
        }
        let standing = |parent: Parent| {
            let known = match &parent {
                Parent::Gateway { .. } => self.derivation().is_our_gateway(&parent),
                Parent::Service { namespace, name, .. } => {
                    let host = format!("{name}.{namespace}.svc.{}", self.domain());
                    self.world().services(&Host::from(host)).is_some()
                }
            };
            let place = (&route.origin.source, &route.origin.location);
            let about = self.derivation().findings_of(&parent).iter().filter(|finding| {
                finding.object.as_ref().is_some_and(|object| *object == route.key.to_ref())
                    && finding
                        .origin
                        .as_ref()
                        .is_some_and(|origin| (&origin.source, &origin.location) == place)
            });
            let (mut refused, mut unresolved) = (None, None);
            for finding in about {
                let reason = if finding.code == NOT_ATTACHED {
                    &mut refused
                } else if finding.code == NOT_GRANTED || finding.code == BACKEND {
                    &mut unresolved
                } else {
                    continue;
                };
                reason.get_or_insert_with(|| finding.message.clone());
            }
            ParentStanding { parent, known, refused, unresolved }
        };
        convert::parents(route).into_iter().map(standing).collect()
    }

    /// The listeners of a gateway of ours with the number of routes attached to each; nothing for other objects.
    pub fn listeners(&self, gateway: &ParsedObject) -> BTreeMap<String, u32> {
        let ConfigObject::Gateway(_) = &gateway.spec else { return BTreeMap::new() };
        let (namespace, name) = (gateway.key.namespace.clone(), gateway.key.name.clone());
        self.derivation().attached(&Parent::Gateway { namespace, name }).cloned().unwrap_or_default()
    }
}
