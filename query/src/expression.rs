//! Bound expressions: names are positions, parameters are constants, and what could be computed before the first row is.

use std::fmt;

use hypermnesia_store::{Type, Value};

use crate::bind::BoundTable;
use crate::error::Span;
use crate::function::Function;
use crate::syntax::Binary;

/// Where an expression stands, for messages. Two expressions are the same wherever they stand.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place(pub(crate) Span);

impl PartialEq for Place {
    fn eq(&self, _: &Place) -> bool {
        true
    }
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Expr {
    Constant(Value),
    /// An attribute of the table in this slot.
    Column {
        slot: usize,
        attribute: usize,
        place: Place,
    },
    /// An aggregate, until grouping is resolved.
    Aggregate(usize),
    /// A value of a group: its keys, then its aggregates.
    Slot(usize),
    Not(Box<Expr>, Place),
    And(Vec<Expr>, Place),
    Or(Vec<Expr>, Place),
    Negate(Box<Expr>, Place),
    Binary(Binary, Box<Expr>, Box<Expr>, Place),
    IsTruth(Box<Expr>, Option<bool>, Place),
    IsNull(Box<Expr>),
    InList(Box<Expr>, Vec<Expr>),
    Between(Box<Expr>, Box<Expr>, Box<Expr>),
    Like {
        value: Box<Expr>,
        pattern: Box<Expr>,
        escape: Option<char>,
        fold: bool,
        place: Place,
    },
    Case {
        operand: Option<Box<Expr>>,
        branches: Vec<(Expr, Expr)>,
        otherwise: Box<Expr>,
        place: Place,
    },
    Cast(Box<Expr>, Type, Place),
    List(Vec<Expr>),
    Map(Vec<(Expr, Expr)>),
    Call(Function, Vec<Expr>, Place),
}

impl Expr {
    pub(crate) fn is_constant(&self) -> bool {
        matches!(self, Expr::Constant(_))
    }

    /// The parts it is made of.
    pub(crate) fn children(&self) -> Vec<&Expr> {
        match self {
            Expr::Constant(_) | Expr::Column { .. } | Expr::Aggregate(_) | Expr::Slot(_) => Vec::new(),
            Expr::Not(e, _)
            | Expr::Negate(e, _)
            | Expr::IsTruth(e, ..)
            | Expr::IsNull(e)
            | Expr::Cast(e, ..) => vec![e],
            Expr::And(all, _) | Expr::Or(all, _) | Expr::List(all) | Expr::Call(_, all, _) => {
                all.iter().collect()
            }
            Expr::Binary(_, a, b, _) => vec![a, b],
            Expr::InList(e, list) => std::iter::once(&**e).chain(list).collect(),
            Expr::Between(a, b, c) => vec![a, b, c],
            Expr::Like { value, pattern, .. } => vec![value, pattern],
            Expr::Case { operand, branches, otherwise, .. } => operand
                .iter()
                .map(|e| &**e)
                .chain(branches.iter().flat_map(|(when, then)| [when, then]))
                .chain([&**otherwise])
                .collect(),
            Expr::Map(pairs) => pairs.iter().flat_map(|(k, v)| [k, v]).collect(),
        }
    }

    /// As [`Expr::children`], to be replaced.
    pub(crate) fn children_mut(&mut self) -> Vec<&mut Expr> {
        match self {
            Expr::Constant(_) | Expr::Column { .. } | Expr::Aggregate(_) | Expr::Slot(_) => Vec::new(),
            Expr::Not(e, _)
            | Expr::Negate(e, _)
            | Expr::IsTruth(e, ..)
            | Expr::IsNull(e)
            | Expr::Cast(e, ..) => vec![e],
            Expr::And(all, _) | Expr::Or(all, _) | Expr::List(all) | Expr::Call(_, all, _) => {
                all.iter_mut().collect()
            }
            Expr::Binary(_, a, b, _) => vec![a, b],
            Expr::InList(e, list) => std::iter::once(&mut **e).chain(list).collect(),
            Expr::Between(a, b, c) => vec![a, b, c],
            Expr::Like { value, pattern, .. } => vec![value, pattern],
            Expr::Case { operand, branches, otherwise, .. } => operand
                .iter_mut()
                .map(|e| &mut **e)
                .chain(branches.iter_mut().flat_map(|(when, then)| [when, then]))
                .chain([&mut **otherwise])
                .collect(),
            Expr::Map(pairs) => pairs.iter_mut().flat_map(|(k, v)| [k, v]).collect(),
        }
    }

    /// The slots it reads, one bit each.
    pub(crate) fn slots(&self) -> u32 {
        match self {
            Expr::Column { slot, .. } => 1 << slot,
            other => other.children().into_iter().fold(0, |mask, child| mask | child.slots()),
        }
    }

    /// Its text, for EXPLAIN.
    pub(crate) fn show<'a>(&'a self, names: &'a Names<'a>) -> Shown<'a> {
        Shown { expr: self, names }
    }
}

/// What columns and group values are called.
pub(crate) struct Names<'a> {
    pub(crate) tables: &'a [BoundTable],
    /// Texts of the group's values.
    pub(crate) slots: Vec<String>,
}

pub(crate) struct Shown<'a> {
    expr: &'a Expr,
    names: &'a Names<'a>,
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.names;
        let show = |e| Shown { expr: e, names };
        let list = |f: &mut fmt::Formatter<'_>, all: &[Expr], between: &str| {
            for (n, e) in all.iter().enumerate() {
                write!(f, "{}{}", if n == 0 { "" } else { between }, Shown { expr: e, names })?;
            }
            Ok::<(), fmt::Error>(())
        };
        match self.expr {
            Expr::Constant(value) => write!(f, "{value}"),
            Expr::Column { slot, attribute, .. } => {
                let table = &self.names.tables[*slot];
                if self.names.tables.len() > 1 {
                    write!(f, "{}.", table.alias)?;
                }
                f.write_str(&table.def.attributes[*attribute].name)
            }
            Expr::Aggregate(n) => write!(f, "aggregate {n}"),
            Expr::Slot(n) => f.write_str(self.names.slots.get(*n).map_or("?", String::as_str)),
            Expr::Not(e, _) => write!(f, "NOT {}", show(e)),
            Expr::And(all, _) => list(f, all, " AND "),
            Expr::Or(all, _) => {
                f.write_str("(")?;
                list(f, all, " OR ")?;
                f.write_str(")")
            }
            Expr::Negate(e, _) => write!(f, "-{}", show(e)),
            Expr::Binary(op, a, b, _) if op.is_comparison() => {
                write!(f, "{} {} {}", show(a), op.sign(), show(b))
            }
            Expr::Binary(op, a, b, _) => write!(f, "({} {} {})", show(a), op.sign(), show(b)),
            Expr::IsTruth(e, Some(truth), _) => {
                write!(f, "{} IS {}", show(e), truth.to_string().to_uppercase())
            }
            Expr::IsTruth(e, None, _) => write!(f, "{} IS UNKNOWN", show(e)),
            Expr::IsNull(e) => write!(f, "{} IS NULL", show(e)),
            Expr::InList(e, all) => {
                write!(f, "{} IN (", show(e))?;
                list(f, all, ", ")?;
                f.write_str(")")
            }
            Expr::Between(a, b, c) => write!(f, "{} BETWEEN {} AND {}", show(a), show(b), show(c)),
            Expr::Like { value, pattern, fold, .. } => {
                write!(f, "{} {} {}", show(value), if *fold { "ILIKE" } else { "LIKE" }, show(pattern))
            }
            Expr::Case { .. } => f.write_str("CASE ... END"),
            Expr::Cast(e, ty, _) => write!(f, "CAST({} AS {ty})", show(e)),
            Expr::List(all) => {
                f.write_str("[")?;
                list(f, all, ", ")?;
                f.write_str("]")
            }
            Expr::Map(_) => f.write_str("{...}"),
            Expr::Call(function, all, _) => {
                write!(f, "{}(", function.name())?;
                list(f, all, ", ")?;
                f.write_str(")")
            }
        }
    }
}
