//! TLS from files.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use tokio_rustls::TlsConnector;

use crate::HttpError;

/// Where systems keep the authorities that they trust, the first that is there.
const SYSTEM_AUTHORITIES: &[&str] =
    &["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

/// The files that TLS is set up from, all PEM.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TlsFiles {
    /// Authorities that may have signed the agent's certificate; the system's where there is none.
    pub ca: Option<PathBuf>,
    /// The client's certificate, with its chain, and its key.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// The name expected in the agent's certificate, where it is not the host of the address.
    pub server_name: Option<String>,
}

impl TlsFiles {
    /// Reads the files as they are now.
    pub(crate) async fn connector(&self) -> Result<TlsConnector, HttpError> {
        let mut roots = RootCertStore::empty();
        let ca = self
            .ca
            .clone()
            .or_else(|| SYSTEM_AUTHORITIES.iter().map(PathBuf::from).find(|path| path.exists()));
        let Some(ca) = ca else {
            return Err(HttpError::Tls("this system has no list of authorities; name a CA file".into()));
        };
        for certificate in certificates(&ca).await? {
            // One that this TLS library does not know how to read is no reason to distrust the others.
            if let Err(error) = roots.add(certificate) {
                tracing::debug!(%error, "an authority can't be used");
            }
        }
        let config =
            ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
                .with_safe_default_protocol_versions()
                .map_err(tls)?
                .with_root_certificates(roots);
        let config = match &self.identity {
            Some((certificate, key)) => {
                let key = PrivateKeyDer::from_pem_slice(&read(key).await?).map_err(tls)?;
                config.with_client_auth_cert(certificates(certificate).await?, key).map_err(tls)?
            }
            None => config.with_no_client_auth(),
        };
        Ok(TlsConnector::from(Arc::new(config)))
    }

    pub(crate) fn server_name(&self, host: &str) -> Result<ServerName<'static>, HttpError> {
        let name = self.server_name.as_deref().unwrap_or(host);
        ServerName::try_from(name.to_owned()).map_err(tls)
    }
}

fn tls(error: impl std::error::Error + Send + Sync + 'static) -> HttpError {
    HttpError::Tls(error.into())
}

async fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, HttpError> {
    CertificateDer::pem_slice_iter(&read(path).await?).collect::<Result<_, _>>().map_err(tls)
}

async fn read(path: &Path) -> Result<Vec<u8>, HttpError> {
    tokio::fs::read(path).await.map_err(|source| HttpError::File { path: path.to_owned(), source })
}
