//! Patterns: which rows of one table, along which path, how many. A [`MatchPlan`] is made from one for the definition and the
//! size of the moment; whoever holds the rows walks what it names ([`MatchPlan::reaches`]) and keeps the rows that it holds
//! for ([`MatchPlan::holds`]). Paths are chosen by the same rules as those of a SELECT.

use std::sync::Arc;

use hypermnesia_store::{IndexId, Key, KeyRange, Kind, Row, TableDef};

use crate::access::Direction;
use crate::bind::BoundTable;
use crate::error::{ErrorKind, Fault, QueryError, Span};
use crate::eval::{Tuple, truth_of};
use crate::explain;
use crate::expression::{Expr, Names};
use crate::filter::{Filter, position};
use crate::plan::path::Lookup;
use crate::plan::{Path, Via, conjuncts};
use crate::suggest::with_suggestion;

/// A [`Filter`] with the path to take, the direction and a limit. Every filter is a pattern too.
///
/// ```
/// use hypermnesia_query::{Filter, Pattern};
/// let newest = Pattern::of(Filter::equal("state", "open")).in_key_order().backward().limit(10);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Pattern {
    pub(crate) filter: Filter,
    pub(crate) along: Along,
    pub(crate) backward: bool,
    pub(crate) limit: usize,
}

/// Whose order the rows come in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Along {
    Any,
    Key,
    Index(String),
}

impl From<Filter> for Pattern {
    fn from(filter: Filter) -> Pattern {
        Pattern::of(filter)
    }
}

impl From<&Filter> for Pattern {
    fn from(filter: &Filter) -> Pattern {
        Pattern::of(filter.clone())
    }
}

impl From<&Pattern> for Pattern {
    fn from(pattern: &Pattern) -> Pattern {
        pattern.clone()
    }
}

impl Pattern {
    /// The rows of a filter, by the path of least cost, in the order of that path.
    pub fn of(filter: Filter) -> Pattern {
        Pattern { filter, along: Along::Any, backward: false, limit: usize::MAX }
    }

    /// In the order of keys, which only an ordered set has; no index is used.
    #[must_use]
    pub fn in_key_order(mut self) -> Pattern {
        self.along = Along::Key;
        self
    }

    /// Along this index, in its order. One over the values of a list needs a [`Filter::contains`] to begin with.
    #[must_use]
    pub fn along_index(mut self, index: impl Into<String>) -> Pattern {
        self.along = Along::Index(index.into());
        self
    }

    /// From the greatest to the smallest, where there is an order.
    #[must_use]
    pub fn backward(mut self) -> Pattern {
        self.backward = true;
        self
    }

    /// At most so many rows. Without an order of the pattern's choice it is not said which.
    #[must_use]
    pub fn limit(mut self, rows: usize) -> Pattern {
        self.limit = rows;
        self
    }

    /// The limit, `usize::MAX` when there is none.
    pub fn rows_max(&self) -> usize {
        self.limit
    }

    /// The filter.
    pub fn filter(&self) -> &Filter {
        &self.filter
    }
}

/// Where rows are to be looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reach {
    /// At one key.
    Key(Key),
    /// In a range of keys.
    Keys(KeyRange),
    /// In a range of the entries of an index.
    Entries(IndexId, KeyRange),
}

/// How the rows of a pattern are found in one table. It holds for the definition that it was made of.
#[derive(Debug)]
pub struct MatchPlan {
    table: BoundTable,
    path: Path,
    /// The whole filter.
    filter: Expr,
    /// What the path does not fulfil by itself.
    rest: Vec<Expr>,
    /// A condition without attributes does not hold.
    nothing: bool,
    limit: usize,
    /// Where faults have their places.
    text: String,
}

impl MatchPlan {
    /// The plan for a table with about so many rows.
    ///
    /// # Errors
    /// [`QueryError`]: an attribute or index that is not there, values that cannot be compared, a condition that cannot be
    /// read, an order that the table does not have.
    pub fn new(def: Arc<TableDef>, rows: u64, pattern: &Pattern) -> Result<MatchPlan, QueryError> {
        let table = BoundTable::new(def, None);
        let bound = pattern.filter.bind(&table)?;
        let (mut conditions, once): (Vec<Expr>, Vec<Expr>) =
            conjuncts(bound.clone()).into_iter().partition(|condition| condition.slots() != 0);
        let (mut nothing, text) = (false, pattern.filter.text());
        for condition in &once {
            let truth = truth_of(condition, Tuple::EMPTY).map_err(|fault| placed(fault, text))?;
            nothing |= truth != Some(true);
        }
        let mut path = path_of(&table.def, rows as f64, &conditions, &pattern.along)
            .map_err(|fault| fault.in_text(""))?;
        path.backward = pattern.backward;
        let used = std::mem::take(&mut path.used);
        let mut n = 0;
        conditions.retain(|_| {
            n += 1;
            !used.contains(&(n - 1))
        });
        Ok(MatchPlan {
            table,
            path,
            filter: bound,
            rest: conditions,
            nothing,
            limit: pattern.limit,
            text: text.to_owned(),
        })
    }

    /// Where to look, in this order, each in the [`MatchPlan::direction`].
    ///
    /// # Errors
    /// [`QueryError`] for a bound that cannot be a key.
    pub fn reaches(&self) -> Result<Vec<Reach>, QueryError> {
        if self.nothing || self.limit == 0 {
            return Ok(Vec::new());
        }
        let def = &self.table.def;
        let lookups = self.path.lookups(def, Tuple::EMPTY).map_err(|fault| placed(fault, &self.text))?;
        let reach = |lookup| match (lookup, self.path.via) {
            (Lookup::Key(key), _) => Reach::Key(key),
            (Lookup::Range(range), Via::Key) => Reach::Keys(range),
            (Lookup::Range(range), Via::Index(n)) => Reach::Entries(def.indexes[n].id, range),
        };
        Ok(lookups.into_iter().map(reach).collect())
    }

    /// Whether a row that was found there is meant.
    ///
    /// # Errors
    /// [`QueryError`] for what cannot be worked out, such as a division by zero.
    pub fn holds(&self, row: &Row) -> Result<bool, QueryError> {
        all_hold(&self.rest, row).map_err(|fault| placed(fault, &self.text))
    }

    /// Whether a row that was found in any way is meant.
    ///
    /// # Errors
    /// As [`MatchPlan::holds`].
    pub fn fulfils(&self, row: &Row) -> Result<bool, QueryError> {
        all_hold(std::slice::from_ref(&self.filter), row).map_err(|fault| placed(fault, &self.text))
    }

    /// Whether a row may be found at several of these reaches, so that whoever walks them has to pass over the second.
    pub fn may_repeat(&self, reaches: usize) -> bool {
        reaches > 1 && crate::plan::path::is_multi(&self.table.def, self.path.via)
    }

    /// Which way to walk.
    pub fn direction(&self) -> Direction {
        if self.path.backward { Direction::Backward } else { Direction::Forward }
    }

    /// At most so many rows.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// The definition it was made of.
    pub fn def(&self) -> &TableDef {
        &self.table.def
    }

    /// The positions of attributes by their names.
    ///
    /// # Errors
    /// [`QueryError`] with a suggestion.
    pub fn positions(&self, names: &[&str]) -> Result<Vec<usize>, QueryError> {
        let position = |name: &&str| position(&self.table.def, name).map_err(|fault| fault.in_text(""));
        names.iter().map(position).collect()
    }

    /// The path that is taken and what is looked at row by row, in words, as EXPLAIN says it.
    pub fn explain(&self) -> String {
        if self.nothing {
            return format!("{}: nothing, the filter never holds", self.table.def.name);
        }
        let tables = std::slice::from_ref(&self.table);
        let names = Names { tables, slots: Vec::new() };
        let mut line = explain::reading_text(&self.table, &self.path, &names);
        line.push_str(&explain::conditions_text(", filter ", &self.rest, &names));
        if self.limit < usize::MAX {
            line.push_str(&format!(", limit {}", self.limit));
        }
        line
    }
}

/// The fault with its place, if the text is known that it is a place of.
fn placed(fault: Fault, text: &str) -> QueryError {
    let span = if text.is_empty() { Span::NONE } else { fault.span };
    Fault { span, ..fault }.in_text(text)
}

fn all_hold(conditions: &[Expr], row: &Row) -> Result<bool, Fault> {
    if conditions.is_empty() {
        return Ok(true);
    }
    let rows = [Some(row.clone())];
    for condition in conditions {
        if truth_of(condition, Tuple { rows: &rows, slots: &[] })? != Some(true) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn path_of(def: &TableDef, rows: f64, conditions: &[Expr], along: &Along) -> Result<Path, Fault> {
    match along {
        Along::Any => Ok(Path::best(def, 0, rows, conditions, 0)),
        Along::Key if def.kind != Kind::OrderedSet => {
            let message = format!("table {:?} has no order of keys, only an ordered set has", def.name);
            Err(Fault::new(ErrorKind::Unsupported, Span::NONE, message))
        }
        Along::Key => Ok(along_or_whole(def, Via::Key, rows, conditions)),
        Along::Index(name) => {
            let Some(n) = def.indexes.iter().position(|index| index.name == *name) else {
                let message = format!("table {:?} has no index {name:?}", def.name);
                let known = def.indexes.iter().map(|index| index.name.as_str());
                return Err(with_suggestion(Fault::new(ErrorKind::Name, Span::NONE, message), name, known));
            };
            let path = along_or_whole(def, Via::Index(n), rows, conditions);
            if def.indexes[n].multi && path.is_whole() {
                let message = format!(
                    "index {name:?} is over the values of a list: the filter has to name one it contains"
                );
                return Err(Fault::new(ErrorKind::Unsupported, Span::NONE, message));
            }
            Ok(path)
        }
    }
}

fn along_or_whole(def: &TableDef, via: Via, rows: f64, conditions: &[Expr]) -> Path {
    Path::along(def, 0, via, rows, conditions, 0).unwrap_or_else(|| Path::whole(via, rows))
}
