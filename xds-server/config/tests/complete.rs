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
        // That a whole kind is not applied is the one thing that may be said of it.
        let others = parsed.diagnostics.iter().filter(|found| found.code != codes::NOT_APPLIED);
        let findings: Vec<_> = others.map(ToString::to_string).collect();
        assert!(findings.is_empty(), "{}", findings.join("\n"));
        kinds.extend(parsed.objects.iter().map(|object| object.key.kind));
    }
    assert_eq!(kinds.into_iter().collect::<Vec<_>>(), lateen_config::Kind::ALL);
}
