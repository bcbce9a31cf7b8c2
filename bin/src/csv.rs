//! CSV as RFC 4180 has it, with the one distinction that tables need and CSV libraries drop: an empty cell is null, a cell of
//! two quotes is an empty text. Reading is strict where being lenient would swallow rows: a quote that is never closed, text
//! behind a closing quote and a lone carriage return are refused with their line.

use std::io::{self, BufRead, Read, Write};

use anyhow::{Context, Result, bail};

/// Most bytes of one record: a row of 8 MiB whose bytes are all escaped six-fold is still read.
pub(crate) const RECORD_BYTES_MAX: u64 = 64 << 20;

/// A cell: nothing, or its text.
pub(crate) type Cell = Option<String>;

/// Writes one record.
pub(crate) fn write<'a>(
    writer: &mut impl Write,
    cells: impl IntoIterator<Item = Option<&'a str>>,
) -> io::Result<()> {
    let mut line = String::new();
    for (n, cell) in cells.into_iter().enumerate() {
        if n > 0 {
            line.push(',');
        }
        match cell {
            None => {}
            Some(text) if text.is_empty() || text.contains([',', '"', '\n', '\r']) => {
                line.push('"');
                line.push_str(&text.replace('"', "\"\""));
                line.push('"');
            }
            Some(text) => line.push_str(text),
        }
    }
    line.push('\n');
    writer.write_all(line.as_bytes())
}

/// Records, read one by one.
pub(crate) struct Records<R> {
    lines: R,
    /// Lines and bytes read so far.
    line: u64,
    bytes: u64,
}

/// One record.
pub(crate) struct Record {
    /// The line it begins on, from 1.
    pub(crate) line: u64,
    pub(crate) cells: Vec<Cell>,
}

impl<R: BufRead> Records<R> {
    pub(crate) fn new(lines: R) -> Records<R> {
        Records { lines, line: 0, bytes: 0 }
    }

    /// Bytes read so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The next record; lines without a character are passed over.
    pub(crate) fn next(&mut self) -> Result<Option<Record>> {
        let (mut parser, mut text, mut first) = (Parser::default(), Vec::new(), 0);
        let begin = self.bytes;
        loop {
            text.clear();
            let left = RECORD_BYTES_MAX - (self.bytes - begin).min(RECORD_BYTES_MAX);
            let read = (&mut self.lines).take(left).read_until(b'\n', &mut text)?;
            if read == 0 {
                return match parser.state {
                    State::Quoted if left == 0 => {
                        bail!("line {}: {NEVER_CLOSED} within {} MiB", parser.opened, RECORD_BYTES_MAX >> 20)
                    }
                    State::Quoted => bail!("line {}: {NEVER_CLOSED}", parser.opened),
                    _ if left == 0 => bail!("line {first}: longer than {} MiB", RECORD_BYTES_MAX >> 20),
                    _ => Ok(None),
                };
            }
            (self.line, self.bytes) = (self.line + 1, self.bytes + read as u64);
            if parser.state != State::Quoted {
                first = self.line;
                if self.line == 1 && text.starts_with(b"\xef\xbb\xbf") {
                    text.drain(..3);
                }
                if matches!(&text[..], b"\n" | b"\r\n" | b"") {
                    continue;
                }
            }
            // A last line without its end is whole all the same.
            let at_end = !text.ends_with(b"\n") && self.bytes - begin < RECORD_BYTES_MAX;
            let whole = parser.take(&text, self.line).with_context(|| format!("line {}", self.line))?;
            if whole || (at_end && parser.state != State::Quoted) {
                if !whole {
                    parser.end_cell()?;
                }
                return Ok(Some(Record { line: first, cells: parser.cells }));
            }
        }
    }
}

const NEVER_CLOSED: &str = "the quote that opens here is never closed";

#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum State {
    /// Before a cell's first character.
    #[default]
    Begin,
    Plain,
    Quoted,
    /// Behind a quote inside quotes: its end, or the first of two that stand for one.
    Closed,
}

#[derive(Default)]
struct Parser {
    state: State,
    cells: Vec<Cell>,
    cell: Vec<u8>,
    /// The line of the last opening quote.
    opened: u64,
}

impl Parser {
    /// Takes a line with its end; true when the record ends with it.
    fn take(&mut self, line: &[u8], number: u64) -> Result<bool> {
        for (at, &byte) in line.iter().enumerate() {
            self.state = match (self.state, byte) {
                (State::Quoted, b'"') => State::Closed,
                (State::Quoted, _) | (State::Closed, b'"') => {
                    self.cell.push(byte);
                    State::Quoted
                }
                (_, b',') => {
                    self.end_cell()?;
                    State::Begin
                }
                (_, b'\n') => {
                    self.end_cell()?;
                    return Ok(true);
                }
                (state, b'\r') if line.get(at + 1).is_none_or(|next| *next == b'\n') => state,
                (_, b'\r') => bail!("a carriage return without a line feed stands outside quotes"),
                (State::Begin, b'"') => {
                    self.opened = number;
                    State::Quoted
                }
                (State::Closed, _) => {
                    bail!("text stands behind a closing quote (a quote inside quotes is written twice)")
                }
                (State::Begin | State::Plain, _) => {
                    self.cell.push(byte);
                    State::Plain
                }
            };
        }
        Ok(false)
    }

    fn end_cell(&mut self) -> Result<()> {
        let text = String::from_utf8(std::mem::take(&mut self.cell)).context("not UTF-8")?;
        let quoted = self.state == State::Closed;
        self.cells.push((quoted || !text.is_empty()).then_some(text));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<(u64, Vec<Cell>)>> {
        let mut records = Records::new(text.as_bytes());
        let mut all = Vec::new();
        while let Some(record) = records.next()? {
            all.push((record.line, record.cells));
        }
        Ok(all)
    }

    #[test]
    fn what_is_written_is_read_back() {
        // Aim: null, empty text and every awkward character survive. Method: one record of all of them, there and back.
        let cells = [None, Some(""), Some("a,b"), Some("a \"b\"\r\nc"), Some(" x "), Some("\""), None];
        let mut bytes = Vec::new();
        write(&mut bytes, cells).unwrap();
        write(&mut bytes, [Some("1")]).unwrap();
        let wanted: Vec<Cell> = cells.iter().map(|cell| cell.map(str::to_owned)).collect();
        let all = read(std::str::from_utf8(&bytes).unwrap()).unwrap();
        assert_eq!(all, [(1, wanted), (3, vec![Some("1".to_owned())])]);
    }

    #[test]
    fn ends_of_lines_and_files_as_programs_write_them() {
        // Aim: Windows ends, a byte order mark, empty lines and a missing last end change nothing. Method: all in one file.
        let all = read("\u{feff}a,b\r\n\r\n1,\r\n\n\"x\",2").unwrap();
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(
            all,
            [(1, vec![text("a"), text("b")]), (3, vec![text("1"), None]), (5, vec![text("x"), text("2")])]
        );
    }

    #[test]
    fn what_would_swallow_rows_is_refused_with_its_line() {
        // Aim: a stray quote is found where it stands, not at the end of the file. Method: one case of each.
        for (text, line) in [
            ("a,b\n1,\"x\n2,y\n3,z\n", "line 2: the quote"),
            ("a,b\n1,\"x\" y\n", "line 2: text stands behind"),
            ("a,b\r1,2\r", "line 1: a carriage return"),
        ] {
            let error = format!("{:#}", read(text).unwrap_err());
            assert!(error.contains(line), "{error}");
        }
    }
}
