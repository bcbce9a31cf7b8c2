//! The ways to the rows of one table: its key, or an index, with equalities on the leading attributes and a range on the
//! next one; or the whole table. Which one costs least is judged by the row count and fixed guesses about conditions.
//!
//! A condition `attribute = value` finds exactly the keys that are equal in SQL: 1 and 1.0 are equal numbers but two keys,
//! so an attribute of type `any` is looked up under both, one of type `int` or `float` under the form that it stores.
//! Comparisons across types follow the one total order, in a scan as in a range, so both find the same rows.

use hypermnesia_store::{Key, KeyRange, Kind, TableDef, Type, Value, ValueRef};
use std::ops::Bound;

use crate::error::{ErrorKind, Fault, Span};
use crate::eval::{self, Tuple, like, number};
use crate::expression::Expr;
use crate::function::Function;
use crate::limits::LOOKUPS_MAX;
use crate::syntax::Binary;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Via {
    Key,
    /// By its position in the definition.
    Index(usize),
}

/// What one leading attribute must equal.
#[derive(Clone, Debug)]
pub(crate) enum Equal {
    One(Expr),
    Any(Vec<Expr>),
    Null,
}

/// What the attribute after the equal ones is limited to. The flag says whether the bound itself belongs to it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Range {
    pub(crate) low: Option<(Expr, bool)>,
    pub(crate) high: Option<(Expr, bool)>,
    pub(crate) text_prefix: Option<String>,
}

#[derive(Clone, Debug)]
pub(crate) struct Path {
    pub(crate) via: Via,
    pub(crate) equal: Vec<Equal>,
    pub(crate) range: Option<Range>,
    pub(crate) backward: bool,
    /// Rows it is expected to find.
    pub(crate) rows: f64,
    pub(crate) cost: f64,
    /// Conditions that it fulfils wholly, by their position among those given.
    pub(crate) used: Vec<usize>,
}

/// What to ask the access for.
#[derive(Debug, PartialEq)]
pub(crate) enum Lookup {
    Key(Key),
    Range(KeyRange),
}

impl Path {
    /// All rows in the order of this key or index.
    pub(crate) fn whole(via: Via, count: f64) -> Path {
        // The count may be late, so a small table is not scanned where a lookup is possible.
        let most = count.max(100.0);
        let cost = if via == Via::Key { most + 1.0 } else { 3.0 * most + 2.0 };
        Path { via, equal: Vec::new(), range: None, backward: false, rows: count, cost, used: Vec::new() }
    }

    pub(crate) fn columns<'a>(&self, def: &'a TableDef) -> &'a [usize] {
        columns(def, self.via)
    }

    pub(crate) fn is_whole(&self) -> bool {
        self.equal.is_empty() && self.range.is_none()
    }

    /// Whether its rows come in the order of its columns.
    pub(crate) fn is_ordered(&self, def: &TableDef) -> bool {
        is_ordered(def, self.via) || (self.via == Via::Key && self.equal.len() == def.key.len())
    }

    /// The cheapest path for these conditions, whose other sides may read the bound slots.
    pub(crate) fn best(def: &TableDef, slot: usize, count: f64, conditions: &[Expr], bound: u32) -> Path {
        let vias = std::iter::once(Via::Key).chain((0..def.indexes.len()).map(Via::Index));
        let paths = vias.filter_map(|via| Path::along(def, slot, via, count, conditions, bound));
        paths.fold(Path::whole(Via::Key, count), |best, path| if path.cost < best.cost { path } else { best })
    }

    /// The path along this key or index, if a condition narrows it.
    pub(crate) fn along(
        def: &TableDef,
        slot: usize,
        via: Via,
        count: f64,
        conditions: &[Expr],
        bound: u32,
    ) -> Option<Path> {
        if is_multi(def, via) {
            return Path::containing(def, slot, via, count, conditions, bound);
        }
        let columns = columns(def, via);
        let mut path = Path::whole(via, count);
        let (mut lookups, mut rows) = (1_usize, count);
        for &column in columns {
            let Some((n, equal)) = find_equal(slot, column, conditions, bound) else { break };
            let values = if let Equal::Any(list) = &equal { list.len().max(1) } else { 1 };
            if lookups.saturating_mul(values) > LOOKUPS_MAX {
                break;
            }
            lookups *= values;
            // A guess without statistics: one value of an attribute is on a hundredth of the rows.
            rows = rows * 0.01 * values as f64;
            path.equal.push(equal);
            path.used.push(n);
        }
        let unique = match via {
            Via::Key => def.kind != Kind::Bag,
            Via::Index(n) => def.indexes[n].unique,
        };
        let complete = path.equal.len() == columns.len();
        if via == Via::Key && def.kind != Kind::OrderedSet && !complete {
            return None;
        }
        if complete && unique {
            rows = (lookups as f64).min(count);
        } else if !complete {
            rows *= path.add_range(slot, columns[path.equal.len()], conditions, bound);
        }
        if path.is_whole() {
            return None;
        }
        path.rows = rows.clamp(count.min(1.0), count.max(1.0));
        let per_row = if via == Via::Key { 1.0 } else { 3.0 };
        path.cost = path.rows * per_row + lookups as f64 * 1.5;
        Some(path)
    }

    /// The path along an index over the values of a list, if a condition asks for one of them.
    fn containing(
        def: &TableDef,
        slot: usize,
        via: Via,
        count: f64,
        conditions: &[Expr],
        bound: u32,
    ) -> Option<Path> {
        let &[column] = columns(def, via) else { return None };
        let wanted = |(n, condition)| Some((n, contained(slot, column, condition, bound)?));
        let (n, value) = conditions.iter().enumerate().find_map(wanted)?;
        let mut path = Path::whole(via, count);
        path.equal.push(Equal::One(value.clone()));
        path.used.push(n);
        let unique = matches!(via, Via::Index(n) if def.indexes[n].unique);
        path.rows = if unique { 1.0_f64.min(count) } else { (count * 0.01).clamp(count.min(1.0), count) };
        path.cost = path.rows * 3.0 + 1.5;
        Some(path)
    }

    /// Whether a row may be met more than once: under two forms of one number in its list.
    pub(crate) fn may_repeat(&self, def: &TableDef, lookups: &[Lookup]) -> bool {
        is_multi(def, self.via) && (lookups.len() > 1 || self.is_whole())
    }

    /// Takes what limits the column to a range; returns the guessed part of rows that is left.
    fn add_range(&mut self, slot: usize, column: usize, conditions: &[Expr], bound: u32) -> f64 {
        let mut range = Range::default();
        for (n, condition) in conditions.iter().enumerate() {
            if let Some((op, other)) = comparison_with(slot, column, condition, bound) {
                let place = match op {
                    Binary::Greater | Binary::GreaterOrEqual => &mut range.low,
                    Binary::Less | Binary::LessOrEqual => &mut range.high,
                    _ => continue,
                };
                if place.is_none() {
                    *place =
                        Some((other.clone(), matches!(op, Binary::GreaterOrEqual | Binary::LessOrEqual)));
                    self.used.push(n);
                }
            }
        }
        if range.low.is_none() && range.high.is_none() {
            let found =
                conditions.iter().enumerate().find_map(|(n, c)| Some((n, text_prefix(slot, column, c)?)));
            let Some((n, (prefix, exact))) = found else { return 1.0 };
            range.text_prefix = Some(prefix);
            self.used.extend(exact.then_some(n));
            self.range = Some(range);
            return 0.05;
        }
        let part = if range.low.is_some() && range.high.is_some() { 0.1 } else { 0.3 };
        self.range = Some(range);
        part
    }

    /// What to ask for, in the order of the path, when the bound slots hold these rows.
    pub(crate) fn lookups(&self, def: &TableDef, tuple: Tuple<'_>) -> Result<Vec<Lookup>, Fault> {
        let columns = self.columns(def);
        let mut prefixes: Vec<Vec<Value>> = vec![Vec::new()];
        for (equal, &column) in self.equal.iter().zip(columns) {
            // The values of a list are of any type.
            let ty = if is_multi(def, self.via) { Type::Any } else { def.attributes[column].ty };
            let candidates = equal.candidates(ty, tuple)?;
            let extended = prefixes.iter().flat_map(|prefix| {
                candidates.iter().map(move |value| prefix.iter().chain([value]).cloned().collect())
            });
            prefixes = extended.collect();
        }
        prefixes.sort();
        prefixes.dedup();
        let mut lookups = Vec::with_capacity(prefixes.len());
        for prefix in prefixes {
            // No row has a key that is too long to be one.
            let Ok(key) = Key::encode(&prefix) else { continue };
            if self.via == Via::Key && self.equal.len() == columns.len() {
                lookups.push(Lookup::Key(key));
            } else if let Some(range) = self.range_behind(&prefix, &key, tuple)? {
                lookups.push(Lookup::Range(range));
            }
        }
        if self.backward {
            lookups.reverse();
        }
        Ok(lookups)
    }

    fn range_behind(&self, prefix: &[Value], key: &Key, tuple: Tuple<'_>) -> Result<Option<KeyRange>, Fault> {
        let mut whole = KeyRange::prefix(key);
        let Some(range) = &self.range else { return Ok(Some(whole)) };
        if let Some(text) = &range.text_prefix {
            return KeyRange::text_prefix(prefix.iter().map(Value::as_ref), text).map(Some).map_err(too_long);
        }
        let encode = |value: ValueRef<'_>| {
            Key::encode_refs(prefix.iter().map(Value::as_ref).chain([value])).map_err(too_long)
        };
        whole.start = match &range.low {
            // Nulls come first and are in no range.
            None => KeyRange::behind_prefix(&encode(ValueRef::Null)?),
            Some((expr, included)) => {
                let value = eval::value(expr, tuple)?;
                let (first, last) = forms(value.as_ref());
                if first.is_null() {
                    return Ok(None);
                }
                if *included {
                    Bound::Included(encode(first.as_ref())?)
                } else {
                    KeyRange::behind_prefix(&encode(last.as_ref())?)
                }
            }
        };
        if let Some((expr, included)) = &range.high {
            let value = eval::value(expr, tuple)?;
            let (first, last) = forms(value.as_ref());
            if first.is_null() {
                return Ok(None);
            }
            whole.end = if *included {
                KeyRange::prefix(&encode(last.as_ref())?).end
            } else {
                Bound::Excluded(encode(first.as_ref())?)
            };
        }
        Ok((!whole.is_empty()).then_some(whole))
    }
}

fn too_long(error: hypermnesia_store::ValueError) -> Fault {
    Fault::new(ErrorKind::Limit, Span::NONE, format!("the bound of a range cannot be a key: {error}"))
}

/// Indexes with one entry a row. Those with an entry for each value of a list know nothing of the list as a whole.
pub(crate) fn plain_indexes(def: &TableDef) -> impl Iterator<Item = usize> + '_ {
    (0..def.indexes.len()).filter(|n| !def.indexes[*n].multi)
}

/// Whether it is an index with an entry for each value of a list.
pub(crate) fn is_multi(def: &TableDef, via: Via) -> bool {
    matches!(via, Via::Index(n) if def.indexes[n].multi)
}

pub(crate) fn columns(def: &TableDef, via: Via) -> &[usize] {
    match via {
        Via::Key => &def.key,
        Via::Index(n) => &def.indexes[n].attributes,
    }
}

pub(crate) fn is_ordered(def: &TableDef, via: Via) -> bool {
    via != Via::Key || def.kind == Kind::OrderedSet
}

impl Equal {
    /// The values that an attribute of this type may hold to fulfil it.
    fn candidates(&self, ty: Type, tuple: Tuple<'_>) -> Result<Vec<Value>, Fault> {
        let mut all = Vec::new();
        let mut add = |expr: &Expr| {
            let value = eval::value(expr, tuple)?;
            let (first, last) = forms(value.as_ref());
            match ty {
                _ if first.is_null() => {}
                Type::Int => all.extend((!matches!(first, Value::Float(_))).then_some(first)),
                Type::Any | Type::Float => all.extend([first, last]),
                _ => all.push(first),
            }
            Ok::<(), Fault>(())
        };
        match self {
            Equal::One(expr) => add(expr)?,
            Equal::Any(list) => list.iter().try_for_each(add)?,
            Equal::Null => all.push(Value::Null),
        }
        all.sort();
        all.dedup();
        Ok(all)
    }
}

/// The first and the last value that are equal to this one in SQL: a whole number and its float, where both exist.
fn forms(value: ValueRef<'_>) -> (Value, Value) {
    let plain = value.to_value();
    match value {
        ValueRef::Int(_) | ValueRef::Uint(_) => {
            let float = Type::Float.admit(value).map_or_else(|| plain.clone(), ValueRef::to_value);
            (plain, float)
        }
        ValueRef::Float(x) if x.fract() == 0.0 && x.abs() < 18_446_744_073_709_551_616.0 => {
            let whole = number::narrow(x as i128, Span::NONE).unwrap_or_else(|_| plain.clone());
            (whole, plain)
        }
        _ => (plain.clone(), plain),
    }
}

/// The other side of a comparison of this column, if it reads bound slots only; turned so that the column stands left.
fn comparison_with(slot: usize, column: usize, condition: &Expr, bound: u32) -> Option<(Binary, &Expr)> {
    let Expr::Binary(op, a, b, _) = condition else { return None };
    let is_column =
        |e: &Expr| matches!(e, Expr::Column { slot: s, attribute, .. } if *s == slot && *attribute == column);
    if is_column(a) && b.slots() & !bound == 0 {
        return Some((*op, b));
    }
    (is_column(b) && a.slots() & !bound == 0).then_some((op.mirrored(), &**a))
}

/// The value that a condition wants to be among those of this column.
fn contained(slot: usize, column: usize, condition: &Expr, bound: u32) -> Option<&Expr> {
    let Expr::Call(Function::Contains, arguments, _) = condition else { return None };
    let [Expr::Column { slot: s, attribute, .. }, wanted] = arguments.as_slice() else { return None };
    (*s == slot && *attribute == column && wanted.slots() & !bound == 0).then_some(wanted)
}

fn find_equal(slot: usize, column: usize, conditions: &[Expr], bound: u32) -> Option<(usize, Equal)> {
    let is_column =
        |e: &Expr| matches!(e, Expr::Column { slot: s, attribute, .. } if *s == slot && *attribute == column);
    let equal = |condition: &Expr| match condition {
        Expr::Binary(..) => match comparison_with(slot, column, condition, bound)? {
            (Binary::Equal, other) => Some(Equal::One(other.clone())),
            _ => None,
        },
        Expr::InList(e, list) if is_column(e) && list.iter().all(|item| item.slots() & !bound == 0) => {
            Some(Equal::Any(list.clone()))
        }
        Expr::IsNull(e) if is_column(e) => Some(Equal::Null),
        _ => None,
    };
    let found = conditions.iter().enumerate().filter_map(|(n, condition)| Some((n, equal(condition)?)));
    found.min_by_key(|(_, equal)| matches!(equal, Equal::Any(_)))
}

fn text_prefix(slot: usize, column: usize, condition: &Expr) -> Option<(String, bool)> {
    let Expr::Like { value, pattern, escape, fold: false, .. } = condition else { return None };
    let (Expr::Column { slot: s, attribute, .. }, Expr::Constant(Value::Text(pattern))) =
        (&**value, &**pattern)
    else {
        return None;
    };
    let (prefix, exact) = like::prefix(pattern, *escape)?;
    (*s == slot && *attribute == column && !prefix.is_empty()).then_some((prefix, exact))
}
