//! What is done to the tokens before sqlparser sees them: bounds, parameters, and the few things it would read wrongly.

use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::{Token, TokenWithSpan};

use super::{Parsed, unsupported};
use crate::error::{ErrorKind, Fault, Span};
use crate::limits::{CHAIN_TOKENS_MAX, PARAMETERS_MAX};

/// The tokens that mean something.
fn words(tokens: &[TokenWithSpan]) -> impl Iterator<Item = &TokenWithSpan> {
    tokens.iter().filter(|token| !matches!(token.token, Token::Whitespace(_)))
}

fn keyword(token: &Token) -> Keyword {
    match token {
        Token::Word(word) if word.quote_style.is_none() => word.keyword,
        _ => Keyword::NoKeyword,
    }
}

/// sqlparser takes some options of a column away and drops them unless its dialect is another's, so they would be passed
/// over in silence.
pub(super) fn check_column_options(tokens: &[TokenWithSpan]) -> Parsed<()> {
    use Keyword as K;
    let begins = |with: [Keyword; 2]| words(tokens).map(|token| keyword(&token.token)).take(2).eq(with);
    // At the depth of columns; a column's name stands behind a parenthesis or a comma, or one of some words.
    let (columns, before_names): (usize, &[Keyword]) = match () {
        () if begins([K::CREATE, K::TABLE]) => (1, &[]),
        () if begins([K::ALTER, K::TABLE]) => {
            (0, &[K::TABLE, K::ADD, K::COLUMN, K::EXISTS, K::DROP, K::RENAME, K::TO, K::ALTER])
        }
        () => return Ok(()),
    };
    let (mut depth, mut names) = (0_usize, true);
    for token in words(tokens) {
        match token.token {
            Token::LParen => depth += 1,
            Token::RParen => depth = depth.saturating_sub(1),
            _ => {}
        }
        let dropped = matches!(
            keyword(&token.token),
            K::AUTO_INCREMENT | K::AUTOINCREMENT | K::ASC | K::DESC | K::SRID | K::IDENTITY
        );
        if dropped && depth == columns && !names {
            return Err(unsupported(token.span.into(), &format!("the column option {}", token.token)));
        }
        names = matches!(token.token, Token::LParen | Token::Comma)
            || before_names.contains(&keyword(&token.token));
    }
    Ok(())
}

/// sqlparser reads IF NOT EXISTS behind ADD and drops it unless its dialect is another's, so it is taken out before. The
/// places of the columns that it stands before.
pub(super) fn take_if_not_exists(tokens: &mut Vec<TokenWithSpan>) -> Vec<Span> {
    use Keyword as K;
    if words(tokens).next().is_none_or(|first| keyword(&first.token) != K::ALTER) {
        return Vec::new();
    }
    tokens.retain(|token| !matches!(token.token, Token::Whitespace(_)));
    let (mut columns, mut at) = (Vec::new(), 0);
    while at < tokens.len() {
        let is =
            |place: usize, wanted| tokens.get(place).is_some_and(|token| keyword(&token.token) == wanted);
        // ADD COLUMN IF NOT EXISTS, or ADD IF NOT EXISTS COLUMN; COLUMN may be left out.
        let first = at + 1 + usize::from(is(at + 1, K::COLUMN));
        if is(at, K::ADD) && is(first, K::IF) && is(first + 1, K::NOT) && is(first + 2, K::EXISTS) {
            let name = first + 3 + usize::from(is(first + 3, K::COLUMN));
            columns.extend(tokens.get(name).map(|token| Span::from(token.span)));
            tokens.drain(first..first + 3);
        }
        at += 1;
    }
    columns
}

/// Where the first parameter stands.
pub(super) fn first_parameter(tokens: &[TokenWithSpan]) -> Option<Span> {
    tokens.iter().find(|token| matches!(token.token, Token::Placeholder(_))).map(|token| token.span.into())
}

/// Lets the place of a number begin at its sign, which the tree has no place for.
pub(super) fn join_signs(tokens: &mut [TokenWithSpan]) {
    let mut sign = None;
    let mut operand = false;
    for token in tokens {
        if matches!(token.token, Token::Whitespace(_)) {
            continue;
        }
        if let (Some(start), Token::Number(..)) = (sign, &token.token) {
            token.span.start = start;
        }
        sign = (token.token == Token::Minus && !operand).then_some(token.span.start);
        operand = ends_operand(&token.token);
    }
}

/// Whether a minus behind it subtracts. Of the words, those that an expression follows.
fn ends_operand(token: &Token) -> bool {
    use Keyword as K;
    match token {
        Token::Word(_) => !matches!(
            keyword(token),
            K::SELECT
                | K::DISTINCT
                | K::ALL
                | K::WHERE
                | K::HAVING
                | K::ON
                | K::BY
                | K::LIMIT
                | K::OFFSET
                | K::AND
                | K::OR
                | K::NOT
                | K::IN
                | K::BETWEEN
                | K::LIKE
                | K::ILIKE
                | K::FROM
                | K::CASE
                | K::WHEN
                | K::THEN
                | K::ELSE
        ),
        Token::Number(..)
        | Token::SingleQuotedString(_)
        | Token::HexStringLiteral(_)
        | Token::Placeholder(_)
        | Token::RParen
        | Token::RBracket
        | Token::RBrace => true,
        _ => false,
    }
}

/// sqlparser reads REPLACE INTO for some dialects only, so it is shown an INSERT. Whether it was a REPLACE.
pub(super) fn replace_as_insert(tokens: &mut [TokenWithSpan]) -> bool {
    let first = tokens.iter_mut().find(|token| !matches!(token.token, Token::Whitespace(_)));
    match first {
        Some(token) if matches!(&token.token, Token::Word(word) if word.keyword == Keyword::REPLACE) => {
            token.token = Token::make_keyword("INSERT");
            true
        }
        _ => false,
    }
}

/// See [`CHAIN_TOKENS_MAX`]: refuses text whose tree would be too deep to drop, before it is built.
pub(super) fn check_chains(tokens: &[TokenWithSpan]) -> Parsed<()> {
    // Tokens since the last comma, for each open parenthesis, and their sum.
    let (mut open, mut sum) = (vec![0_usize], 0);
    for token in tokens {
        match token.token {
            Token::Whitespace(_) => continue,
            Token::Comma | Token::SemiColon => {
                sum -= open.last().copied().unwrap_or(0);
                open.pop();
                open.push(0);
                continue;
            }
            Token::RParen | Token::RBracket | Token::RBrace if open.len() > 1 => {
                sum -= open.pop().unwrap_or(0);
            }
            _ => {}
        }
        if let Some(last) = open.last_mut() {
            *last += 1;
            sum += 1;
        }
        if matches!(token.token, Token::LParen | Token::LBracket | Token::LBrace) {
            open.push(0);
        }
        if sum > CHAIN_TOKENS_MAX {
            let message = format!("the expression is too long: more than {CHAIN_TOKENS_MAX} words and signs");
            return Err(Fault::new(ErrorKind::Limit, token.span.into(), message)
                .hint("a long chain of OR is shorter as IN (...)"));
        }
    }
    Ok(())
}

/// Gives each `?` its number and finds the greatest.
pub(super) fn number_parameters(tokens: &mut [TokenWithSpan]) -> Parsed<usize> {
    let (mut marks, mut greatest) = (0_usize, 0_usize);
    for token in tokens {
        let Token::Placeholder(text) = &mut token.token else { continue };
        let span: Span = token.span.into();
        let number = if text == "?" {
            marks += 1;
            marks
        } else {
            let digits = text.trim_start_matches(['$', '?']);
            digits.parse::<usize>().ok().filter(|&n| n > 0).ok_or_else(|| {
                Fault::new(ErrorKind::Parameters, span, format!("{text} is no parameter"))
                    .hint("parameters are $1, $2 ... or ?")
            })?
        };
        greatest = greatest.max(number);
        if marks > 0 && greatest > marks {
            return Err(Fault::new(ErrorKind::Parameters, span, "use either ? or $1, not both"));
        }
        if number > PARAMETERS_MAX {
            let message = format!("more than {PARAMETERS_MAX} parameters");
            return Err(Fault::new(ErrorKind::Limit, span, message));
        }
        *text = format!("${number}");
    }
    Ok(greatest)
}
