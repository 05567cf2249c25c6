//! Which files are documents.

use std::{ffi::OsStr, path::Path};

/// Is it a name of a document: `*.yaml`, `*.yml`, `*.json`, and not hidden or an editor's?
pub fn is_document(path: &Path) -> bool {
    let extension = path.extension().and_then(OsStr::to_str).map(str::to_ascii_lowercase);
    matches!(extension.as_deref(), Some("yaml" | "yml" | "json"))
        && path.file_name().is_some_and(|name| !is_ignored(name))
}

/// Is it hidden, or a file that editors make beside the one that is edited (`#a.yaml#`, `.#a.yaml`, `a.yaml~`)?
pub fn is_ignored(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    name.starts_with(['.', '#', '~']) || name.ends_with(['~', '#'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_told_by_their_names() {
        for name in ["a.yaml", "b.yml", "c.JSON", "with space.yaml", "a.b.yaml"] {
            assert!(is_document(Path::new(name)), "{name}");
        }
        for name in [
            "a.txt",
            "yaml",
            ".yaml",
            ".a.yaml",
            "a.yaml~",
            "#a.yaml#",
            ".#a.yaml",
            "a.yaml.swp",
            ".a.yaml.swp",
            "4913",
            "a.yaml.tmp",
        ] {
            assert!(!is_document(Path::new(name)), "{name}");
        }
    }
}
