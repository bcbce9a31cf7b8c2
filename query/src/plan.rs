//! A plan for one execution: which path leads to the rows of each table, in which order tables are joined and how, and
//! what happens to the joined rows. It is made from the definitions, row counts and parameters of the moment.

use hypermnesia_store::{Type, Value};

use crate::access::Access;
use crate::bind::{Aggregate, AggregateKind, Binder, BoundTable, Scope, no_column, position};
use crate::error::{ErrorKind, Fault, Span};
use crate::expression::{Expr, Place};
use crate::limits::COLUMNS_MAX;
use crate::sink::Column;
use crate::statement::Stop;
use crate::syntax::{Binary, Item, Join, Node, On, Order, Select};

pub(crate) mod join;
pub(crate) mod path;
mod sorted;

pub(crate) use join::Step;
pub(crate) use path::{Equal, Path, Via};

#[derive(Debug)]
pub(crate) struct SelectPlan {
    pub(crate) tables: Vec<BoundTable>,
    /// One per table, in join order. None for a SELECT without FROM, which has one empty row.
    pub(crate) steps: Vec<Step>,
    /// Conditions that no table is needed for.
    pub(crate) once: Vec<Expr>,
    pub(crate) group: Option<Group>,
    pub(crate) output: Vec<Output>,
    pub(crate) distinct: bool,
    pub(crate) order: Vec<OrderKey>,
    /// Rows come in the wanted order by themselves.
    pub(crate) sorted: bool,
    pub(crate) limit: Option<u64>,
    pub(crate) offset: u64,
}

#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) keys: Vec<Expr>,
    pub(crate) aggregates: Vec<Aggregate>,
    pub(crate) having: Option<Expr>,
    /// The first row that counts decides: min or max along the order of the path.
    pub(crate) first_only: bool,
}

#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) name: String,
    pub(crate) ty: Type,
    pub(crate) expr: Expr,
}

#[derive(Clone, Debug)]
pub(crate) struct OrderKey {
    pub(crate) expr: Expr,
    pub(crate) descending: bool,
    pub(crate) nulls_first: bool,
}

impl SelectPlan {
    pub(crate) fn columns(&self) -> Vec<Column> {
        self.output.iter().map(|output| Column { name: output.name.clone(), ty: output.ty }).collect()
    }
}

pub(crate) fn plan_select<A: Access>(
    scope: &Scope<'_, A>,
    select: &Select,
) -> Result<SelectPlan, Stop<A::Error>> {
    let (tables, joins) = bind_from(scope, select)?;
    let counts: Vec<f64> = tables.iter().map(|table| scope.access.row_count(&table.def) as f64).collect();
    let mut binder = Binder {
        tables: &tables,
        parameters: scope.parameters,
        describe: scope.describe,
        aggregates: None,
        clause: "WHERE",
    };
    let filter = select.filter.as_ref().map(|filter| binder.condition(filter)).transpose()?;
    let mut output = bind_output(&mut binder, select)?;
    binder.clause = "GROUP BY";
    let aggregates = binder.aggregates.take().unwrap_or_default();
    let keys = bind_group_keys(&mut binder, select, &output)?;
    binder.aggregates = Some(aggregates);
    let mut having = select.having.as_ref().map(|having| binder.condition(having)).transpose()?;
    let mut order = bind_order(&mut binder, select, &output)?;
    let aggregates = binder.aggregates.take().unwrap_or_default();
    let limit = bind_count(&mut binder, select.limit.as_ref(), "LIMIT")?;
    let offset = bind_count(&mut binder, select.offset.as_ref(), "OFFSET")?.unwrap_or(0);
    let grouped = !keys.is_empty() || !aggregates.is_empty() || having.is_some();
    if grouped {
        let exprs = output.iter_mut().map(|output| &mut output.expr);
        for expr in exprs.chain(order.iter_mut().map(|key| &mut key.expr)).chain(&mut having) {
            resolve_group(expr, &keys, &tables)?;
        }
    }
    if select.distinct {
        check_distinct_order(&order, &output, select)?;
    }
    let (mut steps, once) = join::plan_joins(&tables, &counts, joins, filter);
    let group = grouped.then_some(Group { keys, aggregates, having, first_only: false });
    let mut plan = SelectPlan {
        steps: Vec::new(),
        once,
        group,
        output,
        distinct: select.distinct,
        order,
        sorted: false,
        limit,
        offset,
        tables,
    };
    sorted::use_order(&mut plan, &mut steps, &counts);
    plan.steps = steps;
    Ok(plan)
}

/// A join and its condition, bound.
pub(crate) struct BoundJoin {
    pub(crate) left: bool,
    pub(crate) on: Vec<Expr>,
}

type From = (Vec<BoundTable>, Vec<BoundJoin>);

fn bind_from<A: Access>(scope: &Scope<'_, A>, select: &Select) -> Result<From, Stop<A::Error>> {
    let (mut tables, mut joins): From = (Vec::new(), Vec::new());
    for source in &select.from {
        let table = BoundTable::new(scope.table(&source.table)?, source.alias.as_ref());
        if tables.iter().any(|other| other.alias == table.alias) {
            let span = source.alias.as_ref().unwrap_or(&source.table).span;
            let message = format!("two tables are called {:?}", table.alias);
            return Err(Fault::new(ErrorKind::Name, span, message)
                .hint("give one an alias: FROM t AS a")
                .into());
        }
        tables.push(table);
        let (left, on) = match &source.join {
            Join::Cross => (false, None),
            Join::Inner(on) => (false, Some(on)),
            Join::Left(on) => (true, Some(on)),
        };
        let on = match on {
            None => Vec::new(),
            Some(On::Condition(condition)) => {
                let mut binder = Binder {
                    tables: &tables,
                    parameters: scope.parameters,
                    describe: scope.describe,
                    aggregates: None,
                    clause: "ON",
                };
                conjuncts(binder.condition(condition)?)
            }
            Some(On::Using(names)) => bind_using(&mut tables, names)?,
        };
        joins.push(BoundJoin { left, on });
    }
    Ok((tables, joins))
}

/// Equality of the columns of this name; the later one is left out of `*` and of unqualified names.
fn bind_using(tables: &mut [BoundTable], names: &[crate::syntax::Name]) -> Result<Vec<Expr>, Fault> {
    let Some((last, earlier)) = tables.split_last_mut() else { return Ok(Vec::new()) };
    let (mut on, right_slot) = (Vec::new(), earlier.len());
    for name in names {
        let right = position(&last.def, name).ok_or_else(|| no_column(&last.def, name))?;
        let left =
            earlier.iter().enumerate().find_map(|(slot, table)| Some((slot, position(&table.def, name)?)));
        let Some((slot, attribute)) = left else {
            let message = format!("no table before {:?} has a column {:?}", last.alias, name.text);
            return Err(Fault::new(ErrorKind::Name, name.span, message));
        };
        last.merged.push(right);
        let place = Place(name.span);
        let left = Expr::Column { slot, attribute, place };
        let right = Expr::Column { slot: right_slot, attribute: right, place };
        on.push(Expr::Binary(Binary::Equal, Box::new(left), Box::new(right), place));
    }
    Ok(on)
}

/// The parts of a condition that must all hold.
pub(crate) fn conjuncts(expr: Expr) -> Vec<Expr> {
    match expr {
        Expr::And(all, _) => all.into_iter().flat_map(conjuncts).collect(),
        Expr::Constant(Value::Bool(true)) => Vec::new(),
        other => vec![other],
    }
}

fn bind_output(binder: &mut Binder<'_>, select: &Select) -> Result<Vec<Output>, Fault> {
    binder.aggregates = Some(Vec::new());
    let mut output = Vec::new();
    for item in &select.items {
        match item {
            Item::Everything(span) => {
                if binder.tables.is_empty() {
                    return Err(Fault::new(ErrorKind::Name, *span, "* needs a FROM"));
                }
                (0..binder.tables.len())
                    .for_each(|slot| everything_of(&mut output, binder.tables, slot, *span, true));
            }
            Item::AllOf(name) => {
                let slot = binder.slot(name)?;
                everything_of(&mut output, binder.tables, slot, name.span, false);
            }
            Item::Expr { expr, alias, text } => {
                let (bound, ty) = binder.expr(expr)?;
                let name = alias.as_ref().map_or(text, |alias| &alias.text).clone();
                output.push(Output { name, ty, expr: bound });
            }
        }
    }
    if output.len() > COLUMNS_MAX {
        let message = format!("{} columns, at most {COLUMNS_MAX} are possible", output.len());
        return Err(Fault::new(ErrorKind::Limit, select.span, message));
    }
    Ok(output)
}

fn everything_of(output: &mut Vec<Output>, tables: &[BoundTable], slot: usize, span: Span, merge: bool) {
    let table = &tables[slot];
    for (attribute, def) in table.def.attributes.iter().enumerate() {
        if !(merge && table.merged.contains(&attribute)) {
            let expr = Expr::Column { slot, attribute, place: Place(span) };
            output.push(Output { name: def.name.clone(), ty: def.ty, expr });
        }
    }
}

/// An output column that a bare name or number in ORDER BY or GROUP BY means.
fn by_output(
    expr: &crate::syntax::Expr,
    output: &[Output],
    select: &Select,
    clause: &str,
    aliases: bool,
) -> Result<Option<usize>, Fault> {
    match &expr.node {
        Node::Literal(Value::Int(n)) => {
            let index = usize::try_from(*n).ok().and_then(|n| n.checked_sub(1)).filter(|&n| n < output.len());
            index.map(Some).ok_or_else(|| {
                let message = format!("{clause} {n}: the result has {} columns", output.len());
                Fault::new(ErrorKind::Name, expr.span, message)
            })
        }
        Node::Column { table: None, name } if aliases => {
            // Only what was named with AS: a column's own name means the column.
            let named = select.items.iter().any(|item| {
                matches!(item, Item::Expr { alias: Some(alias), .. } if alias.text.eq_ignore_ascii_case(&name.text))
            });
            Ok(output.iter().position(|column| named && column.name.eq_ignore_ascii_case(&name.text)))
        }
        _ => Ok(None),
    }
}

fn bind_group_keys(binder: &mut Binder<'_>, select: &Select, output: &[Output]) -> Result<Vec<Expr>, Fault> {
    let mut keys = Vec::new();
    for key in &select.group_by {
        let is_column = matches!(&key.node, Node::Column { .. }) && binder.expr(key).is_ok();
        let bound = match by_output(key, output, select, "GROUP BY", !is_column)? {
            Some(index) => output[index].expr.clone(),
            None => binder.expr(key)?.0,
        };
        if contains_aggregate(&bound) {
            return Err(Fault::new(ErrorKind::Type, key.span, "an aggregate cannot stand in GROUP BY"));
        }
        keys.push(bound);
    }
    Ok(keys)
}

fn contains_aggregate(expr: &Expr) -> bool {
    matches!(expr, Expr::Aggregate(_)) || expr.children().into_iter().any(contains_aggregate)
}

fn bind_order(binder: &mut Binder<'_>, select: &Select, output: &[Output]) -> Result<Vec<OrderKey>, Fault> {
    let mut keys = Vec::new();
    for Order { expr, descending, nulls_first } in &select.order_by {
        let bound = match by_output(expr, output, select, "ORDER BY", true)? {
            Some(index) => output[index].expr.clone(),
            None => binder.expr(expr)?.0,
        };
        // Null is the smallest value.
        let nulls_first = nulls_first.unwrap_or(!descending);
        keys.push(OrderKey { expr: bound, descending: *descending, nulls_first });
    }
    Ok(keys)
}

fn bind_count(
    binder: &mut Binder<'_>,
    expr: Option<&crate::syntax::Expr>,
    clause: &str,
) -> Result<Option<u64>, Fault> {
    let Some(expr) = expr else { return Ok(None) };
    let wrong = || {
        Fault::new(ErrorKind::Type, expr.span, format!("{clause} takes a whole number that is not negative"))
    };
    binder.aggregates = None;
    match binder.expr(expr)?.0 {
        Expr::Constant(Value::Int(n)) => u64::try_from(n).map(Some).map_err(|_| wrong()),
        Expr::Constant(Value::Uint(n)) => Ok(Some(n)),
        Expr::Constant(Value::Null) => Ok(None),
        _ => Err(wrong()),
    }
}

/// Replaces what a group knows (its keys, its aggregates) by slots; what it does not know is an error.
fn resolve_group(expr: &mut Expr, keys: &[Expr], tables: &[BoundTable]) -> Result<(), Fault> {
    if let Some(n) = keys.iter().position(|key| key == expr) {
        *expr = Expr::Slot(n);
        return Ok(());
    }
    match expr {
        Expr::Aggregate(n) => {
            *expr = Expr::Slot(keys.len() + *n);
            Ok(())
        }
        Expr::Column { slot, attribute, place } => {
            let name = &tables[*slot].def.attributes[*attribute].name;
            let message = format!("column {name:?} is neither in GROUP BY nor inside an aggregate");
            Err(Fault::new(ErrorKind::Type, place.0, message)
                .hint(format!("write min({name}), or add it to GROUP BY")))
        }
        other => other.children_mut().into_iter().try_for_each(|child| resolve_group(child, keys, tables)),
    }
}

fn check_distinct_order(order: &[OrderKey], output: &[Output], select: &Select) -> Result<(), Fault> {
    let hidden = order.iter().position(|key| !output.iter().any(|column| column.expr == key.expr));
    match hidden {
        Some(n) => Err(Fault::new(
            ErrorKind::Type,
            select.order_by[n].expr.span,
            "with DISTINCT, ORDER BY can only name columns of the result",
        )),
        None => Ok(()),
    }
}

/// Whether the plan's one aggregate is min or max of one column, and of which.
pub(crate) fn lone_extreme(group: &Group) -> Option<(usize, bool)> {
    let [Aggregate { kind, argument: Some(Expr::Column { attribute, .. }), .. }] =
        group.aggregates.as_slice()
    else {
        return None;
    };
    match kind {
        AggregateKind::Min if group.keys.is_empty() => Some((*attribute, false)),
        AggregateKind::Max if group.keys.is_empty() => Some((*attribute, true)),
        _ => None,
    }
}
