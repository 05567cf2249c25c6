//! From what the API server says of an object to what the core is told: pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use lateen_model::{
    Diagnostic, Severity,
    diagnostic::{Code, ObjectRef, Origin},
};
use serde_json::{Map, Value, json};

use crate::kinds::{Kind, Shape, Target};

/// The largest object that is handed over.
pub(crate) const BODY_BYTES_MAX: usize = 1 << 20;

/// The object is larger than what is read.
const TOO_LARGE: Code = Code("LAT3101");
/// The object can't be read at all.
const UNREADABLE: Code = Code("LAT3102");

/// A kind that protects something may not be listed.
const FORBIDDEN: Code = Code("LAT3103");

/// <https://kubernetes.io/docs/reference/labels-annotations-taints/#topologykubernetesioregion>
const REGION: &str = "topology.kubernetes.io/region";
const ZONE: &str = "topology.kubernetes.io/zone";

/// Annotations that change without meaning here, or repeat the object.
const NOISE: &[&str] =
    &["kubectl.kubernetes.io/last-applied-configuration", "endpoints.kubernetes.io/last-change-trigger-time"];

/// Namespace and name of a secret.
pub(crate) type SecretName = (String, String);

/// Where a node is.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Place {
    /// Its region, or empty.
    pub(crate) region: String,
    /// Its zone, or empty.
    pub(crate) zone: String,
}

/// Where the nodes are, by name.
pub(crate) type Places = BTreeMap<String, Place>;

/// An object as the core is told it.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Item {
    /// Its name within the source.
    pub(crate) name: Arc<str>,
    /// What it says.
    pub(crate) content: Content,
    /// Secrets that it names.
    pub(crate) secrets: BTreeSet<SecretName>,
}

/// What an object says.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Content {
    /// A document.
    Body(Arc<[u8]>),
    /// It can't be read.
    Invalid(Box<Diagnostic>),
}

/// Namespace and name; none for what is no object.
pub(crate) fn identity(object: &Value) -> Option<(&str, &str)> {
    let meta = object.get("metadata")?;
    let text = |name: &str| meta.get(name).and_then(Value::as_str);
    Some((text("namespace").unwrap_or_default(), text("name")?))
}

/// The version that the server gave it.
pub(crate) fn resource_version(object: &Value) -> Option<&str> {
    object.get("metadata")?.get("resourceVersion")?.as_str()
}

/// The object without what the server keeps for itself. The status is left out too, and the version of the stored
/// object with it: that a status was written is no news.
pub(crate) fn item(
    source: &str,
    kind: &Kind,
    version: &str,
    mut object: Value,
    places: &Places,
) -> Option<Item> {
    let (namespace, name) = identity(&object)?;
    let full = kind.object_name(namespace, name);
    let about = ObjectRef { kind: kind.name.into(), namespace: namespace.into(), name: name.into() };
    let secrets =
        if kind.shape == Shape::Gateway { credentials(&object, namespace) } else { BTreeSet::new() };
    if kind.shape == Shape::Slice {
        place_endpoints(&mut object, places);
    }
    let body = serde_json::to_vec(&document(kind, version, object)).unwrap_or_default();
    let content = if body.len() > BODY_BYTES_MAX {
        let message = format!("the object has {} bytes; at most {BODY_BYTES_MAX} are read", body.len());
        Content::Invalid(Box::new(finding(source, &full, Some(about), TOO_LARGE, message)))
    } else {
        Content::Body(body.into())
    };
    Some(Item { name: full.into(), content, secrets })
}

/// An object of which only the name is known.
pub(crate) fn unreadable(source: &str, kind: &Kind, namespace: &str, name: &str, why: &str) -> Item {
    let full = kind.object_name(namespace, name);
    let about = ObjectRef { kind: kind.name.into(), namespace: namespace.into(), name: name.into() };
    let diagnostic = finding(source, &full, Some(about), UNREADABLE, why.to_owned());
    Item { name: full.into(), content: Content::Invalid(Box::new(diagnostic)), secrets: BTreeSet::new() }
}

/// Objects of a target that may refuse something, and may not be listed.
pub(crate) fn forbidden(source: &str, target: &Target, why: &str) -> Diagnostic {
    let message = format!(
        "{why}; without the first listing of {target} nothing of this cluster is served that was not served before"
    );
    let Kind { group, plural, .. } = target.kind;
    let hint = format!("grant get, list and watch of \"{plural}\" in the API group \"{group}\"");
    Diagnostic { hint: Some(hint), ..finding(source, &target.prefix(), None, FORBIDDEN, message) }
}

fn finding(
    source: &str,
    location: &str,
    object: Option<ObjectRef>,
    code: Code,
    message: String,
) -> Diagnostic {
    Diagnostic {
        code,
        severity: Severity::Error,
        object,
        origin: Some(Origin { source: source.into(), location: location.into(), line: 0, column: 0 }),
        path: String::new(),
        message,
        hint: None,
    }
}

/// Fields in an order of ours: in a list the server leaves out the kind, so its own order is not the same for the
/// same object.
fn document(kind: &Kind, version: &str, object: Value) -> Value {
    let Value::Object(mut fields) = object else { return Value::Null };
    let mut out = Map::new();
    out.insert("apiVersion".to_owned(), kind.api_version(version).into());
    out.insert("kind".to_owned(), kind.name.into());
    let meta = fields.remove("metadata").unwrap_or_default();
    out.insert("metadata".to_owned(), metadata(meta, kind.shape));
    let status = fields.remove("status");
    if kind.shape == Shape::Pod {
        let spec = fields.remove("spec").unwrap_or_default();
        out.insert("spec".to_owned(), some_of(spec, &["serviceAccountName", "nodeName", "hostNetwork"]));
        out.insert("status".to_owned(), some_of(status.unwrap_or_default(), &["phase", "podIP", "podIPs"]));
        return Value::Object(out);
    }
    for name in ["apiVersion", "kind"] {
        fields.remove(name);
    }
    out.extend(fields);
    Value::Object(out)
}

fn some_of(object: Value, names: &[&str]) -> Value {
    let Value::Object(mut fields) = object else { return json!({}) };
    let kept = names.iter().filter_map(|name| Some(((*name).to_owned(), fields.remove(*name)?)));
    Value::Object(kept.collect())
}

fn metadata(meta: Value, shape: Shape) -> Value {
    let names = [
        "name",
        "namespace",
        "labels",
        "annotations",
        "creationTimestamp",
        "uid",
        "generation",
        "deletionTimestamp",
    ];
    let mut meta = some_of(meta, &names);
    if let Some(annotations) = meta.get_mut("annotations").and_then(Value::as_object_mut) {
        annotations.retain(|name, _| {
            // Of a pod's annotations, which other controllers write again and again, only ours and Istio's matter.
            let domain = name.split_once('/').map_or("", |(domain, _)| domain);
            let ours = domain.ends_with("istio.io") || domain.ends_with("lateen.io");
            !NOISE.contains(&name.as_str()) && (ours || shape != Shape::Pod)
        });
        if annotations.is_empty()
            && let Some(meta) = meta.as_object_mut()
        {
            meta.remove("annotations");
        }
    }
    meta
}

/// Gives every endpoint the region of its node, which a slice does not say, and its zone where that is missing.
/// The region stands where slices had it before they were `v1`, and where the registry looks for it.
/// <https://kubernetes.io/docs/reference/kubernetes-api/service-resources/endpoint-slice-v1/>
fn place_endpoints(slice: &mut Value, places: &Places) {
    for endpoint in slice.get_mut("endpoints").and_then(Value::as_array_mut).into_iter().flatten() {
        let Some(endpoint) = endpoint.as_object_mut() else { continue };
        let node = endpoint.get("nodeName").and_then(Value::as_str);
        let Some(place) = node.and_then(|node| places.get(node)) else { continue };
        if !place.region.is_empty() {
            endpoint.insert("deprecatedTopology".to_owned(), json!({ REGION: place.region }));
        }
        let has_zone = endpoint.get("zone").and_then(Value::as_str).is_some_and(|zone| !zone.is_empty());
        if !has_zone && !place.zone.is_empty() {
            endpoint.insert("zone".to_owned(), place.zone.as_str().into());
        }
    }
}

/// The nodes that a slice names.
pub(crate) fn nodes_of(slice: &Value) -> BTreeSet<String> {
    let endpoints = slice.get("endpoints").and_then(Value::as_array).into_iter().flatten();
    endpoints.filter_map(|endpoint| endpoint.get("nodeName")?.as_str().map(str::to_owned)).collect()
}

/// Where a node is.
pub(crate) fn place(node: &Value) -> Place {
    let label = |name: &str| {
        let labels = node.get("metadata").and_then(|meta| meta.get("labels"));
        labels.and_then(|labels| labels.get(name)).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    Place { region: label(REGION), zone: label(ZONE) }
}

/// Secrets that a gateway names, of either kind: `credentialName` of Istio's, which is in the gateway's namespace,
/// <https://istio.io/latest/docs/reference/config/networking/gateway/#ServerTLSSettings>, and `certificateRefs`,
/// <https://gateway-api.sigs.k8s.io/reference/spec/#gatewaytlsconfig>. Whether a reference into another namespace is
/// allowed is decided where it is used.
fn credentials(gateway: &Value, namespace: &str) -> BTreeSet<SecretName> {
    let mut names = BTreeSet::new();
    let all = |list: &'static str| {
        let spec = gateway.get("spec").and_then(|spec| spec.get(list));
        spec.and_then(Value::as_array).into_iter().flatten().filter_map(|entry| entry.get("tls"))
    };
    for tls in all("servers") {
        let many = tls.get("credentialNames").and_then(Value::as_array).into_iter().flatten();
        for name in many.chain(tls.get("credentialName")).filter_map(Value::as_str) {
            let Some((namespace, name)) = credential(name, namespace) else { continue };
            // The authorities of clients may be in a secret of their own.
            if tls.get("mode").and_then(Value::as_str).is_some_and(|mode| mode.ends_with("MUTUAL")) {
                names.insert((namespace.to_owned(), format!("{name}-cacert")));
            }
            names.insert((namespace.to_owned(), name.to_owned()));
        }
    }
    for tls in all("listeners") {
        let references = tls.get("certificateRefs").and_then(Value::as_array).into_iter().flatten();
        for reference in references {
            let text = |name: &str| reference.get(name).and_then(Value::as_str);
            let is_secret =
                text("kind").unwrap_or("Secret") == "Secret" && text("group").unwrap_or_default().is_empty();
            if let (true, Some(name)) = (is_secret, text("name")) {
                names.insert((text("namespace").unwrap_or(namespace).to_owned(), name.to_owned()));
            }
        }
    }
    // What becomes part of a path is a name.
    names.retain(|(namespace, name)| is_name(namespace) && is_name(name));
    names
}

fn credential<'a>(text: &'a str, namespace: &'a str) -> Option<(&'a str, &'a str)> {
    if let Some(rest) = text.strip_prefix("kubernetes-gateway://") {
        return rest.split_once('/');
    }
    let name = text.strip_prefix("kubernetes://").unwrap_or(text);
    (!name.contains("://")).then_some((namespace, name))
}

fn is_name(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'.';
    (1..=253).contains(&text.len()) && text.bytes().all(plain) && !text.starts_with('.')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::{KINDS, SECRET};

    fn kind(full: &str) -> &'static Kind {
        KINDS.iter().find(|kind| kind.full_name() == full).unwrap()
    }

    fn body(item: &Item) -> Value {
        let Content::Body(body) = &item.content else { panic!("{item:?}") };
        serde_json::from_slice(body).unwrap()
    }

    fn translated(full: &str, object: Value) -> Item {
        item("kubernetes", kind(full), "v1", object, &Places::new()).unwrap()
    }

    #[test]
    fn what_the_server_keeps_for_itself_is_left_out() {
        let object = |version: &str| {
            json!({
                "metadata": {
                    "name": "web", "namespace": "shop", "uid": "u", "generation": 3, "resourceVersion": version,
                    "managedFields": [{}], "creationTimestamp": "2026-11-23T01:02:03Z", "labels": {"a": "b"},
                    "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}"},
                },
                "spec": {"hosts": ["web"]},
                "status": {"seen": version},
            })
        };
        let first = translated("VirtualService.networking.istio.io", object("1"));
        assert_eq!(&*first.name, "VirtualService.networking.istio.io/shop/web");
        assert_eq!(first, translated("VirtualService.networking.istio.io", object("2")));
        assert_eq!(
            body(&first),
            json!({
                "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
                "metadata": {
                    "name": "web", "namespace": "shop", "uid": "u", "generation": 3,
                    "creationTimestamp": "2026-11-23T01:02:03Z", "labels": {"a": "b"},
                },
                "spec": {"hosts": ["web"]},
            })
        );
    }

    #[test]
    fn a_listed_object_equals_the_watched_one() {
        let bare = json!({"metadata": {"name": "a", "namespace": "b"}, "spec": {}});
        let mut named = json!({"kind": "Service", "apiVersion": "v1"});
        named.as_object_mut().unwrap().extend(bare.as_object().unwrap().clone());
        assert_eq!(translated("Service", bare), translated("Service", named));
    }

    #[test]
    fn of_a_pod_only_the_workload_is_told() {
        let item = translated(
            "Pod",
            json!({
                "metadata": {"name": "p", "namespace": "n", "annotations": {"cni.example/x": "1", "sidecar.istio.io/inject": "true"}},
                "spec": {"nodeName": "n1", "containers": [{"env": [{"name": "SECRET", "value": "s"}]}]},
                "status": {"phase": "Running", "podIP": "10.0.0.1", "containerStatuses": [{}]},
            }),
        );
        assert_eq!(
            body(&item),
            json!({
                "apiVersion": "v1", "kind": "Pod",
                "metadata": {"name": "p", "namespace": "n", "annotations": {"sidecar.istio.io/inject": "true"}},
                "spec": {"nodeName": "n1"},
                "status": {"phase": "Running", "podIP": "10.0.0.1"},
            })
        );
    }

    #[test]
    fn endpoints_get_the_place_of_their_node() {
        let places =
            Places::from([("n1".to_owned(), Place { region: "eu".to_owned(), zone: "eu-a".to_owned() })]);
        let slice = json!({
            "metadata": {"name": "s", "namespace": "n"},
            "endpoints": [
                {"addresses": ["10.0.0.1"], "nodeName": "n1"},
                {"addresses": ["10.0.0.2"], "nodeName": "n1", "zone": "own"},
                {"addresses": ["10.0.0.3"], "nodeName": "unknown"},
                "nonsense",
            ],
        });
        assert_eq!(nodes_of(&slice), BTreeSet::from(["n1".to_owned(), "unknown".to_owned()]));
        let once = item("k", kind("EndpointSlice.discovery.k8s.io"), "v1", slice, &places).unwrap();
        let endpoints = &body(&once)["endpoints"];
        assert_eq!(endpoints[0]["deprecatedTopology"], json!({REGION: "eu"}));
        assert_eq!((&endpoints[0]["zone"], &endpoints[1]["zone"]), (&json!("eu-a"), &json!("own")));
        assert_eq!(endpoints[2].get("deprecatedTopology"), None);
        assert_eq!(endpoints[3], "nonsense");
    }

    #[test]
    fn credentials_of_both_kinds_of_gateways() {
        let pairs = |item: &Item| item.secrets.iter().map(|(a, b)| format!("{a}/{b}")).collect::<Vec<_>>();
        let gateway = translated(
            "Gateway.networking.istio.io",
            json!({"metadata": {"name": "g", "namespace": "n"}, "spec": {"servers": [
                {"tls": {"credentialName": "web", "mode": "MUTUAL"}},
                {"tls": {"credentialNames": ["x", "kubernetes-gateway://other/y", "file:///k"], "mode": "SIMPLE"}},
                {"tls": {"credentialName": "../../pods/p"}}, {"port": {}},
            ]}}),
        );
        assert_eq!(pairs(&gateway), ["n/web", "n/web-cacert", "n/x", "other/y"]);
        let gateway = translated(
            "Gateway.gateway.networking.k8s.io",
            json!({"metadata": {"name": "g", "namespace": "n"}, "spec": {"listeners": [
                {"tls": {"certificateRefs": [{"name": "a"}, {"name": "b", "namespace": "m"}, {"name": "c", "kind": "ConfigMap"}]}},
            ]}}),
        );
        assert_eq!(pairs(&gateway), ["m/b", "n/a"]);
    }

    #[test]
    fn too_large_is_a_finding_and_nonsense_is_nothing() {
        let big = "x".repeat(BODY_BYTES_MAX);
        let item =
            translated("Service", json!({"metadata": {"name": "a", "namespace": "n"}, "spec": {"x": big}}));
        let Content::Invalid(finding) = item.content else { panic!() };
        assert_eq!(finding.code, TOO_LARGE);
        for nonsense in [json!(null), json!([]), json!({"metadata": []}), json!({"metadata": {"name": 1}})] {
            assert_eq!(super::item("k", SECRET, "v1", nonsense, &Places::new()), None);
        }
    }
}
