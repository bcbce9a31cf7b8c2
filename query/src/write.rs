//! INSERT, UPDATE and DELETE. What is to change is collected first and written then, so that a statement never meets its
//! own changes while it still looks for rows; the collection is held and counted.

use std::ops::ControlFlow;

use hypermnesia_store::{Key, Kind, Row, RowError, TableDef, Type, Value};

use crate::access::Access;
use crate::bind::{Binder, BoundTable, Scope, as_moment, no_column, position};
use crate::error::{ErrorKind, Fault, Span};
use crate::eval::{self, Datum, Tuple};
use crate::execute::held::values_bytes;
use crate::execute::rows::JoinedRows;
use crate::execute::{Held, run};
use crate::expression::Expr;
use crate::limits::Limits;
use crate::plan::{Step, join, plan_select};
use crate::statement::Stop;
use crate::syntax::{Delete, Insert, InsertSource, Name, OnConflict, Update};

pub(crate) fn insert<A: Access>(
    scope: &Scope<'_, A>,
    insert: &Insert,
    limits: Limits,
) -> Result<u64, Stop<A::Error>> {
    let def = scope.table(&insert.table)?;
    writable(&def, insert.table.span)?;
    let targets = insert_targets(&def, insert)?;
    let held = Held::new(limits);
    let rows = match &insert.source {
        InsertSource::Values(rows) => constant_rows(scope, rows, &targets, &def, &held)?,
        InsertSource::Select(select) => {
            let plan = plan_select(scope, select)?;
            check_width(plan.output.len(), targets.len(), select.span)?;
            let mut rows = Vec::new();
            run(scope, &plan, &held, &mut |values| {
                held.add_row(values_bytes(&values))?;
                rows.push((values, select.span));
                Ok(ControlFlow::Continue(()))
            })?;
            rows
        }
    };
    // What is not named has its default; what has none becomes null, which the row's check refuses where it must.
    let absent: Vec<Value> =
        def.attributes.iter().map(|attribute| def.absent(attribute).unwrap_or_default()).collect();
    let mut inserted = 0;
    for (values, span) in rows {
        let mut all = absent.clone();
        for (&target, value) in targets.iter().zip(values) {
            all[target] = value;
        }
        inserted += u64::from(insert_row(scope.access, &def, all, insert.on_conflict, span)?);
    }
    Ok(inserted)
}

fn insert_targets(def: &TableDef, insert: &Insert) -> Result<Vec<usize>, Fault> {
    if insert.columns.is_empty() {
        return Ok((0..def.attributes.len()).collect());
    }
    let mut targets = Vec::with_capacity(insert.columns.len());
    for name in &insert.columns {
        let target = position(def, name).ok_or_else(|| no_column(def, name))?;
        if targets.contains(&target) {
            return Err(Fault::new(
                ErrorKind::Name,
                name.span,
                format!("column {:?} is named twice", name.text),
            ));
        }
        targets.push(target);
    }
    Ok(targets)
}

fn check_width(given: usize, wanted: usize, span: Span) -> Result<(), Fault> {
    if given == wanted {
        return Ok(());
    }
    let message = format!("{wanted} columns are to be filled, {given} values were given");
    Err(Fault::new(ErrorKind::Type, span, message))
}

fn constant_rows<A>(
    scope: &Scope<'_, A>,
    rows: &[Vec<crate::syntax::Expr>],
    targets: &[usize],
    def: &TableDef,
    held: &Held,
) -> Result<Vec<(Vec<Value>, Span)>, Fault> {
    let mut binder = Binder {
        tables: &[],
        parameters: scope.parameters,
        describe: false,
        aggregates: None,
        clause: "VALUES",
    };
    let mut all = Vec::with_capacity(rows.len());
    for row in rows {
        let span = row.iter().fold(Span::NONE, |span, expr| span.to(expr.span));
        check_width(row.len(), targets.len(), span)?;
        let mut values = Vec::with_capacity(row.len());
        for (expr, &target) in row.iter().zip(targets) {
            let (mut bound, ty) = binder.expr(expr)?;
            if def.attributes[target].ty == Type::Timestamp && ty == Type::Text {
                as_moment(&mut bound, expr.span)?;
            }
            let value = eval::value(&bound, Tuple::EMPTY)?.into_value();
            fits(def, target, &value, expr.span)?;
            values.push(value);
        }
        held.add_row(values_bytes(&values))?;
        all.push((values, span));
    }
    Ok(all)
}

/// The value of an expression that names no column, as the default of an attribute of this type.
pub(crate) fn constant(expr: &crate::syntax::Expr, wanted: Type) -> Result<Value, Fault> {
    let mut binder =
        Binder { tables: &[], parameters: &[], describe: false, aggregates: None, clause: "DEFAULT" };
    let (mut bound, ty) = binder.expr(expr)?;
    if wanted == Type::Timestamp && ty == Type::Text {
        as_moment(&mut bound, expr.span)?;
    }
    let value = eval::value(&bound, Tuple::EMPTY)?.into_value();
    match wanted.admit(value.as_ref()) {
        Some(taken) => Ok(taken.to_value()),
        None => {
            let message =
                format!("the column is of type {wanted}, its default is of type {}", value.type_name());
            Err(Fault::new(ErrorKind::Type, expr.span, message))
        }
    }
}

/// Whether the value fits its attribute, said where it stands rather than of the row.
pub(crate) fn fits(def: &TableDef, position: usize, value: &Value, span: Span) -> Result<(), Fault> {
    let attribute = &def.attributes[position];
    if value.is_null() && !attribute.nullable {
        let message = format!("column {:?} of table {:?} cannot be null", attribute.name, def.name);
        return Err(Fault::new(ErrorKind::Constraint, span, message));
    }
    if attribute.ty.admit(value.as_ref()).is_none() {
        let message = format!(
            "column {:?} is of type {}, the value is of type {}",
            attribute.name,
            attribute.ty,
            value.type_name()
        );
        return Err(Fault::new(ErrorKind::Type, span, message));
    }
    Ok(())
}

fn row_fault(error: RowError, span: Span) -> Fault {
    let kind = match &error {
        RowError::Null { .. } => ErrorKind::Constraint,
        RowError::Value(_) => ErrorKind::Limit,
        _ => ErrorKind::Type,
    };
    Fault::new(kind, span, error.to_string())
}

/// Whether it was inserted.
fn insert_row<A: Access>(
    access: &A,
    def: &TableDef,
    values: Vec<Value>,
    on_conflict: OnConflict,
    span: Span,
) -> Result<bool, Stop<A::Error>> {
    let (key, row) = encode(def, &values, span)?;
    if def.kind != Kind::Bag && on_conflict != OnConflict::Replace && exists(access, def, &key)? {
        if on_conflict == OnConflict::Nothing {
            return Ok(false);
        }
        return Err(duplicate(def, &key, span)
            .hint("REPLACE INTO overwrites, ON CONFLICT DO NOTHING passes over")
            .into());
    }
    put(access, def, &key, row, A::put)
}

/// Whether there is a row more or another one: a bag keeps an identical row once.
fn put<A: Access>(
    access: &A,
    def: &TableDef,
    key: &Key,
    row: Row,
    put: impl Fn(&A, &TableDef, &Key, Row) -> Result<(), A::Error>,
) -> Result<bool, Stop<A::Error>> {
    if def.kind == Kind::Bag && !def.duplicates && found(access, def, key, |there| there.same_values(&row))? {
        return Ok(false);
    }
    put(access, def, key, row).map_err(Stop::Access)?;
    Ok(true)
}

fn encode(def: &TableDef, values: &[Value], span: Span) -> Result<(Key, Row), Fault> {
    let row = def.encode_row(values).map_err(|error| row_fault(error, span))?;
    let key = def.key_of(&row).map_err(|error| row_fault(error.into(), span))?;
    Ok((key, row))
}

fn exists<A: Access>(access: &A, def: &TableDef, key: &Key) -> Result<bool, Stop<A::Error>> {
    found(access, def, key, |_| true)
}

/// Whether the key has such a row.
fn found<A: Access>(
    access: &A,
    def: &TableDef,
    key: &Key,
    such: impl Fn(&Row) -> bool,
) -> Result<bool, Stop<A::Error>> {
    let mut found = false;
    let mut visit = |row: &Row| {
        found = such(row);
        if found { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    access.get(def, key, &mut visit).map_err(Stop::Access)?;
    Ok(found)
}

fn duplicate(def: &TableDef, key: &Key, span: Span) -> Fault {
    let shown: String = key.to_string().chars().take(60).collect();
    Fault::new(
        ErrorKind::Constraint,
        span,
        format!("table {:?} already has a row with the key {shown}", def.name),
    )
}

fn writable(def: &TableDef, span: Span) -> Result<(), Fault> {
    if def.is_system() {
        let message = format!("table {:?} belongs to the system and cannot be written", def.name);
        return Err(Fault::new(ErrorKind::Unsupported, span, message));
    }
    Ok(())
}

/// How UPDATE and DELETE find their rows.
pub(crate) struct Target {
    pub(crate) tables: Vec<BoundTable>,
    pub(crate) steps: Vec<Step>,
    pub(crate) once: Vec<Expr>,
    /// Position and new value.
    pub(crate) set: Vec<(usize, Expr, Span)>,
}

pub(crate) fn plan_update<A: Access>(
    scope: &Scope<'_, A>,
    update: &Update,
) -> Result<Target, Stop<A::Error>> {
    plan_target(scope, &update.table, update.alias.as_ref(), update.filter.as_ref(), &update.set)
}

pub(crate) fn plan_delete<A: Access>(
    scope: &Scope<'_, A>,
    delete: &Delete,
) -> Result<Target, Stop<A::Error>> {
    plan_target(scope, &delete.table, delete.alias.as_ref(), delete.filter.as_ref(), &[])
}

fn plan_target<A: Access>(
    scope: &Scope<'_, A>,
    table: &Name,
    alias: Option<&Name>,
    filter: Option<&crate::syntax::Expr>,
    assignments: &[(Name, crate::syntax::Expr)],
) -> Result<Target, Stop<A::Error>> {
    let def = scope.table(table)?;
    writable(&def, table.span)?;
    let count = scope.access.row_count(&def) as f64;
    let tables = vec![BoundTable::new(def.clone(), alias)];
    let mut binder = Binder {
        tables: &tables,
        parameters: scope.parameters,
        describe: false,
        aggregates: None,
        clause: "WHERE",
    };
    let filter = filter.map(|filter| binder.condition(filter)).transpose()?;
    binder.clause = "SET";
    let mut set: Vec<(usize, Expr, Span)> = Vec::with_capacity(assignments.len());
    for (name, expr) in assignments {
        let target = position(&def, name).ok_or_else(|| no_column(&def, name))?;
        if set.iter().any(|(other, ..)| *other == target) {
            let message = format!("column {:?} is set twice", name.text);
            return Err(Fault::new(ErrorKind::Name, name.span, message).into());
        }
        let (mut bound, ty) = binder.expr(expr)?;
        if def.attributes[target].ty == Type::Timestamp && ty == Type::Text {
            as_moment(&mut bound, expr.span)?;
        }
        set.push((target, bound, expr.span));
    }
    let joins = vec![crate::plan::BoundJoin { left: false, on: Vec::new() }];
    let (steps, once) = join::plan_joins(&tables, &[count], joins, filter);
    Ok(Target { tables, steps, once, set })
}

/// The rows that fulfil the condition, held.
fn matching<A: Access>(access: &A, target: &Target, held: &Held) -> Result<Vec<Row>, Stop<A::Error>> {
    let mut found = Vec::new();
    for condition in &target.once {
        if eval::truth_of(condition, Tuple::EMPTY)? != Some(true) {
            return Ok(found);
        }
    }
    JoinedRows::new(access, &target.tables, &target.steps, held).visit(&mut |rows| {
        if let [Some(row)] = rows {
            held.add_row(row.as_bytes().len() + size_of::<Row>())?;
            found.push(row.clone());
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(found)
}

pub(crate) fn delete<A: Access>(
    scope: &Scope<'_, A>,
    delete: &Delete,
    limits: Limits,
) -> Result<u64, Stop<A::Error>> {
    let target = plan_delete(scope, delete)?;
    let def = &target.tables[0].def;
    let rows = matching(scope.access, &target, &Held::new(limits))?;
    for row in &rows {
        remove(scope.access, def, &key_of(def, row)?, row)?;
    }
    Ok(rows.len() as u64)
}

fn remove<A: Access>(access: &A, def: &TableDef, key: &Key, row: &Row) -> Result<(), Stop<A::Error>> {
    let removed =
        if def.kind == Kind::Bag { access.delete_row(def, key, row) } else { access.delete(def, key) };
    removed.map_err(Stop::Access)
}

fn key_of(def: &TableDef, row: &Row) -> Result<Key, Fault> {
    def.key_of(row).map_err(|error| row_fault(error.into(), Span::NONE))
}

pub(crate) fn update<A: Access>(
    scope: &Scope<'_, A>,
    update: &Update,
    limits: Limits,
) -> Result<u64, Stop<A::Error>> {
    let target = plan_update(scope, update)?;
    let (def, held) = (&target.tables[0].def, Held::new(limits));
    let mut changes = Vec::new();
    for row in matching(scope.access, &target, &held)? {
        let (key, new) = changed(def, &target, &row)?;
        held.add_row(new.as_bytes().len())?;
        changes.push((key_of(def, &row)?, row, key, new));
    }
    // Rows that move to another key leave first, so that keys may be exchanged within one statement.
    for (old_key, old, new_key, _) in &changes {
        if def.kind == Kind::Bag || old_key != new_key {
            remove(scope.access, def, old_key, old)?;
        }
    }
    let mut count = 0;
    for (old_key, _, new_key, new) in changes {
        if def.kind != Kind::Bag && old_key != new_key && exists(scope.access, def, &new_key)? {
            return Err(duplicate(def, &new_key, update.table.span).into());
        }
        count += u64::from(put(scope.access, def, &new_key, new, A::replace)?);
    }
    Ok(count)
}

/// The row with its new values, which all see the old ones.
fn changed(def: &TableDef, target: &Target, row: &Row) -> Result<(Key, Row), Fault> {
    let rows = [Some(row.clone())];
    let mut values: Vec<Value> = (0..def.attributes.len()).map(|n| row.attribute(n).to_value()).collect();
    for (position, expr, span) in &target.set {
        let value = eval::value(expr, Tuple { rows: &rows, slots: &[] }).map(Datum::into_value)?;
        fits(def, *position, &value, *span)?;
        values[*position] = value;
    }
    let (key, new) = encode(def, &values, Span::NONE)?;
    // A row changed in place keeps its deadline.
    let new = new.with_deadline(row.deadline_ms()).map_err(|error| row_fault(error.into(), Span::NONE))?;
    Ok((key, new))
}
