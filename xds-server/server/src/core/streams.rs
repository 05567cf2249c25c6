//! The streams: their sessions, who must hear of which table, who waits to send.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use lateen_model::NodeInfo;
use lateen_proto::envoy::config::core::v3::Node;
use lateen_xds::{
    Change, ClientProfile, Limits, NameId, Outcome, Request, ResourceType, Session, SessionOptions, Variant,
    faults::{Fault, active},
};
use prost::Message as _;
use tonic::{Code, Status};

use super::{
    Core,
    tables::{NodeHandle, TableId},
};
use crate::{
    StreamId,
    metrics::TypeLabel,
    node::{check_node, node_info},
    outbox::{Outbox, Outgoing, SMALL_BYTES},
    peer::Peer,
    service::{Method, StreamEvent, StreamRequest},
};

/// What clients say that can read a resource in its wrapper.
/// <https://www.envoyproxy.io/docs/envoy/latest/api/client_features>
const WRAPPER_FEATURES: [&str; 3] = [
    "xds.config.resource-in-sotw",
    "xds.config.supports-resource-in-sotw",
    "xds.config.supports-resource-ttl",
];

/// One stream.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) peer: Peer,
    pub(super) method: Method,
    pub(super) node: Option<Attached>,
    pub(super) opened_ms: u64,
    outbox: Outbox,
    queued: bool,
    /// Its entry among the timers.
    timer: Option<u64>,
}

impl Stream {
    fn set_timer(&mut self, id: StreamId, at_ms: Option<u64>, timers: &mut BTreeSet<(u64, StreamId)>) {
        let before = std::mem::replace(&mut self.timer, at_ms);
        if before != at_ms {
            before.map(|ms| timers.remove(&(ms, id)));
            at_ms.map(|ms| timers.insert((ms, id)));
        }
    }
}

/// The node that a stream introduced on its first request.
#[derive(Debug)]
pub(super) struct Attached {
    pub(super) session: Session,
    pub(super) info: Arc<NodeInfo>,
    pub(super) handle: NodeHandle,
    /// Stands for the client where independent identities are counted.
    pub(super) principal: Arc<str>,
    /// The node as it introduced itself, without the list of its extensions: Envoy's has tens of kilobytes.
    pub(super) encoded: Box<[u8]>,
    tables: Vec<TableId>,
}

/// All streams.
#[derive(Debug, Default)]
pub(super) struct Streams {
    pub(super) by_id: HashMap<StreamId, Stream>,
    /// Streams whose node reads a table. Ordered, so that streams are served in the order they came.
    readers: HashMap<TableId, BTreeSet<StreamId>>,
    by_node: HashMap<NodeHandle, StreamId>,
    queue: VecDeque<StreamId>,
    /// Deadlines that sessions asked for, one for each stream at most.
    timers: BTreeSet<(u64, StreamId)>,
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

    /// Do streams wait to send?
    pub(super) fn is_waiting(&self) -> bool {
        !self.queue.is_empty()
    }

    /// The earliest deadline of any session.
    pub(super) fn deadline(&self) -> Option<u64> {
        self.timers.first().map(|(ms, _)| *ms)
    }

    /// The stream is to be looked at then, and no more when it was to be looked at before.
    fn set_timer(&mut self, id: StreamId, at_ms: Option<u64>) {
        if let Some(stream) = self.by_id.get_mut(&id) {
            stream.set_timer(id, at_ms, &mut self.timers);
        }
    }

    /// Streams whose time has come want to send.
    fn ring(&mut self, now_ms: u64) {
        while let Some((_, id)) = self.timers.first().copied().filter(|(ms, _)| *ms <= now_ms) {
            self.set_timer(id, None);
            self.enqueue(id);
        }
    }

    /// Ends every stream, after what was put for it was written: clients treat a stream that answered once and
    /// ended as healthy, and reconnect.
    pub(super) fn end_all(&mut self) {
        for (_, stream) in self.by_id.drain() {
            stream.outbox.put(Outgoing::End(Status::unavailable("the server is shutting down")));
        }
    }

    fn read_tables(&mut self, id: StreamId, tables: &[TableId]) {
        for table in tables {
            self.readers.entry(*table).or_default().insert(id);
        }
    }

    fn forget_tables(&mut self, id: StreamId, tables: &[TableId]) {
        for table in tables {
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
                let opened_ms = self.now();
                let stream =
                    Stream { peer, method, node: None, opened_ms, outbox, queued: false, timer: None };
                self.streams.by_id.insert(id, stream);
                self.metrics.streams.inc();
            }
            StreamEvent::Request { id, request, room } => {
                let answer = self.on_request(id, *request);
                drop(room);
                if let Err(status) = answer {
                    tracing::info!(stream = id.0, code = ?status.code(), error = status.message(), "stream refused");
                    self.metrics.refusals.inc();
                    if let Some(stream) = self.close(id) {
                        stream.outbox.put(Outgoing::End(status));
                    }
                }
            }
            StreamEvent::Closed { id, refused } => {
                if let Some(stream) = self.close(id) {
                    stream.outbox.put(Outgoing::End(refused.unwrap_or_else(|| Status::ok(""))));
                }
            }
        }
    }

    fn close(&mut self, id: StreamId) -> Option<Stream> {
        self.streams.set_timer(id, None);
        let stream = self.streams.by_id.remove(&id)?;
        self.metrics.streams.dec();
        if let Some(node) = &stream.node {
            self.streams.forget_tables(id, &node.tables);
            self.streams.by_node.remove(&node.handle);
            self.compiler.detach(node.handle);
            // What it alone rejected is no longer rejected.
            self.sources.findings_changed = true;
        }
        Some(stream)
    }

    fn on_request(&mut self, id: StreamId, mut request: StreamRequest) -> Result<(), Status> {
        // Requests that were under way when the stream was refused find it gone.
        let Some(stream) = self.streams.by_id.get(&id) else { return Ok(()) };
        if stream.node.is_none() {
            self.attach(id, &mut request)?;
        } else {
            self.later_node(id, &mut request)?;
        }
        let now = self.now();
        let Some(node) = self.streams.by_id.get_mut(&id).and_then(|stream| stream.node.as_mut()) else {
            return Ok(());
        };
        let request = match request {
            StreamRequest::Sotw(request) => Request::from(request),
            StreamRequest::Repeated(request) => {
                Request { change: Change::Repeated, ..Request::from(request) }
            }
            StreamRequest::Delta(request) => Request::from(request),
        };
        let mut outcome = std::mem::take(&mut self.outcome);
        let result = node.session.on_request(&request, self.compiler.names_mut(), now, &mut outcome);
        if let Err(refusal) = result {
            return Err(Status::new(Code::from_i32(refusal.code()), refusal.to_string()));
        }
        let (handle, principal, node) = (node.handle, node.principal.clone(), node.info.id.clone());
        self.on_outcome(handle, &principal, &node, &outcome);
        self.outcome = outcome;
        self.streams.enqueue(id);
        Ok(())
    }

    /// Later requests need no node, and one that they have makes no difference.
    /// <https://www.envoyproxy.io/docs/envoy/latest/api-v3/service/discovery/v3/discovery.proto#envoy-v3-api-field-service-discovery-v3-discoveryrequest-node>
    fn later_node(&mut self, id: StreamId, request: &mut StreamRequest) -> Result<(), Status> {
        if !active(Fault::NodeOnEveryRequest) && !active(Fault::LaterNodeCounts) {
            return Ok(());
        }
        let has_node = match &*request {
            StreamRequest::Sotw(request) | StreamRequest::Repeated(request) => request.node.is_some(),
            StreamRequest::Delta(request) => request.node.is_some(),
        };
        if !has_node {
            let refused = active(Fault::NodeOnEveryRequest);
            return if refused { Err(Status::invalid_argument("no node")) } else { Ok(()) };
        }
        if active(Fault::LaterNodeCounts)
            && let Some(before) = self.streams.by_id.get_mut(&id).and_then(|stream| stream.node.take())
        {
            self.streams.forget_tables(id, &before.tables);
            self.streams.by_node.remove(&before.handle);
            self.compiler.detach(before.handle);
            self.attach(id, request)?;
        }
        Ok(())
    }

    /// What a request means for the compiler: demand, and what the client accepted or rejected.
    fn on_outcome(&mut self, handle: NodeHandle, principal: &Arc<str>, node: &str, outcome: &Outcome) {
        // `wildcard` needs nothing: what a wildcard sees is compiled for every live view.
        let Outcome { subscribed, unsubscribed, wildcard: _, acked, guilty, nack, answered_ms } = outcome;
        let world = self.registry.world();
        let of = |names: &[(ResourceType, NameId)]| -> Vec<NameId> {
            names.iter().map(|(_, name)| *name).collect()
        };
        // All names of a request are of one type.
        if let Some((kind, _)) = subscribed.first() {
            self.compiler.subscribe(world, handle, *kind, &of(subscribed));
        }
        if let Some((kind, _)) = unsubscribed.first() {
            self.compiler.unsubscribe(handle, *kind, &of(unsubscribed));
        }
        for accepted in acked {
            self.compiler.acked(handle, accepted);
        }
        if let Some(ms) = answered_ms {
            self.metrics.ack_seconds.0.observe(Duration::from_millis(*ms).as_secs_f64());
        }
        // A search in parts is made of rejections: the first one tells enough.
        let searching = guilty.iter().any(|rejected| self.compiler.is_on_trial(handle, rejected));
        if let Some(nack) = nack.as_ref().filter(|_| !searching) {
            tracing::warn!(
                node, type_url = nack.kind.info().url, suspects = nack.suspects, error = %nack.message,
                "response rejected"
            );
        }
        for rejected in guilty {
            self.metrics.rejects.get_or_create(&TypeLabel::of(rejected.kind)).inc();
            self.sources.findings_changed = true;
            self.compiler.nacked(handle, principal, rejected);
        }
    }

    /// The first request of a stream says who it is; the connection says whether that may be.
    /// <https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#basic-protocol-overview>
    fn attach(&mut self, id: StreamId, request: &mut StreamRequest) -> Result<(), Status> {
        let node = match request {
            StreamRequest::Sotw(request) | StreamRequest::Repeated(request) => request.node.take(),
            StreamRequest::Delta(request) => request.node.take(),
        };
        let node = node.or_else(|| active(Fault::NoNodeNeeded).then(Node::default));
        let mut node =
            node.filter(|node| !node.id.is_empty() || active(Fault::NoNodeNeeded)).ok_or_else(|| {
                Status::invalid_argument("the first request of a stream must carry a node with an id")
            })?;
        node.extensions = Vec::new();
        check_node(&node).map_err(Status::invalid_argument)?;
        let Some(stream) = self.streams.by_id.get_mut(&id) else { return Ok(()) };
        let info = Arc::new(node_info(&node, stream.method));
        stream
            .peer
            .identity
            .check_namespace(info.namespace.as_str())
            .map_err(|error| Status::permission_denied(error.to_string()))?;
        let principal = stream.peer.identity.principal();
        let mut session = Session::new(SessionOptions {
            variant: if stream.method.delta { Variant::Delta } else { Variant::Sotw },
            only: stream.method.only,
            limits: Limits::default(),
            profile: ClientProfile::of_user_agent(&info.user_agent),
            stream: id.0,
            identifier: self.config.identifier.clone(),
        });
        if node.client_features.iter().any(|feature| WRAPPER_FEATURES.contains(&feature.as_str())) {
            session.allow_wrapper();
        }
        let encoded = node.encode_to_vec().into();
        let handle = self.compiler.attach(self.registry.world(), &info);
        let tables = self.compiler.tables_of(handle);
        stream.node = Some(Attached { session, info, handle, principal, encoded, tables: tables.clone() });
        self.streams.read_tables(id, &tables);
        self.streams.by_node.insert(handle, id);
        Ok(())
    }

    /// Tells sessions what changed in the tables that they read.
    pub(super) fn deliver(&mut self) {
        let delivery = self.compiler.take_changed();
        for (table, kind, names) in &delivery.changed {
            let Some(readers) = self.streams.readers.get(table) else { continue };
            for id in readers {
                let Some(stream) = self.streams.by_id.get_mut(id) else { continue };
                let Some(node) = &mut stream.node else { continue };
                node.session.on_changed(*kind, names);
                if node.session.wants_to_send() && !std::mem::replace(&mut stream.queued, true) {
                    self.streams.queue.push_back(*id);
                }
            }
        }
        for handle in delivery.moved {
            let Some(id) = self.streams.by_node.get(&handle).copied() else { continue };
            let tables = self.compiler.tables_of(handle);
            let Some(stream) = self.streams.by_id.get_mut(&id) else { continue };
            let Some(node) = &mut stream.node else { continue };
            node.session.on_view_moved();
            let before = std::mem::replace(&mut node.tables, tables.clone());
            self.streams.forget_tables(id, &before);
            self.streams.read_tables(id, &tables);
            self.streams.enqueue(id);
        }
        self.sources.findings_changed |= !delivery.retold.is_empty();
        for (handle, kind, name) in delivery.retold {
            let Some(id) = self.streams.by_node.get(&handle).copied() else { continue };
            if let Some(node) = self.streams.by_id.get_mut(&id).and_then(|stream| stream.node.as_mut()) {
                node.session.on_changed(kind, &[name]);
                self.streams.enqueue(id);
            }
        }
        for table in &delivery.completed {
            for id in self.streams.readers.get(table).cloned().unwrap_or_default() {
                self.streams.enqueue(id);
            }
        }
        let now = self.now();
        self.streams.ring(now);
    }

    /// Composes responses for streams that can send, in turn, as long as the budget has room.
    pub(super) fn pump(&mut self) {
        if !self.registry.synced() {
            return;
        }
        let now = self.now();
        while self.budget.has_room(now) {
            let Some(id) = self.streams.queue.pop_front() else { break };
            let Some(stream) = self.streams.by_id.get_mut(&id) else { continue };
            stream.queued = false;
            // A full slot reports itself when it is free.
            if !stream.outbox.is_free() {
                continue;
            }
            let Some(node) = &mut stream.node else { continue };
            // It is told as soon as its tables have everything.
            if !self.compiler.is_complete(node.handle) {
                continue;
            }
            let view = self.compiler.view(node.handle);
            if let Some(response) = node.session.next_response(&view, now) {
                self.metrics.pushed(response.kind, response.len);
                let counted = |chunk: Bytes| {
                    if chunk.len() > SMALL_BYTES { self.budget.charge(chunk) } else { chunk }
                };
                stream.outbox.put(Outgoing::Message(response.frames.into_iter().map(counted).collect()));
                if node.session.wants_to_send() {
                    stream.queued = true;
                    self.streams.queue.push_back(id);
                }
            }
            // What is due at once was just seen to; a deadline that stays in the past must not make us spin.
            let deadline = node.session.deadline().map(|ms| ms.max(now + 1));
            stream.set_timer(id, deadline, &mut self.streams.timers);
        }
        self.metrics.in_flight_bytes.set(i64::try_from(self.budget.used_bytes()).unwrap_or(i64::MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outbox::outbox;

    #[test]
    fn a_stream_has_one_timer_and_none_when_it_is_gone() {
        let (id, mut streams) = (StreamId(1), Streams::default());
        let (outbox, _body) = outbox(id, tokio::sync::mpsc::unbounded_channel().0);
        let (peer, method) = (Peer::unix(None), Method { delta: true, only: None });
        let stream = Stream { peer, method, node: None, opened_ms: 0, outbox, queued: false, timer: None };
        streams.by_id.insert(id, stream);
        for at_ms in [50, 20, 20, 30] {
            streams.set_timer(id, Some(at_ms));
            assert_eq!(streams.deadline(), Some(at_ms));
            assert_eq!(streams.timers.len(), 1);
        }
        streams.ring(29);
        assert!(!streams.is_waiting());
        streams.ring(30);
        assert!(streams.is_waiting());
        assert_eq!(streams.deadline(), None);
        streams.set_timer(id, Some(40));
        streams.set_timer(id, None);
        assert_eq!(streams.timers.len(), 0);
    }
}
