//! What is asked of Nomad when something has to be read, and how answers go into the mirror.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use futures::{StreamExt, TryStreamExt, stream};
use lateen_model::SourceEvent;

use crate::{
    client::{Client, ClientError, ReadVariable},
    mirror::{Mirror, ServiceKey, VariableKey},
    translate,
    wire::{Alloc, NamespaceServices, Node, Registration, VariableStub},
};

/// Requests at a time.
pub(crate) const READS: usize = 8;

/// Allocations and nodes.
#[derive(Debug, Default)]
pub(crate) struct Places {
    pub(crate) allocs: Vec<Alloc>,
    pub(crate) nodes: Vec<(String, Node)>,
}

/// A full reading, but for the services' instances.
#[derive(Debug)]
pub(crate) struct Everything {
    pub(crate) index: u64,
    pub(crate) services: BTreeSet<ServiceKey>,
    pub(crate) allocs_index: u64,
    pub(crate) listed_allocs: BTreeSet<String>,
    pub(crate) allocs: Vec<Alloc>,
}

pub(crate) fn names(namespaces: Vec<NamespaceServices>) -> BTreeSet<ServiceKey> {
    let mut names = BTreeSet::new();
    for NamespaceServices { namespace, services } in namespaces {
        let namespace: Arc<str> = namespace.into();
        names.extend(services.into_iter().map(|service| (namespace.clone(), service.service_name.into())));
    }
    names
}

pub(crate) async fn read_everything(client: &Client) -> Result<Everything, ClientError> {
    // A token that has lost its rights gets an empty list of services, and a refusal here: so this is asked after
    // it, and before an empty list is believed.
    let (index, namespaces) = client.services(0).await?;
    let (allocs_index, listed) = client.allocs().await?;
    let listed_allocs = listed.iter().map(|alloc| alloc.id.clone()).collect();
    let (undecided, mut allocs): (Vec<_>, Vec<_>) = listed.into_iter().partition(translate::is_undecided);
    let reading = undecided.into_iter().map(|stub| async move {
        let read = client.alloc(&stub.id).await?;
        Ok::<_, ClientError>(read.unwrap_or(stub))
    });
    allocs.extend(stream::iter(reading).buffer_unordered(READS).try_collect::<Vec<_>>().await?);
    Ok(Everything { index, services: names(namespaces), allocs_index, listed_allocs, allocs })
}

pub(crate) fn unknown(mirror: &Mirror, registrations: &[Registration]) -> (Vec<String>, Vec<String>) {
    let (allocs, nodes) = mirror.unknown(registrations);
    let owned = |ids: BTreeSet<&str>| ids.into_iter().map(str::to_owned).collect();
    (owned(allocs), owned(nodes))
}

pub(crate) async fn read_places(
    client: &Client,
    allocs: Vec<String>,
    nodes: Vec<String>,
) -> Result<Places, ClientError> {
    let allocs = stream::iter(allocs)
        .map(|id| async move {
            // One that was cleaned up has ended; its registration will go too.
            let ended = || Alloc { id: id.clone(), client_status: "complete".to_owned(), ..Alloc::default() };
            client.alloc(&id).await.map(|alloc| alloc.unwrap_or_else(ended))
        })
        .buffer_unordered(READS)
        .try_collect()
        .await?;
    let nodes = stream::iter(nodes)
        .map(|id| async move { client.node(&id).await.map(|node| (id, node)) })
        .buffer_unordered(READS)
        .try_collect()
        .await?;
    Ok(Places { allocs, nodes })
}

/// Allocations as they are; none where they are not there any more.
pub(crate) async fn look_for(
    client: Arc<Client>,
    ids: Vec<String>,
) -> Result<Vec<(String, Option<Alloc>)>, ClientError> {
    let client = &client;
    let reading = ids.into_iter().map(|id| async move {
        let alloc = client.alloc(&id).await?;
        Ok::<_, ClientError>((id, alloc))
    });
    stream::iter(reading).buffered(READS).try_collect().await
}

pub(crate) fn take_places(mirror: &mut Mirror, places: Places) -> Vec<SourceEvent> {
    for (id, node) in &places.nodes {
        mirror.node(id, node);
    }
    places.allocs.into_iter().flat_map(|alloc| mirror.alloc_in_use(alloc)).collect()
}

/// Reads the Variables that have changed, and those that are not listed any more.
pub(crate) async fn read_variables(
    client: Arc<Client>,
    changed: Vec<VariableKey>,
    missing: Vec<VariableKey>,
    listed: Vec<VariableStub>,
) -> Result<Vec<(VariableStub, ReadVariable)>, ClientError> {
    let index: HashMap<_, _> = listed
        .iter()
        .map(|stub| ((stub.namespace.as_str(), stub.path.as_str()), stub.modify_index))
        .collect();
    let stubs = changed.into_iter().chain(missing).map(|key| VariableStub {
        modify_index: index.get(&(&*key.0, &*key.1)).copied().unwrap_or(0),
        namespace: key.0.to_string(),
        path: key.1.to_string(),
    });
    let reading = stubs.collect::<Vec<_>>().into_iter().map(|stub| {
        let client = &client;
        async move {
            let key = (stub.namespace.as_str().into(), stub.path.as_str().into());
            let read = client.variable(&key).await?;
            Ok::<_, ClientError>((stub, read))
        }
    });
    stream::iter(reading).buffered(READS).try_collect().await
}

pub(crate) fn take_variable(
    mirror: &mut Mirror,
    stub: &VariableStub,
    read: ReadVariable,
) -> Vec<SourceEvent> {
    let key = (stub.namespace.as_str().into(), stub.path.as_str().into());
    match read {
        ReadVariable::Is(variable) => mirror.variable(&key, variable),
        ReadVariable::Gone => mirror.variable_gone(&key),
        ReadVariable::Forbidden(why) => mirror.unreadable(stub, why),
    }
}
