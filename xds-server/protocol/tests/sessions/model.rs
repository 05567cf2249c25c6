//! Naive clients, written from the specification, not from the server: maps of strings, no memory law.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use lateen_xds::{NameId, Resource, ResourceType, Variant};

use crate::rig::{Ask, Cluster, Endpoints, Listener, Reply, Rig, RouteConfiguration, delta, list};

pub const KINDS: [ResourceType; 4] = [Cluster, Endpoints, Listener, RouteConfiguration];

/// How a client treats a response in which something is bad.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OnBad {
    /// Nothing of it is applied.
    Whole,
    /// The good ones are applied, as Envoy does with clusters and listeners.
    Good,
}

/// What the client knows of one type.
#[derive(Clone, Debug, Default)]
pub struct OneType {
    pub wildcard: bool,
    pub names: BTreeSet<String>,
    pub held: BTreeMap<String, String>,
    pub versions: BTreeMap<String, String>,
    nonce: String,
    requested: bool,
    /// An empty list does not mean everything any more.
    ever_named: bool,
}

#[derive(Debug)]
pub struct Client {
    pub variant: Variant,
    pub on_bad: OnBad,
    pub types: BTreeMap<ResourceType, OneType>,
    pub inbox: VecDeque<Reply>,
    /// The number of changes of a name up to when a version of it was sent last.
    pub sent: BTreeMap<(ResourceType, String, String), u64>,
    /// Single resources that were rejected, with the number of changes of the name up to when they were sent: one
    /// that was exchanged and came back meanwhile is sent once more.
    pub convicted: BTreeMap<(ResourceType, String, String), u64>,
    pub rejected_any: bool,
}

pub fn is_bad(content: &str) -> bool {
    content.starts_with('9')
}

/// The names that a content refers to: `CONTENT:name,name`.
pub fn refs(content: &str) -> Vec<String> {
    let names = content.split_once(':').map_or("", |(_, names)| names);
    names.split(',').filter(|name| !name.is_empty()).map(ToOwned::to_owned).collect()
}

impl Client {
    pub fn new(variant: Variant, on_bad: OnBad) -> Self {
        let types = KINDS.into_iter().map(|kind| (kind, OneType::default())).collect();
        let (inbox, sent, convicted) = (VecDeque::new(), BTreeMap::new(), BTreeMap::new());
        Self { variant, on_bad, types, inbox, sent, convicted, rejected_any: false }
    }

    pub fn of(&self, kind: ResourceType) -> &OneType {
        &self.types[&kind]
    }

    fn of_mut(&mut self, kind: ResourceType) -> &mut OneType {
        self.types.get_mut(&kind).unwrap()
    }

    fn is_full(&self, kind: ResourceType) -> bool {
        self.variant == Variant::Sotw && matches!(kind, Cluster | Listener)
    }

    fn list_of(&self, kind: ResourceType) -> Vec<&str> {
        let one = self.of(kind);
        let star = (one.wildcard && one.ever_named).then_some("*");
        star.into_iter().chain(one.names.iter().map(String::as_str)).collect()
    }

    /// The first request of a type on a stream.
    pub fn begin(&mut self, rig: &mut Rig, kind: ResourceType, world: &World) {
        let (names, one) = (self.list_of(kind), self.of(kind));
        let held: Vec<(&str, &str)> = one.versions.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        let ask = match self.variant {
            Variant::Sotw => list(kind, &names),
            Variant::Delta => delta(kind, &names, &[]).holding(&held),
        };
        self.of_mut(kind).requested = true;
        self.send(rig, &ask, world);
    }

    /// A new stream: what was in the pipe is lost, what is held stays.
    pub fn reconnect(&mut self, rig: &mut Rig, world: &World) {
        rig.reconnect();
        self.inbox.clear();
        self.convicted.clear();
        for kind in KINDS {
            let one = self.of_mut(kind);
            one.nonce.clear();
            let requested = std::mem::take(&mut one.requested);
            // What is not covered by the subscription is not kept.
            let (wildcard, names) = (one.wildcard, one.names.clone());
            one.held.retain(|name, _| wildcard || names.contains(name));
            one.versions.retain(|name, _| wildcard || names.contains(name));
            if requested && (wildcard || !names.is_empty()) {
                self.begin(rig, kind, world);
            }
        }
    }

    fn send(&mut self, rig: &mut Rig, ask: &Ask, world: &World) {
        rig.send(ask);
        for acked in rig.outcome.acked.clone() {
            let made = &world.made[&(acked.kind, acked.name, acked.version.0)];
            rig.view.good.insert((acked.kind, acked.name), made.clone());
        }
        for guilty in rig.outcome.guilty.clone() {
            let name = rig.view.names.text(guilty.name).to_string();
            let now = world.changes.get(&(guilty.kind, name.clone())).copied().unwrap_or(0);
            let version = (guilty.kind, name, guilty.version.to_string());
            let then = self.sent.get(&version).copied().unwrap_or(now);
            self.convicted.insert(version, then);
        }
    }

    pub fn subscribe(&mut self, rig: &mut Rig, kind: ResourceType, name: &str, world: &World) {
        self.change(rig, kind, &[name], &[], world);
    }

    pub fn unsubscribe(&mut self, rig: &mut Rig, kind: ResourceType, name: &str, world: &World) {
        self.change(rig, kind, &[], &[name], world);
    }

    pub fn change(&mut self, rig: &mut Rig, kind: ResourceType, add: &[&str], drop: &[&str], world: &World) {
        let one = self.types.get_mut(&kind).unwrap();
        let first = !one.requested;
        if !first && add.is_empty() && drop.iter().all(|name| !one.names.contains(*name)) {
            return;
        }
        one.ever_named |= !add.is_empty();
        one.names.extend(add.iter().map(ToString::to_string));
        for name in drop {
            one.names.remove(*name);
            // Under a wildcard the client does not know whether the name is still covered: it is told.
            if !one.wildcard {
                one.held.remove(*name);
                one.versions.remove(*name);
            }
            self.convicted.retain(|(of, convicted, _), _| *of != kind || convicted != name);
        }
        if first {
            self.begin(rig, kind, world);
            return;
        }
        let ask = match self.variant {
            Variant::Sotw => list(kind, &self.list_of(kind)).nonce(&self.of(kind).nonce),
            Variant::Delta => delta(kind, add, drop),
        };
        self.send(rig, &ask, world);
    }

    /// Reads the oldest response and answers it. Did it accept?
    pub fn answer(&mut self, rig: &mut Rig, world: &World) -> Option<bool> {
        let reply = self.inbox.pop_front()?;
        let kind = reply.kind();
        let bad = reply.resources.values().flatten().any(|content| is_bad(content));
        self.of_mut(kind).nonce.clone_from(&reply.nonce);
        if !bad || self.on_bad == OnBad::Good {
            self.apply(&reply);
        }
        self.rejected_any |= bad;
        let mut ask = match self.variant {
            Variant::Sotw => list(kind, &self.list_of(kind)).of(&reply),
            Variant::Delta => delta(kind, &[], &[]).of(&reply),
        };
        if bad {
            ask = ask.error("bad");
        }
        self.send(rig, &ask, world);
        Some(!bad)
    }

    fn apply(&mut self, reply: &Reply) {
        let kind = reply.kind();
        let full = self.is_full(kind);
        let one = self.of_mut(kind);
        let covered = |name: &String| one.wildcard || one.names.contains(name);
        if full {
            one.held.retain(|name, _| reply.resources.contains_key(name));
        }
        for (name, content) in reply.resources.iter().filter(|(name, _)| covered(name)) {
            let content = content.as_ref().unwrap();
            if content == "(no endpoints)" {
                one.held.remove(name);
            } else if !is_bad(content) {
                one.held.insert(name.clone(), content.clone());
                if let Some(version) = reply.versions.get(name) {
                    one.versions.insert(name.clone(), version.clone());
                }
            }
        }
        for name in &reply.removed {
            one.held.remove(name);
            one.versions.remove(name);
        }
    }

    /// What Envoy asks for by itself: endpoints of its clusters, routes of its listeners.
    pub fn follow(&mut self, rig: &mut Rig, world: &World) {
        for (from, to) in [(Cluster, Endpoints), (Listener, RouteConfiguration)] {
            let mut wanted: BTreeSet<String> = BTreeSet::new();
            for (name, content) in &self.of(from).held {
                match from {
                    Cluster => drop(wanted.insert(name.clone())),
                    _ => wanted.extend(refs(content).into_iter().filter(|name| name.starts_with('r'))),
                }
            }
            let names = self.of(to).names.clone();
            let add: Vec<&str> = wanted.difference(&names).map(String::as_str).collect();
            let drop: Vec<&str> = names.difference(&wanted).map(String::as_str).collect();
            if !add.is_empty() || !drop.is_empty() {
                self.change(rig, to, &add, &drop, world);
            }
        }
    }

    /// Clusters that something held refers to and that the client lacks.
    pub fn dangling(&self) -> Vec<String> {
        let clusters = &self.of(Cluster).held;
        let from = [Listener, RouteConfiguration].into_iter().flat_map(|kind| self.of(kind).held.iter());
        from.flat_map(|(name, content)| refs(content).into_iter().map(move |to| (name.clone(), to)))
            .filter(|(_, to)| to.starts_with('c') && !clusters.contains_key(to))
            .map(|(from, to)| format!("{from} -> {to}"))
            .collect()
    }
}

/// What exists, closed under reference.
#[derive(Debug, Default)]
pub struct World {
    pub resources: BTreeMap<(ResourceType, String), (u8, Vec<String>)>,
    /// How often each resource has changed.
    pub changes: BTreeMap<(ResourceType, String), u64>,
    pub made: BTreeMap<(ResourceType, NameId, u64), Arc<Resource>>,
    touched: BTreeSet<(ResourceType, String)>,
}

/// One change.
#[derive(Clone, Debug)]
pub enum Edit {
    Set(ResourceType, u8, u8, Vec<u8>),
    Drop(ResourceType, u8),
}

pub fn name_of(kind: ResourceType, index: u8) -> String {
    let letter = match kind {
        Cluster | Endpoints => 'c',
        Listener => 'l',
        _ => 'r',
    };
    format!("{letter}{index}")
}

impl World {
    /// Makes one change, and what it takes to keep all references closed.
    pub fn edit(&mut self, edit: &Edit) {
        match edit {
            Edit::Set(kind, index, content, to) => {
                let targets: Vec<String> = match kind {
                    Listener => to.iter().take(1).map(|i| name_of(RouteConfiguration, i % 3)).collect(),
                    RouteConfiguration => to.iter().map(|i| name_of(Cluster, *i)).collect(),
                    _ => Vec::new(),
                };
                let of = if *kind == Listener { RouteConfiguration } else { Cluster };
                let mut targets: Vec<String> =
                    targets.into_iter().filter(|to| self.resources.contains_key(&(of, to.clone()))).collect();
                targets.sort();
                targets.dedup();
                let key = (*kind, name_of(*kind, *index));
                self.touched.insert(key.clone());
                self.resources.insert(key, (*content, targets));
            }
            Edit::Drop(kind, index) => {
                let name = name_of(*kind, *index);
                if self.resources.remove(&(*kind, name.clone())).is_some() {
                    self.touched.insert((*kind, name.clone()));
                }
                if *kind == Endpoints {
                    return;
                }
                let referrers: Vec<_> = self
                    .resources
                    .iter()
                    .filter(|((_, _), (_, to))| to.contains(&name))
                    .map(|(key, _)| key.clone())
                    .collect();
                for key in referrers {
                    self.resources.get_mut(&key).unwrap().1.retain(|to| *to != name);
                    self.touched.insert(key);
                }
            }
        }
    }

    pub fn content(&self, kind: ResourceType, name: &str) -> Option<String> {
        let (content, to) = self.resources.get(&(kind, name.to_owned()))?;
        Some(format!("{content}:{}", to.join(",")))
    }

    /// Tells the session about everything touched, as one wave.
    pub fn publish(&mut self, rig: &mut Rig) {
        let touched = std::mem::take(&mut self.touched);
        for (kind, name) in &touched {
            *self.changes.entry((*kind, name.clone())).or_default() += 1;
            let Some(content) = self.content(*kind, name) else {
                rig.unset(*kind, name);
                continue;
            };
            let named = refs(&content);
            let mut targets: Vec<(ResourceType, &str)> = named
                .iter()
                .map(|to| (if to.starts_with('c') { Cluster } else { RouteConfiguration }, to.as_str()))
                .collect();
            if *kind == Cluster {
                targets.push((Endpoints, name));
            }
            rig.set(*kind, name, &content, &targets);
            let id = rig.id(name);
            let resource = rig.view.resources[&(*kind, id)].clone();
            self.made.insert((*kind, id, resource.version.0), resource);
        }
        for kind in KINDS {
            let names: Vec<NameId> =
                touched.iter().filter(|(of, _)| *of == kind).map(|(_, name)| rig.id(name)).collect();
            if !names.is_empty() {
                rig.session.on_changed(kind, &names);
            }
        }
    }
}
