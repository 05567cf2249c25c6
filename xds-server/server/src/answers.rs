//! Long answers of the admin port, worked out beside the core from what it was at one moment.
//!
//! They are bounded in number and in time, and end with whoever asked.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use lateen_compile::{Compiler, NodeHandle};
use lateen_model::{Diagnostic, NodeInfo, Origin, SourceId};
use lateen_registry::{Registry, World};
use lateen_xds::{Resource, ResourceType};

use crate::{
    core::places,
    status::{Difference, NodeChange, NodeConfig, Proposal, ResourceConfig},
};

/// Is the answer still wanted?
#[derive(Clone, Debug, Default)]
pub struct Wanted(Arc<AtomicBool>);

/// Says that an answer is not wanted any more when it is dropped.
#[derive(Debug)]
pub struct EndsWanted(Wanted);

impl Wanted {
    /// A wish, and what ends it.
    pub fn new() -> (Self, EndsWanted) {
        let wanted = Self::default();
        (wanted.clone(), EndsWanted(wanted))
    }

    /// `None` if it is not wanted any more.
    fn still(&self) -> Option<()> {
        (!self.0.load(Ordering::Relaxed)).then_some(())
    }
}

impl Drop for EndsWanted {
    fn drop(&mut self) {
        self.0.0.store(true, Ordering::Relaxed);
    }
}

/// What a node is given, before it is written out.
#[derive(Debug)]
pub struct Collected {
    pub(crate) node: String,
    /// Name, resource, and what it was made from.
    pub(crate) resources: Vec<(Arc<str>, Arc<Resource>, Vec<Origin>)>,
    pub(crate) registry: Arc<Registry>,
}

impl Collected {
    /// Writes it out; `None` if it is not wanted any more.
    pub fn written(self, wanted: &Wanted) -> Option<NodeConfig> {
        let Self { node, mut resources, registry } = self;
        resources.sort_by(|(a, of_a, _), (b, of_b, _)| (of_a.kind, a).cmp(&(of_b.kind, b)));
        let place = places::place(&registry);
        let mut written = Vec::with_capacity(resources.len());
        for (name, resource, origins) in resources {
            wanted.still()?;
            let any = lateen_proto::google::protobuf::Any {
                type_url: resource.kind.info().url.to_owned(),
                value: resource.body.bytes(),
            };
            let body = lateen_proto::json::any_to_json(&any);
            let endpoints = if resource.kind == ResourceType::Endpoints {
                places::endpoints(registry.world(), &name, &body, &place)
            } else {
                Vec::new()
            };
            written.push(ResourceConfig {
                kind: resource.kind.to_string(),
                name: name.to_string(),
                version: resource.version.to_string(),
                origins: origins.iter().map(&place).collect(),
                endpoints,
                body,
            });
        }
        Some(NodeConfig { node, resources: written })
    }
}

/// What a comparison starts from.
#[derive(Debug)]
pub struct Ground {
    pub(crate) registry: Arc<Registry>,
    /// The connected nodes, each once.
    pub(crate) nodes: Vec<Arc<NodeInfo>>,
}

impl Ground {
    /// Compiles the world with the documents laid over it for every connected node, and compares. Nodes that read
    /// the same tables before and after are compared once. `None` if it is not wanted any more.
    pub fn difference(self, proposal: &Proposal, wanted: &Wanted) -> Option<Difference> {
        let Self { registry, nodes } = self;
        // The core goes on with its own as soon as this is done.
        let mut before = Registry::clone(&registry);
        drop(registry);
        before.advance(usize::MAX);
        let documents: Vec<(Arc<str>, Arc<[u8]>)> = proposal
            .documents
            .iter()
            .map(|d| (d.location.as_str().into(), d.body.as_bytes().into()))
            .collect();
        wanted.still()?;
        let (after, mut findings) = before.clone().proposed(&SourceId("diff".into()), &documents);
        let (old, old_handles) = cold(before.world(), &nodes, wanted)?;
        let (new, new_handles) = cold(after.world(), &nodes, wanted)?;
        findings.extend(added(before.diagnostics_together(), after.diagnostics_together()));
        findings.extend(added(old.findings(), new.findings()));
        let mut groups: BTreeMap<_, Vec<usize>> = BTreeMap::new();
        for (index, (one, other)) in old_handles.iter().zip(&new_handles).enumerate() {
            groups.entry((old.tables_of(*one), new.tables_of(*other))).or_default().push(index);
        }
        let mut changes: BTreeMap<(ResourceType, String, &str), Vec<String>> = BTreeMap::new();
        for members in groups.values() {
            wanted.still()?;
            let Some(first) = members.first().copied() else { continue };
            let (Some(one), Some(other)) = (old_handles.get(first), new_handles.get(first)) else { continue };
            let (one, other) = (old.contents(*one), new.contents(*other));
            for key in one.keys().chain(other.keys().filter(|key| !one.contains_key(*key))) {
                let change = match (one.get(key), other.get(key)) {
                    (Some(left), Some(right)) if left.0 == right.0 => continue,
                    (Some(_), Some(_)) => "changed",
                    (Some(_), None) => "removed",
                    (None, _) => "added",
                };
                let ids =
                    members.iter().filter_map(|index| nodes.get(*index)).map(|info| info.id.to_string());
                changes.entry((key.0, key.1.clone(), change)).or_default().extend(ids);
            }
        }
        let changes = changes.into_iter().map(|((kind, name, change), mut nodes)| {
            nodes.sort();
            NodeChange { kind: kind.to_string(), name, change: change.to_owned(), nodes }
        });
        Some(Difference {
            changes: changes.collect(),
            findings: findings.iter().map(ToString::to_string).collect(),
        })
    }
}

/// Compiles a world from nothing for these nodes, with all endpoints; `None` if it is not wanted any more.
fn cold(world: &World, nodes: &[Arc<NodeInfo>], wanted: &Wanted) -> Option<(Compiler, Vec<NodeHandle>)> {
    let mut compiler = Compiler::new();
    compiler.end_when(wanted.0.clone());
    let mut handles = Vec::with_capacity(nodes.len());
    for node in nodes {
        wanted.still()?;
        let handle = compiler.attach(world, node);
        compiler.subscribe_all(world, handle);
        handles.push(handle);
    }
    wanted.still()?;
    Some((compiler, handles))
}

/// Findings that were not there before.
fn added<'a>(
    before: impl Iterator<Item = &'a Diagnostic>,
    after: impl Iterator<Item = &'a Diagnostic>,
) -> Vec<Diagnostic> {
    let before: BTreeSet<&Diagnostic> = before.collect();
    after.filter(|finding| !before.contains(finding)).cloned().collect()
}
