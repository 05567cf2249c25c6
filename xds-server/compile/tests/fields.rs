//! Every field of the objects of Istio and of the Gateway API, as their schemas have them, does something or says that
//! it does not: another value gives other bytes to some client, or is a finding. `docs/fields.md` is written from what
//! is found here.
//!
//! `fields/schema.tsv` is machine-made from the CRDs (`tools/schema.py`); `fields/seeds.yaml` has the objects into which
//! fields are put one after the other. `UPDATE=1 cargo test -p lateen-compile --test fields` writes the page anew.

#![allow(clippy::unwrap_used)] // a test's functions are tests too

#[path = "fields/page.rs"]
mod page;
#[path = "fields/probe.rs"]
mod probe;
#[path = "fields/schema.rs"]
mod schema;

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    path::Path,
};

use probe::{Outcome, Prober};

fn probe(prober: &mut Prober, field: &schema::Field) -> Outcome {
    let outcome = prober.probe(field);
    if env::var_os("SHOW").is_some() {
        eprintln!("{} {} {outcome:?}", field.kind, field.path);
    }
    outcome
}

/// `fields/silent.txt` lists the fields for which neither could be shown so far; it may only get shorter.
#[test]
#[ignore = "docs/fields.md and fields/silent.txt are to be written first: UPDATE=1 … -- --ignored"]
fn each_field_has_an_effect_or_a_finding() {
    let fields = schema::read();
    let mut prober = Prober::new();
    let leaves: Vec<_> = fields.iter().filter(|field| field.is_leaf()).collect();
    let outcomes: Vec<_> = leaves.iter().map(|field| probe(&mut prober, field)).collect();
    let mut found: BTreeMap<String, Vec<(String, Outcome)>> = BTreeMap::new();
    let (mut silent, mut tried) = (BTreeSet::new(), Vec::new());
    for (field, outcome) in leaves.into_iter().zip(outcomes) {
        if let Outcome::Nothing(why) = &outcome {
            silent.insert(format!("{} {}", field.kind, field.path));
            tried.push(format!("{} {}: {why}", field.kind, field.path));
        }
        found.entry(field.kind.clone()).or_default().push((field.path.clone(), outcome));
    }
    let known = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fields/silent.txt");
    if env::var_os("UPDATE").is_some() {
        let list: String = silent.iter().map(|field| format!("{field}\n")).collect();
        fs::write(&known, list).unwrap();
    }
    let listed = fs::read_to_string(&known).unwrap_or_default();
    let listed: BTreeSet<_> = listed.lines().map(str::to_owned).collect();
    let new: Vec<_> =
        tried.iter().filter(|line| !listed.contains(line.split(':').next().unwrap_or_default())).collect();
    assert!(silent.is_subset(&listed), "fields do nothing and say nothing:\n{new:#?}");
    assert!(
        listed.is_subset(&silent),
        "no longer silent, take them off the list: {:#?}",
        listed.difference(&silent)
    );
    let page = page::write(&found, &schema::versions());
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/fields.md");
    if env::var_os("UPDATE").is_some() {
        fs::write(&file, &page).unwrap();
    }
    let written = fs::read_to_string(&file).unwrap_or_default();
    assert!(
        written == page,
        "docs/fields.md is out of date: UPDATE=1 cargo test -p lateen-compile --test fields"
    );
}
