//! Data directories as programs meet them: damaged, of somebody else, on a full disc.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hypermnesia::{
    Ack, DiscOptions, DynTable, Error, Node, NodeBuilder, NodeId, Storage, TableDef, TxOptions, Type, Value,
};
use hypermnesia_store::disc::{self, DiscError};
use hypermnesia_store::{Store, StoreConfig};

use crate::hard_stop::killed;
use crate::until::until;

fn row(id: i64) -> [Value; 2] {
    [Value::Int(id), Value::Text(format!("row number {id}"))]
}

fn builder(home: &Path) -> NodeBuilder {
    Node::builder().data_dir(home).disc_options(DiscOptions::new().segment_bytes(16 << 10))
}

fn table(node: &Node, name: &str, storage: Storage) -> DynTable {
    let definition = TableDef::builder(name).attribute("id", Type::Int).attribute("text", Type::Text);
    node.create_table(definition.copy(NodeId::of_name("n1"), storage)).expect("new")
}

/// A node with a table on disc and so many rows.
fn begun(home: &Path, rows: i64) -> Node {
    let node = builder(home).build().expect("it starts");
    let kept = table(&node, "kept", Storage::Disc);
    (0..rows).for_each(|id| kept.insert(&row(id)).expect("written"));
    node
}

/// Flips a bit in the text of a row, in the log.
fn flip(home: &Path, id: i64) {
    let path = home.join("log-000000000001.seg");
    let mut bytes = fs::read(&path).expect("it is there");
    let text = format!("row number {id}");
    let at = bytes.windows(text.len()).position(|part| part == text.as_bytes()).expect("it was logged");
    bytes[at] ^= 1;
    fs::write(&path, bytes).expect("written");
}

/// Refused with all of these words, and nothing is changed; but opening the image writes to it, not to what it holds.
fn refused(builder: NodeBuilder, home: &Path, words: &[&str]) {
    let files = || -> Vec<_> {
        let names = fs::read_dir(home).expect("a directory").map(|entry| entry.expect("an entry").path());
        let mut names: Vec<_> =
            names.filter(|path| !path.ends_with("LOCK") && !path.ends_with("image.redb")).collect();
        names.sort();
        names.into_iter().map(|path| (fs::read(&path).expect("a file"), path)).collect()
    };
    let before = files();
    let text = builder.build().expect_err("it is refused").to_string();
    words.iter().for_each(|word| assert!(text.contains(word), "{word} is not in: {text}"));
    assert!(files() == before, "nothing was changed");
}

#[test]
fn a_damaged_log_is_refused_after_a_clean_stop() {
    // Aim: acknowledged rows never vanish unsaid. Method: ten rows, a clean stop, one bit of the fifth; and one of the last, with
    // the machine started anew between.
    let home = tempfile::tempdir().expect("a directory");
    begun(home.path(), 10).close();
    let again = killed(home.path());
    flip(home.path(), 4);
    let words = ["log-000000000001.seg is damaged at byte", "restore a backup"];
    refused(builder(home.path()), home.path(), &words);
    flip(again.path(), 9);
    assert!(matches!(open_in_another_boot(again.path()), Err(DiscError::Corrupt { .. })));
}

#[test]
#[cfg_attr(not(target_os = "linux"), ignore = "nobody can tell whether the machine was started anew")]
fn a_damaged_log_is_refused_after_a_kill() {
    // Aim: the same for a process that was killed. Method: the files of a running node, one bit of the fifth row of ten; and
    // untouched, with all ten.
    let home = tempfile::tempdir().expect("a directory");
    let _node = begun(home.path(), 10);
    let (whole, damaged) = (killed(home.path()), killed(home.path()));
    let node = builder(whole.path()).build().expect("it is whole");
    assert_eq!(node.dyn_table("kept").expect("kept").len().expect("read"), 10);
    flip(damaged.path(), 4);
    refused(builder(damaged.path()), damaged.path(), &["log-000000000001.seg is damaged at byte"]);
}

#[test]
fn what_nobody_waits_for_is_synced_soon() {
    // Aim: a power cut takes no more than the last moment at the level `logged`, and damage before that is not taken for its
    // work. Method: a row, others behind it, and the files as another boot of the machine finds them, with the row damaged:
    // refused as soon as a later record knows that the row was synced.
    let home = tempfile::tempdir().expect("a directory");
    // In one segment: leaving one syncs it too.
    let node = Node::builder().data_dir(home.path()).disc_options(DiscOptions::new().segment_bytes(1 << 20));
    let node = node.build().expect("it starts");
    let kept = table(&node, "kept", Storage::Disc);
    // Twice: the first one may meet the sync that the start or the new table waited for.
    let until = Instant::now() + Duration::from_secs(20);
    for first in [0, 1000] {
        kept.insert(&row(first)).expect("written");
        for id in first + 1.. {
            kept.insert(&row(id)).expect("written");
            let left = killed(home.path());
            flip(left.path(), first);
            match open_in_another_boot(left.path()) {
                Err(DiscError::Corrupt { .. }) => break,
                Err(error) => panic!("{error}"),
                Ok(_) => assert!(Instant::now() < until, "it is not synced"),
            }
        }
    }
}

fn open_in_another_boot(home: &Path) -> Result<disc::Opened, DiscError> {
    let opener = disc::Opener {
        node: NodeId::of_name("n1"),
        name: "n1".into(),
        cluster: "hypermnesia".into(),
        fresh: disc::DirectoryId([1; 16]),
        boot: Some(disc::BootId([1; 16])),
    };
    let store = Store::new(StoreConfig { wall_ms: 1 });
    disc::open(Arc::new(disc::RealDisc::open(home)?), &store, &opener, 16 << 10)
}

#[test]
fn a_directory_is_opened_by_its_owner_only() {
    // Aim: directories that changed places, another name, another cluster, a file of another directory. Method: each.
    let (one, two) = (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
    begun(one.path(), 3).close();
    builder(two.path()).name("n2").build().expect("it starts").close();
    let place = one.path().display().to_string();
    let whose = ["belongs to node \"n1\" of cluster \"hypermnesia\"", "was started on it", &place];
    refused(builder(one.path()).name("zz"), one.path(), &[&whose[..], &["node \"zz\""]].concat());
    refused(builder(one.path()).cluster("other"), one.path(), &[&whose[..], &["cluster \"other\""]].concat());
    refused(builder(two.path()), two.path(), &["belongs to node \"n2\"", "node \"n1\""]);
    fs::copy(two.path().join("image.redb"), one.path().join("image.redb")).expect("copied");
    refused(
        builder(one.path()),
        one.path(),
        &["image.redb is not of data directory", "belongs to node \"n1\""],
    );
}

#[test]
fn a_log_that_was_taken_away_is_missed() {
    // Aim: a directory that lost its log is not taken for a new one. Method: remove the only segment.
    let home = tempfile::tempdir().expect("a directory");
    begun(home.path(), 3).close();
    fs::remove_file(home.path().join("log-000000000001.seg")).expect("it is there");
    refused(builder(home.path()), home.path(), &["the log is missing"]);
}

/// From here on no segment can be made: what is written for one meets a device that is always full.
#[cfg(target_os = "linux")]
fn fill(home: &Path) {
    for name in ["log-spare.tmp", "log-next.tmp"] {
        let _ = fs::remove_file(home.join(name));
        std::os::unix::fs::symlink("/dev/full", home.join(name)).expect("made");
    }
}

#[cfg(target_os = "linux")]
fn insert(node: &Node, name: &str, id: i64) -> Result<(), Error> {
    let table = node.dyn_table(name).expect("it is there");
    // Synced, so that the thread that also makes the next segment has had its turn before the first answer.
    let options = TxOptions::new().deadline(Duration::from_secs(5)).ack(Ack::Synced);
    node.transaction_with(&options, |tx| tx.insert(&table, &row(id)))
}

#[test]
#[cfg(target_os = "linux")]
fn a_full_disc_stops_writers_of_tables_on_disc_and_nobody_else() {
    // Aim: a disc without space costs writes, no reads, no start and no row; and they go on by themselves. Method: fill it under
    // a node, write until that is refused, read and write elsewhere, start again, make space, look at everything.
    let home = tempfile::tempdir().expect("a directory");
    let node = begun(home.path(), 1);
    table(&node, "ram", Storage::Ram);
    node.close();
    fill(home.path());
    let node = builder(home.path()).build().expect("it starts");
    let mut written = 1;
    let refusal = loop {
        match insert(&node, "kept", written) {
            Ok(()) => written += 1,
            Err(refusal) => break refusal,
        }
    };
    assert!(written > 10, "the segment had space for some: {written}");
    assert!(matches!(refusal, Error::Unavailable { .. }), "{refusal}");
    assert!(refusal.to_string().contains("member n1 has no space on its disc"), "{refusal}");
    let looks = |node: &Node, written: i64| {
        let kept = node.dyn_table("kept").expect("it is there");
        assert_eq!(kept.len().expect("read"), written as u64);
        assert_eq!(kept.to_vec().expect("read").len(), written as usize);
        insert(node, "ram", 1).expect("it has nothing to do with the disc");
        assert!(matches!(insert(node, "kept", written), Err(Error::Unavailable { .. })));
    };
    looks(&node, written);
    // Again and again: each start takes a little of the reserve, until there is none.
    drop(node);
    for _ in 0..40 {
        drop(builder(home.path()).build().expect("it starts on a full disc"));
    }
    let segment = fs::read(home.path().join("log-000000000001.seg")).expect("it is the only one");
    let left = segment.iter().rev().take_while(|byte| **byte == 0).count();
    assert!(left < 200, "the reserve is used up: {left} bytes are left");
    let node = builder(home.path()).build().expect("it starts on a full disc");
    let until = Instant::now() + Duration::from_secs(20);
    while insert(&node, "kept", written).is_ok() {
        written += 1;
        assert!(Instant::now() < until, "it is refused");
    }
    looks(&node, written);
    for name in ["log-spare.tmp", "log-next.tmp"] {
        fs::remove_file(home.path().join(name)).expect("it is there");
    }
    while let Err(error) = insert(&node, "kept", written) {
        assert!(Instant::now() < until, "{error}");
    }
    drop(node);
    let node = builder(home.path()).build().expect("it starts");
    assert_eq!(node.dyn_table("kept").expect("kept").len().expect("read"), written as u64 + 1);
}

#[test]
fn a_node_tells_what_it_takes_of_the_disc() {
    // Aim: what `status` says of log and image is what the files take; nothing without a directory. Method: more rows than some
    // segments hold, with checkpoints between; then the files, some rounds of them, since segments come and go meanwhile.
    let home = tempfile::tempdir().expect("a directory");
    let node = begun(home.path(), 2_000);
    let taken = |is_log: bool| -> u64 {
        let entries = fs::read_dir(home.path()).expect("a directory").map(|entry| entry.expect("an entry"));
        let wanted = |entry: &fs::DirEntry| match entry.file_name().to_str().expect("text") {
            "image.redb" => !is_log,
            name => is_log && name.starts_with("log-"),
        };
        entries.filter(wanted).map(|entry| entry.metadata().map_or(0, |about| about.len())).sum()
    };
    until(|| {
        let status = node.status();
        status.log_bytes > 0
            && status.image_bytes > 0
            && (status.log_bytes, status.image_bytes) == (taken(true), taken(false))
    });
    let bare = Node::builder().build().expect("it starts").status();
    assert_eq!((bare.log_bytes, bare.image_bytes), (0, 0));
}
