//! Leadership by a session that holds a key.
//! <https://developer.hashicorp.com/consul/docs/automate/application-leader-election>

use std::{sync::Arc, time::Duration};

use lateen_adapter::ConfigError;
use lateen_adapter_http::{Ask, HttpError, Query, escaped};
use serde::Deserialize;
use tokio::time::{Instant, sleep, timeout_at};

use crate::{
    client::{Client, ConsulError},
    config::Settings,
};

/// Sessions that are not renewed end after this, at the latest after twice as long. The shortest that Consul takes.
const TTL: Duration = Duration::from_secs(10);
/// How often a session is renewed.
const RENEW: Duration = Duration::from_secs(3);
/// How long one request of an election may take: less than what is left of a session when one is missed.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long a question for who holds the key waits.
const WAIT: Duration = Duration::from_secs(10);
/// Between attempts at a key that nobody holds: Consul withholds it for a while after a holder was lost.
const RETRY: Duration = Duration::from_millis(500);
/// The same when Consul can't be asked.
const RETRY_FAILED: Duration = Duration::from_secs(1);

/// A contender for leadership.
#[derive(Debug)]
pub struct Leadership {
    client: Client,
    settings: Arc<Settings>,
    key: String,
    name: String,
    session: Option<Session>,
}

#[derive(Debug)]
struct Session {
    id: String,
    /// Until when it certainly lasts.
    good_until: Instant,
}

#[derive(Deserialize)]
struct Created {
    #[serde(rename = "ID")]
    id: String,
}

#[derive(Deserialize)]
struct Held {
    #[serde(rename = "Session", default)]
    session: Option<String>,
}

impl Leadership {
    /// A contender, from what stands behind `--adapter consul=`, the key that leaders hold, and a name that is
    /// written there.
    pub fn from_flag(value: &str, key: &str, name: &str) -> Result<Self, LeadershipError> {
        let settings = Arc::new(Settings::parse(value)?);
        let client = Client::new(settings.clone())?;
        Ok(Self { client, settings, key: key.to_owned(), name: name.to_owned(), session: None })
    }

    /// Returns when this one leads. While Consul can't be asked it waits: nobody leads then who did not before. May
    /// be dropped; what was begun ends by itself.
    pub async fn acquire(&mut self) -> Result<(), ConsulError> {
        let mut index = 0;
        loop {
            match self.attempt(&mut index).await {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(error) if error.is_refusal() => return Err(error),
                Err(error) => {
                    tracing::debug!(%error, "no election at present");
                    index = 0;
                    sleep(RETRY_FAILED).await;
                }
            }
        }
    }

    /// Renews; returns when this one no longer leads, or can't know: before another one may lead, so that two never
    /// do.
    pub async fn lost(&mut self) {
        loop {
            let Some(good_until) = self.session.as_ref().map(|session| session.good_until) else { return };
            sleep(RENEW.min(good_until.saturating_duration_since(Instant::now()))).await;
            // An attempt that fails is repeated while the session lasts.
            let held = timeout_at(good_until, self.still_holds()).await;
            match held {
                Ok(Ok(true)) => {}
                Ok(Ok(false)) | Err(_) => {
                    self.session = None;
                    return;
                }
                Ok(Err(error)) => {
                    tracing::warn!(%error, "session not renewed");
                    if Instant::now() >= good_until {
                        self.session = None;
                        return;
                    }
                }
            }
        }
    }

    /// Gives leadership up, so that another one can lead at once.
    pub async fn release(&mut self) -> Result<(), ConsulError> {
        let Some(session) = self.session.take() else { return Ok(()) };
        // The key goes with the session, but Consul would withhold it for a while: first let go of it.
        self.put(&self.key_path(), |query| query.with("release", &session.id), String::new()).await?;
        self.put(&format!("/v1/session/destroy/{}", escaped(&session.id)), |query| query, String::new())
            .await?;
        Ok(())
    }

    /// One attempt; where somebody else holds the key, it is one to see them go.
    async fn attempt(&mut self, index: &mut u64) -> Result<bool, ConsulError> {
        let id = self.session().await?;
        let acquire = |query: Query| query.with("acquire", &id);
        if self.put(&self.key_path(), acquire, self.name.clone()).await?.trim() == "true" {
            return Ok(true);
        }
        let (seen, holder) = self.holder(*index).await?;
        *index = if seen < *index { 0 } else { seen };
        if holder.is_none() {
            sleep(RETRY).await;
        }
        Ok(false)
    }

    /// The session, renewed, or a new one.
    async fn session(&mut self) -> Result<String, ConsulError> {
        if let Some(id) = self.session.as_ref().map(|session| session.id.clone())
            && self.renew(&id).await?
        {
            return Ok(id);
        }
        let asked = Instant::now();
        // The key stays, without a holder, so that its lock delay and its index go on.
        let body = format!(
            r#"{{"Name":{},"TTL":"{}s","Behavior":"release","LockDelay":"1s"}}"#,
            serde_json::Value::from(self.name.as_str()),
            TTL.as_secs()
        );
        let created = self.put("/v1/session/create", |query| query, body).await?;
        let created: Created = crate::client::parsed_one("a session", created.as_bytes())?;
        self.session = Some(Session { id: created.id.clone(), good_until: asked + TTL });
        Ok(created.id)
    }

    async fn renew(&mut self, id: &str) -> Result<bool, ConsulError> {
        let asked = Instant::now();
        match self.put(&format!("/v1/session/renew/{}", escaped(id)), |query| query, String::new()).await {
            Ok(_) => {
                self.session = Some(Session { id: id.to_owned(), good_until: asked + TTL });
                Ok(true)
            }
            // Consul does not know it (any more).
            Err(ConsulError::Http { source: HttpError::Refused { status: 404, .. }, .. }) => {
                self.session = None;
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    async fn still_holds(&mut self) -> Result<bool, ConsulError> {
        let Some(id) = self.session.as_ref().map(|session| session.id.clone()) else { return Ok(false) };
        if !self.renew(&id).await? {
            return Ok(false);
        }
        // Somebody may have taken the key by force.
        let (_, holder) = self.holder(0).await?;
        Ok(holder.as_deref() == Some(id.as_str()))
    }

    async fn holder(&self, index: u64) -> Result<(u64, Option<String>), ConsulError> {
        let mut query = self.settings.everywhere.clone();
        let mut patience = PATIENCE;
        if index > 0 {
            query = query.with("index", &index.to_string()).with("wait", &format!("{}s", WAIT.as_secs()));
            patience += WAIT + WAIT / 16;
        }
        let (index, body) = self.client.get(&self.key_path(), query, patience).await?;
        let held: Vec<Held> = crate::client::parsed("who leads", &body)?;
        Ok((index, held.into_iter().find_map(|held| held.session)))
    }

    fn key_path(&self) -> String {
        format!("/v1/kv/{}", escaped(&self.key))
    }

    async fn put(
        &self,
        path: &str,
        with: impl Fn(Query) -> Query,
        body: String,
    ) -> Result<String, ConsulError> {
        self.client.put(Ask::put(path, with(self.settings.everywhere.clone()), body, PATIENCE)).await
    }
}

/// Why there is no contender.
#[derive(Debug, thiserror::Error)]
pub enum LeadershipError {
    /// The flag.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The connection.
    #[error(transparent)]
    Consul(#[from] ConsulError),
}
