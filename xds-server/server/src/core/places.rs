//! Where objects, and the endpoints of a host, were read.

use lateen_model::{Endpoint, Host, Origin};
use lateen_registry::{Registry, World};
use serde_json::Value;

use crate::status::EndpointConfig;

/// Where an object stands: with the source, where there are several.
pub(crate) fn place(registry: &Registry) -> impl Fn(&Origin) -> String + use<> {
    let several = registry.sources().len() > 1;
    move |origin| if several { format!("{origin} of {}", origin.source) } else { origin.to_string() }
}

/// The endpoints of an assignment, as JSON, each with where it was read, as `place` says it.
pub(crate) fn endpoints(
    world: &World,
    cluster: &str,
    body: &Value,
    place: impl Fn(&Origin) -> String,
) -> Vec<EndpointConfig> {
    // Names of clusters end in the host: `outbound|80||web.shop.svc.cluster.local`.
    let host = Host::from(cluster.rsplit('|').next().unwrap_or(cluster));
    let services = world.services(&host);
    let known: Vec<_> = services
        .iter()
        .flat_map(|services| services.iter())
        .filter_map(|service| world.endpoints(&host, &service.namespace))
        .collect();
    let mut endpoints = Vec::new();
    for locality in array(body, "/endpoints") {
        let said = |name| locality.pointer(&format!("/locality/{name}")).and_then(Value::as_str);
        let parts = ["region", "zone", "sub_zone"].map(|name| said(name).unwrap_or_default());
        for endpoint in array(locality, "/lb_endpoints") {
            let (address, port) = address(endpoint);
            let mut all = known.iter().flat_map(|endpoints| endpoints.iter());
            endpoints.push(EndpointConfig {
                locality: parts.join("/").trim_end_matches('/').to_owned(),
                origin: all.find(|known| is_at(known, &address, port)).map(|known| place(&known.origin)),
                address: port.map_or_else(|| address.clone(), |port| format!("{address}:{port}")),
            });
        }
    }
    endpoints
}

fn array<'a>(value: &'a Value, at: &str) -> impl Iterator<Item = &'a Value> {
    value.pointer(at).and_then(Value::as_array).into_iter().flatten()
}

/// Address and port of an endpoint; a Unix socket has no port.
fn address(endpoint: &Value) -> (String, Option<u64>) {
    let text = |at: &str| endpoint.pointer(at).and_then(Value::as_str);
    if let Some(path) = text("/endpoint/address/pipe/path") {
        return (format!("unix://{path}"), None);
    }
    let port = endpoint.pointer("/endpoint/address/socket_address/port_value").and_then(Value::as_u64);
    (text("/endpoint/address/socket_address/address").unwrap_or_default().to_owned(), port)
}

fn is_at(endpoint: &Endpoint, address: &str, port: Option<u64>) -> bool {
    // An endpoint that names no port is at that of the service.
    let fits =
        |port| endpoint.ports.is_empty() || endpoint.ports.values().any(|known| u64::from(*known) == port);
    endpoint.address.to_string() == *address && port.is_none_or(fits)
}
