//! Files of rows: CSV with a header line, and JSON lines. Both give the same lines, each with its number, so that what is
//! wrong can be found with an editor. What is not a regular file (a pipe, the standard input) can be read only once and is
//! needed twice, so it is copied to a temporary file first.

use std::collections::HashSet;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, Write};
use std::path::Path;

use anyhow::{Context, Result, bail};
use hypermnesia_rpc::Value;
use hypermnesia_rpc::client::AttributeType;

use crate::csv::{Cell, RECORD_BYTES_MAX, Records};
use crate::json::{self, Object};
use crate::{literal, progress};

/// Bytes that are copied at a time.
const COPIED_AT_A_TIME: usize = 1 << 16;

/// How rows are written in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    Csv,
    Json,
}

/// The layout that a file's ending names.
pub(crate) fn layout_of(path: &Path) -> Option<Layout> {
    let ending = path.extension()?.to_str()?.to_ascii_lowercase();
    match ending.as_str() {
        "json" | "jsonl" | "ndjson" => Some(Layout::Json),
        "csv" => Some(Layout::Csv),
        _ => None,
    }
}

/// A file that can be read from its beginning as often as needed.
pub(crate) struct Source {
    file: File,
    layout: Layout,
    /// As messages name it.
    pub(crate) name: String,
    pub(crate) bytes: u64,
}

impl Source {
    /// Opens a file, or the standard input for `-`. Its layout is the one that is given, else its ending says it, else its
    /// first character.
    pub(crate) fn open(path: &Path, layout: Option<Layout>) -> Result<Source> {
        let standard_input = path == Path::new("-");
        let name = if standard_input { "standard input".to_owned() } else { path.display().to_string() };
        let mut file = if standard_input {
            spooled(std::io::stdin().lock()).with_context(|| format!("cannot take in {name}"))?
        } else {
            let file = File::open(path).with_context(|| format!("cannot open {name}"))?;
            let kind = file.metadata()?.file_type();
            match (kind.is_file(), kind.is_dir()) {
                (true, _) => file,
                (_, true) => bail!("{name} is a directory"),
                _ => spooled(file).with_context(|| format!("cannot take in {name}"))?,
            }
        };
        let bytes = file.metadata()?.len();
        let layout = match layout.or_else(|| layout_of(path)) {
            Some(layout) => layout,
            None => layout_by_content(&mut file).with_context(|| format!("cannot read {name}"))?,
        };
        Ok(Source { file, layout, name, bytes })
    }

    /// Reads it from its beginning. Readers share the position in the file: one at a time.
    pub(crate) fn reader(&self) -> Result<Reader<'_>> {
        (&self.file).rewind()?;
        let lines = BufReader::with_capacity(1 << 16, &self.file);
        let rows = match self.layout {
            Layout::Json => Rows::Json { lines, number: 0, end: 0 },
            Layout::Csv => csv_rows(lines).with_context(|| self.name.clone())?,
        };
        Ok(Reader { rows, name: &self.name })
    }
}

/// A copy that is gone with its handle.
fn spooled(mut from: impl Read) -> Result<File> {
    let folder = std::env::temp_dir();
    let mut file =
        tempfile::tempfile().with_context(|| format!("no temporary file in {}", folder.display()))?;
    let bar = progress::unbounded("taking in");
    let (mut buffer, mut copied) = (vec![0; COPIED_AT_A_TIME], 0);
    loop {
        let read = match from.read(&mut buffer) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            read => read?,
        };
        if read == 0 {
            return Ok(file);
        }
        file.write_all(&buffer[..read])
            .with_context(|| format!("after {copied} bytes into a temporary file in {}", folder.display()))?;
        copied += read as u64;
        bar.at(copied);
    }
}

fn layout_by_content(file: &mut File) -> Result<Layout> {
    file.rewind()?;
    let mut begin = Vec::new();
    file.take(1 << 12).read_to_end(&mut begin)?;
    let begin = begin.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&begin);
    Ok(if begin.trim_ascii_start().starts_with(b"{") { Layout::Json } else { Layout::Csv })
}

/// One row of a file.
#[derive(Debug)]
pub(crate) struct Line {
    /// Its number in the file, from 1, the header counted.
    pub(crate) number: u64,
    /// Where it ends, in bytes.
    pub(crate) end: u64,
    /// Its values.
    pub(crate) fields: Fields,
}

/// The values of a row.
#[derive(Debug)]
pub(crate) enum Fields {
    /// By column.
    Text(Vec<Cell>),
    /// By name.
    Json(Object),
}

impl Line {
    /// The value of one column as an attribute of this type.
    pub(crate) fn value(&self, column: usize, name: &str, ty: AttributeType) -> Result<Value> {
        match &self.fields {
            Fields::Text(cells) => match cells.get(column).and_then(Option::as_deref) {
                None => Ok(Value::Null),
                // Programs that quote every cell write their nulls so too: only where an empty value exists is it one.
                Some("") => Ok(match ty {
                    AttributeType::Text | AttributeType::Any | AttributeType::Unspecified => "".into(),
                    AttributeType::Bytes => Value::Bytes(Vec::new()),
                    _ => Value::Null,
                }),
                Some(text) => literal::of_type(text, ty),
            },
            Fields::Json(object) => match object.get(name) {
                None => Ok(Value::Null),
                Some(raw) => json::of_type(raw, ty),
            },
        }
    }
}

/// A file that is read line by line.
pub(crate) struct Reader<'a> {
    rows: Rows<'a>,
    name: &'a str,
}

enum Rows<'a> {
    Csv { records: Records<BufReader<&'a File>>, columns: Vec<String> },
    Json { lines: BufReader<&'a File>, number: u64, end: u64 },
}

fn csv_rows(lines: BufReader<&File>) -> Result<Rows<'_>> {
    let mut records = Records::new(lines);
    let header = records.next()?.map(|header| header.cells).unwrap_or_default();
    let columns: Vec<String> = header.into_iter().map(Option::unwrap_or_default).collect();
    let mut seen = HashSet::new();
    if let Some(twice) = columns.iter().find(|name| name.is_empty() || !seen.insert(name.as_str())) {
        bail!("the header line has an empty or repeated column name ({twice:?})");
    }
    Ok(Rows::Csv { records, columns })
}

impl Reader<'_> {
    /// The columns that the header names; none for JSON lines, whose columns show as they come.
    pub(crate) fn columns(&self) -> Vec<String> {
        match &self.rows {
            Rows::Csv { columns, .. } => columns.clone(),
            Rows::Json { .. } => Vec::new(),
        }
    }

    /// The next row.
    pub(crate) fn next(&mut self) -> Result<Option<Line>> {
        let line = match &mut self.rows {
            Rows::Csv { records, columns } => next_csv(records, columns.len()),
            Rows::Json { lines, number, end } => next_json(lines, number, end),
        };
        line.map_err(|error| anyhow::anyhow!("{}, {error:#}", self.name))
    }
}

fn next_csv(records: &mut Records<BufReader<&File>>, columns: usize) -> Result<Option<Line>> {
    let Some(record) = records.next()? else { return Ok(None) };
    if record.cells.len() != columns {
        bail!("line {}: {} fields, and the header has {columns}", record.line, record.cells.len());
    }
    Ok(Some(Line { number: record.line, end: records.bytes(), fields: Fields::Text(record.cells) }))
}

fn next_json(lines: &mut BufReader<&File>, number: &mut u64, end: &mut u64) -> Result<Option<Line>> {
    loop {
        let mut text = Vec::new();
        let read = lines.take(RECORD_BYTES_MAX).read_until(b'\n', &mut text)?;
        if read == 0 {
            return Ok(None);
        }
        *number += 1;
        *end += read as u64;
        if read as u64 == RECORD_BYTES_MAX {
            bail!("line {number}: longer than {} MiB", RECORD_BYTES_MAX >> 20);
        }
        let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&text).trim_ascii();
        if text.is_empty() {
            continue;
        }
        let object =
            Object::read(text).with_context(|| format!("line {number}: one JSON object a line is wanted"))?;
        return Ok(Some(Line { number: *number, end: *end, fields: Fields::Json(object) }));
    }
}
