//! `lateen adapter compare`: what two sources say, put together as the core would, so that platforms which say it in
//! other ways can be compared.

use std::{
    collections::{BTreeMap, BTreeSet},
    process::ExitCode,
    time::Duration,
};

use anyhow::bail;
use lateen_config::{
    Kind,
    yaml::{self, Budget, Node, Value},
};
use lateen_model::{Endpoint, Service, event::Object};
use lateen_registry::FactKey;
use serde::Serialize;
use tokio::time::Instant;

use super::seen::{Listening, Seen};
use crate::{
    args::{CompareAdapters, Format},
    output,
};

/// What `kubectl` keeps for itself.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// One difference.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Difference {
    /// `document`, `service`, `endpoints`.
    kind: &'static str,
    name: String,
    /// What differs.
    what: String,
}

/// Compares what two sources say.
pub(super) async fn compare(args: CompareAdapters) -> anyhow::Result<ExitCode> {
    let CompareAdapters { first, second, timeout, output } = args;
    let (one, other) = tokio::try_join!(list(&first, timeout), list(&second, timeout))?;
    let differences =
        differences((&one.source, &contents(&one.seen)), (&other.source, &contents(&other.seen)));
    match output {
        Format::Json => output::json(&differences)?,
        Format::Table if differences.is_empty() => println!("no differences"),
        Format::Table => {
            let mut table = output::table(&["KIND", "NAME", "DIFFERENCE"]);
            for Difference { kind, name, what } in &differences {
                table.add_row([(*kind).to_owned(), name.clone(), what.clone()]);
            }
            println!("{table}");
        }
    }
    Ok(if differences.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(output::EXIT_FINDINGS) })
}

/// Everything that a source has at the moment.
async fn list(flag: &str, timeout: Duration) -> anyhow::Result<Listening> {
    let mut listening = Listening::start(flag)?;
    listening.listed(Instant::now() + timeout).await;
    if listening.seen.listed.is_none() {
        let why = listening.seen.error.as_deref().unwrap_or("no answer");
        bail!("{} was not listed within {} s: {why}", listening.source, timeout.as_secs());
    }
    Ok(listening)
}

/// What a source says, in words that are the same for equal things of different platforms: where something was
/// read is left out.
type Contents = BTreeMap<(&'static str, String), BTreeSet<String>>;

fn contents(seen: &Seen) -> Contents {
    let registry = seen.registry();
    let mut contents = Contents::new();
    for (id, object) in &seen.objects {
        let Some(object) = object else { continue };
        if let Object::Document(document) = object {
            documents(&id.name, &document.body, &mut contents);
        }
    }
    let world = registry.world();
    for key in world.keys() {
        match key {
            FactKey::Service(host) => {
                for service in world.services(host).iter().flat_map(|all| all.iter()) {
                    let name = format!("{} in {}", service.host, service.namespace);
                    contents.entry(("service", name)).or_default().extend(lines_of(service));
                }
            }
            FactKey::Endpoints(host, namespace) => {
                let found = world.endpoints(host, namespace);
                let lines = found.iter().flat_map(|all| all.iter()).map(endpoint);
                let name = format!("{host} in {namespace}");
                contents.entry(("endpoints", name)).or_default().extend(lines);
            }
            // What else there is comes from documents, and those are compared as they are.
            _ => {}
        }
    }
    contents
}

fn lines_of(service: &Service) -> impl Iterator<Item = String> {
    let ports = service.ports.iter().map(|port| {
        let target = port.target.as_ref().map_or_else(String::new, |target| format!(" to {target:?}"));
        format!("port {} {} {:?}{target}", port.number, port.name, port.protocol)
    });
    let found =
        format!("found by {:?}{}", service.resolution, if service.external { ", external" } else { "" });
    let addresses = service.addresses.iter().map(|address| format!("address {address}"));
    let labels = service.labels.iter().map(|(key, value)| format!("label {key}={value}"));
    ports.chain([found]).chain(addresses).chain(labels).collect::<Vec<_>>().into_iter()
}

fn endpoint(endpoint: &Endpoint) -> String {
    let Endpoint {
        address,
        ports,
        labels: _,
        locality,
        network,
        weight,
        health,
        service_account: _,
        origin: _,
    } = endpoint;
    let ports: Vec<String> = ports.iter().map(|(name, port)| format!("{name}:{port}")).collect();
    let network = if network.is_empty() { String::new() } else { format!(" network {network}") };
    format!("{address} {} {health:?} weight {weight} {locality}{network}", ports.join(","))
}

/// The configuration in a text, by kind and name, field by field; what can't be read by its place. Services and what
/// becomes endpoints is compared as that.
fn documents(place: &str, body: &[u8], contents: &mut Contents) {
    let parsed = lateen_config::parse(body, &"".into(), &place.into());
    let (documents, _) = yaml::parse(body, &Budget::default());
    let mut roots = BTreeMap::new();
    for document in &documents {
        let items = match document.root.get("items").map(|items| &items.value) {
            Some(Value::Seq(items)) => items.as_slice(),
            _ => std::slice::from_ref(&document.root),
        };
        roots.extend(items.iter().map(|node| ((node.span.line, node.span.column), node)));
    }
    for object in &parsed.objects {
        let key = &object.key;
        if key.kind.is_data() || key.kind == Kind::Service {
            continue;
        }
        let name = format!("{} {}/{}", key.kind, key.namespace, key.name);
        let fields = contents.entry(("document", name)).or_default();
        if let Some(node) = roots.get(&(object.origin.line, object.origin.column)) {
            let own = |field: &str| node.get(field);
            let metadata = ["labels", "annotations"]
                .map(|field| (field, own("metadata").and_then(|metadata| metadata.get(field))));
            for (field, node) in metadata.into_iter().chain([("spec", own("spec"))]) {
                if let Some(node) = node {
                    flatten(field, node, fields);
                }
            }
        }
    }
    for invalid in parsed.invalid {
        let name = invalid.key.map_or_else(
            || format!("unreadable {place}"),
            |key| format!("invalid {} {}/{}", key.kind, key.namespace, key.name),
        );
        contents.entry(("document", name)).or_default();
    }
}

/// A value field by field, with the path of each.
fn flatten(path: &str, node: &Node, fields: &mut BTreeSet<String>) {
    let text = match &node.value {
        Value::Seq(items) => {
            for (at, item) in items.iter().enumerate() {
                flatten(&format!("{path}[{at}]"), item, fields);
            }
            return;
        }
        Value::Map(entries) => {
            for entry in entries.iter().filter(|entry| &*entry.key != LAST_APPLIED) {
                flatten(&format!("{path}.{}", entry.key), &entry.value, fields);
            }
            return;
        }
        Value::Null => return,
        Value::Bool(value) => value.to_string(),
        Value::Int(value) => value.to_string(),
        Value::Float(value) => value.to_string(),
        Value::String(value) => value.to_string(),
    };
    fields.insert(format!("{path}: {text}"));
}

fn differences((one, ours): (&str, &Contents), (other, theirs): (&str, &Contents)) -> Vec<Difference> {
    let names: BTreeSet<_> = ours.keys().chain(theirs.keys()).collect();
    let mut differences = Vec::new();
    for (kind, name) in names {
        let mut differ = |what| differences.push(Difference { kind, name: name.clone(), what });
        let key = (*kind, name.clone());
        match (ours.get(&key), theirs.get(&key)) {
            (Some(left), Some(right)) => {
                left.difference(right).for_each(|what| differ(format!("only in {one}: {what}")));
                right.difference(left).for_each(|what| differ(format!("only in {other}: {what}")));
            }
            (Some(_), None) => differ(format!("only in {one}")),
            (None, _) => differ(format!("only in {other}")),
        }
    }
    differences
}

#[cfg(test)]
mod tests {
    use lateen_model::SourceEvent;

    use super::{
        super::seen::tests::{document, namespace, seen},
        *,
    };

    fn found(one: Vec<SourceEvent>, other: Vec<SourceEvent>) -> Vec<String> {
        let (one, other) = (contents(&seen(one)), contents(&seen(other)));
        let all = differences(("x", &one), ("y", &other));
        all.into_iter().map(|d| format!("{} {}: {}", d.kind, d.name, d.what)).collect()
    }

    const ENTRY: &str = "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: a}\nspec: {hosts: \
        [a.default.svc.cluster.local], resolution: STATIC, location: MESH_INTERNAL, ports: [{number: 80, name: http, \
        protocol: HTTP}], endpoints: [{address: 10.0.0.1}]}\n";

    #[test]
    fn configuration_differs_by_fields() {
        let rule = |weight: u32| {
            format!(
                "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: v, resourceVersion: \
                 \"{weight}\"}}\nspec: {{hosts: [a], http: [{{route: [{{destination: {{host: b}}, weight: {weight}}}]}}]}}\n"
            )
        };
        // Written in another way, and elsewhere, it is the same.
        let json = "{\"apiVersion\": \"networking.istio.io/v1\", \"kind\": \"VirtualService\", \"metadata\": {\"name\": \"v\", \
            \"namespace\": \"default\"}, \"spec\": {\"hosts\": [\"a\"], \"http\": [{\"route\": [{\"weight\": 1, \"destination\": \
            {\"host\": \"b\"}}]}]}}";
        assert_eq!(found(vec![document("a", &rule(1))], vec![document("k", json)]), [""; 0]);
        assert_eq!(
            found(vec![document("a", &rule(1))], vec![document("a", &rule(2))]),
            [
                "document VirtualService default/v: only in x: spec.http[0].route[0].weight: 1",
                "document VirtualService default/v: only in y: spec.http[0].route[0].weight: 2",
            ]
        );
    }

    /// Kubernetes says in two objects what another platform says in one.
    #[test]
    fn services_and_endpoints_are_compared_as_what_they_become() {
        let service =
            "{apiVersion: v1, kind: Service, metadata: {name: a}, spec: {ports: [{name: http, port: 80}]}}";
        let slice = |address: &str| {
            format!(
                "{{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {{name: a-1, labels: \
                 {{kubernetes.io/service-name: a}}}}, addressType: IPv4, endpoints: [{{addresses: [{address}]}}], ports: \
                 [{{name: http, port: 80}}]}}"
            )
        };
        let kubernetes = |address| vec![document("s", service), document("e", &slice(address))];
        let entry = || vec![document("a", ENTRY)];
        let about_endpoints = |all: Vec<String>| -> Vec<String> {
            all.into_iter().filter(|line| line.starts_with("endpoints") || line.contains("port 80")).collect()
        };
        assert_eq!(about_endpoints(found(kubernetes("10.0.0.1"), entry())), [""; 0]);
        let other = about_endpoints(found(kubernetes("10.0.0.2"), entry()));
        assert_eq!(other.len(), 2, "{other:?}");
        assert!(
            other[0].contains("only in x: 10.0.0.2") && other[1].contains("only in y: 10.0.0.1"),
            "{other:?}"
        );
    }

    #[test]
    fn what_only_one_has_is_named_with_its_side() {
        let broken = || document("b", "kind: [");
        assert_eq!(
            found(vec![namespace("n"), document("a", ENTRY)], vec![broken()])[..1],
            ["document ServiceEntry default/a: only in x"]
        );
        assert!(found(vec![broken()], vec![]).iter().any(|line| line.contains("unreadable b")));
    }
}
