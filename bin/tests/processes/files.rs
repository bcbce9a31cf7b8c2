//! Files into tables and out of them: what is taken from pipes, what is refused and where, what is counted, and that rows of
//! every type come back as they went.

use std::path::Path;
use std::process::Output;

use crate::program::{Server, hmn, said};

fn text(path: &Path) -> &str {
    path.to_str().expect("a name of ASCII")
}

/// What a command that must have failed says.
fn complaint(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Writes a file and imports it.
fn import(server: &Server, home: &Path, name: &str, content: &str, options: &[&str]) -> Output {
    let file = home.join(name);
    std::fs::write(&file, content).expect("written");
    server.hmn(&[&["import", options[0], text(&file)], &options[1..]].concat())
}

fn csv_of(server: &Server, table: &str) -> String {
    server.says(&["query", &format!("SELECT * FROM {table} ORDER BY 1"), "--format", "csv"])
}

#[test]
fn what_can_be_read_only_once_is_read_whole() {
    // Aim: a pipe loses no row although types need all of them. Method: standard input by both names, a FIFO, and JSON
    // lines told by their content.
    let server = Server::start(&[]);
    let rows = "id,v\n1,a\n2,b\n";
    for (table, file) in [("a", "-"), ("b", "/dev/stdin")] {
        said(hmn(&["--addr", &server.addr, "import", table, file], rows));
        assert_eq!(csv_of(&server, table), rows);
    }
    said(hmn(
        &["--addr", &server.addr, "import", "c", "-"],
        "{\"id\":1,\"v\":\"a\"}\n{\"id\":2,\"v\":\"b\"}\n",
    ));
    assert_eq!(csv_of(&server, "c"), rows);
    let home = tempfile::tempdir().expect("the test holds this");
    let fifo = home.path().join("fifo");
    assert!(std::process::Command::new("mkfifo").arg(&fifo).status().expect("it runs").success());
    let writer = std::thread::spawn({
        let fifo = fifo.clone();
        move || std::fs::write(fifo, rows)
    });
    server.says(&["import", "d", text(&fifo)]);
    writer.join().expect("it ends").expect("written");
    assert_eq!(csv_of(&server, "d"), rows);
}

#[test]
fn a_refused_row_is_named_and_the_count_is_true() {
    // Aim: the error names the line and counts what is in, whoever refuses the row. Method: a null, a type, a value that is
    // there already, an open quote, numbers and keys that would be bent; each time the table is counted.
    let server = Server::start(&[]);
    let home = tempfile::tempdir().expect("the test holds this");
    let table = |name: &str| {
        server.says(&[
            "table", "create", name, "-a", "id:int", "-a", "v:text?", "--key", "id", "--unique", "v",
        ]);
    };
    let many: String = (0..3000).map(|n| format!("{n},v{n}\n")).collect();
    let cases = [
        ("nulls", "a.csv", "id,v\n1,a\n,b\n2,c\n".to_owned(), "line 3: attribute \"id\"", 1),
        ("types", "b.csv", "id,v\n1,a\n2,b\nx,c\n".to_owned(), "line 4: column \"id\"", 2),
        ("uniques", "c.csv", "id,v\n1,a\n2,b\n3,a\n4,d\n".to_owned(), "line 4: another row", 2),
        ("late", "d.csv", format!("id,v\n{many}4000,v7\n"), "line 3002: another row", 3000),
        ("quotes", "e.csv", "id,v\n1,\"a\n2,b\n".to_owned(), "line 2: the quote", 0),
        ("twice", "f.jsonl", "{\"id\":1,\"v\":\"a\"}\n{\"id\":2,\"id\":3}\n".to_owned(), "line 2", 0),
        (
            "bent",
            "g.jsonl",
            "{\"id\":1}\n{\"id\":99999999999999999999}\n".to_owned(),
            "line 2: column \"id\"",
            0,
        ),
    ];
    for (name, file, content, wanted, rows) in cases {
        table(name);
        let said = complaint(&import(&server, home.path(), file, &content, &[name]));
        assert!(said.contains(file) && said.contains(wanted), "{said}");
        assert!(rows == 0 || said.contains(&format!("({rows} of the file's")), "{said}");
        assert_eq!(csv_of(&server, name).lines().count(), rows + 1, "{said}");
    }
}

#[test]
fn a_table_made_for_nothing_is_dropped_again() {
    // Aim: a failed first import can be repeated as it is. Method: a null in the key of a new table, first and second row.
    let server = Server::start(&[]);
    let home = tempfile::tempdir().expect("the test holds this");
    let said = complaint(&import(&server, home.path(), "a.csv", "id,v\n,a\n", &["t"]));
    assert!(said.contains("line 2") && said.contains("dropped again"), "{said}");
    assert!(!server.says(&["table", "list", "--format", "csv"]).contains("\nt,"));
    let said = complaint(&import(&server, home.path(), "a.csv", "id,v\n1,a\n,b\n", &["t"]));
    assert!(said.contains("line 3") && said.contains("1 of the file's 2 rows are in"), "{said}");
    assert_eq!(csv_of(&server, "t"), "id,v\n1,a\n");
}

#[test]
fn large_rows_and_repeated_keys() {
    // Aim: batches fit a message, and of several rows with one key the last is there and it is said. Method: ten rows of
    // 3 MB; 3000 rows of two keys.
    let server = Server::start(&[]);
    let home = tempfile::tempdir().expect("the test holds this");
    let large: String = (0..10).map(|n| format!("{n},{}\n", "x".repeat(3_000_000))).collect();
    let output = import(&server, home.path(), "large.csv", &format!("id,v\n{large}"), &["large"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("10 rows into large"), "{output:?}");
    let repeated: String = (0..3000).map(|n| format!("{},{n}\n", n % 2)).collect();
    let output = import(&server, home.path(), "dk.csv", &format!("id,v\n{repeated}"), &["dk"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("3000 rows into dk") && said.contains("had 0 rows and has 2 now"), "{said}");
    assert_eq!(csv_of(&server, "dk"), "id,v\n0,2998\n1,2999\n");
}

#[test]
fn options_about_a_table_that_is_there_must_say_what_it_is() {
    // Aim: no option is ignored in silence. Method: each in contradiction, then all in agreement.
    let server = Server::start(&[]);
    let home = tempfile::tempdir().expect("the test holds this");
    server.says(&[
        "table",
        "create",
        "t",
        "-a",
        "id:int",
        "-a",
        "v:text?",
        "--kind",
        "ordered_set",
        "--index",
        "v",
    ]);
    let wrong: [&[&str]; 8] = [
        &["--key", "v"],
        &["--kind", "bag"],
        &["--storage", "disc"],
        &["--index", "id"],
        &["--unique", "v"],
        &["--type", "v:int"],
        &["--copies", "n7"],
        &["--ack", "synced"],
    ];
    for options in wrong {
        let said =
            complaint(&import(&server, home.path(), "a.csv", "id,v\n1,a\n", &[&["t"], options].concat()));
        assert!(said.contains(options[0]), "{options:?}: {said}");
    }
    assert_eq!(csv_of(&server, "t"), "id,v\n");
    let right =
        ["t", "--key", "id", "--kind", "ordered_set", "--storage", "ram", "--index", "v", "--type", "v:text"];
    assert!(import(&server, home.path(), "a.csv", "id,v\n1,a\n", &right).status.success());
}

/// Rows of every type, as JSON lines: what JSON has no word for, '' beside null, and any type in `x`.
const EVERY_TYPE: &str = r#"{"id":1,"b":true,"i":-9223372036854775808,"f":{"$float":"nan"},"t":"","y":"","s":-1,"l":[1,"a",null,{"$bytes":"00ff"}],"m":{"k":{"$timestamp":7}},"x":null}
{"id":2,"b":null,"i":18446744073709551615,"f":{"$float":"-inf"},"t":null,"y":null,"s":null,"l":null,"m":null,"x":""}
{"id":3,"b":false,"i":null,"f":1.5,"t":"a,\"b\"\r\nc","y":"00ff","s":1795226981500000,"l":[],"m":{},"x":"7"}
{"id":4,"b":null,"i":null,"f":null,"t":"null","y":null,"s":null,"l":[[{"$float":"inf"}]],"m":{"$map":[[1,2],["a",[]]]},"x":7}
{"id":5,"b":null,"i":null,"f":1e+300,"t":" ","y":null,"s":null,"l":null,"m":{"$map":[["$float","nan"]]},"x":{"$bytes":""}}
{"id":6,"b":null,"i":null,"f":7.0,"t":"é","y":null,"s":null,"l":null,"m":null,"x":{"$timestamp":7}}
{"id":7,"b":null,"i":null,"f":0.0,"t":"[1]","y":null,"s":null,"l":null,"m":null,"x":{"$float":"nan"}}
{"id":8,"b":null,"i":null,"f":null,"t":null,"y":null,"s":null,"l":null,"m":null,"x":[true,"x",7.0]}
"#;

#[test]
fn rows_of_every_type_come_back_as_they_went() {
    // Aim: export and import are each other's inverse, in both formats. Method: rows of every type in as JSON lines, out as
    // both formats, in again into a table of the same attributes, out again.
    let server = Server::start(&[]);
    let home = tempfile::tempdir().expect("the test holds this");
    let attributes = [
        "b:bool?",
        "i:int?",
        "f:float?",
        "t:text?",
        "y:bytes?",
        "s:timestamp?",
        "l:list?",
        "m:map?",
        "x:any?",
    ];
    let create = |table: &str| {
        let mut command = vec!["table", "create", table, "--kind", "ordered_set", "-a", "id:int"];
        attributes.iter().for_each(|attribute| command.extend(["-a", *attribute]));
        server.says(&command);
    };
    create("a");
    assert!(import(&server, home.path(), "a.jsonl", EVERY_TYPE, &["a"]).status.success());
    assert_eq!(server.says(&["export", "a", "--format", "json"]), EVERY_TYPE);
    for (table, ending) in [("b", "csv"), ("c", "jsonl")] {
        create(table);
        let file = home.path().join("out").with_extension(ending);
        server.says(&["export", "a", text(&file)]);
        server.says(&["import", table, text(&file)]);
        assert_eq!(server.says(&["export", table, "--format", "json"]), EVERY_TYPE, "{ending}");
        let csv = server.says(&["export", table, "-", "--format", "csv"]);
        assert_eq!(csv, server.says(&["export", "a", "--format", "csv"]));
    }
}

#[test]
fn an_export_goes_where_it_is_sent() {
    // Aim: only a regular file is put in its place by a rename; devices stay and their errors are told, links stay links,
    // a file keeps its mode, nothing half is left. Method: each kind of target, then the folder's contents.
    use std::os::unix::fs::{FileTypeExt, PermissionsExt};
    let server = Server::start(&[]);
    let home = tempfile::tempdir().expect("the test holds this");
    assert!(import(&server, home.path(), "a.csv", "id,v\n1,a\n", &["t"]).status.success());
    let full = complaint(&server.hmn(&["export", "t", "/dev/full", "--format", "csv"]));
    assert!(full.contains("/dev/full") && full.contains("space"), "{full}");
    let device = std::fs::metadata("/dev/full").expect("it is there");
    assert!(device.file_type().is_char_device());
    let (file, link) = (home.path().join("out.csv"), home.path().join("link.csv"));
    std::fs::write(&file, "old").expect("written");
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o640)).expect("set");
    std::os::unix::fs::symlink("out.csv", &link).expect("linked");
    server.says(&["export", "t", text(&link)]);
    assert!(link.is_symlink());
    assert_eq!(std::fs::read_to_string(&file).expect("read"), "id,v\n1,a\n");
    assert_eq!(std::fs::metadata(&file).expect("it is there").permissions().mode() & 0o777, 0o640);
    let unknown = server.hmn(&["export", "t", text(&home.path().join("out.xml"))]);
    assert_eq!(unknown.status.code(), Some(2), "{unknown:?}");
    assert!(String::from_utf8_lossy(&unknown.stderr).contains(".jsonl"), "{unknown:?}");
    let other = server.hmn(&["export", "t", text(&file), "--format", "json"]);
    assert!(String::from_utf8_lossy(&other.stderr).contains("as --format says"), "{other:?}");
    assert_eq!(std::fs::read_to_string(&file).expect("read"), "{\"id\":1,\"v\":\"a\"}\n");
    assert_eq!(server.says(&["export", "t", "/dev/stdout", "--format", "csv"]), "id,v\n1,a\n");
    let left = std::fs::read_dir(home.path()).expect("it is there").count();
    assert_eq!(left, 3, "a.csv, out.csv and link.csv");
}
