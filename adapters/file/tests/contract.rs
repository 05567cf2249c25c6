//! The contract suite on a real folder.

#![allow(clippy::unwrap_used, reason = "a test that can't make its folder has failed")]

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use async_trait::async_trait;
use lateen_adapter::{
    Adapter,
    contract::{self, Backend, CASES},
};
use lateen_adapter_file::FileAdapter;
use tempfile::TempDir;

/// A folder in a temporary one; to disconnect it is to move it away.
struct Folder {
    base: TempDir,
    is_away: bool,
}

impl Folder {
    fn new() -> Self {
        let base = tempfile::tempdir().unwrap();
        fs::create_dir(base.path().join("mesh")).unwrap();
        Self { base, is_away: false }
    }

    fn place(&self) -> PathBuf {
        self.base.path().join(if self.is_away { "away" } else { "mesh" })
    }

    fn file(&self, name: &str) -> PathBuf {
        self.place().join(format!("{name}.yaml"))
    }
}

#[async_trait]
impl Backend for Folder {
    fn adapter(&self) -> Box<dyn Adapter> {
        // Removals are waited for hundreds of times.
        let adapter = FileAdapter::new(self.base.path().join("mesh"));
        Box::new(adapter.settling(Duration::from_millis(20)))
    }

    async fn put(&mut self, name: &str, body: &str) {
        let file = self.file(name);
        // Half of the documents are written in place, half by rename.
        if name.len().is_multiple_of(2) {
            let temporary = self.place().join(format!(".{name}.tmp"));
            fs::write(&temporary, body).unwrap();
            fs::rename(&temporary, &file).unwrap();
        } else {
            fs::write(&file, body).unwrap();
        }
    }

    async fn delete(&mut self, name: &str) {
        fs::remove_file(self.file(name)).unwrap();
    }

    async fn corrupt(&mut self, name: &str) -> bool {
        // Root may read a file without permissions, so this one is too large instead.
        let file = fs::OpenOptions::new().write(true).open(self.file(name)).unwrap();
        file.set_len(lateen_adapter_file::FILE_BYTES_MAX + 1).unwrap();
        true
    }

    async fn disconnect(&mut self) -> bool {
        fs::rename(self.place(), self.base.path().join("away")).unwrap();
        self.is_away = true;
        true
    }

    async fn reconnect(&mut self) {
        let from = self.place();
        self.is_away = false;
        fs::rename(from, self.place()).unwrap();
    }
}

fn operations() -> usize {
    // The adapter contract asks for 10,000; continuous integration does a tenth.
    if std::env::var_os("CI").is_some() { 1_000 } else { 10_000 }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_file_adapter_keeps_the_contract() {
    let report = contract::run(|| async { Folder::new() }, operations()).await;
    assert_eq!(report.failed, [], "\n{report}");
    assert_eq!(report.passed, CASES, "\n{report}");
}

/// The suite itself: an adapter that forgets is caught.
mod suite {
    use std::convert::Infallible;

    use lateen_adapter::{AdapterError, EventSink};
    use lateen_model::{Document, ObjectId, ObjectKind, Scope, SourceEvent, SourceId, event::Object};

    use super::*;

    /// Lists once, and never looks again.
    struct Lazy(PathBuf);

    fn list(folder: &Path) -> Vec<SourceEvent> {
        let scope = Scope { kind: ObjectKind::Document, prefix: "".into() };
        let mut events = vec![SourceEvent::Resync(scope.clone())];
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let id = ObjectId { kind: ObjectKind::Document, name: path.to_string_lossy().into() };
            let body = fs::read(path).unwrap().into();
            events.push(SourceEvent::Upsert { id, object: Object::Document(Document { body }) });
        }
        events.push(SourceEvent::Synced(scope));
        events
    }

    #[async_trait]
    impl Adapter for Lazy {
        fn source(&self) -> SourceId {
            SourceId("lazy".into())
        }

        async fn run(&mut self, events: &mut EventSink) -> Result<Infallible, AdapterError> {
            events.send(list(&self.0)).await?;
            // It ends its supervisor, so that the suite need not wait until its patience is over.
            Err(AdapterError::Stopped)
        }
    }

    struct LazyFolder(Folder);

    #[async_trait]
    impl Backend for LazyFolder {
        fn adapter(&self) -> Box<dyn Adapter> {
            Box::new(Lazy(self.0.place()))
        }

        async fn put(&mut self, name: &str, body: &str) {
            self.0.put(name, body).await;
        }

        async fn delete(&mut self, name: &str) {
            self.0.delete(name).await;
        }
    }

    #[tokio::test]
    async fn an_adapter_that_never_looks_again_is_caught() {
        let report = contract::run(|| async { LazyFolder(Folder::new()) }, 10).await;
        let failed: Vec<&str> = report.failed.iter().map(|failure| failure.case).collect();
        for case in ["update", "delete", "mass removal", "random operations"] {
            assert!(failed.contains(&case), "{case} did not fail\n{report}");
        }
        assert!(report.passed.contains(&"initial sync"), "{report}");
    }
}
