//! Random subscriptions, changes, answers, rejections and reconnects, in any interleaving.

use std::collections::BTreeMap;

use lateen_xds::{ResourceType, Variant};
use proptest::{collection::vec, prelude::*};

use crate::{
    model::{Client, Edit, KINDS, OnBad, World, is_bad, name_of, refs},
    rig::{Cluster, Endpoints, Listener, Rig, RouteConfiguration, options},
};

#[derive(Clone, Debug)]
enum Op {
    Wave(Vec<Edit>),
    Deliver,
    Answer,
    Reconnect,
    Tick,
    Subscribe(ResourceType, u8),
    Unsubscribe(ResourceType, u8),
}

fn kinds() -> impl Strategy<Value = ResourceType> {
    proptest::sample::select(&KINDS[..])
}

/// `bad`: which of ten contents are rejected; the types in `good` are never bad.
fn edits(good: &'static [ResourceType]) -> impl Strategy<Value = Edit> {
    let set = (kinds(), 0..5_u8, 0..10_u8, vec(0..5_u8, 0..3)).prop_map(move |(kind, index, content, to)| {
        let content = if good.contains(&kind) { content % 9 } else { content };
        Edit::Set(kind, index, content, to)
    });
    let unset = (kinds(), 0..5_u8).prop_map(|(kind, index)| Edit::Drop(kind, index));
    prop_oneof![3 => set, 1 => unset]
}

/// Endpoints come and go with their cluster.
fn envoy_edits() -> impl Strategy<Value = Edit> {
    edits(&[Cluster, Endpoints]).prop_filter("endpoints are there when their cluster is", |edit| {
        !matches!(edit, Edit::Drop(Endpoints, _))
    })
}

fn envoy_ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        3 => vec(envoy_edits(), 1..5).prop_map(Op::Wave),
        5 => Just(Op::Deliver),
        5 => Just(Op::Answer),
        1 => Just(Op::Tick),
        1 => Just(Op::Reconnect),
    ];
    vec(op, 0..60)
}

fn random_ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        3 => vec(edits(&[]), 1..5).prop_map(Op::Wave),
        4 => Just(Op::Deliver),
        4 => Just(Op::Answer),
        1 => Just(Op::Tick),
        1 => Just(Op::Reconnect),
        2 => (kinds(), 0..6_u8).prop_map(|(kind, index)| Op::Subscribe(kind, index)),
        1 => (kinds(), 0..6_u8).prop_map(|(kind, index)| Op::Unsubscribe(kind, index)),
    ];
    vec(op, 0..60)
}

/// A server, a client, and what exists.
struct Play {
    rig: Rig,
    client: Client,
    world: World,
    /// Does the client ask for what its resources refer to, as Envoy does?
    envoy: bool,
    /// Has anything happened that suspends the order (a deadline, a state-of-the-world reconnect)?
    disordered: bool,
    reconnected: bool,
}

impl Play {
    fn new(variant: Variant, on_bad: OnBad, envoy: bool) -> Self {
        let (rig, client) = (Rig::with(options(variant)), Client::new(variant, on_bad));
        let mut play =
            Self { rig, client, world: World::default(), envoy, disordered: false, reconnected: false };
        if envoy {
            for kind in [Cluster, Listener] {
                play.client.types.get_mut(&kind).unwrap().wildcard = true;
                play.client.begin(&mut play.rig, kind, &play.world);
            }
        }
        play
    }

    fn run(&mut self, op: &Op) {
        match op {
            Op::Wave(edits) => {
                for edit in edits {
                    self.world.edit(edit);
                    if self.envoy
                        && let Edit::Set(Cluster, index, content, _) = edit
                        && self.world.content(Endpoints, &name_of(Endpoints, *index)).is_none()
                    {
                        self.world.edit(&Edit::Set(Endpoints, *index, *content, vec![]));
                    }
                    if self.envoy
                        && let Edit::Drop(Cluster, index) = edit
                    {
                        self.world.edit(&Edit::Drop(Endpoints, *index));
                    }
                }
                self.world.publish(&mut self.rig);
            }
            Op::Deliver => drop(self.deliver()),
            Op::Answer => drop(self.answer()),
            Op::Tick => self.rig.now_ms += 20,
            Op::Reconnect => {
                self.reconnected = true;
                // What a state-of-the-world client holds is unknown after a reconnect.
                self.disordered |= self.client.variant == Variant::Sotw;
                self.client.reconnect(&mut self.rig, &self.world);
                if self.envoy {
                    self.client.follow(&mut self.rig, &self.world);
                }
            }
            Op::Subscribe(kind, index) => {
                self.client.subscribe(&mut self.rig, *kind, &name_of(*kind, *index), &self.world);
            }
            Op::Unsubscribe(kind, index) => {
                self.client.unsubscribe(&mut self.rig, *kind, &name_of(*kind, *index), &self.world);
            }
        }
        assert!(self.rig.session.memory_bytes() < 20_000, "memory grows");
    }

    fn deliver(&mut self) -> bool {
        let Some(reply) = self.rig.next() else { return false };
        for (name, content) in &reply.resources {
            // A rejected version is not sent again, unless its resource has changed in between.
            let kind = reply.kind();
            let Some(version) = reply.versions.get(name) else { continue };
            let version = (kind, name.clone(), version.clone());
            let now = self.world.changes.get(&(kind, name.clone())).copied().unwrap_or(0);
            if let Some(then) = self.client.convicted.get(&version) {
                assert!(now > *then, "{kind} {name}={content:?} was rejected and is sent again");
            }
            self.client.sent.insert(version, now);
        }
        self.client.inbox.push_back(reply);
        true
    }

    fn answer(&mut self) -> bool {
        if self.client.answer(&mut self.rig, &self.world).is_none() {
            return false;
        }
        if self.envoy {
            if !self.disordered {
                assert_eq!(self.client.dangling(), [""; 0], "a reference is broken before it is replaced");
            }
            self.client.follow(&mut self.rig, &self.world);
        }
        true
    }

    /// Everything delivered and answered, deadlines waited for.
    fn quiesce(&mut self) {
        for _ in 0..2_000 {
            let moved = self.deliver();
            if !(self.answer() || moved) {
                let Some(deadline) = self.rig.session.deadline() else { return };
                self.disordered |= deadline > self.rig.now_ms + 4_000;
                self.rig.now_ms = self.rig.now_ms.max(deadline);
                self.rig.session.on_ready();
            }
        }
        panic!("no end: {:?}", self.rig.session.status());
    }

    /// What the client should hold and does not, and the other way round.
    fn differences(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        for kind in KINDS {
            let one = self.client.of(kind);
            let asked = |name: &str| one.wildcard || one.names.contains(name);
            for (of, name) in self.world.resources.keys().filter(|(of, name)| *of == kind && asked(name)) {
                let content = self.world.content(*of, name).unwrap();
                let held = one.held.get(name);
                if is_bad(&content) {
                    if held.is_some_and(|held| is_bad(held)) {
                        wrong.push(format!("{kind} {name} is bad and held"));
                    }
                } else if held != Some(&content) {
                    wrong.push(format!("{kind} {name}={content} is held as {held:?}"));
                }
            }
            for (name, content) in &one.held {
                if self.world.content(kind, name).is_none() && !self.may_linger(kind, name) {
                    wrong.push(format!("{kind} {name}={content} is gone and held"));
                }
            }
        }
        wrong
    }

    /// May the client hold something that is gone?
    fn may_linger(&self, kind: ResourceType, name: &str) -> bool {
        let sotw = self.client.variant == Variant::Sotw;
        if sotw && self.reconnected && self.client.rejected_any {
            // The server does not know of it, and the only set that it could send instead might be empty.
            return true;
        }
        match kind {
            // A rejected referrer still uses it, or might.
            Cluster => {
                let held =
                    [Listener, RouteConfiguration].into_iter().flat_map(|k| self.client.of(k).held.values());
                held.flat_map(|content| refs(content)).any(|to| to == name) || self.client.rejected_any
            }
            // Absence can't be said (state of the world), or its cluster lingers.
            Endpoints => sotw || self.client.rejected_any || self.lingering_clusters(),
            RouteConfiguration => {
                sotw || self.client.rejected_any || {
                    self.client
                        .of(Listener)
                        .held
                        .values()
                        .flat_map(|content| refs(content))
                        .any(|to| to == name)
                }
            }
            _ => false,
        }
    }

    fn lingering_clusters(&self) -> bool {
        self.client.of(Cluster).held.keys().any(|name| self.world.content(Cluster, name).is_none())
    }
}

fn modes() -> impl Strategy<Value = OnBad> {
    prop_oneof![Just(OnBad::Whole), Just(OnBad::Good)]
}

/// `PROPTEST_CASES` asks for more.
pub fn config() -> ProptestConfig {
    let default = ProptestConfig::default();
    ProptestConfig {
        cases: default.cases.max(1_000),
        max_shrink_iters: 20_000,
        failure_persistence: None,
        ..default
    }
}

proptest! {
    #![proptest_config(config())]

    /// Envoy's way of asking: references are never broken, and in the end it has what exists.
    #[test]
    fn envoy_never_lacks_what_it_refers_to(ops in envoy_ops(), delta: bool) {
        let variant = if delta { Variant::Delta } else { Variant::Sotw };
        let mut play = Play::new(variant, OnBad::Whole, true);
        for op in &ops {
            play.run(op);
        }
        play.quiesce();
        prop_assert_eq!(play.differences(), Vec::<String>::new());
    }

    /// Any client, any subscription: it ends with what exists of what it asked for, the same in both variants.
    #[test]
    fn both_variants_end_with_what_exists(ops in random_ops(), on_bad in modes()) {
        let mut ends = BTreeMap::new();
        for variant in [Variant::Sotw, Variant::Delta] {
            let mut play = Play::new(variant, on_bad, false);
            for op in &ops {
            play.run(op);
        }
            play.quiesce();
            prop_assert_eq!(play.differences(), Vec::<String>::new(), "{:?}", variant);
            for kind in KINDS {
                let good = |name: &str| play.world.content(kind, name).is_some_and(|content| !is_bad(&content));
                let held = play.client.of(kind).held.iter().filter(|(name, _)| good(name));
                let held: Vec<_> = held.map(|(name, content)| (name.clone(), content.clone())).collect();
                ends.entry(kind).or_insert_with(Vec::new).push(held);
            }
        }
        for (kind, ends) in ends {
            prop_assert_eq!(&ends[0], &ends[1], "{}", kind);
        }
    }

    /// A wildcard beside names, switched on for the types that have it.
    #[test]
    fn wildcard_and_names_together(ops in random_ops(), delta: bool, on_bad in modes()) {
        let variant = if delta { Variant::Delta } else { Variant::Sotw };
        let mut play = Play::new(variant, on_bad, false);
        for kind in [Cluster, Listener] {
            play.client.types.get_mut(&kind).unwrap().wildcard = true;
            play.client.begin(&mut play.rig, kind, &play.world);
        }
        for op in &ops {
            play.run(op);
        }
        play.quiesce();
        prop_assert_eq!(play.differences(), Vec::<String>::new());
    }
}
