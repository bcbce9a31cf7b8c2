//! `select`: rows of one table by what they hold, along a chosen path, as they come; or only how many, or which path.

use anyhow::{Context, Result};
use clap::Args;
use hypermnesia_rpc::client::{AttributeType, Filter, Pattern, Values};

use super::{attributes, connect, definition, loaded_table};
use crate::args::Global;
use crate::literal;
use crate::output;

/// Print the rows of a table that fulfil a condition.
#[derive(Debug, Args)]
pub(crate) struct SelectArgs {
    /// Name of the table.
    table: String,
    /// The condition, as in SQL behind WHERE; parameters stand in it as $1, $2, ... or ?. Default: every row.
    #[arg(long = "where", value_name = "CONDITION")]
    condition: Option<String>,
    /// A parameter's value, in order.
    #[arg(
        long = "param",
        short = 'p',
        value_name = "VALUE",
        allow_hyphen_values = true,
        requires = "condition"
    )]
    params: Vec<String>,
    /// The attributes to print, in this order. Default: all.
    #[arg(long, value_delimiter = ',', value_name = "COL[,COL]")]
    columns: Vec<String>,
    /// In the order of keys, which only an ordered set has.
    #[arg(long, conflicts_with = "index")]
    key_order: bool,
    /// Along this index, in its order.
    #[arg(long, value_name = "NAME")]
    index: Option<String>,
    /// From the greatest to the smallest, in the order that is asked for.
    #[arg(long)]
    backward: bool,
    /// At most so many rows.
    #[arg(long, value_name = "ROWS", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// Print only how many rows there are.
    #[arg(long, conflicts_with_all = ["columns", "explain"])]
    count: bool,
    /// Print the path that would be taken; reads no rows.
    #[arg(long)]
    explain: bool,
}

/// Prints what was asked for.
pub(crate) async fn run(global: &Global, args: SelectArgs) -> Result<()> {
    let client = connect(global).await?;
    let info = loaded_table(&client, global, &args.table).await?;
    let (table, pattern) = (client.table(&args.table), pattern(&args)?);
    if args.explain {
        let mut out = output::stdout(global.format, &["path"])?;
        out.row(&[table.explain(pattern).await?.into()])?;
        return out.finish().map(drop);
    }
    if args.count {
        let mut out = output::stdout(global.format, &["count"])?;
        out.row(&[table.count_matching(pattern).await?.into()])?;
        return out.finish().map(drop);
    }
    let names: Vec<&str> = args.columns.iter().map(String::as_str).collect();
    let mut rows = table.project(pattern, &names).await?;
    let shown: Vec<(&str, AttributeType)> = match names.is_empty() {
        true => attributes(definition(&info)?).collect(),
        false => {
            let known = |name: &&str| attributes(definition(&info).ok()?).find(|(known, _)| known == name);
            names.iter().map(known).collect::<Option<_>>().context("the table has changed meanwhile")?
        }
    };
    let columns: Vec<&str> = shown.iter().map(|(name, _)| *name).collect();
    let types = shown.iter().map(|(_, ty)| *ty);
    let mut out = output::stdout(global.format, &columns)?.of_types(types);
    while let Some(row) = rows.next().await? {
        out.row(&row)?;
    }
    out.finish().map(drop)
}

fn pattern(args: &SelectArgs) -> Result<Pattern> {
    let filter = match &args.condition {
        None => Filter::everything(),
        Some(condition) => {
            let params = args.params.iter().map(|text| literal::guess(text)).collect::<Result<_>>()?;
            Filter::sql(condition, Values(params))
        }
    };
    let mut pattern = Pattern::of(filter).limit(args.limit.unwrap_or(0));
    if args.key_order {
        pattern = pattern.in_key_order();
    }
    if let Some(index) = &args.index {
        pattern = pattern.along_index(index);
    }
    Ok(if args.backward { pattern.backward() } else { pattern })
}
