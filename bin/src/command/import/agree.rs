//! Options about a table that is there already: they cannot change it, so they must say what it is.

use anyhow::{Result, bail};
use hypermnesia::size::size_text;
use hypermnesia_rpc::client::TableDefinition;

use super::super::attributes;
use super::super::retention::Size;
use super::super::table::show::{acknowledge_name, acknowledged, kind_name, storage_names};
use super::super::table::{acknowledge_of, kind_of, storage_of, type_name};
use super::{ColumnType, ImportArgs};

/// Refuses options that contradict the table, saying which and how.
pub(super) fn check(table: &TableDefinition, args: &ImportArgs) -> Result<()> {
    let contradictions = contradictions(table, args);
    if contradictions.is_empty() {
        return Ok(());
    }
    bail!(
        "table {:?} is there already and is different: {}; leave these options out, or import into another table",
        table.name,
        contradictions.join("; ")
    )
}

fn contradictions(table: &TableDefinition, args: &ImportArgs) -> Vec<String> {
    let shape = &args.shape;
    let mut found = Vec::new();
    if !shape.key.is_empty() && shape.key != table.key {
        found.push(format!("--key {}, its key is {}", shape.key.join(","), table.key.join(",")));
    }
    if shape.kind.is_some_and(|kind| kind_of(kind) != table.kind()) {
        found.push(format!("--kind, it is of kind {}", kind_name(table)));
    }
    if let Some(storage) = shape.storage
        && table.copies.iter().any(|copy| copy.storage() != storage_of(storage))
    {
        found.push(format!("--storage, its copies are {}", storage_names(table)));
    }
    if let Some(Size(bytes)) = shape.cache
        && table.copies.iter().any(|copy| copy.cache_bytes != bytes)
    {
        found.push(format!("--cache {}, its copies have others", size_text(bytes)));
    }
    let mut named: Vec<_> = table.copies.iter().map(|copy| &copy.member).collect();
    let mut wanted: Vec<_> = shape.copies.iter().collect();
    named.sort();
    wanted.sort();
    if !wanted.is_empty() && wanted != named {
        found.push(format!("--copies, its copies are {}", storage_names(table)));
    }
    let said = shape.ack.map(acknowledge_of).filter(|ack| *ack != table.acknowledge());
    if said.is_some_and(|ack| ack != acknowledged(table)) {
        found.push(format!("--ack, its commits wait for {}", acknowledge_name(table)));
    }
    found.extend(missing_indexes(table, &shape.index, false));
    found.extend(missing_indexes(table, &shape.unique, true));
    found.extend(args.types.iter().filter_map(|stated| other_type(table, stated)));
    found
}

fn missing_indexes<'a>(
    table: &'a TableDefinition,
    wanted: &'a [String],
    unique: bool,
) -> impl Iterator<Item = String> + 'a {
    let there = move |columns: &&String| {
        let columns: Vec<_> = columns.split(',').collect();
        table.indexes.iter().any(|index| index.unique == unique && index.attributes == columns)
    };
    let missing = wanted.iter().filter(move |columns| !there(columns));
    missing.map(move |columns| match unique {
        true => format!("--unique {columns}, it has no such unique index"),
        false => format!("--index {columns}, it has no such index"),
    })
}

fn other_type(table: &TableDefinition, ColumnType(name, wanted): &ColumnType) -> Option<String> {
    let (_, ty) = attributes(table).find(|(attribute, _)| attribute == name)?;
    (ty != *wanted)
        .then(|| format!("--type {name}:{}, its attribute is of type {}", type_name(*wanted), type_name(ty)))
}
