//! Golden cases of inbound and gateway resources, and of conversions from the Gateway API: `cases/*/input.yaml`.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    path::Path,
    sync::Arc,
};

use lateen_model::NodeInfo;
use lateen_proto::{google::protobuf::Any, json, pgv};
use lateen_registry::World;
use lateen_xds::{Names, ResourceType, View};

use super::{
    Compiled,
    cold::{Plain, read},
    inbound, inbound_resource, node_views, policy_resources,
};
use crate::Compiler;

/// `input.yaml` begins with lines `# node: ID LABELS`; what each node has is `WORKLOAD.snap` beside it.
#[test]
fn cases() {
    insta::glob!("../../cases", "{gateway,inbound,convert}-*/input.yaml", check);
}

fn check(input: &Path) {
    let text = std::fs::read_to_string(input).unwrap();
    let (world, errors) = read(&text);
    let mut nodes = 0;
    for line in text.lines().map_while(|line| line.strip_prefix("# node: ")) {
        let (id, labels) = line.split_once(' ').unwrap_or((line, ""));
        let node = node(id, labels);
        let mut made = resources(&world, &node);
        made.notes.extend(errors.iter().cloned());
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
    if views.gateway.is_some() {
        gateway(world, node, &mut made);
    } else {
        for (kind, name, compiled) in views.policies.iter().flat_map(|view| policy_resources(&mut r, view)) {
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

/// Compiled as nodes get it.
fn gateway(world: &World, node: &NodeInfo, made: &mut Made) {
    let (compiler, handles) = Compiler::cold(world, &[Arc::new(node.clone())]);
    made.notes.extend(compiler.findings().map(ToString::to_string));
    let view = compiler.view(handles[0]);
    for kind in ResourceType::ALL {
        view.members(kind, &mut |name, resource| {
            resource.refs.visit(&mut |target| {
                let there = view.get(target.kind, target.name).is_some();
                assert!(
                    there,
                    "{} {} is named and not there",
                    target.kind,
                    compiler.names().text(target.name)
                );
            });
            let bytes = resource.body.bytes();
            made.add(kind, compiler.names().text(name), Compiled { bytes, ..Compiled::default() });
        });
    }
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
