//! What a command prints: the same columns and rows as a table that fits the terminal, as JSON lines, or as CSV. Rows go to
//! the standard output as they come where the format allows; everything said about them goes to the standard error.

use std::io::{self, IsTerminal, Write};

use anyhow::Result;
use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use hypermnesia::calendar::Moment;
use hypermnesia_rpc::Value;

/// How data is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// For people: aligned columns, no wider than the terminal.
    #[default]
    Table,
    /// One JSON object per line.
    Json,
    /// Comma-separated values with a header line.
    Csv,
}

/// Rows on their way out. [`Output::finish`] must be called: tables are printed as a whole.
pub(crate) struct Output<W: Write> {
    columns: Vec<String>,
    sink: Sink<W>,
}

enum Sink<W: Write> {
    Table(Box<Table>, W),
    Json(W),
    Csv(Box<csv::Writer<W>>),
}

/// Output to the standard output.
pub(crate) fn stdout(format: Format, columns: &[&str]) -> Result<Output<io::BufWriter<io::Stdout>>> {
    Output::new(
        format,
        columns.iter().map(|name| (*name).to_owned()).collect(),
        io::BufWriter::new(io::stdout()),
    )
}

impl<W: Write> Output<W> {
    /// Output with these columns to `writer`.
    pub(crate) fn new(format: Format, columns: Vec<String>, writer: W) -> Result<Output<W>> {
        let sink = match format {
            Format::Table => Sink::Table(Box::new(empty_table(&columns)), writer),
            Format::Json => Sink::Json(writer),
            Format::Csv => {
                let mut csv = csv::Writer::from_writer(writer);
                csv.write_record(&columns)?;
                Sink::Csv(Box::new(csv))
            }
        };
        Ok(Output { columns, sink })
    }

    /// Prints one row.
    pub(crate) fn row(&mut self, values: &[Value]) -> Result<()> {
        match &mut self.sink {
            Sink::Table(table, _) => {
                table.add_row(values.iter().map(cell));
            }
            Sink::Json(writer) => {
                // Not through a JSON object, which would sort the columns.
                let fields = self.columns.iter().zip(values.iter().map(json));
                serde::Serializer::collect_map(&mut serde_json::Serializer::new(&mut *writer), fields)?;
                writer.write_all(b"\n")?;
            }
            Sink::Csv(csv) => csv.write_record(values.iter().map(field))?,
        }
        Ok(())
    }

    /// Prints what is left.
    pub(crate) fn finish(self) -> Result<()> {
        match self.sink {
            Sink::Table(table, mut writer) => {
                writeln!(writer, "{table}")?;
                writer.flush()?;
            }
            Sink::Json(mut writer) => writer.flush()?,
            Sink::Csv(mut csv) => csv.flush()?,
        }
        Ok(())
    }
}

fn empty_table(columns: &[String]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY);
    table.set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(columns);
    table
}

fn cell(value: &Value) -> comfy_table::Cell {
    let cell = comfy_table::Cell::new(plain(value));
    match value {
        Value::Int(_) | Value::Uint(_) | Value::Float(_) => cell.set_alignment(CellAlignment::Right),
        _ => cell,
    }
}

/// A value as people read it: no quotes around text, nothing for null, moments as ISO 8601.
pub(crate) fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::Text(text) => text.clone(),
        Value::Timestamp(us) => Moment(*us).to_string(),
        other => other.to_string(),
    }
}

/// A value as a field of CSV, which an import reads back: bytes and moments as in JSON, lists and maps as JSON.
fn field(value: &Value) -> String {
    match (value, json(value)) {
        (Value::Bytes(_), serde_json::Value::String(digits)) => digits,
        (Value::Timestamp(us), _) => us.to_string(),
        (Value::List(_) | Value::Map(_), json) => json.to_string(),
        _ => plain(value),
    }
}

/// A value as JSON. Bytes become hexadecimal text, timestamps microseconds, maps objects.
pub(crate) fn json(value: &Value) -> serde_json::Value {
    match value {
        Value::Null => serde_json::Value::Null,
        Value::Bool(b) => (*b).into(),
        Value::Int(n) | Value::Timestamp(n) => (*n).into(),
        Value::Uint(n) => (*n).into(),
        Value::Float(x) => serde_json::Number::from_f64(*x).map_or(serde_json::Value::Null, Into::into),
        Value::Text(text) => text.clone().into(),
        Value::Bytes(bytes) => bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>().into(),
        Value::List(values) => values.iter().map(json).collect::<Vec<_>>().into(),
        Value::Map(pairs) => {
            let object: serde_json::Map<_, _> =
                pairs.iter().map(|(key, value)| (plain(key), json(value))).collect();
            object.into()
        }
    }
}

/// Whether a person is looking at the standard error, where progress is shown.
pub(crate) fn is_watched() -> bool {
    io::stderr().is_terminal()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(format: Format) -> String {
        let mut bytes = Vec::new();
        let mut output = Output::new(format, vec!["id".into(), "code".into()], &mut bytes).unwrap();
        output.row(&[Value::Int(1), "a \"b\", c".into()]).unwrap();
        output.row(&[Value::Int(2), Value::Null]).unwrap();
        output.finish().unwrap();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn json_is_one_object_a_line_with_columns_in_order() {
        // Aim: scripts read every line by itself. Method: quotes and a null.
        assert_eq!(
            printed(Format::Json),
            "{\"id\":1,\"code\":\"a \\\"b\\\", c\"}\n{\"id\":2,\"code\":null}\n"
        );
    }

    #[test]
    fn csv_quotes_what_must_be_quoted() {
        // Aim: a spreadsheet reads it back. Method: quotes and a comma in one field, an empty one for null.
        assert_eq!(printed(Format::Csv), "id,code\n1,\"a \"\"b\"\", c\"\n2,\n");
    }

    #[test]
    fn moments_are_text_for_people_and_numbers_for_programs() {
        // Aim: nobody counts microseconds, and a CSV can be imported again. Method: values whose forms differ.
        let moment = Value::Timestamp(1_709_164_800_000_000);
        assert_eq!(plain(&moment), "2024-02-29T00:00:00Z");
        assert_eq!(field(&moment), "1709164800000000");
        assert_eq!(json(&moment), 1_709_164_800_000_000_i64);
        assert_eq!(field(&Value::Bytes(vec![0, 255])), "00ff");
        assert_eq!(field(&Value::List(vec![1.into(), "a".into()])), "[1,\"a\"]");
    }

    #[test]
    fn a_table_shows_every_cell() {
        // Aim: nothing is cut. Method: look for each text.
        let table = printed(Format::Table);
        for text in ["id", "code", "a \"b\", c", "2"] {
            assert!(table.contains(text), "{table}");
        }
    }
}
