//! What was sent and what came back, for the report of a case that fails.

use std::{
    fmt::Write,
    sync::{Mutex, PoisonError},
    time::Instant,
};

use lateen_proto::{
    any,
    envoy::service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest},
};

use crate::message::Response;

/// Entries kept of one case; what comes later is counted, not kept.
const ENTRIES_MAX: usize = 200;
/// Names shown of one message.
const NAMES_MAX: usize = 12;

/// The record of one case. Behind a lock, because a case that reaches its time limit is dropped where it stands and
/// its record is still wanted.
#[derive(Debug)]
pub struct Transcript {
    start: Instant,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    lines: Vec<String>,
    left_out: usize,
    notes: Vec<String>,
}

impl Default for Transcript {
    fn default() -> Self {
        Self { start: Instant::now(), state: Mutex::default() }
    }
}

impl Transcript {
    /// Adds a line.
    pub fn add(&self, text: impl FnOnce() -> String) {
        let at_ms = self.start.elapsed().as_millis();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.lines.len() < ENTRIES_MAX {
            let line = format!("{at_ms:>6} ms  {}", text());
            state.lines.push(line);
        } else {
            state.left_out += 1;
        }
    }

    /// Adds something worth telling even of a case that passes: which of several allowed behaviours was seen.
    pub fn note(&self, text: String) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).notes.push(text);
    }

    /// All lines.
    pub fn lines(&self) -> Vec<String> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut lines = state.lines.clone();
        if state.left_out > 0 {
            lines.push(format!("… {} more messages", state.left_out));
        }
        lines
    }

    /// All notes.
    pub fn notes(&self) -> Vec<String> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).notes.clone()
    }
}

/// A state-of-the-world request in one line.
pub fn sotw_request(request: &DiscoveryRequest) -> String {
    let mut line = head(&request.type_url, request.node.is_some());
    let _ = write!(line, " names={}", names(&request.resource_names));
    let _ = write!(line, " version={:?} nonce={:?}", request.version_info, request.response_nonce);
    if let Some(error) = &request.error_detail {
        let _ = write!(line, " error={:?}", error.message);
    }
    line
}

/// A delta request in one line.
pub fn delta_request(request: &DeltaDiscoveryRequest) -> String {
    let mut line = head(&request.type_url, request.node.is_some());
    let _ = write!(line, " subscribe={}", names(&request.resource_names_subscribe));
    let _ = write!(line, " unsubscribe={}", names(&request.resource_names_unsubscribe));
    if !request.initial_resource_versions.is_empty() {
        let versions: Vec<_> =
            request.initial_resource_versions.iter().map(|(n, v)| format!("{n}={v}")).collect();
        let _ = write!(line, " initial={}", names(&versions));
    }
    let _ = write!(line, " nonce={:?}", request.response_nonce);
    if let Some(error) = &request.error_detail {
        let _ = write!(line, " error={:?}", error.message);
    }
    line
}

/// A response in one line.
pub fn response(response: &Response) -> String {
    let mut line = head(&response.type_url, false);
    let resources: Vec<_> = response
        .resources
        .iter()
        .map(|r| {
            let mut text = r.name.clone();
            if !r.version.is_empty() {
                let _ = write!(text, "@{}", r.version);
            }
            if r.body.is_none() {
                text.push_str("(no body)");
            }
            if let Some(ttl) = r.ttl_ms {
                let _ = write!(text, "(ttl {ttl} ms)");
            }
            text
        })
        .collect();
    let _ = write!(line, " resources={}", names(&resources));
    if !response.removed.is_empty() {
        let _ = write!(line, " removed={}", names(&response.removed));
    }
    for error in &response.errors {
        let _ = write!(line, " error({} code {}: {})", error.name, error.code, error.message);
    }
    let _ = write!(line, " version={:?} nonce={:?} {} B", response.version, response.nonce, response.bytes);
    line
}

fn head(type_url: &str, node: bool) -> String {
    let short = any::type_name(type_url).rsplit('.').next().unwrap_or_default();
    format!("{}{}", if short.is_empty() { "(no type)" } else { short }, if node { " node" } else { "" })
}

fn names(all: &[String]) -> String {
    let shown: Vec<&str> = all.iter().take(NAMES_MAX).map(String::as_str).collect();
    let more = all.len().saturating_sub(NAMES_MAX);
    if more == 0 {
        format!("[{}]", shown.join(", "))
    } else {
        format!("[{}, … {more} more]", shown.join(", "))
    }
}
