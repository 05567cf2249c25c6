//! One test for each thing that happens to a folder of files.

#![allow(clippy::unwrap_used, reason = "a test that can't make its folder has failed")]

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use lateen_adapter::{ToCore, supervise};
use lateen_adapter_file::{FILE_BYTES_MAX, FileAdapter, SETTLE};
use lateen_model::{SourceEvent, event::Object};
use tempfile::TempDir;
use tokio::{sync::mpsc, task::JoinHandle, time::timeout};

/// Longer than this nobody waits.
const PATIENCE: Duration = Duration::from_mins(2);

/// A folder, its adapter, and what a core would hold.
struct Mesh {
    base: TempDir,
    messages: mpsc::Receiver<ToCore>,
    supervisor: JoinHandle<()>,
    held: BTreeMap<String, String>,
    invalid: BTreeMap<String, String>,
    seen: Option<Vec<String>>,
    listings: usize,
    stale: Option<String>,
    log: Vec<String>,
}

impl Drop for Mesh {
    fn drop(&mut self) {
        self.supervisor.abort();
    }
}

impl Mesh {
    /// A folder with these files, listed.
    async fn with(files: &[(&str, &str)]) -> Self {
        Self::with_settling(files, SETTLE).await
    }

    async fn with_settling(files: &[(&str, &str)], settle: Duration) -> Self {
        let base = tempfile::tempdir().unwrap();
        fs::create_dir(base.path().join("mesh")).unwrap();
        for (name, body) in files {
            fs::write(base.path().join("mesh").join(name), body).unwrap();
        }
        let mut mesh = Self::settling(base, settle);
        mesh.until("the first listing", |mesh| mesh.listings == 1).await;
        mesh
    }

    fn unlisted(base: TempDir) -> Self {
        Self::settling(base, SETTLE)
    }

    fn settling(base: TempDir, settle: Duration) -> Self {
        let (core, messages) = mpsc::channel(4);
        let adapter = Box::new(FileAdapter::new(base.path().join("mesh")).settling(settle));
        Self {
            base,
            messages,
            supervisor: tokio::spawn(supervise(adapter, core)),
            held: BTreeMap::new(),
            invalid: BTreeMap::new(),
            seen: None,
            listings: 0,
            stale: None,
            log: Vec::new(),
        }
    }

    fn root(&self) -> PathBuf {
        self.base.path().join("mesh")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root().join(name)
    }

    fn write(&self, name: &str, body: &str) {
        fs::write(self.path(name), body).unwrap();
    }

    /// Puts a complete file in place at once.
    fn replace(&self, name: &str, body: &str) {
        let temporary = self.base.path().join("replacement");
        fs::write(&temporary, body).unwrap();
        fs::rename(temporary, self.path(name)).unwrap();
    }

    async fn until(&mut self, what: &str, is: impl Fn(&Self) -> bool) {
        let waited = timeout(PATIENCE, async {
            while !is(self) {
                let message = self.messages.recv().await.expect("the adapter runs");
                self.take(message);
            }
        });
        assert!(
            waited.await.is_ok(),
            "waited in vain for {what}: {:?} {:?}\n{:#?}",
            self.held,
            self.invalid,
            self.log
        );
    }

    async fn until_holds(&mut self, expected: &[(&str, &str)]) {
        let expected: BTreeMap<String, String> =
            expected.iter().map(|(name, body)| ((*name).to_owned(), (*body).to_owned())).collect();
        self.until(&format!("{expected:?}"), |mesh| mesh.held == expected).await;
    }

    /// The adapter has nothing more to say about what was done up to now: it has said this instead.
    async fn settle(&mut self) {
        let name = format!("settled{}.yaml", self.log.len());
        self.replace(&name, "x");
        self.until("the marker", |mesh| mesh.held.contains_key(&name)).await;
        fs::remove_file(self.path(&name)).unwrap();
        self.until("the marker's end", |mesh| !mesh.held.contains_key(&name)).await;
    }

    fn take(&mut self, message: ToCore) {
        match message {
            ToCore::Events(_, events) => {
                for event in events {
                    self.event(event);
                }
            }
            ToCore::Failed(_, why) => {
                self.log.push(format!("stale {why}"));
                self.stale = Some(why);
            }
            ToCore::Recovered(_) => {
                self.log.push("recovered".to_owned());
                self.stale = None;
            }
        }
    }

    fn event(&mut self, event: SourceEvent) {
        let short = |name: &str| {
            let inside = Path::new(name).strip_prefix(self.root()).unwrap();
            inside.to_string_lossy().into_owned()
        };
        match event {
            SourceEvent::Resync(_) => self.seen = Some(Vec::new()),
            SourceEvent::Synced(_) => {
                let seen = self.seen.take().unwrap();
                self.held.retain(|name, _| seen.contains(name));
                self.invalid.retain(|name, _| seen.contains(name));
                self.listings += 1;
            }
            SourceEvent::Upsert { id, object: Object::Document(document) } => {
                let name = short(&id.name);
                self.log.push(format!("upsert {name} {} bytes", document.body.len()));
                self.seen.iter_mut().for_each(|seen| seen.push(name.clone()));
                self.invalid.remove(&name);
                self.held.insert(name, String::from_utf8_lossy(&document.body).into_owned());
            }
            SourceEvent::Upsert { .. } => panic!("files are documents"),
            SourceEvent::Remove { id } => {
                let name = short(&id.name);
                self.log.push(format!("remove {name}"));
                self.held.remove(&name);
                self.invalid.remove(&name);
            }
            SourceEvent::Invalid { id, diagnostic } => {
                let name = short(&id.name);
                self.log.push(format!("invalid {name}"));
                self.seen.iter_mut().for_each(|seen| seen.push(name.clone()));
                self.invalid.insert(name, diagnostic.to_string());
            }
        }
    }
}

#[tokio::test]
async fn an_edit_arrives_within_50_ms() {
    let mut mesh = Mesh::with(&[("a.yaml", "0")]).await;
    let mut took = Vec::new();
    for n in 1..=40 {
        let body = n.to_string();
        let began = Instant::now();
        if n % 2 == 0 {
            mesh.write("a.yaml", &body);
        } else {
            mesh.replace("a.yaml", &body);
        }
        mesh.until_holds(&[("a.yaml", &body)]).await;
        took.push(began.elapsed());
    }
    took.sort();
    // The median, so that a busy machine does not decide.
    assert!(took[20] < Duration::from_millis(50), "{took:?}");
}

#[tokio::test]
async fn subfolders_are_followed_old_and_new() {
    let mut mesh = Mesh::with(&[("a.yaml", "a")]).await;
    fs::create_dir_all(mesh.path("x/y")).unwrap();
    mesh.write("x/y/deep.yml", "deep");
    mesh.until_holds(&[("a.yaml", "a"), ("x/y/deep.yml", "deep")]).await;
    mesh.write("x/y/deep.yml", "deeper");
    mesh.write("x/more.json", "{}");
    mesh.until_holds(&[("a.yaml", "a"), ("x/y/deep.yml", "deeper"), ("x/more.json", "{}")]).await;
    fs::rename(mesh.path("x"), mesh.path("z")).unwrap();
    mesh.until_holds(&[("a.yaml", "a"), ("z/y/deep.yml", "deeper"), ("z/more.json", "{}")]).await;
    mesh.write("z/more.json", "[]");
    mesh.until_holds(&[("a.yaml", "a"), ("z/y/deep.yml", "deeper"), ("z/more.json", "[]")]).await;
    fs::remove_dir_all(mesh.path("z")).unwrap();
    mesh.until_holds(&[("a.yaml", "a")]).await;
}

#[tokio::test]
async fn other_files_are_passed_over() {
    let mut mesh = Mesh::with(&[("a.yaml", "a"), ("notes.txt", "n"), (".hidden.yaml", "h")]).await;
    for name in ["a.yaml~", ".a.yaml.swp", "#a.yaml#", ".#a.yaml", "4913", "a.yaml.tmp"] {
        mesh.write(name, "editor");
    }
    fs::create_dir(mesh.path(".git")).unwrap();
    mesh.write(".git/config.yaml", "g");
    mesh.settle().await;
    assert_eq!(mesh.held.keys().collect::<Vec<_>>(), ["a.yaml"]);
    assert!(
        mesh.log.iter().all(|line| line.contains("a.yaml ") || line.contains("settled")),
        "{:?}",
        mesh.log
    );
}

#[tokio::test]
async fn a_half_written_file_is_waited_for() {
    use std::io::Write;
    let mut mesh = Mesh::with(&[("a.yaml", "whole: 1\n")]).await;
    let mut file = fs::File::create(mesh.path("a.yaml")).unwrap();
    file.write_all(b"who").unwrap();
    file.sync_all().unwrap();
    // Something else is told meanwhile, the half file is not.
    mesh.settle().await;
    assert_eq!(mesh.held["a.yaml"], "whole: 1\n", "{:?}", mesh.log);
    file.write_all(b"le: 2\n").unwrap();
    drop(file);
    mesh.until_holds(&[("a.yaml", "whole: 2\n")]).await;
    assert!(!mesh.log.iter().any(|line| line == "upsert a.yaml 3 bytes"), "{:?}", mesh.log);
}

#[tokio::test]
async fn a_writer_that_never_closes_is_read_in_the_end() {
    use std::io::Write;
    let mut mesh = Mesh::with(&[]).await;
    let mut file = fs::File::create(mesh.path("a.yaml")).unwrap();
    file.write_all(b"open").unwrap();
    mesh.until_holds(&[("a.yaml", "open")]).await;
    drop(file);
}

#[tokio::test]
async fn a_file_that_is_removed_and_written_anew_is_never_gone() {
    let mut mesh = Mesh::with(&[("a.yaml", "0")]).await;
    for n in 1..=20 {
        // As some editors save.
        fs::rename(mesh.path("a.yaml"), mesh.path("a.yaml~")).unwrap();
        mesh.write("a.yaml", &n.to_string());
        fs::remove_file(mesh.path("a.yaml~")).unwrap();
        mesh.until_holds(&[("a.yaml", &n.to_string())]).await;
    }
    assert!(!mesh.log.iter().any(|line| line.starts_with("remove")), "{:?}", mesh.log);
}

#[tokio::test]
async fn a_removed_file_is_gone() {
    let mut mesh = Mesh::with(&[("a.yaml", "a"), ("b.yaml", "b")]).await;
    fs::remove_file(mesh.path("a.yaml")).unwrap();
    mesh.until_holds(&[("b.yaml", "b")]).await;
    fs::rename(mesh.path("b.yaml"), mesh.path("c.yaml")).unwrap();
    mesh.until_holds(&[("c.yaml", "b")]).await;
}

/// A time to settle that no busy machine takes between two steps.
const LONG: Duration = Duration::from_secs(5);
const THREE: &str = "a: 1\n---\nb: 2\n---\nc: 3\n";

/// What is told meanwhile shows that time passes and that nothing else is told.
#[tokio::test]
async fn a_file_that_is_empty_or_cut_for_a_moment_stays_as_it_was() {
    for cut in ["", "\n", "a: 1\n", "a: 1\n---\nb: 2\n---\n"] {
        let mut mesh = Mesh::with_settling(&[("a.yaml", THREE)], LONG).await;
        for n in 0..5 {
            mesh.write("a.yaml", cut);
            mesh.replace("other.yaml", &n.to_string());
            mesh.until_holds(&[("a.yaml", THREE), ("other.yaml", &n.to_string())]).await;
            mesh.write("a.yaml", THREE);
        }
        mesh.write("a.yaml", "new");
        mesh.until_holds(&[("a.yaml", "new"), ("other.yaml", "4")]).await;
        let short = format!("upsert a.yaml {} bytes", cut.len());
        assert!(!mesh.log.contains(&short), "{:?}", mesh.log);
    }
}

#[tokio::test]
async fn a_file_that_stays_empty_or_cut_is_believed_and_one_that_is_edited_at_once() {
    let settle = Duration::from_secs(1);
    let mut mesh = Mesh::with_settling(&[("a.yaml", THREE), ("b.yaml", THREE)], settle).await;
    let began = Instant::now();
    mesh.write("a.yaml", "");
    mesh.write("b.yaml", "a: 1\n");
    mesh.until_holds(&[("a.yaml", ""), ("b.yaml", "a: 1\n")]).await;
    assert!(began.elapsed() >= settle * 3);
    mesh.write("b.yaml", THREE);
    mesh.until_holds(&[("a.yaml", ""), ("b.yaml", THREE)]).await;
    let began = Instant::now();
    mesh.write("b.yaml", "c: 3\n");
    mesh.until_holds(&[("a.yaml", ""), ("b.yaml", "c: 3\n")]).await;
    assert!(began.elapsed() < settle * 3, "an edit that takes out documents is none that cuts");
}

#[tokio::test]
async fn files_that_are_removed_and_copied_anew_are_never_gone() {
    let mut mesh = Mesh::with_settling(&[("a.yaml", "a"), ("b.yaml", "b")], LONG).await;
    for round in 0..10 {
        fs::remove_dir_all(mesh.root()).unwrap();
        fs::create_dir(mesh.root()).unwrap();
        // Half of the time the empty folder is seen first.
        if round % 2 == 0 {
            tokio::time::sleep(Duration::from_millis(60)).await;
        }
        let text = format!("a{round}");
        mesh.write("a.yaml", &text);
        mesh.write("b.yaml", "b");
        mesh.until_holds(&[("a.yaml", &text), ("b.yaml", "b")]).await;
        fs::remove_file(mesh.path("b.yaml")).unwrap();
        tokio::time::sleep(Duration::from_millis(60)).await;
        mesh.write("b.yaml", "b");
    }
    mesh.write("b.yaml", "end");
    mesh.until("the end", |mesh| mesh.held["b.yaml"] == "end").await;
    assert!(!mesh.log.iter().any(|line| line.starts_with("remove")), "{:?}", mesh.log);
    assert_eq!(mesh.held.len(), 2);
}

#[tokio::test]
async fn a_folder_that_stays_without_a_file_is_believed() {
    let mut mesh = Mesh::with(&[("a.yaml", "a"), ("b.yaml", "b")]).await;
    fs::remove_dir_all(mesh.root()).unwrap();
    mesh.until("the staleness", |mesh| mesh.stale.is_some()).await;
    fs::create_dir(mesh.root()).unwrap();
    mesh.write("a.yaml", "a2");
    mesh.until_holds(&[("a.yaml", "a2")]).await;
    fs::remove_file(mesh.path("a.yaml")).unwrap();
    mesh.until_holds(&[]).await;
}

/// Well before the whole folder is looked at without being told.
#[tokio::test]
async fn a_link_is_followed_over_links_outside_the_folder() {
    let mut mesh = Mesh::with(&[]).await;
    let elsewhere = mesh.base.path().join("elsewhere");
    let replace = |target: &Path, link: &Path| {
        let new = link.with_extension("new");
        symlink(target, &new).unwrap();
        fs::rename(new, link).unwrap();
    };
    for n in 1..4 {
        fs::create_dir_all(elsewhere.join(format!("versions/{n}"))).unwrap();
        fs::write(elsewhere.join(format!("versions/{n}/text")), n.to_string()).unwrap();
    }
    replace(Path::new("versions/1"), &elsewhere.join("current"));
    symlink(elsewhere.join("current/text"), mesh.path("link.yaml")).unwrap();
    mesh.until_holds(&[("link.yaml", "1")]).await;
    mesh.settle().await;
    let began = Instant::now();
    replace(Path::new("versions/2"), &elsewhere.join("current"));
    mesh.until_holds(&[("link.yaml", "2")]).await;
    // The file that it leads to is put in place by its name there, which is none of a document.
    fs::rename(elsewhere.join("versions/3/text"), elsewhere.join("versions/2/text")).unwrap();
    mesh.until_holds(&[("link.yaml", "3")]).await;
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}

#[tokio::test]
async fn what_is_no_folder_is_called_so() {
    for (is_file, end) in [(false, "/mesh"), (true, "/mesh is not a folder")] {
        let base = tempfile::tempdir().unwrap();
        if is_file {
            fs::write(base.path().join("mesh"), "a file").unwrap();
        }
        let mut mesh = Mesh::unlisted(base);
        mesh.until("the failure", |mesh| mesh.stale.is_some()).await;
        let why = mesh.stale.as_ref().unwrap();
        assert!(why.ends_with(end) && why.starts_with("there is no folder /") != is_file, "{why}");
    }
}

#[tokio::test]
async fn a_volume_of_links_changes_all_at_once() {
    // As volumes of Kubernetes are laid out: a.yaml -> ..data/a.yaml, ..data -> ..1
    let mesh = Mesh::unlisted({
        let base = tempfile::tempdir().unwrap();
        let root = base.path().join("mesh");
        fs::create_dir_all(root.join("..1")).unwrap();
        fs::write(root.join("..1/a.yaml"), "a1").unwrap();
        fs::write(root.join("..1/b.yaml"), "b1").unwrap();
        symlink("..1", root.join("..data")).unwrap();
        symlink("..data/a.yaml", root.join("a.yaml")).unwrap();
        symlink("..data/b.yaml", root.join("b.yaml")).unwrap();
        base
    });
    let mut mesh = mesh;
    mesh.until_holds(&[("a.yaml", "a1"), ("b.yaml", "b1")]).await;
    for n in 2..6 {
        let next = mesh.path(&format!("..{n}"));
        fs::create_dir(&next).unwrap();
        fs::write(next.join("a.yaml"), format!("a{n}")).unwrap();
        fs::write(next.join("b.yaml"), format!("b{n}")).unwrap();
        symlink(format!("..{n}"), mesh.path("..data_tmp")).unwrap();
        fs::rename(mesh.path("..data_tmp"), mesh.path("..data")).unwrap();
        fs::remove_dir_all(mesh.path(&format!("..{}", n - 1))).unwrap();
        let (a, b) = (format!("a{n}"), format!("b{n}"));
        mesh.until_holds(&[("a.yaml", &a), ("b.yaml", &b)]).await;
    }
    assert!(!mesh.log.iter().any(|line| line.starts_with("remove")), "{:?}", mesh.log);
}

#[tokio::test]
async fn a_file_behind_a_link_changes_where_it_is() {
    let mut mesh = Mesh::with(&[]).await;
    let elsewhere = mesh.base.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    fs::write(elsewhere.join("real.yaml"), "1").unwrap();
    symlink(elsewhere.join("real.yaml"), mesh.path("link.yaml")).unwrap();
    mesh.until_holds(&[("link.yaml", "1")]).await;
    mesh.settle().await;
    fs::write(elsewhere.join("real.yaml"), "22").unwrap();
    mesh.until_holds(&[("link.yaml", "22")]).await;
}

#[tokio::test]
async fn loops_of_folders_end() {
    let mut mesh = Mesh::with(&[("a.yaml", "a")]).await;
    fs::create_dir(mesh.path("sub")).unwrap();
    mesh.write("sub/b.yaml", "b");
    symlink("..", mesh.path("sub/up")).unwrap();
    symlink(".", mesh.path("self")).unwrap();
    symlink("nowhere", mesh.path("dangling.yaml")).unwrap();
    mesh.until_holds(&[("a.yaml", "a"), ("sub/b.yaml", "b")]).await;
    mesh.settle().await;
    assert_eq!(mesh.held.len(), 2, "{:?}", mesh.held);
}

#[tokio::test]
async fn pipes_and_folders_with_a_files_name_are_passed_over() {
    let mut mesh = Mesh::with(&[("a.yaml", "a")]).await;
    assert!(Command::new("mkfifo").arg(mesh.path("pipe.yaml")).status().unwrap().success());
    fs::create_dir(mesh.path("folder.yaml")).unwrap();
    mesh.write("folder.yaml/b.yaml", "b");
    mesh.until_holds(&[("a.yaml", "a"), ("folder.yaml/b.yaml", "b")]).await;
    // A pipe in the place of a file ends the file, and nobody waits for its writer.
    fs::remove_file(mesh.path("a.yaml")).unwrap();
    assert!(Command::new("mkfifo").arg(mesh.path("a.yaml")).status().unwrap().success());
    mesh.until_holds(&[("folder.yaml/b.yaml", "b")]).await;
}

#[tokio::test]
async fn the_folder_goes_and_comes_back() {
    let mut mesh = Mesh::with(&[("a.yaml", "a"), ("b.yaml", "b")]).await;
    for round in 0..3 {
        fs::remove_dir_all(mesh.root()).unwrap();
        mesh.until("the staleness", |mesh| mesh.stale.is_some()).await;
        assert_eq!(mesh.held.len(), 2, "{:?}", mesh.log);
        fs::create_dir(mesh.root()).unwrap();
        mesh.write("a.yaml", &format!("a{round}"));
        mesh.write("b.yaml", "b");
        mesh.until_holds(&[("a.yaml", &format!("a{round}")), ("b.yaml", "b")]).await;
        mesh.until("the recovery", |mesh| mesh.stale.is_none()).await;
    }
    assert!(!mesh.log.iter().any(|line| line.starts_with("remove")), "{:?}", mesh.log);
    mesh.write("a.yaml", "end");
    mesh.until_holds(&[("a.yaml", "end"), ("b.yaml", "b")]).await;
}

#[tokio::test]
async fn a_folder_that_comes_late_is_not_an_empty_one() {
    let base = tempfile::tempdir().unwrap();
    let mut mesh = Mesh::unlisted(base);
    mesh.until("the staleness", |mesh| mesh.stale.is_some()).await;
    assert_eq!(mesh.listings, 0);
    fs::create_dir(mesh.root()).unwrap();
    mesh.write("a.yaml", "a");
    mesh.until_holds(&[("a.yaml", "a")]).await;
    mesh.until("the recovery", |mesh| mesh.stale.is_none() && mesh.listings > 0).await;
}

#[tokio::test]
async fn a_file_that_cannot_be_read_keeps_what_it_said() {
    let mut mesh = Mesh::with(&[("a.yaml", "a"), ("b.yaml", "b")]).await;
    fs::set_permissions(mesh.path("a.yaml"), fs::Permissions::from_mode(0o0)).unwrap();
    if fs::read(mesh.path("a.yaml")).is_ok() {
        // Root reads everything: a link that leads to itself can't be read by anybody.
        fs::remove_file(mesh.path("a.yaml")).unwrap();
        symlink("a.yaml", mesh.path("a.yaml")).unwrap();
    }
    mesh.until("the finding", |mesh| mesh.invalid.contains_key("a.yaml")).await;
    assert!(mesh.invalid["a.yaml"].contains("LAT3501"), "{:?}", mesh.invalid);
    mesh.write("b.yaml", "b2");
    mesh.until_holds(&[("a.yaml", "a"), ("b.yaml", "b2")]).await;
    mesh.replace("a.yaml", "a2");
    mesh.until_holds(&[("a.yaml", "a2"), ("b.yaml", "b2")]).await;
    assert!(mesh.invalid.is_empty(), "{:?}", mesh.invalid);
}

#[tokio::test]
async fn a_file_of_100_mb_keeps_what_it_said() {
    let mut mesh = Mesh::with(&[("a.yaml", "a")]).await;
    let large = mesh.base.path().join("large");
    fs::File::create(&large).unwrap().set_len(100 << 20).unwrap();
    fs::rename(large, mesh.path("a.yaml")).unwrap();
    mesh.until("the finding", |mesh| mesh.invalid.contains_key("a.yaml")).await;
    let finding = &mesh.invalid["a.yaml"];
    assert!(finding.contains("LAT3502") && finding.contains("100 MiB"), "{finding}");
    assert_eq!(mesh.held["a.yaml"], "a");
    let largest = "#".repeat(usize::try_from(FILE_BYTES_MAX).unwrap());
    mesh.replace("a.yaml", &largest);
    mesh.until("the largest file", |mesh| mesh.held["a.yaml"].len() == largest.len()).await;
    assert!(mesh.invalid.is_empty());
}

#[tokio::test]
async fn bytes_that_are_no_text_travel_as_they_are() {
    let mut mesh = Mesh::with(&[]).await;
    fs::write(mesh.path("a.yaml"), b"\xff\xfe\0\0").unwrap();
    mesh.until("the file", |mesh| mesh.held.contains_key("a.yaml")).await;
    assert!(mesh.log.iter().any(|line| line == "upsert a.yaml 4 bytes"), "{:?}", mesh.log);
}

#[tokio::test]
async fn more_changes_than_the_watch_can_hold_are_found_all_the_same() {
    let mut mesh = Mesh::with(&[]).await;
    // More files than hints are kept for one by one, and more events than the kernel's queue may hold.
    let root = mesh.root();
    let writing = tokio::task::spawn_blocking(move || {
        for n in 0..5_000 {
            fs::write(root.join(format!("f{n}.yaml")), n.to_string()).unwrap();
        }
    });
    writing.await.unwrap();
    mesh.until("all files", |mesh| mesh.held.len() == 5_000).await;
    assert!(mesh.held.iter().all(|(name, body)| *name == format!("f{body}.yaml")));
}
