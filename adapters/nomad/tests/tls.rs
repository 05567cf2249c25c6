//! A real Nomad that speaks TLS and asks for a certificate.

#![allow(clippy::unwrap_used, reason = "a test that can't reach its server has failed")]

mod common;

use std::{fs, path::Path, time::Duration};

use common::Heard;
use lateen_adapter_nomad::Leadership;
use lateen_test_servers::nomad::{Nomad, Options};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

/// `ca.pem`, and certificate and key of Nomad and of the mesh.
fn pki(folder: &Path) {
    let mut ca = CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(ca, KeyPair::generate().unwrap()).unwrap();
    fs::write(folder.join("ca.pem"), issuer.pem()).unwrap();
    for name in ["nomad", "mesh"] {
        let names = ["127.0.0.1", "localhost"].map(str::to_owned);
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(names).unwrap().signed_by(&key, &issuer).unwrap();
        fs::write(folder.join(format!("{name}.pem")), certificate.pem()).unwrap();
        fs::write(folder.join(format!("{name}-key.pem")), key.serialize_pem()).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_shown_and_one_is_checked() {
    let folder = tempfile::tempdir().unwrap();
    pki(folder.path());
    let path = |name: &str| folder.path().join(name);
    let tls = Some([path("ca.pem"), path("nomad.pem"), path("nomad-key.pem")]);
    let nomad = Nomad::start(Options { tls, ..Options::default() }).await.unwrap();
    let ca = format!("{}?ca-file={}", nomad.url(), path("ca.pem").display());
    let flag =
        format!("{ca}&cert-file={}&key-file={}", path("mesh.pem").display(), path("mesh-key.pem").display());

    let mut heard = Heard::synced(&flag).await;
    // A lock is a Variable like any other, and so this is written and heard over TLS.
    let mut leadership = Leadership::new(&flag, "lateen/config/lock", "me", Duration::from_secs(10)).unwrap();
    while !leadership.is_leader().await.unwrap_or_default() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    heard.until("the Variable", |heard| heard.documents.len() == 1).await;
    assert_eq!(heard.documents["default/lateen/config/lock#leader"], "me");
    assert_eq!(heard.failed, None);

    for lacking in [ca, nomad.url()] {
        let mut refused = Heard::start(&lacking);
        refused.until("the failure", |heard| heard.failed.is_some()).await;
        assert_eq!(refused.events, 0);
    }
}
