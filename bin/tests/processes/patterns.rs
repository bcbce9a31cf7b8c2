//! Rows by what they hold and by their place in the order, from the command line.

use crate::program::{Server, hmn};

#[test]
fn rows_are_selected_by_condition_and_by_place() {
    // Aim: `select` and the four places print what is meant, in the asked order and format, and fail with what is wrong.
    // Method: a small ordered set, each option once, then each mistake.
    let server = Server::start(&[]);
    let create =
        ["table", "create", "t", "-a", "id:int", "-a", "who:text", "-a", "tags:list?", "--key", "id"];
    server.says(&[&create[..], &["--kind", "ordered_set", "--index", "who", "--multi", "tags"]].concat());
    for (id, who, tags) in [("1", "ada", "[\"x\"]"), ("5", "bob", "[\"x\",\"y\"]"), ("9", "ada", "")] {
        server.says(&["put", "t", id, who, tags]);
    }
    let csv = |args: &[&str]| server.says(&[args, &["--format", "csv"]].concat());
    let who = ["select", "t", "--where", "who = $1", "-p", "ada", "--columns", "id"];
    assert_eq!(csv(&who), "id\n1\n9\n");
    assert_eq!(csv(&[&who[..], &["--backward", "--key-order", "--limit", "1"]].concat()), "id\n9\n");
    assert_eq!(
        csv(&["select", "t", "--index", "by_who", "--columns", "who,id"]),
        "who,id\nada,1\nada,9\nbob,5\n"
    );
    assert_eq!(csv(&["select", "t", "--where", "'y' = ANY(tags)", "--count"]), "count\n1\n");
    let json = server.says(&["select", "t", "--where", "id = 5", "--format", "json"]);
    assert_eq!(json, "{\"id\":5,\"who\":\"bob\",\"tags\":[\"x\",\"y\"]}\n");
    let told = csv(&["select", "t", "--where", "contains(tags, 'y')", "--explain"]);
    assert!(told.contains("t: index by_tags range (tags contains 'y')"), "{told}");
    assert_eq!(csv(&["first", "t"]), "id,who,tags\n1,ada,\"[\"\"x\"\"]\"\n");
    assert_eq!(csv(&["last", "t"]), "id,who,tags\n9,ada,\n");
    assert_eq!(csv(&["next", "t", "5"]), "id,who,tags\n9,ada,\n");
    assert!(csv(&["prev", "t", "4"]).contains("\n1,ada"));
    for (args, code, word) in [
        (&["next", "t", "9"][..], 1, "no row behind the key 9"),
        (&["prev", "t", "x"], 1, "attribute \"id\""),
        (&["select", "t", "--where", "whoo = 'x'"], 1, "did you mean \"who\"?"),
        (&["select", "t", "--index", "by_whom"], 1, "did you mean \"by_who\"?"),
        (&["select", "t", "--columns", "id,x"], 1, "no attribute \"x\""),
        (&["select", "t", "--limit", "0"], 2, "0"),
        (&["select", "t", "--index", "by_who", "--key-order"], 2, "--key-order"),
    ] {
        let failed = hmn(&[args, &["--addr", &server.addr]].concat(), "");
        let said = String::from_utf8_lossy(&failed.stderr).into_owned();
        assert_eq!(failed.status.code(), Some(code), "{args:?}: {said}");
        assert!(said.contains(word), "{args:?}: {said}");
    }
    let status = server.says(&["status", "--format", "json"]);
    assert!(
        status.contains("\"held\":{\"snapshots\":0,\"continuations\":0,\"streams\":0,\"interactive\":0,"),
        "{status}"
    );
}
