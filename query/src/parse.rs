//! Text to [`crate::syntax`]: sqlparser reads it, and what we do not execute is refused here, with its place. Nothing is
//! accepted silently: a clause that would be ignored is an error.

use sqlparser::ast;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer};

use crate::dialect::HypermnesiaDialect;
use crate::error::{ErrorKind, Fault, Position, QueryError, Span};
use crate::limits::{PARSE_DEPTH_MAX, TEXT_BYTES_MAX};
use crate::syntax::{Expr, Name, Statement};

mod alter;
mod change;
mod expression;
mod options;
mod place;
mod schema;
mod select;
mod tokens;

type Parsed<T> = Result<T, Fault>;

/// One statement and how many parameters it takes.
pub(crate) fn statement(sql: &str) -> Result<(Statement, usize), QueryError> {
    check_length(sql)?;
    parse(sql).map_err(|fault| fault.in_text(sql))
}

/// What may stand behind WHERE, alone, and how many parameters it takes.
pub(crate) fn condition(sql: &str) -> Result<(Expr, usize), QueryError> {
    check_length(sql)?;
    parse_condition(sql).map_err(|fault| fault.in_text(sql))
}

fn check_length(sql: &str) -> Result<(), QueryError> {
    if sql.len() <= TEXT_BYTES_MAX {
        return Ok(());
    }
    let message = format!("the statement is {} bytes long, at most {TEXT_BYTES_MAX} are read", sql.len());
    Err(Fault::new(ErrorKind::Limit, Span::NONE, message).in_text(""))
}

/// The words of a text, and how many parameters are among them.
fn read_tokens(sql: &str) -> Parsed<(Vec<TokenWithSpan>, usize)> {
    let mut tokens =
        Tokenizer::new(&HypermnesiaDialect, sql).tokenize_with_location().map_err(|error| Fault {
            span: at(error.location.line, error.location.column),
            ..Fault::new(ErrorKind::Syntax, Span::NONE, error.message)
        })?;
    tokens::check_chains(&tokens)?;
    let parameters = tokens::number_parameters(&mut tokens)?;
    tokens::join_signs(&mut tokens);
    Ok((tokens, parameters))
}

fn parser(tokens: Vec<TokenWithSpan>) -> Parser<'static> {
    Parser::new(&HypermnesiaDialect).with_recursion_limit(PARSE_DEPTH_MAX).with_tokens_with_locations(tokens)
}

fn parse_condition(sql: &str) -> Parsed<(Expr, usize)> {
    let (tokens, parameters) = read_tokens(sql)?;
    let ends = Ends::of(&tokens);
    let mut parser = parser(tokens);
    let parsed = parser.parse_expr().map_err(|error| syntax_fault(error, ends.last))?;
    let next = parser.peek_token();
    if next.token != Token::EOF {
        let message = format!("expected the end of the condition, found {}", next.token);
        return Err(Fault::new(ErrorKind::Syntax, next.span.into(), message));
    }
    let read = expression::expression(parsed).map_err(|fault| place::find(fault, sql, ends.first))?;
    Ok((read, parameters))
}

fn parse(sql: &str) -> Parsed<(Statement, usize)> {
    let (mut tokens, parameters) = read_tokens(sql)?;
    tokens::check_column_options(&tokens)?;
    let ends = Ends::of(&tokens);
    let optional = tokens::take_if_not_exists(&mut tokens);
    let parameter = tokens::first_parameter(&tokens);
    let replace = tokens::replace_as_insert(&mut tokens);
    let mut parser = parser(tokens);
    let parsed = parser.parse_statement().map_err(|error| syntax_fault(error, ends.last))?;
    while parser.consume_token(&Token::SemiColon) {}
    let next = parser.peek_token();
    if next.token != Token::EOF {
        let message = format!("expected the end of the statement, found {}", next.token);
        return Err(Fault::new(ErrorKind::Syntax, next.span.into(), message));
    }
    let mut statement = convert(parsed).map_err(|fault| place::find(fault, sql, ends.first))?;
    if let (true, Statement::Insert(insert)) = (replace, &mut statement) {
        insert.on_conflict = crate::syntax::OnConflict::Replace;
    }
    if let Statement::Alter(alter) = &mut statement {
        alter::optional(alter, &optional);
    }
    if let (Statement::Schema(_) | Statement::Alter(_), Some(place)) = (&statement, parameter) {
        let message = "a change of the schema takes no parameters";
        return Err(
            Fault::new(ErrorKind::Parameters, place, message).hint("write the value into the statement")
        );
    }
    Ok((statement, parameters))
}

/// Places to show where an error has none of its own.
struct Ends {
    first: Span,
    /// Behind the last word.
    last: Span,
}

impl Ends {
    fn of(tokens: &[TokenWithSpan]) -> Ends {
        let words =
            || tokens.iter().filter(|token| !matches!(token.token, Token::Whitespace(_) | Token::EOF));
        let first = words().next().map_or(Span::NONE, |token| token.span.into());
        let last =
            words().next_back().map_or(Span::NONE, |token| at(token.span.end.line, token.span.end.column));
        Ends { first, last }
    }
}

fn convert(parsed: ast::Statement) -> Parsed<Statement> {
    use ast::Statement as S;
    match parsed {
        S::Query(query) => select::query(*query).map(|select| Statement::Select(Box::new(select))),
        S::Insert(insert) => change::insert(insert).map(|insert| Statement::Insert(Box::new(insert))),
        S::Update(update) => change::update(update).map(|update| Statement::Update(Box::new(update))),
        S::Delete(delete) => change::delete(delete).map(|delete| Statement::Delete(Box::new(delete))),
        S::Explain {
            analyze: false,
            verbose: false,
            estimate: false,
            statement,
            format: None,
            options: None,
            ..
        } => match convert(*statement)? {
            inner @ (Statement::Select(_)
            | Statement::Insert(_)
            | Statement::Update(_)
            | Statement::Delete(_)) => Ok(Statement::Explain(Box::new(inner))),
            _ => Err(unsupported(Span::NONE, "EXPLAIN of this statement")
                .behind(&["CREATE", "DROP", "ALTER", "SHOW", "DESCRIBE"])),
        },
        S::ExplainTable { hive_format: None, table_name, .. } => Ok(Statement::Describe(name(table_name)?)),
        S::ShowTables {
            terse: false,
            history: false,
            extended: false,
            full: false,
            external: false,
            show_options:
                ast::ShowStatementOptions {
                    show_in: None,
                    starts_with: None,
                    limit: None,
                    limit_from: None,
                    filter_position: None,
                },
        } => Ok(Statement::ShowTables),
        S::CreateTable(table) => schema::create_table(table).map(Statement::Schema),
        S::CreateIndex(index) => schema::create_index(index).map(Statement::Schema),
        S::Drop { .. } => schema::drop(parsed).map(Statement::Schema),
        S::AlterTable(table) => alter::alter_table(table).map(Statement::Alter),
        other => {
            let text = other.to_string();
            let word: String = text.chars().take_while(|c| c.is_alphabetic()).collect();
            Err(unsupported(Span::NONE, &format!("{word} in this form"))
                .hint("there are SELECT, INSERT, UPDATE, DELETE, EXPLAIN, SHOW TABLES, DESCRIBE, CREATE and DROP of TABLE and INDEX, ALTER TABLE"))
        }
    }
}

/// sqlparser puts the place into the text of its message.
fn syntax_fault(error: ParserError, end: Span) -> Fault {
    let text = match error {
        ParserError::TokenizerError(text) | ParserError::ParserError(text) => text,
        ParserError::RecursionLimitExceeded => {
            return Fault::new(ErrorKind::Limit, Span::NONE, "the statement is nested too deeply");
        }
    };
    let Some((message, place)) = text.rsplit_once(" at Line: ") else {
        return Fault::new(ErrorKind::Syntax, end, plain(&text));
    };
    let mut numbers = place.split(", Column: ").map(|number| number.trim().parse::<u64>().unwrap_or(0));
    let (line, column) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    Fault::new(ErrorKind::Syntax, at(line, column), plain(message))
}

fn plain(message: &str) -> String {
    message
        .replacen("Expected: ", "expected ", 1)
        .replacen(", found: ", ", found ", 1)
        .replace("EOF", "the end")
}

fn at(line: u64, column: u64) -> Span {
    Span { first: Position { line, column }, last: Position { line, column } }
}

fn unsupported(span: Span, what: &str) -> Fault {
    Fault::new(ErrorKind::Unsupported, span, format!("{what} is not supported"))
}

/// An error unless nothing was written there.
fn refuse(present: bool, span: Span, what: &str) -> Parsed<()> {
    if present { Err(unsupported(span, what)) } else { Ok(()) }
}

/// The same for a clause without a place in the tree: it is at the first of these words behind `span`.
fn refuse_at(present: bool, span: Span, words: &[&str], what: &str) -> Parsed<()> {
    if present { Err(unsupported(span, what).behind(words)) } else { Ok(()) }
}

fn ident(ident: ast::Ident) -> Name {
    Name { quoted: ident.quote_style.is_some(), span: ident.span.into(), text: ident.value }
}

/// A name of one part; there are no schemas or databases.
fn name(name: ast::ObjectName) -> Parsed<Name> {
    let mut parts = name.0.into_iter().map(|part| match part {
        ast::ObjectNamePart::Identifier(part) => Ok(ident(part)),
        ast::ObjectNamePart::Function(part) => {
            Err(unsupported(part.name.span.into(), "a function as a name"))
        }
    });
    let first = parts
        .next()
        .unwrap_or_else(|| Err(Fault::new(ErrorKind::Syntax, Span::NONE, "a name is missing")))?;
    match parts.next() {
        None => Ok(first),
        Some(second) => Err(unsupported(first.span.to(second?.span), "a name with a dot")
            .hint("tables are in one space; quote the name if the dot is part of it")),
    }
}
