//! Golden cases of inbound and gateway resources, and of conversions from the Gateway API: `cases/*/input.yaml`.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    path::Path,
    sync::Arc,
};

use lateen_model::NodeInfo;
use lateen_proto::{envoy::config::route::v3::RouteConfiguration, google::protobuf::Any, json, pgv};
use lateen_registry::World;
use lateen_xds::{Names, ResourceType};
use prost::{Message, encoding};

use super::{
    Compiled, EndpointView, GatewayView, cluster,
    cold::{Plain, world},
    gateway_entry, gateway_listener, gateway_route_shell, gateway_virtual_host, inbound, inbound_resource,
    load_assignment, node_views, policy_resources,
};

/// `input.yaml` begins with lines `# node: ID LABELS`; what each node has is `WORKLOAD.snap` beside it.
#[test]
fn cases() {
    insta::glob!("../../cases", "{gateway,inbound,convert}-*/input.yaml", check);
}

fn check(input: &Path) {
    let text = std::fs::read_to_string(input).unwrap();
    let world = world(&text);
    let mut nodes = 0;
    for line in text.lines().map_while(|line| line.strip_prefix("# node: ")) {
        let (id, labels) = line.split_once(' ').unwrap_or((line, ""));
        let node = node(id, labels);
        let made = resources(&world, &node);
        insta::with_settings!({
            snapshot_path => input.parent().unwrap(),
            prepend_module_to_snapshot => false,
            snapshot_suffix => "",
            omit_expression => true,
        }, {
            insta::assert_snapshot!(&*node.workload, show(&made));
        });
        nodes += 1;
    }
    assert!(nodes > 0, "{} names no node", input.display());
}

/// A node from its id and its labels (`a=b,c=d`).
fn node(id: &str, labels: &str) -> NodeInfo {
    let mut node = NodeInfo::from_id(id);
    let pairs = labels.split(',').filter_map(|pair| pair.split_once('='));
    node.labels = pairs.map(|(name, value)| (name.into(), value.into())).collect();
    node
}

#[derive(Default)]
struct Made {
    resources: BTreeMap<(ResourceType, Arc<str>), Any>,
    notes: BTreeSet<String>,
}

impl Made {
    fn add(&mut self, kind: ResourceType, name: &Arc<str>, compiled: Compiled) {
        let any = Any { type_url: kind.info().url.into(), value: compiled.bytes };
        let violations = pgv::check(&any);
        assert!(violations.is_empty(), "{kind} {name}: {violations:#?}");
        self.notes.extend(compiled.findings.iter().map(ToString::to_string));
        assert!(self.resources.insert((kind, name.clone()), any).is_none(), "{kind} {name} twice");
    }
}

/// Everything that a gateway has, or that comes to a sidecar; no resource names one that is not there.
fn resources(world: &World, node: &NodeInfo) -> Made {
    let mut r = Plain { world, names: Names::default() };
    let mut made = Made::default();
    let mut refs = BTreeSet::new();
    let views = node_views(&mut r, node);
    if let Some(view) = &views.inbound {
        let entry = inbound(&mut r, view);
        made.notes.extend(entry.findings.iter().map(ToString::to_string));
        for (kind, name, key) in entry.resources {
            let Some(compiled) = inbound_resource(&mut r, &key) else { continue };
            refs.extend(compiled.refs.iter().copied());
            made.add(kind, &name, compiled);
        }
    }
    for (kind, name, compiled) in views.policies.iter().flat_map(|view| policy_resources(&mut r, view)) {
        made.add(kind, &name, compiled);
    }
    if let Some(view) = &views.gateway {
        for (kind, name, compiled) in gateway(&mut r, view, &views.endpoints, &mut made.notes) {
            refs.extend(compiled.refs.iter().copied());
            made.add(kind, &name, compiled);
        }
    }
    for target in refs {
        let name: Arc<str> = r.names.text(target.name).clone();
        // The outbound side of every sidecar has that one.
        let there = &*name == "BlackHoleCluster" || made.resources.contains_key(&(target.kind, name.clone()));
        assert!(there, "{} {name} is named and not there", target.kind);
    }
    made
}

fn gateway(
    r: &mut Plain<'_>,
    view: &GatewayView,
    endpoints: &EndpointView,
    notes: &mut BTreeSet<String>,
) -> Vec<(ResourceType, Arc<str>, Compiled)> {
    let mut all = Vec::new();
    let entry = gateway_entry(r, view);
    notes.extend(entry.findings.iter().map(ToString::to_string));
    for (name, key) in &entry.clusters {
        all.push((ResourceType::Cluster, name.clone(), cluster(r, key).expect("a cluster")));
    }
    let from = Arc::new(endpoints.clone());
    for (name, key) in &entry.endpoints {
        let compiled = load_assignment(r, &key.seen_from(&from)).expect("an assignment");
        all.push((ResourceType::Endpoints, name.clone(), compiled));
    }
    for (name, key) in &entry.listeners {
        let compiled = gateway_listener(r, key);
        all.extend(compiled.map(|compiled| (ResourceType::Listener, name.clone(), compiled)));
    }
    for name in &entry.route_configs {
        let shell = gateway_route_shell(r, view, name).expect("a shell");
        let (mut refs, mut origins, mut findings) = (shell.refs, shell.origins, shell.findings);
        let mut bytes = shell.before.to_vec();
        for (_, host, key) in entry.virtual_hosts.iter().filter(|(of, ..)| of == name) {
            let part = gateway_virtual_host(r, key).expect("a virtual host");
            encoding::bytes::encode(2, &part.bytes, &mut bytes);
            refs.extend(part.refs);
            origins.extend(part.origins);
            findings.extend(part.findings);
            assert_eq!(**host, format!("{}:{}", key.host, key.port));
        }
        bytes.extend_from_slice(&shell.after);
        RouteConfiguration::decode(&*bytes).expect("a route configuration");
        let compiled = Compiled { bytes: bytes.into(), refs, origins, findings };
        all.push((ResourceType::RouteConfiguration, name.clone(), compiled));
    }
    all
}

fn show(made: &Made) -> String {
    let mut shown = String::new();
    for ((kind, name), any) in &made.resources {
        let text = serde_json::to_string_pretty(&json::any_to_json(any)).unwrap();
        writeln!(shown, "# {kind} {name}\n{text}").unwrap();
    }
    for finding in &made.notes {
        writeln!(shown, "# finding: {finding}").unwrap();
    }
    shown
}
