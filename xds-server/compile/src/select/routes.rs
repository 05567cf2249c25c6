//! Which `VirtualService`s of the mesh hold for a client and a host.

use lateen_config::{Family, Precedence};
use lateen_model::{Host, service::Visibility};

use super::Client;
use crate::translate::{Egress, Read, Routes, read};

/// The `VirtualService`s that hold for a host, as one listener of the client imports them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Held {
    /// Those of the most specific host: the first that has an HTTP route for the client and the port counts.
    pub http: Vec<Routes>,
    /// That host, where there are any: the one itself, or a wildcard.
    pub http_of: Option<Host>,
    /// All that have routes for TCP or TLS: their routes follow one another.
    pub streams: Vec<Routes>,
}

/// Position of a `VirtualService` among those of one host, for one client; the smallest counts.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Order((bool, bool, bool), Precedence);

impl Client<'_> {
    /// The `VirtualService`s that hold for `host`.
    ///
    /// Those that only named namespaces see come before those for everybody, the client's own first of all; in each
    /// of these classes routes that the Gateway API gives the client's namespace come first, then precedence counts.
    /// For HTTP a `VirtualService` of a more specific host hides those of less specific ones.
    pub(crate) fn routes(&self, r: &mut dyn Read, listener: Option<&Egress>, host: &Host) -> Held {
        let mut held = Held::default();
        let cells = std::iter::once(host.clone()).chain(host.wildcards());
        for cell in cells {
            let all = read::virtual_services(r, &cell);
            let holding = all.iter().filter(|routes| self.holds(routes, listener));
            let mut found: Vec<Routes> = holding.cloned().collect();
            held.streams.extend(found.iter().filter(|routes| has_streams(routes)).cloned());
            if held.http.is_empty() {
                found.sort_by_cached_key(|routes| self.class(routes));
                held.http_of = (!found.is_empty()).then_some(cell);
                held.http = found;
            }
        }
        held.streams.sort_by_cached_key(|routes| self.order(routes));
        held.streams.dedup_by(|left, right| left.key == right.key);
        held
    }

    pub(super) fn holds(&self, routes: &Routes, listener: Option<&Egress>) -> bool {
        routes.export_to.allows(self.namespace)
            && listener.is_none_or(|listener| listener.imports_routes(routes, self.domain))
    }

    /// Position of a `VirtualService` among those of one host.
    pub(crate) fn order(&self, routes: &Routes) -> Order {
        Order(self.class(routes), routes.precedence.clone())
    }

    /// Place of a `VirtualService` before its precedence counts.
    fn class(&self, routes: &Routes) -> (bool, bool, bool) {
        let own = routes.namespace == *self.namespace;
        let for_all = routes.export_to == Visibility::All;
        let of_the_gateway_api = routes.precedence.family == Family::GatewayApi;
        (for_all, !for_all && !own, !(own && of_the_gateway_api))
    }
}

fn has_streams(routes: &Routes) -> bool {
    !routes.spec.tcp.is_empty() || !routes.spec.tls.is_empty()
}
