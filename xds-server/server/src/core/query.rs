//! Answers for the admin port.

use std::{collections::BTreeMap, sync::Arc};

use lateen_compile::Compiler;
use lateen_model::{Diagnostic, Origin, Severity, SourceId};
use lateen_xds::{ResourceType, TypeState, View};

use super::{Core, Query, places, streams::Stream};
use crate::status::{
    Difference, Node, NodeChange, NodeConfig, Proposal, Rejected, ResourceConfig, Source, Status, SyncState,
    TypeStatus,
};

impl Core {
    pub(super) fn answer(&mut self, query: Query) {
        // A client that went away meanwhile needs no answer.
        match query {
            Query::Status(reply) => drop(reply.send(self.status())),
            Query::Config { node, reply } => drop(reply.send(self.node_config(&node))),
            Query::Diff { proposal, reply } => drop(reply.send(self.diff(&proposal))),
            Query::ClientStatus { question, reply } => drop(reply.send(self.client_status(&question))),
            Query::Raw { change, reply } => {
                let told = self.compiler.raw_mut().map(|store| store.apply(&change));
                self.revision += u64::from(told.is_some());
                let _ = reply.send(told.is_some());
            }
            Query::ClearRaw { group, reply } => {
                let told = self.compiler.raw_mut().map(|store| store.clear(&group));
                self.revision += u64::from(told.is_some());
                let _ = reply.send(told.is_some());
            }
            Query::AskedFor { kind, name, asked } => {
                if let Some(store) = self.compiler.raw_mut() {
                    store.tell_when_asked(kind, &name, asked);
                }
            }
            Query::Streams { node, reply } => {
                let _ = reply.send(self.streams_of(&node));
            }
        }
    }

    fn streams_of(&self, node: &str) -> usize {
        let nodes = self.streams.by_id.values().filter_map(|stream| stream.node.as_ref());
        nodes.filter(|attached| *attached.info.id == *node).count()
    }

    fn status(&mut self) -> Status {
        let now = self.now();
        let sources = self.registry.sources().into_iter().map(|source| Source {
            id: source.id.to_string(),
            synced: source.synced,
            stale_ms: source.stale_since.map(|since| now.saturating_sub(since)),
            error: source.error,
            saved_unix_ms: source.saved_at,
            held_removals: source.held_removals,
            objects: source.objects,
            findings: source.findings,
        });
        let mut nodes: Vec<Node> =
            self.streams.by_id.values().filter_map(|stream| self.node_status(stream, now)).collect();
        nodes.sort_by(|a, b| (&a.id, &a.stream).cmp(&(&b.id, &b.stream)));
        let findings: Vec<_> = self.registry.diagnostics().chain(self.compiler.findings()).collect();
        let is_error = |finding: &&&Diagnostic| finding.severity == Severity::Error;
        Status {
            errors: findings.iter().filter(is_error).count(),
            control_plane: self.config.identifier.to_string(),
            ready: self.registry.synced(),
            revision: self.revision,
            sources: sources.collect(),
            nodes,
            findings: findings.into_iter().map(ToString::to_string).collect(),
        }
    }

    fn node_status(&self, stream: &Stream, now: u64) -> Option<Node> {
        let node = stream.node.as_ref()?;
        let variant = if stream.method.delta { "delta" } else { "sotw" };
        let which = stream.method.only.map_or_else(|| "ads".to_owned(), |kind| kind.to_string());
        let types = node.session.status().into_iter().map(|status| {
            let parts: Vec<_> =
                self.compiler.rejected_by(node.handle, status.kind).into_iter().filter(|of| of.part.is_some()).collect();
            let rejected = status.rejected.iter().map(|(name, _, _, _)| Rejected {
                name: self.compiler.names().text(*name).to_string(),
                origins: self.places(&self.compiler.origins(node.handle, status.kind, *name)),
            });
            // What a client is given without the parts that it rejects it accepts.
            let rejected = rejected.chain(parts.iter().map(|rejection| Rejected {
                name: rejection.part.as_deref().unwrap_or_default().to_owned(),
                origins: self.places(rejection.finding.origin.as_slice()),
            }));
            let message = status.message.as_deref().or_else(|| parts.first().map(|of| &*of.message));
            TypeStatus {
                kind: status.kind.to_string(),
                state: match status.state {
                    TypeState::Synced if !parts.is_empty() => SyncState::Nack,
                    TypeState::Synced => SyncState::Synced,
                    TypeState::Stale => SyncState::Stale,
                    TypeState::Nack => SyncState::Nack,
                    TypeState::NotSent => SyncState::NotSent,
                },
                age_ms: now.saturating_sub(status.since_ms),
                held: status.held,
                message: message.map(str::to_owned),
                rejected: rejected.collect(),
            }
        });
        Some(Node {
            id: node.info.id.to_string(),
            namespace: node.info.namespace.to_string(),
            peer: stream.peer.address.to_string(),
            user_agent: node.info.user_agent.to_string(),
            stream: format!("{variant} {which}"),
            connected_ms: now.saturating_sub(stream.opened_ms),
            types: types.collect(),
        })
    }

    /// Where objects stand.
    fn places(&self, origins: &[Origin]) -> Vec<String> {
        origins.iter().map(self.place()).collect()
    }

    /// Where an object stands: with the source, where there are several.
    fn place(&self) -> impl Fn(&Origin) -> String + use<> {
        let several = self.registry.sources().len() > 1;
        move |origin| if several { format!("{origin} of {}", origin.source) } else { origin.to_string() }
    }

    fn node_config(&mut self, wanted: &str) -> Result<NodeConfig, String> {
        let mut nodes = BTreeMap::new();
        for stream in self.streams.by_id.values() {
            if let Some(node) = &stream.node
                && node.info.id.contains(wanted)
            {
                nodes.insert(node.info.id.clone(), node.handle);
            }
        }
        if let Some(exact) = nodes.get(wanted).copied() {
            nodes.retain(|_, handle| *handle == exact);
        }
        let (id, handle) = match nodes.len() {
            0 => return Err(format!("no connected node has {wanted:?} in its id")),
            1 => nodes.pop_first().ok_or("no node")?,
            _ => {
                let ids: Vec<_> = nodes.keys().map(ToString::to_string).collect();
                return Err(format!("{wanted:?} fits several nodes: {}", ids.join(", ")));
            }
        };
        let view = self.compiler.view(handle);
        let mut resources = Vec::new();
        for kind in ResourceType::ALL {
            let mut of_kind = Vec::new();
            view.members(kind, &mut |name, resource| {
                let any = lateen_proto::google::protobuf::Any {
                    type_url: kind.info().url.to_owned(),
                    value: resource.body.bytes(),
                };
                let body = lateen_proto::json::any_to_json(&any);
                let text = view.names().text(name);
                let endpoints = if kind == ResourceType::Endpoints {
                    places::endpoints(self.registry.world(), text, &body, self.place())
                } else {
                    Vec::new()
                };
                of_kind.push(ResourceConfig {
                    kind: kind.to_string(),
                    name: text.to_string(),
                    version: resource.version.to_string(),
                    origins: self.places(&self.compiler.origins(handle, kind, name)),
                    endpoints,
                    body,
                });
            });
            of_kind.sort_by(|a, b| a.name.cmp(&b.name));
            resources.extend(of_kind);
        }
        Ok(NodeConfig { node: id.to_string(), resources })
    }

    /// Compiles the world with the documents laid over it for every connected node, and compares. Nodes that read
    /// the same tables before and after are compared once.
    fn diff(&mut self, proposal: &Proposal) -> Difference {
        let source = SourceId("diff".into());
        let documents: Vec<(Arc<str>, Arc<[u8]>)> = proposal
            .documents
            .iter()
            .map(|d| (d.location.as_str().into(), d.body.as_bytes().into()))
            .collect();
        let (world, findings) = self.registry.propose(&source, &documents);
        let mut nodes = BTreeMap::new();
        for node in self.streams.by_id.values().filter_map(|stream| stream.node.as_ref()) {
            nodes.entry(node.info.id.clone()).or_insert_with(|| node.info.clone());
        }
        let infos: Vec<_> = nodes.into_values().collect();
        let (before, before_handles) = Compiler::cold(self.registry.world(), &infos);
        let (after, after_handles) = Compiler::cold(&world, &infos);
        let mut groups: BTreeMap<_, Vec<usize>> = BTreeMap::new();
        for (index, (old, new)) in before_handles.iter().zip(&after_handles).enumerate() {
            groups.entry((before.tables_of(*old), after.tables_of(*new))).or_default().push(index);
        }
        let mut changes: BTreeMap<(ResourceType, String, &str), Vec<String>> = BTreeMap::new();
        for members in groups.values() {
            let Some(first) = members.first().copied() else { continue };
            let (Some(old), Some(new)) = (before_handles.get(first), after_handles.get(first)) else {
                continue;
            };
            let (old, new) = (before.contents(*old), after.contents(*new));
            for key in old.keys().chain(new.keys().filter(|key| !old.contains_key(*key))) {
                let change = match (old.get(key), new.get(key)) {
                    (Some(left), Some(right)) if left.0 == right.0 => continue,
                    (Some(_), Some(_)) => "changed",
                    (Some(_), None) => "removed",
                    (None, _) => "added",
                };
                let ids =
                    members.iter().filter_map(|index| infos.get(*index)).map(|info| info.id.to_string());
                changes.entry((key.0, key.1.clone(), change)).or_default().extend(ids);
            }
        }
        let changes = changes.into_iter().map(|((kind, name, change), mut nodes)| {
            nodes.sort();
            NodeChange { kind: kind.to_string(), name, change: change.to_owned(), nodes }
        });
        Difference {
            changes: changes.collect(),
            findings: findings.iter().map(ToString::to_string).collect(),
        }
    }
}
