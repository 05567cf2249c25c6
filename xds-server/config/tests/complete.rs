//! Cases that must parse without a finding: every kind with every field.

use std::{fs, path::Path, sync::Arc};

#[test]
fn complete_examples_have_no_findings() {
    let mut kinds = std::collections::BTreeSet::new();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("cases/full");
    for file in fs::read_dir(folder).unwrap() {
        let file = file.unwrap().path();
        let location = file.file_name().unwrap().to_string_lossy().into_owned();
        let parsed = lateen_config::parse(&fs::read(&file).unwrap(), &Arc::from("file"), &location.into());
        let findings: Vec<_> = parsed.diagnostics.iter().map(ToString::to_string).collect();
        assert!(findings.is_empty(), "{}", findings.join("\n"));
        kinds.extend(parsed.objects.iter().map(|object| object.key.kind));
    }
    assert_eq!(kinds.into_iter().collect::<Vec<_>>(), lateen_config::Kind::ALL);
}
