//! TLS from certificate files, read again when they change.

use std::{path::PathBuf, sync::Arc, time::Duration};

use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
};
use tokio::sync::watch;

/// How often the files are looked at.
const RELOAD_INTERVAL: Duration = Duration::from_secs(2);

/// Paths of PEM files.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// Certificate chain of the server.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// Roots that client certificates must chain to. Without it clients are anonymous, and refused.
    pub client_ca: Option<PathBuf>,
}

/// Why the files can't be used. The configuration that was loaded before stays in use.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file can't be read, or holds no PEM of the kind.
    #[error("can't read {path}")]
    Pem {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    /// Certificate and key don't fit, or are of an unknown kind.
    #[error("can't use {path}")]
    Certificate {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: rustls::Error,
    },
    /// The roots can't be used.
    #[error("can't verify clients with {path}")]
    Verifier {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: rustls::server::VerifierBuilderError,
    },
}

/// The current TLS configuration.
pub type TlsConfig = watch::Receiver<Arc<ServerConfig>>;

impl TlsFiles {
    /// Reads the files.
    pub fn load(&self) -> Result<Arc<ServerConfig>, TlsError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|source| TlsError::Certificate { path: self.certificate.clone(), source })?;
        let builder = match &self.client_ca {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let mut roots = RootCertStore::empty();
                for root in read_certificates(path)? {
                    roots.add(root).map_err(|source| TlsError::Certificate { path: path.clone(), source })?;
                }
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                    .build()
                    .map_err(|source| TlsError::Verifier { path: path.clone(), source })?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let key = PrivateKeyDer::from_pem_file(&self.key)
            .map_err(|source| TlsError::Pem { path: self.key.clone(), source })?;
        let mut config = builder
            .with_single_cert(read_certificates(&self.certificate)?, key)
            .map_err(|source| TlsError::Certificate { path: self.certificate.clone(), source })?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Arc::new(config))
    }

    /// Reads the files now, and again whenever their contents change until every receiver is gone.
    pub fn watch(self) -> Result<(TlsConfig, impl Future<Output = ()>), TlsError> {
        let (sender, receiver) = watch::channel(self.load()?);
        let reload = async move {
            let mut seen = self.stamp().await;
            while !sender.is_closed() {
                tokio::time::sleep(RELOAD_INTERVAL).await;
                let stamp = self.stamp().await;
                if stamp == seen {
                    continue;
                }
                match self.load() {
                    Ok(config) => {
                        tracing::info!(certificate = %self.certificate.display(), "certificates reloaded");
                        seen = stamp;
                        sender.send_replace(config);
                    }
                    // A half-written pair is the normal case here: the next look finds the whole.
                    Err(error) => {
                        let cause = std::error::Error::source(&error).map(ToString::to_string);
                        tracing::warn!(%error, cause, "certificates changed, the previous ones stay in use");
                    }
                }
            }
        };
        Ok((receiver, reload))
    }

    /// Contents of all files; missing ones are empty.
    async fn stamp(&self) -> Vec<Vec<u8>> {
        let mut contents = Vec::new();
        for path in [Some(&self.certificate), Some(&self.key), self.client_ca.as_ref()].into_iter().flatten()
        {
            contents.push(tokio::fs::read(path).await.unwrap_or_default());
        }
        contents
    }
}

fn read_certificates(path: &PathBuf) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let pem = |source| TlsError::Pem { path: path.clone(), source };
    let certificates: Vec<_> =
        CertificateDer::pem_file_iter(path).map_err(pem)?.collect::<Result<_, _>>().map_err(pem)?;
    if certificates.is_empty() {
        return Err(pem(rustls::pki_types::pem::Error::NoItemsFound));
    }
    Ok(certificates)
}
