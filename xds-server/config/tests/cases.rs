//! Golden findings: what is said about each bad case, and which objects come out of it all the same.

#![allow(clippy::unwrap_used)] // a test's functions are tests too

use std::{collections::BTreeSet, fmt::Write as _, fs, path::Path, sync::Arc};

use lateen_config::{Parsed, analysis, codes};

fn read(file: &Path) -> Parsed {
    let location = file.file_name().unwrap().to_string_lossy().into_owned();
    lateen_config::parse(&fs::read(file).unwrap(), &Arc::from("file"), &location.into())
}

#[test]
fn findings_of_bad_cases() {
    insta::with_settings!({ prepend_module_to_snapshot => false, omit_expression => true }, {
        insta::glob!("../cases/bad", "*.yaml", |file| {
            let parsed = read(file);
            let mut text = String::new();
            for diagnostic in &parsed.diagnostics {
                writeln!(text, "{diagnostic}").unwrap();
            }
            for object in &parsed.objects {
                writeln!(text, "valid: {}", object.key).unwrap();
            }
            for invalid in &parsed.invalid {
                match &invalid.key {
                    Some(key) => writeln!(text, "invalid: {key}").unwrap(),
                    None => writeln!(text, "invalid, unknown which: {}", invalid.diagnostic).unwrap(),
                }
            }
            insta::assert_snapshot!(text);
        });
    });
}

#[test]
fn findings_of_the_analysis() {
    insta::with_settings!({ prepend_module_to_snapshot => false, omit_expression => true }, {
        insta::glob!("../cases/analysis", "*.yaml", |file| {
            let parsed = read(file);
            let mut text = String::new();
            for diagnostic in parsed.diagnostics.iter().chain(&analysis::analyze(&parsed.objects)) {
                // Every finding has a place in the text.
                assert!(diagnostic.origin.as_ref().unwrap().line > 0, "{diagnostic}");
                writeln!(text, "{diagnostic}").unwrap();
            }
            insta::assert_snapshot!(text);
        });
    });
}

/// Which files a source lists first is chance.
#[test]
fn the_order_of_objects_does_not_change_the_findings() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("cases/analysis");
    for file in fs::read_dir(folder).unwrap() {
        let mut objects = read(&file.unwrap().path()).objects;
        let forth: BTreeSet<_> = analysis::analyze(&objects).into_iter().collect();
        objects.reverse();
        let back: BTreeSet<_> = analysis::analyze(&objects).into_iter().collect();
        assert_eq!(forth, back);
    }
}

/// A check without a case is a check that may not work.
#[test]
fn every_code_has_a_case() {
    let snapshots = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/snapshots");
    let all: String = fs::read_dir(snapshots)
        .unwrap()
        .map(|file| fs::read_to_string(file.unwrap().path()).unwrap())
        .collect();
    // These need texts too large or too odd for a file; `bounds.rs` has them.
    let elsewhere = [codes::TOO_LARGE, codes::NOT_UTF8, codes::BUDGET, codes::SUPPRESSED, codes::EXPRESSIONS];
    let missing: Vec<_> =
        codes::ALL.iter().filter(|(code, _)| !all.contains(code.0) && !elsewhere.contains(code)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}
