//! What all clients see, in the order in which they see it, with one clock: lines that the judge reads, and everybody else.

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use hypermnesia_history::History;
use serde_json::{Value as Json, json};

/// The record of one run.
pub(crate) struct Record {
    began: Instant,
    lines: Mutex<Vec<Json>>,
    /// Values are never written twice.
    next: AtomicU64,
}

impl Record {
    pub(crate) fn new() -> Record {
        Record { began: Instant::now(), lines: Mutex::new(Vec::new()), next: AtomicU64::new(1) }
    }

    /// A value that nobody has written.
    pub(crate) fn value(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// The next value, for who looks at all of them.
    pub(crate) fn values(&self) -> u64 {
        self.next.load(Ordering::Relaxed)
    }

    pub(crate) fn now(&self) -> u64 {
        self.began.elapsed().as_nanos() as u64
    }

    /// One line. The time is taken while nobody else writes, so lines stand in the order of time.
    pub(crate) fn note(&self, mut line: Json) -> u64 {
        let mut lines = self.lines.lock().expect("nobody panics here");
        let time = self.now();
        line["index"] = lines.len().into();
        line["time"] = time.into();
        lines.push(line);
        time
    }

    /// How many lines there are.
    pub(crate) fn len(&self) -> usize {
        self.lines.lock().expect("nobody panics here").len()
    }

    /// What was done to the cluster.
    pub(crate) fn fault(&self, what: &str) -> u64 {
        println!("{:>9.3} s  {what}", self.now() as f64 / 1e9);
        self.note(json!({"process": "nemesis", "type": "info", "f": what, "value": null}))
    }

    fn text(&self, wanted: impl Fn(&Json) -> bool) -> String {
        let lines = self.lines.lock().expect("nobody panics here");
        lines.iter().filter(|line| wanted(line)).map(|line| format!("{line}\n")).collect()
    }

    pub(crate) fn history(&self) -> History {
        History::from_lines(&self.text(|_| true)).unwrap_or_else(|wrong| panic!("{wrong}"))
    }

    /// Writes all lines, and those of lists alone, which other judges read as well.
    pub(crate) fn keep(&self, directory: &Path, name: &str) {
        std::fs::create_dir_all(directory).expect("it can be made");
        let lists = |line: &Json| line["process"] == "nemesis" || line["f"] == "txn" && line["lists"] == true;
        for (name, text) in
            [(name.to_owned(), self.text(|_| true)), (format!("{name}-lists"), self.text(lists))]
        {
            let file = directory.join(name + ".jsonl");
            std::fs::write(&file, text).expect("there is room");
            println!("the history is in {}", file.display());
        }
    }
}
