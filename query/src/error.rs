//! What can be wrong with a query, and where in its text. An error of this room changed nothing by itself, but rows
//! written before it in the same transaction stay in that transaction: the caller aborts it.

use std::fmt;

use crate::limits::TEXT_BYTES_MAX;

/// Why an execution failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error<E> {
    /// The statement, its parameters or the values it met are wrong. The same again fails again over the same rows.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// The access refused or failed.
    #[error("{0}")]
    Access(E),
}

/// The sort of a [`QueryError`], for callers that map errors to codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The text is no statement.
    Syntax,
    /// SQL that is not supported here.
    Unsupported,
    /// No such table, column, index or function, or an ambiguous name.
    Name,
    /// An operation over values of the wrong type.
    Type,
    /// A value out of range: overflow, division by zero.
    Value,
    /// A duplicate key, a null where none may be.
    Constraint,
    /// Too few or too many parameters.
    Parameters,
    /// A bound of [`crate::limits`] or [`crate::Limits`].
    Limit,
}

/// A place in the text: line and column from 1, the column counted in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The line.
    pub line: u64,
    /// The column.
    pub column: u64,
}

/// From a first to a last character, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) first: Position,
    pub(crate) last: Position,
}

impl Span {
    /// Nowhere in the text.
    pub(crate) const NONE: Span =
        Span { first: Position { line: 0, column: 0 }, last: Position { line: 0, column: 0 } };

    pub(crate) fn is_none(self) -> bool {
        self.first.line == 0
    }

    /// This place, or the other if this is none.
    pub(crate) fn or(self, other: Span) -> Span {
        if self.is_none() { other } else { self }
    }

    /// From the beginning of one to the end of the other.
    pub(crate) fn to(self, other: Span) -> Span {
        match (self.is_none(), other.is_none()) {
            (true, _) => other,
            (_, true) => self,
            _ => Span { first: self.first.min(other.first), last: self.last.max(other.last) },
        }
    }
}

/// Locations of sqlparser are from 1, its ends stand behind the last character; 0 is nowhere.
impl From<sqlparser::tokenizer::Span> for Span {
    fn from(span: sqlparser::tokenizer::Span) -> Span {
        let first = Position::of(span.start);
        let last = Position { line: span.end.line, column: span.end.column.saturating_sub(1) };
        Span { first, last: if last < first { first } else { last } }
    }
}

impl Position {
    pub(crate) fn of(location: sqlparser::tokenizer::Location) -> Position {
        Position { line: location.line, column: location.column }
    }
}

/// Words that stand where a fault is, if its span is only near.
#[derive(Clone, Debug)]
pub(crate) enum Sought {
    /// The span is the place.
    Nothing,
    /// The first of these behind the beginning of the span.
    Behind(Vec<String>),
    /// The last of these before the span.
    Before(Vec<String>),
}

/// A fault that does not know its text yet. It becomes a [`QueryError`] where the text is at hand.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    pub(crate) kind: ErrorKind,
    pub(crate) span: Span,
    /// Answered by the parser; nobody else sets it.
    pub(crate) sought: Sought,
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
}

impl Fault {
    pub(crate) fn new(kind: ErrorKind, span: Span, message: impl Into<String>) -> Fault {
        Fault { kind, span, sought: Sought::Nothing, message: message.into(), hint: None }
    }

    pub(crate) fn behind(mut self, words: &[&str]) -> Fault {
        self.sought = Sought::Behind(words.iter().map(|&word| word.to_owned()).collect());
        self
    }

    pub(crate) fn before(mut self, words: &[&str]) -> Fault {
        self.sought = Sought::Before(words.iter().map(|&word| word.to_owned()).collect());
        self
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Fault {
        self.hint = Some(hint.into());
        self
    }

    pub(crate) fn in_text(self, text: &str) -> QueryError {
        let position = (!self.span.is_none()).then_some(self.span.first);
        let excerpt = position.and_then(|_| excerpt(text, self.span));
        QueryError { kind: self.kind, message: self.message, position, excerpt, hint: self.hint }
    }
}

/// What is wrong with a statement, printed with the line of the text and a caret under the place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueryError {
    /// The sort of error.
    pub kind: ErrorKind,
    /// What is wrong, in one line.
    pub message: String,
    /// Where, if it has a place.
    pub position: Option<Position>,
    /// The line of the text and the carets under it, if it has a place.
    pub excerpt: Option<String>,
    /// What may have been meant.
    pub hint: Option<String>,
}

impl std::error::Error for QueryError {}

impl fmt::Display for QueryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if let Some(Position { line, column }) = self.position {
            write!(f, " (line {line}, column {column})")?;
        }
        if let Some(excerpt) = &self.excerpt {
            write!(f, "\n{excerpt}")?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "\nhint: {hint}")?;
        }
        Ok(())
    }
}

/// Longest part of a line that is shown, in characters.
const EXCERPT_CHARS: usize = 100;

/// The line the span begins in, cut to [`EXCERPT_CHARS`] around it, and carets under the span.
fn excerpt(text: &str, span: Span) -> Option<String> {
    debug_assert!(text.len() <= TEXT_BYTES_MAX);
    let line_index = usize::try_from(span.first.line).ok()?.checked_sub(1)?;
    let line: Vec<char> = text.split('\n').nth(line_index)?.trim_end_matches('\r').chars().collect();
    let column = usize::try_from(span.first.column).ok()?.saturating_sub(1).min(line.len());
    let last = if span.last.line == span.first.line {
        usize::try_from(span.last.column).ok()?.min(line.len().max(1))
    } else {
        line.len()
    };
    let from = if line.len() <= EXCERPT_CHARS { 0 } else { column.saturating_sub(EXCERPT_CHARS / 2) };
    let shown = |c: &char| if c.is_control() { ' ' } else { *c };
    let part: String = line[from..].iter().take(EXCERPT_CHARS).map(shown).collect();
    let room = EXCERPT_CHARS.saturating_sub(column - from).max(1);
    let last = last.clamp(column + 1, column + room);
    let wide = |chars: &[char]| chars.iter().map(|&c| cells(c)).sum::<usize>();
    let blanks = " ".repeat(wide(&line[from..column]));
    let carets = "^".repeat(wide(&line[column..last.min(line.len())]).max(1));
    Some(format!("  {part}\n  {blanks}{carets}"))
}

/// How many cells of a terminal a character takes, so that carets stand under what they mean: none if it is put onto the
/// one before, two if it is East Asian or an emoji. The blocks as a whole; single exceptions shift a caret, no more.
fn cells(c: char) -> usize {
    match u32::from(c) {
        0x300..=0x36F | 0x200B..=0x200F | 0x20D0..=0x20FF | 0xFE00..=0xFE0F => 0,
        0x1100..=0x115F
        | 0x2E80..=0xA4CF
        | 0xAC00..=0xD7A3
        | 0xF900..=0xFAFF
        | 0xFE30..=0xFE6F
        | 0xFF00..=0xFF60
        | 0xFFE0..=0xFFE6
        | 0x1F300..=0x1FAFF
        | 0x20000..=0x3FFFD => 2,
        _ => 1,
    }
}
