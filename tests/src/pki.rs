//! Certificates for tests, and an xDS client that shows them.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, bail};
use bytes::{Bytes, BytesMut};
use http::Request;
use lateen_proto::envoy::{config::core::v3::Node, service::discovery::v3::DeltaDiscoveryRequest};
use lateen_xds::ResourceType;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SanType};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::{
    backend::RUNTIME,
    wire::{self, ResponseHead},
};

/// A root.
#[derive(Debug)]
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: String,
}

/// Files of a certificate and its key.
#[derive(Clone, Debug)]
pub struct Files {
    /// Certificate.
    pub certificate: PathBuf,
    /// Key.
    pub key: PathBuf,
}

impl Authority {
    /// A new root.
    pub fn new() -> anyhow::Result<Self> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(Vec::new())?;
        params.distinguished_name.push(DnType::CommonName, "test root");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key)?.pem();
        Ok(Self { issuer: Issuer::new(params, key), certificate })
    }

    /// Writes the root's certificate.
    pub fn write(&self, path: &Path) -> anyhow::Result<PathBuf> {
        std::fs::write(path, &self.certificate)?;
        Ok(path.to_owned())
    }

    /// Signs a certificate for 127.0.0.1.
    pub fn server(&self, folder: &Path, name: &str) -> anyhow::Result<Files> {
        self.sign(folder, name, SanType::IpAddress([127, 0, 0, 1].into()))
    }

    /// Signs a certificate for a workload.
    pub fn workload(&self, folder: &Path, name: &str, spiffe_id: &str) -> anyhow::Result<Files> {
        self.sign(folder, name, SanType::URI(spiffe_id.try_into()?))
    }

    fn sign(&self, folder: &Path, name: &str, subject: SanType) -> anyhow::Result<Files> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(Vec::new())?;
        // A name of its own: an issuer of the same name would make it look self-signed.
        params.distinguished_name.push(DnType::CommonName, name);
        params.subject_alt_names = vec![subject];
        let files = Files {
            certificate: folder.join(format!("{name}.crt")),
            key: folder.join(format!("{name}.key")),
        };
        std::fs::write(&files.certificate, params.signed_by(&key, &self.issuer)?.pem())?;
        std::fs::write(&files.key, key.serialize_pem())?;
        Ok(files)
    }
}

/// How a server answered a first request.
#[derive(Debug)]
pub enum Answer {
    /// With a response.
    Response(ResponseHead),
    /// With the end of the stream: gRPC status and message.
    Ended(String, String),
}

/// Opens a delta ADS stream as `node` and asks for clusters. An error is a connection that did not come about.
pub fn ask(server: SocketAddr, root: &Path, identity: Option<&Files>, node: &str) -> anyhow::Result<Answer> {
    RUNTIME.block_on(async {
        let deadline = std::time::Duration::from_secs(10);
        tokio::time::timeout(deadline, ask_within(server, root, identity, node)).await.context("no answer")?
    })
}

async fn ask_within(
    server: SocketAddr,
    root: &Path,
    identity: Option<&Files>,
    node: &str,
) -> anyhow::Result<Answer> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(root)?)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots);
    let mut config = match identity {
        Some(files) => builder.with_client_auth_cert(
            vec![CertificateDer::from_pem_file(&files.certificate)?],
            PrivateKeyDer::from_pem_file(&files.key)?,
        )?,
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    let socket = TcpStream::connect(server).await?;
    let name = ServerName::IpAddress(server.ip().into());
    let socket = TlsConnector::from(Arc::new(config)).connect(name, socket).await.context("TLS")?;
    let (mut requests, connection) = h2::client::handshake(socket).await.context("HTTP/2")?;
    let connection = tokio::spawn(connection);
    let path = format!(
        "https://{server}/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
    );
    let head =
        Request::post(path).header("content-type", "application/grpc").header("te", "trailers").body(())?;
    let (response, mut stream) = requests.send_request(head, false)?;
    let request = DeltaDiscoveryRequest {
        node: Some(Node { id: node.to_owned(), ..Node::default() }),
        type_url: ResourceType::Cluster.info().url.to_owned(),
        ..DeltaDiscoveryRequest::default()
    };
    stream.send_data(wire::frame(&request), false)?;
    let response = response.await.context("response")?;
    let status = |headers: &http::HeaderMap| {
        let text =
            |name| headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        text("grpc-status").map(|code| Answer::Ended(code, text("grpc-message").unwrap_or_default()))
    };
    if let Some(ended) = status(response.headers()) {
        return Ok(ended);
    }
    let mut body = response.into_body();
    let mut received = BytesMut::new();
    while let Some(data) = body.data().await {
        let data: Bytes = data?;
        body.flow_control().release_capacity(data.len())?;
        received.extend_from_slice(&data);
        if let Some(message) = wire::next_message(&mut received) {
            connection.abort();
            return Ok(Answer::Response(wire::head(&message, true)));
        }
    }
    match body.trailers().await?.as_ref().and_then(status) {
        Some(ended) => Ok(ended),
        None => bail!("the stream ended without a status"),
    }
}
