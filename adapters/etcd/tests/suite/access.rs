//! Users, passwords, certificates.

use std::path::{Path, PathBuf};

use etcd_client::{Client, ConnectOptions, Permission};
use lateen_test_servers::etcd::{Etcd, EtcdOptions, EtcdTls};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, SanType, date_time_ymd};

use crate::mesh::{Mesh, client, put};

async fn with_users(etcd: &Etcd) -> Client {
    let mut admin = client(&etcd.url()).await;
    admin.user_add("root", "secret", None).await.unwrap();
    admin.user_grant_role("root", "root").await.unwrap();
    admin.role_add("reader").await.unwrap();
    admin.role_grant_permission("reader", Permission::read("/lateen/").with_prefix()).await.unwrap();
    admin.user_add("mesh", "open", None).await.unwrap();
    admin.user_grant_role("mesh", "reader").await.unwrap();
    admin.auth_enable().await.unwrap();
    let options = ConnectOptions::new().with_user("root", "secret");
    Client::connect([etcd.url()], Some(options)).await.unwrap()
}

#[tokio::test]
async fn row_12_permission_revoked_while_watching_is_told_and_removes_nothing() {
    let etcd = Etcd::start().await.unwrap();
    let mut admin = with_users(&etcd).await;
    put(&mut admin, "config/a", "kind: a").await;
    let file = etcd.folder().join("password");
    std::fs::write(&file, "open\n").unwrap();
    let flag = format!("{}?user=mesh&password-file={}", etcd.url(), file.display());
    let mut mesh = Mesh::synced(&flag).await;
    assert_eq!(mesh.document("/lateen/config/a"), Some("kind: a"));

    admin.user_revoke_role("mesh", "reader").await.unwrap();
    mesh.until("the refusal", |mesh| mesh.failed.as_ref().is_some_and(|why| why.contains("permission")))
        .await;
    assert!(mesh.removed.is_empty());
    admin.user_grant_role("mesh", "reader").await.unwrap();
    put(&mut admin, "config/b", "kind: b").await;
    mesh.until("the recovery", |mesh| mesh.failed.is_none() && mesh.document("/lateen/config/b").is_some())
        .await;
    assert!(mesh.removed.is_empty());
}

#[tokio::test]
async fn row_12_a_wrong_password_is_refused_until_the_file_is_right() {
    let etcd = Etcd::start().await.unwrap();
    let mut admin = with_users(&etcd).await;
    put(&mut admin, "config/a", "kind: a").await;
    let file = etcd.folder().join("password");
    std::fs::write(&file, "wrong").unwrap();
    let flag = format!("{}?user=mesh&password-file={}", etcd.url(), file.display());
    let mut mesh = Mesh::start(&flag);
    mesh.until("the refusal", |mesh| mesh.failed.as_ref().is_some_and(|why| why.contains("authentication")))
        .await;
    assert_eq!(mesh.events, 0);
    std::fs::write(&file, "open").unwrap();
    mesh.until("the listing", |mesh| mesh.document("/lateen/config/a").is_some()).await;
}

/// Certificates in a folder: of a CA, and of a server and a client that it signed.
struct Certificates {
    folder: PathBuf,
}

impl Certificates {
    fn make(folder: &Path) -> Self {
        Self::make_until(folder, 4096)
    }

    /// The server's is valid until the beginning of this year.
    fn make_until(folder: &Path, year: i32) -> Self {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        std::fs::create_dir_all(folder).unwrap();
        std::fs::write(folder.join("ca.pem"), ca.pem()).unwrap();
        let made = Self { folder: folder.to_owned() };
        for name in ["server", "client"] {
            let mut params = CertificateParams::new(vec!["etcd.test".to_owned()]).unwrap();
            params.subject_alt_names.push(SanType::IpAddress([127, 0, 0, 1].into()));
            if name == "server" {
                params.not_after = date_time_ymd(year, 1, 1);
            }
            let key = KeyPair::generate().unwrap();
            let certificate = params.signed_by(&key, &ca).unwrap();
            std::fs::write(made.path(&format!("{name}.pem")), certificate.pem()).unwrap();
            std::fs::write(made.path(&format!("{name}.key")), key.serialize_pem()).unwrap();
        }
        made
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn flag(&self, url: &str, names: &[(&str, &str)]) -> String {
        let options: Vec<String> =
            names.iter().map(|(option, name)| format!("{option}={}", self.path(name).display())).collect();
        format!("{url}?{}", options.join("&"))
    }
}

#[tokio::test]
async fn certificates_of_both_sides_are_checked_and_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let certificates = Certificates::make(&folder.path().join("good"));
    let tls = EtcdTls {
        cert: certificates.path("server.pem"),
        key: certificates.path("server.key"),
        client_ca: Some(certificates.path("ca.pem")),
    };
    let etcd = Etcd::start_with(EtcdOptions { tls: Some(tls), flags: vec![] }).await.unwrap();
    let all = [("ca-file", "ca.pem"), ("cert-file", "client.pem"), ("key-file", "client.key")];
    let mesh = Mesh::synced(&certificates.flag(&etcd.url(), &all)).await;
    assert_eq!(mesh.failures, 0);

    let mut without = Mesh::start(&certificates.flag(&etcd.url(), &all[..1]));
    without.until("a failure without a certificate", |mesh| mesh.failed.is_some()).await;
    assert_eq!(without.events, 0);

    // Another CA is not trusted, until the file has the right one.
    let other = Certificates::make(&folder.path().join("other"));
    let mut wrong = Mesh::start(&other.flag(&etcd.url(), &all));
    wrong.until("a failure with a wrong CA", |mesh| mesh.failed.is_some()).await;
    for name in ["ca.pem", "client.pem", "client.key"] {
        std::fs::copy(certificates.path(name), other.path(name)).unwrap();
    }
    wrong.until("the listing", Mesh::is_synced).await;
}

/// Row 12: an expired certificate of the server is a status of its own, removes nothing, and is over when the server
/// has a new one.
#[tokio::test]
async fn row_12_an_expired_certificate_is_named_until_it_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let certificates = Certificates::make(folder.path());
    let tls = EtcdTls {
        cert: certificates.path("server.pem"),
        key: certificates.path("server.key"),
        client_ca: None,
    };
    let mut etcd = Etcd::start_with(EtcdOptions { tls: Some(tls), flags: vec![] }).await.unwrap();
    let flag = certificates.flag(&etcd.url(), &[("ca-file", "ca.pem")]);
    let mut mesh = Mesh::synced(&flag).await;
    let before = mesh.objects.clone();
    etcd.kill();
    Certificates::make_until(folder.path(), 2020);
    etcd.restart().await.unwrap();
    mesh.until("the failure", |mesh| mesh.failed.as_ref().is_some_and(|why| why.contains("xpired"))).await;
    assert!(mesh.objects == before && mesh.removed.is_empty());
    etcd.kill();
    Certificates::make(folder.path());
    etcd.restart().await.unwrap();
    mesh.until("the recovery", |mesh| mesh.failed.is_none()).await;
}
