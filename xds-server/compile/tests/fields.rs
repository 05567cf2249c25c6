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

use std::{collections::BTreeMap, env, fs, path::PathBuf};

use probe::{Outcome, Prober};

#[test]
fn each_field_has_an_effect_or_a_finding() {
    let fields = schema::read();
    let prober = Prober::new();
    let mut found: BTreeMap<String, Vec<(String, Outcome)>> = BTreeMap::new();
    let mut silent = Vec::new();
    for field in fields.iter().filter(|field| field.is_leaf()) {
        let outcome = prober.probe(field);
        if env::var_os("SHOW").is_some() {
            eprintln!("{} {} {outcome:?}", field.kind, field.path);
        }
        if let Outcome::Nothing(why) = &outcome {
            silent.push(format!("{} {}: {why}", field.kind, field.path));
        }
        found.entry(field.kind.clone()).or_default().push((field.path.clone(), outcome));
    }
    assert!(silent.is_empty(), "{} fields do nothing and say nothing:\n{}", silent.len(), silent.join("\n"));
    let page = page::write(&found, &schema::versions());
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/fields.md");
    if env::var_os("UPDATE").is_some() {
        fs::write(&file, &page).unwrap();
    }
    let written = fs::read_to_string(&file).unwrap_or_default();
    assert!(written == page, "docs/fields.md is out of date: UPDATE=1 cargo test -p lateen-compile --test fields");
}
