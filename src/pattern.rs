//! Rows by what they hold: matching, projecting, counting, deleting and changing them by a [`Pattern`]. The language of
//! filters and the choice of the path are the room `query`'s, the same as for SQL; here the path is walked, over a snapshot
//! or inside a transaction. Attributes are looked at in the bytes of the row; only rows that are meant are decoded.

use std::ops::ControlFlow;
use std::sync::Arc;

use hypermnesia_query::{MatchPlan, Pattern};
use hypermnesia_store::{Key, Row, Table as Open, Value};

use crate::error::Result;
use crate::options::TxOptions;
use crate::shape::Shape;
use crate::snapshot::Snapshot;
use crate::table::Table;
use crate::transaction;

mod change;
mod chunked;
mod inside;
mod walker;

pub(crate) use walker::Walker;

/// The plan for a table as it is now.
pub(crate) fn plan(open: &Open, pattern: &Pattern) -> Result<MatchPlan> {
    Ok(MatchPlan::new(Arc::new(open.def().clone()), open.len(), pattern)?)
}

/// The attributes at these positions.
fn projected(row: &Row, positions: &[usize]) -> Vec<Value> {
    positions.iter().map(|position| row.attribute(*position).to_value()).collect()
}

/// Rows by a pattern, in one snapshot. See [`Pattern`] and [`Filter`](crate::Filter).
///
/// ```
/// use hypermnesia::{Filter, Node, Pattern, Record, Value};
///
/// #[derive(Record, Debug, PartialEq)]
/// #[record(table = "people", kind = "ordered_set")]
/// struct Person {
///     #[record(key)]
///     id: i64,
///     #[record(index)]
///     country: String,
///     age: Option<i64>,
/// }
///
/// let node = Node::builder().build()?;
/// let people = node.create_table_of::<Person>()?;
/// for (id, country, age) in [(1, "BE", Some(36)), (2, "NL", Some(17)), (3, "BE", None)] {
///     people.insert(&Person { id, country: country.into(), age })?;
/// }
/// let belgian = Filter::equal("country", "BE");
/// assert_eq!(people.matching(&belgian)?.len(), 2);
/// assert_eq!(people.project(Filter::at_least("age", 18), &["id"])?, [[Value::Int(1)]]);
/// assert_eq!(people.count_matching(Filter::is_null("age"))?, 1);
/// assert!(people.explain(&belgian)?.contains("index by_country range (country = 'BE')"));
///
/// let last = people.matching(Pattern::of(Filter::everything()).in_key_order().backward().limit(1))?;
/// assert_eq!(last[0].id, 3);
/// assert_eq!(people.update_matching(&belgian, &[("age", Value::Int(40))])?, 2);
/// assert_eq!(people.delete_matching(Filter::less("age", 18))?, 1);
/// # Ok::<(), hypermnesia::Error>(())
/// ```
impl<S: Shape> Table<S> {
    /// The rows of a pattern.
    ///
    /// # Errors
    /// As [`Table::get`], and [`Error::Query`](crate::Error::Query) for a pattern that does not fit the table.
    pub fn matching(&self, pattern: impl Into<Pattern>) -> Result<Vec<S::Shown>> {
        let pattern = pattern.into();
        self.here_or(
            |snapshot| snapshot.matching(self, pattern.clone()),
            || self.run(|tx| tx.matching(self, pattern.clone())),
        )
    }

    /// Some attributes of the rows of a pattern, in this order.
    ///
    /// # Errors
    /// As [`Table::matching`].
    pub fn project(&self, pattern: impl Into<Pattern>, attributes: &[&str]) -> Result<Vec<Vec<Value>>> {
        let pattern = pattern.into();
        self.here_or(
            |snapshot| snapshot.project(self, pattern.clone(), attributes),
            || self.run(|tx| tx.project(self, pattern.clone(), attributes)),
        )
    }

    /// How many rows a pattern has.
    ///
    /// # Errors
    /// As [`Table::matching`].
    pub fn count_matching(&self, pattern: impl Into<Pattern>) -> Result<u64> {
        let pattern = pattern.into();
        self.here_or(
            |snapshot| snapshot.count_matching(self, pattern.clone()),
            || self.run(|tx| tx.count_matching(self, pattern.clone())),
        )
    }

    /// The path that a pattern takes now, in words: which key, range or index, and what is looked at row by row. Reads
    /// nothing; row counts are guesses.
    ///
    /// # Errors
    /// As [`Table::matching`].
    pub fn explain(&self, pattern: impl Into<Pattern>) -> Result<String> {
        Ok(plan(&*self.open()?, &pattern.into())?.explain())
    }

    /// Deletes the rows of a pattern in one transaction and says how many there were.
    ///
    /// # Errors
    /// As a transaction; [`Error::Query`](crate::Error::Query); [`Error::TooLarge`](crate::Error::TooLarge) for more rows
    /// than one transaction may write, and then nothing is deleted: see [`Table::delete_matching_in_chunks`].
    pub fn delete_matching(&self, pattern: impl Into<Pattern>) -> Result<u64> {
        let pattern = pattern.into();
        transaction::run(&self.core, &TxOptions::default(), |tx| tx.delete_matching(self, &pattern))
    }

    /// Gives attributes of the rows of a pattern new values, in one transaction, and says how many rows that were. A row
    /// keeps its deadline. Attributes of the key stay.
    ///
    /// # Errors
    /// As [`Table::delete_matching`]; [`Error::NoSuchAttribute`](crate::Error::NoSuchAttribute),
    /// [`Error::Row`](crate::Error::Row).
    pub fn update_matching(&self, pattern: impl Into<Pattern>, changes: &[(&str, Value)]) -> Result<u64> {
        let pattern = pattern.into();
        transaction::run(&self.core, &TxOptions::default(), |tx| tx.update_matching(self, &pattern, changes))
    }

    /// Puts what `change` makes of each row of a pattern in its place, in one transaction, and says how many rows that were.
    /// The key has to stay, the deadline does. `change` may run again when the transaction does.
    ///
    /// # Errors
    /// As [`Table::delete_matching`]; [`Error::Aborted`](crate::Error::Aborted) when a row got another key.
    pub fn replace_matching(
        &self,
        pattern: impl Into<Pattern>,
        mut change: impl FnMut(S::Shown) -> S::Shown,
    ) -> Result<u64>
    where
        S::Shown: std::borrow::Borrow<S::Given>,
    {
        let pattern = pattern.into();
        transaction::run(&self.core, &TxOptions::default(), |tx| {
            tx.replace_matching(self, &pattern, &mut change)
        })
    }
}

impl Snapshot {
    /// Shows the rows of a plan with their keys, until told to stop.
    fn search(
        &self,
        open: &Arc<Open>,
        plan: MatchPlan,
        show: impl FnMut(&Key, &Row) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        self.search_unless(open, plan, &|| false, show)
    }

    fn search_unless(
        &self,
        open: &Arc<Open>,
        plan: MatchPlan,
        stop: &dyn Fn() -> bool,
        mut show: impl FnMut(&Key, &Row) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        self.check(open.def())?;
        let mut walker = Walker::new(open, plan)?;
        while let Some((key, row)) = walker.next_unless(self, stop)? {
            if show(&key, &row)?.is_break() {
                break;
            }
        }
        Ok(())
    }

    /// The rows of a pattern.
    ///
    /// # Errors
    /// As [`Table::matching`]; [`Error::SchemaChanged`](crate::Error::SchemaChanged) when the definition changes meanwhile.
    pub fn matching<S: Shape>(&self, table: &Table<S>, pattern: impl Into<Pattern>) -> Result<Vec<S::Shown>> {
        let open = table.open()?;
        let mut rows = Vec::new();
        self.search(&open, plan(&open, &pattern.into())?, |_, row| {
            rows.push(S::decode(open.def(), row)?);
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(rows)
    }

    /// Shows the rows of a pattern as they are stored, one at a time, until told to stop: for more of them than should be
    /// held at once.
    ///
    /// # Errors
    /// As [`Snapshot::matching`].
    pub fn each_matching<S: Shape>(
        &self,
        table: &Table<S>,
        pattern: impl Into<Pattern>,
        mut show: impl FnMut(&Row) -> ControlFlow<()>,
    ) -> Result<()> {
        let open = table.open()?;
        self.search(&open, plan(&open, &pattern.into())?, |_, row| Ok(show(row)))
    }

    /// As [`Snapshot::each_matching`]; also ends when `stop` says so, which is asked every thousand rows or so that are looked
    /// at, whether or not they are meant: for whoever has a deadline.
    ///
    /// # Errors
    /// As [`Snapshot::matching`].
    pub fn each_matching_unless<S: Shape>(
        &self,
        table: &Table<S>,
        pattern: impl Into<Pattern>,
        stop: impl Fn() -> bool,
        mut show: impl FnMut(&Row) -> ControlFlow<()>,
    ) -> Result<()> {
        let open = table.open()?;
        self.search_unless(&open, plan(&open, &pattern.into())?, &stop, |_, row| Ok(show(row)))
    }

    /// Some attributes of the rows of a pattern, in this order.
    ///
    /// # Errors
    /// As [`Snapshot::matching`].
    pub fn project<S: Shape>(
        &self,
        table: &Table<S>,
        pattern: impl Into<Pattern>,
        attributes: &[&str],
    ) -> Result<Vec<Vec<Value>>> {
        let open = table.open()?;
        let plan = plan(&open, &pattern.into())?;
        let positions = plan.positions(attributes)?;
        let mut rows = Vec::new();
        self.search(&open, plan, |_, row| {
            rows.push(projected(row, &positions));
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(rows)
    }

    /// How many rows a pattern has.
    ///
    /// # Errors
    /// As [`Snapshot::matching`].
    pub fn count_matching<S: Shape>(&self, table: &Table<S>, pattern: impl Into<Pattern>) -> Result<u64> {
        let open = table.open()?;
        let mut count = 0;
        self.search(&open, plan(&open, &pattern.into())?, |_, _| {
            count += 1;
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(count)
    }
}
