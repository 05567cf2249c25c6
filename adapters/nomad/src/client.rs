//! The calls of Nomad's API that are made here.

use std::time::Duration;

use lateen_adapter::AdapterError;
use lateen_adapter_http::{Answer, Ask, Client as Http, HttpError, Lines, Query, escaped};
use serde::de::DeserializeOwned;

use crate::{
    config::Settings,
    mirror::{ServiceKey, VariableKey},
    wire::{Alloc, NamespaceServices, Node, Registration, Variable, VariableStub},
};

/// How long a blocking query waits for news. Nomad adds up to a sixteenth of it.
const WAIT: Duration = Duration::from_mins(1);
/// How long what an event told of may take until it can be read.
const CATCH_UP: &str = "2s";
/// How long an answer may take that needs no waiting.
const PATIENCE: Duration = Duration::from_secs(15);
/// The longest line of the event stream: an event holds a whole allocation, and a line all events of one index.
const LINE_BYTES_MAX: usize = 64 << 20;

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    /// No answer, or a refusal.
    #[error("{act}")]
    Http {
        act: String,
        #[source]
        source: HttpError,
    },
    /// The servers can't agree on anything at present.
    #[error("{act}: the servers have no leader")]
    NoLeader { act: String },
    /// The answer is not what the API describes.
    #[error("{act}: the answer is not understood")]
    Answer {
        act: String,
        #[source]
        source: serde_json::Error,
    },
    /// The event stream ended; Nomad ends it when a token or its policies change, too.
    #[error("the event stream ended")]
    Ended,
    /// Restored from a snapshot, or another cluster answers: nothing that was read before counts.
    #[error("the index of Nomad's state went back")]
    WentBack,
}

impl ClientError {
    /// Does the token not allow it, or does it make no sense to Nomad? There being no such thing is no refusal.
    pub(crate) fn is_refusal(&self) -> bool {
        matches!(self, Self::Http { source, .. } if source.is_refusal()) && !self.is_not_found()
    }

    pub(crate) fn is_not_found(&self) -> bool {
        matches!(self, Self::Http { source, .. } if source.status() == Some(404))
    }
}

impl From<ClientError> for AdapterError {
    fn from(error: ClientError) -> Self {
        let act = "reading Nomad".to_owned();
        if error.is_refusal() {
            Self::Refused { act, source: error.into() }
        } else {
            Self::Unavailable { act, source: error.into() }
        }
    }
}

/// What came of reading a Variable that was listed.
#[derive(Debug)]
pub(crate) enum ReadVariable {
    Is(Variable),
    Gone,
    /// It is there and this token may not read it, in words.
    Forbidden(String),
}

/// Nomad, by its HTTP API.
#[derive(Debug)]
pub(crate) struct Client {
    http: Http,
    namespace: String,
    region: String,
    config_prefix: String,
    config_namespace: String,
    heartbeat_timeout: Duration,
}

impl Client {
    pub(crate) fn new(settings: &Settings) -> Result<Self, HttpError> {
        let mut http = lateen_adapter_http::Settings::new(settings.place.clone());
        http.token.clone_from(&settings.token);
        http.tls = settings.tls.clone();
        Ok(Self {
            http: Http::new(http)?,
            namespace: settings.namespace.clone(),
            region: settings.region.clone(),
            config_prefix: settings.config_prefix.clone(),
            config_namespace: settings.config_namespace.clone(),
            heartbeat_timeout: settings.heartbeat_timeout,
        })
    }

    /// Does the agent answer?
    pub(crate) async fn is_there(&self) -> Result<(), ClientError> {
        self.get("/v1/status/leader", self.query(), PATIENCE).await.map(drop)
    }

    /// Names of the services, when there is news since `index`; at once when that is 0.
    pub(crate) async fn services(&self, index: u64) -> Result<(u64, Vec<NamespaceServices>), ClientError> {
        let query = self.query().with("namespace", &self.namespace);
        self.blocking("/v1/services", query, index).await
    }

    /// The instances of a service, as they are at an index or later. Nomad tells of a change before it can be read:
    /// where that is so, the answer waits for it, and is an older one when it does not come.
    pub(crate) async fn service(
        &self,
        key: &ServiceKey,
        at_least: u64,
    ) -> Result<(u64, Vec<Registration>), ClientError> {
        let path = format!("/v1/service/{}", escaped(&key.1));
        let mut query = self.query().with("namespace", &key.0);
        if at_least > 1 {
            query = query.with("index", &(at_least - 1).to_string()).with("wait", CATCH_UP);
        }
        let answer = self.get(&path, query, PATIENCE).await?;
        parsed(&path, &answer)
    }

    /// All allocations that may have instances, and Nomad's index.
    pub(crate) async fn allocs(&self) -> Result<(u64, Vec<Alloc>), ClientError> {
        let query = self
            .query()
            .with("namespace", &self.namespace)
            .with("task_states", "false")
            .with("resources", "false")
            .with(
                "filter",
                r#"ClientStatus == "running" or ClientStatus == "pending" or ClientStatus == "unknown""#,
            );
        let answer = self.get("/v1/allocations", query, PATIENCE).await?;
        parsed("/v1/allocations", &answer)
    }

    /// An allocation; `None` when it was cleaned up.
    pub(crate) async fn alloc(&self, id: &str) -> Result<Option<Alloc>, ClientError> {
        let path = format!("/v1/allocation/{}", escaped(id));
        match self.get(&path, self.query(), PATIENCE).await {
            Ok(answer) => parsed(&path, &answer).map(|(_, alloc)| Some(alloc)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// A node. Where the token may not read nodes, or it is gone, nothing is known of it.
    pub(crate) async fn node(&self, id: &str) -> Result<Node, ClientError> {
        let path = format!("/v1/node/{}", escaped(id));
        match self.get(&path, self.query(), PATIENCE).await {
            Ok(answer) => parsed(&path, &answer).map(|(_, node)| node),
            Err(error) if error.is_not_found() || error.is_refusal() => Ok(Node::default()),
            Err(error) => Err(error),
        }
    }

    /// The Variables that hold configuration, when there is news since `index`. A token that may see none of them
    /// gets an empty list like one that may see all of none; which it is shows when one is read.
    pub(crate) async fn variables(&self, index: u64) -> Result<(u64, Vec<VariableStub>), ClientError> {
        let query =
            self.query().with("namespace", &self.config_namespace).with("prefix", &self.config_prefix);
        let (index, listed): (u64, Vec<VariableStub>) = self.blocking("/v1/vars", query, index).await?;
        if listed.is_empty() && self.config_namespace != "*" {
            let probe = format!("{}lateen-probe", self.config_prefix);
            let query = self.query().with("namespace", &self.config_namespace);
            match self.get(&format!("/v1/var/{}", escaped(&probe)), query, PATIENCE).await {
                Ok(_) => {}
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error),
            }
        }
        Ok((index, listed))
    }

    /// A Variable.
    pub(crate) async fn variable(&self, key: &VariableKey) -> Result<ReadVariable, ClientError> {
        let path = format!("/v1/var/{}", escaped(&key.1));
        match self.get(&path, self.query().with("namespace", &key.0), PATIENCE).await {
            Ok(answer) => parsed(&path, &answer).map(|(_, variable)| ReadVariable::Is(variable)),
            Err(error) if error.is_not_found() => Ok(ReadVariable::Gone),
            Err(ClientError::Http { source, .. }) if source.is_refusal() => {
                Ok(ReadVariable::Forbidden(format!("Nomad does not give it: {source}")))
            }
            Err(error) => Err(error),
        }
    }

    /// What changes from now on; also a part of what changed before, which does no harm. The node topic is left
    /// out: Nomad repeats the whole node with each change of an allocation on it.
    pub(crate) async fn events(&self) -> Result<Lines, ClientError> {
        let act = "/v1/event/stream";
        let query = self
            .query()
            .with("topic", "Service")
            .with("topic", "Allocation")
            .with("topic", "Job")
            .with("namespace", &self.namespace);
        let ask = Ask::get(act, query, PATIENCE);
        let answer = match self.http.lines(ask, self.heartbeat_timeout, LINE_BYTES_MAX).await {
            Ok(Ok(lines)) => return Ok(lines),
            Ok(Err(answer)) => answer.success().map(drop),
            Err(error) => Err(error),
        };
        // What is no success and no error is no stream.
        answer.map_or_else(|source| Err(http_error(act)(source)), |()| Err(ClientError::Ended))
    }

    /// Writes a Variable with one of the lock operations; a conflict is `None`.
    pub(crate) async fn put_variable(
        &self,
        (path, namespace): (&str, &str),
        operation: &str,
        body: &serde_json::Value,
    ) -> Result<Option<serde_json::Value>, ClientError> {
        let act = format!("/v1/var/{}", escaped(path));
        let query = self.query().with("namespace", namespace).with(operation, "");
        let ask = Ask::put(&act, query, body.to_string(), PATIENCE);
        let answer = self.http.ask(ask).await.map_err(http_error(&act))?;
        if answer.status == 409 {
            return Ok(None);
        }
        let answer = answer.success().map_err(http_error(&act))?;
        if answer.body.is_empty() {
            return Ok(Some(serde_json::Value::Null));
        }
        parsed(&act, &answer).map(|(_, value)| Some(value))
    }

    fn query(&self) -> Query {
        let query = Query::default();
        if self.region.is_empty() { query } else { query.with("region", &self.region) }
    }

    /// <https://developer.hashicorp.com/nomad/api-docs#blocking-queries>
    async fn blocking<T: DeserializeOwned>(
        &self,
        path: &str,
        query: Query,
        index: u64,
    ) -> Result<(u64, T), ClientError> {
        if index == 0 {
            return parsed(path, &self.get(path, query, PATIENCE).await?);
        }
        let query = query.with("index", &index.to_string()).with("wait", &format!("{}s", WAIT.as_secs()));
        let answer = self.get(path, query, WAIT + WAIT / 8 + PATIENCE).await?;
        parsed(path, &answer)
    }

    async fn get(&self, path: &str, query: Query, patience: Duration) -> Result<Answer, ClientError> {
        let answer = self.http.ask(Ask::get(path, query, patience)).await;
        answer.and_then(Answer::success).map_err(http_error(path))
    }
}

fn http_error(act: &str) -> impl FnOnce(HttpError) -> ClientError {
    let act = act.to_owned();
    |source| ClientError::Http { act, source }
}

fn parsed<T: DeserializeOwned>(act: &str, answer: &Answer) -> Result<(u64, T), ClientError> {
    if answer.header("x-nomad-knownleader") == Some(false) {
        return Err(ClientError::NoLeader { act: act.to_owned() });
    }
    let value = serde_json::from_slice(&answer.body)
        .map_err(|source| ClientError::Answer { act: act.to_owned(), source })?;
    // An index of 0 would make the next query not block: <https://developer.hashicorp.com/nomad/api-docs#blocking-queries>
    Ok((answer.header("x-nomad-index").unwrap_or(1).max(1), value))
}
