//! A server in this process, with sources that say what a test wants.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use lateen_adapter::{Adapter, AdapterError, EventSink, StatusFeed};
use lateen_model::{
    SourceEvent, SourceId,
    event::{Document, Object, ObjectId, ObjectKind, Scope},
};
use lateen_xds_server::{
    core::CoreConfig,
    listen::ListenAddress,
    serve::{Bound, ServeConfig, ServeError},
    service::StreamLimits,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::{mpsc, watch},
    task::JoinHandle,
    time::timeout,
};

use crate::client::{Client, PATIENCE};

/// What a source in memory does next: says events, or loses contact.
type Said = Result<Vec<SourceEvent>, String>;
/// Where a source puts its feed of statuses.
type Feed = Arc<Mutex<Option<StatusFeed>>>;

/// A source in memory.
struct Memory {
    id: SourceId,
    events: mpsc::UnboundedReceiver<Said>,
    statuses: Feed,
}

#[async_trait]
impl Adapter for Memory {
    fn source(&self) -> SourceId {
        self.id.clone()
    }

    fn statuses(&mut self, feed: StatusFeed) {
        *self.statuses.lock().unwrap() = Some(feed);
    }

    async fn run(&mut self, events: &mut EventSink) -> Result<Infallible, AdapterError> {
        while let Some(said) = self.events.recv().await {
            match said {
                Ok(said) => events.send(said).await?,
                Err(why) => events.stale(why).await?,
            }
        }
        std::future::pending().await
    }
}

/// What a test says in the place of a platform.
pub struct Source {
    say: mpsc::UnboundedSender<Said>,
    statuses: Feed,
}

impl Source {
    /// A full listing.
    pub fn list(&self, documents: &[(&str, String)]) {
        let scope = Scope { kind: ObjectKind::Document, prefix: "".into() };
        let mut events = vec![SourceEvent::Resync(scope.clone())];
        events.extend(documents.iter().map(|(name, text)| upsert(name, text.as_bytes())));
        events.push(SourceEvent::Synced(scope));
        self.say(events);
    }

    /// Events as they are.
    pub fn say(&self, events: Vec<SourceEvent>) {
        self.say.send(Ok(events)).unwrap();
    }

    /// The platform can't be reached.
    pub fn fail(&self, why: &str) {
        self.say.send(Err(why.to_owned())).unwrap();
    }

    /// The way back; it can be had once.
    pub async fn statuses(&self) -> StatusFeed {
        let wait = async {
            loop {
                let feed = self.statuses.lock().unwrap().take();
                match feed {
                    Some(feed) => break feed,
                    None => tokio::task::yield_now().await,
                }
            }
        };
        timeout(PATIENCE, wait).await.expect("the source gets no feed")
    }

    /// A document that is new or has changed.
    pub fn put(&self, name: &str, text: &str) {
        self.put_bytes(name, text.as_bytes());
    }

    /// The same with any bytes.
    pub fn put_bytes(&self, name: &str, bytes: &[u8]) {
        self.say(vec![upsert(name, bytes)]);
    }
}

fn upsert(name: &str, bytes: &[u8]) -> SourceEvent {
    let id = ObjectId { kind: ObjectKind::Document, name: name.into() };
    SourceEvent::Upsert { id, object: Object::Document(Document { body: bytes.into() }) }
}

/// A `ServiceEntry` of namespace `shop`: cluster `outbound|80||HOST`, with one endpoint.
pub fn service(host: &str, endpoint: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: {name}, namespace: shop}}\nspec:\n  \
         hosts: [{host}]\n  location: MESH_INTERNAL\n  resolution: STATIC\n  ports: [{{number: 80, name: http, \
         protocol: HTTP}}]\n  endpoints: [{{address: {endpoint}}}]\n",
        name = host.replace('.', "-"),
    )
}

/// A running server.
pub struct Rig {
    pub xds: Vec<ListenAddress>,
    pub admin: ListenAddress,
    pub sources: Vec<Source>,
    stop: watch::Sender<bool>,
    served: JoinHandle<Result<(), ServeError>>,
}

/// Settings of tests; change what matters.
pub fn settings() -> ServeConfig {
    let loopback = || ListenAddress::Tcp(([127, 0, 0, 1], 0).into());
    ServeConfig {
        xds: vec![loopback()],
        tls: None,
        admin: Some(loopback()),
        core: CoreConfig { identifier: "test".into(), ..CoreConfig::default() },
        limits: StreamLimits::default(),
        drain: Duration::from_secs(10),
    }
}

impl Rig {
    /// A server that waits for the first listing of so many sources.
    pub async fn waiting(settings: ServeConfig, sources: usize) -> Self {
        let bound = Bound::bind(settings).await.unwrap();
        let (xds, admin) = (bound.xds_addresses().unwrap(), bound.admin_address().unwrap().unwrap());
        let (mut adapters, mut said): (Vec<Box<dyn Adapter>>, _) = (Vec::new(), Vec::new());
        for number in 0..sources {
            let (sender, events) = mpsc::unbounded_channel();
            let (id, statuses) = (SourceId(format!("memory:{number}").into()), Feed::default());
            adapters.push(Box::new(Memory { id, events, statuses: statuses.clone() }));
            said.push(Source { say: sender, statuses });
        }
        let (stop, stopped) = watch::channel(false);
        let served = tokio::spawn(bound.run(adapters, stopped));
        Self { xds, admin, sources: said, stop, served }
    }

    /// A server with one source, which has listed `cart.example`.
    pub async fn with(settings: ServeConfig) -> Self {
        let rig = Self::waiting(settings, 1).await;
        rig.sources[0].list(&[("cart.yaml", service("cart.example", "10.0.0.1"))]);
        rig
    }

    /// A server with one source, which has listed `cart.example`.
    pub async fn new() -> Self {
        Self::with(settings()).await
    }

    /// A connection to the first address.
    pub async fn connect(&self) -> Client {
        Client::connect(&self.xds[0]).await
    }

    /// Asks the admin port; status and body.
    pub async fn admin(&self, path: &str, host: &str) -> (u16, String) {
        let mut stream = self.admin_connection().await;
        let request = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        Self::answer(stream).await
    }

    /// A connection to the admin port that has sent a proposal of one document.
    pub async fn propose(&self, text: &str) -> TcpStream {
        let body = serde_json::json!({ "documents": [{ "location": "new.yaml", "body": text }] }).to_string();
        let mut stream = self.admin_connection().await;
        let request = format!(
            "POST /debug/diff HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        stream
    }

    async fn admin_connection(&self) -> TcpStream {
        let ListenAddress::Tcp(address) = self.admin else { panic!("not TCP") };
        TcpStream::connect(address).await.unwrap()
    }

    /// What comes on a connection to the admin port; status and body.
    pub async fn answer(mut stream: TcpStream) -> (u16, String) {
        let mut answer = String::new();
        timeout(PATIENCE, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    /// The value of a metric that counts; of a family without a value yet there is none.
    pub async fn metric(&self, name: &str) -> Option<u64> {
        let (_, text) = self.admin("/metrics", "localhost").await;
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
        value.strip_suffix(".0").unwrap_or(value).parse().ok()
    }

    /// Waits until a metric has a value.
    pub async fn metric_is(&self, name: &str, wanted: u64) {
        let poll = async {
            while self.metric(name).await != Some(wanted) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let came = timeout(PATIENCE, poll).await.is_ok();
        assert!(came, "{name} is {:?}, not {wanted}", self.metric(name).await);
    }

    /// Tells the server to stop.
    pub fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// Waits until it has ended.
    pub async fn ended(self) -> Result<(), ServeError> {
        timeout(PATIENCE, self.served).await.expect("the server does not end").unwrap()
    }
}
