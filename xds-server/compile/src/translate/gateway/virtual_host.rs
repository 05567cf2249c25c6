//! Virtual hosts and route configurations of gateways.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use lateen_config::ObjectKey;
use lateen_model::Host;
use lateen_proto::{
    Message,
    envoy::config::route::v3::{
        DirectResponseAction, RouteConfiguration, Vhds, VirtualHost, route::Action,
        virtual_host::TlsRequirementType,
    },
};

use lateen_registry::{Fact, FactKey, GatewayId};
use lateen_xds::ResourceType;

use super::GatewayVirtualHostKey;

use crate::translate::{
    Compiled, GatewayView, Read, Shell, names,
    notes::Notes,
    read::{self, Routes},
    route::{self, Context},
    virtual_host::DIRECT_RESPONSE_BYTES_MAX,
    wire,
};

/// <https://www.rfc-editor.org/rfc/rfc9110#name-421-misdirected-request>
const MISDIRECTED: u32 = 421;

/// A virtual host: the routes of all its `VirtualService`s, in order.
pub fn gateway_virtual_host(r: &mut dyn Read, key: &GatewayVirtualHostKey) -> Option<Compiled> {
    let mesh = read::mesh(r);
    let mut notes = Notes::default();
    let mut routes = Vec::new();
    let mut last = Vec::new();
    let mut cells = BTreeMap::new();
    for (source, host) in key.routes.iter() {
        let cell = cells.entry((&source.gateway, host)).or_insert_with(|| attached(r, &source.gateway, host));
        let Some(from) = cell.get(&source.object) else { continue };
        let gateway = source.gateway.to_string();
        let selectors = BTreeSet::new();
        let context = Context {
            mesh: mesh.clone(),
            gateway: &gateway,
            listen_port: key.port,
            port: key.port,
            selectors: &selectors,
            source_namespace: Some(&key.namespace),
            targets: &key.targets,
            domain: &key.domain,
            profile: key.profile,
        };
        for made in route::routes(r, &mut notes, &context, from) {
            // What matches everything in one object must not hide the routes of the next.
            if made.r#match.as_ref().is_some_and(route::is_everything) {
                last.push(made);
            } else {
                routes.push(made);
            }
        }
    }
    last.truncate(1);
    routes.append(&mut last);
    if key.closed {
        let answer = DirectResponseAction { status: MISDIRECTED, ..Default::default() };
        routes.push(route::everything("closed", Action::DirectResponse(answer)));
    }
    let virtual_host = VirtualHost {
        name: names::virtual_host(&key.host, key.port).to_string(),
        domains: vec![key.host.to_string()],
        routes,
        require_tls: if key.https_redirect { TlsRequirementType::All } else { TlsRequirementType::None }
            .into(),
        include_request_attempt_count: true,
        ..Default::default()
    };
    Some(notes.compiled(&virtual_host))
}

/// The `VirtualService`s of a gateway with exactly this host.
fn attached(r: &mut dyn Read, gateway: &GatewayId, host: &Host) -> HashMap<ObjectKey, Routes> {
    let cell = FactKey::GatewayRoutes(gateway.clone(), host.clone());
    let all = r.fact(&cell).and_then(Fact::virtual_services).unwrap_or_default();
    all.iter().map(|routes| (routes.key.clone(), routes.clone())).collect()
}

/// A `RouteConfiguration` of a gateway without its virtual hosts. What no virtual host takes is answered 404 by
/// Envoy itself.
pub fn gateway_route_shell(r: &mut dyn Read, view: &GatewayView, name: &str) -> Option<Shell> {
    let mut notes = Notes::default();
    if view.vhds {
        notes.reference(r, ResourceType::VirtualHost, name);
    }
    let before = RouteConfiguration { name: name.to_owned(), ..Default::default() };
    let after = RouteConfiguration {
        validate_clusters: Some(false.into()),
        max_direct_response_body_size_bytes: Some(DIRECT_RESPONSE_BYTES_MAX.into()),
        // The domains are hosts; clients may add any port that leads here.
        ignore_port_in_host_matching: true,
        vhds: view.vhds.then(|| Vhds { config_source: Some(wire::config_source(view.profile)) }),
        ..Default::default()
    };
    let Compiled { bytes, refs, origins, findings, .. } = notes.compiled(&after);
    Some(Shell {
        before: before.encode_to_vec().into(),
        after: bytes,
        vhds: view.vhds,
        refs,
        origins,
        findings,
    })
}
