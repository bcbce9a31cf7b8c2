//! Sequences in backups: a restore only ever raises them.

use std::path::{Path, PathBuf};

use hypermnesia::backup::{
    BackedUpSequence, BackupFile, BackupOptions, Chain, RestoreOptions, RestoreSummary, SequenceRestore,
};
use hypermnesia::{Node, TableDef, Type};

use crate::{key, node};

/// A node with a table and two sequences, one far along; the largest number each has given out.
fn started() -> (Node, [(&'static str, i64); 2]) {
    let node = node();
    let table = TableDef::builder("t").attribute("id", Type::Int);
    node.create_table(table).expect("new").insert(&key(1)).expect("fits");
    let (bills, orders) = (node.sequence("bills").expect("made"), node.sequence("orders").expect("made"));
    bills.reset(1_000_000).expect("there");
    let last =
        [bills.next_block(7).expect("given").end - 1, orders.next_block(1_234).expect("given").end - 1];
    (node, [("bills", last[0]), ("orders", last[1])])
}

fn backed_up(node: &Node, path: PathBuf, options: &BackupOptions) -> PathBuf {
    node.backup(&path, options).expect("written");
    path
}

fn restore(node: &Node, file: &Path) -> RestoreSummary {
    node.restore(&[file], &RestoreOptions::new()).expect("restored")
}

fn next(node: &Node, name: &str) -> i64 {
    node.existing_sequence(name).expect("there").next().expect("given")
}

#[test]
fn a_restored_sequence_goes_on_behind_the_backup() {
    // Aim: no number comes again that had been given out when the backup was made. Method: into a node without sequences, and
    // into one that has reserved numbers below the backup's; it goes on where the backup's own would at the latest.
    let home = tempfile::tempdir().expect("a directory");
    let (from, last) = started();
    let file = backed_up(&from, home.path().join("all"), &BackupOptions::new());
    let noted = BackupFile::open(&file).expect("whole").contents().sequences.clone().expect("they are in it");
    for ((name, last), sequence) in last.iter().zip(&noted) {
        assert_eq!((&*sequence.name, sequence.next > *last), (*name, true), "{sequence:?} behind {last}");
    }
    let (empty, behind) = (node(), node());
    let before = behind.sequence("orders").expect("made");
    assert_eq!(before.next(), Ok(1), "and more are reserved");
    for (to, there) in [(&empty, false), (&behind, true)] {
        let told = restore(to, &file).sequences;
        let wanted = noted.iter().cloned().map(|BackedUpSequence { name, next }| SequenceRestore {
            created: !(there && name == "orders"),
            name,
            next,
        });
        assert_eq!(told, wanted.collect::<Vec<_>>());
        for (name, last) in last {
            assert!(next(to, name) > last, "{name}");
        }
    }
    assert!(before.next().expect("given") > last[1].1, "an older handle heeds it too");
}

#[test]
fn one_that_is_further_stays_there() {
    // Aim: a restore gives no number again that the cluster itself has given out. Method: sequences that have gone on since the
    // backup, on the same node; and one of another history that is further, with numbers reserved below and above the backup's.
    let home = tempfile::tempdir().expect("a directory");
    let (from, _) = started();
    let file = backed_up(&from, home.path().join("all"), &BackupOptions::new());
    let later = from.sequence("orders").expect("there").next_block(50_000).expect("given").end - 1;
    restore(&from, &file);
    assert!(next(&from, "orders") > later);
    let other = node();
    let orders = other.sequence("orders").expect("made");
    let taken = [700, 500].map(|count| orders.next_block(count).expect("given").end - 1)[1];
    let noted = BackupFile::open(&file).expect("whole").contents().sequences.clone().expect("they are in it");
    let reserved = other.sequences().expect("read")[0].1;
    assert!(
        (taken + 1..reserved).contains(&noted[1].next),
        "{taken}, {reserved}: it would give out {noted:?}"
    );
    restore(&other, &file);
    assert!(next(&other, "orders") >= noted[1].next);
}

#[test]
fn they_may_be_left_out() {
    // Aim: on request sequences stay as they are, and a file of one table has that table alone. Method: backups and restores
    // without them.
    let home = tempfile::tempdir().expect("a directory");
    let (from, _) = started();
    let all = backed_up(&from, home.path().join("all"), &BackupOptions::new());
    let chosen = backed_up(&from, home.path().join("chosen"), &BackupOptions::new().table("t"));
    let without = backed_up(&from, home.path().join("none"), &BackupOptions::new().without_sequences());
    let table = home.path().join("table");
    from.dyn_table("t").expect("there").to_file(&table).expect("written");
    let noted = |path: &Path| {
        let file = BackupFile::open(path).expect("whole");
        file.contents().sequences.as_ref().map(Vec::len)
    };
    assert_eq!([&all, &chosen, &without, &table].map(|path| noted(path)), [Some(2), Some(2), None, None]);
    let to = node();
    let options = RestoreOptions::new().without_sequences();
    assert_eq!(to.restore(&[&all], &options).expect("restored").sequences, []);
    restore(&to, &without);
    assert_eq!(to.sequences(), Ok(vec![]));
    let one = to.restore(&[&chosen], &RestoreOptions::new().only("t")).expect("restored");
    assert_eq!((one.sequences.len(), to.sequences().expect("read").len()), (2, 2));
}

#[test]
fn a_chain_has_those_of_its_last_file() {
    // Aim: incremental backups tell sequences whole, and none comes back with a number from before the rows. Method: one
    // dropped, one made and one moved on between two files, as a chain and as one merged file; then a file without any behind
    // them.
    let home = tempfile::tempdir().expect("a directory");
    let (from, _) = started();
    let first = backed_up(&from, home.path().join("first"), &BackupOptions::new());
    from.drop_sequence("bills").expect("there");
    from.sequence("new").expect("made").next().expect("given");
    let last = from.sequence("orders").expect("there").next_block(9_000).expect("given").end - 1;
    let since = |path: &Path| BackupOptions::new().since(&BackupFile::open(path).expect("whole"));
    let second = backed_up(&from, home.path().join("second"), &since(&first));
    let third = backed_up(&from, home.path().join("third"), &since(&second).without_sequences());
    let rewritten = |chain: &[&Path], name: &str| {
        let files = chain.iter().map(|path| BackupFile::open(path).expect("whole")).collect();
        let merged = home.path().join(name);
        let summary = Chain::of(files).expect("of one history").rewrite(&merged, |_, row| Ok(Some(row)));
        (merged, summary.expect("written").sequences.len())
    };
    let (merged, count) = rewritten(&[&first, &second], "merged");
    assert_eq!(count, 2);
    for chain in [&[&first, &second][..], &[&merged]] {
        let to = node();
        to.restore(chain, &RestoreOptions::new()).expect("restored");
        let names: Vec<_> = to.sequences().expect("read").into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["new", "orders"]);
        assert!(next(&to, "orders") > last && next(&to, "new") > 1);
    }
    let (merged, count) = rewritten(&[&first, &second, &third], "merged without");
    assert_eq!(count, 0);
    for chain in [&[&first, &second, &third][..], &[&merged]] {
        let to = node();
        assert_eq!(to.restore(chain, &RestoreOptions::new()).expect("restored").sequences, []);
        assert_eq!(to.sequences(), Ok(vec![]));
    }
}

#[test]
fn too_many_are_refused_before_anything_changes() {
    // Aim: what a restore would not have room for is found first. Method: two sequences more than are left.
    let home = tempfile::tempdir().expect("a directory");
    let (from, _) = started();
    let file = backed_up(&from, home.path().join("all"), &BackupOptions::new());
    let to = node();
    let most = hypermnesia::limits::SEQUENCES_MAX;
    (1..most).for_each(|n| drop(to.sequence(&format!("own {n}")).expect("made")));
    let error = to.restore(&[&file], &RestoreOptions::new()).expect_err("one too many");
    assert!(error.to_string().contains("sequences"), "{error}");
    assert_eq!((to.tables().len(), to.sequences().expect("read").len()), (0, most - 1));
}
