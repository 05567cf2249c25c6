//! Questions to Consul.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use lateen_adapter::AdapterError;
use lateen_adapter_http::{Answer, Ask, HttpError, Query, escaped};
use serde::de::DeserializeOwned;

use crate::config::{Consistency, Settings};

/// How long an answer may take that waits for nothing; a slow agent is no dead one.
const PATIENCE: Duration = Duration::from_secs(15);
/// A server that has not heard of the leader for longer may tell what is no longer so.
const LAST_CONTACT_MAX: Duration = Duration::from_secs(10);

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub enum ConsulError {
    /// The request failed.
    #[error("asking Consul for {act}")]
    Http {
        /// What was asked.
        act: String,
        /// Why it failed.
        #[source]
        source: HttpError,
    },
    /// The answer is not what this should be.
    #[error("reading Consul's answer about {act}")]
    Answer {
        /// What was asked.
        act: String,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// The server that answered knows no leader, so what it says may be old.
    #[error("the Consul servers have no leader")]
    NoLeader,
    /// It has not heard of the leader for too long.
    #[error("the Consul server that answers has not heard of the leader for {0:?}")]
    Behind(Duration),
    /// Consul answers, but hides what is asked for: an empty list is what somebody without permission sees.
    #[error("the token does not show what there is: {0}")]
    Hidden(&'static str),
    /// The lists of Consul contradict each other, which passes.
    #[error("Consul lists the service {0:?}, and no instance of it")]
    Contradiction(String),
}

impl ConsulError {
    /// Does asking again help only after somebody has changed something?
    pub fn is_refusal(&self) -> bool {
        match self {
            Self::Http { source, .. } => source.is_refusal(),
            Self::Hidden(_) => true,
            Self::Answer { .. } | Self::NoLeader | Self::Behind(_) | Self::Contradiction(_) => false,
        }
    }

    /// When the agent said that it wants to be asked again.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Http { source: HttpError::Failing { retry_after, .. }, .. } => *retry_after,
            _ => None,
        }
    }
}

impl From<ConsulError> for AdapterError {
    fn from(error: ConsulError) -> Self {
        let act = "following Consul".to_owned();
        let refused = error.is_refusal();
        let source = error.into();
        if refused { Self::Refused { act, source } } else { Self::Unavailable { act, source } }
    }
}

/// What can be asked about.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Topic {
    /// Names of the services.
    Services,
    /// Instances of one.
    Instances(Arc<str>),
    /// Keys and values of configuration.
    Keys,
    /// No content, but news whenever any check changes.
    Checks,
}

/// What Consul says about a topic.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    /// Where the next question goes on; at least 1.
    pub(crate) index: u64,
    /// Something was left out because of the token.
    pub(crate) is_filtered: bool,
    /// JSON; empty where nothing was found.
    pub(crate) body: Bytes,
}

/// Consul, by its HTTP API.
#[derive(Debug)]
pub(crate) struct Client {
    http: lateen_adapter_http::Client,
    settings: Arc<Settings>,
}

impl Client {
    pub(crate) fn new(settings: Arc<Settings>) -> Result<Self, ConsulError> {
        let mut http = settings.http.clone();
        // One for each question that waits, and some that don't.
        http.idle_max = settings.watches + 32;
        let http = lateen_adapter_http::Client::new(http)
            .map_err(|source| ConsulError::Http { act: "anything".to_owned(), source })?;
        Ok(Self { http, settings })
    }

    /// What is so now, as sure as can be.
    pub(crate) async fn now(&self, topic: &Topic) -> Result<Reply, ConsulError> {
        self.ask(topic, 0, Consistency::Consistent).await
    }

    /// What is so, when there is news since `index`, or after a while without; at once when that is 0.
    /// <https://developer.hashicorp.com/consul/api-docs/features/blocking>
    pub(crate) async fn since(&self, topic: &Topic, index: u64) -> Result<Reply, ConsulError> {
        self.ask(topic, index, self.settings.consistency).await
    }

    /// May keys of configuration be read at all? A listing shows nothing to those who may not, a key says it.
    pub(crate) async fn may_read_keys(&self) -> Result<(), ConsulError> {
        let act = format!("{}lateen-probe", self.settings.config_prefix);
        let path = format!("/v1/kv/{}", escaped(&act));
        let answer = self.http.ask(Ask::get(path, self.settings.everywhere.clone(), PATIENCE)).await;
        answer
            .and_then(|answer| if answer.status == 404 { Ok(answer) } else { answer.success() })
            .map(drop)
            .map_err(|source| ConsulError::Http { act: format!("the key {act}"), source })
    }

    async fn ask(&self, topic: &Topic, index: u64, consistency: Consistency) -> Result<Reply, ConsulError> {
        let mut query = self.settings.everywhere.clone();
        if let (Some(peer), Topic::Services | Topic::Instances(_)) = (&self.settings.peer, topic) {
            query = query.with("peer", peer);
        }
        let path = match topic {
            Topic::Services => "/v1/catalog/services".to_owned(),
            Topic::Instances(name) => format!("/v1/health/service/{}", escaped(name).replace('/', "%2F")),
            Topic::Keys => {
                query = query.with("recurse", "");
                format!("/v1/kv/{}", escaped(&self.settings.config_prefix))
            }
            Topic::Checks => {
                query = query.with("filter", "Status == \"none\"");
                "/v1/health/state/any".to_owned()
            }
        };
        query = match consistency {
            Consistency::Default => query,
            Consistency::Consistent => query.with("consistent", ""),
            Consistency::Stale => query.with("stale", ""),
        };
        let mut patience = PATIENCE;
        if index > 0 {
            let wait = self.settings.wait;
            query = query.with("index", &index.to_string()).with("wait", &format!("{}s", wait.as_secs()));
            // Consul adds up to a sixteenth, so that not all come back at once.
            patience += wait + wait / 16;
        }
        let answer = self.http.ask(Ask::get(path.clone(), query, patience)).await;
        let answer = answer.map_err(|source| ConsulError::Http { act: path.clone(), source })?;
        reply(&path, answer)
    }
}

impl Client {
    /// Reads something else; nothing found is empty.
    pub(crate) async fn get(
        &self,
        path: &str,
        query: Query,
        patience: Duration,
    ) -> Result<(u64, Bytes), ConsulError> {
        let answer = self.http.ask(Ask::get(path, query, patience)).await;
        let answer = answer.map_err(|source| ConsulError::Http { act: path.to_owned(), source })?;
        reply(path, answer).map(|reply| (reply.index, reply.body))
    }

    /// Writes.
    pub(crate) async fn put(&self, ask: Ask) -> Result<String, ConsulError> {
        let act = ask.path.clone();
        let answer = self.http.ask(ask).await.and_then(Answer::success);
        let answer = answer.map_err(|source| ConsulError::Http { act, source })?;
        Ok(String::from_utf8_lossy(&answer.body).into_owned())
    }
}

fn reply(path: &str, answer: Answer) -> Result<Reply, ConsulError> {
    // No key under a prefix is not found; so is a service that a peer does not export.
    let is_missing = answer.status == 404 && answer.header::<u64>("x-consul-index").is_some();
    if is_missing {
        check_contact(&answer)?;
        return Ok(Reply { index: index(&answer), is_filtered: is_filtered(&answer), body: Bytes::new() });
    }
    let answer = answer.success().map_err(|source| ConsulError::Http { act: path.to_owned(), source })?;
    check_contact(&answer)?;
    Ok(Reply { index: index(&answer), is_filtered: is_filtered(&answer), body: answer.body })
}

/// An index of 0 would make the next question wait for nothing.
/// <https://developer.hashicorp.com/consul/api-docs/features/blocking#implementation-details>
fn index(answer: &Answer) -> u64 {
    answer.header("x-consul-index").unwrap_or(0).max(1)
}

fn is_filtered(answer: &Answer) -> bool {
    answer.header("x-consul-results-filtered-by-acls").unwrap_or(false)
}

/// <https://developer.hashicorp.com/consul/api-docs/features/consistency>
fn check_contact(answer: &Answer) -> Result<(), ConsulError> {
    // Answers out of the agent's own view of a service (streaming) say false always.
    let is_own_view = answer.header::<String>("x-consul-query-backend").as_deref() == Some("streaming");
    if !is_own_view && answer.header("x-consul-knownleader") == Some(false) {
        return Err(ConsulError::NoLeader);
    }
    let last_contact = Duration::from_millis(answer.header("x-consul-lastcontact").unwrap_or(0));
    if last_contact > LAST_CONTACT_MAX { Err(ConsulError::Behind(last_contact)) } else { Ok(()) }
}

/// A reply's content.
pub(crate) fn parsed_one<T: DeserializeOwned>(act: &str, body: &[u8]) -> Result<T, ConsulError> {
    serde_json::from_slice(body).map_err(|source| ConsulError::Answer { act: act.to_owned(), source })
}

/// A reply's content; nothing found is empty.
pub(crate) fn parsed<T: DeserializeOwned + Default>(act: &str, body: &[u8]) -> Result<T, ConsulError> {
    if body.is_empty() {
        return Ok(T::default());
    }
    parsed_one(act, body)
}
