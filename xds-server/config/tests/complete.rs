//! Cases that must parse without a finding: every kind with every field.

use std::{collections::BTreeSet, fs, path::Path, sync::Arc};

use lateen_config::codes;

#[test]
fn complete_examples_have_no_findings() {
    let mut kinds = BTreeSet::new();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("cases/full");
    for file in fs::read_dir(folder).unwrap() {
        let file = file.unwrap().path();
        let location = file.file_name().unwrap().to_string_lossy().into_owned();
        let parsed = lateen_config::parse(&fs::read(&file).unwrap(), &Arc::from("file"), &location.into());
        // That a kind or a field is not applied (yet) is no mistake in it.
        let others = parsed
            .diagnostics
            .iter()
            .filter(|found| ![codes::NOT_APPLIED, codes::NO_EFFECT].contains(&found.code));
        let findings: Vec<_> = others.map(ToString::to_string).collect();
        assert!(findings.is_empty(), "{}", findings.join("\n"));
        kinds.extend(parsed.objects.iter().map(|object| object.key.kind));
    }
    assert_eq!(kinds.into_iter().collect::<Vec<_>>(), lateen_config::Kind::ALL);
}
