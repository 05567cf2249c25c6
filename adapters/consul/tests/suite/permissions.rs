//! Tokens and certificates.

use std::{fs, time::Duration};

use lateen_model::Health;
use lateen_test_servers::consul::{Consul, MANAGEMENT, Options};

use crate::{
    catalog::{register_checked, set_health},
    observed::Observed,
};

const TOKEN: &str = "11111111-3f7a-4b43-8a5f-0f8f4b1c1111";
const OTHER: &str = "22222222-3f7a-4b43-8a5f-0f8f4b1c1111";
const RULES: &str = r#"service_prefix \"\" {policy=\"read\"} node_prefix \"\" {policy=\"read\"} key_prefix \"lateen/config/\" {policy=\"read\"}"#;

async fn guarded() -> Consul {
    let consul = Consul::start(Options { acl: true, ..Options::default() }).await.unwrap();
    consul.ask("PUT", "/v1/acl/policy", &format!(r#"{{"Name":"mesh","Rules":"{RULES}"}}"#)).await.unwrap();
    for token in [TOKEN, OTHER] {
        let body =
            format!(r#"{{"AccessorID":"{token}","SecretID":"{token}","Policies":[{{"Name":"mesh"}}]}}"#);
        consul.ask("PUT", "/v1/acl/token", &body).await.unwrap();
    }
    register_checked(&consul, "web", "web1", "10.0.0.1").await;
    consul.ask("PUT", "/v1/kv/lateen/config/a", "kind: A").await.unwrap();
    consul
}

fn flag(consul: &Consul, token: &str) -> (String, std::path::PathBuf) {
    let path = consul.folder().join("token");
    fs::write(&path, format!("{token}\n")).unwrap();
    (format!("{}?wait=1&token-file={}", consul.url(), path.display()), path)
}

/// Row 12: credentials revoked while following; a new token in the file is taken without being told.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_12_a_revoked_token_is_no_removal_and_a_new_one_is_taken() {
    let consul = guarded().await;
    let (flag, path) = flag(&consul, TOKEN);
    let mut mesh = Observed::listed(&flag).await;
    assert_eq!((mesh.services.len(), mesh.documents.len()), (1, 1));
    consul.ask("DELETE", &format!("/v1/acl/token/{TOKEN}"), "").await.unwrap();
    mesh.until("the refusal", |mesh| mesh.failed.as_ref().is_some_and(|why| why.contains("403"))).await;
    mesh.during(Duration::from_secs(1)).await;
    assert_eq!((mesh.services.len(), mesh.documents.len(), mesh.removals), (1, 1, 0));
    fs::write(path, OTHER).unwrap();
    mesh.until("the recovery", |mesh| mesh.failed.is_none()).await;
    set_health(&consul, "web1", "fail").await;
    mesh.until("a change after it", |mesh| mesh.health("default/web") == [Health::Unhealthy]).await;
}

/// Row 12: permissions taken away look like an empty Consul, and are none.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_12_permissions_taken_away_are_no_removal() {
    for rules in [
        // Nothing is shown at all.
        r#"operator = \"read\""#,
        // Services are, and none of their instances.
        r#"service_prefix \"\" {policy=\"read\"} key_prefix \"lateen/config/\" {policy=\"read\"}"#,
        // Keys are not.
        r#"service_prefix \"\" {policy=\"read\"} node_prefix \"\" {policy=\"read\"}"#,
    ] {
        let consul = guarded().await;
        let (flag, _) = flag(&consul, TOKEN);
        let mut mesh = Observed::listed(&flag).await;
        let policy = consul.ask("GET", "/v1/acl/policy/name/mesh", "").await.unwrap();
        let id = policy.split("\"ID\":").nth(1).unwrap().split('"').nth(1).unwrap().to_owned();
        let path = format!("/v1/acl/policy/{id}");
        consul.ask("PUT", &path, &format!(r#"{{"Name":"mesh","Rules":"{rules}"}}"#)).await.unwrap();
        // Some news, so that questions that wait are answered; which ones is not the test's to know.
        set_health(&consul, "web1", "warn").await;
        consul.ask("PUT", "/v1/kv/lateen/config/a", "kind: A2").await.unwrap();
        mesh.until("the refusal", |mesh| mesh.failed.is_some()).await;
        mesh.during(Duration::from_secs(2)).await;
        println!("{rules}: {:?}", mesh.failed);
        assert_eq!((mesh.services.len(), mesh.documents.len(), mesh.removals), (1, 1, 0), "{rules}");
        assert_eq!(mesh.health("default/web").len(), 1, "{rules}");
        consul.ask("PUT", &path, &format!(r#"{{"Name":"mesh","Rules":"{RULES}"}}"#)).await.unwrap();
        mesh.until("the recovery", |mesh| mesh.failed.is_none()).await;
        assert_eq!((mesh.documents["lateen/config/a"].as_str(), mesh.removals), ("kind: A2", 0));
    }
}

/// Row 12: nobody's questions get an empty answer with status 200.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_12_without_a_token_nothing_is_listed() {
    let consul = guarded().await;
    for flag in [consul.url(), format!("{}?config-prefix=", consul.url())] {
        let mut mesh = Observed::start(&flag);
        mesh.until("the refusal", |mesh| mesh.failed.is_some()).await;
        mesh.during(Duration::from_millis(500)).await;
        println!("{:?}", mesh.failed);
        assert_eq!(mesh.listings, 0);
    }
}

/// A token that may see one service of many gets that one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_for_a_part_shows_that_part() {
    let consul = guarded().await;
    register_checked(&consul, "shop", "shop1", "10.0.0.2").await;
    let rules = r#"service \"web\" {policy=\"read\"} node_prefix \"\" {policy=\"read\"} key_prefix \"lateen/config/\" {policy=\"read\"}"#;
    consul.ask("PUT", "/v1/acl/policy", &format!(r#"{{"Name":"part","Rules":"{rules}"}}"#)).await.unwrap();
    let part = "33333333-3f7a-4b43-8a5f-0f8f4b1c1111";
    let body = format!(r#"{{"SecretID":"{part}","Policies":[{{"Name":"part"}}]}}"#);
    consul.ask("PUT", "/v1/acl/token", &body).await.unwrap();
    let (flag, _) = flag(&consul, part);
    let mesh = Observed::listed(&flag).await;
    assert!(mesh.services.keys().eq(["default/web"]), "{:?}", mesh.services);
}

/// TLS with a private authority and a client certificate; row 12: certificates rotated, and one that is not
/// trusted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_12_tls_and_its_rotation() {
    let mut consul = Consul::start(Options { tls: true, durable: true, ..Options::default() }).await.unwrap();
    let folder = consul.folder().display().to_string();
    let flag = format!(
        "https://{}?wait=1&ca-file={folder}/ca.pem&cert-file={folder}/client.pem&key-file={folder}/client.key",
        consul.tls_address()
    );
    register_checked(&consul, "web", "web1", "10.0.0.1").await;
    let mut mesh = Observed::listed(&flag).await;
    assert_eq!(mesh.services.len(), 1);

    // Another authority: the old one's certificate is not trusted any more, until the server has a new one.
    for file in ["ca.pem", "ca.key"] {
        fs::remove_file(consul.folder().join(file)).unwrap();
    }
    consul.issue("client").unwrap();
    let other = Observed::start(&flag);
    let mut other = other;
    other.until("the refusal", |other| other.failed.is_some()).await;
    let why = other.failed.clone().unwrap();
    assert!(why.contains("connecting") && why.contains("certificate"), "{why}");
    assert_eq!(other.listings, 0);
    consul.issue("server").unwrap();
    consul.restart().await.unwrap();
    other.until("a listing", |other| other.listings == 1).await;
    mesh.until("the recovery", |mesh| mesh.failed.is_none() && mesh.listings > 1).await;
    assert_eq!((mesh.services.len(), mesh.removals), (1, 0));

    // The agent's certificate expires: that is said in so many words, and takes nothing away.
    consul.issue_expired("server").unwrap();
    consul.restart().await.unwrap();
    mesh.until("the failure", |mesh| mesh.failed.as_ref().is_some_and(|why| why.contains("xpired"))).await;
    consul.issue("server").unwrap();
    consul.restart().await.unwrap();
    mesh.until("the end of it", |mesh| mesh.failed.is_none()).await;
    assert_eq!((mesh.services.len(), mesh.removals), (1, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_management_token_is_no_special_case() {
    let consul = guarded().await;
    let (flag, _) = flag(&consul, MANAGEMENT);
    let mesh = Observed::listed(&flag).await;
    assert_eq!((mesh.services.len(), mesh.documents.len()), (1, 1));
}
