//! The contract suite on a real Nomad: documents are Variables.

#![allow(clippy::unwrap_used, reason = "a test that can't reach its server has failed")]

use std::{fs, sync::Arc};

use async_trait::async_trait;
use lateen_adapter::{
    Adapter,
    contract::{self, Backend, CASES},
};
use lateen_adapter_nomad::NomadAdapter;
use lateen_test_servers::{
    Relay,
    nomad::{Nomad, Options},
};
use serde_json::{Value, json};

/// All of the configuration but `denied` may be read; that may only be listed.
fn rules(prefix: &str, denied: Option<&str>) -> String {
    let denied = denied
        .map_or_else(String::new, |name| format!("path \"{prefix}{name}\" {{ capabilities = [\"list\"] }}"));
    format!(
        "namespace \"*\" {{ policy = \"read\"\n variables {{\n path \"{prefix}*\" {{ capabilities = [\"list\", \"read\"] }}\n\
         {denied}\n }} }}\nnode {{ policy = \"read\" }}"
    )
}

/// A prefix on one Nomad for each case, and a relay to disconnect it by.
struct Variables {
    nomad: Arc<Nomad>,
    relay: Relay,
    prefix: String,
    folder: tempfile::TempDir,
    denied: Option<String>,
}

impl Variables {
    async fn new(nomad: &Arc<Nomad>, number: usize) -> Self {
        let prefix = format!("lateen/config/case{number}/");
        let policy = format!("case{number}");
        nomad.put_policy(&policy, &rules(&prefix, None)).await.unwrap();
        let (_, secret) = nomad.make_token(&policy).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("token"), secret).unwrap();
        let relay = Relay::to(nomad.address()).await.unwrap();
        Self { nomad: nomad.clone(), relay, prefix, folder, denied: None }
    }

    fn policy(&self) -> &str {
        self.prefix.trim_start_matches("lateen/config/").trim_end_matches('/')
    }
}

#[async_trait]
impl Backend for Variables {
    fn adapter(&self) -> Box<dyn Adapter> {
        let Self { relay, prefix, folder, .. } = self;
        let (address, token) = (relay.address(), folder.path().join("token"));
        let flag = format!("http://{address}?config-prefix={prefix}&token-file={}", token.display());
        Box::new(NomadAdapter::from_flag(&flag).unwrap())
    }

    async fn put(&mut self, name: &str, body: &str) {
        if self.denied.take_if(|denied| denied == name).is_some() {
            self.nomad.put_policy(self.policy(), &rules(&self.prefix, None)).await.unwrap();
        }
        self.nomad.put_variable(&format!("{}{name}", self.prefix), &json!({ "yaml": body })).await.unwrap();
    }

    async fn delete(&mut self, name: &str) {
        self.nomad.delete_variable(&format!("{}{name}", self.prefix)).await.unwrap();
    }

    async fn corrupt(&mut self, name: &str) -> bool {
        // Nomad stores no bytes that are not text, and nothing large: what can't be read is what may not be read.
        self.nomad.put_policy(self.policy(), &rules(&self.prefix, Some(name))).await.unwrap();
        self.denied = Some(name.to_owned());
        let path = format!("{}{name}", self.prefix);
        let Value::Object(items) = self.nomad.get(&format!("/v1/var/{path}")).await.unwrap()["Items"].clone()
        else {
            return false;
        };
        self.nomad.put_variable(&path, &Value::Object(items)).await.unwrap();
        true
    }

    async fn disconnect(&mut self) -> bool {
        self.relay.cut();
        true
    }

    async fn reconnect(&mut self) {
        self.relay.restore();
    }
}

fn operations() -> usize {
    std::env::var("LATEEN_CONTRACT_OPERATIONS").map_or(1_000, |text| text.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_nomad_adapter_keeps_the_contract() {
    let nomad = Nomad::start(Options { acl: true, ..Options::default() }).await.unwrap();
    let (nomad, count) = (Arc::new(nomad), std::sync::atomic::AtomicUsize::new(0));
    let next = || {
        let number = count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let nomad = nomad.clone();
        async move { Variables::new(&nomad, number).await }
    };
    let report = contract::run(next, operations()).await;
    assert_eq!(report.failed, [], "\n{report}");
    assert_eq!(report.passed, CASES, "\n{report}");
}
