//! The rooms keep to their walls: which room may use which, and what a room must never see, as `docs/architecture.md` has
//! it. Method: read every manifest and the code of every source file (comments and strings aside), and hold both against
//! one table. The reader itself is tested with planted breaches, so a green result means it looked.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// One room and its walls.
struct Room {
    /// Directory of the crate, from the root of the repository.
    directory: &'static str,
    /// Rooms of ours that it may use.
    may_use: &'static [&'static str],
    /// Crates that its manifest must not name, and words that its code must not contain.
    must_not_see: &'static [&'static str],
}

const OURS: [&str; 7] = [
    "hypermnesia",
    "hypermnesia_derive",
    "hypermnesia_store",
    "hypermnesia_replication",
    "hypermnesia_query",
    "hypermnesia_rpc",
    "hypermnesia_cli",
];

const ROOMS: [Room; 7] = [
    Room {
        directory: "derive",
        may_use: &[],
        must_not_see: &["tokio", "tonic", "prost", "std::net", "socket2", "SystemTime", "Instant", "rand"],
    },
    Room {
        directory: "store",
        may_use: &[],
        must_not_see: &[
            "tokio",
            "tonic",
            "prost",
            "std::net",
            "rustix::net",
            "socket2",
            "SystemTime",
            "Instant",
            "rand",
        ],
    },
    Room {
        directory: "replication",
        may_use: &["hypermnesia_store"],
        must_not_see: &[
            "tokio",
            "tonic",
            "prost",
            "redb",
            "rustix",
            "socket2",
            "std::net",
            "std::fs",
            "SystemTime",
            "Instant",
            "rand",
        ],
    },
    Room {
        directory: "query",
        may_use: &["hypermnesia_store"],
        must_not_see: &["tokio", "tonic", "prost", "std::net", "socket2", "redb"],
    },
    Room {
        directory: ".",
        may_use: &["hypermnesia_derive", "hypermnesia_store", "hypermnesia_replication", "hypermnesia_query"],
        must_not_see: &["tonic", "prost"],
    },
    Room { directory: "rpc", may_use: &["hypermnesia"], must_not_see: &[] },
    Room { directory: "bin", may_use: &["hypermnesia_rpc", "hypermnesia"], must_not_see: &[] },
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn manifests_name_only_what_their_room_may_use() {
    // Aim: no dependency goes against the table. Method: the dependency sections of each manifest.
    for room in &ROOMS {
        let manifest = read(&root().join(room.directory).join("Cargo.toml"));
        let named = dependencies(&manifest);
        assert!(room.directory == "derive" || !named.is_empty(), "{}: no dependencies found", room.directory);
        let breaches: Vec<_> = named.iter().filter(|name| !may_name(room, name)).collect();
        assert!(breaches.is_empty(), "{}/Cargo.toml names {breaches:?}", room.directory);
    }
}

#[test]
fn code_names_only_what_its_room_may_use() {
    // Aim: no path goes around the manifests (std, re-exports). Method: the words of each source file.
    let mut seen = 0;
    for room in &ROOMS {
        for file in sources(&root().join(room.directory).join("src")) {
            seen += 1;
            let breaches = breaches(room, &code_of(&read(&file)));
            assert!(breaches.is_empty(), "{} sees {breaches:?}", file.display());
        }
    }
    assert!(seen >= ROOMS.len(), "only {seen} source files were found");
}

#[test]
fn the_table_covers_every_member_of_the_workspace() {
    // Aim: a new crate gets its walls. Method: the member list of the root manifest against the table.
    let manifest = read(&root().join("Cargo.toml"));
    let members = manifest.lines().find(|line| line.starts_with("members")).expect("a workspace has members");
    for member in members.split('"').skip(1).step_by(2).filter(|member| !member.starts_with("tests/")) {
        assert!(ROOMS.iter().any(|room| room.directory == member), "{member} stands in no row of the table");
    }
}

#[test]
fn planted_breaches_are_found() {
    // Aim: the reader sees what it should and nothing else. Method: small texts with known breaches.
    let store = &ROOMS[1];
    for (text, found) in [
        ("use tokio::net::TcpStream;", vec!["tokio"]),
        ("let now = std::time::Instant::now();", vec!["Instant"]),
        ("use std::{net::TcpStream, fmt};", vec!["std::net"]),
        ("use std::{\n    fmt,\n    net::{IpAddr},\n};", vec!["std::net"]),
        ("hypermnesia_query::plan()", vec!["hypermnesia_query"]),
        ("use hypermnesia::Node;", vec!["hypermnesia"]),
        ("// tokio would do\nlet operand = \"rand tokio \\\" tonic\"; /* Instant */", vec![]),
        ("let quote = '\"'; let t: &'static str = r#\"tokio\"#; use prost::Message;", vec!["prost"]),
        ("use hypermnesia_store::Key;", vec![]),
    ] {
        assert_eq!(breaches(store, &code_of(text)), found, "{text}");
    }
    let manifest = "[package]\nname = \"x\"\n[dependencies]\ntokio = \"1\"\nhypermnesia-query.workspace = true\n\
                    [dev-dependencies]\nproptest = \"1\"\n[dependencies.redb]\nversion = \"4\"\n\
                    [target.'cfg(unix)'.dependencies]\nsocket2 = \"0.6\"\n[features]\nrand = []\n";
    let named: Vec<_> = dependencies(manifest).into_iter().collect();
    assert_eq!(named, ["hypermnesia_query", "proptest", "redb", "socket2", "tokio"]);
    assert!(!may_name(store, "tokio") && !may_name(store, "hypermnesia_query") && may_name(store, "redb"));
}

fn own_name(room: &Room) -> String {
    match room.directory {
        "." => "hypermnesia".to_owned(),
        "bin" => "hypermnesia_cli".to_owned(),
        directory => format!("hypermnesia_{directory}"),
    }
}

fn may_name(room: &Room, crate_name: &str) -> bool {
    let ours = OURS.contains(&crate_name) && own_name(room) != crate_name;
    !room.must_not_see.contains(&crate_name) && (!ours || room.may_use.contains(&crate_name))
}

/// What this code sees and its room must not, in the order of the table.
fn breaches(room: &Room, code: &str) -> Vec<&'static str> {
    let paths = paths(code);
    let sees = |path: &str| {
        let wanted: Vec<_> = path.split("::").collect();
        paths.iter().any(|found| found.windows(wanted.len()).any(|part| part == wanted.as_slice()))
    };
    // derive writes `::hypermnesia::..` for the crates that use it, so that path says nothing about its own dependencies.
    let speaks_for_others = room.directory == "derive";
    let ours = OURS.into_iter().filter(|name| !speaks_for_others && !may_name(room, name));
    room.must_not_see.iter().copied().chain(ours).filter(|path| sees(path)).collect()
}

/// Every path in the code, as its words; groups in braces are multiplied out.
fn paths(code: &str) -> Vec<Vec<&str>> {
    let mut found = Vec::new();
    // What stands before each open brace, if it is a path that goes on inside.
    let mut open: Vec<Vec<&str>> = Vec::new();
    let (mut path, mut joined): (Vec<&str>, bool) = (open_path(&open), false);
    let mut rest = code;
    while let Some(first) = rest.chars().next() {
        if first.is_alphanumeric() || first == '_' {
            let len = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
            if !joined {
                found.push(std::mem::replace(&mut path, open_path(&open)));
            }
            path.push(&rest[..len]);
            joined = false;
            rest = &rest[len..];
        } else if let Some(behind) = rest.strip_prefix("::") {
            joined = true;
            rest = behind;
        } else {
            match first {
                '{' => open.push(if joined { std::mem::take(&mut path) } else { Vec::new() }),
                '}' => drop(open.pop()),
                _ => {}
            }
            if !first.is_whitespace() {
                found.push(std::mem::replace(&mut path, open_path(&open)));
                // Inside a group the first word of an item goes on with the group's path.
                joined = !path.is_empty();
            }
            rest = &rest[first.len_utf8()..];
        }
    }
    found.push(path);
    found
}

fn open_path<'a>(open: &[Vec<&'a str>]) -> Vec<&'a str> {
    open.last().cloned().unwrap_or_default()
}

/// The crates that a manifest's dependency sections name, with underscores.
fn dependencies(manifest: &str) -> BTreeSet<String> {
    let mut named = BTreeSet::new();
    let mut inside = false;
    for line in manifest.lines().map(str::trim) {
        if let Some(section) = line.strip_prefix('[') {
            let section = section.trim_end_matches(']');
            // The workspace's own list only pins versions; it gives nothing to anybody.
            let kind = section.strip_prefix("workspace.").map_or(section, |_| "");
            inside = kind.ends_with("dependencies");
            if let Some((_, name)) = kind.split_once("dependencies.") {
                named.insert(name.replace('-', "_"));
            }
        } else if inside && !line.is_empty() && !line.starts_with('#') && !line.starts_with(['}', ']', '"']) {
            let name = line.split(['=', '.', ' ']).next().unwrap_or_default();
            named.insert(name.trim_matches('"').replace('-', "_"));
        }
    }
    named
}

/// The code of a source text: comments and the contents of strings are blanked.
fn code_of(text: &str) -> String {
    let mut code = String::new();
    let mut rest = text;
    while !rest.is_empty() {
        let skipped = comment_len(rest).or_else(|| string_len(rest));
        match skipped {
            Some(len) => {
                code.push_str(" \u{a0} ");
                rest = &rest[len..];
            }
            None => {
                let first = rest.chars().next().expect("not empty");
                // A word is taken whole, so that the r of `for` does not begin a raw string.
                let word = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
                let len = word.max(first.len_utf8());
                code.push_str(&rest[..len]);
                rest = &rest[len..];
            }
        }
    }
    code
}

fn comment_len(text: &str) -> Option<usize> {
    if text.starts_with("//") {
        return Some(text.find('\n').unwrap_or(text.len()));
    }
    text.starts_with("/*").then(|| text.find("*/").map_or(text.len(), |end| end + 2))
}

fn string_len(text: &str) -> Option<usize> {
    if let Some(quoted) = text.strip_prefix('\'') {
        // A character, not a lifetime: it closes after one character or one escape.
        let mut letters = quoted.char_indices();
        let (_, letter) = letters.next()?;
        let (second_at, second) = letters.next()?;
        if letter == '\\' {
            let close = quoted[second_at + second.len_utf8()..].find('\'')?;
            return Some(1 + second_at + second.len_utf8() + close + 1);
        }
        return (second == '\'').then_some(1 + second_at + 1);
    }
    let body = text.strip_prefix("br").or_else(|| text.strip_prefix('r'));
    if let Some(body) = body {
        let hashes = body.len() - body.trim_start_matches('#').len();
        if body[hashes..].starts_with('"') {
            let end = format!("\"{}", "#".repeat(hashes));
            let start = text.len() - body.len() + hashes + 1;
            return Some(text[start..].find(&end).map_or(text.len(), |at| start + at + end.len()));
        }
    }
    let start = if text.starts_with("b\"") { 2 } else { usize::from(text.starts_with('"')) };
    if start == 0 {
        return None;
    }
    let mut escaped = false;
    for (at, letter) in text[start..].char_indices() {
        match letter {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return Some(start + at + 1),
            _ => {}
        }
    }
    Some(text.len())
}

fn sources(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut open = vec![directory.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in
            fs::read_dir(&directory).unwrap_or_else(|wrong| panic!("{}: {wrong}", directory.display()))
        {
            let path = entry.expect("a directory can be listed").path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|wrong| panic!("{}: {wrong}", path.display()))
}
