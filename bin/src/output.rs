//! What a command prints: the same columns and rows as a table that fits the terminal, as JSON lines, or as CSV. Rows go to
//! the standard output as they come where the format allows; everything said about them goes to the standard error.

use std::io::{self, IsTerminal, Write};

use anyhow::Result;
use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use hypermnesia::calendar::Moment;
use hypermnesia_rpc::Value;
use hypermnesia_rpc::client::AttributeType;

use crate::{csv, json, literal};

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
    /// By column, whether a value says its own type, since the table says none. Where this ends, none does.
    any: Vec<bool>,
    sink: Sink<W>,
}

enum Sink<W: Write> {
    Table(Box<Table>, W),
    Json(W),
    Csv(W),
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
    pub(crate) fn new(format: Format, columns: Vec<String>, mut writer: W) -> Result<Output<W>> {
        let sink = match format {
            Format::Table => Sink::Table(Box::new(empty_table(&columns)), writer),
            Format::Json => Sink::Json(writer),
            Format::Csv => {
                csv::write(&mut writer, columns.iter().map(|name| Some(name.as_str())))?;
                Sink::Csv(writer)
            }
        };
        Ok(Output { columns, any: Vec::new(), sink })
    }

    /// The same with columns of these types: values in columns that hold any type are written so that `import` finds their
    /// type again.
    pub(crate) fn of_types(mut self, types: impl IntoIterator<Item = AttributeType>) -> Output<W> {
        self.any = types.into_iter().map(|ty| ty == AttributeType::Any).collect();
        self
    }

    /// Prints one row.
    pub(crate) fn row(&mut self, values: &[Value]) -> Result<()> {
        let any = self.any.iter().copied().chain(std::iter::repeat(false));
        match &mut self.sink {
            Sink::Table(table, _) => {
                table.add_row(values.iter().map(cell));
            }
            Sink::Json(writer) => {
                let each = values.iter().zip(any);
                let each = each.map(|(value, any)| if any { json::of(value) } else { json::of_typed(value) });
                // By way of a buffer, so that a failing writer's error stays what it is.
                let mut line = Vec::new();
                let fields = self.columns.iter().zip(each);
                serde::Serializer::collect_map(&mut serde_json::Serializer::new(&mut line), fields)?;
                line.push(b'\n');
                writer.write_all(&line)?;
            }
            Sink::Csv(writer) => {
                let each = values.iter().zip(any);
                let cells: Vec<_> =
                    each.map(|(value, any)| if any { any_cell(value) } else { typed_cell(value) }).collect();
                csv::write(writer, cells.iter().map(Option::as_deref))?;
            }
        }
        Ok(())
    }

    /// Prints what is left.
    pub(crate) fn finish(self) -> Result<W> {
        let mut writer = match self.sink {
            Sink::Table(table, mut writer) => {
                writeln!(writer, "{table}")?;
                writer
            }
            Sink::Json(writer) | Sink::Csv(writer) => writer,
        };
        writer.flush()?;
        Ok(writer)
    }
}

/// A CSV cell whose column says its type.
fn typed_cell(value: &Value) -> csv::Cell {
    match value {
        Value::Null => None,
        Value::Text(text) => Some(text.clone()),
        Value::Bytes(bytes) => Some(literal::hex(bytes)),
        Value::Timestamp(us) => Some(us.to_string()),
        Value::List(_) | Value::Map(_) => Some(json::of(value).to_string()),
        Value::Bool(_) | Value::Int(_) | Value::Uint(_) | Value::Float(_) => Some(value.to_string()),
    }
}

/// A CSV cell that must say its type itself: plain where it is read back as the same, else JSON.
fn any_cell(value: &Value) -> csv::Cell {
    match value {
        Value::Null => None,
        Value::Text(text) => match literal::guess(text) {
            Ok(Value::Text(same)) if same == *text => Some(text.clone()),
            _ => Some(json::of(value).to_string()),
        },
        Value::Int(_) | Value::Uint(_) => Some(value.to_string()),
        other => Some(json::of(other).to_string()),
    }
}

fn empty_table(columns: &[String]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY);
    table.set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(columns.iter().map(|name| visible(name)));
    table
}

fn cell(value: &Value) -> comfy_table::Cell {
    let cell = comfy_table::Cell::new(visible(&plain(value)));
    match value {
        Value::Int(_) | Value::Uint(_) | Value::Float(_) => cell.set_alignment(CellAlignment::Right),
        _ => cell,
    }
}

/// Text that cannot command a terminal: control characters and those that turn the direction of writing are shown by their
/// escapes. Ends of lines stay, the table has lines for them.
pub(crate) fn visible(text: &str) -> String {
    let commands = |c: char| {
        (c.is_control() && c != '\n')
            || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if commands(c) { shown.extend(c.escape_default()) } else { shown.push(c) }
    }
    shown
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

/// How many there are, with the word that goes with the number.
pub(crate) fn many(count: u64, one: &str, more: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { more })
}

/// An object of these fields.
pub(crate) fn map<const N: usize>(fields: [(&str, Value); N]) -> Value {
    Value::Map(fields.into_iter().map(|(name, value)| (name.into(), value)).collect())
}

/// Prints a line on the standard output.
pub(crate) fn say(line: impl std::fmt::Display) -> Result<()> {
    Ok(writeln!(io::stdout(), "{line}")?)
}

/// Prints a line on the standard error. Where that is closed nobody is left to be told: no reason to fail.
pub(crate) fn note(line: impl std::fmt::Display) {
    drop(writeln!(io::stderr(), "{line}"));
}

/// Whether a failure is only that the reader of our output has seen enough (`hmn query ... | head`).
pub(crate) fn is_closed_pipe(error: &anyhow::Error) -> bool {
    let mut causes = error.chain().filter_map(|cause| cause.downcast_ref::<io::Error>());
    causes.any(|io| io.kind() == io::ErrorKind::BrokenPipe)
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
    fn moments_are_text_for_people() {
        // Aim: nobody counts microseconds. Method: one moment.
        assert_eq!(plain(&Value::Timestamp(1_709_164_800_000_000)), "2024-02-29T00:00:00Z");
    }

    #[test]
    fn a_cell_of_any_type_is_read_back_as_what_it_was() {
        // Aim: texts that look like something else, and what looks like nothing, keep their type in CSV. Method: cell by
        // cell, there and back; compared as text, since NaN equals nothing.
        let texts = [
            "7",
            "null",
            "true",
            "[1]",
            "{",
            "\"x\"",
            "1.5",
            "007",
            "plain",
            "a,b",
            "[1,[99999999999999999999]]",
        ];
        let others = [
            Value::Float(7.0),
            Value::Float(f64::INFINITY),
            Value::Uint(u64::MAX),
            Value::Bool(true),
            Value::Timestamp(7),
            Value::Bytes(vec![0]),
            Value::List(vec!["7".into(), Value::Bytes(vec![])]),
        ];
        for value in texts.into_iter().map(Value::from).chain(others) {
            let cell = any_cell(&value).unwrap();
            assert_eq!(format!("{:?}", literal::guess(&cell).unwrap()), format!("{value:?}"), "{cell}");
        }
    }

    #[test]
    fn nothing_in_a_table_commands_the_terminal() {
        // Aim: rows cannot clear the screen or turn the text around. Method: both, and what must stay as it is.
        assert_eq!(visible("a\u{1b}[2J\u{202e}b\nÄ→"), "a\\u{1b}[2J\\u{202e}b\nÄ→");
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
