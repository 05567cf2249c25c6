//! The memos of the compiler: what each key computes.

use std::sync::Arc;

use lateen_model::{Diagnostic, Host, NodeInfo, Severity, Version, diagnostic::Code};
use lateen_proto::{google::protobuf::Any, pgv};
use lateen_registry::{Fact, FactKey, World};
use lateen_xds::{NameId, Names, ResourceType};

use crate::{
    NodeHandle, TableId,
    engine::{Program, Reader},
    routes::Piece,
    table::TableKey,
    translate::{
        self, ClusterKey, Compiled, EndpointsKey, Fixed, GatewayEntry, GatewayListenerKey, GatewayPlan,
        GatewayView, GatewayVirtualHostKey, HostEntry, InboundEntry, InboundKey, InboundView, ListenerPart,
        NodeViews, OutboundView, PolicyView, Read, RouteServers, Scope, Shell, Socket, VirtualHostKey,
    },
};

/// A resource breaks a rule of the API: Envoy would reject it, so it is not sent.
const BREAKS_RULE: Code = Code("LAT4002");

/// Key of a memo. Those with a table are of one view; the others are shared by all views. There are as many as
/// views times hosts, each twice in the graph: what is large is behind a pointer.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(crate) enum MemoKey {
    /// Input: a node.
    Node(NodeHandle),
    /// Input: what a table is of.
    Table(TableId),
    /// The views of a node.
    Views(NodeHandle),
    /// What an outbound view sees of the mesh.
    Scope(TableId),
    /// What a host contributes to a view.
    Host(TableId, Host),
    /// What an outbound view has whatever its hosts are.
    Fixed(TableId),
    /// Collection: what hosts contribute to a listener of an outbound view.
    Parts(TableId, Arc<str>),
    /// A listener of an outbound view, from the parts that hosts contribute.
    Listener(TableId, Arc<str>),
    /// A route configuration without its virtual hosts.
    Shell(TableId, Arc<str>),
    /// What comes to a workload.
    Inbound(TableId),
    /// A resource of what comes to workloads.
    InboundResource(Arc<InboundKey>),
    /// The content of slots for policies.
    Policies(TableId),
    /// The sockets and route configurations of a gateway.
    GatewayPlan(TableId),
    /// The servers of one of its route configurations.
    GatewayServers(TableId, Arc<str>),
    /// What a gateway has of one socket.
    GatewaySocket(TableId, Arc<Socket>),
    /// What a gateway has of one host in one route configuration.
    GatewayHost(TableId, Arc<(Arc<str>, Host)>),
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
    Node(Arc<NodeInfo>),
    Table(TableKey),
    Parts(Arc<[ListenerPart]>),
    Views(Arc<NodeViews>),
    Scope(Arc<Scope>),
    Host(Arc<HostEntry>),
    Fixed(Arc<Fixed>),
    Shell(Option<Arc<Shell>>),
    Inbound(Arc<InboundEntry>),
    Policies(Arc<Vec<NamedBody>>),
    GatewayPlan(Arc<GatewayPlan>),
    GatewayServers(Arc<RouteServers>),
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

/// The program.
#[derive(Debug)]
pub(crate) struct Xds;

impl Program for Xds {
    type World = World;
    type Fact = FactKey;
    type Cell = Fact;
    type Tools = Names;
    type Key = MemoKey;
    type Value = MemoValue;
    type Element = ListenerPart;

    fn level(key: &MemoKey) -> u8 {
        match key {
            MemoKey::Node(_) | MemoKey::Table(_) => 0,
            MemoKey::Scope(_) | MemoKey::GatewayPlan(_) => 1,
            MemoKey::GatewayServers(..) => 2,
            MemoKey::Views(_)
            | MemoKey::Host(..)
            | MemoKey::Fixed(_)
            | MemoKey::Shell(..)
            | MemoKey::Inbound(_)
            | MemoKey::Policies(_)
            | MemoKey::GatewaySocket(..)
            | MemoKey::GatewayHost(..) => 3,
            MemoKey::Parts(..) => 4,
            MemoKey::Listener(..)
            | MemoKey::Cluster(_)
            | MemoKey::Assignment(_)
            | MemoKey::VirtualHost(_)
            | MemoKey::InboundResource(_)
            | MemoKey::GatewayVirtualHost(_)
            | MemoKey::GatewayListener(_) => 5,
        }
    }

    fn look_up(world: &World, fact: &FactKey) -> Option<Fact> {
        world.get(fact).cloned()
    }

    fn compute(key: &MemoKey, r: &mut Reader<'_, Self>) -> MemoValue {
        match key {
            MemoKey::Parts(..) => MemoValue::Parts(Arc::default()),
            MemoKey::Node(_) | MemoKey::Table(_) => {
                unreachable!("invariant: {key:?} is an input, and set before it is read")
            }
            MemoKey::Views(node) => {
                let node = node_of(r, *node);
                MemoValue::Views(Arc::new(translate::node_views(r, &node)))
            }
            MemoKey::Scope(table) => {
                let view = outbound(r, *table);
                MemoValue::Scope(Arc::new(translate::outbound_scope(r, &view)))
            }
            MemoKey::Host(table, host) => {
                let (view, scope) = (outbound(r, *table), scope(r, *table));
                MemoValue::Host(Arc::new(translate::host_entry(r, &view, &scope, host)))
            }
            MemoKey::Fixed(table) => {
                let (view, scope) = (outbound(r, *table), scope(r, *table));
                MemoValue::Fixed(Arc::new(translate::fixed_outbound(r, &view, &scope)))
            }
            MemoKey::Listener(table, name) => {
                let (view, scope) = (outbound(r, *table), scope(r, *table));
                let parts = parts(r, *table, name);
                body(ResourceType::Listener, translate::outbound_listener(r, &view, &scope, name, &parts))
            }
            MemoKey::Shell(table, name) => {
                let shell = match table_key(r, *table) {
                    TableKey::Gateway(view) => translate::gateway_route_shell(r, &view, name),
                    TableKey::Outbound(view) => {
                        let scope = scope(r, *table);
                        translate::route_shell(r, &view, &scope, name)
                    }
                    TableKey::Inbound(_) | TableKey::Policies(_) | TableKey::Endpoints(..) => None,
                };
                MemoValue::Shell(shell.map(Arc::new))
            }
            MemoKey::Inbound(table) => {
                let view = inbound(r, *table);
                MemoValue::Inbound(Arc::new(translate::inbound(r, &view)))
            }
            MemoKey::InboundResource(key) => body(key.resource.kind(), translate::inbound_resource(r, key)),
            MemoKey::Policies(table) => {
                let view = policies(r, *table);
                let all = translate::policy_resources(r, &view).into_iter();
                let all = all.map(|(kind, name, compiled)| (kind, name, Arc::new(Body::new(kind, compiled))));
                MemoValue::Policies(Arc::new(all.collect()))
            }
            MemoKey::GatewayPlan(table) => {
                let view = gateway(r, *table);
                MemoValue::GatewayPlan(Arc::new(translate::gateway_plan(r, &view)))
            }
            MemoKey::GatewayServers(table, name) => {
                let servers = gateway_plan(r, *table).route_configs.get(name).cloned();
                MemoValue::GatewayServers(servers.unwrap_or_default())
            }
            MemoKey::GatewaySocket(table, socket) => {
                let (view, plan) = (gateway(r, *table), gateway_plan(r, *table));
                let servers = plan.sockets.get(socket).cloned().unwrap_or_default();
                MemoValue::Gateway(Arc::new(translate::gateway_socket(r, &view, socket, &servers)))
            }
            MemoKey::GatewayHost(table, place) => {
                let (route_config, host) = &**place;
                let (view, servers) = (gateway(r, *table), gateway_servers(r, *table, route_config));
                MemoValue::Gateway(Arc::new(translate::gateway_host(r, &view, route_config, &servers, host)))
            }
            MemoKey::Cluster(key) => body(ResourceType::Cluster, translate::cluster(r, key)),
            MemoKey::Assignment(key) => body(ResourceType::Endpoints, translate::load_assignment(r, key)),
            MemoKey::GatewayListener(key) => {
                body(ResourceType::Listener, translate::gateway_listener(r, key))
            }
            MemoKey::VirtualHost(key) => piece(translate::virtual_host(r, key)),
            MemoKey::GatewayVirtualHost(key) => piece(translate::gateway_virtual_host(r, key)),
        }
    }

    fn contributions(key: &MemoKey, value: &MemoValue, contribute: &mut dyn FnMut(MemoKey, &ListenerPart)) {
        if let (MemoKey::Host(table, _), MemoValue::Host(entry)) = (key, value) {
            for (name, part) in &entry.listeners {
                contribute(MemoKey::Parts(*table, name.clone()), part);
            }
        }
    }

    fn collection(_: &MemoKey, elements: &mut dyn Iterator<Item = &ListenerPart>) -> MemoValue {
        MemoValue::Parts(elements.cloned().collect())
    }
}

impl Read for Reader<'_, Xds> {
    fn fact(&mut self, key: &FactKey) -> Option<Fact> {
        Reader::fact(self, key)
    }

    fn name(&mut self, text: &str) -> NameId {
        self.tools().intern(text)
    }
}

/// What a memo of a view says that reads something else than what it is of.
const OTHER: &str = "invariant: a key has values of its kind, and memos of a view are of its table";

fn node_of(r: &mut Reader<'_, Xds>, node: NodeHandle) -> Arc<NodeInfo> {
    if let MemoValue::Node(info) = r.memo(&MemoKey::Node(node)) { info } else { unreachable!("{OTHER}") }
}

fn table_key(r: &mut Reader<'_, Xds>, table: TableId) -> TableKey {
    if let MemoValue::Table(key) = r.memo(&MemoKey::Table(table)) { key } else { unreachable!("{OTHER}") }
}

fn outbound(r: &mut Reader<'_, Xds>, table: TableId) -> Arc<OutboundView> {
    if let TableKey::Outbound(view) = table_key(r, table) { view } else { unreachable!("{OTHER}") }
}

fn inbound(r: &mut Reader<'_, Xds>, table: TableId) -> Arc<InboundView> {
    if let TableKey::Inbound(view) = table_key(r, table) { view } else { unreachable!("{OTHER}") }
}

fn policies(r: &mut Reader<'_, Xds>, table: TableId) -> Arc<PolicyView> {
    if let TableKey::Policies(view) = table_key(r, table) { view } else { unreachable!("{OTHER}") }
}

fn gateway(r: &mut Reader<'_, Xds>, table: TableId) -> Arc<GatewayView> {
    if let TableKey::Gateway(view) = table_key(r, table) { view } else { unreachable!("{OTHER}") }
}

fn scope(r: &mut Reader<'_, Xds>, table: TableId) -> Arc<Scope> {
    if let MemoValue::Scope(scope) = r.memo(&MemoKey::Scope(table)) { scope } else { unreachable!("{OTHER}") }
}

fn gateway_plan(r: &mut Reader<'_, Xds>, table: TableId) -> Arc<GatewayPlan> {
    match r.memo(&MemoKey::GatewayPlan(table)) {
        MemoValue::GatewayPlan(plan) => plan,
        _ => unreachable!("{OTHER}"),
    }
}

fn gateway_servers(r: &mut Reader<'_, Xds>, table: TableId, name: &Arc<str>) -> Arc<RouteServers> {
    match r.memo(&MemoKey::GatewayServers(table, name.clone())) {
        MemoValue::GatewayServers(servers) => servers,
        _ => unreachable!("{OTHER}"),
    }
}

fn parts(r: &mut Reader<'_, Xds>, table: TableId, name: &Arc<str>) -> Arc<[ListenerPart]> {
    match r.memo(&MemoKey::Parts(table, name.clone())) {
        MemoValue::Parts(parts) => parts,
        _ => unreachable!("{OTHER}"),
    }
}

fn body(kind: ResourceType, compiled: Option<Compiled>) -> MemoValue {
    MemoValue::Body(compiled.map(|compiled| Arc::new(Body::new(kind, compiled))))
}

/// A virtual host that breaks a rule would take its whole route configuration with it: it is closed.
fn piece(compiled: Option<Compiled>) -> MemoValue {
    let Some(mut compiled) = compiled else { return MemoValue::Piece(None, Arc::from([])) };
    let broken = check(ResourceType::VirtualHost, &mut compiled);
    let piece = Piece::new(&compiled);
    let piece = if broken { piece.closed() } else { Some(piece) }.map(Arc::new);
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
    pub(crate) fn findings(&self) -> Vec<Diagnostic> {
        match self {
            Self::Shell(Some(shell)) => shell.findings.clone(),
            Self::GatewayPlan(plan) => plan.findings.clone(),
            Self::Body(Some(body)) => body.compiled.findings.clone(),
            Self::Piece(_, findings) => findings.to_vec(),
            Self::Fixed(fixed) => {
                fixed.resources.iter().flat_map(|(_, _, made)| &made.findings).cloned().collect()
            }
            Self::Inbound(entry) => entry.findings.clone(),
            Self::Policies(all) => {
                all.iter().flat_map(|(_, _, body)| &body.compiled.findings).cloned().collect()
            }
            Self::Node(_)
            | Self::Table(_)
            | Self::Parts(_)
            | Self::Views(_)
            | Self::Scope(_)
            | Self::Host(_)
            | Self::GatewayServers(_)
            | Self::Gateway(_)
            | Self::Shell(None)
            | Self::Body(None) => Vec::new(),
        }
    }
}
