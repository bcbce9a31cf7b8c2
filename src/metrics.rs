//! A [`Status`] as the page that Prometheus reads: its text format, version 0.0.4
//! (<https://prometheus.io/docs/instrumenting/exposition_formats/>). Everything on it is read when it is asked for; nothing is
//! counted for it. The few lines of format are written here, since libraries for it keep registries of what they count themselves.

use std::fmt::Write;

use crate::status::{MemberStatus, Status, TableStatus};

/// What goes into the header `content-type` with the page.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The page. Names begin with `hypermnesia_`; times are in seconds, sizes in bytes; what is of a table or a member has a label
/// of that name.
///
/// ```
/// use hypermnesia::{Node, metrics};
///
/// let node = Node::builder().build()?;
/// node.query("CREATE TABLE notes (id INT PRIMARY KEY)", &[])?;
/// let page = metrics::page(&node.status());
/// assert!(page.contains("hypermnesia_table_rows{table=\"notes\"} 0\n"));
/// # Ok::<(), hypermnesia::Error>(())
/// ```
pub fn page(status: &Status) -> String {
    let mut page = Page(String::new());
    page.node(status);
    page.members(&status.members);
    page.tables(&status.tables);
    page.0
}

/// How a number behaves.
#[derive(Clone, Copy)]
enum Sort {
    /// It goes up and down.
    Gauge,
    /// It only grows, until the process ends.
    Counter,
}

struct Page(String);

impl Page {
    /// A family of one number.
    fn one(&mut self, name: &str, help: &str, value: f64) {
        self.family(name, Sort::Gauge, help, [(String::new(), value)]);
    }

    fn family(
        &mut self,
        name: &str,
        sort: Sort,
        help: &str,
        samples: impl IntoIterator<Item = (String, f64)>,
    ) {
        let sort = match sort {
            Sort::Gauge => "gauge",
            Sort::Counter => "counter",
        };
        self.line(format_args!("# HELP hypermnesia_{name} {help}"));
        self.line(format_args!("# TYPE hypermnesia_{name} {sort}"));
        for (labels, value) in samples {
            self.line(format_args!("hypermnesia_{name}{labels} {value}"));
        }
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        // Writing to a text cannot fail.
        _ = writeln!(self.0, "{line}");
    }

    fn node(&mut self, status: &Status) {
        let version = label("version", env!("CARGO_PKG_VERSION"));
        let node = format!(",{},{}", label("node", &status.node), label("cluster", &status.cluster));
        self.family("info", Sort::Gauge, "The process, always 1.", [(format!("{{{version}{node}}}"), 1.0)]);
        self.one("ready", "Whether reads and writes are served.", truth(status.ready));
        self.one("epoch", "The last opened epoch.", status.epoch as f64);
        self.one("started_seconds", "Start of the process, since 1970.", seconds(status.incarnation));
        self.one("memory_bytes", "Memory that all tables hold.", status.memory_bytes as f64);
        self.one("log_bytes", "Disc that the log takes.", status.log_bytes as f64);
        self.one(
            "image_bytes",
            "Disc that the image takes, at the last checkpoint.",
            status.image_bytes as f64,
        );
        let copied = [(String::new(), status.copied_bytes as f64)];
        self.family("copied_bytes_total", Sort::Counter, "Rows and digests that came in copies.", copied);
        let commits = [(String::new(), status.copied_commits as f64)];
        let what = "Transactions that were committed to tables while they were copied.";
        self.family("copied_commits_total", Sort::Counter, what, commits);
        self.one("snapshots", "Live snapshots.", status.snapshots as f64);
        let age = seconds(status.oldest_snapshot_age_ms);
        self.one("oldest_snapshot_age_seconds", "What it reads is kept; 0 without a snapshot.", age);
        self.one("continuations", "Open continuations; each pins a snapshot.", status.continuations as f64);
        self.one("locks_held", "Locks that are held.", status.locks.0 as f64);
        self.one("locks_waited_for", "Requests that wait for a lock.", status.locks.1 as f64);
        self.one("in_doubt", "Prepared transactions without an outcome.", status.in_doubt.len() as f64);
        let oldest = status.in_doubt.iter().map(|doubt| doubt.age_ms).max().unwrap_or(0);
        self.one("in_doubt_oldest_seconds", "Age of the oldest of them.", seconds(oldest));
    }

    fn members(&mut self, members: &[MemberStatus]) {
        let mut each = |name: &str, help: &str, of: fn(&MemberStatus) -> f64| {
            let samples = members.iter().map(|member| (labels(&[("member", &member.name)]), of(member)));
            self.family(name, Sort::Gauge, help, samples);
        };
        each("member_connected", "Whether there is a connection; 1 for the node itself.", |member| {
            truth(member.connected)
        });
        each("member_ready", "Whether it serves all its tables.", |member| truth(member.ready));
        each("member_unacknowledged_bytes", "Sent to it and not acknowledged.", |member| {
            member.unacknowledged_bytes as f64
        });
    }

    fn tables(&mut self, tables: &[TableStatus]) {
        let mut each = |name: &str, sort: Sort, help: &str, of: fn(&TableStatus) -> f64| {
            let samples = tables.iter().map(|table| (labels(&[("table", &table.name)]), of(table)));
            self.family(&format!("table_{name}"), sort, help, samples);
        };
        use Sort::{Counter, Gauge};
        each("rows", Gauge, "Rows here.", |table| table.rows as f64);
        each("bytes", Gauge, "Bytes of keys and rows here.", |table| table.bytes as f64);
        each("memory_bytes", Gauge, "Memory that it holds here.", |table| table.memory_bytes as f64);
        each("old_versions", Gauge, "Old versions, kept for a snapshot.", |table| table.old_versions as f64);
        each("deletions", Gauge, "Deletions, kept for a snapshot or two seconds.", |table| {
            table.deletions as f64
        });
        each("deadlines", Gauge, "Rows with a deadline.", |table| table.deadlines as f64);
        each("listeners", Gauge, "Who listens to its changes.", |table| table.listeners as f64);
        each("events", Gauge, "Changes that are kept for them.", |table| table.events as f64);
        each("hits_total", Counter, "Reads that found a row, of caches.", |table| table.hits as f64);
        each("misses_total", Counter, "Reads that found none.", |table| table.misses as f64);
        each("evictions_total", Counter, "Rows that went to make room.", |table| table.evictions as f64);
        each("expirations_total", Counter, "Rows removed past their deadline.", |table| {
            table.expirations as f64
        });
        let entries = tables.iter().flat_map(|table| {
            let of = |(index, entries): &(String, u64)| {
                (labels(&[("table", &table.name), ("index", index)]), *entries as f64)
            };
            table.index_entries.iter().map(of)
        });
        self.family("index_entries", Gauge, "Entries of an index.", entries);
    }
}

fn truth(holds: bool) -> f64 {
    f64::from(u8::from(holds))
}

fn seconds(ms: u64) -> f64 {
    ms as f64 / 1_000.0
}

fn labels(all: &[(&str, &str)]) -> String {
    let all: Vec<_> = all.iter().map(|(name, value)| label(name, value)).collect();
    format!("{{{}}}", all.join(","))
}

fn label(name: &str, value: &str) -> String {
    let escaped = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    format!("{name}=\"{escaped}\"")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Node;

    #[test]
    fn the_page_keeps_to_its_format_whatever_names_say() {
        // Aim: what reads the page is not led astray by a name, and every family says what it is before its numbers. Method: a
        // label with all that must be escaped; each line of a real page against the grammar.
        assert_eq!(labels(&[("table", "a\"b\\c\nd")]), "{table=\"a\\\"b\\\\c\\nd\"}");
        let node = Node::builder().name("n1").build().expect("an embedded node needs nothing");
        node.query("CREATE TABLE t (id INT PRIMARY KEY, n INT)", &[]).expect("new");
        node.query("CREATE INDEX by_n ON t (n)", &[]).expect("new");
        node.query("INSERT INTO t (id, n) VALUES (1, 1), (2, 2)", &[]).expect("written");
        let held = node.snapshot().expect("ready");
        let page = page(&node.status());
        drop(held);
        let mut family = String::new();
        for line in page.lines() {
            if let Some(said) = line.strip_prefix("# TYPE ") {
                let (name, sort) = said.split_once(' ').expect("a name and a sort");
                assert!(["gauge", "counter"].contains(&sort), "{line}");
                family = name.to_owned();
            } else if !line.starts_with("# HELP hypermnesia_") {
                let (series, value) = line.rsplit_once(' ').expect("a series and its value");
                assert_eq!(series.split('{').next(), Some(&*family), "{line}");
                assert!(value.parse::<f64>().is_ok(), "{line}");
            }
        }
        for line in [
            "hypermnesia_ready 1",
            "hypermnesia_snapshots 1",
            "hypermnesia_table_rows{table=\"t\"} 2",
            "hypermnesia_index_entries{table=\"t\",index=\"by_n\"} 2",
            "hypermnesia_member_connected{member=\"n1\"} 1",
        ] {
            assert!(page.lines().any(|said| said == line), "{line} is not in\n{page}");
        }
    }
}
