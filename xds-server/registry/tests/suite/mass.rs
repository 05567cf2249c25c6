//! Mass removals are held (faults row 3), and what was saved is restored (row 2).

use std::sync::Arc;

use lateen_config::Kind;
use lateen_model::{
    Address, Document, Endpoint, Health, Host, ObjectId, ObjectKind, Origin, Scope, SourceEvent,
    event::Object,
};
use lateen_registry::{Fact, FactKey, GuardSettings, Registry, SourceStatus, Touched};
use proptest::{collection, prelude::*};

use crate::feed::{Feed, apply, listing, remove, source, upsert};

const HOST: &str = "a.default.svc.cluster.local";

fn endpoint(number: usize) -> Endpoint {
    let byte = |number: usize| u8::try_from(number % 250).unwrap();
    Endpoint {
        address: Address::Ip([10, 0, byte(number / 250), byte(number)].into()),
        ports: Arc::new([("http".into(), 80)].into()),
        labels: Arc::default(),
        locality: lateen_model::Locality::default(),
        network: "".into(),
        weight: 1,
        health: Health::Healthy,
        service_account: "".into(),
        origin: Origin { source: "consul".into(), location: "a".into(), line: 0, column: 0 },
    }
}

fn set(name: &str) -> ObjectId {
    ObjectId { kind: ObjectKind::Endpoints, name: name.into() }
}

fn host(name: &str) -> Host {
    Host::from(format!("{name}.default.svc.cluster.local"))
}

fn endpoints_of(name: &str, numbers: impl IntoIterator<Item = usize>) -> Object {
    let endpoints = numbers.into_iter().map(endpoint).collect();
    Object::Endpoints { host: host(name), namespace: "default".into(), endpoints }
}

fn put(name: &str, numbers: impl IntoIterator<Item = usize>) -> SourceEvent {
    SourceEvent::Upsert { id: set(name), object: endpoints_of(name, numbers) }
}

fn scope() -> Scope {
    Scope { kind: ObjectKind::Endpoints, prefix: "".into() }
}

fn list(sets: impl IntoIterator<Item = SourceEvent>) -> Vec<SourceEvent> {
    let mut events = vec![SourceEvent::Resync(scope())];
    events.extend(sets);
    events.push(SourceEvent::Synced(scope()));
    events
}

/// So many services with one endpoint each.
fn singles(numbers: std::ops::Range<usize>) -> impl Iterator<Item = SourceEvent> {
    numbers.map(|number| put(&format!("s{number}"), [number]))
}

fn at(feed: &mut Feed, events: impl IntoIterator<Item = SourceEvent>, now: u64) {
    for event in events {
        feed.registry.apply(&feed.source.clone(), event, now);
    }
}

fn served(registry: &Registry, sets: usize) -> usize {
    let count = |number| {
        let found = registry.world().endpoints(&host(&format!("s{number}")), &"default".into());
        found.map_or(0, |all| all.len())
    };
    (0..sets).map(count).sum()
}

fn status(feed: &Feed) -> SourceStatus {
    feed.registry.sources().remove(0)
}

#[test]
fn an_empty_listing_is_held_until_the_second_one() {
    let mut feed = Feed::new();
    at(&mut feed, list(singles(0..30)), 0);
    at(&mut feed, list([]), 60_000);
    assert_eq!((served(&feed.registry, 30), status(&feed).held_removals), (30, 30));
    let findings = feed.findings().join("\n");
    assert!(
        findings.contains("LAT2404")
            && findings.contains("30 endpoints, 0 services and 0 policies (30 objects)"),
        "{findings}"
    );
    at(&mut feed, list([]), 65_000);
    assert_eq!((served(&feed.registry, 30), status(&feed).held_removals), (0, 0));
    assert!(feed.findings().is_empty());
    assert_eq!(status(&feed).objects, 0);
}

#[test]
fn a_held_removal_goes_when_its_time_has_passed_and_not_while_the_source_is_gone() {
    let mut feed = Feed::new();
    at(&mut feed, list(singles(0..30)), 0);
    at(&mut feed, list([]), 60_000);
    assert_eq!(feed.registry.deadline(), Some(90_000));
    assert!(feed.registry.on_time(89_999).is_empty());
    let of = feed.source.clone();
    feed.registry.source_failed(&of, "connection refused", 70_000);
    assert_eq!(feed.registry.deadline(), None);
    assert!(feed.registry.on_time(95_000).is_empty());
    feed.registry.source_recovered(&of, 96_000);
    assert_eq!(feed.registry.on_time(96_000).facts.len(), 60, "endpoints, and who is at their addresses");
    assert_eq!((served(&feed.registry, 30), feed.registry.deadline()), (0, None));
}

#[test]
fn what_comes_back_is_not_held_any_more() {
    let mut feed = Feed::new();
    at(&mut feed, list(singles(0..30)), 0);
    at(&mut feed, list(singles(0..5)), 60_000);
    assert_eq!(status(&feed).held_removals, 25);
    // The replica has caught up: nothing has changed for anybody.
    let before = feed.world().clone();
    at(&mut feed, list(singles(0..30)), 61_000);
    assert_eq!((feed.world(), status(&feed).held_removals), (&before, 0));
    assert!(feed.registry.on_time(200_000).is_empty());
}

#[test]
fn a_set_that_shrinks_keeps_what_went_and_takes_what_came() {
    let mut feed = Feed::new();
    at(&mut feed, list([put("a", 0..40)]), 0);
    at(&mut feed, [put("a", [0, 1, 99])], 60_000);
    let count = |feed: &Feed| feed.endpoints(HOST, "default").len();
    assert_eq!((count(&feed), status(&feed).held_removals), (41, 1));
    assert!(feed.endpoints(HOST, "default").iter().any(|found| found.address == endpoint(99).address));
    // A health change of what is left passes at once, and does not start the time anew.
    let mut fewer: Vec<Endpoint> = [0, 1].map(endpoint).into();
    fewer[0].health = Health::Unhealthy;
    let object = Object::Endpoints { host: host("a"), namespace: "default".into(), endpoints: fewer.into() };
    at(&mut feed, [SourceEvent::Upsert { id: set("a"), object: object.clone() }], 70_000);
    assert_eq!(feed.endpoints(HOST, "default")[0].health, Health::Unhealthy);
    assert_eq!(feed.registry.deadline(), Some(90_000));
    // The same again is a second look.
    at(&mut feed, [SourceEvent::Upsert { id: set("a"), object }], 71_000);
    assert_eq!((count(&feed), status(&feed).held_removals), (2, 0));
}

#[test]
fn single_removals_and_small_sources_are_not_held() {
    let mut feed = Feed::new();
    at(&mut feed, list(singles(0..30)), 0);
    // One each second, down to none.
    for number in 0..30 {
        let removal = SourceEvent::Remove { id: set(&format!("s{number}")) };
        at(&mut feed, [removal], 10_000 + 2_000 * number as u64);
        assert_eq!(served(&feed.registry, 30), 29 - number);
    }
    at(&mut feed, list(singles(0..10)), 100_000);
    at(&mut feed, list([]), 200_000);
    assert_eq!(served(&feed.registry, 30), 0, "ten at once are not many");
}

#[test]
fn a_source_that_only_removes_is_counted_over_a_moment() {
    let mut feed = Feed::new();
    at(&mut feed, list(singles(0..40)), 0);
    let removals = (0..40).map(|number| SourceEvent::Remove { id: set(&format!("s{number}")) });
    at(&mut feed, removals.clone(), 60_000);
    assert_eq!((served(&feed.registry, 40), status(&feed).held_removals), (20, 20));
    // Said again, they are believed.
    at(&mut feed, removals, 60_500);
    assert_eq!((served(&feed.registry, 40), status(&feed).held_removals), (0, 0));
}

#[test]
fn documents_with_endpoints_count_and_configuration_goes_with_them() {
    let entry = |number: usize| {
        format!(
            "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: e{number}}}\nspec: {{hosts: \
             [e{number}.example], resolution: STATIC, ports: [{{number: 80, name: http, protocol: HTTP}}], endpoints: \
             [{{address: 10.0.0.{number}}}]}}\n"
        )
    };
    let rule = "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: r}\nspec: {host: \
                e1.example}\n";
    let mut documents: Vec<(String, String)> = (1..21).map(|n| (format!("e{n}"), entry(n))).collect();
    documents.push(("rule".to_owned(), rule.to_owned()));
    let borrowed: Vec<(&str, &str)> = documents.iter().map(|(n, t)| (n.as_str(), t.as_str())).collect();
    let mut feed = Feed::new();
    at(&mut feed, listing(&borrowed), 0);
    let before = feed.world().clone();
    at(&mut feed, listing(&[]), 60_000);
    assert_eq!((feed.world(), status(&feed).held_removals), (&before, 21));
    // Without endpoints nothing is held, however much it is.
    let mut feed = Feed::new();
    let rules: Vec<(String, String)> = (0..30)
        .map(|n| {
            (
                format!("r{n}"),
                rule.replace("name: r}", &format!("name: r{n}}}")).replace("e1.", &format!("e{n}.")),
            )
        })
        .collect();
    let borrowed: Vec<(&str, &str)> = rules.iter().map(|(n, t)| (n.as_str(), t.as_str())).collect();
    at(&mut feed, listing(&borrowed), 0);
    at(&mut feed, listing(&[]), 60_000);
    assert_eq!((status(&feed).held_removals, status(&feed).objects), (0, 0));
}

/// A service and a list of its endpoints in one text: as an entry, or, of odd numbers, as a slice. An entry without
/// any endpoints is an error.
fn text(number: usize, endpoints: std::ops::Range<usize>) -> SourceEvent {
    let many = |each: &dyn Fn(usize) -> String| endpoints.clone().map(each).collect::<Vec<_>>().join(", ");
    let place = |n: usize| format!("10.{number}.{}.{}", n / 250, n % 250);
    let text = if number.is_multiple_of(2) {
        let endpoints = many(&|n| format!("{{address: {}}}", place(n)));
        format!(
            "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: t{number}}}\nspec: {{hosts: \
             [t{number}.example], resolution: STATIC, endpoints: [{endpoints}], ports: [{{number: 80, name: http, \
             protocol: HTTP}}]}}\n"
        )
    } else {
        let ports = if endpoints.is_empty() { "null" } else { "[{name: http, port: 80}]" };
        let endpoints = many(&|n| format!("{{addresses: [{}]}}", place(n)));
        format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: t{number}}}\nspec: {{ports: [{{name: http, port: \
             80}}]}}\n---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: t{number}-x, \
             labels: {{kubernetes.io/service-name: t{number}}}}}\naddressType: IPv4\nendpoints: \
             [{endpoints}]\nports: {ports}\n"
        )
    };
    upsert(&format!("t{number}"), &text)
}

fn count_of_text(feed: &Feed, number: usize) -> usize {
    let host = if number.is_multiple_of(2) {
        format!("t{number}.example")
    } else {
        format!("t{number}.default.svc.cluster.local")
    };
    feed.endpoints(&host, "default").len()
}

#[test]
fn one_text_that_shrinks_keeps_what_went_and_takes_what_came() {
    for number in [0, 1] {
        let mut feed = Feed::new();
        at(&mut feed, [text(number, 0..1_000)], 0);
        assert_eq!(count_of_text(&feed, number), 1_000);
        let before = feed.world().clone();
        let left = 1 - number % 2;
        at(&mut feed, [text(number, 0..left)], 60_000);
        assert!(*feed.world() == before && status(&feed).held_removals == 1, "{number}");
        let (findings, gone) = (feed.findings().join("\n"), format!("{} endpoints", 1_000 - left));
        assert!(findings.contains("LAT2404") && findings.contains(&gone), "{findings}");
        // Some are there again, and one that is new; the time is not counted anew.
        at(&mut feed, [text(number, 998..1_001)], 70_000);
        assert_eq!((count_of_text(&feed, number), status(&feed).held_removals), (1_001, 1));
        assert_eq!(feed.registry.deadline(), Some(90_000));
        // The same text again is a second look.
        at(&mut feed, [text(number, 998..1_001)], 71_000);
        assert_eq!((count_of_text(&feed, number), status(&feed).held_removals), (3, 0));
        assert!(feed.findings().is_empty());
    }
}

#[test]
fn what_a_text_lost_goes_with_time_and_comes_back_with_the_old_text() {
    for number in [0, 1] {
        let mut feed = Feed::new();
        at(&mut feed, [text(number, 0..40)], 0);
        let before = feed.world().clone();
        at(&mut feed, [text(number, 0..1)], 60_000);
        at(&mut feed, [text(number, 0..40)], 61_000);
        assert!(*feed.world() == before && status(&feed).held_removals == 0, "{number}");
        at(&mut feed, [text(number, 0..1)], 62_000);
        feed.registry.on_time(91_999);
        assert_eq!(count_of_text(&feed, number), 40);
        feed.registry.on_time(92_000);
        assert_eq!((count_of_text(&feed, number), status(&feed).held_removals), (1, 0));
    }
}

/// A file with everything in it that is emptied: as a folder that is.
#[test]
fn objects_that_a_text_lost_are_held_and_the_rest_of_it_counts() {
    let documents = |numbers: std::ops::Range<usize>| {
        let of = |number: usize| match text(2 * number, 0..1) {
            SourceEvent::Upsert { object: Object::Document(document), .. } => document.body.to_vec(),
            _ => Vec::new(),
        };
        String::from_utf8(numbers.map(of).collect::<Vec<_>>().join(&b"---\n"[..])).unwrap()
    };
    let mut feed = Feed::new();
    at(&mut feed, [upsert("all", &documents(0..20))], 0);
    at(&mut feed, [upsert("all", &documents(19..21))], 60_000);
    let served = |feed: &Feed| (0..21).filter(|number| count_of_text(feed, 2 * number) == 1).count();
    assert_eq!((served(&feed), status(&feed).held_removals, status(&feed).objects), (21, 1, 21));
    feed.registry.on_time(90_000);
    assert_eq!((served(&feed), status(&feed).objects), (2, 2));
}

/// A restart while removals are held must not make them pass: what is saved is the text from before.
#[test]
fn a_text_whose_removals_are_held_is_to_be_saved_when_they_went() {
    let mut feed = Feed::new();
    at(&mut feed, [text(0, 0..40)], 0);
    let saved = |feed: &mut Feed| -> Vec<bool> {
        let touched = feed.registry.take_touched().into_iter();
        touched
            .map(|(_, _, touched)| matches!(touched, Touched::Document { texts, .. } if !texts.is_empty()))
            .collect()
    };
    assert_eq!(saved(&mut feed), [true]);
    at(&mut feed, [text(0, 0..1)], 60_000);
    assert_eq!(saved(&mut feed), [false]);
    feed.registry.on_time(90_000);
    assert_eq!(saved(&mut feed), [true]);
}

#[test]
fn the_guard_can_be_switched_off() {
    let mut feed = Feed::new();
    feed.registry.set_guard(GuardSettings { confirm_ms: 0, ..GuardSettings::default() });
    at(&mut feed, list(singles(0..30)), 0);
    at(&mut feed, list([]), 1);
    assert_eq!((served(&feed.registry, 30), status(&feed).held_removals), (0, 0));
}

#[test]
fn what_was_saved_counts_until_the_source_is_listed() {
    let (one, two) = (source("consul"), source("file"));
    let mut registry = Registry::new(&[one.clone(), two.clone()]);
    for event in listing(&[]) {
        registry.apply(&two, event, 0);
    }
    assert!(!registry.synced());
    let namespace = |name: &str| format!("{{apiVersion: v1, kind: Namespace, metadata: {{name: {name}}}}}");
    let document = |name: &str| {
        let id = ObjectId { kind: ObjectKind::Document, name: name.into() };
        (id, Object::Document(Document { body: namespace(name).into_bytes().into() }))
    };
    let saved = vec![document("x"), document("y"), (set("s1"), endpoints_of("s1", [1]))];
    // It had begun to say something itself: that counts.
    for event in list([put("s1", [2])]).into_iter().take(2) {
        registry.apply(&one, event, 1);
    }
    let changes = registry.recall(&one, saved);
    assert!(!registry.synced());
    registry.trust_saved(&one, 77);
    assert!(registry.synced());
    assert_eq!(changes.facts.len(), 4, "{changes:?}");
    let found = registry.world().endpoints(&host("s1"), &"default".into()).unwrap();
    assert_eq!(found[0].address, endpoint(2).address);
    assert_eq!(registry.sources()[0].saved_at, Some(77));
    // The listing takes the place of what was saved; what is the same is no change.
    let revision = registry.world().revision();
    apply(&mut registry, &one, SourceEvent::Synced(scope()));
    assert_eq!(registry.world().revision(), revision);
    for event in listing(&[("x", &namespace("x"))]) {
        apply(&mut registry, &one, event);
    }
    let status = registry.sources().remove(0);
    assert_eq!((status.saved_at, status.objects), (None, 2));
    let namespaces = registry.objects().filter(|object| object.key.kind == Kind::Namespace).count();
    assert_eq!(namespaces, 1);
}

/// A restart in the middle of an outage: the first listing is held against what was saved.
#[test]
fn a_first_listing_that_lacks_nearly_all_that_was_saved_is_held() {
    let mut feed = Feed::new();
    let saved =
        (0..30).map(|number| (set(&format!("s{number}")), endpoints_of(&format!("s{number}"), [number])));
    feed.registry.recall(&feed.source.clone(), saved.collect());
    at(&mut feed, list(singles(0..3)), 10);
    assert!(feed.registry.synced() && status(&feed).saved_at.is_none());
    assert_eq!((served(&feed.registry, 30), status(&feed).held_removals), (30, 27));
    at(&mut feed, list(singles(0..3)), 20);
    assert_eq!(served(&feed.registry, 30), 3);
}

/// A text that is bad after a restart: the good one that was saved stays in force.
#[test]
fn a_text_that_turned_bad_keeps_the_good_form_that_was_saved() {
    let mut feed = Feed::new();
    let good = "{apiVersion: v1, kind: Namespace, metadata: {name: a}}";
    let id = ObjectId { kind: ObjectKind::Document, name: "a".into() };
    let object = Object::Document(Document { body: good.as_bytes().into() });
    feed.registry.recall(&feed.source.clone(), vec![(id, object)]);
    at(&mut feed, listing(&[("a", "{apiVersion: v1, kind: Namespace, metadata: {name: [a")]), 10);
    assert_eq!((status(&feed).objects, status(&feed).findings), (1, 1), "{:?}", feed.findings());
}

/// What is to be saved, read again, is what was in force: good objects beside one that was never good, and the last
/// good form of one that is bad now, whichever text has it.
#[test]
fn what_is_told_of_texts_with_bad_objects_gives_what_was_in_force() {
    let object = |name: &str, label: &str| {
        format!(
            "{{apiVersion: v1, kind: Namespace, metadata: {{name: {name}, labels: {{v: \"{label}\"}}}}}}\n---\n"
        )
    };
    let bad = |name: &str| {
        format!("{{apiVersion: v1, kind: Namespace, metadata: {{name: {name}, labels: 7}}}}\n---\n")
    };
    let in_force = |registry: &Registry| -> Vec<String> {
        let all = registry.objects().map(|object| {
            format!("{} {:?} line {}", object.key.name, object.meta.labels, object.origin.line)
        });
        let mut all: Vec<String> = all.collect();
        all.sort();
        all
    };
    let texts = [
        object("a", "1") + &bad("b"),
        object("a", "2") + &bad("b") + &object("c", "1"),
        object("a", "3") + &object("b", "1"),
        bad("a") + &object("b", "2"),
        bad("a") + &bad("b") + &object("c", "2"),
        "a: [".to_owned(),
        object("a", "4"),
    ];
    let mut feed = Feed::new();
    let mut saved: Vec<Document> = Vec::new();
    for (number, text) in texts.iter().enumerate() {
        feed.put("all", text);
        for (_, id, touched) in feed.registry.take_touched() {
            let Touched::Document { texts, replaces } = touched else { panic!("{touched:?}") };
            if replaces {
                saved.clear();
            }
            saved.extend(texts);
            let objects = saved.iter().map(|text| (id.clone(), Object::Document(text.clone())));
            let mut restored = Registry::new(std::slice::from_ref(&feed.source));
            restored.recall(&feed.source, objects.collect());
            assert!(!in_force(&restored).is_empty());
            assert_eq!(in_force(&restored), in_force(&feed.registry), "{number}");
        }
    }
    assert_eq!(saved.len(), 1, "texts that are not needed any more are not kept");
}

#[test]
fn what_was_touched_is_told_once() {
    let mut feed = Feed::new();
    let text = "{apiVersion: v1, kind: Namespace, metadata: {name: a}}";
    feed.put("a", text);
    feed.put("b", "x: [");
    feed.apply(put("s1", [1]));
    let told = |feed: &mut Feed| -> Vec<(String, Touched)> {
        let touched = feed.registry.take_touched().into_iter();
        touched.map(|(_, id, touched)| (id.name.to_string(), touched)).collect()
    };
    assert_eq!(
        told(&mut feed),
        [
            (
                "a".to_owned(),
                Touched::Document { texts: vec![Document { body: text.as_bytes().into() }], replaces: true }
            ),
            (
                "b".to_owned(),
                Touched::Document { texts: vec![Document { body: (*b"x: [").into() }], replaces: true }
            ),
            ("s1".to_owned(), Touched::Translated(endpoints_of("s1", [1]))),
        ]
    );
    feed.put("a", text);
    feed.apply(put("s1", [1]));
    assert!(told(&mut feed).is_empty());
    feed.apply(crate::feed::remove("a"));
    assert_eq!(told(&mut feed), [("a".to_owned(), Touched::Gone)]);
    let id = ObjectId { kind: ObjectKind::Document, name: "b".into() };
    let of = feed.source.clone();
    let state = feed.registry.document(&of, &id).unwrap();
    assert!(!state.sound && state.findings.len() == 1, "{state:?}");
}

#[derive(Clone, Debug)]
enum Step {
    Put(usize, usize),
    Remove(usize),
    Text(usize, usize),
    RemoveText(usize),
    List(Vec<usize>),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0_usize..40, 0_usize..30).prop_map(|(set, count)| Step::Put(set, count)),
        6 => (0_usize..40).prop_map(Step::Remove),
        6 => (0_usize..6, 0_usize..30).prop_map(|(text, count)| Step::Text(text, count)),
        1 => (0_usize..6).prop_map(Step::RemoveText),
        2 => collection::vec(0_usize..40, 0..40).prop_map(Step::List),
        3 => (0_u64..20_000).prop_map(Step::Wait),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is held goes in the end: once the time has passed the World is that of a registry without a guard,
    /// and what is counted is what is there. Until then nothing is missing that the other one has.
    #[test]
    fn holding_only_delays(steps in collection::vec(step(), 1..60)) {
        let of = source("consul");
        let mut guarded = Registry::new(std::slice::from_ref(&of));
        let mut plain = Registry::new(std::slice::from_ref(&of));
        plain.set_guard(GuardSettings { confirm_ms: 0, ..GuardSettings::default() });
        let mut now = 0;
        for step in steps {
            let set_of = |set: usize, count: usize| put(&format!("s{set}"), set * 100..set * 100 + count);
            let events = match step {
                Step::Put(set, count) => vec![set_of(set, count)],
                Step::Remove(number) => vec![SourceEvent::Remove { id: set(&format!("s{number}")) }],
                Step::Text(number, count) => vec![text(number, 0..count.max(1))],
                Step::RemoveText(number) => vec![crate::feed::remove(&format!("t{number}"))],
                Step::List(sets) => list(sets.into_iter().map(|set| set_of(set, 3))),
                Step::Wait(ms) => {
                    now += ms;
                    guarded.on_time(now);
                    Vec::new()
                }
            };
            for event in events {
                apply_at(&mut guarded, event.clone(), now);
                apply_at(&mut plain, event, now);
            }
            for key in plain.world().keys() {
                prop_assert!(guarded.world().get(key).is_some(), "{:?} is missing", key);
            }
        }
        guarded.on_time(now + 30_000);
        prop_assert_eq!(guarded.deadline(), None);
        prop_assert_eq!(guarded.world(), plain.world());
        prop_assert_eq!(guarded.sources()[0].objects, plain.sources()[0].objects);
        prop_assert_eq!(guarded.diagnostics().count(), 0);
    }
}

fn apply_at(registry: &mut Registry, event: SourceEvent, now: u64) {
    registry.apply(&source("consul"), event, now);
}

#[test]
fn what_is_confirmed_does_not_hold_what_goes_beside_it() {
    let mut feed = Feed::new();
    at(&mut feed, list(singles(0..20)), 0);
    at(&mut feed, list(singles(0..2)), 60_000);
    at(&mut feed, singles(20..21), 60_001);
    at(&mut feed, list(singles(0..2)), 60_100);
    assert_eq!((served(&feed.registry, 30), status(&feed).held_removals), (2, 0));
}

#[test]
fn an_unreadable_object_is_no_removal() {
    let mut feed = Feed::new();
    at(&mut feed, list(singles(0..30)), 0);
    at(&mut feed, list([]), 60_000);
    let diagnostic = lateen_model::Diagnostic {
        code: lateen_model::diagnostic::Code("LAT0000"),
        severity: lateen_model::Severity::Error,
        object: None,
        origin: None,
        path: String::new(),
        message: "unreadable".to_owned(),
        hint: None,
    };
    at(&mut feed, [SourceEvent::Invalid { id: set("s3"), diagnostic }], 61_000);
    assert_eq!(status(&feed).held_removals, 29);
    feed.registry.on_time(90_000);
    assert_eq!(served(&feed.registry, 30), 1);
    // What it said before stays, and what is said again counts.
    at(&mut feed, [upsert("doc", "{}")], 90_001);
    at(&mut feed, [put("s3", [3])], 90_002);
    assert_eq!(served(&feed.registry, 30), 1);
}

fn service(name: &str) -> (ObjectId, SourceEvent) {
    let id = ObjectId { kind: ObjectKind::Service, name: name.into() };
    let service = lateen_model::Service {
        defined_by: lateen_model::DefinedBy::Platform,
        host: host(name),
        namespace: "default".into(),
        name: name.into(),
        ports: vec![lateen_model::Port {
            number: 80,
            name: "http".into(),
            protocol: lateen_model::Protocol::Http,
            target: None,
        }],
        addresses: Vec::new(),
        resolution: lateen_model::Resolution::Static,
        external: false,
        export_to: lateen_model::service::Visibility::All,
        subject_alt_names: Vec::new(),
        labels: std::collections::BTreeMap::new(),
        origin: Origin { source: "etcd".into(), location: name.into(), line: 0, column: 0 },
        created: 0,
    };
    (id.clone(), SourceEvent::Upsert { id, object: Object::Service(Arc::new(service)) })
}

/// A lease that ends takes services and their instances, in whatever order it is told.
#[test]
fn a_service_is_held_while_its_endpoints_are() {
    for (services, each) in [(1, 60), (8, 8)] {
        for services_first in [false, true] {
            let mut feed = Feed::new();
            let names: Vec<String> = (0..services).map(|number| format!("s{number}")).collect();
            for (at_number, name) in names.iter().enumerate() {
                at(&mut feed, [service(name).1, put(name, at_number * each..(at_number + 1) * each)], 0);
            }
            for name in &names {
                let gone = SourceEvent::Remove { id: set(name) };
                let service = SourceEvent::Remove { id: service(name).0 };
                let both = if services_first { [service, gone] } else { [gone, service] };
                at(&mut feed, both, 60_000);
            }
            let held = (0..services).filter(|number| {
                let name = format!("s{number}");
                let endpoints = feed.endpoints(host(&name).as_str(), "default").len();
                let is_there = !feed.services(host(&name).as_str()).is_empty();
                assert_eq!(endpoints > 0, is_there, "{name}: {endpoints} endpoints");
                is_there
            });
            assert!(held.count() * 2 >= services, "{services} × {each}, {services_first}");
            feed.registry.on_time(90_001);
            assert!(names.iter().all(|name| feed.services(host(name).as_str()).is_empty()));
        }
    }
}

/// The same with Kubernetes' own objects.
#[test]
fn a_service_of_kubernetes_is_held_while_its_slices_are() {
    let service = "{apiVersion: v1, kind: Service, metadata: {name: a}, spec: {ports: [{port: 80}]}}\n";
    let endpoints: Vec<String> = (1..=60).map(|number| format!("{{addresses: [10.0.0.{number}]}}")).collect();
    let slice = format!(
        "{{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {{name: a-1, labels: \
         {{kubernetes.io/service-name: a}}}}, addressType: IPv4, ports: [{{port: 80}}], endpoints: [{}]}}\n",
        endpoints.join(", ")
    );
    let mut feed = Feed::new();
    at(&mut feed, [upsert("service", service), upsert("slice", &slice)], 0);
    at(&mut feed, [crate::feed::remove("service"), crate::feed::remove("slice")], 60_000);
    assert_eq!((feed.services(HOST).len(), feed.endpoints(HOST, "default").len()), (1, 60));
    feed.registry.on_time(90_001);
    assert_eq!((feed.services(HOST).len(), feed.endpoints(HOST, "default").len()), (0, 0));
}

/// A replica that is behind lists no policies: what they protect stays protected.
#[test]
fn policies_that_go_at_once_are_held_as_services_are() {
    let cell = FactKey::Policies(Kind::AuthorizationPolicy, "shop".into());
    let count = |feed: &Feed| {
        feed.world().get(&cell).cloned().and_then(Fact::policies).map_or(0, |policies| policies.len())
    };
    let policy = |name: &str| {
        format!(
            "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {{name: {name}, namespace: shop}}\nspec: {{}}\n"
        )
    };
    let texts: Vec<(String, String)> =
        (0..20).map(|n| (format!("p{n}.yaml"), policy(&format!("p{n}")))).collect();
    let list = |some: &[(String, String)]| {
        let some: Vec<(&str, &str)> = some.iter().map(|(name, text)| (&**name, &**text)).collect();
        listing(&some)
    };
    let mut feed = Feed::new();
    at(&mut feed, list(&texts), 0);
    // Half of them, or ten, may go; so may policies of which there are few beside many services.
    at(&mut feed, list(&texts[..10]), 60_000);
    assert_eq!((count(&feed), status(&feed).held_removals), (10, 0));
    at(&mut feed, list(&texts), 120_000);
    at(&mut feed, list(&texts[..1]), 180_000);
    assert_eq!((count(&feed), status(&feed).held_removals), (20, 19));
    let findings = feed.findings().join("\n");
    assert!(findings.contains("0 endpoints, 0 services and 19 policies (19 objects)"), "{findings}");
    at(&mut feed, list(&texts[..1]), 185_000);
    assert_eq!((count(&feed), status(&feed).held_removals), (1, 0));
    // One text with all of them that is emptied, and removals one by one.
    let all: Vec<String> = texts.iter().map(|(_, text)| text.clone()).collect();
    at(&mut feed, [upsert("p0.yaml", &all.join("---\n"))], 240_000);
    assert_eq!(count(&feed), 20);
    at(&mut feed, [upsert("p0.yaml", "")], 300_000);
    assert_eq!((count(&feed), status(&feed).held_removals), (20, 1));
    feed.registry.on_time(330_000);
    assert_eq!(count(&feed), 0);
    at(&mut feed, list(&texts), 360_000);
    at(&mut feed, texts.iter().map(|(name, _)| remove(name)), 420_000);
    assert_eq!((count(&feed), status(&feed).held_removals), (10, 10));
}
