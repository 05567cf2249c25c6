//! From what the followers say to events: pure, but for the clock.
//!
//! Listings are kept until they are whole, so that a scope is never left open when something fails. The first ones
//! of all targets go out together.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use lateen_model::{Document, ObjectId, ObjectKind, Scope, SourceEvent, event::Object};
use tokio::time::Instant;
use xxhash_rust::xxh3::xxh3_128;

use crate::{
    follow::{Failing, Told},
    kinds::{Shape, Target},
    translate::{self, Content, Item, SecretName},
    translation::Change,
};

/// How long listings wait for those of others that fail, so that they go out together.
const HOLD: Duration = Duration::from_secs(1);

/// How a target stands.
#[derive(Debug)]
enum State {
    /// Nothing was heard of it.
    Waiting,
    /// It is followed.
    Live,
    /// It may not be read; the others go on without it, but if its objects may refuse something.
    Forbidden(String),
    /// It can't be read at present.
    Failing(String),
}

/// What the core knows of a target: a fingerprint of each object.
#[derive(Debug, Default)]
struct Known(HashMap<Arc<str>, u128>);

/// All targets.
#[derive(Debug)]
pub(crate) struct Feed {
    source: Arc<str>,
    targets: Vec<Target>,
    states: Vec<State>,
    known: Vec<Known>,
    /// By target, listings that were not sent yet, and what came after them.
    held: BTreeMap<usize, Vec<SourceEvent>>,
    held_since: Option<Instant>,
    /// What goes out next.
    ready: Vec<SourceEvent>,
    /// Was everything sent once?
    is_synced: bool,
    gateways: BTreeMap<Arc<str>, BTreeSet<SecretName>>,
}

/// What is to be sent.
#[derive(Debug, PartialEq)]
pub(crate) struct Out {
    /// Events.
    pub(crate) events: Vec<SourceEvent>,
    /// What can't be read, said after the events.
    pub(crate) stale: Option<String>,
}

impl Feed {
    /// Nothing is known of any target.
    pub(crate) fn new(source: Arc<str>, targets: Vec<Target>) -> Self {
        let states = targets.iter().map(|_| State::Waiting).collect();
        let known = targets.iter().map(|_| Known::default()).collect();
        Self {
            source,
            targets,
            states,
            known,
            held: BTreeMap::new(),
            held_since: None,
            ready: Vec::new(),
            is_synced: false,
            gateways: BTreeMap::new(),
        }
    }

    /// Takes what a follower said.
    pub(crate) fn take(&mut self, told: Told) {
        match told {
            Told::Listed(at, items) => self.listed(at, items),
            Told::Changed(at, changes) => self.changed(at, changes),
            Told::Failing(at, Failing::Forbidden(why)) => self.forbidden(at, why),
            Told::Failing(at, Failing::Unavailable(why) | Failing::Unauthenticated(why)) => {
                self.state(at, State::Failing(why));
            }
        }
    }

    fn forbidden(&mut self, at: usize, why: String) {
        if let Some(target) = self.targets.get(at).filter(|target| target.kind.may_refuse()) {
            let diagnostic = translate::forbidden(&self.source, target, &why);
            // No object has this name, and the listing that will come sweeps it.
            self.ready.push(SourceEvent::Invalid { id: id(target.prefix().into()), diagnostic });
        }
        self.state(at, State::Forbidden(why));
    }

    fn state(&mut self, at: usize, state: State) {
        if let Some(known) = self.states.get_mut(at) {
            *known = state;
        }
    }

    fn listed(&mut self, at: usize, items: Vec<Item>) {
        self.state(at, State::Live);
        let (Some(target), Some(known)) = (self.targets.get(at), self.known.get_mut(at)) else { return };
        // Where nodes are travels with the slices.
        if target.kind.shape == Shape::Node {
            return;
        }
        let prefix = target.prefix();
        if target.kind.shape == Shape::Gateway {
            self.gateways.retain(|name, _| !name.starts_with(&*prefix));
            self.gateways.extend(items.iter().map(|item| (item.name.clone(), item.secrets.clone())));
        }
        let scope = Scope { kind: ObjectKind::Document, prefix: prefix.into() };
        known.0 = items.iter().map(|item| (item.name.clone(), fingerprint(&item.content))).collect();
        let mut events = vec![SourceEvent::Resync(scope.clone())];
        events.extend(items.into_iter().map(event));
        events.push(SourceEvent::Synced(scope));
        // A listing says all that an earlier one, and what followed it, said.
        self.held.insert(at, events);
        self.held_since.get_or_insert_with(Instant::now);
    }

    fn changed(&mut self, at: usize, changes: Vec<Change>) {
        let (Some(target), Some(known)) = (self.targets.get(at), self.known.get_mut(at)) else { return };
        let out = self.held.get_mut(&at).unwrap_or(&mut self.ready);
        for change in changes {
            let is_gateway = target.kind.shape == Shape::Gateway;
            match change {
                Change::Set(item) => {
                    if is_gateway {
                        self.gateways.insert(item.name.clone(), item.secrets.clone());
                    }
                    let print = fingerprint(&item.content);
                    if known.0.insert(item.name.clone(), print) != Some(print) {
                        out.push(event(item));
                    }
                }
                Change::Gone(name) => {
                    if is_gateway {
                        self.gateways.remove(&name);
                    }
                    if known.0.remove(&name).is_some() {
                        out.push(SourceEvent::Remove { id: id(name) });
                    }
                }
            }
        }
    }

    /// What can be sent now.
    pub(crate) fn out(&mut self, now: Instant) -> Out {
        let mut out = Out { events: std::mem::take(&mut self.ready), stale: None };
        // A cluster whose policies may not be read is not one without policies: what they refuse would pass.
        let is_waiting = self.targets.iter().zip(&self.states).any(|(target, state)| match state {
            State::Waiting | State::Failing(_) => true,
            State::Forbidden(_) => target.kind.may_refuse(),
            State::Live => false,
        });
        if !self.is_synced {
            if !is_waiting {
                self.is_synced = true;
                out.events.extend(self.first());
            }
        } else if !is_waiting || self.due().is_some_and(|due| now >= due) {
            out.events.extend(std::mem::take(&mut self.held).into_values().flatten());
            self.held_since = None;
        }
        out.stale = self.why_stale();
        out
    }

    /// When listings that are held go out at the latest.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.held_since.filter(|_| self.is_synced).map(|since| since + HOLD)
    }

    /// The first listings: all scopes are opened before the first is closed.
    fn first(&mut self) -> Vec<SourceEvent> {
        self.held_since = None;
        let held: Vec<SourceEvent> = std::mem::take(&mut self.held).into_values().flatten().collect();
        let is_opening = |event: &SourceEvent| matches!(event, SourceEvent::Resync(_));
        let (mut opening, rest): (Vec<_>, Vec<_>) = held.into_iter().partition(is_opening);
        opening.extend(rest);
        opening
    }

    fn why_stale(&self) -> Option<String> {
        let reason = |state: &State| match state {
            State::Forbidden(why) | State::Failing(why) => Some(why.clone()),
            State::Waiting | State::Live => None,
        };
        let reasons: BTreeSet<String> = self.states.iter().filter_map(reason).collect();
        let others = reasons.len().saturating_sub(1);
        let first = reasons.into_iter().next()?;
        Some(if others == 0 { first } else { format!("{first} (and {others} more)") })
    }

    /// The secrets that gateways name; none until all gateways are known that may be read.
    pub(crate) fn secrets(&self) -> Option<BTreeSet<SecretName>> {
        let mut gateways =
            self.targets.iter().zip(&self.states).filter(|(target, _)| target.kind.shape == Shape::Gateway);
        let known =
            self.is_synced || !gateways.any(|(_, state)| matches!(state, State::Waiting | State::Failing(_)));
        known.then(|| self.gateways.values().flatten().cloned().collect())
    }

    /// Do gateways' secrets depend on what was said of this target?
    pub(crate) fn is_gateway(&self, at: usize) -> bool {
        self.targets.get(at).is_some_and(|target| target.kind.shape == Shape::Gateway)
    }
}

fn id(name: Arc<str>) -> ObjectId {
    ObjectId { kind: ObjectKind::Document, name }
}

fn event(item: Item) -> SourceEvent {
    let id = id(item.name);
    match item.content {
        Content::Body(body) => SourceEvent::Upsert { id, object: Object::Document(Document { body }) },
        Content::Invalid(diagnostic) => SourceEvent::Invalid { id, diagnostic: *diagnostic },
    }
}

/// Tells contents apart.
fn fingerprint(content: &Content) -> u128 {
    match content {
        Content::Body(body) => xxh3_128(body),
        // No document begins so.
        Content::Invalid(diagnostic) => xxh3_128(format!("!{diagnostic}").as_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::KINDS;

    fn feed(names: &[&str]) -> Feed {
        let find = |name: &str| KINDS.iter().find(|kind| kind.full_name() == name).unwrap();
        let targets = names.iter().map(|name| Target { kind: find(name), namespace: None }).collect();
        Feed::new("kubernetes".into(), targets)
    }

    fn item(name: &str, body: &str) -> Item {
        let content = Content::Body(body.as_bytes().into());
        Item { name: name.into(), content, secrets: BTreeSet::new() }
    }

    fn shown(out: &Out) -> Vec<String> {
        let show = |event: &SourceEvent| match event {
            SourceEvent::Resync(scope) => format!("open {}", scope.prefix),
            SourceEvent::Synced(scope) => format!("close {}", scope.prefix),
            SourceEvent::Upsert { id, .. } => format!("set {}", id.name),
            SourceEvent::Remove { id } => format!("gone {}", id.name),
            SourceEvent::Invalid { id, .. } => format!("invalid {}", id.name),
        };
        out.events.iter().map(show).collect()
    }

    fn failing(at: usize) -> Told {
        Told::Failing(at, Failing::Unavailable("no connection".to_owned()))
    }

    #[tokio::test]
    async fn the_first_listings_go_out_together_all_opened_first() {
        let mut feed = feed(&["Service", "Namespace"]);
        feed.take(Told::Listed(0, vec![item("Service/n/a", "1")]));
        feed.take(Told::Changed(0, vec![Change::Set(item("Service/n/b", "1"))]));
        assert_eq!(shown(&feed.out(Instant::now() + HOLD * 9)), [""; 0]);
        feed.take(Told::Listed(1, vec![]));
        let expected = [
            "open Service/",
            "open Namespace/",
            "set Service/n/a",
            "close Service/",
            "set Service/n/b",
            "close Namespace/",
        ];
        assert_eq!(shown(&feed.out(Instant::now())), expected);
    }

    #[tokio::test]
    async fn a_kind_that_may_not_be_read_is_not_opened_and_holds_nobody_back() {
        let mut feed = feed(&["Service", "Namespace"]);
        feed.take(Told::Listed(0, vec![]));
        feed.take(Told::Failing(1, Failing::Forbidden("may not list namespaces".to_owned())));
        let out = feed.out(Instant::now());
        assert_eq!(shown(&out), ["open Service/", "close Service/"]);
        assert_eq!(out.stale.as_deref(), Some("may not list namespaces"));
        // Permission comes.
        feed.take(Told::Listed(1, vec![]));
        let out = feed.out(Instant::now());
        assert_eq!(
            (shown(&out), out.stale),
            (vec!["open Namespace/".to_owned(), "close Namespace/".to_owned()], None)
        );
    }

    #[tokio::test]
    async fn a_kind_of_policies_that_may_not_be_read_holds_everything_back_and_is_a_finding() {
        for policy in ["AuthorizationPolicy.security.istio.io", "WasmPlugin.extensions.istio.io"] {
            let mut feed = feed(&["Service", policy]);
            feed.take(Told::Listed(0, vec![item("Service/n/a", "1")]));
            feed.take(Told::Failing(1, Failing::Forbidden("may not list policies".to_owned())));
            let out = feed.out(Instant::now() + HOLD * 9);
            assert_eq!(shown(&out), [format!("invalid {policy}/")]);
            let [SourceEvent::Invalid { diagnostic, .. }] = &out.events[..] else { panic!() };
            assert!(
                diagnostic.hint.as_ref().unwrap().starts_with("grant get, list and watch of"),
                "{diagnostic}"
            );
            assert_eq!(out.stale.as_deref(), Some("may not list policies"));
            // Permission comes; what is not defined counts as listed.
            feed.take(Told::Listed(1, vec![]));
            assert_eq!(shown(&feed.out(Instant::now())).len(), 5);
            // It is taken away again: the policies that are known stay, and so does everything that is new.
            feed.take(Told::Failing(1, Failing::Forbidden("may not list policies".to_owned())));
            feed.take(Told::Changed(0, vec![Change::Set(item("Service/n/b", "1"))]));
            assert_eq!(
                shown(&feed.out(Instant::now())),
                [format!("invalid {policy}/"), "set Service/n/b".to_owned()]
            );
        }
    }

    #[tokio::test]
    async fn a_failure_before_the_first_listing_holds_everything_back() {
        let mut feed = feed(&["Service", "Namespace"]);
        feed.take(Told::Listed(0, vec![]));
        feed.take(failing(1));
        let out = feed.out(Instant::now() + HOLD * 9);
        assert_eq!((shown(&out), out.stale.as_deref()), (vec![], Some("no connection")));
    }

    #[tokio::test]
    async fn only_what_differs_is_told() {
        let mut feed = feed(&["Service"]);
        feed.take(Told::Listed(0, vec![item("Service/n/a", "1")]));
        feed.out(Instant::now());
        feed.take(Told::Changed(
            0,
            vec![Change::Set(item("Service/n/a", "1")), Change::Gone("Service/n/x".into())],
        ));
        assert_eq!(shown(&feed.out(Instant::now())), [""; 0]);
        feed.take(Told::Changed(0, vec![Change::Set(item("Service/n/a", "2"))]));
        assert_eq!(shown(&feed.out(Instant::now())), ["set Service/n/a"]);
        feed.take(Told::Changed(0, vec![Change::Gone("Service/n/a".into())]));
        assert_eq!(shown(&feed.out(Instant::now())), ["gone Service/n/a"]);
    }

    #[tokio::test]
    async fn listings_after_a_failure_go_out_together_or_after_a_second() {
        let mut feed = feed(&["Service", "Namespace"]);
        feed.take(Told::Listed(0, vec![]));
        feed.take(Told::Listed(1, vec![]));
        feed.out(Instant::now());
        feed.take(failing(0));
        feed.take(failing(1));
        assert_eq!(feed.out(Instant::now()).stale.as_deref(), Some("no connection"));
        feed.take(Told::Listed(0, vec![]));
        feed.take(Told::Changed(0, vec![Change::Set(item("Service/n/a", "1"))]));
        assert_eq!(shown(&feed.out(Instant::now())), [""; 0]);
        let late = feed.out(feed.due().unwrap());
        assert_eq!(shown(&late), ["open Service/", "close Service/", "set Service/n/a"]);
        assert!(late.stale.is_some(), "the other one still fails");
        feed.take(Told::Listed(1, vec![]));
        let out = feed.out(Instant::now());
        assert_eq!((shown(&out).len(), out.stale), (2, None));
    }

    #[tokio::test]
    async fn secrets_are_those_that_gateways_name() {
        let mut feed = feed(&["Service", "Gateway.networking.istio.io"]);
        feed.take(Told::Listed(0, vec![]));
        assert_eq!(feed.secrets(), None);
        let mut gateway = item("Gateway.networking.istio.io/n/g", "1");
        let name = ("n".to_owned(), "web".to_owned());
        gateway.secrets.insert(name.clone());
        feed.take(Told::Listed(1, vec![gateway]));
        assert_eq!(feed.secrets(), Some(BTreeSet::from([name])));
        feed.take(Told::Changed(1, vec![Change::Gone("Gateway.networking.istio.io/n/g".into())]));
        assert_eq!(feed.secrets(), Some(BTreeSet::new()));
    }
}
