//! The commands, one file each. A command gets the global options and its own, talks to a member through the client,
//! prints to the standard output, and fails with an error that says what to do.

pub(crate) mod backup;
pub(crate) mod bench;
pub(crate) mod cert;
pub(crate) mod check;
pub(crate) mod demo;
pub(crate) mod dev;
pub(crate) mod exec;
pub(crate) mod export;
pub(crate) mod import;
pub(crate) mod node;
pub(crate) mod order;
pub(crate) mod query;
pub(crate) mod restore;
pub(crate) mod retention;
pub(crate) mod rows;
pub(crate) mod select;
pub(crate) mod sequence;
pub(crate) mod serve;
pub(crate) mod shell;
pub(crate) mod status;
pub(crate) mod table;
pub(crate) mod watch;

use anyhow::{Context, Result, anyhow};
use hypermnesia_rpc::ErrorKind;
use hypermnesia_rpc::client::{AttributeType, Client, TableDefinition, TableInfo};

use crate::args::Global;

/// A connection to the member that the options name. Each call over it has the time that they name.
pub(crate) async fn connect(global: &Global) -> Result<Client> {
    Ok(reach(global).await?.with_timeout(global.deadline()))
}

/// The same, for calls that take as long as they take.
pub(crate) async fn reach(global: &Global) -> Result<Client> {
    let connected = tokio::time::timeout(global.deadline(), Client::connect(&global.addr)).await;
    let late = |_| anyhow!("there was no connection within {} s, the time of --timeout", global.timeout);
    let connected = connected.map_err(late).and_then(|result| Ok(result?));
    connected.with_context(|| {
        format!(
            "no member answers at {} (start one with `hmn serve`, or name another with --addr)",
            global.addr
        )
    })
}

/// An error for people. One of the connection, which does not know where it leads, gets its address; one of time also the
/// option that says how much there was.
pub(crate) fn told(error: &anyhow::Error, global: &Global) -> String {
    let causes = || error.chain().filter_map(|cause| cause.downcast_ref::<hypermnesia_rpc::Error>());
    if causes().any(|cause| cause.kind() == ErrorKind::Deadline) {
        let seconds = global.timeout;
        format!(
            "{}: {error:#} (--timeout is {seconds} {})",
            global.addr,
            if seconds == 1.0 { "second" } else { "seconds" }
        )
    } else if causes().any(hypermnesia_rpc::Error::is_of_connection) {
        format!("{}: {error:#}", global.addr)
    } else {
        format!("{error:#}")
    }
}

/// A table's definition and state, once it is loaded; waits for that until the deadline.
pub(crate) async fn loaded_table(client: &Client, global: &Global, name: &str) -> Result<TableInfo> {
    let info = client.describe_table(name).await?;
    if info.loaded {
        return Ok(info);
    }
    client.wait_for_tables([name], global.deadline()).await?;
    Ok(client.describe_table(name).await?)
}

/// The definition inside, which a server always sends.
pub(crate) fn definition(info: &TableInfo) -> Result<&TableDefinition> {
    info.table.as_ref().context("the server answered without the table's definition")
}

/// Names and types of a table's attributes.
pub(crate) fn attributes(table: &TableDefinition) -> impl Iterator<Item = (&str, AttributeType)> {
    table.attributes.iter().map(|attribute| (attribute.name.as_str(), attribute.r#type()))
}

/// Types of a table's key attributes.
pub(crate) fn key_types(table: &TableDefinition) -> Vec<(&str, AttributeType)> {
    let of = |name: &String| attributes(table).find(|(attribute, _)| attribute == name);
    table.key.iter().filter_map(of).collect()
}
