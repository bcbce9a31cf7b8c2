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
