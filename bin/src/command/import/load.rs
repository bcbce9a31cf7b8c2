//! The second reading: rows are checked, gathered into batches, and several batches are on their way at a time. After the
//! first failure nothing more is sent, but everything that was sent is waited for, so that the counts are true.

use std::collections::{HashMap, HashSet};
use std::fmt;

use anyhow::{Context, Result, anyhow, bail};
use hypermnesia_rpc::client::{AttributeType, Client, Table, TableDefinition, Values};
use hypermnesia_rpc::{Error, ErrorKind, Value};
use tokio::task::{Id, JoinSet};

use super::super::attributes;
use super::Survey;
use super::check::{Good, Rules};
use crate::file::{Line, Reader, Source};
use crate::progress;

/// Rows of one batch: one transaction of about a hundred kilobytes for ordinary rows.
const BATCH_ROWS: usize = 1000;
/// Bytes after which a batch is sent although it has fewer rows: with one row of 8 MiB more it stays below the 16 MiB that a
/// message may have.
const BATCH_BYTES: usize = 4 << 20;
/// Batches on their way at a time: enough that reading, sending and committing overlap. Where values are unique it is one:
/// of two rows with the same value the later one in the file is the wrong one, also when its batch would be faster.
const BATCHES_AT_A_TIME: usize = 4;

/// How far it got.
#[derive(Debug, Default)]
pub(super) struct Loaded {
    /// Rows that are in.
    pub(super) rows_in: u64,
    /// Rows of which nobody knows.
    pub(super) rows_unknown: u64,
    /// The first thing that went wrong, by line.
    pub(super) failed: Option<Failed>,
}

/// What went wrong, and where in the file; line 0 where the text itself says it.
#[derive(Debug)]
pub(super) struct Failed {
    first_line: u64,
    last_line: u64,
    why: String,
}

impl Failed {
    fn at(line: u64, why: String) -> Failed {
        Failed { first_line: line, last_line: line, why }
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.first_line == self.last_line {
            true if self.first_line == 0 => f.write_str(&self.why),
            true => write!(f, "line {}: {}", self.first_line, self.why),
            false => write!(f, "lines {} to {}: {}", self.first_line, self.last_line, self.why),
        }
    }
}

/// Writes the file's rows. An error means that nothing was sent, or a fault of this program.
pub(super) async fn run(
    client: &Client,
    table: &TableDefinition,
    source: &Source,
    survey: &Survey,
) -> Result<Loaded> {
    let mut rows = Rows {
        reader: source.reader()?,
        order: column_order(table, survey.columns.names(), &source.name)?,
        rules: Rules::of(table)?,
    };
    let mut loading = Loading::new(client, table, survey.rows);
    let (mut batch, mut bad_line) = (Batch::default(), None);
    while loading.loaded.failed.is_none() {
        match rows.next() {
            Ok(Some((line, good, row))) => batch.add(line, good, row),
            Ok(None) => break,
            Err(failed) => {
                bad_line = Some(failed);
                break;
            }
        }
        if batch.is_full() {
            loading.send(std::mem::take(&mut batch)).await?;
        }
    }
    // What stands before a bad line is good: it is in, so that the line's number says where to go on.
    if loading.loaded.failed.is_none() && !batch.rows.is_empty() {
        loading.send(batch).await?;
    }
    let mut loaded = loading.all_done().await?;
    loaded.failed = loaded.failed.or(bad_line);
    Ok(loaded)
}

/// The file's rows as the table wants them.
struct Rows<'a> {
    reader: Reader<'a>,
    order: Order,
    rules: Rules,
}

impl Rows<'_> {
    /// The next row with its line, or what is wrong with it.
    fn next(&mut self) -> Result<Option<(u64, Good, Vec<Value>)>, Failed> {
        // It was read before, so this fails only when the file was changed; the text names the line.
        let next = self.reader.next().map_err(|error| Failed::at(0, format!("{error:#}")))?;
        let Some(line) = next else { return Ok(None) };
        let wrong = |error: anyhow::Error| Failed::at(line.number, format!("{error:#}"));
        let row = row(&line, &self.order).map_err(wrong)?;
        let good = self.rules.check(&row).map_err(wrong)?;
        Ok(Some((line.number, good, row)))
    }
}

/// For each attribute of the table: its name, its type, and the column of the file.
type Order = Vec<(String, AttributeType, Option<usize>)>;

fn column_order(table: &TableDefinition, columns: &[String], file: &str) -> Result<Order> {
    let missing = |name: &&String| !attributes(table).any(|(attribute, _)| attribute == name.as_str());
    if let Some(extra) = columns.iter().find(missing) {
        bail!("{file} has a column {extra:?}, table {:?} has no such attribute", table.name);
    }
    let place = |name: &str| columns.iter().position(|column| column == name);
    Ok(attributes(table).map(|(name, ty)| (name.to_owned(), ty, place(name))).collect())
}

fn row(line: &Line, order: &Order) -> Result<Vec<Value>> {
    let value = |(name, ty, column): &(String, AttributeType, Option<usize>)| {
        let Some(column) = column else { return Ok(Value::Null) };
        line.value(*column, name, *ty).with_context(|| format!("column {name:?}"))
    };
    order.iter().map(value).collect()
}

/// Rows that are written in one transaction.
#[derive(Default)]
struct Batch {
    rows: Vec<Values>,
    /// The line of each.
    lines: Vec<u64>,
    keys: HashSet<Vec<u8>>,
    bytes: usize,
}

impl Batch {
    fn add(&mut self, line: u64, good: Good, row: Vec<Value>) {
        self.rows.push(Values(row));
        self.lines.push(line);
        self.keys.insert(good.key);
        self.bytes += good.bytes;
    }

    fn is_full(&self) -> bool {
        self.rows.len() >= BATCH_ROWS || self.bytes >= BATCH_BYTES
    }
}

/// Batches on their way.
struct Loading {
    table: Table,
    at_a_time: usize,
    running: JoinSet<Loaded>,
    /// The keys that each of them writes: a later row of the same key must not overtake.
    keys: HashMap<Id, HashSet<Vec<u8>>>,
    loaded: Loaded,
    bar: progress::Progress,
}

impl Loading {
    fn new(client: &Client, table: &TableDefinition, rows: u64) -> Loading {
        let unique = table.indexes.iter().any(|index| index.unique);
        Loading {
            table: client.table(&table.name),
            at_a_time: if unique { 1 } else { BATCHES_AT_A_TIME },
            running: JoinSet::new(),
            keys: HashMap::new(),
            loaded: Loaded::default(),
            bar: progress::rows("writing", rows),
        }
    }

    fn add(&mut self, more: Loaded) {
        self.loaded.rows_in += more.rows_in;
        self.loaded.rows_unknown += more.rows_unknown;
        let line = |failed: &Option<Failed>| failed.as_ref().map_or(u64::MAX, |failed| failed.first_line);
        if line(&more.failed) < line(&self.loaded.failed) {
            self.loaded.failed = more.failed;
        }
        self.bar.at(self.loaded.rows_in);
    }

    async fn send(&mut self, batch: Batch) -> Result<()> {
        while self.running.len() >= self.at_a_time
            || !self.keys.values().all(|keys| keys.is_disjoint(&batch.keys))
        {
            self.one_done().await?;
        }
        if self.loaded.failed.is_some() {
            return Ok(()); // found while waiting for a place
        }
        let (table, keys) = (self.table.clone(), batch.keys);
        let task = self.running.spawn(write(table, batch.rows, batch.lines));
        self.keys.insert(task.id(), keys);
        Ok(())
    }

    async fn one_done(&mut self) -> Result<()> {
        if let Some(finished) = self.running.join_next_with_id().await {
            let (id, loaded) = finished.map_err(|error| anyhow!("a writer ended: {error}"))?;
            self.keys.remove(&id);
            self.add(loaded);
        }
        Ok(())
    }

    async fn all_done(mut self) -> Result<Loaded> {
        while !self.running.is_empty() {
            self.one_done().await?;
        }
        Ok(self.loaded)
    }
}

/// Writes a batch; where one of its rows is refused, row by row up to that one, to find its line.
async fn write(table: Table, rows: Vec<Values>, lines: Vec<u64>) -> Loaded {
    match table.put_many(rows.clone()).await {
        Ok(_) => Loaded { rows_in: rows.len() as u64, ..Loaded::default() },
        Err(error) if error.changed_nothing() && may_be_one_row(error.kind()) => {
            one_by_one(&table, rows, &lines).await
        }
        Err(error) => stopped(0, &lines, &error),
    }
}

async fn one_by_one(table: &Table, rows: Vec<Values>, lines: &[u64]) -> Loaded {
    for (n, row) in rows.into_iter().enumerate() {
        if let Err(error) = table.put(row).await {
            return stopped(n, &lines[n..=n], &error);
        }
    }
    Loaded { rows_in: lines.len() as u64, ..Loaded::default() }
}

/// Whether a refusal may be about a single row, or about too many at a time.
fn may_be_one_row(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::Invalid | ErrorKind::UniqueViolation | ErrorKind::Refused | ErrorKind::Limit)
}

fn stopped(rows_in: usize, lines: &[u64], error: &Error) -> Loaded {
    let (first_line, last_line) = (lines.first().copied().unwrap_or(0), lines.last().copied().unwrap_or(0));
    Loaded {
        rows_in: rows_in as u64,
        rows_unknown: if error.changed_nothing() { 0 } else { lines.len() as u64 },
        failed: Some(Failed { first_line, last_line, why: error.to_string() }),
    }
}
