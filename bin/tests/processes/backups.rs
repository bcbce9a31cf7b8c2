//! Backups as their users make them: by a running member, shown without one, restored into another one, and what is wrong told
//! with an exit code.

use std::path::Path;

use serde_json::Value;

use crate::program::{Server, hmn, said};

fn text(path: &Path) -> &str {
    path.to_str().expect("a name of ASCII")
}

fn rows(server: &Server, table: &str) -> String {
    server.says(&["query", &format!("SELECT * FROM {table} ORDER BY 1"), "--format", "csv"])
}

/// The one JSON object that a command prints.
fn object(output: &str) -> Value {
    serde_json::from_str(output).unwrap_or_else(|_| panic!("said {output:?}"))
}

#[test]
fn a_full_backup_and_an_incremental_one_make_another_member_equal() {
    // Aim: what docs/backup.md shows. Method: two tables, a full backup, changes, an incremental one, shown, restored into an
    // empty member and over other rows.
    let (server, home) = (Server::start(&[]), tempfile::tempdir().expect("the test holds this"));
    let path = |name: &str| home.path().join(name);
    let (full, more) = (path("full.hmb"), path("more.hmb"));
    let csv: String = (0..5_000).map(|n| format!("{n},name {n}\n")).collect();
    std::fs::write(path("a.csv"), format!("id,name\n{csv}")).expect("written");
    server.says(&["import", "people", text(&path("a.csv")), "--key", "id", "--index", "name"]);
    server.says(&["table", "create", "bag", "-a", "id:int", "-a", "v:any?", "--kind", "bag", "--key", "id"]);
    server.says(&["put", "bag", "1", "x"]);
    server.says(&["sequence", "next", "invoices", "-n", "3"]);
    let told = object(&server.says(&["backup", text(&full), "--format", "json"]));
    assert_eq!(told["sequences"][0]["sequence"].as_str(), Some("invoices"), "{told}");
    assert_eq!((told["rows"].as_u64(), told["tables"][1]["table"].as_str()), (Some(5_001), Some("people")));
    assert_eq!(told["file_bytes"].as_u64(), Some(std::fs::metadata(&full).expect("there").len()));
    assert!(told["rows_per_s"].as_u64() > Some(0), "{told}");
    server.says(&["put", "people", "7", "changed"]);
    server.says(&["delete", "people", "8"]);
    server.says(&["put", "bag", "1", "7"]);
    let incremental = server.says(&["backup", text(&more), "--since", text(&full)]);
    assert!(incremental.contains("changes") && incremental.contains("4998"), "{incremental}");

    let shown = object(&said(hmn(&["backup", "show", text(&more), "--format", "json"], "")));
    assert_eq!((&shown["base"]["id"], &shown["cluster"]), (&told["id"], &"hypermnesia".into()));
    assert!(said(hmn(&["backup", "show", text(&full)], "")).contains("people"));
    let changed = said(hmn(&["backup", "show", text(&more), "--rows", "people"], ""));
    assert_eq!(changed, "{\"id\":7,\"name\":\"changed\"}\n");
    assert_eq!(shown["sequences"], told["sequences"]);
    let all = said(hmn(&["backup", "show", text(&full), text(&more), "--rows", "people"], ""));
    assert_eq!(all.lines().count(), 4_999);
    let bag =
        said(hmn(&["backup", "show", text(&full), text(&more), "--rows", "bag", "--format", "csv"], ""));
    assert_eq!(bag, "id,v\n1,x\n1,7\n");

    let merged = path("merged.hmb");
    said(hmn(&["backup", "merge", text(&merged), text(&full), text(&more)], ""));
    assert_eq!(said(hmn(&["backup", "show", text(&merged), "--rows", "people"], "")).lines().count(), 4_999);

    let other = Server::start(&[]);
    other.says(&["table", "create", "bag", "-a", "id:int", "-a", "v:any?", "--kind", "bag", "--key", "id"]);
    other.says(&["put", "bag", "5", "own"]);
    let restored = other.says(&["restore", text(&full), text(&more), "--keep", "bag", "--format", "json"]);
    let restored = object(&restored);
    assert_eq!(restored["sequences"], told["sequences"]);
    let next = other.says(&["sequence", "next", "invoices", "--format", "csv"]);
    assert!(next.lines().last().and_then(|n| n.parse::<i64>().ok()).is_some_and(|n| n > 3), "{next}");
    let actions: Vec<_> = (0..2).map(|n| restored["tables"][n]["action"].as_str()).collect();
    assert_eq!(actions, [Some("kept"), Some("created")]);
    assert_eq!(rows(&other, "people"), rows(&server, "people"));
    assert_eq!(rows(&other, "bag").lines().count(), 4);
    other.says(&["restore", text(&full), text(&more), "--table", "bag", "--mode", "recreate"]);
    assert_eq!(rows(&other, "bag"), rows(&server, "bag"));
    assert!(other.says(&["table", "show", "people"]).contains("by_name"));
}

#[test]
fn a_merge_keeps_what_it_reads_and_says_what_it_leaves_out() {
    // Aim: no backup is lost by a wrong name, and no table without a word. Method: a table that is dropped between two
    // backups; a merge onto each of its files, also by another name of it, and onto a new one; a restore of both.
    let (server, home) = (Server::start(&[]), tempfile::tempdir().expect("the test holds this"));
    let path = |name: &str| home.path().join(name);
    let (full, more, link, new) = (path("full"), path("more"), path("link"), path("new"));
    for table in ["t", "gone"] {
        server.says(&["table", "create", table, "-a", "id:int"]);
        server.says(&["put", table, "1"]);
    }
    server.says(&["backup", text(&full)]);
    server.says(&["table", "drop", "gone"]);
    server.says(&["table", "add", "t", "-a", "n:int=5"]);
    server.says(&["put", "t", "2", "7"]);
    server.says(&["backup", text(&more), "--since", text(&full)]);
    std::os::unix::fs::symlink(&full, &link).expect("the test holds this");
    let before = [&full, &more].map(|file| std::fs::read(file).expect("there"));
    for target in [&full, &more, &link] {
        let refused = hmn(&["backup", "merge", text(target), text(&full), text(&more)], "");
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(refused.status.code() == Some(1) && said.contains("would be lost"), "{said}");
    }
    let unnamed = hmn(&["backup", "merge", text(&more), text(&full)], "");
    assert_eq!(unnamed.status.code(), Some(2), "the new file's name is missing: {unnamed:?}");
    assert_eq!([&full, &more].map(|file| std::fs::read(file).expect("there")), before);
    let merge = ["backup", "merge", text(&new), text(&full), text(&more)];
    let merged = hmn(&merge, "");
    let told = String::from_utf8_lossy(&merged.stderr).into_owned();
    assert!(told.contains("table gone is left out") && told.contains(text(&full)), "{told}");
    let merged = object(&said(hmn(&[&merge[..], &["--format", "json"]].concat(), "")));
    assert_eq!((&merged["left_out"][0], merged["rows"].as_u64()), (&"gone".into(), Some(2)), "{merged}");
    let restored = object(&server.says(&["restore", text(&full), text(&more), "--format", "json"]));
    assert_eq!(restored["left_out"][0].as_str(), Some("gone"), "{restored}");
    let named =
        object(&server.says(&["restore", text(&full), text(&more), "--table", "t", "--format", "json"]));
    assert_eq!(named["left_out"], serde_json::json!([]), "nobody asked for it: {named}");
    assert_eq!(rows(&server, "t"), "id,n\n1,5\n2,7\n");
    let mut shown: Vec<_> = said(hmn(&["backup", "show", text(&full), text(&more), "--rows", "t"], ""))
        .lines()
        .map(str::to_owned)
        .collect();
    shown.sort();
    assert_eq!(
        shown,
        ["{\"id\":1,\"n\":5}", "{\"id\":2,\"n\":7}"],
        "an attribute that came later has its default"
    );
}

#[test]
fn a_restore_puts_new_tables_where_it_is_told_and_says_which_stay() {
    // Aim: `--storage` and `--cache` of a restore, which tables they do not move, and options that contradict each other.
    // Method: a backup of a table in memory into a member with a disc: new, over it, anew.
    let home = tempfile::tempdir().expect("the test holds this");
    let (data, file) = (home.path().join("data"), home.path().join("t.hmb"));
    let server = Server::start(&["--data", text(&data)]);
    server.says(&["table", "create", "t", "-a", "id:int"]);
    server.says(&["put", "t", "1"]);
    server.says(&["backup", text(&file)]);
    let kept = || {
        let shown = object(&server.says(&["table", "show", "t", "--format", "json"]));
        let copy = &shown["copies"][0];
        (copy["storage"].as_str().expect("a name").to_owned(), copy["cache_bytes"].as_u64())
    };
    let restore = |options: &[&str]| {
        let ended = server.hmn(&[&["restore", text(&file)], options].concat());
        (ended.status.code(), String::from_utf8_lossy(&ended.stderr).into_owned())
    };
    let alone = ["--storage", "disc_only", "--cache", "2MiB"];
    let (code, said) = restore(&alone);
    assert!(
        code == Some(0) && said.contains("table t is there and stays") && said.contains("n1: ram"),
        "{said}"
    );
    assert_eq!(kept(), ("ram".to_owned(), None));
    let (code, said) = restore(&[&alone[..], &["--recreate", "t"]].concat());
    assert!(code == Some(0) && !said.contains("stays"), "{said}");
    assert_eq!(kept(), ("disc_only".to_owned(), Some(2 << 20)));
    let (_, said) = restore(&alone);
    assert!(!said.contains("stays"), "it is what was asked for: {said}");
    for (options, wanted) in [
        (&["--skip", "t", "--clear", "t"][..], "--skip t and --clear t"),
        (&["--keep", "t", "--table", "u"], "--table restores only u"),
        (&["--cache", "2MiB"], "--storage disc_only"),
        (&["--cache", "2MiB", "--storage", "disc"], "--storage disc_only"),
    ] {
        let (code, said) = restore(options);
        assert!(code == Some(2) && said.contains(wanted), "{options:?}: {said}");
    }
}

#[test]
fn what_is_wrong_is_told_and_nothing_is_left() {
    // Aim: every refusal says what, where and what to do. Method: targets that take no file, damaged and foreign files, wrong
    // orders and wrong usage; the folder and the table are as they were.
    let (server, home) = (Server::start(&[]), tempfile::tempdir().expect("the test holds this"));
    let path = |name: &str| home.path().join(name);
    server.says(&["table", "create", "t", "-a", "id:int", "--key", "id"]);
    server.says(&["put", "t", "1"]);
    let (good, cut, flipped, foreign) = (path("good"), path("cut"), path("flipped"), path("foreign"));
    server.says(&["backup", text(&good)]);
    let mut bytes = std::fs::read(&good).expect("read");
    std::fs::write(&cut, &bytes[..bytes.len() - 4]).expect("written");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 8;
    std::fs::write(&flipped, &bytes).expect("written");
    std::fs::write(&foreign, "id\n1\n").expect("written");
    let refused = |arguments: &[&str], code: i32, wanted: &[&str]| {
        let output = server.hmn(arguments);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
        for word in wanted {
            assert!(said.contains(word), "{arguments:?}: {said}");
        }
    };
    refused(&["backup", "/dev/full"], 1, &["/dev/full", "device"]);
    refused(&["backup", text(home.path())], 1, &["directory"]);
    refused(&["backup", text(&path("no/folder"))], 1, &["no/folder", "No such file"]);
    refused(&["backup", text(&path("x")), "--table", "nothing"], 1, &["no table \"nothing\""]);
    refused(&["backup", text(&good), "--since", text(&good)], 1, &["would be lost"]);
    refused(&["backup", "-"], 2, &["name one"]);
    refused(&["backup"], 2, &["FILE"]);
    for command in [&["backup", "show"][..], &["restore"]] {
        let with = |file: &Path, wanted: &[&str]| refused(&[command, &[text(file)]].concat(), 1, wanted);
        with(&path("nothing"), &["nothing", "No such file"]);
        with(&foreign, &["foreign", "no backup"]);
        with(&cut, &["cut off at byte"]);
        with(&flipped, &["damaged at byte"]);
    }
    refused(&["restore", text(&good), text(&good)], 1, &["full backup"]);
    refused(&["restore", text(&good), "--recreate", "u"], 1, &["no table \"u\"", "its tables: t"]);
    refused(&["restore", text(&good), "--storage", "disc", "--mode", "recreate"], 1, &["no data directory"]);
    assert_eq!(rows(&server, "t"), "id\n1\n");
    assert_eq!(std::fs::read_dir(home.path()).expect("it is there").count(), 4, "no part of a file is left");
}
