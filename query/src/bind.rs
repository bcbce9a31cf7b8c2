//! Names to positions, with types where they are known. Parameters are constants by now, so a bound expression depends
//! on rows alone.

use std::sync::Arc;

use hypermnesia_store::calendar::Moment;
use hypermnesia_store::{TableDef, Type, Value};

use crate::access::Access;
use crate::error::{ErrorKind, Fault, Span};
use crate::eval::{fold, type_of};
use crate::expression::{Expr, Place};
use crate::function::Function;
use crate::statement::Stop;
use crate::suggest::with_suggestion;
use crate::syntax::{self, Binary, Name, Node};

/// What an execution is given.
pub(crate) struct Scope<'a, A> {
    pub(crate) access: &'a A,
    pub(crate) parameters: &'a [Value],
    /// Only the columns are asked for: parameters have no values yet.
    pub(crate) describe: bool,
}

impl<A: Access> Scope<'_, A> {
    /// The table of this name: exactly, or, unless it is quoted, the only one that differs in case alone.
    pub(crate) fn table(&self, name: &Name) -> Result<Arc<TableDef>, Stop<A::Error>> {
        if let Some(def) = self.access.table(&name.text).map_err(Stop::Access)? {
            return Ok(def);
        }
        let all = self.access.tables().map_err(Stop::Access)?;
        Ok(table_among(&all, name)?)
    }
}

/// The table of this name among all that there are, by the rule of [`Scope::table`].
pub(crate) fn table_among(all: &[Arc<TableDef>], name: &Name) -> Result<Arc<TableDef>, Fault> {
    if let Some(def) = all.iter().find(|def| def.name == name.text) {
        return Ok(def.clone());
    }
    let mut alike = all.iter().filter(|def| !name.quoted && def.name.eq_ignore_ascii_case(&name.text));
    if let (Some(only), None) = (alike.next(), alike.next()) {
        return Ok(only.clone());
    }
    let fault = Fault::new(ErrorKind::Name, name.span, format!("there is no table {:?}", name.text));
    Err(with_suggestion(fault, &name.text, all.iter().map(|def| def.name.as_str())))
}

/// A table of FROM.
#[derive(Clone, Debug)]
pub(crate) struct BoundTable {
    pub(crate) alias: String,
    pub(crate) def: Arc<TableDef>,
    /// Attributes that USING has merged into an earlier table's of the same name.
    pub(crate) merged: Vec<usize>,
}

impl BoundTable {
    pub(crate) fn new(def: Arc<TableDef>, alias: Option<&Name>) -> BoundTable {
        let alias = alias.map_or_else(|| def.name.clone(), |alias| alias.text.clone());
        BoundTable { alias, def, merged: Vec::new() }
    }
}

/// The position of a column in one table, by the rule of [`Scope::table`].
pub(crate) fn position(def: &TableDef, name: &Name) -> Option<usize> {
    def.position(&name.text).or_else(|| {
        let alike = |(_, a): &(usize, &hypermnesia_store::Attribute)| a.name.eq_ignore_ascii_case(&name.text);
        let mut found = def.attributes.iter().enumerate().filter(alike);
        match (found.next(), found.next()) {
            (Some((position, _)), None) if !name.quoted => Some(position),
            _ => None,
        }
    })
}

pub(crate) fn no_column(def: &TableDef, name: &Name) -> Fault {
    let message = format!("table {:?} has no column {:?}", def.name, name.text);
    with_suggestion(
        Fault::new(ErrorKind::Name, name.span, message),
        &name.text,
        def.attributes.iter().map(|attribute| attribute.name.as_str()),
    )
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AggregateKind {
    Count,
    Sum,
    Min,
    Max,
    Avg,
}

impl AggregateKind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            AggregateKind::Count => "count",
            AggregateKind::Sum => "sum",
            AggregateKind::Min => "min",
            AggregateKind::Max => "max",
            AggregateKind::Avg => "avg",
        }
    }

    fn named(name: &str) -> Option<AggregateKind> {
        use AggregateKind as A;
        [A::Count, A::Sum, A::Min, A::Max, A::Avg]
            .into_iter()
            .find(|kind| kind.name().eq_ignore_ascii_case(name))
    }
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Aggregate {
    pub(crate) kind: AggregateKind,
    pub(crate) distinct: bool,
    /// None for `count(*)`.
    pub(crate) argument: Option<Expr>,
    pub(crate) place: Place,
}

/// Binds the expressions of one statement.
pub(crate) struct Binder<'a> {
    pub(crate) tables: &'a [BoundTable],
    pub(crate) parameters: &'a [Value],
    pub(crate) describe: bool,
    /// Where aggregates go; `None` where there may be none.
    pub(crate) aggregates: Option<Vec<Aggregate>>,
    /// Said where there may be none.
    pub(crate) clause: &'static str,
}

type Bound = Result<(Expr, Type), Fault>;

impl Binder<'_> {
    pub(crate) fn expr(&mut self, expr: &syntax::Expr) -> Bound {
        let (bound, ty) = self.node(expr)?;
        let folded = fold(bound);
        let ty = match &folded {
            Expr::Constant(value) if !self.describe && !value.is_null() => type_of(value),
            _ => ty,
        };
        Ok((folded, ty))
    }

    /// An expression whose value is a truth.
    pub(crate) fn condition(&mut self, expr: &syntax::Expr) -> Result<Expr, Fault> {
        let (bound, ty) = self.expr(expr)?;
        match ty {
            Type::Bool | Type::Any => Ok(bound),
            other => {
                let message = format!("a condition must be true or false, this is {other}");
                Err(Fault::new(ErrorKind::Type, expr.span, message))
            }
        }
    }

    fn boxed(&mut self, expr: &syntax::Expr) -> Result<(Box<Expr>, Type), Fault> {
        self.expr(expr).map(|(expr, ty)| (Box::new(expr), ty))
    }

    fn conditions(&mut self, all: &[syntax::Expr]) -> Result<Vec<Expr>, Fault> {
        all.iter().map(|each| self.condition(each)).collect()
    }

    fn node(&mut self, expr: &syntax::Expr) -> Bound {
        let place = Place(expr.span);
        Ok(match &expr.node {
            Node::Literal(value) => (Expr::Constant(value.clone()), type_of(value)),
            Node::Parameter(index) => {
                let value = self.parameters.get(*index).cloned().unwrap_or_default();
                let ty = type_of(&value);
                (Expr::Constant(value), ty)
            }
            Node::Column { table, name } => return self.column(table.as_ref(), name),
            Node::Not(inner) => (Expr::Not(Box::new(self.condition(inner)?), place), Type::Bool),
            Node::And(all) => (Expr::And(self.conditions(all)?, place), Type::Bool),
            Node::Or(all) => (Expr::Or(self.conditions(all)?, place), Type::Bool),
            Node::Negate(inner) => {
                let (bound, ty) = self.boxed(inner)?;
                (Expr::Negate(bound, place), numeric("-", ty, inner.span)?)
            }
            Node::Binary(op, a, b) => return self.binary(*op, a, b, place),
            Node::IsTruth(inner, truth) => {
                (Expr::IsTruth(Box::new(self.condition(inner)?), *truth, place), Type::Bool)
            }
            Node::IsNull(inner) => (Expr::IsNull(self.boxed(inner)?.0), Type::Bool),
            Node::InList(value, list) => {
                let (mut bound, ty) = self.expr(value)?;
                let list = list
                    .iter()
                    .map(|item| {
                        let (mut item_bound, item_ty) = self.expr(item)?;
                        comparable(&mut bound, ty, &mut item_bound, item_ty, item.span)?;
                        Ok(item_bound)
                    })
                    .collect::<Result<_, Fault>>()?;
                (Expr::InList(Box::new(bound), list), Type::Bool)
            }
            Node::Between(value, low, high) => return self.between(value, low, high, place),
            Node::Like { value, pattern, escape, fold } => {
                let ((bound, ty), (bound_pattern, pattern_ty)) = (self.boxed(value)?, self.boxed(pattern)?);
                for (ty, span) in [(ty, value.span), (pattern_ty, pattern.span)] {
                    if !matches!(ty, Type::Text | Type::Any) {
                        return Err(Fault::new(
                            ErrorKind::Type,
                            span,
                            format!("LIKE needs text, this is {ty}"),
                        ));
                    }
                }
                let like =
                    Expr::Like { value: bound, pattern: bound_pattern, escape: *escape, fold: *fold, place };
                (like, Type::Bool)
            }
            Node::Case { operand, branches, otherwise } => {
                return self.case(operand.as_deref(), branches, otherwise.as_deref(), place);
            }
            Node::Cast(inner, ty) => (Expr::Cast(self.boxed(inner)?.0, *ty, place), *ty),
            Node::List(items) => {
                let items = items.iter().map(|item| Ok(self.expr(item)?.0)).collect::<Result<_, Fault>>()?;
                (Expr::List(items), Type::List)
            }
            Node::Map(pairs) => {
                let pairs = pairs
                    .iter()
                    .map(|(key, value)| Ok((self.expr(key)?.0, self.expr(value)?.0)))
                    .collect::<Result<_, Fault>>()?;
                (Expr::Map(pairs), Type::Map)
            }
            Node::Call { name, arguments, distinct, star } => {
                return self.call(name, arguments, *distinct, *star, place);
            }
        })
    }

    fn column(&self, table: Option<&Name>, name: &Name) -> Bound {
        let found = match table {
            Some(table) => {
                let slot = self.slot(table)?;
                let def = &self.tables[slot].def;
                (slot, position(def, name).ok_or_else(|| no_column(def, name))?)
            }
            None => self.unqualified(name)?,
        };
        let (slot, attribute) = found;
        let span = table.map_or(name.span, |table| table.span.to(name.span));
        let ty = self.tables[slot].def.attributes[attribute].ty;
        Ok((Expr::Column { slot, attribute, place: Place(span) }, ty))
    }

    fn unqualified(&self, name: &Name) -> Result<(usize, usize), Fault> {
        let found: Vec<(usize, usize)> = self
            .tables
            .iter()
            .enumerate()
            .filter_map(|(slot, table)| {
                let at = position(&table.def, name)?;
                (!table.merged.contains(&at)).then_some((slot, at))
            })
            .collect();
        match found.as_slice() {
            [one] => Ok(*one),
            [] => Err(self.unknown(name)),
            several => {
                let aliases: Vec<String> = several
                    .iter()
                    .map(|(slot, _)| format!("{}.{}", self.tables[*slot].alias, name.text))
                    .collect();
                let message = format!("column {:?} is in several tables", name.text);
                Err(Fault::new(ErrorKind::Name, name.span, message)
                    .hint(format!("write {}", aliases.join(" or "))))
            }
        }
    }

    fn unknown(&self, name: &Name) -> Fault {
        let fault = if let [only] = self.tables {
            no_column(&only.def, name)
        } else {
            let fault = Fault::new(ErrorKind::Name, name.span, format!("there is no column {:?}", name.text));
            let known =
                self.tables.iter().flat_map(|table| table.def.attributes.iter().map(|a| a.name.as_str()));
            with_suggestion(fault, &name.text, known)
        };
        match name.quoted && fault.hint.is_none() {
            true => fault.hint("text is written in single quotes: 'like this'"),
            false => fault,
        }
    }

    /// The table of FROM with this alias.
    pub(crate) fn slot(&self, name: &Name) -> Result<usize, Fault> {
        let exact = self.tables.iter().position(|table| table.alias == name.text);
        let alike = || {
            self.tables.iter().position(|table| !name.quoted && table.alias.eq_ignore_ascii_case(&name.text))
        };
        exact.or_else(alike).ok_or_else(|| {
            let fault = Fault::new(ErrorKind::Name, name.span, format!("FROM has no table {:?}", name.text));
            with_suggestion(fault, &name.text, self.tables.iter().map(|table| table.alias.as_str()))
        })
    }

    fn binary(&mut self, op: Binary, a: &syntax::Expr, b: &syntax::Expr, place: Place) -> Bound {
        let ((mut left, left_ty), (mut right, right_ty)) = (self.expr(a)?, self.expr(b)?);
        let ty = if op.is_comparison() {
            comparable(&mut left, left_ty, &mut right, right_ty, place.0)?;
            Type::Bool
        } else if op == Binary::Concat {
            match (left_ty, right_ty) {
                (Type::List, _) | (_, Type::List) => Type::List,
                (Type::Bytes, _) | (_, Type::Bytes) => Type::Bytes,
                (Type::Any, _) | (_, Type::Any) => Type::Any,
                _ => Type::Text,
            }
        } else {
            match (numeric(op.sign(), left_ty, a.span)?, numeric(op.sign(), right_ty, b.span)?) {
                (Type::Int, Type::Int) => Type::Int,
                (Type::Any, _) | (_, Type::Any) => Type::Any,
                _ => Type::Float,
            }
        };
        Ok((Expr::Binary(op, Box::new(left), Box::new(right), place), ty))
    }

    /// Two comparisons where that costs nothing, because a range is found in those.
    fn between(
        &mut self,
        value: &syntax::Expr,
        low: &syntax::Expr,
        high: &syntax::Expr,
        place: Place,
    ) -> Bound {
        let (mut bound, ty) = self.expr(value)?;
        let ((mut from, from_ty), (mut to, to_ty)) = (self.expr(low)?, self.expr(high)?);
        comparable(&mut bound, ty, &mut from, from_ty, low.span)?;
        comparable(&mut bound, ty, &mut to, to_ty, high.span)?;
        if !matches!(bound, Expr::Column { .. }) {
            return Ok((Expr::Between(Box::new(bound), Box::new(from), Box::new(to)), Type::Bool));
        }
        let above = Expr::Binary(Binary::GreaterOrEqual, Box::new(bound.clone()), Box::new(from), place);
        let below = Expr::Binary(Binary::LessOrEqual, Box::new(bound), Box::new(to), place);
        Ok((Expr::And(vec![above, below], place), Type::Bool))
    }

    fn case(
        &mut self,
        operand: Option<&syntax::Expr>,
        branches: &[(syntax::Expr, syntax::Expr)],
        otherwise: Option<&syntax::Expr>,
        place: Place,
    ) -> Bound {
        let operand = operand.map(|each| self.boxed(each)).transpose()?;
        let (mut bound, mut types) = (Vec::with_capacity(branches.len()), Vec::new());
        for (when, then) in branches {
            let condition = if operand.is_some() { self.expr(when)?.0 } else { self.condition(when)? };
            let (result, ty) = self.expr(then)?;
            types.extend((!result.eq(&Expr::Constant(Value::Null))).then_some(ty));
            bound.push((condition, result));
        }
        let otherwise = otherwise.map(|each| self.expr(each)).transpose()?;
        types.extend(otherwise.iter().filter(|(e, _)| *e != Expr::Constant(Value::Null)).map(|(_, ty)| *ty));
        let otherwise = Box::new(otherwise.map_or(Expr::Constant(Value::Null), |(expr, _)| expr));
        let operand = operand.map(|(expr, _)| expr);
        Ok((Expr::Case { operand, branches: bound, otherwise, place }, common(&types)))
    }

    fn call(
        &mut self,
        name: &Name,
        arguments: &[syntax::Expr],
        distinct: bool,
        star: bool,
        place: Place,
    ) -> Bound {
        if let Some(kind) = AggregateKind::named(&name.text) {
            return self.aggregate(kind, arguments, distinct, star, place);
        }
        let Some(&(text, function, fewest, most, ty)) = Function::named(&name.text) else {
            let fault =
                Fault::new(ErrorKind::Name, name.span, format!("there is no function {:?}", name.text));
            let aggregates = ["count", "sum", "min", "max", "avg"];
            let known = Function::TABLE.iter().map(|line| line.0).chain(aggregates);
            return Err(with_suggestion(fault, &name.text, known));
        };
        if star || distinct {
            let message = format!("{text} takes neither * nor DISTINCT");
            return Err(Fault::new(ErrorKind::Type, name.span, message));
        }
        if arguments.len() < fewest || arguments.len() > most {
            let wanted = if fewest == most { fewest.to_string() } else { format!("{fewest} to {most}") };
            let message = format!("arguments of {text}: {wanted}, given: {}", arguments.len());
            return Err(Fault::new(ErrorKind::Type, place.0, message));
        }
        let mut bound = arguments.iter().map(|each| self.expr(each)).collect::<Result<Vec<_>, Fault>>()?;
        if function == Function::Contains && !matches!(bound[0].1, Type::List | Type::Any) {
            let message = format!("{text} looks into a list, this is {}", bound[0].1);
            let fault = Fault::new(ErrorKind::Type, arguments[0].span, message);
            return Err(fault.hint("position(part IN text) looks into a text"));
        }
        if function == Function::NullIf {
            let (first, second) = bound.split_at_mut(1);
            comparable(&mut first[0].0, first[0].1, &mut second[0].0, second[0].1, place.0)?;
        }
        let types: Vec<Type> =
            bound.iter().filter(|(e, _)| *e != Expr::Constant(Value::Null)).map(|(_, ty)| *ty).collect();
        let ty = match (ty, function) {
            (_, Function::Element) => Type::Any,
            (_, Function::NullIf | Function::Round) => types.first().copied().unwrap_or(Type::Any),
            (Type::Any, _) => common(&types),
            (fixed, _) => fixed,
        };
        let arguments = bound.into_iter().map(|(expr, _)| expr).collect();
        Ok((Expr::Call(function, arguments, place), ty))
    }

    fn aggregate(
        &mut self,
        kind: AggregateKind,
        arguments: &[syntax::Expr],
        distinct: bool,
        star: bool,
        place: Place,
    ) -> Bound {
        let Some(collected) = self.aggregates.take() else {
            let message = format!("{} cannot stand in {}", kind.name(), self.clause);
            return Err(Fault::new(ErrorKind::Type, place.0, message));
        };
        let outer = std::mem::replace(&mut self.clause, "an aggregate");
        let bound =
            arguments.iter().map(|each| Ok((self.expr(each)?, each.span))).collect::<Result<Vec<_>, Fault>>();
        (self.clause, self.aggregates) = (outer, Some(collected));
        let mut bound = bound?;
        let (argument, ty) = match (bound.pop(), bound.is_empty(), star) {
            (None, _, true) if kind == AggregateKind::Count && !distinct => (None, Type::Any),
            (Some(((argument, ty), span)), true, false) => {
                if matches!(kind, AggregateKind::Sum | AggregateKind::Avg) {
                    numeric(kind.name(), ty, span)?;
                }
                (Some(argument), ty)
            }
            _ => {
                let message = format!("{} takes one argument", kind.name());
                return Err(Fault::new(ErrorKind::Type, place.0, message));
            }
        };
        let ty = match kind {
            AggregateKind::Count => Type::Int,
            AggregateKind::Avg => Type::Float,
            _ => ty,
        };
        let aggregate = Aggregate { kind, distinct, argument, place };
        let all = self.aggregates.get_or_insert_default();
        let index = all.iter().position(|known| *known == aggregate).unwrap_or_else(|| {
            all.push(aggregate);
            all.len() - 1
        });
        Ok((Expr::Aggregate(index), ty))
    }
}

/// The type of arithmetic over a value of this type.
fn numeric(operation: &str, ty: Type, span: Span) -> Result<Type, Fault> {
    match ty {
        Type::Int | Type::Float | Type::Any => Ok(ty),
        other => {
            Err(Fault::new(ErrorKind::Type, span, format!("{operation} needs a number, this is {other}")))
        }
    }
}

/// The type of whichever of several values it is.
fn common(types: &[Type]) -> Type {
    let mut types = types.iter().copied();
    let Some(first) = types.next() else { return Type::Any };
    types.fold(first, |all, ty| match (all, ty) {
        (a, b) if a == b => a,
        (Type::Int | Type::Float, Type::Int | Type::Float) => Type::Float,
        _ => Type::Any,
    })
}

/// Refuses comparisons that can only be a mistake, and reads a text constant as a moment where it is compared with one.
fn comparable(a: &mut Expr, a_ty: Type, b: &mut Expr, b_ty: Type, span: Span) -> Result<(), Fault> {
    match (a_ty, b_ty) {
        (a, b) if a == b => Ok(()),
        (Type::Any, _) | (_, Type::Any) => Ok(()),
        (Type::Int | Type::Float, Type::Int | Type::Float) => Ok(()),
        (Type::Timestamp, Type::Text) => as_moment(b, span),
        (Type::Text, Type::Timestamp) => as_moment(a, span),
        (a, b) => {
            let fault = Fault::new(ErrorKind::Type, span, format!("cannot compare {a} with {b}"));
            Err(fault.hint("CAST(x AS type) changes the type of a value"))
        }
    }
}

pub(crate) fn as_moment(expr: &mut Expr, span: Span) -> Result<(), Fault> {
    if let Expr::Constant(Value::Text(text)) = expr {
        if let Some(moment) = Moment::parse(text) {
            *expr = Expr::Constant(Value::Timestamp(moment.0));
            return Ok(());
        }
        let shown: String = text.chars().take(40).collect();
        return Err(Fault::new(ErrorKind::Value, span, format!("{shown:?} is no moment"))
            .hint("a moment is written 2026-11-21 or 2026-11-21T02:09:41.5Z"));
    }
    Err(Fault::new(ErrorKind::Type, span, "cannot compare timestamp with text").hint("CAST(x AS timestamp)"))
}
