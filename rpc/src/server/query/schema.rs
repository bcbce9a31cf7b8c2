//! CREATE and DROP statements: each becomes the node's own call.

use hypermnesia::{Error as NodeError, Node, NodeId, Storage, TableDef};
use hypermnesia_query::{CreateTable, SchemaChange, Statement};

use crate::errors::{Error, ErrorKind};

/// Makes the change that a statement asks for.
pub(super) fn change(node: &Node, statement: &Statement) -> Result<(), Error> {
    let change = statement.schema_change();
    match change.ok_or_else(|| Error::new(ErrorKind::Internal, "the statement changes no schema"))? {
        SchemaChange::CreateTable(table) => unless(table.if_not_exists, create(node, table)),
        SchemaChange::CreateIndex(create) => {
            let index = &create.index;
            let attributes: Vec<_> = index.attributes.iter().map(String::as_str).collect();
            let added = node.add_index(&create.table, &index.name, &attributes, index.unique);
            unless(create.if_not_exists, added.map_err(Error::from))
        }
        SchemaChange::DropTable { name, if_exists } => {
            unless(*if_exists, node.drop_table(name).map_err(Error::from))
        }
        SchemaChange::DropIndex { name, table, if_exists } => {
            unless(*if_exists, drop_index(node, name, table.as_deref()))
        }
    }
}

/// With IF (NOT) EXISTS, what is there (or gone) already is no error.
fn unless(lenient: bool, result: Result<(), Error>) -> Result<(), Error> {
    match result {
        Err(error) if lenient && matches!(error.kind(), ErrorKind::AlreadyExists | ErrorKind::NotFound) => {
            Ok(())
        }
        other => other,
    }
}

fn create(node: &Node, table: &CreateTable) -> Result<(), Error> {
    let mut builder = TableDef::builder(table.name.clone()).kind(table.kind).key(table.key.clone());
    for attribute in &table.attributes {
        let name = attribute.name.clone();
        builder = match attribute.nullable {
            true => builder.nullable(name, attribute.ty),
            false => builder.attribute(name, attribute.ty),
        };
    }
    for index in &table.indexes {
        builder = match index.unique {
            true => builder.unique_index(index.name.clone(), index.attributes.clone()),
            false => builder.index(index.name.clone(), index.attributes.clone()),
        };
    }
    if let Some(ack) = table.ack {
        builder = builder.ack(ack);
    }
    let all = || node.status().members.into_iter().map(|member| member.name).collect();
    for member in table.copies.clone().unwrap_or_else(all) {
        builder = builder.copy(NodeId::of_name(&member), table.storage.unwrap_or(Storage::Ram));
    }
    node.create_table(builder)?;
    Ok(())
}

fn drop_index(node: &Node, name: &str, table: Option<&str>) -> Result<(), Error> {
    let missing = |table: &str| NodeError::NoSuchIndex { table: table.to_owned(), index: name.to_owned() };
    let table = match table {
        Some(table) => table.to_owned(),
        None => {
            let tables = node.tables();
            let mut owners = tables.iter().filter(|def| def.index_named(name).is_some());
            match (owners.next(), owners.next()) {
                (Some(owner), None) => owner.name.clone(),
                (None, _) => return Err(missing("any").into()),
                _ => {
                    return Err(Error::invalid(
                        "statement",
                        format!("several tables have an index {name:?}: say ON"),
                    ));
                }
            }
        }
    };
    Ok(node.drop_index(&table, name)?)
}
