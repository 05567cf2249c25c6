//! The memos of the compiler: what each key computes.

use std::{collections::HashMap, sync::Arc};

use lateen_model::{Diagnostic, Host, NodeInfo, Severity, Version, diagnostic::Code};
use lateen_proto::{google::protobuf::Any, pgv};
use lateen_xds::ResourceType;

use crate::{
    NodeHandle, TableId,
    engine::{Program, Reader},
    routes::Piece,
    translate::{
        self, ClusterKey, Compiled, EndpointsKey, Fixed, GatewayEntry, GatewayListenerKey, GatewayView,
        GatewayVirtualHostKey, HostEntry, InboundView, ListenerPart, NodeViews, OutboundView, Shell,
        VirtualHostKey,
    },
};

/// A resource breaks a rule of the API: Envoy would reject it, so it is not sent.
const BREAKS_RULE: Code = Code("LAT4002");

/// Key of a memo. Those with a table are of one view; the others are shared by all views. There are as many as
/// views times hosts, each twice in the graph: what is large is behind a pointer.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) enum MemoKey {
    /// The views of a node.
    Views(NodeHandle),
    /// What a host contributes to a view.
    Host(TableId, Host),
    /// What an outbound view has whatever its hosts are.
    Fixed(TableId),
    /// A listener of an outbound view, from the parts that hosts contribute.
    Listener(TableId, Arc<str>),
    /// A route configuration without its virtual hosts.
    Shell(TableId, Arc<str>),
    /// Everything inbound.
    Inbound(TableId),
    /// Everything that a gateway has.
    Gateway(TableId),
    /// A cluster.
    Cluster(Arc<ClusterKey>),
    /// A `ClusterLoadAssignment`.
    Assignment(Arc<EndpointsKey>),
    /// A virtual host.
    VirtualHost(Arc<VirtualHostKey>),
    /// A virtual host of a gateway.
    GatewayVirtualHost(Arc<GatewayVirtualHostKey>),
    /// A listener of a gateway.
    GatewayListener(Arc<GatewayListenerKey>),
}

const _: () = assert!(size_of::<MemoKey>() <= 24, "the memory of a view is counted in these");

/// A compiled resource with its type and name.
pub(crate) type NamedBody = (ResourceType, Arc<str>, Arc<Body>);

/// Value of a memo.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum MemoValue {
    Views(Arc<NodeViews>),
    Host(Arc<HostEntry>),
    Fixed(Arc<Fixed>),
    Shell(Option<Arc<Shell>>),
    Inbound(Arc<Vec<NamedBody>>),
    Gateway(Arc<GatewayEntry>),
    Body(Option<Arc<Body>>),
    Piece(Option<Arc<Piece>>, Arc<[Diagnostic]>),
}

/// A compiled resource whose rules were checked.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Body {
    pub(crate) compiled: Compiled,
    pub(crate) version: Version,
    /// Does it break a rule of the API?
    pub(crate) broken: bool,
}

/// What computations need besides facts: the views by number, and what hosts contribute to listeners.
#[derive(Debug, Default)]
pub(crate) struct Context {
    pub(crate) nodes: HashMap<NodeHandle, Arc<NodeInfo>>,
    pub(crate) outbound: HashMap<TableId, Arc<OutboundView>>,
    pub(crate) gateways: HashMap<TableId, Arc<GatewayView>>,
    pub(crate) inbound: HashMap<TableId, Arc<InboundView>>,
    pub(crate) parts: HashMap<(TableId, Arc<str>), Vec<ListenerPart>>,
}

/// The program.
#[derive(Debug)]
pub(crate) struct Xds;

impl Program for Xds {
    type Key = MemoKey;
    type Value = MemoValue;
    type Context = Context;

    fn compute(context: &Context, key: &MemoKey, r: &mut Reader<'_>) -> MemoValue {
        const HELD: &str = "invariant: a memo of a view is dropped before its view";
        let outbound = |table| context.outbound.get(table).expect(HELD);
        match key {
            MemoKey::Views(node) => {
                MemoValue::Views(Arc::new(translate::node_views(r, context.nodes.get(node).expect(HELD))))
            }
            MemoKey::Host(table, host) => {
                MemoValue::Host(Arc::new(translate::host_entry(r, outbound(table), host)))
            }
            MemoKey::Fixed(table) => {
                MemoValue::Fixed(Arc::new(translate::fixed_outbound(r, outbound(table))))
            }
            MemoKey::Listener(table, name) => {
                let parts = context.parts.get(&(*table, name.clone())).map(Vec::as_slice).unwrap_or_default();
                body(ResourceType::Listener, translate::outbound_listener(r, outbound(table), name, parts))
            }
            MemoKey::Shell(table, name) => MemoValue::Shell(
                match context.gateways.get(table) {
                    Some(view) => translate::gateway_route_shell(r, view, name),
                    None => translate::route_shell(r, outbound(table), name),
                }
                .map(Arc::new),
            ),
            MemoKey::Inbound(table) => {
                let all = translate::inbound(r, context.inbound.get(table).expect(HELD)).into_iter();
                let all = all.map(|(kind, name, compiled)| (kind, name, Arc::new(Body::new(kind, compiled))));
                MemoValue::Inbound(Arc::new(all.collect()))
            }
            MemoKey::Gateway(table) => MemoValue::Gateway(Arc::new(translate::gateway_entry(
                r,
                context.gateways.get(table).expect(HELD),
            ))),
            MemoKey::Cluster(key) => body(ResourceType::Cluster, translate::cluster(r, key)),
            MemoKey::Assignment(key) => body(ResourceType::Endpoints, translate::load_assignment(r, key)),
            MemoKey::GatewayListener(key) => {
                body(ResourceType::Listener, translate::gateway_listener(r, key))
            }
            MemoKey::VirtualHost(key) => piece(translate::virtual_host(r, key)),
            MemoKey::GatewayVirtualHost(key) => piece(translate::gateway_virtual_host(r, key)),
        }
    }
}

fn body(kind: ResourceType, compiled: Option<Compiled>) -> MemoValue {
    MemoValue::Body(compiled.map(|compiled| Arc::new(Body::new(kind, compiled))))
}

/// A virtual host that breaks a rule would take its whole route configuration with it: it is left out.
fn piece(compiled: Option<Compiled>) -> MemoValue {
    let Some(mut compiled) = compiled else { return MemoValue::Piece(None, Arc::from([])) };
    let broken = check(ResourceType::VirtualHost, &mut compiled);
    let piece = (!broken).then(|| Arc::new(Piece::new(&compiled)));
    MemoValue::Piece(piece, compiled.findings.into())
}

impl Body {
    pub(crate) fn new(kind: ResourceType, mut compiled: Compiled) -> Self {
        let broken = check(kind, &mut compiled);
        Self { version: Version::of(&compiled.bytes), broken, compiled }
    }
}

/// The API's own field rules: whatever breaks one is a finding on the objects it was made from.
/// <https://github.com/bufbuild/protoc-gen-validate#constraint-rules>
fn check(kind: ResourceType, compiled: &mut Compiled) -> bool {
    let any = Any { type_url: kind.info().url.to_owned(), value: compiled.bytes.clone() };
    let violations = pgv::check(&any);
    for violation in &violations {
        compiled.findings.push(Diagnostic {
            code: BREAKS_RULE,
            severity: Severity::Error,
            object: None,
            origin: compiled.origins.first().cloned(),
            path: String::new(),
            message: format!("the {kind} resource made from this would be rejected by Envoy: {violation:?}"),
            hint: None,
        });
    }
    !violations.is_empty()
}

impl MemoValue {
    /// What was found wrong while computing it.
    pub(crate) fn findings(&self) -> &[Diagnostic] {
        match self {
            Self::Shell(Some(shell)) => &shell.findings,
            Self::Gateway(entry) => &entry.findings,
            Self::Body(Some(body)) => &body.compiled.findings,
            Self::Piece(_, findings) => findings,
            Self::Views(_)
            | Self::Host(_)
            | Self::Fixed(_)
            | Self::Inbound(_)
            | Self::Shell(None)
            | Self::Body(None) => &[],
        }
    }
}
