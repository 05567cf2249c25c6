//! One of several: leadership by a lock on a Variable.
//! <https://developer.hashicorp.com/nomad/api-docs/variables/locks>

use std::time::Duration;

use lateen_adapter::ConfigError;
use serde_json::{Value, json};

use crate::{
    client::{Client, ClientError},
    config::Settings,
};

/// Why a question about leadership has no answer.
#[derive(Debug, thiserror::Error)]
pub enum LeadershipError {
    /// The flag is not understood.
    #[error("reading the address of Nomad")]
    Config(#[from] ConfigError),
    /// Nomad did not answer, or refused.
    #[error("asking Nomad for the lock {path}")]
    Nomad {
        /// Path of the Variable.
        path: String,
        /// What went wrong.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// A candidate. The leader renews within each `ttl`; when it does not, Nomad frees the lock after twice the `ttl`
/// and a delay of a second. Whoever can't renew for a `ttl` is to stop leading by itself, and so there are never
/// two.
#[derive(Debug)]
pub struct Leadership {
    client: Client,
    namespace: String,
    path: String,
    candidate: String,
    ttl: Duration,
    /// Id of the lock while it is held.
    lock: Option<String>,
}

impl Leadership {
    /// A candidate for the lock at the path of a Variable, which should lie outside of the configuration's prefix.
    /// `flag` is what stands behind `--adapter nomad=`; `ttl` is at least 10 s, as Nomad demands.
    pub fn new(flag: &str, path: &str, candidate: &str, ttl: Duration) -> Result<Self, LeadershipError> {
        let settings = Settings::parse(flag)?;
        let client = Client::new(&settings)
            .map_err(|source| LeadershipError::Nomad { path: path.to_owned(), source: source.into() })?;
        let namespace = match settings.config_namespace.as_str() {
            "*" => "default".to_owned(),
            namespace => namespace.to_owned(),
        };
        let (path, candidate) = (path.to_owned(), candidate.to_owned());
        Ok(Self { client, namespace, path, candidate, ttl, lock: None })
    }

    /// How often to call [`Self::is_leader`].
    pub fn is_due(&self) -> Duration {
        self.ttl / 3
    }

    /// Takes the lock when it is free, renews it when it is ours. An error says nothing about who leads: the last
    /// answer holds until `ttl` after it was asked for.
    pub async fn is_leader(&mut self) -> Result<bool, LeadershipError> {
        if let Some(id) = self.lock.clone() {
            let body = json!({ "Namespace": self.namespace, "Path": self.path, "Lock": { "ID": id } });
            match self.ask("lock-renew", &body).await {
                Ok(Some(_)) => return Ok(true),
                // It ran out, and is perhaps another's now.
                Ok(None) => self.lock = None,
                Err(error) if error.is_not_found() || error.is_refusal() => self.lock = None,
                Err(source) => return Err(self.failed(source)),
            }
        }
        let body = json!({
            "Namespace": self.namespace,
            "Path": self.path,
            "Items": { "leader": self.candidate },
            "Lock": { "TTL": format!("{}s", self.ttl.as_secs()), "LockDelay": "1s" },
        });
        let answer = self.ask("lock-acquire", &body).await.map_err(|source| self.failed(source))?;
        self.lock =
            answer.as_ref().and_then(|answer| answer.pointer("/Lock/ID")?.as_str()).map(str::to_owned);
        Ok(self.lock.is_some())
    }

    /// Gives the lock back, so that another need not wait until it runs out.
    pub async fn release(&mut self) -> Result<(), LeadershipError> {
        let Some(id) = self.lock.take() else { return Ok(()) };
        let body = json!({ "Namespace": self.namespace, "Path": self.path, "Lock": { "ID": id } });
        self.ask("lock-release", &body).await.map_err(|source| self.failed(source))?;
        Ok(())
    }

    async fn ask(&self, operation: &str, body: &Value) -> Result<Option<Value>, ClientError> {
        self.client.put_variable((&self.path, &self.namespace), operation, body).await
    }

    fn failed(&self, source: ClientError) -> LeadershipError {
        LeadershipError::Nomad { path: self.path.clone(), source: source.into() }
    }
}
