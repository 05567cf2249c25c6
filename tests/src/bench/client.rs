//! Many xDS clients in one process: each a TCP connection with one ADS stream, subscribing as Envoy does (CDS and
//! LDS as wildcards, then EDS and RDS by name), acknowledging all it gets and keeping nothing but counts.

use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::Context;
use bytes::{Bytes, BytesMut};
use h2::{RecvStream, SendStream, client};
use http::Request;
use lateen_proto::{
    envoy::{
        config::core::v3::Node,
        service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest},
    },
    google::protobuf::{Struct, Value, value::Kind},
};
use lateen_xds::ResourceType;
use tokio::{net::TcpStream, sync::watch};

use crate::wire;

/// What the clients do.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The server.
    pub target: SocketAddr,
    /// How many clients.
    pub clients: usize,
    /// Over how many namespaces they are spread.
    pub namespaces: usize,
    /// Delta, or state of the world.
    pub delta: bool,
    /// Route configurations to subscribe to.
    pub routes: Vec<String>,
    /// Virtual hosts come one by one (VHDS): subscribe to them.
    pub vhds: bool,
}

/// Counts of all clients together.
#[derive(Debug, Default)]
pub struct Counts {
    /// Bytes of response messages.
    pub bytes: AtomicU64,
    /// Clients that hold everything they subscribed to.
    pub synced: AtomicUsize,
    /// Acknowledged responses by type.
    acked: [AtomicU64; ResourceType::COUNT],
    /// When the last response of the type was acknowledged, in microseconds since the epoch.
    last_us: [AtomicU64; ResourceType::COUNT],
    changed: watch::Sender<()>,
}

impl Counts {
    /// Acknowledged responses of a type.
    pub fn acked(&self, kind: ResourceType) -> u64 {
        self.acked[kind.index()].load(Ordering::Acquire)
    }

    /// When the last one was acknowledged, in microseconds since the epoch.
    pub fn last_us(&self, kind: ResourceType) -> u64 {
        self.last_us[kind.index()].load(Ordering::Acquire)
    }

    /// Waits until `done`.
    pub async fn until(&self, done: impl Fn(&Self) -> bool) {
        let mut changed = self.changed.subscribe();
        while !done(self) {
            // The sender lives as long as self.
            let _ = changed.changed().await;
        }
    }

    fn count(&self, kind: ResourceType) {
        self.last_us[kind.index()].fetch_max(now_us(), Ordering::AcqRel);
        self.acked[kind.index()].fetch_add(1, Ordering::AcqRel);
        self.changed.send_replace(());
    }
}

impl Shared {
    /// Records what client 0 receives.
    pub fn recording() -> Self {
        Self { record: Some(Mutex::default()), ..Self::default() }
    }
}

/// Microseconds since the epoch.
pub fn now_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

type Versions = BTreeMap<String, String>;

/// What is shared by all clients: counts, and what a client of a namespace holds, kept once for each namespace.
#[derive(Debug, Default)]
pub struct Shared {
    /// Counts.
    pub counts: Counts,
    held: Mutex<HashMap<(usize, ResourceType), Versions>>,
    /// The names that the clients of a namespace subscribe to for their endpoints: equal lists are kept once.
    assignments: Mutex<HashMap<usize, Arc<[String]>>>,
    /// Responses as received by client 0, when asked to record.
    pub record: Option<Mutex<Vec<(ResourceType, Bytes)>>>,
}

/// Runs one client until `stop` changes; `again` makes it a reconnecting one that names what it holds.
pub async fn run(
    plan: &Plan,
    index: usize,
    shared: &Shared,
    again: bool,
    mut stop: watch::Receiver<u32>,
) -> anyhow::Result<()> {
    stop.mark_unchanged();
    let socket = TcpStream::connect(plan.target).await.context("connect")?;
    socket.set_nodelay(true)?;
    let mut builder = client::Builder::new();
    builder.initial_window_size(64 << 20).initial_connection_window_size(64 << 20);
    let (mut requests, connection) = builder.handshake::<_, Bytes>(socket).await.context("handshake")?;
    let driver = tokio::spawn(connection);
    let method = if plan.delta { "DeltaAggregatedResources" } else { "StreamAggregatedResources" };
    let path =
        format!("http://{}/envoy.service.discovery.v3.AggregatedDiscoveryService/{method}", plan.target);
    let request =
        Request::post(path).header("content-type", "application/grpc").header("te", "trailers").body(())?;
    let (response, sender) = requests.send_request(request, false)?;
    let mut stream = Stream {
        plan,
        index,
        shared,
        sender,
        node_sent: false,
        assignments: Arc::default(),
        have: 0,
        routes: 0,
    };
    stream.subscribe(ResourceType::Cluster, &[], again)?;
    if again {
        // As Envoy does on reconnect: everything it held, at once.
        stream.subscribe_held(ResourceType::Endpoints)?;
        stream.subscribe(ResourceType::Listener, &[], true)?;
        stream.subscribe_held(ResourceType::RouteConfiguration)?;
        if plan.vhds {
            stream.subscribe(ResourceType::VirtualHost, &[], true)?;
        }
    }
    let body = response.await.context("response")?.into_body();
    tokio::select! {
        result = stream.receive(body) => result?,
        _ = stop.changed() => {}
    }
    driver.abort();
    Ok(())
}

struct Stream<'a> {
    plan: &'a Plan,
    index: usize,
    shared: &'a Shared,
    sender: SendStream<Bytes>,
    node_sent: bool,
    /// Names of the endpoints subscribed to.
    assignments: Arc<[String]>,
    have: usize,
    routes: usize,
}

impl Stream<'_> {
    fn namespace(&self) -> usize {
        self.index % self.plan.namespaces
    }

    /// The first client of a namespace notes what all of it hold.
    fn keeps_versions(&self) -> bool {
        self.index < self.plan.namespaces
    }

    async fn receive(&mut self, mut body: RecvStream) -> anyhow::Result<()> {
        let mut received = BytesMut::new();
        while let Some(data) = body.data().await {
            let data = data?;
            body.flow_control().release_capacity(data.len())?;
            received.extend_from_slice(&data);
            while let Some(message) = wire::next_message(&mut received) {
                self.answer(&message)?;
            }
        }
        anyhow::bail!("the server ended stream {}: {:?}", self.index, body.trailers().await)
    }

    fn answer(&mut self, message: &Bytes) -> anyhow::Result<()> {
        let head = wire::head(message, self.plan.delta);
        self.shared.counts.bytes.fetch_add(message.len() as u64, Ordering::Relaxed);
        let kind = ResourceType::from_url(&head.type_url).context("unknown type")?;
        if self.index == 0
            && let Some(record) = &self.shared.record
        {
            record.lock().expect("record").push((kind, message.clone()));
        }
        if self.keeps_versions() {
            self.note(kind, message);
        }
        self.acknowledge(kind, &head, message)?;
        self.shared.counts.count(kind);
        self.follow(kind, &head, message)
    }

    /// What Envoy asks next.
    fn follow(
        &mut self,
        kind: ResourceType,
        head: &wire::ResponseHead,
        message: &Bytes,
    ) -> anyhow::Result<()> {
        match kind {
            ResourceType::Cluster if self.assignments.is_empty() && head.resources > 0 => {
                let names = wire::names(message, self.plan.delta);
                self.assignments = self.kept_once(names.into_iter().filter(|n| n.starts_with("outbound|")));
                self.subscribe(ResourceType::Endpoints, &self.assignments.clone(), false)?;
                self.subscribe(ResourceType::Listener, &[], false)?;
            }
            ResourceType::Listener if self.routes == 0 && head.resources > 0 => {
                self.routes = usize::MAX;
                self.subscribe(ResourceType::RouteConfiguration, &self.plan.routes.clone(), false)?;
            }
            ResourceType::Endpoints => self.have += head.resources,
            ResourceType::RouteConfiguration if self.routes == usize::MAX => {
                self.routes = 1;
                if self.plan.vhds {
                    self.subscribe(ResourceType::VirtualHost, &[], false)?;
                }
            }
            _ => {}
        }
        if self.have >= self.assignments.len() && !self.assignments.is_empty() && self.routes == 1 {
            self.routes = 2;
            self.shared.counts.synced.fetch_add(1, Ordering::AcqRel);
            self.shared.counts.changed.send_replace(());
        }
        Ok(())
    }

    fn kept_once(&self, names: impl Iterator<Item = String>) -> Arc<[String]> {
        let names: Arc<[String]> = names.collect();
        let mut kept = self.shared.assignments.lock().expect("assignments");
        let kept = kept.entry(self.namespace()).or_insert_with(|| names.clone());
        if *kept == names { kept.clone() } else { names }
    }

    fn note(&self, kind: ResourceType, message: &Bytes) {
        let mut held = self.shared.held.lock().expect("held");
        let versions = held.entry((self.namespace(), kind)).or_default();
        for (number, resource) in wire::fields(message) {
            let field = |wanted: u64| {
                let found = wire::fields(resource).find(|(number, _)| *number == wanted);
                found.map(|(_, text)| String::from_utf8_lossy(text).into_owned())
            };
            match (number, self.plan.delta) {
                (2, true) => {
                    if let (Some(name), Some(version)) = (field(3), field(1)) {
                        versions.insert(name, version);
                    }
                }
                (1, false) => {
                    versions
                        .insert("version_info".to_owned(), String::from_utf8_lossy(resource).into_owned());
                }
                _ => {}
            }
        }
        if !self.plan.delta {
            for name in wire::names(message, false) {
                versions.insert(name, String::new());
            }
        }
    }

    fn node(&mut self) -> Option<Node> {
        (!std::mem::replace(&mut self.node_sent, true)).then(|| {
            let (index, namespace) = (self.index, self.namespace());
            let ip = format!("10.200.{}.{}", index / 250, index % 250 + 1);
            let text = Value { kind: Some(Kind::StringValue(format!("ns-{namespace}"))) };
            Node {
                id: format!("sidecar~{ip}~client-{index}.ns-{namespace}~ns-{namespace}.svc.cluster.local"),
                metadata: Some(Struct { fields: BTreeMap::from([("NAMESPACE".to_owned(), text)]) }),
                user_agent_name: "envoy".to_owned(),
                ..Node::default()
            }
        })
    }

    fn subscribe_held(&mut self, kind: ResourceType) -> anyhow::Result<()> {
        let held = self.shared.held.lock().expect("held").get(&(self.namespace(), kind)).cloned();
        let names: Vec<String> =
            held.unwrap_or_default().into_keys().filter(|n| n != "version_info").collect();
        if kind == ResourceType::Endpoints {
            self.assignments = self.kept_once(names.iter().cloned());
        }
        self.subscribe(kind, &names, true)
    }

    fn subscribe(&mut self, kind: ResourceType, names: &[String], again: bool) -> anyhow::Result<()> {
        let held = || {
            let held = self.shared.held.lock().expect("held").get(&(self.namespace(), kind)).cloned();
            held.unwrap_or_default()
        };
        let (versions, version_info) = match (again, self.plan.delta) {
            (true, true) => (held(), String::new()),
            (true, false) => (Versions::new(), held().remove("version_info").unwrap_or_default()),
            (false, _) => Default::default(),
        };
        let type_url = kind.info().url.to_owned();
        let node = self.node();
        let framed = if self.plan.delta {
            wire::frame(&DeltaDiscoveryRequest {
                node,
                type_url,
                resource_names_subscribe: names.to_vec(),
                initial_resource_versions: versions,
                ..DeltaDiscoveryRequest::default()
            })
        } else {
            let resource_names = names.to_vec();
            wire::frame(&DiscoveryRequest {
                node,
                type_url,
                resource_names,
                version_info,
                ..Default::default()
            })
        };
        Ok(self.sender.send_data(framed, false)?)
    }

    fn acknowledge(
        &mut self,
        kind: ResourceType,
        head: &wire::ResponseHead,
        _message: &Bytes,
    ) -> anyhow::Result<()> {
        let (type_url, response_nonce) = (head.type_url.clone(), head.nonce.clone());
        let framed = if self.plan.delta {
            wire::frame(&DeltaDiscoveryRequest { type_url, response_nonce, ..Default::default() })
        } else {
            // In state of the world each request names all that the client wants.
            let names = match kind {
                ResourceType::Endpoints => self.assignments.to_vec(),
                ResourceType::RouteConfiguration => self.plan.routes.clone(),
                _ => Vec::new(),
            };
            wire::frame(&DiscoveryRequest {
                type_url,
                response_nonce,
                version_info: head.version.clone(),
                resource_names: names,
                ..DiscoveryRequest::default()
            })
        };
        Ok(self.sender.send_data(framed, false)?)
    }
}
