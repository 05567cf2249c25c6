//! Golden findings: what is said about each bad case, and which objects come out of it all the same.

use std::{fmt::Write as _, fs, sync::Arc};

#[test]
fn findings_of_bad_cases() {
    insta::with_settings!({ prepend_module_to_snapshot => false, omit_expression => true }, {
        insta::glob!("../cases/bad", "*.yaml", |file| {
            let location = file.file_name().unwrap().to_string_lossy().into_owned();
            let parsed = lateen_config::parse(&fs::read(file).unwrap(), &Arc::from("file"), &location.into());
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
