//! HTTP routes of a `VirtualService`.
//! <https://istio.io/latest/docs/reference/config/networking/virtual-service/#HTTPRoute>

mod action;
mod answer;
mod delegate;
mod filters;
mod headers;
mod matching;
mod place;
mod retry;

use std::{collections::BTreeSet, sync::Arc};

use lateen_config::istio::{HttpMatch, HttpRoute, Labels, MeshConfig};
use lateen_model::{Host, Namespace};
use lateen_registry::Selector;

use super::{ClientProfile, Read, Target, notes::Notes, read::Routes, wire::rds};

pub(crate) use action::{default_route, everything, to_cluster};
pub(crate) use filters::{CORS, FAULT};
pub(crate) use matching::{gateway_matches, is_everything, source_matches};
pub(crate) use place::{Place, own as own_place, resolve as place};

/// What is known where routes are asked for.
#[derive(Debug)]
pub(crate) struct Context<'a> {
    pub mesh: Arc<MeshConfig>,
    /// What the place is called: `mesh`, or `NAMESPACE/NAME` of a gateway.
    pub gateway: &'a str,
    /// The port that clients call.
    pub listen_port: u16,
    /// The port of destinations that name none and have several.
    pub port: u16,
    /// The selectors that the client satisfies.
    pub selectors: &'a BTreeSet<Selector>,
    /// The client's namespace.
    pub source_namespace: Option<&'a Namespace>,
    /// Where routes may lead, sorted by host.
    pub targets: &'a [Target],
    /// DNS domain in which short names are completed.
    pub domain: &'a str,
    pub profile: ClientProfile,
}

/// The routes for the context, in order; the first that matches everything is the last.
pub(crate) fn routes(
    r: &mut dyn Read,
    notes: &mut Notes,
    context: &Context<'_>,
    from: &Routes,
) -> Vec<rds::Route> {
    let mut found = Vec::new();
    from.origins.iter().for_each(|origin| notes.origin(origin));
    for http in &from.spec.http {
        let closed = match &http.delegate {
            Some(delegate) => match delegate::routes(r, notes, from, http, delegate, context.domain) {
                Some((to, inner)) => inner.iter().any(|http| add(r, notes, context, &to, http, &mut found)),
                None => false,
            },
            None => add(r, notes, context, from, http, &mut found),
        };
        if closed {
            break;
        }
    }
    found
}

/// Adds the routes of one entry, one for each alternative that can match here. Says whether the last of them
/// leaves nothing to match.
fn add(
    r: &mut dyn Read,
    notes: &mut Notes,
    context: &Context<'_>,
    from: &Routes,
    http: &HttpRoute,
    found: &mut Vec<rds::Route>,
) -> bool {
    let anything = [HttpMatch::default()];
    let alternatives = if http.matches.is_empty() { &anything[..] } else { &http.matches[..] };
    for wanted in alternatives.iter().filter(|wanted| matching::can_match(wanted, from, context)) {
        let mut matched = matching::translate(wanted);
        matched.runtime_fraction = http.share.map(matching::share);
        let closes = matching::is_everything(&matched);
        let mut route = action::route(r, notes, context, from, http, wanted);
        route.name = name(http, wanted);
        route.stat_prefix.clone_from(&wanted.stat_prefix);
        route.r#match = Some(matched);
        found.push(route);
        if closes {
            return true;
        }
    }
    false
}

/// `ROUTE.MATCH`, as much as has a name.
fn name(http: &HttpRoute, wanted: &HttpMatch) -> String {
    match (http.name.is_empty(), wanted.name.is_empty()) {
        (_, true) => http.name.clone(),
        (true, false) => wanted.name.clone(),
        (false, false) => format!("{}.{}", http.name, wanted.name),
    }
}

/// What a `VirtualService` depends on beside its own text.
#[derive(Debug, Default)]
pub(crate) struct Needs {
    /// Where its routes lead, mirrors and delegates included.
    pub destinations: BTreeSet<Host>,
    /// Does a match ask for labels of the client?
    pub source_labels: bool,
    /// Does a match ask for the client's namespace?
    pub source_namespace: bool,
}

impl Needs {
    /// Adds what it takes to translate a `VirtualService`, with its delegates.
    pub(crate) fn add_all(&mut self, r: &mut dyn Read, from: &Routes, domain: &str) {
        self.add(from, domain);
        for delegate in from.spec.http.iter().filter_map(|http| http.delegate.as_ref()) {
            if let Some(to) = delegate::load(r, from, delegate) {
                self.add(&to, domain);
            }
        }
    }

    fn add(&mut self, from: &Routes, domain: &str) {
        let spec = &from.spec;
        for http in &spec.http {
            let routed = http.route.iter().filter_map(|route| route.destination.as_ref());
            let mirrored = http.mirrors.iter().filter_map(|mirror| mirror.destination.as_ref());
            let all = routed.chain(mirrored).chain(&http.mirror);
            self.destinations.extend(all.map(|to| Host::resolve(&to.host, &from.namespace, domain)));
            http.matches.iter().for_each(|m| self.ask(&m.source_labels, &m.source_namespace));
        }
        spec.tls
            .iter()
            .flat_map(|t| &t.matches)
            .for_each(|m| self.ask(&m.source_labels, &m.source_namespace));
        spec.tcp
            .iter()
            .flat_map(|t| &t.matches)
            .for_each(|m| self.ask(&m.source_labels, &m.source_namespace));
        let streams = spec.tcp.iter().flat_map(|t| &t.route).chain(spec.tls.iter().flat_map(|t| &t.route));
        let all = streams.filter_map(|route| route.destination.as_ref());
        self.destinations.extend(all.map(|to| Host::resolve(&to.host, &from.namespace, domain)));
    }

    fn ask(&mut self, labels: &Labels, namespace: &str) {
        self.source_labels |= !labels.is_empty();
        self.source_namespace |= !namespace.is_empty();
    }
}
