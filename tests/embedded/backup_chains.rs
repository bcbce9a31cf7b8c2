//! Chains of backups: what several files say together, in one restore, as one merged file, and what is refused.

use std::path::{Path, PathBuf};

use hypermnesia::backup::{BackupFile, BackupOptions, Chain, RestoreMode, RestoreOptions, Scope};
use hypermnesia::{Error, Kind, Node, TableDef, Type, Value};

use crate::backups::{Home, full, restore, rows, since};
use crate::{key, node, row, table};

#[test]
fn a_chain_is_the_last_state() {
    // Aim: an incremental backup tells what was put and what was deleted, however long ago. Method: random changes of a set
    // and a bag with three backups between; the chain restored is the node as it was at each.
    for kind in [Kind::Set, Kind::OrderedSet, Kind::Bag] {
        let (home, from) = (Home::new(), node());
        let t = table(&from, kind);
        let mut dice = fastrand::Rng::with_seed(7);
        let (mut files, mut states): (Vec<PathBuf>, Vec<_>) = (Vec::new(), Vec::new());
        for n in 0..4 {
            for _ in 0..400 {
                let id = dice.i64(0..150);
                match dice.u8(0..3) {
                    0 => t.delete(&key(id)).expect("deleted"),
                    _ => t.insert(&row(id, dice.i64(0..5))).expect("fits"),
                }
            }
            let file = home.file(&format!("{n}.hmb"));
            match files.last() {
                None => full(&from, &file),
                Some(base) => {
                    // What a later one may not rest on: deletions that are remembered.
                    let summary = since(&from, base, &file);
                    assert_eq!(summary.tables[0].scope, Scope::Changes);
                }
            }
            files.push(file);
            states.push(rows(&from));
        }
        for n in 1..=4 {
            let to = node();
            let files: Vec<&Path> = files[..n].iter().map(PathBuf::as_path).collect();
            restore(&to, &files, RestoreMode::Clear);
            assert_eq!(rows(&to), states[n - 1], "{kind:?}, {n} files");
        }
    }
}

#[test]
fn a_chain_becomes_one_file_and_rows_change_on_the_way() {
    // Aim: merge and edit without a node. Method: a chain into one file, from which a later incremental backup goes on; rows
    // left out, changed, and changed into none.
    let (home, from) = (Home::new(), node());
    let t = table(&from, Kind::Bag);
    let [a, b, c, merged, edited] = ["a", "b", "c", "merged", "edited"].map(|name| home.file(name));
    (0..300).for_each(|n| t.insert(&row(n % 30, n)).expect("fits"));
    full(&from, &a);
    t.delete(&key(3)).expect("deleted");
    t.insert(&row(4, -4)).expect("fits");
    since(&from, &a, &b);
    let chain =
        Chain::of([&a, &b].map(|file| BackupFile::open(file).expect("whole")).to_vec()).expect("a chain");
    let summary = chain.rewrite(&merged, |_, row| Ok(Some(row))).expect("written");
    assert_eq!(summary.rows, t.len().expect("read"));
    t.insert(&row(5, -5)).expect("fits");
    since(&from, &merged, &c);
    let to = node();
    restore(&to, &[&merged, &c], RestoreMode::Clear);
    assert_eq!(rows(&to), rows(&from));
    let without = chain.rewrite(&edited, |def, row| {
        assert_eq!(def.name, "t");
        Ok((row.attribute(0).to_value() != Value::Int(7)).then_some(row))
    });
    assert_eq!(without.expect("written").rows, 281);
    let misfit = chain.rewrite(&edited, |_, _| {
        Ok(Some(hypermnesia::Row::encode(
            hypermnesia_store::SchemaVersion::FIRST,
            &["x".into(), Value::Null],
        )?))
    });
    assert!(matches!(misfit, Err(Error::Row(_))), "{misfit:?}");
    let stopped = chain.rewrite(&edited, |_, _| Err(Error::abort("enough")));
    assert_eq!(stopped.expect_err("stopped"), Error::abort("enough"));
    assert_eq!(BackupFile::open(&edited).expect("as before").contents().closing.rows, 281);
}

#[test]
fn an_incremental_backup_holds_little() {
    // Aim: what has not changed is named, not copied. Method: thousand rows, one put, one deleted, a new table.
    let (home, node) = (Home::new(), node());
    let t = table(&node, Kind::Set);
    t.insert_many((0..1_000).map(|id| row(id, id)).collect::<Vec<_>>().iter().map(|row| &row[..]))
        .expect("fit");
    let (first, second) = (home.file("1.hmb"), home.file("2.hmb"));
    full(&node, &first);
    t.insert(&row(5, -5)).expect("fits");
    t.delete(&key(6)).expect("deleted");
    let more = node.create_table(TableDef::builder("u").attribute("id", Type::Int)).expect("new");
    more.insert(&key(1)).expect("fits");
    let summary = since(&node, &first, &second);
    let told: Vec<_> = summary.tables.iter().map(|t| (&*t.name, t.scope, t.rows, t.unchanged)).collect();
    assert_eq!(told, [("t", Scope::Changes, 1, 998), ("u", Scope::Full, 1, 0)]);
    let to = self::node();
    let restored = restore(&to, &[&first, &second], RestoreMode::Clear);
    assert_eq!((restored.rows, rows(&to)), (1_000, rows(&node)));
}

#[test]
fn a_chain_out_of_order_changes_nothing() {
    // Aim: only files of one history in their order are restored. Method: every wrong list of three, files of two nodes with
    // the same table, a base that is to be written over, a base of another cluster and of the future.
    let (home, from, to) = (Home::new(), node(), node());
    let t = table(&from, Kind::Set);
    let [a, b, c, other] = ["a", "b", "c", "other"].map(|name| home.file(name));
    t.insert(&row(1, 1)).expect("fits");
    full(&from, &a);
    t.insert(&row(2, 2)).expect("fits");
    since(&from, &a, &b);
    t.insert(&row(3, 3)).expect("fits");
    since(&from, &b, &c);
    full(&from, &other);
    let mine = table(&to, Kind::Set);
    mine.insert(&row(9, 9)).expect("fits");
    let wrong: [&[&Path]; 7] =
        [&[], &[&b], &[&a, &c], &[&a, &c, &b], &[&other, &b], &[&a, &other], &[&a, &a]];
    for files in wrong {
        let error = to.restore(files, &RestoreOptions::new()).expect_err("refused");
        assert!(matches!(error, Error::BackupChain(_)), "{error}");
        assert_eq!(rows(&to), [row(9, 9)]);
    }
    let base = BackupFile::open(&a).expect("whole");
    let over = from.backup(&a, &BackupOptions::new().since(&base)).expect_err("it would be lost");
    assert!(over.to_string().contains("another file"), "{over}");
    let elsewhere = Node::builder().cluster("elsewhere").build().expect("embedded");
    let error =
        elsewhere.backup(home.file("x"), &BackupOptions::new().since(&base)).expect_err("another cluster");
    assert!(error.to_string().contains("elsewhere"), "{error}");
    let mut future = base.baseline();
    future.base.position.0 = u64::MAX;
    let error = from.backup(home.file("x"), &BackupOptions::new().since_baseline(future)).expect_err("later");
    assert!(error.to_string().contains("later state"), "{error}");
    assert_eq!(home.names(), ["a", "b", "c", "other"], "nothing was left of what was refused");
}

#[test]
fn files_of_two_histories_are_told_apart_by_their_rows() {
    // Aim: names and numbers may agree and rows not. Method: an incremental backup on a base whose name is claimed by a backup
    // of another node, which has the same table without the row.
    let (home, from, stranger) = (Home::new(), node(), node());
    let [t, s] = [&from, &stranger].map(|node| table(node, Kind::Set));
    t.insert(&row(1, 1)).expect("fits");
    s.insert(&row(2, 2)).expect("fits");
    let (theirs, ours) = (home.file("theirs"), home.file("ours"));
    // Both clocks move with the wall: theirs behind our row, then ours behind their position.
    let put = from.snapshot().expect("taken").at();
    while stranger.snapshot().expect("taken").at() <= put {
        std::thread::yield_now();
    }
    full(&stranger, &theirs);
    let baseline = BackupFile::open(&theirs).expect("whole").baseline();
    while from.snapshot().expect("taken").at() < baseline.base.position {
        std::thread::yield_now();
    }
    from.backup(&ours, &BackupOptions::new().since_baseline(baseline)).expect("nobody can tell yet");
    let to = node();
    let error = to.restore(&[&theirs, &ours], &RestoreOptions::new()).expect_err("of two histories");
    assert!(error.to_string().contains("history"), "{error}");
    assert!(to.tables().is_empty(), "nothing was created");
}

#[test]
fn a_chain_follows_a_table_through_its_names_and_says_what_it_leaves_out() {
    // Aim: a rename between two backups does not break their chain; what the last one lacks is told. Method: a table renamed,
    // one dropped and made again, one dropped, one not chosen; then one that takes the name of the renamed one.
    let (home, from) = (Home::new(), node());
    let t = table(&from, Kind::Set);
    (0..10).for_each(|id| t.insert(&row(id, 1)).expect("fits"));
    let other = |name: &str| TableDef::builder(name).attribute("id", Type::Int);
    for name in ["again", "dropped", "unchosen"] {
        from.create_table(other(name)).expect("new").insert(&key(1)).expect("fits");
    }
    let (first, second) = (home.file("first"), home.file("second"));
    full(&from, &first);
    from.rename_table("t", "v").expect("free");
    from.drop_table("dropped").expect("there");
    from.drop_table("again").expect("there");
    from.create_table(other("again")).expect("new").insert(&key(2)).expect("fits");
    from.create_table(other("t")).expect("its name is free").insert(&key(7)).expect("fits");
    from.dyn_table("v").expect("renamed").insert(&row(3, 4)).expect("fits");
    let base = BackupFile::open(&first).expect("whole");
    let chosen = ["again", "t", "v"].into_iter().fold(BackupOptions::new(), BackupOptions::table);
    from.backup(&second, &chosen.since(&base)).expect("written");
    let chain = Chain::of(vec![base, BackupFile::open(&second).expect("whole")]).expect("of one history");
    let left_out: Vec<_> = chain.left_out().into_iter().map(|(table, file)| (table, file.name())).collect();
    let name = first.to_str().expect("text");
    assert_eq!(left_out, [("dropped", name), ("unchosen", name)]);
    let to = node();
    to.restore_chain(&chain, &RestoreOptions::new(), &mut |_, _| {}).expect("restored");
    for table in ["again", "t", "v"] {
        let rows = |node: &Node| {
            let mut rows = node.dyn_table(table).expect("there").to_vec().expect("read");
            rows.sort();
            rows
        };
        assert_eq!(rows(&to), rows(&from), "{table}");
    }
    assert_eq!(to.tables().len(), 3);
}
