//! Edits of the files, and the way back.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::demo::mesh::{self, File};

/// Edits files; puts them back when dropped.
#[derive(Debug)]
pub struct Editor<'a> {
    folder: &'a Path,
    /// What was there before.
    before: Vec<(&'static str, PathBuf, Vec<u8>)>,
    edits: u32,
}

impl<'a> Editor<'a> {
    /// Remembers the files that are meant to be edited and gives them their first text.
    pub fn new(folder: &'a Path) -> io::Result<Self> {
        let mut editor = Self { folder, before: Vec::new(), edits: 0 };
        for file in mesh::editable() {
            let path = folder.join(file.name);
            editor.before.push((file.name, path.clone(), fs::read(&path)?));
            editor.write(&file)?;
        }
        Ok(editor)
    }

    /// A slip of the pen is said here rather than by a check that waits in vain.
    fn write(&self, file: &File) -> io::Result<()> {
        let parsed = lateen_config::parse(file.text.as_bytes(), &Arc::from("check"), &Arc::from(file.name));
        match parsed.diagnostics.first() {
            Some(finding) => Err(io::Error::new(io::ErrorKind::InvalidInput, finding.to_string())),
            None => mesh::write(self.folder, file),
        }
    }

    fn next(&mut self) -> u32 {
        self.edits += 1;
        self.edits
    }

    /// Other routes to the catalog; returns the number of the edit.
    pub fn catalog(&mut self, routes: &str) -> io::Result<u32> {
        let edit = self.next();
        self.write(&File { name: "catalog.yaml", text: mesh::catalog(Some((edit, routes))) })?;
        Ok(edit)
    }

    /// Other routes at the gateway; returns the number of the edit.
    pub fn ingress(&mut self, routes: &str) -> io::Result<u32> {
        let edit = self.next();
        self.write(&File { name: "ingress.yaml", text: mesh::ingress(Some((edit, routes))) })?;
        Ok(edit)
    }

    /// Another policy for the reviews; empty is the first one.
    pub fn reviews(&self, policy: &str) -> io::Result<()> {
        self.write(&File { name: "reviews.yaml", text: mesh::reviews(policy) })
    }

    /// Puts all files back.
    pub fn restore(&mut self) -> io::Result<()> {
        while let Some((name, path, bytes)) = self.before.last() {
            let draft = self.folder.join(format!(".{name}.draft"));
            fs::write(&draft, bytes)?;
            fs::rename(&draft, path)?;
            self.before.pop();
        }
        Ok(())
    }
}

impl Drop for Editor<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.restore() {
            tracing::error!(%error, "the files of the demo were not all put back");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_readers_own_text_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        for file in mesh::editable() {
            fs::write(folder.path().join(file.name), format!("# mine: {}", file.name)).unwrap();
        }
        let mut editor = Editor::new(folder.path()).unwrap();
        assert_eq!(editor.catalog(mesh::CATALOG_ROUTES).unwrap(), 1);
        assert!(fs::read_to_string(folder.path().join("catalog.yaml")).unwrap().contains(mesh::EDIT_PATH));
        drop(editor);
        for file in mesh::editable() {
            let text = fs::read_to_string(folder.path().join(file.name)).unwrap();
            assert_eq!(text, format!("# mine: {}", file.name));
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), mesh::editable().len());
    }
}
