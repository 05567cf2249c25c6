//! A `Gateway` of the Gateway API with its routes.

use super::{
    CERTIFICATE, CLASS, CLASSES, CONTROLLERS, Converted, Derived, GatewayConversion, GatewayInput, LISTENER,
    NOT_GRANTED, Report, SELECT_GATEWAY, SELECT_NAMESPACE,
    backend::{Reference, granted},
    derived,
    route::Ranked,
    rule::Via,
    start,
};
use crate::{
    gateway_api::{FrontendTlsValidation, Gateway, Listener, ListenerTls, ListenerTlsMode},
    istio::{
        self, GatewayPort, HttpDirectResponse, HttpRoute, Server, ServerTls, ServerTlsMode, VirtualService,
    },
    kind::{Kind, ObjectKey},
    object::{ConfigObject, ParsedObject},
};

/// Option of a listener's TLS: the file with the certificate chain. <https://gateway-api.sigs.k8s.io/reference/spec/#listenertlsconfig>
/// leaves options to implementations; on platforms without secrets these name files of the proxy.
const OPTION_CERTIFICATE: &str = "lateen.io/server-certificate";
/// Option of a listener's TLS: the file with the private key.
const OPTION_KEY: &str = "lateen.io/private-key";
/// Option of a listener's TLS: the file with the authorities of client certificates, which become mandatory.
const OPTION_AUTHORITY: &str = "lateen.io/ca-certificates";

/// <https://www.rfc-editor.org/rfc/rfc9110#name-421-misdirected-request>
const MISDIRECTED: u32 = 421;

/// Converts a gateway: one Istio `Gateway` for each listener, one `VirtualService` for each
/// host of each listener.
pub fn gateway(input: &GatewayInput<'_>) -> Converted {
    let (conversion, mut objects) = GatewayConversion::new(input);
    objects.sort_by(|left, right| left.object.key.cmp(&right.object.key));
    let findings = conversion.findings().cloned().collect();
    Converted { objects, findings, attached: conversion.attached().clone() }
}

/// What is made of the listeners, whatever routes there are.
pub fn listener_objects(listeners: &[Served<'_>], input: &GatewayInput<'_>) -> Vec<Derived> {
    let mut objects = Vec::new();
    for served in listeners {
        let (name, others) = (made_name(served, input), elsewhere(served, listeners));
        objects.extend(istio_gateway(served, &others, &name, input));
        if served.closed {
            continue;
        }
        for host in others {
            let http = vec![answer(MISDIRECTED, input)];
            objects.extend(virtual_service(&host, &name, Vec::new(), http, input));
        }
    }
    objects
}

/// The key of what is made of a host of a listener.
pub fn host_key(host: &str, served: &Served<'_>, input: &GatewayInput<'_>) -> ObjectKey {
    let name = format!("{}~{host}", made_name(served, input));
    ObjectKey::new(Kind::VirtualService, &*input.gateway.key.namespace, name)
}

/// What is made of a host of a listener with these routes.
pub fn host_object<'a>(
    host: &str,
    served: &Served<'_>,
    mut all: Vec<Ranked<'a>>,
    input: &GatewayInput<'a>,
) -> Option<Derived> {
    all.sort_by(|left, right| left.rank.cmp(&right.rank));
    let from = all.iter().map(|ranked| ranked.object).collect();
    let http: Vec<HttpRoute> = all.into_iter().flat_map(|ranked| ranked.routes).collect();
    let http = if http.is_empty() { vec![answer(404, input)] } else { http };
    virtual_service(host, &made_name(served, input), from, http, input)
}

fn made_name(served: &Served<'_>, input: &GatewayInput<'_>) -> String {
    format!("{}~{}", input.gateway.key.name, served.listener.name)
}

/// Is the gateway of a class that is ours to serve?
pub fn is_ours(spec: &Gateway, input: &GatewayInput<'_>, report: &mut Report) -> bool {
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

/// A listener that connections come to.
pub struct Served<'a> {
    /// As it is written.
    pub listener: &'a Listener,
    /// Its host; `*` for all.
    pub host: &'a str,
    /// What redirects need of it.
    pub via: Via,
    /// Connections to its host end, and no other listener of the port takes them.
    pub closed: bool,
    tls: Option<ServerTls>,
}

/// The listeners that connections can come to. One for TLS that can't be served is closed: were it left out, a broader
/// one of the port would take what is meant for it, perhaps without the certificates that it asks clients for.
pub fn served<'a>(spec: &'a Gateway, input: &GatewayInput<'_>, report: &mut Report) -> Vec<Served<'a>> {
    let mut all: Vec<Served<'a>> = Vec::new();
    for listener in &spec.listeners {
        let host = listener.hostname.as_deref().filter(|host| !host.is_empty()).unwrap_or("*");
        let (is_tls, tls) = match &*listener.protocol {
            "HTTP" => (false, None),
            // What protects fails closed: certificates can't be checked yet, so that nobody is let in.
            "HTTPS" if asks_for_certificates(spec, listener.port).is_some() => {
                let message = format!(
                    "listener {} is not served: spec.tls.frontend asks for certificates of clients, which are checked \
                     only by the option {OPTION_AUTHORITY} of a listener's tls yet",
                    listener.name
                );
                report.error(LISTENER, input.gateway, listener.span, message);
                (true, None)
            }
            "HTTPS" => (true, listener.tls.as_ref().and_then(|tls| server_tls(tls, listener, input, report))),
            other => {
                let message = format!("listener {}: protocol {other} is not supported", listener.name);
                report.error(LISTENER, input.gateway, listener.span, message);
                if other != "TLS" {
                    continue;
                }
                (true, None)
            }
        };
        let (via, closed) = (Via { port: listener.port, tls: is_tls }, is_tls && tls.is_none());
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
        all.push(Served { listener, host, via, closed, tls });
    }
    all
}

/// Do clients of this port have to show a certificate? Settings of a port replace those of the whole gateway.
/// <https://gateway-api.sigs.k8s.io/reference/spec/#frontendtlsconfig>
fn asks_for_certificates(spec: &Gateway, port: u32) -> Option<&FrontendTlsValidation> {
    let frontend = spec.tls.as_ref()?.frontend.as_ref()?;
    let own = frontend.per_port.iter().find(|own| own.port == port);
    let settings = own.map_or(frontend.default.as_ref(), |own| own.tls.as_ref());
    settings?.validation.as_ref()
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

/// The hosts of other listeners on the same port. A connection was made for one of them by its SNI, and a request for
/// another's host, by a client that takes one certificate for both, "SHOULD be answered 421":
/// <https://gateway-api.sigs.k8s.io/geps/gep-3567/>
fn elsewhere(served: &Served<'_>, listeners: &[Served<'_>]) -> Vec<String> {
    let others = listeners.iter().filter(|other| {
        served.via.tls
            && other.via.tls
            && other.listener.port == served.listener.port
            && !other.host.eq_ignore_ascii_case(served.host)
    });
    others.map(|other| other.host.to_ascii_lowercase()).collect()
}

fn istio_gateway(
    from: &Served<'_>,
    misdirected: &[String],
    name: &str,
    input: &GatewayInput<'_>,
) -> Option<Derived> {
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
        closed: from.closed,
        misdirected: misdirected.iter().map(|host| format!("./{host}")).collect(),
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

fn virtual_service<'a>(
    host: &str,
    gateway: &str,
    mut from: Vec<&'a ParsedObject>,
    http: Vec<HttpRoute>,
    input: &GatewayInput<'a>,
) -> Option<Derived> {
    let key = &input.gateway.key;
    if from.is_empty() {
        from.push(input.gateway);
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

/// A route that the gateway itself answers.
fn answer(status: u32, input: &GatewayInput<'_>) -> HttpRoute {
    let span = start(input.gateway);
    let answer = HttpDirectResponse { span, status: Some(status), ..HttpDirectResponse::default() };
    HttpRoute { span, direct_response: Some(answer.into()), ..HttpRoute::default() }
}
