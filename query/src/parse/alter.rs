//! ALTER TABLE.

use sqlparser::ast;

use super::expression::{expression, type_of};
use super::place::first_of;
use super::schema::attribute_of;
use super::{Parsed, ident, name, refuse_at, unsupported};
use crate::error::{ErrorKind, Fault, Span};
use crate::syntax::{Alter, AlterColumn, Alteration, Name};

const HINT: &str = "there are RENAME TO, and ADD, DROP, RENAME and ALTER of COLUMN";

pub(super) fn alter_table(alter: ast::AlterTable) -> Parsed<Alter> {
    let table = name(alter.name)?;
    let (span, form) = (table.span, "this form of ALTER TABLE");
    refuse_at(alter.only, Span::NONE, &["ONLY"], form)?;
    refuse_at(alter.on_cluster.is_some(), span, &["ON"], form)?;
    refuse_at(alter.location.is_some() || alter.table_type.is_some(), Span::NONE, &["SET", "ALTER"], form)?;
    let several = alter.operations.len() > 1;
    let read = |each| operation(each, span);
    let mut operations = alter.operations.into_iter().map(read).collect::<Parsed<Vec<_>>>()?;
    let rename = operations.iter().position(|each| matches!(each, Alteration::RenameTable(_)));
    if let (Some(at), true) = (rename, several)
        && let Alteration::RenameTable(to) = operations.swap_remove(at)
    {
        let message = "RENAME TO stands alone: a table is renamed by a statement of its own";
        return Err(Fault::new(ErrorKind::Unsupported, to.span, message));
    }
    Ok(Alter { table, if_exists: alter.if_exists, operations })
}

/// Marks the columns at these places as added only if they are not there.
pub(super) fn optional(alter: &mut Alter, places: &[Span]) {
    for operation in &mut alter.operations {
        if let Alteration::AddColumn { column, if_not_exists, .. } = operation {
            *if_not_exists = places.contains(&column.span);
        }
    }
}

fn operation(operation: ast::AlterTableOperation, table: Span) -> Parsed<Alteration> {
    use ast::AlterTableOperation as A;
    match operation {
        A::RenameTable { table_name: ast::RenameTableNameKind::To(to) } => {
            name(to).map(Alteration::RenameTable)
        }
        A::AddColumn { column_def, column_position, .. } => {
            let column = ident(column_def.name.clone());
            refuse_at(
                column_position.is_some(),
                column.span,
                &["FIRST", "AFTER"],
                "a column between others",
            )?;
            let attribute = attribute_of(column_def)?;
            Ok(Alteration::AddColumn { column, attribute, if_not_exists: false })
        }
        A::DropColumn { column_names, if_exists, drop_behavior, .. } => {
            let mut columns = column_names.into_iter().map(ident);
            let (Some(column), None) = (columns.next(), columns.next()) else {
                return Err(unsupported(table, "DROP of several columns by one DROP").behind(&["DROP"]));
            };
            let words = ["CASCADE", "RESTRICT"];
            refuse_at(drop_behavior.is_some(), column.span, &words, "CASCADE or RESTRICT")?;
            Ok(Alteration::DropColumn { column, if_exists })
        }
        A::RenameColumn { old_column_name, new_column_name } => {
            let (column, to) = (ident(old_column_name), ident(new_column_name));
            Ok(Alteration::RenameColumn { column, to })
        }
        A::AlterColumn { column_name, op } => {
            let column = ident(column_name);
            let change = column_change(op, &column)?;
            Ok(Alteration::AlterColumn { column, change })
        }
        other => {
            let written = other.to_string();
            let words: String = written.split(' ').take(2).collect::<Vec<_>>().join(" ");
            Err(unsupported(table, &format!("ALTER TABLE .. {words}"))
                .behind(&[first_of(&written)])
                .hint(HINT))
        }
    }
}

fn column_change(op: ast::AlterColumnOperation, column: &Name) -> Parsed<AlterColumn> {
    use ast::AlterColumnOperation as C;
    Ok(match op {
        C::SetNotNull => AlterColumn::NotNull,
        C::DropNotNull => AlterColumn::Nullable,
        // Its type is known when it is executed.
        C::SetDefault { value } => AlterColumn::Default(Some(expression(value)?)),
        C::DropDefault => AlterColumn::Default(None),
        C::SetDataType { data_type, using, .. } => {
            let ty = type_of(&data_type).ok_or_else(|| super::schema::no_type(&data_type, column.span))?;
            AlterColumn::Type { ty, using: using.map(expression).transpose()? }
        }
        C::AddGenerated { .. } => return Err(unsupported(column.span, "a generated column").behind(&["ADD"])),
    })
}
