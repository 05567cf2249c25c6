//! The cases for clients, by group: acknowledgements, names, streams, what is applied.

mod answers;
mod applied;
mod names;
mod streams;

use lateen_proto::{
    any,
    envoy::config::{cluster::v3::Cluster, core::v3::ConfigSource},
    google::protobuf::Any,
};
use lateen_xds::ResourceType;

use super::{bootstrap, script::Sent};
use crate::{
    case::{Case, Variant},
    content,
};

/// Every case for clients.
pub fn all() -> impl Iterator<Item = &'static Case> {
    [answers::CASES, names::CASES, streams::CASES, applied::CASES].into_iter().flatten()
}

/// Turns an `async fn(Script) -> Outcome` into what a [`Case`] holds.
macro_rules! case {
    ($id:literal, $name:literal, $clause:expr, $function:path) => {
        $crate::case::Case::client($id, $name, $clause, |script| Box::pin($function(script)))
    };
}
use case;

/// A cluster that needs nothing else.
fn plain(name: &str, number: u32) -> Sent {
    Sent::new(name, content::body(ResourceType::Cluster, name, number))
}

/// A cluster whose endpoints come from the server, in the variant of the run.
fn eds(variant: Variant, name: &str, change: impl FnOnce(&mut ConfigSource)) -> Sent {
    let mut source = bootstrap::source(variant);
    change(&mut source);
    let mut cluster: Cluster =
        any::unpack(&content::eds_cluster(name, 4)).expect("it was packed as a cluster");
    if let Some(eds) = &mut cluster.eds_cluster_config {
        eds.eds_config = Some(source);
    }
    Sent::new(name, any::pack(&cluster))
}

fn endpoints(name: &str) -> Sent {
    Sent::new(name, content::endpoints(name, 1))
}

/// A cluster that no client can read: field 1 claims more bytes than there are.
fn unreadable(name: &str) -> Sent {
    let type_url = ResourceType::Cluster.info().url.to_owned();
    Sent::new(name, Any { type_url, value: vec![0x0a, 0x7f].into() })
}
