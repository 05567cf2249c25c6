//! A `Gateway` of the Gateway API with its routes.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    CERTIFICATE, CLASS, CLASSES, CONTROLLERS, Converted, Derived, GatewayInput, LISTENER, NO_HOSTNAME,
    NO_LISTENER, NOT_ATTACHED, NOT_GRANTED, Report, SELECT_GATEWAY, SELECT_NAMESPACE,
    backend::{Reference, granted},
    derived, hostname,
    route::{Attachable, Ranked, ranked},
    rule::Via,
    start,
};
use crate::{
    gateway_api::{
        AllowedRoutes, FromNamespaces, Gateway, Listener, ListenerTls, ListenerTlsMode, ParentRef,
    },
    istio::{
        self, GatewayPort, HttpDirectResponse, HttpRoute, Server, ServerTls, ServerTlsMode, VirtualService,
    },
    kind::Kind,
    object::{ConfigObject, ParsedObject},
};

/// Option of a listener's TLS: the file with the certificate chain. <https://gateway-api.sigs.k8s.io/reference/spec/#listenertlsconfig>
/// leaves options to implementations; on platforms without secrets these name files of the proxy.
const OPTION_CERTIFICATE: &str = "lateen.io/server-certificate";
/// Option of a listener's TLS: the file with the private key.
const OPTION_KEY: &str = "lateen.io/private-key";
/// Option of a listener's TLS: the file with the authorities of client certificates, which become mandatory.
const OPTION_AUTHORITY: &str = "lateen.io/ca-certificates";

/// Converts a gateway: one Istio `Gateway` for each listener that can be served, one `VirtualService` for each
/// host of each listener.
pub fn gateway(input: &GatewayInput<'_>) -> Converted {
    let ConfigObject::Gateway(spec) = &input.gateway.spec else { return Converted::default() };
    let mut report = Report::default();
    if !is_ours(spec, input, &mut report) {
        return Converted { findings: report.0, ..Converted::default() };
    }
    let listeners = served(spec, input, &mut report);
    let routes: Vec<Attachable<'_>> = input.routes.iter().copied().filter_map(Attachable::of).collect();
    for route in &routes {
        report_unattached(route, spec, &listeners, input, &mut report);
    }
    let mut converted = Converted::default();
    for served in &listeners {
        let name = format!("{}~{}", input.gateway.key.name, served.listener.name);
        converted.objects.extend(istio_gateway(served, &name, input));
        let hosts = hosts(served, &listeners, &routes, input, &mut report);
        let mut attached: BTreeSet<_> = BTreeSet::new();
        for (host, mut all) in hosts {
            attached.extend(all.iter().map(|ranked| &ranked.object.key));
            all.sort_by(|left, right| left.rank.cmp(&right.rank));
            converted.objects.extend(virtual_service(&host, &name, &all, input));
        }
        let count = u32::try_from(attached.len()).unwrap_or(u32::MAX);
        converted.attached.insert(served.listener.name.clone(), count);
    }
    converted.objects.sort_by(|left, right| left.object.key.cmp(&right.object.key));
    converted.findings = report.0;
    converted
}

fn is_ours(spec: &Gateway, input: &GatewayInput<'_>, report: &mut Report) -> bool {
    match input.class {
        Some(class) => CONTROLLERS.contains(&&*class.controller_name),
        None if CLASSES.contains(&&*spec.gateway_class_name) => true,
        None => {
            let message = format!("there is no GatewayClass \"{}\"", spec.gateway_class_name);
            report.error(CLASS, input.gateway, spec.span, message);
            false
        }
    }
}

/// A listener that is served.
struct Served<'a> {
    listener: &'a Listener,
    host: &'a str,
    via: Via,
    tls: Option<ServerTls>,
}

fn served<'a>(spec: &'a Gateway, input: &GatewayInput<'_>, report: &mut Report) -> Vec<Served<'a>> {
    let mut all: Vec<Served<'a>> = Vec::new();
    for listener in &spec.listeners {
        let host = listener.hostname.as_deref().filter(|host| !host.is_empty()).unwrap_or("*");
        let (via, tls) = match &*listener.protocol {
            "HTTP" => (Via { port: listener.port, tls: false }, None),
            "HTTPS" => match listener.tls.as_ref().and_then(|tls| server_tls(tls, listener, input, report)) {
                Some(tls) => (Via { port: listener.port, tls: true }, Some(tls)),
                None => continue,
            },
            other => {
                let message = format!("listener {}: protocol {other} is not supported", listener.name);
                report.error(LISTENER, input.gateway, listener.span, message);
                continue;
            }
        };
        // "Listeners … must be distinct by port, protocol and hostname", the first one stays:
        // https://gateway-api.sigs.k8s.io/reference/spec/#gatewayspec
        let rival = all.iter().find(|other| {
            other.listener.port == listener.port
                && (other.via.tls != via.tls || other.host.eq_ignore_ascii_case(host))
        });
        if let Some(rival) = rival {
            let message =
                format!("listener {} conflicts with listener {}", listener.name, rival.listener.name);
            report.error(LISTENER, input.gateway, listener.span, message);
            continue;
        }
        all.push(Served { listener, host, via, tls });
    }
    all
}

fn server_tls(
    tls: &ListenerTls,
    listener: &Listener,
    input: &GatewayInput<'_>,
    report: &mut Report,
) -> Option<ServerTls> {
    if tls.mode == ListenerTlsMode::Passthrough {
        let message = format!("listener {}: HTTPS can't be passed through", listener.name);
        report.error(LISTENER, input.gateway, tls.span, message);
        return None;
    }
    let option = |name: &str| tls.options.get(name).cloned().unwrap_or_default();
    let authority = option(OPTION_AUTHORITY);
    let mode = if authority.is_empty() { ServerTlsMode::Simple } else { ServerTlsMode::Mutual };
    let mut settings = ServerTls { span: tls.span, mode, ca_certificates: authority, ..ServerTls::default() };
    let (certificate, key) = (option(OPTION_CERTIFICATE), option(OPTION_KEY));
    if !certificate.is_empty() && !key.is_empty() {
        (settings.server_certificate, settings.private_key) = (certificate, key);
        return Some(settings);
    }
    for reference in &tls.certificate_refs {
        let (group, kind) =
            (reference.group.as_deref().unwrap_or(""), reference.kind.as_deref().unwrap_or("Secret"));
        let namespace = reference.namespace.as_ref().unwrap_or(&input.gateway.key.namespace);
        let target = Reference { group, kind, namespace, name: &reference.name };
        if !group.is_empty() || kind != "Secret" {
            let message =
                format!("listener {}: a certificate of kind {kind} is not supported", listener.name);
            report.error(CERTIFICATE, input.gateway, reference.span, message);
        } else if granted(&target, input.gateway, &input.around) {
            settings.credential_names.push(format!("kubernetes-gateway://{namespace}/{}", reference.name));
        } else {
            let message = format!(
                "no ReferenceGrant in namespace {namespace} lets the gateway use Secret {}",
                reference.name
            );
            report.error(NOT_GRANTED, input.gateway, reference.span, message);
        }
    }
    if settings.credential_names.is_empty() {
        let message = format!("listener {} has no certificate that can be used", listener.name);
        report.error(CERTIFICATE, input.gateway, tls.span, message);
        return None;
    }
    Some(settings)
}

fn istio_gateway(from: &Served<'_>, name: &str, input: &GatewayInput<'_>) -> Option<Derived> {
    let (listener, key) = (from.listener, &input.gateway.key);
    let server = Server {
        span: listener.span,
        port: Some(GatewayPort {
            span: listener.span,
            number: listener.port,
            protocol: listener.protocol.clone(),
            name: listener.name.clone(),
            target_port: None,
        }),
        hosts: vec![format!("./{}", from.host.to_ascii_lowercase())],
        tls: from.tls.clone(),
        name: listener.name.clone(),
        ..Server::default()
    };
    let selector = [(SELECT_GATEWAY, &key.name), (SELECT_NAMESPACE, &key.namespace)];
    let spec = istio::Gateway {
        span: listener.span,
        servers: vec![server],
        selector: selector.map(|(label, value)| (label.to_owned(), value.clone())).into(),
    };
    derived(Kind::IstioGateway, key, name.to_owned(), ConfigObject::from(spec), &[input.gateway])
}

/// The hosts of a listener with the routes of each.
fn hosts<'a>(
    served: &Served<'_>,
    listeners: &[Served<'_>],
    routes: &[Attachable<'a>],
    input: &GatewayInput<'_>,
    report: &mut Report,
) -> BTreeMap<String, Vec<Ranked<'a>>> {
    let mut hosts: BTreeMap<String, Vec<Ranked<'a>>> = BTreeMap::new();
    for route in routes {
        if !attaches(route, served, input) {
            continue;
        }
        let names: BTreeSet<String> = host_names(route, served)
            .filter(|host| !isolated(host, served, listeners))
            .map(str::to_ascii_lowercase)
            .collect();
        let all = ranked(route.object, Some(served.via), None, &input.around, report);
        for host in names {
            hosts.entry(host).or_default().extend(all.iter().cloned());
        }
    }
    // A host of this listener is never served by the routes of a broader listener of the same port:
    // https://gateway-api.sigs.k8s.io/reference/spec/#listener ("listener isolation")
    if !served.via.tls && listeners.iter().any(|other| broader(other, served)) {
        hosts.entry(served.host.to_ascii_lowercase()).or_default();
    }
    hosts
}

/// The hosts of a route on a listener; all of the listener's where the route names none.
fn host_names<'a>(route: &Attachable<'a>, served: &'a Served<'_>) -> impl Iterator<Item = &'a str> {
    let own = route.hostnames.is_empty().then_some(served.host);
    let named = route.hostnames.iter().filter_map(|name| hostname::intersect(served.host, name));
    named.chain(own)
}

fn broader(other: &Served<'_>, than: &Served<'_>) -> bool {
    other.listener.port == than.listener.port
        && !other.host.eq_ignore_ascii_case(than.host)
        && hostname::covers(other.host, than.host)
}

fn isolated(host: &str, served: &Served<'_>, listeners: &[Served<'_>]) -> bool {
    listeners.iter().any(|other| broader(served, other) && hostname::covers(other.host, host))
}

fn attaches(route: &Attachable<'_>, served: &Served<'_>, input: &GatewayInput<'_>) -> bool {
    route.parents.iter().any(|parent| refers(parent, route.object, input) && selects(parent, served))
        && allows(served.listener.allowed_routes.as_ref(), route.object, input)
        && host_names(route, served).next().is_some()
}

fn refers(parent: &ParentRef, route: &ParsedObject, input: &GatewayInput<'_>) -> bool {
    let key = &input.gateway.key;
    parent.is_gateway()
        && parent.name == key.name
        && *parent.namespace.as_ref().unwrap_or(&route.key.namespace) == key.namespace
}

fn selects(parent: &ParentRef, served: &Served<'_>) -> bool {
    parent.section_name.as_ref().is_none_or(|name| *name == served.listener.name)
        && parent.port.is_none_or(|port| port == served.listener.port)
}

/// <https://gateway-api.sigs.k8s.io/reference/spec/#allowedroutes>
fn allows(allowed: Option<&AllowedRoutes>, route: &ParsedObject, input: &GatewayInput<'_>) -> bool {
    let Some(allowed) = allowed else { return route.key.namespace == input.gateway.key.namespace };
    let kind = allowed.kinds.is_empty()
        || allowed.kinds.iter().any(|kind| {
            kind.kind == route.key.kind.as_str()
                && kind.group.as_deref().is_none_or(|group| group == route.key.kind.group())
        });
    let namespaces = allowed.namespaces.as_ref();
    kind && match namespaces.map(|namespaces| namespaces.from).unwrap_or_default() {
        FromNamespaces::Same => route.key.namespace == input.gateway.key.namespace,
        FromNamespaces::All => true,
        FromNamespaces::None => false,
        FromNamespaces::Selector => {
            let selector = namespaces.and_then(|namespaces| namespaces.selector.as_ref());
            let none = BTreeMap::new();
            let labels = (input.around.namespace_labels)(&route.key.namespace).unwrap_or(&none);
            selector.is_some_and(|selector| selector.matches(labels))
        }
    }
}

fn report_unattached(
    route: &Attachable<'_>,
    spec: &Gateway,
    listeners: &[Served<'_>],
    input: &GatewayInput<'_>,
    report: &mut Report,
) {
    for parent in route.parents.iter().filter(|parent| refers(parent, route.object, input)) {
        let named: Vec<&Served<'_>> = listeners.iter().filter(|served| selects(parent, served)).collect();
        let allowed: Vec<_> = named
            .iter()
            .filter(|served| allows(served.listener.allowed_routes.as_ref(), route.object, input))
            .collect();
        let gateway = format!("Gateway {}/{}", input.gateway.key.namespace, input.gateway.key.name);
        let (code, message) = if named.is_empty() {
            let message = match (&parent.section_name, spec.listeners.is_empty()) {
                (Some(name), false) => format!("{gateway} serves no listener \"{name}\" for this route"),
                (Some(_) | None, _) => format!("{gateway} serves no listener for this route"),
            };
            (NO_LISTENER, message)
        } else if allowed.is_empty() {
            let kind = route.object.key.kind;
            (NOT_ATTACHED, format!("{gateway} does not allow a {kind} of this namespace"))
        } else if allowed.iter().all(|served| host_names(route, served).next().is_none()) {
            (NO_HOSTNAME, format!("none of the hostnames is one of {gateway}"))
        } else {
            continue;
        };
        report.error(code, route.object, parent.span, message);
    }
}

fn virtual_service(
    host: &str,
    gateway: &str,
    all: &[Ranked<'_>],
    input: &GatewayInput<'_>,
) -> Option<Derived> {
    let key = &input.gateway.key;
    let mut from: Vec<&ParsedObject> = all.iter().map(|ranked| ranked.object).collect();
    let mut http: Vec<HttpRoute> = all.iter().flat_map(|ranked| ranked.routes.iter().cloned()).collect();
    if http.is_empty() {
        from.push(input.gateway);
        let span = start(input.gateway);
        let answer = HttpDirectResponse { span, status: Some(404), ..HttpDirectResponse::default() };
        http.push(HttpRoute { span, direct_response: Some(answer), ..HttpRoute::default() });
    }
    let spec = VirtualService {
        span: start(from.first()?),
        hosts: vec![host.to_owned()],
        gateways: vec![format!("{}/{gateway}", key.namespace)],
        http,
        ..VirtualService::default()
    };
    derived(Kind::VirtualService, key, format!("{gateway}~{host}"), ConfigObject::from(spec), &from)
}
