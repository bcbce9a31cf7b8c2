//! Files of rows: CSV with a header line, and JSON lines. Both give the same lines, each with its number, so that what is
//! wrong can be found with an editor.

use std::collections::HashSet;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};

/// Longest line of JSON that is read, in bytes: a row cannot be longer than 8 MiB.
const JSON_LINE_BYTES_MAX: u64 = 16 << 20;

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
    Text(Vec<String>),
    /// By name.
    Json(serde_json::Map<String, serde_json::Value>),
}

/// A file that is read line by line.
pub(crate) enum Reader {
    Csv { csv: csv::Reader<File>, columns: Vec<String>, path: String },
    Json { lines: BufReader<File>, number: u64, end: u64, path: String },
}

/// Opens a file; its ending says what it is.
pub(crate) fn open(path: &Path) -> Result<Reader> {
    let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default().to_ascii_lowercase();
    if matches!(ending.as_str(), "json" | "jsonl" | "ndjson") {
        let lines = BufReader::with_capacity(1 << 16, file);
        return Ok(Reader::Json { lines, number: 0, end: 0, path: path.display().to_string() });
    }
    let mut csv = csv::ReaderBuilder::new().buffer_capacity(1 << 16).from_reader(file);
    let header =
        csv.headers().with_context(|| format!("cannot read the header line of {}", path.display()))?;
    let columns: Vec<String> =
        header.iter().map(|name| name.trim_start_matches('\u{feff}').to_owned()).collect();
    let mut seen = HashSet::new();
    if let Some(twice) = columns.iter().find(|name| name.is_empty() || !seen.insert(name.as_str())) {
        bail!("{}: the header line has an empty or repeated column name ({twice:?})", path.display());
    }
    Ok(Reader::Csv { csv, columns, path: path.display().to_string() })
}

impl Reader {
    /// The columns that the header names; none for JSON lines, whose columns show as they come.
    pub(crate) fn columns(&self) -> Vec<String> {
        match self {
            Reader::Csv { columns, .. } => columns.clone(),
            Reader::Json { .. } => Vec::new(),
        }
    }

    /// The next row.
    pub(crate) fn next(&mut self) -> Result<Option<Line>> {
        match self {
            Reader::Csv { csv, path, .. } => next_csv(csv, path),
            Reader::Json { lines, number, end, path } => next_json(lines, number, end, path),
        }
    }
}

fn next_csv(csv: &mut csv::Reader<File>, path: &str) -> Result<Option<Line>> {
    let mut record = csv::StringRecord::new();
    if !csv.read_record(&mut record).map_err(|error| bad_record(&error, path))? {
        return Ok(None);
    }
    let number = record.position().map_or(0, csv::Position::line);
    let fields = Fields::Text(record.iter().map(str::to_owned).collect());
    Ok(Some(Line { number, end: csv.position().byte(), fields }))
}

/// What is wrong, and on which line.
fn bad_record(error: &csv::Error, path: &str) -> anyhow::Error {
    let line = error.position().map_or(0, csv::Position::line);
    match error.kind() {
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
            anyhow!("{path}, line {line}: {len} fields, and the header has {expected_len}")
        }
        csv::ErrorKind::Utf8 { err, .. } => anyhow!("{path}, line {line}: {err}"),
        _ => anyhow!("{path}: {error}"),
    }
}

fn next_json(
    lines: &mut BufReader<File>,
    number: &mut u64,
    end: &mut u64,
    path: &str,
) -> Result<Option<Line>> {
    loop {
        let mut text = Vec::new();
        let read = std::io::Read::take(&mut *lines, JSON_LINE_BYTES_MAX).read_until(b'\n', &mut text)?;
        if read == 0 {
            return Ok(None);
        }
        *number += 1;
        *end += read as u64;
        if read as u64 == JSON_LINE_BYTES_MAX {
            bail!("{path}, line {number}: longer than {JSON_LINE_BYTES_MAX} bytes");
        }
        if text.trim_ascii().is_empty() {
            continue;
        }
        let json = serde_json::from_slice(&text)
            .with_context(|| format!("{path}, line {number}: not a JSON object"))?;
        return Ok(Some(Line { number: *number, end: *end, fields: Fields::Json(json) }));
    }
}
