//! What a follower knows to turn objects into items: where the nodes are, and which slices name which node.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde_json::Value;
use tokio::sync::watch;

use crate::{
    follow::{Failing, SharedPlaces},
    kinds::Kind,
    translate::{self, Content, Item, Places},
};

/// A change of one object.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Change {
    /// It is new or different.
    Set(Item),
    /// It is gone.
    Gone(Arc<str>),
}

/// From objects of one kind to items.
pub(crate) struct Translation {
    source: Arc<str>,
    kind: &'static Kind,
    part: Part,
}

/// What is kept for some kinds.
enum Part {
    /// Nothing.
    None,
    /// Nodes: where they are is told the slices.
    Nodes(Places, watch::Sender<Option<Arc<Places>>>),
    /// Slices.
    Slices(Slices),
}

/// A slice's document, and the nodes that it names.
type Held = (Arc<[u8]>, BTreeSet<String>);

struct Slices {
    shared: SharedPlaces,
    places: Arc<Places>,
    /// The document of each slice that names nodes, as it was handed over: its bytes exist once.
    held: BTreeMap<Arc<str>, Held>,
    by_node: BTreeMap<String, BTreeSet<Arc<str>>>,
    version: String,
}

impl Translation {
    /// For kinds that stand alone.
    pub(crate) fn new(source: Arc<str>, kind: &'static Kind) -> Self {
        Self { source, kind, part: Part::None }
    }

    /// For nodes.
    pub(crate) fn nodes(
        source: Arc<str>,
        kind: &'static Kind,
        tell: watch::Sender<Option<Arc<Places>>>,
    ) -> Self {
        Self { source, kind, part: Part::Nodes(Places::new(), tell) }
    }

    /// For slices.
    pub(crate) fn slices(source: Arc<str>, kind: &'static Kind, shared: SharedPlaces) -> Self {
        let slices = Slices {
            shared,
            places: Arc::default(),
            held: BTreeMap::new(),
            by_node: BTreeMap::new(),
            version: String::new(),
        };
        Self { source, kind, part: Part::Slices(slices) }
    }

    /// Waits until it is known where the nodes are, if that matters: a slice is told once, with its regions.
    pub(crate) async fn ready(&mut self) {
        if let Part::Slices(slices) = &mut self.part
            && let Ok(places) = slices.shared.wait_for(Option::is_some).await
        {
            slices.places = places.clone().unwrap_or_default();
        }
    }

    /// The target can't be read. Where nodes are is then not known, and the slices need not wait for it.
    pub(crate) fn failing(&self, failing: &Failing) {
        if let (Part::Nodes(places, tell), Failing::Forbidden(_)) = (&self.part, failing) {
            tell.send_if_modified(|told| told.is_none() && told.replace(Arc::new(places.clone())).is_none());
        }
    }

    /// A listing begins: what was known is forgotten.
    pub(crate) fn begin(&mut self) {
        match &mut self.part {
            Part::Nodes(places, _) => places.clear(),
            Part::Slices(slices) => {
                slices.held.clear();
                slices.by_node.clear();
            }
            Part::None => {}
        }
    }

    /// Objects of a listing.
    pub(crate) fn listed(&mut self, version: &str, objects: Vec<Value>) -> Vec<Item> {
        if let Part::Nodes(places, _) = &mut self.part {
            let place =
                |node: &Value| Some((translate::identity(node)?.1.to_owned(), translate::place(node)));
            places.extend(objects.iter().filter_map(place));
            return Vec::new();
        }
        objects.into_iter().filter_map(|object| self.item(version, object)).collect()
    }

    /// The listing is whole.
    pub(crate) fn end(&mut self) {
        if let Part::Nodes(places, tell) = &self.part {
            publish(places, tell);
        }
    }

    /// An object is new or has changed.
    pub(crate) fn set(&mut self, version: &str, object: Value) -> Option<Change> {
        if let Part::Nodes(places, tell) = &mut self.part {
            let (_, name) = translate::identity(&object)?;
            places.insert(name.to_owned(), translate::place(&object));
            publish(places, tell);
            return None;
        }
        self.item(version, object).map(Change::Set)
    }

    /// An object is gone.
    pub(crate) fn gone(&mut self, object: &Value) -> Option<Change> {
        let (namespace, name) = translate::identity(object)?;
        let full: Arc<str> = self.kind.object_name(namespace, name).into();
        match &mut self.part {
            Part::Nodes(places, tell) => {
                places.remove(name);
                publish(places, tell);
                return None;
            }
            Part::Slices(slices) => slices.forget(&full),
            Part::None => {}
        }
        Some(Change::Gone(full))
    }

    /// Waits until nodes have moved, and gives the slices that name them anew.
    pub(crate) async fn moved(&mut self) -> Vec<Change> {
        let Part::Slices(slices) = &mut self.part else { return std::future::pending().await };
        if slices.shared.changed().await.is_err() {
            return std::future::pending().await;
        }
        let new = slices.shared.borrow_and_update().clone().unwrap_or_default();
        let old = std::mem::replace(&mut slices.places, new.clone());
        let nodes = old.keys().chain(new.keys()).filter(|node| old.get(*node) != new.get(*node));
        let concerned: BTreeSet<Arc<str>> =
            nodes.filter_map(|node| slices.by_node.get(node)).flatten().cloned().collect();
        let version = slices.version.clone();
        let bodies: Vec<_> = concerned.iter().filter_map(|name| slices.held.get(name).cloned()).collect();
        let objects = bodies.iter().filter_map(|(body, _)| serde_json::from_slice(body).ok());
        objects.filter_map(|object| self.item(&version, object).map(Change::Set)).collect()
    }

    fn item(&mut self, version: &str, object: Value) -> Option<Item> {
        // Almost always one of these: kinds without a part of their own stay clear of both.
        let Part::Slices(slices) = &mut self.part else {
            return translate::item(&self.source, self.kind, version, object, &Places::new());
        };
        version.clone_into(&mut slices.version);
        let nodes = translate::nodes_of(&object);
        let item = translate::item(&self.source, self.kind, version, object, &slices.places)?;
        slices.forget(&item.name);
        if let (Content::Body(body), false) = (&item.content, nodes.is_empty()) {
            for node in &nodes {
                slices.by_node.entry(node.clone()).or_default().insert(item.name.clone());
            }
            slices.held.insert(item.name.clone(), (body.clone(), nodes));
        }
        Some(item)
    }
}

impl Slices {
    fn forget(&mut self, name: &Arc<str>) {
        let Some((_, nodes)) = self.held.remove(name) else { return };
        for node in nodes {
            if let Some(slices) = self.by_node.get_mut(&node) {
                slices.remove(name);
                if slices.is_empty() {
                    self.by_node.remove(&node);
                }
            }
        }
    }
}

/// Nodes tell of themselves every few seconds, but seldom that they are elsewhere.
fn publish(places: &Places, tell: &watch::Sender<Option<Arc<Places>>>) {
    tell.send_if_modified(|told| {
        let differs = told.as_deref() != Some(places);
        if differs {
            *told = Some(Arc::new(places.clone()));
        }
        differs
    });
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kinds::KINDS;

    fn kind(name: &str) -> &'static Kind {
        KINDS.iter().find(|kind| kind.name == name).unwrap()
    }

    fn node(name: &str, region: &str, beat: u32) -> Value {
        json!({"metadata": {"name": name, "labels": {"topology.kubernetes.io/region": region}}, "status": beat})
    }

    fn slice(name: &str, node: &str) -> Value {
        json!({"metadata": {"name": name, "namespace": "n"}, "endpoints": [{"nodeName": node}]})
    }

    #[tokio::test]
    async fn a_node_that_moves_concerns_its_own_slices_only() {
        let (tell, shared) = watch::channel(None);
        let mut nodes = Translation::nodes("k".into(), kind("Node"), tell);
        let mut slices = Translation::slices("k".into(), kind("EndpointSlice"), shared);
        nodes.listed("v1", vec![node("a", "eu", 0)]);
        nodes.listed("v1", vec![node("b", "eu", 0)]);
        nodes.end();
        slices.ready().await;
        let first = slices.listed("v1", vec![slice("sa", "a"), slice("sb", "b"), slice("sc", "c")]);
        assert_eq!(first.len(), 3);
        // It only told that it is alive.
        nodes.set("v1", node("a", "eu", 1));
        nodes.set("v1", node("a", "us", 2));
        let moved = slices.moved().await;
        let [Change::Set(item)] = &moved[..] else { panic!("{moved:?}") };
        assert_eq!(&*item.name, "EndpointSlice.discovery.k8s.io/n/sa");
        let Content::Body(body) = &item.content else { panic!() };
        assert!(String::from_utf8_lossy(body).contains("\"us\""), "{body:?}");
        // A slice that is gone is not told again, and one that was waiting for its node is told with it.
        slices.gone(&slice("sb", "b"));
        nodes.gone(&node("b", "", 0));
        nodes.set("v1", node("c", "asia", 0));
        let moved = slices.moved().await;
        let [Change::Set(item)] = &moved[..] else { panic!("{moved:?}") };
        assert_eq!(&*item.name, "EndpointSlice.discovery.k8s.io/n/sc");
    }

    #[tokio::test]
    async fn slices_do_not_wait_for_nodes_that_may_not_be_read() {
        let (tell, shared) = watch::channel(None);
        let nodes = Translation::nodes("k".into(), kind("Node"), tell);
        let mut slices = Translation::slices("k".into(), kind("EndpointSlice"), shared);
        nodes.failing(&Failing::Forbidden(String::new()));
        slices.ready().await;
        assert_eq!(slices.listed("v1", vec![slice("s", "a")]).len(), 1);
    }
}
