//! What commands print about tables: all of them in a list, one with its definition and what it holds. People get sentences
//! about the table on the standard error and its attributes as a table; scripts one JSON object with all of it.

use anyhow::{Result, bail};
use hypermnesia::size;
use hypermnesia_rpc::Value;
use hypermnesia_rpc::client::{Acknowledge, Storage, TableDefinition, TableInfo};
use hypermnesia_rpc::proto::{Attribute, Index};
use hypermnesia_rpc::value::from_messages;

use super::super::definition;
use super::super::retention::words;
use super::type_name;
use crate::args::Global;
use crate::output::{self, Format, many, map, note};

/// Prints tables and their sizes.
pub(crate) fn list(global: &Global, tables: &[TableInfo]) -> Result<()> {
    let mut out =
        output::stdout(global.format, &["table", "kind", "storage", "rows", "bytes", "memory", "loaded"])?;
    for info in tables {
        let table = definition(info)?;
        out.row(&[
            table.name.as_str().into(),
            kind_name(table).into(),
            storage_names(table).into(),
            info.rows.into(),
            info.bytes.into(),
            info.memory_bytes.into(),
            info.loaded.into(),
        ])?;
    }
    out.finish().map(drop)
}

/// Prints one table, and what the member says that it holds.
pub(crate) fn table(global: &Global, table: &TableDefinition, info: Option<&TableInfo>) -> Result<()> {
    if table.attributes.is_empty() {
        bail!("the server sent no attributes of table {:?}", table.name);
    }
    if global.format == Format::Json {
        return json(table, info);
    }
    let sentences = info.map_or_else(Vec::new, held).into_iter().chain(defined(table));
    sentences.for_each(|sentence| note(format_args!("{}: {sentence}", table.name)));
    let mut out = output::stdout(global.format, &["attribute", "type", "null", "default", "key", "indexes"])?;
    for attribute in &table.attributes {
        let within = table.indexes.iter().filter(|index| index.attributes.contains(&attribute.name));
        out.row(&[
            attribute.name.as_str().into(),
            type_name(attribute.r#type()).into(),
            attribute.nullable.into(),
            default_text(attribute)?.into(),
            place(table, attribute),
            within.map(index_name).collect::<Vec<_>>().join(", ").into(),
        ])?;
    }
    out.finish().map(drop)
}

/// What the member holds of it, in sentences.
fn held(info: &TableInfo) -> Vec<String> {
    let mut sentences = vec![format!(
        "{}, {} of keys and rows, {} of memory",
        many(info.rows, "row", "rows"),
        many(info.bytes, "byte", "bytes"),
        many(info.memory_bytes, "byte", "bytes")
    )];
    if info.old_versions + info.deletions > 0 {
        sentences.push(format!(
            "kept for snapshots or two seconds: {} and {}",
            many(info.old_versions, "old version", "old versions"),
            many(info.deletions, "deletion", "deletions")
        ));
    }
    let entries = info.index_entries.iter();
    let entries = entries.map(|one| format!("{} in {}", many(one.entries, "entry", "entries"), one.index));
    sentences.extend(entries);
    sentences
}

/// What it is besides its attributes, in sentences.
fn defined(table: &TableDefinition) -> Vec<String> {
    let mut sentences = vec![format!(
        "{} with the key {}, copies on {}; a commit waits for {}",
        kind_name(table),
        table.key.join(", "),
        storage_names(table),
        acknowledge_name(table)
    )];
    let cached = table.copies.iter().filter(|copy| copy.cache_bytes > 0);
    sentences.extend(
        cached.map(|copy| {
            format!("cached in {} of memory on {}", size::size_text(copy.cache_bytes), copy.member)
        }),
    );
    sentences.extend(words(table));
    sentences
}

fn index_name(index: &Index) -> String {
    match (index.unique, index.multi) {
        (true, true) => format!("{} (unique, each value)", index.name),
        (true, false) => format!("{} (unique)", index.name),
        (false, true) => format!("{} (each value)", index.name),
        (false, false) => index.name.clone(),
    }
}

/// Where an attribute stands in the key, from 1.
fn place(table: &TableDefinition, attribute: &Attribute) -> Value {
    let place = table.key.iter().position(|name| *name == attribute.name);
    place.map_or(Value::Null, |at| Value::Int(at as i64 + 1))
}

fn default(attribute: &Attribute) -> Result<Option<Value>> {
    let sent = attribute.default.iter().cloned().collect();
    Ok(from_messages(sent, "attribute.default")?.into_iter().next())
}

/// A default so that it can be told from none: a text in quotes where it is empty or begins with one.
fn default_text(attribute: &Attribute) -> Result<Option<String>> {
    Ok(default(attribute)?.map(|value| match &value {
        Value::Text(text) if text.is_empty() || text.starts_with('"') => format!("{text:?}"),
        other => output::plain(other),
    }))
}

/// All of it as one object.
fn json(table: &TableDefinition, info: Option<&TableInfo>) -> Result<()> {
    let copies = table.copies.iter().map(|copy| {
        map([
            ("member", copy.member.as_str().into()),
            ("storage", storage_name(copy.storage()).into()),
            ("cache_bytes", (copy.cache_bytes > 0).then_some(copy.cache_bytes).into()),
        ])
    });
    let attributes = table.attributes.iter().map(|attribute| {
        Ok(map([
            ("name", attribute.name.as_str().into()),
            ("type", type_name(attribute.r#type()).into()),
            ("null", attribute.nullable.into()),
            ("default", default(attribute)?.into()),
        ]))
    });
    let retention = table.retention.unwrap_or_default();
    let bound = |bound: u64| Value::from((bound > 0).then_some(bound));
    let told = |told: fn(&TableInfo) -> u64| Value::from(info.map(told));
    let fields: [(&str, Value); 20] = [
        ("table", table.name.as_str().into()),
        ("kind", kind_name(table).into()),
        ("key", texts(&table.key)),
        ("attributes", Value::List(attributes.collect::<Result<_>>()?)),
        ("indexes", Value::List(table.indexes.iter().map(|index| one_index(index, info)).collect())),
        ("copies", Value::List(copies.collect())),
        ("acknowledge", acknowledge_name(table).into()),
        ("local", table.local.into()),
        ("duplicates", table.duplicates.into()),
        ("ttl_ms", bound(retention.ttl_ms)),
        ("max_idle_ms", bound(retention.max_idle_ms)),
        ("rows_max", bound(retention.rows_max)),
        ("bytes_max", bound(retention.bytes_max)),
        ("evict", retention.evict.into()),
        ("rows", told(|info| info.rows)),
        ("bytes", told(|info| info.bytes)),
        ("memory_bytes", told(|info| info.memory_bytes)),
        ("old_versions", told(|info| info.old_versions)),
        ("deletions", told(|info| info.deletions)),
        ("loaded", info.map(|info| info.loaded).into()),
    ];
    let (columns, values): (Vec<&str>, Vec<Value>) = fields.into_iter().unzip();
    let mut out = output::stdout(Format::Json, &columns)?;
    out.row(&values)?;
    out.finish().map(drop)
}

fn one_index(index: &Index, info: Option<&TableInfo>) -> Value {
    let entries = info.and_then(|info| info.index_entries.iter().find(|one| one.index == index.name));
    map([
        ("name", index.name.as_str().into()),
        ("attributes", texts(&index.attributes)),
        ("unique", index.unique.into()),
        ("multi", index.multi.into()),
        ("entries", entries.map(|one| one.entries).into()),
    ])
}

fn texts(texts: &[String]) -> Value {
    Value::List(texts.iter().map(|text| text.as_str().into()).collect())
}

pub(crate) fn kind_name(table: &TableDefinition) -> String {
    table.kind().as_str_name().trim_start_matches("TABLE_KIND_").to_ascii_lowercase()
}

/// What its commits wait for: whatever is asked for, where no copy is on disc it is memory.
pub(crate) fn acknowledged(table: &TableDefinition) -> Acknowledge {
    match table.copies.iter().any(|copy| copy.storage() != Storage::Ram) {
        true => table.acknowledge(),
        false => Acknowledge::Memory,
    }
}

pub(crate) fn acknowledge_name(table: &TableDefinition) -> String {
    acknowledged(table).as_str_name().trim_start_matches("ACKNOWLEDGE_").to_ascii_lowercase()
}

fn storage_name(storage: Storage) -> String {
    storage.as_str_name().trim_start_matches("STORAGE_").to_ascii_lowercase()
}

pub(crate) fn storage_names(table: &TableDefinition) -> String {
    let copy =
        |copy: &hypermnesia_rpc::proto::Copy| format!("{}: {}", copy.member, storage_name(copy.storage()));
    table.copies.iter().map(copy).collect::<Vec<_>>().join(", ")
}
