//! Consul: each instance is a service of the agent with a check.

use std::{collections::BTreeMap, net::SocketAddr, time::Instant};

use lateen_test_servers::consul::{Consul, Options};
use lateen_tests::backend::Backend;
use serde_json::{Value, json};

use crate::{
    platform::{Change, NAMESPACE, Platform, SERVICE},
    watch::{Seen, Watch},
};

/// An agent and what is registered there.
pub struct OnConsul {
    consul: Consul,
    instances: BTreeMap<String, Backend>,
}

impl OnConsul {
    pub async fn start() -> anyhow::Result<Self> {
        Ok(Self { consul: Consul::start(Options::default()).await?, instances: BTreeMap::new() })
    }

    async fn put(&self, path: &str, body: &str) -> anyhow::Result<()> {
        self.consul.ask("PUT", path, body).await.map(drop)
    }
}

impl Platform for OnConsul {
    const NAME: &'static str = "Consul";

    fn adapter(&self) -> String {
        format!("consul={}?namespace={NAMESPACE}", self.consul.url())
    }

    async fn configure(&mut self, name: &str, document: &str) -> anyhow::Result<()> {
        self.put(&format!("/v1/kv/lateen/config/{name}"), document).await
    }

    async fn watch(&self) -> anyhow::Result<Watch> {
        Ok(Watch::questions(self.consul.address(), "/v1/health/service/web"))
    }

    async fn start(&mut self, name: &str) -> anyhow::Result<()> {
        let backend = Backend::http(name)?;
        let service = json!({
            "ID": name, "Name": SERVICE, "Address": "127.0.0.1", "Port": backend.port(),
            "Meta": {"protocol": "http"},
            "Check": {"CheckID": format!("alive-{name}"), "TTL": "1h", "Status": "passing"},
        });
        self.put("/v1/agent/service/register", &service.to_string()).await?;
        self.instances.insert(name.to_owned(), backend);
        Ok(())
    }

    async fn drain(&mut self, name: &str) -> anyhow::Result<()> {
        self.put(&format!("/v1/agent/service/maintenance/{name}?enable=true"), "").await
    }

    async fn end(&mut self, name: &str) -> anyhow::Result<()> {
        self.put(&format!("/v1/agent/service/deregister/{name}"), "").await?;
        self.instances.remove(name);
        Ok(())
    }

    async fn fail(&mut self, name: &str) -> anyhow::Result<()> {
        self.put(&format!("/v1/agent/check/fail/alive-{name}"), "").await
    }

    fn told(&self, name: &str, change: Change, since: &[Seen]) -> Option<Instant> {
        let passes = |instance: &Value| {
            let mut checks = instance["Checks"].as_array().into_iter().flatten();
            instance["Service"]["ID"] == *name && checks.all(|check| check["Status"] == "passing")
        };
        let there = |seen: &Seen| seen.body.as_array().into_iter().flatten().any(passes);
        since.iter().find(|seen| there(seen) == (change == Change::Comes)).map(|seen| seen.at)
    }

    fn address(&self, name: &str, _seen: &[Seen]) -> Option<SocketAddr> {
        self.instances.get(name).map(|backend| backend.address)
    }
}
