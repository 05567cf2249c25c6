//! The streams: their sessions, who must hear of which table, who waits to send.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
};

use lateen_compile::{NodeHandle, TableId};
use lateen_model::NodeInfo;
use lateen_xds::{Limits, Outcome, Refusal, Request, ResourceType, Session, Variant};
use tonic::{Code, Status};

use super::Core;
use crate::{
    StreamId,
    metrics::TypeLabel,
    node::node_info,
    outbox::{Outbox, Outgoing},
    peer::Peer,
    service::{Method, StreamEvent, StreamRequest},
};

/// One stream.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) session: Session,
    pub(super) peer: Peer,
    pub(super) method: Method,
    pub(super) node: Option<Attached>,
    pub(super) opened_ms: u64,
    outbox: Outbox,
    queued: bool,
}

/// The node that a stream introduced on its first request.
#[derive(Debug)]
pub(super) struct Attached {
    pub(super) info: Arc<NodeInfo>,
    pub(super) handle: NodeHandle,
    /// Stands for the client where independent identities are counted.
    pub(super) principal: Arc<str>,
    tables: Vec<(ResourceType, TableId)>,
}

/// All streams.
#[derive(Debug, Default)]
pub(super) struct Streams {
    pub(super) by_id: HashMap<StreamId, Stream>,
    /// Streams whose node reads a table. Ordered, so that streams are served in the order they came.
    readers: HashMap<TableId, BTreeMap<StreamId, ()>>,
    by_node: HashMap<NodeHandle, StreamId>,
    queue: VecDeque<StreamId>,
    /// Deadlines that sessions asked for.
    timers: BTreeMap<(u64, StreamId), ()>,
}

impl Streams {
    /// The stream wants to send, and its slot is free or will be.
    pub(super) fn enqueue(&mut self, id: StreamId) {
        if let Some(stream) = self.by_id.get_mut(&id)
            && !std::mem::replace(&mut stream.queued, true)
        {
            self.queue.push_back(id);
        }
    }

    /// The earliest deadline of any session.
    pub(super) fn deadline(&self) -> Option<u64> {
        self.timers.first_key_value().map(|((ms, _), ())| *ms)
    }

    /// Ends every stream: clients treat a stream that answered once and ended as healthy, and reconnect.
    pub(super) fn end_all(&mut self) {
        for (_, stream) in self.by_id.drain() {
            if stream.outbox.is_free() {
                stream.outbox.put(Outgoing::End(Status::unavailable("the server is shutting down")));
            }
        }
    }

    fn read_tables(&mut self, id: StreamId, tables: &[(ResourceType, TableId)]) {
        for (_, table) in tables {
            self.readers.entry(*table).or_default().insert(id, ());
        }
    }

    fn forget_tables(&mut self, id: StreamId, tables: &[(ResourceType, TableId)]) {
        for (_, table) in tables {
            if let Some(readers) = self.readers.get_mut(table) {
                readers.remove(&id);
                if readers.is_empty() {
                    self.readers.remove(table);
                }
            }
        }
    }
}

impl Core {
    pub(super) fn on_stream(&mut self, event: StreamEvent) {
        match event {
            StreamEvent::Open { id, peer, method, outbox } => {
                let variant = if method.delta { Variant::Delta } else { Variant::Sotw };
                let session =
                    Session::new(variant, method.only, Limits::default(), self.config.identifier.clone());
                let opened_ms = self.now();
                let stream = Stream { session, peer, method, node: None, opened_ms, outbox, queued: false };
                self.streams.by_id.insert(id, stream);
                self.metrics.streams.inc();
            }
            StreamEvent::Request { id, request } => {
                if let Err(status) = self.on_request(id, *request) {
                    tracing::info!(stream = id.0, code = ?status.code(), error = status.message(), "stream refused");
                    self.metrics.refusals.inc();
                    if let Some(stream) = self.close(id) {
                        stream.outbox.put(Outgoing::End(status));
                    }
                }
            }
            StreamEvent::Closed { id } => {
                if let Some(stream) = self.close(id) {
                    stream.outbox.put(Outgoing::End(Status::ok("")));
                }
            }
        }
    }

    fn close(&mut self, id: StreamId) -> Option<Stream> {
        let stream = self.streams.by_id.remove(&id)?;
        self.metrics.streams.dec();
        if let Some(node) = &stream.node {
            self.streams.forget_tables(id, &node.tables);
            self.streams.by_node.remove(&node.handle);
            self.compiler.detach(node.handle);
        }
        Some(stream)
    }

    fn on_request(&mut self, id: StreamId, request: StreamRequest) -> Result<(), Status> {
        // Requests that were under way when the stream was refused find it gone.
        let Some(stream) = self.streams.by_id.get(&id) else { return Ok(()) };
        if stream.node.is_none() {
            self.attach(id, &request)?;
        }
        let now = self.now();
        let Some(stream) = self.streams.by_id.get_mut(&id) else { return Ok(()) };
        let Some(node) = &stream.node else { return Ok(()) };
        let request = match request {
            StreamRequest::Sotw(request) => Request::from(request),
            StreamRequest::Delta(request) => Request::from(request),
        };
        let outcome = stream
            .session
            .on_request(request, self.compiler.names_mut(), now)
            .map_err(|refusal| status_of(&refusal))?;
        let (handle, principal) = (node.handle, node.principal.clone());
        self.on_outcome(handle, &principal, outcome);
        self.streams.enqueue(id);
        Ok(())
    }

    /// What a request means for the compiler: demand, and what the client accepted or rejected.
    fn on_outcome(&mut self, handle: NodeHandle, principal: &Arc<str>, outcome: Outcome) {
        let Outcome { kind, subscribed, unsubscribed, acked, nacked } = outcome;
        let Some(kind) = kind else { return };
        let world = self.registry.world();
        if !subscribed.is_empty() {
            self.compiler.subscribe(world, handle, kind, &subscribed);
        }
        if !unsubscribed.is_empty() {
            self.compiler.unsubscribe(handle, kind, &unsubscribed);
        }
        for resource in &acked {
            self.compiler.acked(handle, resource);
        }
        for rejected in nacked {
            self.metrics.rejects.get_or_create(&TypeLabel::of(kind)).inc();
            let name = self.compiler.names_mut().text(rejected.name).clone();
            tracing::warn!(
                node = %principal, type_url = kind.info().url, resource = %name,
                version = %rejected.version, error = rejected.message, "resource rejected"
            );
            self.compiler.nacked(handle, principal, &rejected);
        }
    }

    /// The first request of a stream says who it is; the connection says whether that may be.
    /// <https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#basic-protocol-overview>
    fn attach(&mut self, id: StreamId, request: &StreamRequest) -> Result<(), Status> {
        let node = match request {
            StreamRequest::Sotw(request) => request.node.as_ref(),
            StreamRequest::Delta(request) => request.node.as_ref(),
        };
        let node = node
            .filter(|node| !node.id.is_empty())
            .ok_or_else(|| Status::invalid_argument("the first request of a stream must carry a node with an id"))?;
        let info = Arc::new(node_info(node));
        let Some(stream) = self.streams.by_id.get_mut(&id) else { return Ok(()) };
        stream
            .peer
            .identity
            .check_namespace(info.namespace.as_str())
            .map_err(|error| Status::permission_denied(error.to_string()))?;
        let principal = stream.peer.identity.principal(&info.id);
        let handle = self.compiler.attach(self.registry.world(), &info);
        let tables = self.compiler.tables_of(handle);
        stream.node = Some(Attached { info, handle, principal, tables: tables.clone() });
        self.streams.read_tables(id, &tables);
        self.streams.by_node.insert(handle, id);
        Ok(())
    }

    /// Tells sessions what changed in the tables that they read.
    pub(super) fn deliver(&mut self) {
        let delivery = self.compiler.take_changed();
        for (table, kind, names) in &delivery.changed {
            let Some(readers) = self.streams.readers.get(table) else { continue };
            for id in readers.keys() {
                let Some(stream) = self.streams.by_id.get_mut(id) else { continue };
                stream.session.on_changed(*kind, names);
                if stream.session.wants_to_send() && !std::mem::replace(&mut stream.queued, true) {
                    self.streams.queue.push_back(*id);
                }
            }
        }
        for handle in delivery.moved {
            let Some(id) = self.streams.by_node.get(&handle).copied() else { continue };
            let tables = self.compiler.tables_of(handle);
            let Some(stream) = self.streams.by_id.get_mut(&id) else { continue };
            stream.session.on_view_moved();
            let Some(node) = &mut stream.node else { continue };
            let before = std::mem::replace(&mut node.tables, tables.clone());
            self.streams.forget_tables(id, &before);
            self.streams.read_tables(id, &tables);
            self.streams.enqueue(id);
        }
        let now = self.now();
        while let Some((&(deadline, id), ())) = self.streams.timers.first_key_value() {
            if deadline > now {
                break;
            }
            self.streams.timers.remove(&(deadline, id));
            self.streams.enqueue(id);
        }
    }

    /// Composes responses for streams that can send, in turn, as long as the budget has room.
    pub(super) fn pump(&mut self) {
        if !self.registry.synced() {
            return;
        }
        let now = self.now();
        while self.budget.has_room() {
            let Some(id) = self.streams.queue.pop_front() else { break };
            let Some(stream) = self.streams.by_id.get_mut(&id) else { continue };
            stream.queued = false;
            // A full slot reports itself when it is free.
            if !stream.outbox.is_free() {
                continue;
            }
            let Some(node) = &stream.node else { continue };
            let view = self.compiler.view(node.handle);
            if let Some(response) = stream.session.next_response(&view, now) {
                let label = TypeLabel::of(response.kind);
                self.metrics.pushes.get_or_create(&label).inc();
                self.metrics.push_bytes.get_or_create(&label).inc_by(response.len() as u64);
                let budget = &self.budget;
                // Shared bodies exist once however many streams they go to; what is composed for one stream counts.
                let chunks = response.chunks.into_iter().map(|chunk| match chunk {
                    lateen_xds::Chunk::Own(bytes) => budget.charge(bytes),
                    lateen_xds::Chunk::Shared(bytes) => bytes,
                });
                stream.outbox.put(Outgoing::Message(chunks.collect()));
                if stream.session.wants_to_send() {
                    stream.queued = true;
                    self.streams.queue.push_back(id);
                }
            }
            if let Some(deadline) = stream.session.deadline() {
                self.streams.timers.insert((deadline.max(now + 1), id), ());
            }
        }
        self.metrics.in_flight_bytes.set(i64::try_from(self.budget.used_bytes()).unwrap_or(i64::MAX));
    }
}

fn status_of(refusal: &Refusal) -> Status {
    let code = match refusal {
        Refusal::InvalidArgument(_) => Code::InvalidArgument,
        Refusal::ResourceExhausted(_) => Code::ResourceExhausted,
    };
    Status::new(code, refusal.to_string())
}
