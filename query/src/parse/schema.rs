//! CREATE and DROP, to the data of [`crate::schema`].

use hypermnesia_store::{Attribute, Kind, Type, Value};
use sqlparser::ast;

use super::expression::type_of;
use super::place::{first_of, leftmost};
use super::{Parsed, ident, name, refuse_at, unsupported};
use crate::error::{ErrorKind, Fault, Span};
use crate::schema::{CreateIndex, CreateTable, NewIndex, SchemaChange};
use crate::syntax::Name;

pub(super) fn create_table(table: ast::CreateTable) -> Parsed<SchemaChange> {
    let table_name = name(table.name.clone())?;
    let span = table_name.span;
    let (start, form) = (Span::NONE, "this form of CREATE TABLE");
    refuse_at(table.or_replace, start, &["OR REPLACE"], form)?;
    refuse_at(table.temporary, start, &["TEMPORARY", "TEMP"], form)?;
    refuse_at(table.external, start, &["EXTERNAL"], form)?;
    let copied = table.query.is_some() || table.like.is_some() || table.clone.is_some();
    refuse_at(copied, span, &["AS", "LIKE", "CLONE"], "CREATE TABLE from another table")?;
    refuse_at(table.partition_by.is_some(), span, &["PARTITION BY"], form)?;
    refuse_at(table.inherits.is_some(), span, &["INHERITS"], form)?;
    let mut create = empty(table_name.text.clone(), table.if_not_exists);
    for column in table.columns {
        add_column(&mut create, column)?;
    }
    for constraint in table.constraints {
        add_constraint(&mut create, constraint, span)?;
    }
    if create.attributes.is_empty() {
        return Err(Fault::new(ErrorKind::Syntax, span, "a table needs at least one column"));
    }
    if create.key.is_empty() {
        create.key = vec![create.attributes[0].name.clone()];
    }
    for attribute in &mut create.attributes {
        attribute.nullable &= !create.key.contains(&attribute.name);
    }
    match table.table_options {
        ast::CreateTableOptions::None => {}
        ast::CreateTableOptions::With(options) => {
            super::options::read(&mut create, options)?;
        }
        options => {
            let written = options.to_string();
            let fault = unsupported(span, "this kind of option").behind(&[first_of(&written)]);
            return Err(fault.hint("options are written WITH (kind = 'bag')"));
        }
    }
    Ok(SchemaChange::CreateTable(create))
}

fn empty(name: String, if_not_exists: bool) -> CreateTable {
    CreateTable {
        name,
        if_not_exists,
        kind: Kind::Set,
        attributes: Vec::new(),
        key: Vec::new(),
        indexes: Vec::new(),
        storage: None,
        ack: None,
        copies: None,
        local: false,
        duplicates: false,
        ttl: None,
        max_idle: None,
        rows_max: None,
        bytes_max: None,
        evict: false,
    }
}

/// A column that is added to a table that is there.
pub(super) fn attribute_of(column: ast::ColumnDef) -> Parsed<Attribute> {
    let span: Span = column.name.span.into();
    let mut alone = empty(String::new(), false);
    add_column(&mut alone, column)?;
    refuse_at(!alone.key.is_empty(), span, &["PRIMARY KEY"], "a key for a table that has one")?;
    if !alone.indexes.is_empty() {
        let fault = unsupported(span, "UNIQUE of a column that is added").behind(&["UNIQUE"]);
        return Err(fault.hint("CREATE UNIQUE INDEX adds an index to a table that is there"));
    }
    Ok(alone.attributes.remove(0))
}

fn add_column(create: &mut CreateTable, column: ast::ColumnDef) -> Parsed<()> {
    let column_name = ident(column.name);
    let span = column_name.span;
    if create.attributes.iter().any(|attribute| attribute.name == column_name.text) {
        return Err(Fault::new(
            ErrorKind::Name,
            span,
            format!("two columns are called {:?}", column_name.text),
        ));
    }
    let ty = type_of(&column.data_type).ok_or_else(|| no_type(&column.data_type, span))?;
    let (mut nullable, mut default) = (true, None);
    for option in column.options {
        match option.option {
            ast::ColumnOption::Null => nullable = true,
            ast::ColumnOption::NotNull => nullable = false,
            ast::ColumnOption::PrimaryKey(_) => set_key(create, vec![column_name.text.clone()], span)?,
            ast::ColumnOption::Unique(_) => {
                add_unique(create, option.name.map(|name| name.value), vec![column_name.text.clone()]);
            }
            ast::ColumnOption::Default(expr) => default = Some(constant(expr, ty)?),
            other => {
                let option = other.to_string();
                return Err(
                    unsupported(span, &format!("the column option {option}")).behind(&[first_of(&option)])
                );
            }
        }
    }
    create.attributes.push(Attribute { name: column_name.text, ty, nullable, default });
    Ok(())
}

/// What is said of a type that there is not, somewhere behind this place.
pub(super) fn no_type(data_type: &ast::DataType, near: Span) -> Fault {
    let name = data_type.to_string();
    unsupported(near, &format!("the type {name}"))
        .behind(&[first_of(&name)])
        .hint("there are any, bool, int, float, text, bytes, timestamp, list, map")
}

fn add_constraint(create: &mut CreateTable, constraint: ast::TableConstraint, span: Span) -> Parsed<()> {
    match constraint {
        ast::TableConstraint::PrimaryKey(key) => {
            let place = key.columns.first().map_or(span, |column| leftmost(&column.column.expr));
            let names = columns(create, key.columns, span)?;
            set_key(create, names, place)
        }
        ast::TableConstraint::Unique(unique) => {
            let names = columns(create, unique.columns, span)?;
            add_unique(create, unique.name.or(unique.index_name).map(|name| name.value), names);
            Ok(())
        }
        other => {
            let written = other.to_string();
            let fault = unsupported(span, "this constraint").behind(&[first_of(&written)]);
            Err(fault.hint("there are PRIMARY KEY and UNIQUE"))
        }
    }
}

fn set_key(create: &mut CreateTable, names: Vec<String>, span: Span) -> Parsed<()> {
    if !create.key.is_empty() {
        return Err(Fault::new(ErrorKind::Syntax, span, "the table has two primary keys"));
    }
    create.key = names;
    Ok(())
}

fn add_unique(create: &mut CreateTable, name: Option<String>, attributes: Vec<String>) {
    let name = name.unwrap_or_else(|| format!("{}_{}_key", create.name, attributes.join("_")));
    create.indexes.push(NewIndex { name, attributes, unique: true, multi: false });
}

/// Names of columns that the table has.
fn columns(create: &CreateTable, columns: Vec<ast::IndexColumn>, span: Span) -> Parsed<Vec<String>> {
    let columns = columns.into_iter().map(|column| index_column(column, span)).collect::<Parsed<Vec<_>>>()?;
    if let Some(each) = columns.iter().find(|column| column.each) {
        let fault = unsupported(each.name.span, "EACH in a constraint").before(&["EACH"]);
        return Err(fault.hint("CREATE UNIQUE INDEX name ON table (EACH column)"));
    }
    let names: Vec<Name> = columns.into_iter().map(|column| column.name).collect();
    for name in &names {
        if !create.attributes.iter().any(|attribute| attribute.name == name.text) {
            let known = create.attributes.iter().map(|attribute| attribute.name.as_str());
            let fault =
                Fault::new(ErrorKind::Name, name.span, format!("the table has no column {:?}", name.text));
            return Err(crate::suggest::with_suggestion(fault, &name.text, known));
        }
    }
    Ok(names.into_iter().map(|name| name.text).collect())
}

/// A column of an index.
struct IndexColumn {
    name: Name,
    /// EACH: the values of the list that it is.
    each: bool,
}

fn index_column(column: ast::IndexColumn, span: Span) -> Parsed<IndexColumn> {
    let options = &column.column.options;
    let ordered = options.sort.is_some() || options.nulls_first.is_some();
    let near = leftmost(&column.column.expr).or(span);
    refuse_at(ordered, near, &["ASC", "DESC", "NULLS", "USING"], "ASC or DESC in an index")?;
    match (column.column.expr, column.operator_class) {
        (ast::Expr::Identifier(column), None) => Ok(IndexColumn { name: ident(column), each: false }),
        // sqlparser takes the second word for an operator class.
        (ast::Expr::Identifier(word), Some(column))
            if word.quote_style.is_none() && word.value.eq_ignore_ascii_case("each") =>
        {
            Ok(IndexColumn { name: name(column)?, each: true })
        }
        (ast::Expr::Identifier(_), Some(word)) => {
            let fault = unsupported(name(word)?.span, "a word behind the column of an index");
            Err(fault.hint("EACH before a list indexes its values: (EACH tags)"))
        }
        _ => Err(unsupported(near, "an index over an expression")),
    }
}

/// The value of a DEFAULT: an expression that names no column.
fn constant(expr: ast::Expr, ty: Type) -> Parsed<Value> {
    let expr = super::expression::expression(expr)?;
    crate::write::constant(&expr, ty)
}

pub(super) fn create_index(index: ast::CreateIndex) -> Parsed<SchemaChange> {
    let table = name(index.table_name)?;
    let span = table.span;
    let part = index.predicate.is_some() || !index.include.is_empty();
    refuse_at(part, span, &["WHERE", "INCLUDE"], "a partial or covering index")?;
    let using = index.using.is_some() || !index.with.is_empty();
    refuse_at(using, span, &["USING", "WITH"], "USING and WITH of an index")?;
    let (start, form) = (Span::NONE, "this form of CREATE INDEX");
    refuse_at(index.concurrently, start, &["CONCURRENTLY"], form)?;
    refuse_at(index.nulls_distinct.is_some(), span, &["NULLS"], form)?;
    let columns = index.columns.into_iter().map(|column| index_column(column, span));
    let columns: Vec<IndexColumn> = columns.collect::<Parsed<_>>()?;
    let each = columns.iter().find(|column| column.each);
    if let (Some(each), 2..) = (each, columns.len()) {
        let message = "an index over the values of a list has no other column";
        return Err(Fault::new(ErrorKind::Unsupported, each.name.span, message));
    }
    let multi = each.is_some();
    let attributes: Vec<String> = columns.into_iter().map(|column| column.name.text).collect();
    let index_name = match index.name {
        Some(given) => name(given)?.text,
        None => format!("{}_{}_idx", table.text, attributes.join("_")),
    };
    Ok(SchemaChange::CreateIndex(CreateIndex {
        table: table.text,
        if_not_exists: index.if_not_exists,
        index: NewIndex { name: index_name, attributes, unique: index.unique, multi },
    }))
}

pub(super) fn drop(statement: ast::Statement) -> Parsed<SchemaChange> {
    let ast::Statement::Drop { object_type, if_exists, mut names, cascade, purge, temporary, table, .. } =
        statement
    else {
        return Err(unsupported(Span::NONE, "this DROP"));
    };
    let words = ["CASCADE", "PURGE", "TEMPORARY"];
    refuse_at(cascade || purge || temporary, Span::NONE, &words, "this form of DROP")?;
    let (Some(only), true) = (names.pop(), names.is_empty()) else {
        return Err(unsupported(Span::NONE, "DROP of several at once").behind(&[","]));
    };
    let dropped = name(only)?;
    match object_type {
        ast::ObjectType::Table => Ok(SchemaChange::DropTable { name: dropped.text, if_exists }),
        ast::ObjectType::Index => {
            let table = table.map(name).transpose()?.map(|table| table.text);
            Ok(SchemaChange::DropIndex { name: dropped.text, table, if_exists })
        }
        other => {
            let what = other.to_string();
            Err(unsupported(Span::NONE, &format!("DROP {what}")).behind(&[first_of(&what)]))
        }
    }
}
