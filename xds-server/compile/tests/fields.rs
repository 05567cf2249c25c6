//! Every field of the objects of Istio and of the Gateway API, as their schemas have them, does something or says that
//! it does not: another value gives other bytes to some client, or is a finding. `docs/fields.md` is written from what
//! is found here.
//!
//! `fields/schema.tsv` is machine-made from the CRDs (`tools/schema.py`), so that a new field has no row until it is
//! decided about; `fields/seeds` has the objects into which fields are put one after the other.
//! `UPDATE_FIELDS=1 cargo test -p lateen-compile --test fields` writes the page anew; `FIELDS=VirtualService` shows what
//! is found of one kind, and compares nothing.

#![allow(clippy::unwrap_used)] // a test's functions are tests too

#[path = "fields/page.rs"]
mod page;
#[path = "fields/probe.rs"]
mod probe;
#[path = "fields/schema.rs"]
mod schema;
#[path = "fields/seeds.rs"]
mod seeds;

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    path::Path,
};

use probe::{NAMES, Outcome, Prober};

#[test]
fn each_field_has_an_effect_or_a_finding() {
    let only = env::var("FIELDS").ok();
    let mut prober = Prober::new();
    let mut found: BTreeMap<String, Vec<(String, Outcome)>> = BTreeMap::new();
    let (mut silent, mut names) = (BTreeMap::new(), Vec::new());
    for field in schema::read().iter().filter(|field| field.is_leaf()) {
        if only.as_ref().is_some_and(|only| !field.kind.starts_with(only)) {
            continue;
        }
        let outcome = prober.probe(field);
        if only.is_some() {
            eprintln!("{} {} {outcome:?}", field.kind, field.path);
        }
        if let Outcome::Nothing(tried, _) = &outcome {
            silent.insert(format!("{} {}", field.kind, field.path), tried.clone());
        }
        if matches!(outcome, Outcome::Name(_)) {
            names.push((field.kind.clone(), field.path.clone()));
        }
        found.entry(field.kind.clone()).or_default().push((field.path.clone(), outcome));
    }
    if only.is_some() {
        return;
    }
    let page = page::write(&found, &schema::versions());
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/fields.md");
    if env::var_os("UPDATE_FIELDS").is_some() {
        fs::write(&file, &page).unwrap();
    }
    // Those for which no object was found yet that shows what they do. The list may only get shorter.
    let listed: BTreeSet<&str> = include_str!("fields/unproved.txt").lines().collect();
    let new: Vec<_> = silent.iter().filter(|(field, _)| !listed.contains(&***field)).collect();
    assert!(new.is_empty(), "fields do nothing and say nothing: {new:#?}");
    let proved: Vec<_> = listed.iter().filter(|field| !silent.contains_key(**field)).collect();
    assert!(proved.is_empty(), "take them off fields/unproved.txt: {proved:#?}");
    let names: Vec<(&str, &str)> = names.iter().map(|(kind, path)| (&**kind, &**path)).collect();
    assert_eq!(names, NAMES, "fields on the list of mere names, and not");
    let written = fs::read_to_string(&file).unwrap_or_default();
    assert!(
        written == page,
        "docs/fields.md is out of date: UPDATE_FIELDS=1 cargo test -p lateen-compile --test fields"
    );
}
