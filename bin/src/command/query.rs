//! `query`: one SQL statement, its rows printed as they come.

use std::io::Write;

use anyhow::Result;
use clap::Args;
use hypermnesia::sql::{SchemaChange, Statement};
use hypermnesia_rpc::Value;
use hypermnesia_rpc::client::{Client, Values};

use super::connect;
use crate::args::Global;
use crate::literal;
use crate::output::{Format, Output, note};

/// Run one SQL statement.
#[derive(Debug, Args)]
pub(crate) struct QueryArgs {
    /// The statement. Parameters stand in it as $1, $2, ... or ?.
    statement: String,
    /// A parameter's value, in order.
    #[arg(long = "param", short = 'p', value_name = "VALUE", allow_hyphen_values = true)]
    params: Vec<String>,
}

/// Runs the statement.
pub(crate) async fn run(global: &Global, args: QueryArgs) -> Result<()> {
    let client = connect(global).await?;
    let params = args.params.iter().map(|text| literal::guess(text)).collect::<Result<_>>()?;
    let mut out = std::io::BufWriter::new(std::io::stdout());
    let said = execute(&client, global.format, &args.statement, params, &mut out).await?;
    if let Some(said) = said {
        note(said);
    }
    Ok(())
}

/// Runs a statement and prints its rows; says what was done if it is one that gives none.
pub(crate) async fn execute(
    client: &Client,
    format: Format,
    statement: &str,
    params: Vec<Value>,
    writer: &mut impl Write,
) -> Result<Option<String>> {
    let mut rows = client.query(statement, Values(params)).await?;
    if rows.columns().is_empty() {
        let changed = rows.finish().await?;
        return Ok(Some(done(statement, changed)));
    }
    let mut out = Output::new(format, rows.columns().to_vec(), writer)?;
    while let Some(row) = rows.next().await? {
        out.row(&row)?;
    }
    out.finish()?;
    Ok(None)
}

/// What a statement without rows has done. The answer of the node is a count; what was counted is read off the text.
fn done(statement: &str, changed: u64) -> String {
    let parsed = Statement::parse(statement).ok();
    let (what, or_not) = match parsed.as_ref().and_then(Statement::schema_change) {
        None => return format!("{changed} {}", if changed == 1 { "row" } else { "rows" }),
        Some(SchemaChange::CreateTable(table)) => ("table created", table.if_not_exists),
        Some(SchemaChange::CreateIndex(index)) => ("index created", index.if_not_exists),
        Some(SchemaChange::DropTable { if_exists, .. }) => ("table dropped", *if_exists),
        Some(SchemaChange::DropIndex { if_exists, .. }) => ("index dropped", *if_exists),
    };
    let unless = match (or_not, what.ends_with("created")) {
        (false, _) => "",
        (true, true) => " unless it was there",
        (true, false) => " if it was there",
    };
    format!("{what}{unless}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_done_is_said_in_its_own_words() {
        // Aim: a change of the schema is not counted in rows. Method: one statement of each kind.
        for (statement, said) in [
            ("CREATE TABLE t (a INT)", "table created"),
            ("create table if not exists t (a int);", "table created unless it was there"),
            ("CREATE INDEX ON t (a)", "index created"),
            ("DROP TABLE IF EXISTS t", "table dropped if it was there"),
            ("DROP INDEX i", "index dropped"),
            ("DELETE FROM t", "1 row"),
        ] {
            assert_eq!(done(statement, 1), said);
        }
        assert_eq!(done("DELETE FROM t", 0), "0 rows");
    }
}
