//! Golden cases. A file of `tests/cases` is a script over its own empty tables: a statement after `> ` (more lines after
//! `. `), then what it gives: the rows, one per line, the count of a write, or the error. `? ` before the statement
//! lists parameters. `CASES_WRITE=1` writes what comes out into the files, to be read before it is believed.

use std::fmt::Write;
use std::path::Path;

use hypermnesia_query::{Statement, StatementKind};
use hypermnesia_store::Value;

use crate::memory::Memory;

#[test]
fn every_case_gives_what_its_file_says() {
    // Aim: the language, its errors and its plans are as written down. Method: run each file, compare whole texts.
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let mut files: Vec<_> =
        std::fs::read_dir(directory).expect("cases").map(|f| f.expect("file").path()).collect();
    files.sort();
    assert!(files.len() >= 8, "the cases are there");
    let mut wrong = String::new();
    for file in files {
        let expected = std::fs::read_to_string(&file).expect("readable");
        let given = replay(&expected);
        if std::env::var_os("CASES_WRITE").is_some() {
            std::fs::write(&file, given).expect("writable");
        } else if given != expected {
            let at = given.lines().zip(expected.lines()).position(|(a, b)| a != b).unwrap_or(0);
            let part =
                |text: &str| text.lines().skip(at.saturating_sub(6)).take(14).collect::<Vec<_>>().join("\n");
            let _ = write!(
                wrong,
                "\n{} differs:\n{}\n-- instead of --\n{}\n",
                file.display(),
                part(&given),
                part(&expected)
            );
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

fn replay(script: &str) -> String {
    let memory = Memory::default();
    let (mut out, mut parameters, mut sql) = (String::new(), Vec::new(), String::new());
    let mut lines = script.lines().peekable();
    while let Some(line) = lines.next() {
        if line.starts_with('#') || ["? ", "> ", ". "].iter().any(|sign| line.starts_with(sign)) {
            let _ = writeln!(out, "{line}");
        }
        if let Some(list) = line.strip_prefix("? ") {
            parameters = memory.rows(&format!("SELECT {list}")).remove(0);
        } else if let Some(text) = line.strip_prefix("> ").or_else(|| line.strip_prefix(". ")) {
            let between = if sql.is_empty() { "" } else { "\n" };
            sql = format!("{sql}{between}{text}");
            if !lines.peek().is_some_and(|next| next.starts_with(". ")) {
                out.push_str(&answer(&memory, &std::mem::take(&mut sql), &std::mem::take(&mut parameters)));
                out.push('\n');
            }
        }
    }
    out
}

fn answer(memory: &Memory, sql: &str, parameters: &[Value]) -> String {
    let (rows, outcome) = match memory.run(sql, parameters) {
        Ok(done) => done,
        Err(error) => return format!("{error}\n"),
    };
    let mut out = String::new();
    match Statement::parse(sql).expect("parsed before").kind() {
        StatementKind::Schema => out.push_str("done\n"),
        StatementKind::Write => drop(writeln!(out, "{} rows", outcome.rows)),
        StatementKind::Read => {
            if !sql.starts_with("EXPLAIN") {
                let heads: Vec<String> =
                    rows.columns.iter().map(|c| format!("{} {}", c.name, c.ty)).collect();
                let _ = writeln!(out, "[{}]", heads.join(", "));
            }
            for row in &rows.rows {
                let texts: Vec<String> = row.iter().map(|value| plain(value, sql)).collect();
                let _ = writeln!(out, "{}", texts.join(" | "));
            }
        }
    }
    out
}

fn plain(value: &Value, sql: &str) -> String {
    match value {
        Value::Text(text) if sql.starts_with("EXPLAIN") => text.clone(),
        other => other.to_string(),
    }
}
