//! The place of what is refused. Where the tree of sqlparser has none, the text is cut into tokens once more, which only an
//! error pays for, and the words are looked for. sqlparser's own spans are not asked: they recurse along a chain of
//! operators, with more stack for each than a thread has for the longest one that is read.

use sqlparser::ast;
use sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer};

use super::unsupported;
use crate::dialect::HypermnesiaDialect;
use crate::error::{ErrorKind, Fault, Position, Sought, Span};

/// Puts the fault at the words it seeks. Without any, what is unsupported and has no place is put at the beginning.
pub(super) fn find(fault: Fault, sql: &str, beginning: Span) -> Fault {
    let found = match &fault.sought {
        Sought::Nothing => None,
        Sought::Behind(words) => words_of(sql).and_then(|all| behind(&all, fault.span, words)),
        Sought::Before(words) => words_of(sql).and_then(|all| before(&all, fault.span, words)),
    };
    let span = match found {
        Some(span) => span,
        None if fault.span.is_none() && fault.kind == ErrorKind::Unsupported => beginning,
        None => fault.span,
    };
    Fault { span, ..fault }
}

fn words_of(sql: &str) -> Option<Vec<TokenWithSpan>> {
    let mut tokens = Tokenizer::new(&HypermnesiaDialect, sql).tokenize_with_location().ok()?;
    tokens.retain(|token| !matches!(token.token, Token::Whitespace(_)));
    Some(tokens)
}

/// The first of the phrases behind `span`, rather outside of the parentheses that are opened there than inside.
fn behind(tokens: &[TokenWithSpan], span: Span, phrases: &[String]) -> Option<Span> {
    let (mut depth, mut inside) = (0_i64, None);
    for (index, token) in tokens.iter().enumerate() {
        if Position::of(token.span.start) < span.first {
            continue;
        }
        let found = phrases.iter().find_map(|phrase| at(&tokens[index..], phrase));
        match found {
            Some(found) if depth <= 0 => return Some(found),
            Some(found) => inside = inside.or(Some(found)),
            None => {}
        }
        match token.token {
            Token::LParen | Token::LBracket | Token::LBrace => depth += 1,
            Token::RParen | Token::RBracket | Token::RBrace => depth -= 1,
            _ => {}
        }
    }
    inside
}

/// The last of the phrases before `span`.
fn before(tokens: &[TokenWithSpan], span: Span, phrases: &[String]) -> Option<Span> {
    let end = tokens.iter().position(|token| Position::of(token.span.start) >= span.first)?;
    (0..end).rev().find_map(|index| phrases.iter().find_map(|phrase| at(&tokens[index..], phrase)))
}

/// Where the tokens begin with these words.
fn at(tokens: &[TokenWithSpan], phrase: &str) -> Option<Span> {
    let mut span = Span::NONE;
    for (index, word) in phrase.split(' ').enumerate() {
        let token = tokens.get(index)?;
        let same = match &token.token {
            Token::Word(given) => given.quote_style.is_none() && given.value.eq_ignore_ascii_case(word),
            other => other.to_string() == word,
        };
        if !same {
            return None;
        }
        span = span.to(token.span.into());
    }
    Some(span)
}

/// Where the query begins, as near as the tree knows.
pub(super) fn first_word(query: &ast::Query) -> Span {
    let mut query = query;
    loop {
        if let Some(with) = &query.with {
            return with.with_token.0.span.into();
        }
        let mut body = &*query.body;
        while let ast::SetExpr::SetOperation { left, .. } = body {
            body = left;
        }
        query = match body {
            ast::SetExpr::Query(inner) => inner,
            ast::SetExpr::Select(select) => return select.select_token.0.span.into(),
            ast::SetExpr::Values(values) => {
                return values.rows.first().map_or(Span::NONE, |row| row.opening_token.0.span.into());
            }
            _ => return Span::NONE,
        };
    }
}

/// The first table within something of FROM.
pub(super) fn first_table(factor: &ast::TableFactor) -> Span {
    use ast::TableFactor as T;
    let mut factor = factor;
    loop {
        factor = match factor {
            T::NestedJoin { table_with_joins, .. } => &table_with_joins.relation,
            T::Pivot { table, .. } | T::Unpivot { table, .. } | T::MatchRecognize { table, .. } => table,
            T::Table { name, .. } | T::Function { name, .. } => return first_part(name),
            T::UNNEST { array_exprs, .. } => return array_exprs.first().map_or(Span::NONE, leftmost),
            T::Derived { subquery, .. } => return first_word(subquery),
            _ => return Span::NONE,
        };
    }
}

fn first_part(name: &ast::ObjectName) -> Span {
    name.0.first().and_then(|part| part.as_ident()).map_or(Span::NONE, |name| name.span.into())
}

/// A place in the expression that is easily found: its first name or literal down the left side.
pub(super) fn leftmost(expr: &ast::Expr) -> Span {
    use ast::Expr as E;
    let mut expr = expr;
    loop {
        expr = match expr {
            E::Identifier(name) | E::Prefixed { prefix: name, .. } => return name.span.into(),
            E::CompoundIdentifier(parts) => return parts.first().map_or(Span::NONE, |part| part.span.into()),
            E::Value(value) | E::TypedString(ast::TypedString { value, .. }) => return value.span.into(),
            E::Function(function) => return first_part(&function.name),
            E::Case { case_token, .. } => return case_token.0.span.into(),
            E::Wildcard(token) => return token.0.span.into(),
            E::Subquery(query) | E::Exists { subquery: query, .. } => return first_word(query),
            E::Dictionary(fields) => return fields.first().map_or(Span::NONE, |field| field.key.span.into()),
            E::BinaryOp { left, .. } | E::AnyOp { left, .. } | E::AllOp { left, .. } => left,
            E::Tuple(all) | E::Array(ast::Array { elem: all, .. }) => match all.first() {
                Some(first) => first,
                None => return Span::NONE,
            },
            E::GroupingSets(sets) | E::Cube(sets) | E::Rollup(sets) => match sets.iter().flatten().next() {
                Some(first) => first,
                None => return Span::NONE,
            },
            E::UnaryOp { expr, .. }
            | E::Nested(expr)
            | E::IsFalse(expr)
            | E::IsNotFalse(expr)
            | E::IsTrue(expr)
            | E::IsNotTrue(expr)
            | E::IsNull(expr)
            | E::IsNotNull(expr)
            | E::IsUnknown(expr)
            | E::IsNotUnknown(expr)
            | E::IsDistinctFrom(expr, _)
            | E::IsNotDistinctFrom(expr, _)
            | E::IsJson { expr, .. }
            | E::IsNormalized { expr, .. }
            | E::CompoundFieldAccess { root: expr, .. }
            | E::JsonAccess { value: expr, .. }
            | E::Cast { expr, .. }
            | E::Convert { expr, .. }
            | E::InList { expr, .. }
            | E::InSubquery { expr, .. }
            | E::InUnnest { expr, .. }
            | E::Between { expr, .. }
            | E::Like { expr, .. }
            | E::ILike { expr, .. }
            | E::SimilarTo { expr, .. }
            | E::RLike { expr, .. }
            | E::AtTimeZone { timestamp: expr, .. }
            | E::Extract { expr, .. }
            | E::Ceil { expr, .. }
            | E::Floor { expr, .. }
            | E::Position { expr, .. }
            | E::Substring { expr, .. }
            | E::Trim { expr, .. }
            | E::Overlay { expr, .. }
            | E::Interval(ast::Interval { value: expr, .. })
            | E::Collate { expr, .. } => expr,
            _ => return Span::NONE,
        };
    }
}

/// An expression that we have no meaning for, at the word that makes it so.
pub(super) fn beyond(expr: &ast::Expr) -> Fault {
    use ast::Expr as E;
    let fault = unsupported(leftmost(expr), "this expression");
    match expr {
        E::Collate { .. } => fault.behind(&["COLLATE"]),
        E::AtTimeZone { .. } => fault.behind(&["AT TIME ZONE"]),
        E::SimilarTo { .. } => fault.behind(&["SIMILAR TO"]),
        E::RLike { .. } => fault.behind(&["RLIKE", "REGEXP"]),
        E::IsJson { .. } => fault.behind(&["JSON"]),
        E::IsNormalized { .. } => fault.behind(&["NORMALIZED"]),
        E::Like { any: true, .. } | E::ILike { any: true, .. } | E::AnyOp { .. } => {
            fault.behind(&["ANY", "SOME"])
        }
        E::AllOp { .. } => fault.behind(&["ALL"]),
        E::InUnnest { .. } => fault.behind(&["UNNEST"]),
        E::Cast { .. } => fault.before(&["TRY_CAST", "SAFE_CAST", "CAST"]),
        E::Convert { .. } => fault.before(&["CONVERT", "TRY_CONVERT"]),
        E::Extract { .. } => fault.before(&["EXTRACT"]),
        E::Overlay { .. } => fault.before(&["OVERLAY"]),
        E::Substring { .. } => fault.before(&["SUBSTRING", "SUBSTR"]),
        E::Trim { .. } => fault.before(&["TRIM"]),
        E::Ceil { .. } => fault.before(&["CEIL"]),
        E::Floor { .. } => fault.before(&["FLOOR"]),
        E::Interval(_) => fault.before(&["INTERVAL"]),
        E::Rollup(_) => fault.before(&["ROLLUP"]),
        E::Cube(_) => fault.before(&["CUBE"]),
        E::GroupingSets(_) => fault.before(&["GROUPING SETS"]),
        _ => fault,
    }
}

/// The first word of what sqlparser prints, as it is likely to be written.
pub(super) fn first_of(printed: &str) -> &str {
    let end = printed.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(printed.len());
    &printed[..end]
}
