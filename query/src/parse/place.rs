//! The place of what is refused, where the tree of sqlparser has none: the text is cut into tokens once more, which only
//! an error pays for, and the words are looked for.

use sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer};

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
