//! How objects of the Gateway API stand to each other, for their status.
//! <https://gateway-api.sigs.k8s.io/reference/spec/#routestatus>

use std::{collections::BTreeMap, sync::Arc};

use lateen_config::{
    ConfigObject, ParsedObject,
    convert::{
        self, BACKEND, BACKEND_KIND, COMPETING, NO_HOSTNAME, NO_LISTENER, NOT_ATTACHED, NOT_GRANTED, Parent,
        backends,
    },
};
use lateen_model::{Host, diagnostic::Code};

use crate::Registry;

/// How a route stands to one parent that it names.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct ParentStanding {
    /// The parent.
    pub parent: Parent,
    /// Does it exist, and is it ours?
    pub known: bool,
    /// Why it does not take the route: the finding's code, and its words.
    pub refused: Option<(Code, String)>,
    /// Which reference of the route leads nowhere: the finding's code, and its words.
    pub unresolved: Option<(Code, String)>,
}

/// Codes of findings about references of a route, and about its parents: of a route with such a finding the rest is
/// in force.
pub const ABOUT_REFERENCES: [Code; 7] =
    [COMPETING, NOT_ATTACHED, NO_LISTENER, NO_HOSTNAME, NOT_GRANTED, BACKEND, BACKEND_KIND];

impl Registry {
    /// How a route stands to its parents, in their order; nothing for other objects.
    pub fn parents(&self, route: &ParsedObject) -> Vec<ParentStanding> {
        if !matches!(route.spec, ConfigObject::HttpRoute(_) | ConfigObject::GrpcRoute(_)) {
            return Vec::new();
        }
        let missing = self.missing_backend(route);
        let standing = |parent: Parent| {
            let known = match &parent {
                Parent::Gateway { .. } => self.derivation().is_our_gateway(&parent),
                Parent::Service { namespace, name, .. } => {
                    let host = format!("{name}.{namespace}.svc.{}", self.domain());
                    self.world().services(&Host::from(host)).is_some()
                }
            };
            let place = (&route.origin.source, &route.origin.location);
            let about = self.derivation().findings_of(&parent, &route.key).iter().filter(|finding| {
                finding.origin.as_ref().is_some_and(|origin| (&origin.source, &origin.location) == place)
            });
            let (mut refused, mut unresolved) = (None, None);
            for finding in about {
                let reason = match finding.code {
                    COMPETING | NOT_ATTACHED | NO_LISTENER | NO_HOSTNAME => &mut refused,
                    NOT_GRANTED | BACKEND | BACKEND_KIND => &mut unresolved,
                    _ => continue,
                };
                reason.get_or_insert_with(|| (finding.code, finding.message.clone()));
            }
            let unresolved = unresolved.or_else(|| missing.clone());
            ParentStanding { parent, known, refused, unresolved }
        };
        convert::parents(route).into_iter().map(standing).collect()
    }

    /// A service that the route sends requests to and nobody knows.
    fn missing_backend(&self, route: &ParsedObject) -> Option<(Code, String)> {
        let is_missing = |(namespace, name): &(String, String)| {
            let host = convert::service_host(namespace, name, self.domain());
            self.world().services(&Host::from(host)).is_none()
        };
        let (namespace, name) = backends(route).into_iter().find(is_missing)?;
        Some((BACKEND, format!("there is no Service {namespace}/{name}")))
    }

    /// Source and place of the routes that send requests to a host, whose service has come, changed or gone.
    pub(crate) fn routes_to(&self, host: &Host) -> Vec<(Arc<str>, Arc<str>)> {
        let name = host.as_str().strip_suffix(self.domain()).and_then(|rest| rest.strip_suffix(".svc."));
        let service = name.and_then(|name| name.split_once('.'));
        service.map_or_else(Vec::new, |(name, namespace)| self.derivation().routes_to(namespace, name))
    }

    /// The listeners of a gateway of ours with the number of routes attached to each; nothing for other objects.
    pub fn listeners(&self, gateway: &ParsedObject) -> BTreeMap<String, u32> {
        let ConfigObject::Gateway(_) = &gateway.spec else { return BTreeMap::new() };
        let (namespace, name) = (gateway.key.namespace.clone(), gateway.key.name.clone());
        self.derivation().attached(&Parent::Gateway { namespace, name }).cloned().unwrap_or_default()
    }
}
