//! etcd: each instance is a key with a lease.

use std::{collections::BTreeMap, net::SocketAddr, time::Instant};

use anyhow::{Context, ensure};
use base64::{Engine, prelude::BASE64_STANDARD};
use lateen_test_servers::etcd::Etcd;
use lateen_tests::{backend::Backend, http};
use serde_json::{Value, json};

use crate::{
    platform::{Change, NAMESPACE, Platform, SERVICE},
    watch::{Seen, Watch},
};

/// Below it are the instances.
const ENDPOINTS: &str = "/lateen/endpoints/";
/// Seconds of a lease that nothing shall expire by.
const LONG: u32 = 600;
/// The shortest lease that etcd gives.
const SHORT: u32 = 1;

/// A member and what is registered there.
pub struct OnEtcd {
    etcd: Etcd,
    instances: BTreeMap<String, (Backend, String)>,
}

impl OnEtcd {
    pub async fn start() -> anyhow::Result<Self> {
        let mut on_etcd = Self { etcd: Etcd::start().await?, instances: BTreeMap::new() };
        let ports = json!({"ports": [{"name": "http", "number": 80, "protocol": "HTTP"}]});
        on_etcd.put(&format!("/lateen/services/{NAMESPACE}/{SERVICE}"), &ports.to_string(), "0")?;
        Ok(on_etcd)
    }

    fn ask(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        let answer = http::post(self.etcd.address(), path, &body.to_string())?;
        ensure!(answer.status == 200, "{path}: {answer:?}");
        Ok(serde_json::from_str(&answer.body)?)
    }

    fn put(&mut self, key: &str, value: &str, lease: &str) -> anyhow::Result<()> {
        let [key, value] = [key, value].map(|text| BASE64_STANDARD.encode(text));
        self.ask("/v3/kv/put", &json!({"key": key, "value": value, "lease": lease})).map(drop)
    }

    fn register(&mut self, name: &str, backend: Backend, seconds: u32) -> anyhow::Result<()> {
        let granted = self.ask("/v3/lease/grant", &json!({"TTL": seconds}))?;
        let lease = granted["ID"].as_str().context("no lease")?.to_owned();
        let value = json!({"address": "127.0.0.1", "ports": {"http": backend.port()}});
        self.put(&key(name), &value.to_string(), &lease)?;
        self.instances.insert(name.to_owned(), (backend, lease));
        Ok(())
    }
}

fn key(name: &str) -> String {
    format!("{ENDPOINTS}{NAMESPACE}/{SERVICE}/{name}")
}

impl Platform for OnEtcd {
    const NAME: &'static str = "etcd";

    fn adapter(&self) -> String {
        format!("etcd={}", self.etcd.url())
    }

    async fn configure(&mut self, name: &str, document: &str) -> anyhow::Result<()> {
        self.put(&format!("/lateen/config/{name}"), document, "0")
    }

    async fn watch(&self) -> anyhow::Result<Watch> {
        // The end of a prefix is the prefix with its last byte one higher.
        let [key, end] = [ENDPOINTS, "/lateen/endpoints0"].map(|text| BASE64_STANDARD.encode(text));
        let create = json!({"create_request": {"key": key, "range_end": end}});
        Watch::lines(self.etcd.address(), "POST", "/v3/watch", &create.to_string()).await
    }

    async fn start(&mut self, name: &str) -> anyhow::Result<()> {
        self.register(name, Backend::http(name)?, LONG)
    }

    async fn drain(&mut self, name: &str) -> anyhow::Result<()> {
        let (_, lease) = self.instances.get(name).context("an instance")?;
        self.ask("/v3/lease/revoke", &json!({"ID": lease})).map(drop)
    }

    async fn end(&mut self, name: &str) -> anyhow::Result<()> {
        self.instances.remove(name);
        Ok(())
    }

    /// Its lease is one that nobody renews.
    async fn fail(&mut self, name: &str) -> anyhow::Result<()> {
        let (backend, _) = self.instances.remove(name).context("an instance")?;
        self.register(name, backend, SHORT)
    }

    fn told(&self, name: &str, change: Change, since: &[Seen]) -> Option<Instant> {
        let key = BASE64_STANDARD.encode(key(name));
        let fits = |event: &Value| {
            // A put is the type that is left out.
            event["kv"]["key"] == *key && (event["type"] == "DELETE") == (change == Change::Goes)
        };
        let told = since.iter().find(|seen| {
            seen.body.pointer("/result/events").and_then(Value::as_array).into_iter().flatten().any(fits)
        });
        told.map(|seen| seen.at)
    }

    fn address(&self, name: &str, _seen: &[Seen]) -> Option<SocketAddr> {
        self.instances.get(name).map(|(backend, _)| backend.address)
    }
}
