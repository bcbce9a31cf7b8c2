//! `backup show`: a backup file is read to its end, without any member: what is in it, whether it is whole, its rows.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use hypermnesia::backup::{BackedUpSequence, BackupFile, Chain, Scope};
use hypermnesia::calendar::Moment;
use hypermnesia::{Kind, Row, Type, ValueRef};
use hypermnesia_rpc::Value;
use hypermnesia_rpc::client::AttributeType;

use super::{checked, sequences, size};
use crate::args::Global;
use crate::output::{self, Format, many, map, note};

/// Show what is in backup files, or where they are damaged.
#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// The files: any, or with --rows a full one and the incremental ones behind it in their order.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Print the rows of this table, as JSON lines unless --format says otherwise.
    #[arg(long, visible_alias = "json", value_name = "TABLE")]
    rows: Option<String>,
}

/// Shows them.
pub(crate) fn run(global: &Global, args: &ShowArgs) -> Result<()> {
    let files = args.files.iter().map(|path| checked(path)).collect::<Result<Vec<_>>>()?;
    match &args.rows {
        Some(table) => rows(global, files, table),
        None => files.iter().try_for_each(|file| summary(global, file)),
    }
}

fn summary(global: &Global, file: &BackupFile) -> Result<()> {
    if global.format == Format::Json {
        return summary_json(file);
    }
    let (opening, contents) = (&file.contents().opening, file.contents());
    let columns = ["table", "kind", "what", "rows", "bytes", "unchanged"];
    let mut out = output::stdout(global.format, &columns)?;
    for table in file.tables() {
        let what = if table.scope == Scope::Full { "all rows" } else { "changes" };
        out.row(&[
            table.def.name.as_str().into(),
            kind(table.def.kind).into(),
            what.into(),
            table.closing.rows.into(),
            table.closing.bytes.into(),
            table.closing.unchanged.into(),
        ])?;
    }
    out.finish()?;
    if let Some(sequences) = contents.sequences.as_ref().filter(|sequences| !sequences.is_empty()) {
        let one = |sequence: &BackedUpSequence| format!("{} at {}", sequence.name, sequence.next);
        note(format_args!("sequences: {}", sequences.iter().map(one).collect::<Vec<_>>().join(", ")));
    }
    let base =
        opening.base.map(|base| format!(", incremental on {} (position {})", base.id, base.position.0));
    note(format_args!(
        "{}: whole, {}, {}; backup {} of cluster {} by {}, {}, position {}{}",
        file.name(),
        size(contents.file_bytes),
        many(contents.closing.rows, "row", "rows"),
        opening.id,
        opening.cluster,
        opening.node,
        Moment(i64::try_from(opening.written_ms).unwrap_or(i64::MAX / 1000).saturating_mul(1000)),
        opening.position.0,
        base.unwrap_or_default()
    ));
    Ok(())
}

fn summary_json(file: &BackupFile) -> Result<()> {
    let (opening, contents) = (&file.contents().opening, file.contents());
    let tables = file.tables().iter().map(|table| {
        map([
            ("table", table.def.name.as_str().into()),
            ("kind", kind(table.def.kind).into()),
            ("incremental", (table.scope == Scope::Changes).into()),
            ("rows", table.closing.rows.into()),
            ("bytes", table.closing.bytes.into()),
            ("unchanged", table.closing.unchanged.into()),
        ])
    });
    let base = opening
        .base
        .map(|base| map([("id", base.id.to_string().into()), ("position", base.position.0.into())]));
    let columns = [
        "file",
        "id",
        "position",
        "base",
        "cluster",
        "node",
        "written_ms",
        "program",
        "tables",
        "sequences",
        "rows",
        "bytes",
        "file_bytes",
    ];
    let noted = contents.sequences.as_ref();
    let noted = noted.map(|all| sequences(all.iter().map(|one| (one.name.as_str(), one.next))));
    let mut out = output::stdout(Format::Json, &columns)?;
    out.row(&[
        file.name().into(),
        opening.id.to_string().into(),
        opening.position.0.into(),
        base.into(),
        opening.cluster.as_str().into(),
        opening.node.as_str().into(),
        opening.written_ms.into(),
        opening.program.as_str().into(),
        Value::List(tables.collect()),
        noted.into(),
        contents.closing.rows.into(),
        contents.closing.bytes.into(),
        contents.file_bytes.into(),
    ])?;
    out.finish().map(drop)
}

fn rows(global: &Global, files: Vec<BackupFile>, name: &str) -> Result<()> {
    let format = if global.format_given { global.format } else { Format::Json };
    // One file shows what it holds, several show what a restore of them would bring.
    let chain = if files.len() > 1 { Some(Chain::of(files.clone())?) } else { None };
    let file = &files[files.len() - 1];
    let alone = file.rows(name)?;
    let Some(def) = file.contents().table(name).map(|table| &table.def) else { return Ok(()) };
    let columns: Vec<_> = def.attributes.iter().map(|attribute| attribute.name.as_str()).collect();
    let any = def.attributes.iter().map(|attribute| match attribute.ty {
        Type::Any => AttributeType::Any,
        _ => AttributeType::Unspecified,
    });
    let mut out = output::stdout(format, &columns)?.of_types(any);
    let mut print = |row: &Row| {
        let values: Vec<_> =
            (0..def.attributes.len()).map(|position| shown(def.value_of(row, position))).collect();
        out.row(&values)
    };
    let mut failed = None;
    match &chain {
        None => {
            for row in alone {
                print(&row?.0)?;
            }
        }
        Some(chain) => {
            let each = chain.each(name, |row, _| match print(&row) {
                Ok(()) => Ok(()),
                Err(error) => {
                    failed = Some(error);
                    Err(hypermnesia::Error::abort("the output failed"))
                }
            });
            match failed {
                Some(error) => return Err(error),
                None => each?,
            }
        }
    }
    out.finish().map(drop)
}

fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Set => "set",
        Kind::OrderedSet => "ordered_set",
        Kind::Bag => "bag",
    }
}

/// A stored value as commands print them.
fn shown(value: ValueRef<'_>) -> Value {
    match value {
        ValueRef::Null => Value::Null,
        ValueRef::Bool(b) => Value::Bool(b),
        ValueRef::Int(n) => Value::Int(n),
        ValueRef::Uint(n) => Value::Uint(n),
        ValueRef::Float(x) => Value::Float(x),
        ValueRef::Text(text) => Value::Text(text.to_owned()),
        ValueRef::Bytes(bytes) => Value::Bytes(bytes.to_vec()),
        ValueRef::Timestamp(us) => Value::Timestamp(us),
        ValueRef::List(items) => Value::List(items.iter().map(shown).collect()),
        ValueRef::Map(pairs) => {
            Value::Map(pairs.iter().map(|(key, value)| (shown(key), shown(value))).collect())
        }
    }
}
