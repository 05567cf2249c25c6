//! What is in force in the place of policies that can't be read.

use std::sync::Arc;

use lateen_config::{ConfigObject, Kind};
use lateen_model::{
    Diagnostic, Origin, Severity, SourceEvent,
    diagnostic::{Code, ObjectRef},
};
use lateen_registry::{Fact, FactKey, Registry, Sourced, World};

use crate::feed::{Feed, apply, id, remove, shared, source, text, upsert};

#[test]
fn a_policy_that_was_never_readable_closes_what_it_may_select() {
    let policy = |name: &str, spec: &str| {
        format!(
            "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {{{name}namespace: shop}}\nspec: {spec}\n"
        )
    };
    let shown = |feed: &Feed| -> Vec<(String, bool, bool)> {
        let key = FactKey::Policies(Kind::AuthorizationPolicy, "shop".into());
        let Some(policies) = feed.world().get(&key).cloned().and_then(Fact::policies) else {
            return Vec::new();
        };
        let show = |policy: &Arc<Sourced<ConfigObject>>| {
            let ConfigObject::AuthorizationPolicy(spec) = &*policy.spec else { panic!() };
            (policy.key.name.clone(), policy.unreadable, spec.selector.is_some())
        };
        policies.iter().map(show).collect()
    };
    let is = |name: &str, unreadable, narrow| vec![(name.to_owned(), unreadable, narrow)];
    let selector = "selector: {matchLabels: {app: cart}}";
    let (good, bad) = (format!("{{{selector}}}"), format!("{{{selector}, rulez: []}}"));

    // Never readable: it selects what it selects, or everything.
    let mut feed = Feed::new();
    feed.put("a.yaml", &policy("name: a, ", &bad));
    assert_eq!(shown(&feed), is("a", true, true));
    feed.put("a.yaml", &policy("name: a, ", "{selector: {matchLabels: {app: [cart]}}}"));
    assert_eq!(shown(&feed), is("a", true, false));
    feed.put(
        "a.yaml",
        &policy("name: a, ", "{selector: {matchLabels: {}}, targetRefs: [{kind: Gateway, name: x}]}"),
    );
    assert_eq!(shown(&feed), is("a", true, false));
    feed.put("a.yaml", &policy("name: a, ", "5"));
    assert_eq!(shown(&feed), is("a", true, false));
    feed.put("a.yaml", &policy("name: a, ", &good).replace("/v1", "/v7"));
    assert_eq!(shown(&feed), is("a", true, false));
    feed.put("a.yaml", &policy("name: a, name: a, ", &good));
    assert_eq!(shown(&feed), is("a", true, false));
    feed.put("a.yaml", &policy("", &good));
    assert_eq!(shown(&feed), is("(file:mesh/a.yaml:1:1)", true, true));

    // Readable: from then on it keeps its last good form, with a name and without, and is gone when it is gone.
    feed.put("a.yaml", &policy("name: a, ", &good));
    assert_eq!(shown(&feed), is("a", false, true));
    feed.put("a.yaml", &policy("name: a, ", &bad));
    assert_eq!(shown(&feed), is("a", false, true));
    feed.put("a.yaml", &policy("", &bad));
    assert_eq!(shown(&feed), is("a", false, true));
    feed.put("a.yaml", "");
    assert!(shown(&feed).is_empty());

    // One that its source could not read at all; the text that comes later counts.
    let diagnostic = Diagnostic {
        code: Code("LAT3101"),
        severity: Severity::Error,
        object: Some(ObjectRef {
            kind: "AuthorizationPolicy".into(),
            namespace: "shop".into(),
            name: "big".into(),
        }),
        origin: Some(Origin { source: "s".into(), location: "b.yaml".into(), line: 0, column: 0 }),
        path: String::new(),
        message: "too large".to_owned(),
        hint: None,
    };
    let invalid = SourceEvent::Invalid { id: id("b.yaml"), diagnostic };
    assert!(!feed.apply(invalid.clone()).is_empty());
    assert_eq!(shown(&feed), is("big", true, false));
    assert!(feed.apply(invalid.clone()).is_empty());
    feed.put("b.yaml", &policy("name: big, ", &good));
    assert_eq!(shown(&feed), is("big", false, true));
    feed.apply(invalid);
    assert_eq!(shown(&feed), is("big", false, true));
}

/// What a policy `lock` says: for whom, and whether it is one that can't be read.
fn locks(world: &World) -> Vec<(String, bool)> {
    let key = FactKey::Policies(Kind::AuthorizationPolicy, "shop".into());
    let Some(policies) = world.get(&key).cloned().and_then(Fact::policies) else { return Vec::new() };
    let show = |policy: &Arc<Sourced<ConfigObject>>| {
        let ConfigObject::AuthorizationPolicy(spec) = &*policy.spec else { panic!() };
        let selector = spec.selector.as_ref();
        let app = selector.and_then(|selector| selector.match_labels.get("app")).cloned();
        (app.unwrap_or_default(), policy.unreadable)
    };
    let mut all: Vec<_> = policies.iter().map(show).collect();
    all.sort();
    all
}

fn lock(app: &str, rest: &str) -> String {
    format!(
        "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {{name: lock, namespace: shop}}\nspec: \
         {{selector: {{matchLabels: {{app: {app}}}}}, {rest}}}\n"
    )
}

#[test]
fn what_stands_in_for_a_policy_hides_no_good_one_and_is_not_hidden() {
    let is = |all: &[(&str, bool)]| -> Vec<(String, bool)> {
        all.iter().map(|(app, unreadable)| ((*app).to_owned(), *unreadable)).collect()
    };
    let (bad, good) =
        (|app: &str| lock(app, "action: DENNY"), |app: &str| lock(app, "action: DENY, rules: [{}]"));
    let told = |feed: &Feed| feed.findings().iter().any(|finding| finding.contains("LAT2401"));
    // Whichever comes first by name or by time, both hold; so do two that can't be read.
    for (first, second) in [("a.yaml", "b.yaml"), ("b.yaml", "a.yaml")] {
        let mut feed = Feed::new();
        feed.put(first, &bad("a"));
        feed.put(second, &good("b"));
        assert_eq!(locks(feed.world()), is(&[("a", true), ("b", false)]));
        assert!(!told(&feed), "{:?}", feed.findings());
        feed.put("c.yaml", &bad("c"));
        assert_eq!(locks(feed.world()), is(&[("a", true), ("b", false), ("c", true)]));
        feed.apply(remove("c.yaml"));
        // Once it can be read, one of the two counts, and the other one is told.
        feed.put(first, &good("a"));
        assert_eq!(locks(feed.world()), is(&[(if first == "a.yaml" { "a" } else { "b" }, false)]));
        assert!(told(&feed));
        feed.put(first, &bad("a"));
        assert_eq!(locks(feed.world()).len(), 1, "its last good form stays");
        feed.apply(remove(first));
        assert_eq!(locks(feed.world()), is(&[("b", false)]));
        feed.apply(remove(second));
        assert!(locks(feed.world()).is_empty());
    }
    // In one text, too.
    let mut feed = Feed::of(&text(&[&bad("a"), &good("b")]));
    assert_eq!(locks(feed.world()), is(&[("a", true), ("b", false)]));
    feed.put("all.yaml", &good("b"));
    assert_eq!(locks(feed.world()), is(&[("b", false)]));
}

#[test]
fn a_proposal_that_can_t_be_read_leaves_the_last_good_form_in_force() {
    let (first, second) = (source("file:one"), source("file:two"));
    let mut registry = Registry::new(&[first, second.clone()]);
    apply(&mut registry, &second, upsert("mesh.yaml", &lock("a", "action: AUDIT")));
    let propose = |text: &str| {
        let (after, _) = registry.clone().proposed(&source("diff"), &[("new.yaml".into(), shared(text))]);
        let together: Vec<String> = after.diagnostics_together().map(ToString::to_string).collect();
        (after, together)
    };
    for typo in [
        lock("a", "action: AUDIIT"),
        lock("a", "action: [").replace("}}", "}"),
        lock("a", "x: 1").replace("name: lock, ", ""),
    ] {
        let (after, together) = propose(&typo);
        assert_eq!(locks(after.world()), [("a".to_owned(), false)], "{typo}");
        assert!(after.world() == registry.world() && together.is_empty(), "{typo}: {together:?}");
    }
    // A good one takes its place, and that is no conflict; a broken one that nothing is known of closes.
    let (after, together) = propose(&lock("b", "action: DENY, rules: [{}]"));
    assert_eq!(locks(after.world()), [("b".to_owned(), false)]);
    assert!(together.is_empty(), "{together:?}");
    let (after, _) = propose(&lock("c", "action: DENNY").replace("name: lock", "name: new"));
    assert_eq!(locks(after.world()), [("a".to_owned(), false), ("c".to_owned(), true)]);
}
