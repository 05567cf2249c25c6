//! What the tests do on every platform.

use std::{net::SocketAddr, time::Instant};

use crate::watch::{Seen, Watch};

/// The service whose instances come and go.
pub const SERVICE: &str = "web";
/// Its namespace.
pub const NAMESPACE: &str = "shop";
/// Its host.
pub const WEB: &str = "web.shop.svc.cluster.local";

/// What happens to an instance.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Change {
    /// It is there, and takes requests.
    Comes,
    /// It takes no new requests.
    Goes,
}

/// A platform on a real server, with instances that really answer.
pub trait Platform {
    /// What it is called in the output.
    const NAME: &'static str;
    /// Changes that are made at a time: one, but where each takes the platform long.
    const AT_ONCE: usize = 1;

    /// The `--adapter` flag's value.
    fn adapter(&self) -> String;

    /// Writes a document of configuration.
    async fn configure(&mut self, name: &str, document: &str) -> anyhow::Result<()>;

    /// Listens to the platform beside the adapter.
    async fn watch(&self) -> anyhow::Result<Watch>;

    /// Starts an instance and says so to the platform; it has answered when this returns.
    async fn start(&mut self, name: &str) -> anyhow::Result<()>;

    /// Takes an instance out, as an operator does who replaces it; the instance goes on.
    async fn drain(&mut self, name: &str) -> anyhow::Result<()>;

    /// Ends an instance that was taken out, and forgets it.
    async fn end(&mut self, name: &str) -> anyhow::Result<()>;

    /// Something happens to an instance that only the platform notices.
    async fn fail(&mut self, name: &str) -> anyhow::Result<()>;

    /// When the platform told its watchers of a change, looked up in what came since the change was begun.
    fn told(&self, name: &str, change: Change, since: &[Seen]) -> Option<Instant>;

    /// Where an instance listens, looked up in everything that came.
    fn address(&self, name: &str, seen: &[Seen]) -> Option<SocketAddr>;

    /// The name with which the instance at this address answers requests.
    fn answers_as(name: &str, _address: SocketAddr) -> String {
        name.to_owned()
    }
}
