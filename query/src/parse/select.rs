//! SELECT and its clauses.

use sqlparser::ast;

use super::expression::expression;
use super::place::{first_table, first_word, leftmost};
use super::{Parsed, ident, name, refuse, refuse_at, unsupported};
use crate::error::{ErrorKind, Fault, Span};
use crate::limits::{COLUMNS_MAX, TABLES_MAX};
use crate::syntax::{Item, Join, Name, On, Order, Select, Source};

pub(super) fn query(query: ast::Query) -> Parsed<Select> {
    if let Some(with) = &query.with {
        return Err(unsupported(with.with_token.0.span.into(), "WITH"));
    }
    let start = first_word(&query);
    refuse_at(query.fetch.is_some(), start, &["FETCH"], "FETCH (use LIMIT)")?;
    refuse_at(
        !query.locks.is_empty(),
        start,
        &["FOR UPDATE", "FOR SHARE", "FOR"],
        "a lock (FOR UPDATE, FOR SHARE)",
    )?;
    refuse_at(
        query.for_clause.is_some() || query.settings.is_some() || query.format_clause.is_some(),
        start,
        &["FOR", "SETTINGS", "FORMAT"],
        "this clause",
    )?;
    refuse_at(!query.pipe_operators.is_empty(), start, &["|>"], "|>")?;
    let mut select = match *query.body {
        ast::SetExpr::Select(select) => core(*select)?,
        ast::SetExpr::Query(inner) if query.order_by.is_none() && query.limit_clause.is_none() => {
            return self::query(*inner);
        }
        ast::SetExpr::SetOperation { op, left, .. } => return Err(set_operation(op, &left, start)),
        ast::SetExpr::Table(_) => return Err(unsupported(start, "TABLE").behind(&["TABLE"])),
        ast::SetExpr::Values(_) => {
            return Err(unsupported(start, "VALUES without INSERT").before(&["VALUES", "VALUE"]));
        }
        _ => return Err(unsupported(start, "this query")),
    };
    if let Some(order_by) = query.order_by {
        refuse_at(order_by.interpolate.is_some(), start, &["INTERPOLATE"], "INTERPOLATE")?;
        let ast::OrderByKind::Expressions(exprs) = order_by.kind else {
            return Err(unsupported(start, "ORDER BY ALL").behind(&["ORDER BY ALL"]));
        };
        select.order_by = exprs.into_iter().map(order).collect::<Parsed<_>>()?;
    }
    match query.limit_clause {
        None => {}
        Some(ast::LimitClause::LimitOffset { limit, offset, limit_by }) => {
            let by = limit_by.first().map_or(start, leftmost);
            refuse(!limit_by.is_empty(), by, "LIMIT BY")?;
            select.limit = limit.map(expression).transpose()?;
            select.offset = offset.map(|offset| expression(offset.value)).transpose()?;
        }
        Some(ast::LimitClause::OffsetCommaLimit { offset, limit }) => {
            select.limit = Some(expression(limit)?);
            select.offset = Some(expression(offset)?);
        }
    }
    Ok(select)
}

/// The first of several is named, because it stands first.
fn set_operation(last: ast::SetOperator, mut left: &ast::SetExpr, start: Span) -> Fault {
    let mut first = last;
    while let ast::SetExpr::SetOperation { op, left: further, .. } = left {
        (first, left) = (*op, further);
    }
    let word = first.to_string();
    unsupported(start, &word).behind(&[&word])
}

fn order(by: ast::OrderByExpr) -> Parsed<Order> {
    let expr = expression(by.expr)?;
    refuse(by.with_fill.is_some(), expr.span, "WITH FILL")?;
    let descending = match by.options.sort {
        None | Some(ast::OrderBySort::Asc) => false,
        Some(ast::OrderBySort::Desc) => true,
        Some(ast::OrderBySort::Using(_)) => return Err(unsupported(expr.span, "ORDER BY USING")),
    };
    Ok(Order { expr, descending, nulls_first: by.options.nulls_first })
}

fn core(select: ast::Select) -> Parsed<Select> {
    let span: Span = select.select_token.0.span.into();
    refuse_at(select.top.is_some(), span, &["TOP"], "TOP (use LIMIT)")?;
    refuse_at(select.into.is_some(), span, &["INTO"], "SELECT INTO")?;
    let window = select.qualify.is_some() || !select.named_window.is_empty();
    refuse_at(window, span, &["QUALIFY", "WINDOW"], "a window")?;
    refuse(select.exclude.is_some() || select.select_modifiers.is_some(), span, "this form of SELECT")?;
    refuse(!select.lateral_views.is_empty() || select.prewhere.is_some(), span, "this form of SELECT")?;
    refuse(!select.connect_by.is_empty() || !select.cluster_by.is_empty(), span, "this form of SELECT")?;
    refuse(!select.distribute_by.is_empty() || !select.sort_by.is_empty(), span, "this form of SELECT")?;
    refuse(select.value_table_mode.is_some(), span, "this form of SELECT")?;
    refuse(select.flavor != ast::SelectFlavor::Standard, span, "FROM before SELECT")?;
    let distinct = match select.distinct {
        None | Some(ast::Distinct::All) => false,
        Some(ast::Distinct::Distinct) => true,
        Some(ast::Distinct::On(_)) => {
            return Err(unsupported(span, "DISTINCT ON").behind(&["DISTINCT ON"]));
        }
    };
    if select.projection.len() > COLUMNS_MAX {
        let message = format!("{} columns, at most {COLUMNS_MAX} are possible", select.projection.len());
        return Err(Fault::new(ErrorKind::Limit, span, message));
    }
    let group_by = match select.group_by {
        ast::GroupByExpr::Expressions(exprs, modifiers) if modifiers.is_empty() => {
            exprs.into_iter().map(expression).collect::<Parsed<_>>()?
        }
        _ => return Err(unsupported(span, "this form of GROUP BY").behind(&["GROUP BY"])),
    };
    Ok(Select {
        span,
        distinct,
        items: select.projection.into_iter().map(|each| item(each, span)).collect::<Parsed<_>>()?,
        from: from(select.from)?,
        filter: select.selection.map(expression).transpose()?,
        group_by,
        having: select.having.map(expression).transpose()?,
        order_by: Vec::new(),
        limit: None,
        offset: None,
    })
}

fn item(item: ast::SelectItem, select: Span) -> Parsed<Item> {
    let plain = |options: &ast::WildcardAdditionalOptions| {
        let bare = ast::WildcardAdditionalOptions {
            wildcard_token: options.wildcard_token.clone(),
            ..ast::WildcardAdditionalOptions::default()
        };
        refuse(*options != bare, options.wildcard_token.0.span.into(), "* with an addition")
    };
    match item {
        ast::SelectItem::UnnamedExpr(expr) => column(expr, None),
        ast::SelectItem::ExprWithAlias { expr, alias } => column(expr, Some(ident(alias))),
        ast::SelectItem::Wildcard(options) => {
            plain(&options)?;
            Ok(Item::Everything(options.wildcard_token.0.span.into()))
        }
        ast::SelectItem::QualifiedWildcard(
            ast::SelectItemQualifiedWildcardKind::ObjectName(table),
            options,
        ) => {
            plain(&options)?;
            Ok(Item::AllOf(name(table)?))
        }
        _ => Err(unsupported(select, "this form of column")),
    }
}

fn column(expr: ast::Expr, alias: Option<Name>) -> Parsed<Item> {
    let text = match &expr {
        ast::Expr::Identifier(column) => column.value.clone(),
        ast::Expr::CompoundIdentifier(parts) => {
            parts.last().map(|part| part.value.clone()).unwrap_or_default()
        }
        // The parser's chain bound keeps this recursion short.
        other if alias.is_none() => other.to_string(),
        _ => String::new(),
    };
    Ok(Item::Expr { expr: expression(expr)?, alias, text })
}

fn from(tables: Vec<ast::TableWithJoins>) -> Parsed<Vec<Source>> {
    let mut sources: Vec<Source> = Vec::new();
    for table in tables {
        sources.push(source(table.relation, Join::Cross)?);
        for join in table.joins {
            sources.push(joined(join)?);
        }
    }
    if let Some(beyond) = sources.get(TABLES_MAX) {
        let message = format!("{} tables in one FROM, at most {TABLES_MAX} are possible", sources.len());
        return Err(Fault::new(ErrorKind::Limit, beyond.table.span, message));
    }
    Ok(sources)
}

fn joined(join: ast::Join) -> Parsed<Source> {
    use ast::JoinOperator as J;
    let mut source = source(join.relation, Join::Cross)?;
    let span = source.table.span;
    if join.global {
        return Err(unsupported(span, "GLOBAL JOIN").before(&["GLOBAL"]));
    }
    source.join = match join.join_operator {
        J::Join(on) | J::Inner(on) => Join::Inner(condition(on, span)?),
        J::Left(on) | J::LeftOuter(on) => Join::Left(condition(on, span)?),
        J::CrossJoin(ast::JoinConstraint::None) => Join::Cross,
        J::Right(_) | J::RightOuter(_) => {
            return Err(unsupported(span, "RIGHT JOIN")
                .before(&["RIGHT"])
                .hint("exchange the tables and write LEFT JOIN"));
        }
        J::FullOuter(_) => return Err(unsupported(span, "FULL JOIN").before(&["FULL"])),
        _ => {
            let words = ["SEMI", "ANTI", "APPLY", "ASOF", "STRAIGHT_JOIN", "CROSS", "JOIN"];
            return Err(unsupported(span, "this kind of join").before(&words));
        }
    };
    Ok(source)
}

fn condition(on: ast::JoinConstraint, span: Span) -> Parsed<On> {
    match on {
        ast::JoinConstraint::On(expr) => expression(expr).map(On::Condition),
        ast::JoinConstraint::Using(columns) => {
            columns.into_iter().map(name).collect::<Parsed<_>>().map(On::Using)
        }
        ast::JoinConstraint::Natural => {
            let fault = unsupported(span, "NATURAL JOIN").before(&["NATURAL"]);
            Err(fault.hint("name the columns: USING (a, b)"))
        }
        ast::JoinConstraint::None => Err(Fault::new(ErrorKind::Syntax, span, "the join has no condition")
            .hint("write ON ..., USING (...), or CROSS JOIN")),
    }
}

pub(super) fn source(relation: ast::TableFactor, join: Join) -> Parsed<Source> {
    let (table, alias) = table(relation)?;
    Ok(Source { table, alias, join })
}

/// A table with an alias, and nothing else of what a FROM may hold.
pub(super) fn table(relation: ast::TableFactor) -> Parsed<(Name, Option<Name>)> {
    match relation {
        ast::TableFactor::Table {
            name: table,
            alias,
            args: None,
            with_hints,
            version: None,
            with_ordinality: false,
            partitions,
            json_path: None,
            sample: None,
            index_hints,
        } => {
            let table = name(table)?;
            refuse(!with_hints.is_empty() || !partitions.is_empty(), table.span, "this addition to a table")?;
            refuse(!index_hints.is_empty(), table.span, "a hint for an index")?;
            let alias = match alias {
                Some(alias) if !alias.columns.is_empty() || alias.at.is_some() => {
                    return Err(unsupported(alias.name.span.into(), "an alias with columns"));
                }
                other => other.map(|alias| ident(alias.name)),
            };
            Ok((table, alias))
        }
        ast::TableFactor::Table { name: function, .. } => {
            Err(unsupported(name(function)?.span, "a function or an addition in FROM"))
        }
        ast::TableFactor::Derived { subquery, .. } => Err(unsupported(first_word(&subquery), "a subquery")),
        ast::TableFactor::TableFunction { expr, .. } => {
            Err(unsupported(leftmost(&expr), "a function in FROM"))
        }
        other => Err(unsupported(first_table(&other), "this in FROM")),
    }
}
