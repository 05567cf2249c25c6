//! A client that does only what it is told, down to single HTTP/2 frames.

use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use h2::{RecvStream, SendStream, client};
use http::{HeaderMap, Request};
use lateen_proto::{
    envoy::{
        config::core::v3::Node,
        service::discovery::v3::{
            DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
        },
    },
    google::rpc,
};
use lateen_xds_server::listen::ListenAddress;
use prost::Message;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
    sync::mpsc,
    time::timeout,
};
use tonic::Code;

/// A wait that is longer has failed.
pub const PATIENCE: Duration = Duration::from_mins(2);
/// Silence of that length counts as silence.
pub const QUIET: Duration = Duration::from_millis(300);

pub const ADS_SOTW: &str = "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources";
pub const ADS_DELTA: &str = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";

pub const CDS: &str = "type.googleapis.com/envoy.config.cluster.v3.Cluster";
pub const EDS: &str = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment";
pub const LDS: &str = "type.googleapis.com/envoy.config.listener.v3.Listener";
pub const RDS: &str = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration";

/// How a call ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct End {
    pub code: Code,
    pub message: String,
}

/// A connection.
#[derive(Clone)]
pub struct Client {
    send: client::SendRequest<Bytes>,
    windows: mpsc::UnboundedSender<u32>,
}

impl Client {
    pub async fn connect(address: &ListenAddress) -> Self {
        Self::connect_with(address, &client::Builder::new()).await
    }

    /// With settings of one's own, such as a small window.
    pub async fn connect_with(address: &ListenAddress, settings: &client::Builder) -> Self {
        match address {
            ListenAddress::Tcp(tcp) => Self::over(TcpStream::connect(tcp).await.unwrap(), settings).await,
            ListenAddress::Unix(path) => Self::over(UnixStream::connect(path).await.unwrap(), settings).await,
        }
    }

    async fn over<T>(io: T, settings: &client::Builder) -> Self
    where
        T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let (send, mut connection) = settings.handshake(io).await.unwrap();
        let (windows, mut sizes) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    // How a connection ended is seen on its streams.
                    _ = &mut connection => return,
                    Some(size) = sizes.recv() => connection.set_initial_window_size(size).unwrap(),
                }
            }
        });
        Self { send, windows }
    }

    /// Lets all streams receive what was held back by a window that was shut.
    pub fn open_window(&self) {
        self.windows.send(1 << 20).unwrap();
    }

    /// Begins a call.
    pub async fn open(&self, path: &str) -> Call {
        let mut send = self.send.clone().ready().await.unwrap();
        let request = Request::post(format!("http://lateen{path}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(())
            .unwrap();
        let (response, send) = send.send_request(request, false).unwrap();
        Call { send, response: Some(response), body: None, received: BytesMut::new() }
    }

    /// A call with one request and one answer.
    pub async fn call<M: Message + Default>(&self, path: &str, request: &impl Message) -> Result<M, End> {
        let mut call = self.open(path).await;
        call.send(request);
        call.half_close();
        call.next().await
    }
}

/// A call.
pub struct Call {
    send: SendStream<Bytes>,
    response: Option<client::ResponseFuture>,
    body: Option<RecvStream>,
    received: BytesMut,
}

impl Call {
    pub fn send(&mut self, message: &impl Message) {
        let mut framed = BytesMut::new();
        framed.put_u8(0);
        framed.put_u32(u32::try_from(message.encoded_len()).unwrap());
        message.encode(&mut framed).unwrap();
        self.send_bytes(framed.freeze());
    }

    /// Bytes as they are. What the window does not admit is sent when it opens.
    pub fn send_bytes(&mut self, bytes: Bytes) {
        self.send.send_data(bytes, false).unwrap();
    }

    pub fn half_close(&mut self) {
        self.send.send_data(Bytes::new(), true).unwrap();
    }

    /// Waits for the response headers, which an accepted stream gets at once, and reads no data.
    pub async fn accepted(&mut self) {
        timeout(PATIENCE, self.begin()).await.expect("no response headers").expect("refused");
    }

    /// The next message, or how the call ended.
    pub async fn next<M: Message + Default>(&mut self) -> Result<M, End> {
        timeout(PATIENCE, self.message()).await.expect("nothing came")
    }

    /// How the call ended; whatever comes before is dropped.
    pub async fn end(&mut self) -> End {
        loop {
            if let Err(end) = self.next::<()>().await {
                return end;
            }
        }
    }

    /// Nothing comes.
    pub async fn is_quiet(&mut self) {
        if let Ok(came) = timeout(QUIET, self.message::<()>()).await {
            panic!("this came: {came:?}");
        }
    }

    async fn begin(&mut self) -> Result<(), End> {
        if let Some(response) = self.response.take() {
            let response = response.await.map_err(|error| broken(&error))?;
            let (parts, body) = response.into_parts();
            if let Some(end) = end_of(&parts.headers) {
                return Err(end);
            }
            self.body = Some(body);
        }
        Ok(())
    }

    async fn message<M: Message + Default>(&mut self) -> Result<M, End> {
        self.begin().await?;
        let body = self.body.as_mut().unwrap();
        loop {
            if let Some((prefix, rest)) = self.received.split_at_checked(5) {
                let length = usize::try_from(u32::from_be_bytes(prefix[1..].try_into().unwrap())).unwrap();
                if rest.len() >= length {
                    self.received.advance(5);
                    return Ok(M::decode(self.received.split_to(length)).unwrap());
                }
            }
            let Some(data) = body.data().await else {
                let trailers = body.trailers().await.map_err(|error| broken(&error))?;
                return Err(end_of(&trailers.unwrap_or_default()).expect("a status"));
            };
            let data = data.map_err(|error| broken(&error))?;
            body.flow_control().release_capacity(data.len()).unwrap();
            self.received.extend_from_slice(&data);
        }
    }
}

fn broken(error: &h2::Error) -> End {
    End { code: Code::Unknown, message: format!("the transport failed: {error}") }
}

fn end_of(headers: &HeaderMap) -> Option<End> {
    let code: i32 = headers.get("grpc-status")?.to_str().ok()?.parse().ok()?;
    let message = headers.get("grpc-message").map(|text| text.to_str().unwrap().replace("%20", " "));
    Some(End { code: Code::from_i32(code), message: message.unwrap_or_default() })
}

/// A node of namespace `shop`.
pub fn node(name: &str) -> Node {
    Node {
        id: format!("sidecar~10.1.0.1~{name}.shop~shop.svc.cluster.local"),
        user_agent_name: "envoy".to_owned(),
        ..Node::default()
    }
}

/// A first request (delta).
pub fn subscribe(node: Option<Node>, type_url: &str, names: &[&str]) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        node,
        type_url: type_url.to_owned(),
        resource_names_subscribe: names.iter().map(ToString::to_string).collect(),
        ..DeltaDiscoveryRequest::default()
    }
}

/// The acknowledgement of a response.
pub fn ack(response: &DeltaDiscoveryResponse) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        type_url: response.type_url.clone(),
        response_nonce: response.nonce.clone(),
        ..DeltaDiscoveryRequest::default()
    }
}

/// The rejection of a response.
pub fn nack(response: &DeltaDiscoveryResponse, message: &str) -> DeltaDiscoveryRequest {
    let error = rpc::Status { code: 13, message: message.to_owned(), ..rpc::Status::default() };
    DeltaDiscoveryRequest { error_detail: Some(error), ..ack(response) }
}

/// A first request (state of the world).
pub fn ask(node: Option<Node>, type_url: &str, names: &[&str]) -> DiscoveryRequest {
    DiscoveryRequest {
        node,
        type_url: type_url.to_owned(),
        resource_names: names.iter().map(ToString::to_string).collect(),
        ..DiscoveryRequest::default()
    }
}

/// The acknowledgement of a response (state of the world), with the names asked for.
pub fn ack_all(response: &DiscoveryResponse, names: &[&str]) -> DiscoveryRequest {
    DiscoveryRequest {
        version_info: response.version_info.clone(),
        response_nonce: response.nonce.clone(),
        ..ask(None, &response.type_url, names)
    }
}

/// Names of the resources in a delta response.
pub fn names(response: &DeltaDiscoveryResponse) -> Vec<&str> {
    response.resources.iter().map(|resource| resource.name.as_str()).collect()
}
