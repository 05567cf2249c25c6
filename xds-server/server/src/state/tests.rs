use std::{
    io::{BufRead, BufReader, Write},
    process::{Command, Stdio},
};

use lateen_model::Document;

use super::{change::limit, open as open_as_it_is, *};

/// Where it can be written.
fn open(folder: &Path) -> Result<(Saved, Saver), StateError> {
    let (saved, writer) = open_as_it_is(folder);
    Ok((saved, writer?))
}

fn source() -> SourceId {
    SourceId("consul=http://127.0.0.1:8500".into())
}

fn document(text: &str) -> Object {
    Object::Document(Document { body: text.as_bytes().into() })
}

fn id(name: &str) -> ObjectId {
    ObjectId { kind: ObjectKind::Document, name: name.into() }
}

fn names(saved: &Saved) -> Vec<String> {
    saved.values().flat_map(|source| &source.objects).map(|(id, _)| id.name.to_string()).collect()
}

#[test]
fn what_clients_accepted_comes_back_and_the_oldest_goes_that_is_not_in_use() {
    let folder = tempfile::tempdir().unwrap();
    let (_, writer) = open(folder.path()).unwrap();
    writer.accepted(&[3, 1]);
    drop(writer);
    let (_, mut writer) = open(folder.path()).unwrap();
    assert_eq!(writer.take_accepted(), [1, 3]);
    let many: Vec<u64> = (10..).take(accepted::ACCEPTED_MAX).collect();
    writer.accepted(&many);
    drop(writer);
    let (_, writer) = open(folder.path()).unwrap();
    // Nothing goes before it is known what is in use.
    assert!(writer.wants_in_use());
    writer.in_use(vec![1]);
    assert!(!writer.wants_in_use());
    drop(writer);
    let (_, mut writer) = open(folder.path()).unwrap();
    let kept = writer.take_accepted();
    assert_eq!(kept.len(), accepted::ACCEPTED_MAX / 2 + 1);
    assert!(kept.contains(&1) && !kept.contains(&3) && !writer.wants_in_use());
}

#[test]
fn what_clients_go_on_with_comes_back_until_it_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let part = |name: &str| (lateen_xds::ResourceType::RouteConfiguration, "http.80".into(), name.into());
    let names = vec![(lateen_xds::ResourceType::Cluster, "c".into())];
    let form = GoodForm { bytes: vec![0x12, 1, 7].into(), names };
    let (_, writer) = open(folder.path()).unwrap();
    writer.forms(vec![(part("a"), Some(form.clone())), (part("b"), Some(form.clone()))]);
    drop(writer);
    let (_, writer) = open(folder.path()).unwrap();
    writer.forms(vec![(part("a"), None)]);
    drop(writer);
    let (_, mut writer) = open(folder.path()).unwrap();
    assert_eq!(writer.take_forms(), [(part("b"), form)]);
}

#[test]
fn what_was_saved_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("deep/er");
    let (saved, writer) = open(&path).unwrap();
    assert!(saved.is_empty());
    for (kind, object) in record::tests::samples() {
        writer.save(&source(), ObjectId { kind, name: "a".into() }, Some(object));
    }
    writer.save(&source(), id("gone"), Some(document("x")));
    let other = SourceId("etcd=x".into());
    writer.save(&other, id("other"), Some(document("y")));
    // What a source has said before it was listed is only a part.
    writer.save(&SourceId("nomad=x".into()), id("part"), Some(document("y")));
    writer.listed(&source());
    writer.listed(&other);
    writer.listed(&SourceId("empty".into()));
    drop(writer);
    let (saved, writer) = open(&path).unwrap();
    let objects: Vec<Object> = saved[&source()].objects.iter().map(|(_, object)| object.clone()).collect();
    let mut expected: Vec<Object> = record::tests::samples().into_iter().map(|(_, object)| object).collect();
    expected.insert(1, document("x"));
    assert_eq!(objects, expected);
    assert_eq!(
        saved.keys().map(|source| &*source.0).collect::<Vec<_>>(),
        ["consul=http://127.0.0.1:8500", "empty", "etcd=x"]
    );
    assert!(saved[&source()].at_unix_ms > 1_600_000_000_000);
    writer.save(&source(), id("gone"), None);
    writer.save(&source(), id("never there"), None);
    drop(writer);
    assert_eq!(names(&open(&path).unwrap().0), ["a", "a", "a", "other"]);
}

fn forms(saved: &Saved, name: &str) -> Vec<String> {
    let all = saved[&source()].objects.iter().filter(|(id, _)| *id.name == *name);
    let text = |object: &Object| match object {
        Object::Document(document) => String::from_utf8_lossy(&document.body).into_owned(),
        Object::Service(_) | Object::Endpoints { .. } => panic!("{object:?}"),
    };
    all.map(|(_, object)| text(object)).collect()
}

#[test]
fn forms_of_a_document_stay_in_order_until_a_new_one_replaces_them() {
    let folder = tempfile::tempdir().unwrap();
    let mut expected: Vec<String> = Vec::new();
    // Some in one commit, some in several, and more than are kept.
    for (round, numbers) in [(0, 0..2), (1, 2..3), (2, 3..7), (3, 7..8)] {
        let (saved, writer) = open(folder.path()).unwrap();
        if round > 0 {
            assert_eq!(forms(&saved, "a"), expected);
            assert_eq!(forms(&saved, "b"), ["b"]);
        }
        writer.listed(&source());
        writer.save(&source(), id("b"), Some(document("b")));
        for number in numbers {
            if number == 0 {
                writer.save(&source(), id("a"), Some(document("0")));
            } else {
                writer.save_over(&source(), id("a"), document(&number.to_string()));
            }
            expected.push(number.to_string());
            limit(&mut expected);
        }
    }
    let (saved, writer) = open(folder.path()).unwrap();
    assert_eq!(forms(&saved, "a"), ["0", "5", "6", "7"]);
    writer.save_over(&source(), id("a"), document("older"));
    writer.save(&source(), id("a"), Some(document("new")));
    drop(writer);
    let (saved, writer) = open(folder.path()).unwrap();
    assert_eq!(forms(&saved, "a"), ["new"]);
    writer.save_over(&source(), id("a"), document("newer"));
    writer.save(&source(), id("a"), None);
    drop(writer);
    assert_eq!(names(&open(folder.path()).unwrap().0), ["b"]);
}

/// Root may write everything, so what refuses is that something else stands there; what is on a read-only file
/// system is opened the same way.
#[test]
fn a_file_that_the_system_refuses_is_not_called_damaged() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join(FILE)).unwrap();
    let (saved, writer) = open_as_it_is(folder.path());
    assert!(saved.is_empty() && matches!(writer, Err(StateError::Open { .. })), "{writer:?}");
    assert_eq!(moved_aside(folder.path()), 0);
    let (saved, writer) = open_as_it_is(Path::new("/sys"));
    assert!(saved.is_empty(), "{saved:?}");
    assert!(matches!(writer, Err(StateError::Open { .. })), "{writer:?}");
}

#[test]
fn what_can_only_be_read_is_read_and_stays_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let whole = filled(folder.path());
    let path = folder.path().join(FILE);
    assert_eq!(names(&read_only(&path)).len(), 50);
    assert!(read_only(&folder.path().join("none")).is_empty());
    fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    assert!(read_only(&path).is_empty());
    assert_eq!(fs::read(&path).unwrap().len(), whole.len() / 2);
}

#[test]
fn a_file_in_use_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let (_, writer) = open(folder.path()).unwrap();
    assert!(matches!(open(folder.path()), Err(StateError::InUse { .. })));
    writer.save(&source(), id("a"), Some(document("x")));
    writer.listed(&source());
    drop(writer);
    assert_eq!(names(&open(folder.path()).unwrap().0), ["a"]);
}

/// A file with some objects.
fn filled(folder: &Path) -> Vec<u8> {
    let (_, writer) = open(folder).unwrap();
    for number in 0..50 {
        let body = format!("document {number} ").repeat(40);
        writer.save(&source(), id(&format!("d{number}")), Some(document(&body)));
    }
    writer.listed(&source());
    drop(writer);
    fs::read(folder.join(FILE)).unwrap()
}

fn moved_aside(folder: &Path) -> usize {
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
    names.filter(|name| name.to_string_lossy().contains("damaged")).count()
}

#[test]
fn garbage_is_moved_aside() {
    for garbage in [b"not a database".to_vec(), vec![0; 70_000], vec![0xff; 4096]] {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(FILE), garbage).unwrap();
        let (saved, writer) = open(folder.path()).unwrap();
        assert!(saved.is_empty());
        assert_eq!(moved_aside(folder.path()), 1);
        writer.save(&source(), id("a"), Some(document("x")));
        writer.listed(&source());
        drop(writer);
        assert_eq!(names(&open(folder.path()).unwrap().0), ["a"]);
    }
}

#[test]
fn a_truncated_file_never_crashes() {
    let folder = tempfile::tempdir().unwrap();
    let whole = filled(folder.path());
    for part in 0..24 {
        let folder = tempfile::tempdir().unwrap();
        let length = whole.len() * part / 24;
        fs::write(folder.path().join(FILE), &whole[..length]).unwrap();
        let (saved, writer) = open(folder.path()).unwrap();
        // All, or nothing and the file is kept for whoever wants to look at it.
        let count = names(&saved).len();
        assert!(
            count == 50 || (count == 0 && (length == 0 || moved_aside(folder.path()) == 1)),
            "{length}: {count}"
        );
        drop(writer);
    }
}

#[test]
fn flipped_bytes_never_crash_and_never_lie() {
    let folder = tempfile::tempdir().unwrap();
    let whole = filled(folder.path());
    let good = open(folder.path()).unwrap().0;
    for at in (0..whole.len()).step_by(whole.len() / 150) {
        let folder = tempfile::tempdir().unwrap();
        let mut damaged = whole.clone();
        damaged[at] ^= 0x55;
        fs::write(folder.path().join(FILE), &damaged).unwrap();
        let (saved, _writer) = open(folder.path()).unwrap();
        for (id, object) in saved.values().flat_map(|source| &source.objects) {
            assert!(good[&source()].objects.contains(&(id.clone(), object.clone())), "byte {at}");
        }
    }
}

#[test]
fn another_layout_is_not_read() {
    let folder = tempfile::tempdir().unwrap();
    filled(folder.path());
    let database = Database::create(folder.path().join(FILE)).unwrap();
    let transaction = database.begin_write().unwrap();
    transaction.open_table(META).unwrap().insert("format", FORMAT + 1).unwrap();
    transaction.commit().unwrap();
    drop(database);
    assert!(open(folder.path()).unwrap().0.is_empty());
    assert_eq!(moved_aside(folder.path()), 1);
}

#[test]
fn what_waits_is_bounded_by_the_number_of_objects() {
    let writer = Saver { queue: Arc::default(), accepted: Vec::new(), forms: Vec::new(), thread: None };
    for round in 0..100 {
        for object in 0..10 {
            writer.save(&source(), id(&object.to_string()), Some(document(&round.to_string())));
        }
    }
    let waiting = writer.queue.lock();
    assert_eq!((waiting.changes.len(), waiting.refused), (10, 0));
    assert!(waiting.changes.values().all(|change| change.forms == [document("99")]));
}

/// Not a test of its own: the process that [`kill_9_while_writing_loses_no_commit`] kills.
#[test]
#[ignore = "runs as a child of another test"]
fn child_that_writes() {
    let Some(folder) = std::env::var_os("LATEEN_TEST_STATE") else { return };
    let database = read(&Path::new(&folder).join(FILE)).unwrap().0;
    for round in 0_u64.. {
        let changes = (0..20).map(|object| {
            let body = format!("{round} ").repeat(200);
            let change = Change { replaces: true, forms: vec![document(&body)] };
            ((source(), id(&format!("d{object}"))), change)
        });
        commit(
            &database,
            &changes.collect(),
            &BTreeSet::from([source()]),
            &Acceptances::default(),
            &Forms::new(),
        )
        .unwrap();
        println!("committed {round}");
        std::io::stdout().flush().unwrap();
    }
}

#[test]
fn kill_9_while_writing_loses_no_commit() {
    let folder = tempfile::tempdir().unwrap();
    let mut last: Option<u64> = None;
    for kill in 0..5_u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "state::tests::child_that_writes", "--ignored", "--nocapture"])
            .env("LATEEN_TEST_STATE", folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut committed = None;
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        while let Some(Ok(line)) = lines.next() {
            committed =
                line.rsplit_once("committed ").map(|(_, round)| round.parse::<u64>().unwrap()).or(committed);
            if committed.is_some_and(|round| round >= 3 * kill) {
                break;
            }
        }
        child.kill().unwrap();
        child.wait().unwrap();
        // What was written between the last line that was read and the kill counts as well.
        for line in lines.map_while(Result::ok) {
            committed =
                line.rsplit_once("committed ").map(|(_, round)| round.parse::<u64>().unwrap()).or(committed);
        }
        last = committed.or(last);
        let (saved, writer) = open(folder.path()).unwrap();
        drop(writer);
        assert_eq!(moved_aside(folder.path()), 0);
        let rounds: std::collections::BTreeSet<u64> = saved[&source()]
            .objects
            .iter()
            .map(|(_, object)| match object {
                Object::Document(document) => {
                    let text = std::str::from_utf8(&document.body).unwrap();
                    text.split(' ').next().unwrap().parse().unwrap()
                }
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(saved[&source()].objects.len(), 20);
        let round = *rounds.first().unwrap();
        assert_eq!(rounds.len(), 1, "a commit is there as a whole or not at all");
        // The last one may have been on disk before it was told.
        assert!(last.is_some_and(|last| round == last || round == last + 1), "{round} {last:?}");
    }
}
