//! Answers for the admin port.

use std::collections::BTreeMap;

use lateen_model::{Origin, Severity};
use lateen_xds::{ResourceType, TypeState, View};

use super::{Core, Query, places, streams::Stream};
use crate::{
    answers::{Collected, Ground},
    status::{Node, Rejected, Source, Status, SyncState, TypeStatus},
};

/// How many findings one answer tells; it counts all.
const FINDINGS_MAX: usize = 10_000;

impl Core {
    pub(super) fn answer(&mut self, query: Query) {
        // A client that went away meanwhile needs no answer.
        match query {
            Query::Status(reply) if reply.is_closed() => {}
            Query::Config { reply, .. } if reply.is_closed() => {}
            Query::Ground(reply) if reply.is_closed() => {}
            Query::ClientStatus { reply, .. } if reply.is_closed() => {}
            Query::Status(reply) => drop(reply.send(self.status())),
            Query::Config { node, reply } => drop(reply.send(self.node_config(&node))),
            Query::Ground(reply) => drop(reply.send(self.ground())),
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

    fn status(&self) -> Status {
        let now = self.now();
        let (mut errors, mut count, mut shown) = (0, 0, Vec::new());
        let mut about: BTreeMap<&str, usize> = BTreeMap::new();
        for finding in self.registry.diagnostics().chain(self.compiler.findings()) {
            count += 1;
            errors += usize::from(finding.severity == Severity::Error);
            if let Some(origin) = &finding.origin {
                *about.entry(&*origin.source).or_default() += 1;
            }
            if count <= FINDINGS_MAX {
                shown.push(finding.to_string());
            }
        }
        if count > FINDINGS_MAX {
            shown.push(format!("… and {} more findings", count - FINDINGS_MAX));
        }
        let sources = self.registry.sources().into_iter().map(|source| Source {
            findings: source.findings.max(about.get(&*source.id.0).copied().unwrap_or_default()),
            id: source.id.to_string(),
            synced: source.synced,
            stale_ms: source.stale_since.map(|since| now.saturating_sub(since)),
            error: source.error,
            saved_unix_ms: source.saved_at,
            held_removals: source.held_removals,
            objects: source.objects,
        });
        let mut nodes: Vec<Node> =
            self.streams.by_id.values().filter_map(|stream| self.node_status(stream, now)).collect();
        nodes.sort_by(|a, b| (&a.id, &a.stream).cmp(&(&b.id, &b.stream)));
        Status {
            errors,
            control_plane: self.config.identifier.to_string(),
            ready: self.registry.synced(),
            revision: self.revision,
            sources: sources.collect(),
            nodes,
            findings: shown,
        }
    }

    fn node_status(&self, stream: &Stream, now: u64) -> Option<Node> {
        let node = stream.node.as_ref()?;
        let variant = if stream.method.delta { "delta" } else { "sotw" };
        let which = stream.method.only.map_or_else(|| "ads".to_owned(), |kind| kind.to_string());
        let types = node.session.status().into_iter().map(|status| {
            let parts: Vec<_> = self
                .compiler
                .rejected_by(node.handle, status.kind)
                .into_iter()
                .filter(|of| of.part.is_some())
                .collect();
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
        origins.iter().map(places::place(&self.registry)).collect()
    }

    /// Collects what a node is given; what is long to write is written elsewhere.
    fn node_config(&self, wanted: &str) -> Result<Collected, String> {
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
            view.members(kind, &mut |name, resource| {
                let origins = self.compiler.origins(handle, kind, name);
                resources.push((view.names().text(name).clone(), resource.clone(), origins));
            });
        }
        Ok(Collected { node: id.to_string(), resources, registry: self.registry.clone() })
    }

    /// What a comparison starts from.
    fn ground(&self) -> Ground {
        let mut nodes = BTreeMap::new();
        for node in self.streams.by_id.values().filter_map(|stream| stream.node.as_ref()) {
            nodes.entry(node.info.id.clone()).or_insert_with(|| node.info.clone());
        }
        Ground { registry: self.registry.clone(), nodes: nodes.into_values().collect() }
    }
}
