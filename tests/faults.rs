//! `docs/faults.md` says which test shows what must hold under each fault. This holds the page against the code: a page that
//! names a test that is gone, or a fault with a field too few, says something that nobody looks at.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn page() -> String {
    std::fs::read_to_string(root().join("docs/faults.md")).expect("the page is there")
}

/// The fields of a line of a table; nothing for other lines.
fn fields(line: &str) -> Vec<&str> {
    let inner = line.strip_prefix("| ").and_then(|line| line.strip_suffix(" |"));
    inner.map_or_else(Vec::new, |inner| inner.split(" | ").map(str::trim).collect())
}

/// What stands between backquotes.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// What the page calls directories, and where they are.
fn directories(page: &str) -> BTreeMap<&str, &str> {
    let two = |line| match quoted(line).collect::<Vec<_>>()[..] {
        [short, path] if short.ends_with('/') && path.ends_with('/') => Some((short, path)),
        _ => None,
    };
    page.lines().filter(|line| fields(line).len() == 2).filter_map(two).collect()
}

/// The tests that a text names, as `directory/file::test`.
fn named(text: &str) -> impl Iterator<Item = (&str, &str)> {
    quoted(text).filter_map(|one| one.split_once("::")).filter(|(file, _)| file.contains('/'))
}

/// Whether a file has a test of this name, by its text: an attribute above it that says so, or the macro of proptest.
fn has_test(code: &str, name: &str) -> bool {
    let lines: Vec<&str> = code.lines().map(str::trim).collect();
    let begins = |line: &str| {
        let line = line.strip_prefix("async ").unwrap_or(line);
        line.strip_prefix("fn ")
            .and_then(|line| line.strip_prefix(name))
            .is_some_and(|rest| rest.starts_with('('))
    };
    let is_attribute = |line: &&&str| line.starts_with("#[") || line.starts_with("//");
    let is_test = |at: usize| {
        let above: Vec<_> = lines[..at].iter().rev().take_while(is_attribute).collect();
        above.iter().any(|line| **line == "#[test]" || line.starts_with("#[tokio::test"))
            && !above.iter().any(|line| line.starts_with("#[ignore"))
    };
    lines.iter().enumerate().any(|(at, line)| begins(line) && is_test(at))
}

/// What is wrong with the tests that a page names.
fn missing(page: &str) -> Vec<String> {
    let directories = directories(page);
    let find = |file: &str, name: &str| {
        let (first, rest) = file.split_once('/').expect("it was looked for");
        let directory =
            directories.get(format!("{first}/").as_str()).ok_or(format!("{file}: what is {first}/?"))?;
        let path = root().join(directory).join(format!("{rest}.rs"));
        let code = std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        has_test(&code, name).then_some(()).ok_or(format!("{}: no test {name}", path.display()))
    };
    page.lines().flat_map(named).filter_map(|(file, name)| find(file, name).err()).collect()
}

/// By number: the letters of each fault.
fn faults(page: &str) -> BTreeMap<u32, BTreeSet<&str>> {
    let fault = |line| match fields(line)[..] {
        [number, _, letters] => Some((number.parse().ok()?, letters.split(' ').collect())),
        _ => None,
    };
    page.lines().filter_map(fault).collect()
}

/// By number: the letters that have a field, which names a test or says why there is none.
fn shown(page: &str) -> BTreeMap<u32, BTreeSet<&str>> {
    let mut shown = BTreeMap::new();
    let mut number = None;
    for line in page.lines() {
        if line.starts_with('#') {
            let heading = line.strip_prefix("### ").and_then(|heading| heading.split_once('.'));
            number = heading.and_then(|(number, _)| number.parse().ok());
        }
        if let (Some(number), [letter, text]) = (number, &fields(line)[..])
            && letter.len() == 1
        {
            let says = named(text).next().is_some() || text.starts_with("later");
            assert!(says, "{number} {letter} names no test: {text}");
            shown.entry(number).or_insert_with(BTreeSet::new).insert(*letter);
        }
    }
    shown
}

#[test]
fn every_test_that_the_page_names_is_there() {
    // Aim: the page does not rot. Method: each name against the text of its file.
    let page = page();
    let missing = missing(&page);
    assert!(missing.is_empty(), "{}", missing.join("\n"));
    assert!(page.lines().flat_map(named).count() > 150, "it names tests");
}

#[test]
fn every_fault_has_all_of_its_fields() {
    // Aim: no letter of a fault goes without an answer. Method: the table of faults against the fields below it.
    let page = page();
    let faults = faults(&page);
    assert_eq!(faults.keys().copied().collect::<Vec<_>>(), (1..=22).collect::<Vec<_>>());
    assert_eq!(shown(&page), faults);
}

#[test]
fn a_page_that_is_wrong_is_noticed() {
    // Aim: a green result above means that something was looked at. Method: small pages with one mistake each.
    let head = "| `here/` | `tests/` |\n";
    let wrong = |text: &str| missing(&format!("{head}{text}"));
    assert!(wrong("`here/faults::a_page_that_is_wrong_is_noticed`").is_empty());
    assert_eq!(wrong("`here/faults::a_page`, `here/faults::quoted`").len(), 2, "no tests of these names");
    assert_eq!(wrong("`here/nowhere::a`").len(), 1);
    assert_eq!(wrong("`there/faults::a_page_that_is_wrong_is_noticed`").len(), 1);
    assert!(has_test("    #[test]\n    #[cfg(x)]\n    fn a() {", "a"));
    assert!(has_test("#[tokio::test(flavor = \"x\")]\nasync fn a() {", "a"));
    assert!(!has_test("#[test]\n#[ignore = \"x\"]\nfn a() {", "a"));
    assert!(!has_test("#[test]\nfn ab() {\n}\nfn a() {", "a"));
    let page = "| 1 | x | A D |\n### 1. x\n| A | `here/faults::quoted` |\n## y\n| D | later |\n";
    assert_ne!(shown(page), faults(page), "a field too few");
}
