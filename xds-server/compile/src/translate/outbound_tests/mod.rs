//! Golden cases of what a node sends out, `cases/outbound-*/input.yaml`, and rules that hold for all of them.

mod rules;

use std::{fmt::Write as _, path::Path};

use lateen_model::{Locality, NodeInfo};
use lateen_registry::World;
use lateen_xds::Names;

use super::{
    cold::{Plain, Resources, compile, world},
    node_views,
};

/// `input.yaml` begins with lines `# node: ID LABELS`; what each node has is `WORKLOAD.snap` beside it. The
/// labels `@locality` and `@agent` stand for the node's locality and its user agent.
#[test]
fn cases() {
    insta::glob!("../../../cases", "outbound-*/input.yaml", check);
}

fn check(input: &Path) {
    let text = std::fs::read_to_string(input).unwrap();
    let world = world(&text);
    let nodes = nodes(&text);
    assert!(!nodes.is_empty(), "{} names no node", input.display());
    for node in nodes {
        let made = resources(&world, &node);
        dump(input, &node, &made);
        insta::with_settings!({
            snapshot_path => input.parent().unwrap(),
            prepend_module_to_snapshot => false,
            snapshot_suffix => "",
            omit_expression => true,
        }, {
            insta::assert_snapshot!(&*node.workload, show(&made));
        });
    }
}

/// The nodes that a text names.
fn nodes(text: &str) -> Vec<NodeInfo> {
    text.lines().map_while(|line| line.strip_prefix("# node: ")).map(node).collect()
}

fn node(line: &str) -> NodeInfo {
    let (id, labels) = line.split_once(' ').unwrap_or((line, ""));
    let mut node = NodeInfo::from_id(id);
    for (name, value) in labels.split(',').filter_map(|pair| pair.split_once('=')) {
        match name {
            "@locality" => node.locality = Locality::parse(value),
            "@agent" => node.user_agent = value.into(),
            _ => {
                node.labels.insert(name.into(), value.into());
            }
        }
    }
    node
}

/// Everything outbound that a node is given.
fn resources(world: &World, node: &NodeInfo) -> Resources {
    let mut r = Plain { world, names: Names::default() };
    let views = node_views(&mut r, node);
    compile(world, &views.outbound.expect("an outbound view"), &views.endpoints)
}

fn show(made: &Resources) -> String {
    let mut shown = String::new();
    for ((kind, name), any) in &made.by_name {
        let text = serde_json::to_string_pretty(&lateen_proto::json::any_to_json(any)).unwrap();
        writeln!(shown, "# {kind} {name}\n{text}").unwrap();
    }
    for finding in &made.findings {
        writeln!(shown, "# finding: {finding}").unwrap();
    }
    shown
}

/// Where `LATEEN_DUMP` names a folder, what a node has goes there as the files of Envoy's file subscriptions,
/// to be served to one by hand.
fn dump(input: &Path, node: &NodeInfo, made: &Resources) {
    use lateen_xds::ResourceType::{Cluster, Endpoints, Listener, RouteConfiguration};
    let Some(folder) = std::env::var_os("LATEEN_DUMP") else { return };
    let case = input.parent().and_then(Path::file_name).unwrap();
    let folder = Path::new(&folder).join(case).join(&*node.workload);
    std::fs::create_dir_all(&folder).unwrap();
    for (kind, short) in
        [(Cluster, "cds"), (Endpoints, "eds"), (Listener, "lds"), (RouteConfiguration, "rds")]
    {
        let resources: Vec<_> = made.names(kind).into_iter().map(|name| made.json(kind, name)).collect();
        let response = serde_json::json!({"version_info": "1", "resources": resources});
        std::fs::write(folder.join(format!("{short}.json")), response.to_string()).unwrap();
    }
}
