//! INSERT, UPDATE and DELETE.

use sqlparser::ast::{self, Spanned};

use super::expression::expression;
use super::place::first_word;
use super::select::{query, table};
use super::{Parsed, name, refuse, refuse_at, unsupported};
use crate::error::Span;
use crate::syntax::{Delete, Insert, InsertSource, Name, OnConflict, Update};

pub(super) fn insert(insert: ast::Insert) -> Parsed<Insert> {
    let span: Span = insert.insert_token.0.span.into();
    let ast::TableObject::TableName(table) = insert.table else {
        return Err(unsupported(span, "INSERT into something other than a table"));
    };
    let table = name(table)?;
    let form = insert.or.is_some() || insert.ignore || insert.overwrite;
    refuse_at(form, span, &["OR", "IGNORE", "OVERWRITE"], "this form of INSERT")?;
    refuse(insert.table_alias.is_some() || insert.insert_alias.is_some(), table.span, "an alias here")?;
    refuse(insert.partitioned.is_some() || !insert.after_columns.is_empty(), span, "this form of INSERT")?;
    refuse(!insert.assignments.is_empty(), span, "INSERT ... SET")?;
    let returning = insert.returning.is_some() || insert.output.is_some();
    refuse_at(returning, table.span, &["RETURNING", "OUTPUT"], "RETURNING")?;
    refuse(insert.priority.is_some() || insert.settings.is_some(), span, "this form of INSERT")?;
    refuse(
        insert.format_clause.is_some() || insert.multi_table_insert_type.is_some(),
        span,
        "this form of INSERT",
    )?;
    let on_conflict = conflict(insert.on, insert.replace_into, table.span)?;
    let source = insert
        .source
        .ok_or_else(|| unsupported(table.span, "INSERT without VALUES").behind(&["DEFAULT VALUES", "SET"]))?;
    Ok(Insert {
        columns: insert.columns.into_iter().map(name).collect::<Parsed<_>>()?,
        source: values_or_select(*source)?,
        on_conflict,
        table,
    })
}

fn conflict(on: Option<ast::OnInsert>, replace: bool, span: Span) -> Parsed<OnConflict> {
    match on {
        None if replace => Ok(OnConflict::Replace),
        None => Ok(OnConflict::Refuse),
        Some(ast::OnInsert::OnConflict(ast::OnConflict {
            conflict_target: None,
            action: ast::OnConflictAction::DoNothing,
        })) => Ok(OnConflict::Nothing),
        Some(_) => Err(unsupported(span, "this form of ON CONFLICT")
            .behind(&["ON CONFLICT", "ON DUPLICATE"])
            .hint("there is ON CONFLICT DO NOTHING, and REPLACE INTO to overwrite")),
    }
}

fn values_or_select(source: ast::Query) -> Parsed<InsertSource> {
    if let ast::SetExpr::Values(_) = &*source.body {
        refuse_at(
            source.order_by.is_some() || source.limit_clause.is_some(),
            first_word(&source),
            &["ORDER BY", "LIMIT", "OFFSET"],
            "ORDER BY or LIMIT after VALUES",
        )?;
        if let ast::SetExpr::Values(values) = *source.body {
            let row = |row: ast::Parens<Vec<ast::Expr>>| row.content.into_iter().map(expression).collect();
            return values.rows.into_iter().map(row).collect::<Parsed<_>>().map(InsertSource::Values);
        }
        return Err(unsupported(Span::NONE, "this form of VALUES"));
    }
    query(source).map(|select| InsertSource::Select(Box::new(select)))
}

pub(super) fn update(update: ast::Update) -> Parsed<Update> {
    let span: Span = update.update_token.0.span.into();
    let joined = update.from.is_some() || !update.table.joins.is_empty();
    refuse_at(joined, span, &["FROM", "JOIN", ","], "UPDATE of joined tables")?;
    let returning = update.returning.is_some() || update.output.is_some();
    refuse_at(returning, span, &["RETURNING", "OUTPUT"], "RETURNING")?;
    let form = update.or.is_some() || !update.order_by.is_empty() || update.limit.is_some();
    refuse_at(form, span, &["OR", "ORDER BY", "LIMIT"], "this form of UPDATE")?;
    let (table, alias) = table(update.table.relation)?;
    let mut set = Vec::with_capacity(update.assignments.len());
    for assignment in update.assignments {
        let ast::AssignmentTarget::ColumnName(column) = assignment.target else {
            return Err(unsupported(assignment.target.span().into(), "SET of several columns at once"));
        };
        set.push((column_name(column)?, expression(assignment.value)?));
    }
    Ok(Update { table, alias, set, filter: update.selection.map(expression).transpose()? })
}

fn column_name(column: ast::ObjectName) -> Parsed<Name> {
    name(column)
}

pub(super) fn delete(delete: ast::Delete) -> Parsed<Delete> {
    let span: Span = delete.delete_token.0.span.into();
    let joined = !delete.tables.is_empty() || delete.using.is_some();
    refuse_at(joined, span, &["JOIN", "USING"], "DELETE from joined tables")?;
    let returning = delete.returning.is_some() || delete.output.is_some();
    refuse_at(returning, span, &["RETURNING", "OUTPUT"], "RETURNING")?;
    let part = !delete.order_by.is_empty() || delete.limit.is_some();
    refuse_at(part, span, &["ORDER BY", "LIMIT"], "DELETE with ORDER BY or LIMIT")?;
    let (ast::FromTable::WithFromKeyword(mut tables) | ast::FromTable::WithoutKeyword(mut tables)) =
        delete.from;
    let (Some(only), true) = (tables.pop(), tables.is_empty()) else {
        return Err(unsupported(span, "DELETE from several tables").behind(&[","]));
    };
    refuse_at(!only.joins.is_empty(), span, &["JOIN"], "DELETE from joined tables")?;
    let (table, alias) = table(only.relation)?;
    Ok(Delete { table, alias, filter: delete.selection.map(expression).transpose()? })
}
