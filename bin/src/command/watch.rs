//! `watch`: the changes of a table as they are committed, or what happens to the member, a line each, until it is interrupted.

use std::collections::BTreeMap;
use std::io::Write;

use anyhow::Result;
use clap::Args;
use hypermnesia_rpc::client::{
    AttributeType, Changes, Client, MemberEvents, Row, TableChange, TableDefinition, Watch, Watched,
};
use serde_json::{Map, Value as Json, json};

use super::{attributes, connect, definition, key_types, loaded_table};
use crate::args::{Global, Usage};
use crate::json;
use crate::output::{self, Format, many, note, plain, visible};

/// Print the changes of a table as they are committed; without a table, what happens to the member.
#[derive(Debug, Args)]
pub(crate) struct WatchArgs {
    /// Name of the table. Default: members that come and go, epochs, tables that are loaded.
    table: Option<String>,
    /// Begin with the rows that are there; then come the changes behind it, without a gap.
    #[arg(long, requires = "table")]
    rows: bool,
    /// Print what the key held before, too.
    #[arg(long, requires = "table")]
    old: bool,
    /// Go on behind this position of an earlier watch at the same member; the changes behind it are kept for a minute.
    #[arg(long, requires = "table", conflicts_with = "rows", value_name = "POSITION")]
    from: Option<String>,
    /// End after so many changes or events.
    #[arg(long, value_name = "CHANGES", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
}

/// Watches until it is interrupted, or something ends it.
pub(crate) async fn run(global: &Global, args: WatchArgs) -> Result<()> {
    if global.format == Format::Csv {
        return Err(Usage::error(
            "changes are no table: `hmn watch` prints lines for people, or JSON lines with --format json",
        ));
    }
    let client = connect(global).await?;
    let limit = args.limit.unwrap_or(u64::MAX);
    match &args.table {
        None => watch_member(global.format, client.watch_member().await?, limit).await,
        Some(table) => watch_table(global, &client, table, &args, limit).await,
    }
}

async fn watch_table(
    global: &Global,
    client: &Client,
    table: &str,
    args: &WatchArgs,
    limit: u64,
) -> Result<()> {
    let info = loaded_table(client, global, table).await?;
    let mut watch = Watch::new();
    if args.rows {
        watch = watch.with_rows();
    }
    if args.old {
        watch = watch.with_old_rows();
    }
    if let Some(position) = &args.from {
        watch = watch.from(position);
    }
    let mut changes = client.watch(table, watch).await?;
    let shapes = Shapes { client: client.clone(), table: table.to_owned(), known: BTreeMap::new() };
    let mut lines = Lines { format: global.format, shapes, old: args.old };
    lines.shapes.take(definition(&info)?);
    let ended = tokio::select! {
        ended = follow(&mut changes, &mut lines, limit) => ended,
        interrupted = tokio::signal::ctrl_c() => Ok(interrupted?),
    };
    // Where the table or the member is gone there is nothing to go on with.
    let cut_off = |error: &anyhow::Error| {
        error.downcast_ref::<hypermnesia_rpc::Error>().is_some_and(hypermnesia_rpc::Error::is_of_connection)
    };
    if let Some(position) = changes.position().filter(|_| ended.as_ref().err().is_none_or(cut_off)) {
        note(format_args!("go on within a minute with: hmn watch {table} --from {position}"));
    }
    ended
}

async fn follow(changes: &mut Changes, lines: &mut Lines, limit: u64) -> Result<()> {
    let (mut rows, mut left) = (0, limit);
    while left > 0 {
        match changes.next().await? {
            Watched::Row(row, form) => {
                rows += 1;
                lines.shapes.learn(form).await;
                lines.row(&row, form)?;
            }
            Watched::Complete => lines.complete(rows)?,
            Watched::Missed(count) => lines.missed(count)?,
            Watched::Change(change) => {
                left -= 1;
                for form in [change.old_definition, change.definition] {
                    lines.shapes.learn(form).await;
                }
                let position = changes.position();
                lines.change(&change, position.as_deref().unwrap_or_default())?;
            }
        }
    }
    Ok(())
}

/// What the attributes of rows and keys are called.
#[derive(Default)]
struct Shape {
    row: Vec<(String, AttributeType)>,
    key: Vec<(String, AttributeType)>,
}

/// The same by the version of the definition: a table may change while it is watched.
struct Shapes {
    client: Client,
    table: String,
    known: BTreeMap<u32, Shape>,
}

impl Shapes {
    fn take(&mut self, table: &TableDefinition) {
        let owned = |(name, ty): (&str, AttributeType)| (name.to_owned(), ty);
        let row = attributes(table).map(owned).collect();
        let key = key_types(table).into_iter().map(owned).collect();
        self.known.insert(table.version, Shape { row, key });
    }

    /// Asks for the definition when this is not known. It may be another one by now: then its rows have no names.
    async fn learn(&mut self, form: u32) {
        if self.known.contains_key(&form) {
            return;
        }
        if let Ok(info) = self.client.describe_table(&self.table).await
            && let Some(table) = &info.table
        {
            self.take(table);
        }
        self.known.entry(form).or_default();
    }

    fn of(&self, form: u32) -> &Shape {
        // Each was learnt before.
        &self.known[&form]
    }
}

/// How changes are printed.
struct Lines {
    format: Format,
    shapes: Shapes,
    old: bool,
}

impl Lines {
    fn row(&self, row: &Row, form: u32) -> Result<()> {
        let names = &self.shapes.of(form).row;
        match self.format {
            Format::Json => say(&json!({ "event": "row", "row": object(row, names) })),
            _ => say(&format!("row     {}", text(row, names))),
        }
    }

    fn complete(&self, rows: u64) -> Result<()> {
        match self.format {
            Format::Json => say(&json!({ "event": "complete", "rows": rows })),
            _ => {
                note(format_args!("{} now; from here on come changes", many(rows, "row", "rows")));
                Ok(())
            }
        }
    }

    fn missed(&self, count: u64) -> Result<()> {
        match self.format {
            Format::Json => say(&json!({ "event": "missed", "changes": count })),
            _ => say(&format!("missed  {}: they were not read in time", many(count, "change", "changes"))),
        }
    }

    fn change(&self, change: &TableChange, position: &str) -> Result<()> {
        let Shape { row, key } = self.shapes.of(change.definition);
        let old_row = &self.shapes.of(change.old_definition).row;
        let all = |rows: &[Row], names: &_| Json::Array(rows.iter().map(|one| object(one, names)).collect());
        if self.format == Format::Json {
            let mut line = json!({
                "event": "change", "sequence": change.sequence, "committed_at": change.committed_at,
                "position": position, "key": object(&change.key, key), "rows": all(&change.rows, row),
            });
            if self.old {
                line["old_rows"] = all(&change.old_rows, old_row);
            }
            return say(&line);
        }
        match &change.rows[..] {
            [] => say(&format!("delete  {}", text(&change.key, key)))?,
            rows => rows.iter().try_for_each(|one| say(&format!("put     {}", text(one, row))))?,
        }
        let old = if self.old { &change.old_rows[..] } else { &[] };
        old.iter().try_for_each(|one| say(&format!("  was   {}", text(one, old_row))))
    }
}

async fn watch_member(format: Format, mut events: MemberEvents, limit: u64) -> Result<()> {
    let print = async {
        for _ in 0..limit {
            let event = events.next().await?;
            match format {
                Format::Json => say(&json!({
                    "event": event.event().as_str_name().trim_start_matches("MEMBER_EVENT_").to_lowercase(),
                    "text": event.text, "member": event.member, "table": event.table, "epoch": event.epoch,
                }))?,
                _ => say(&visible(&event.text))?,
            }
        }
        Ok(())
    };
    tokio::select! {
        ended = print => ended,
        interrupted = tokio::signal::ctrl_c() => Ok(interrupted?),
    }
}

/// An object of named values; a list of them where their names are not known.
fn object(values: &Row, names: &[(String, AttributeType)]) -> Json {
    let shown = |(value, ty)| if ty == AttributeType::Any { json::of(value) } else { json::of_typed(value) };
    if names.len() != values.len() {
        return Json::Array(values.iter().map(json::of).collect());
    }
    let field = |((name, ty), value): (&(String, AttributeType), _)| (name.clone(), shown((value, *ty)));
    Json::Object(names.iter().zip(values).map(field).collect::<Map<_, _>>())
}

/// Named values for people.
fn text(values: &Row, names: &[(String, AttributeType)]) -> String {
    let named = names.len() == values.len();
    let name = |at: usize| if named { names[at].0.clone() } else { format!("({})", at + 1) };
    let field = |(at, value): (usize, _)| format!("{}={}", name(at), plain(value));
    visible(&values.iter().enumerate().map(field).collect::<Vec<_>>().join("  ")).replace('\n', "\\n")
}

/// A line on the standard output, at once: somebody waits for it.
fn say(line: &impl std::fmt::Display) -> Result<()> {
    output::say(line)?;
    Ok(std::io::stdout().flush()?)
}
