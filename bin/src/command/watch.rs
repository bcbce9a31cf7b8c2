//! `watch`: the changes of a table as they are committed, or what happens to the member, a line each, until it is interrupted.

use std::io::Write;

use anyhow::Result;
use clap::Args;
use hypermnesia_rpc::client::{
    AttributeType, Changes, Client, MemberEvents, Row, TableChange, TableDefinition, Watch, Watched,
};
use serde_json::{Map, Value as Json, json};

use super::{attributes, connect, definition, key_types, loaded_table};
use crate::args::{Global, Usage};
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
    let lines = Lines { format: global.format, shape: Shape::of(definition(&info)?), old: args.old };
    let ended = tokio::select! {
        ended = follow(&mut changes, &lines, limit) => ended,
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

async fn follow(changes: &mut Changes, lines: &Lines, limit: u64) -> Result<()> {
    let (mut rows, mut left) = (0, limit);
    while left > 0 {
        match changes.next().await? {
            Watched::Row(row) => {
                rows += 1;
                lines.row(&row)?;
            }
            Watched::Complete => lines.complete(rows)?,
            Watched::Missed(count) => lines.missed(count)?,
            Watched::Change(change) => {
                left -= 1;
                let position = changes.position();
                lines.change(&change, position.as_deref().unwrap_or_default())?;
            }
        }
    }
    Ok(())
}

/// What the attributes of rows and keys are called.
struct Shape {
    row: Vec<(String, AttributeType)>,
    key: Vec<(String, AttributeType)>,
}

impl Shape {
    fn of(table: &TableDefinition) -> Shape {
        let owned = |(name, ty): (&str, AttributeType)| (name.to_owned(), ty);
        Shape {
            row: attributes(table).map(owned).collect(),
            key: key_types(table).into_iter().map(owned).collect(),
        }
    }
}

/// How changes are printed.
struct Lines {
    format: Format,
    shape: Shape,
    old: bool,
}

impl Lines {
    fn row(&self, row: &Row) -> Result<()> {
        match self.format {
            Format::Json => say(&json!({ "event": "row", "row": object(row, &self.shape.row) })),
            _ => say(&format!("row     {}", text(row, &self.shape.row))),
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
        let Shape { row, key } = &self.shape;
        let all = |rows: &[Row]| Json::Array(rows.iter().map(|one| object(one, row)).collect());
        if self.format == Format::Json {
            let mut line = json!({
                "event": "change", "sequence": change.sequence, "committed_at": change.committed_at,
                "position": position, "key": object(&change.key, key), "rows": all(&change.rows),
            });
            if self.old {
                line["old_rows"] = all(&change.old_rows);
            }
            return say(&line);
        }
        match &change.rows[..] {
            [] => say(&format!("delete  {}", text(&change.key, key)))?,
            rows => rows.iter().try_for_each(|one| say(&format!("put     {}", text(one, row))))?,
        }
        let old = if self.old { &change.old_rows[..] } else { &[] };
        old.iter().try_for_each(|one| say(&format!("  was   {}", text(one, row))))
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

/// An object of named values.
fn object(values: &Row, names: &[(String, AttributeType)]) -> Json {
    let field = |((name, ty), value): (&(String, AttributeType), _)| {
        let any = *ty == AttributeType::Any;
        (name.clone(), if any { crate::json::of(value) } else { crate::json::of_typed(value) })
    };
    Json::Object(names.iter().zip(values).map(field).collect::<Map<_, _>>())
}

/// Named values for people.
fn text(values: &Row, names: &[(String, AttributeType)]) -> String {
    let field = |((name, _), value): (&(String, AttributeType), _)| format!("{name}={}", plain(value));
    visible(&names.iter().zip(values).map(field).collect::<Vec<_>>().join("  ")).replace('\n', "\\n")
}

/// A line on the standard output, at once: somebody waits for it.
fn say(line: &impl std::fmt::Display) -> Result<()> {
    output::say(line)?;
    Ok(std::io::stdout().flush()?)
}
