//! `table list|show|create|add|rename|clear|drop`.

use std::str::FromStr;

use anyhow::Result;
use clap::{Args, Subcommand, ValueEnum};
use hypermnesia_rpc::client::{Acknowledge, AttributeType, Client, Storage, TableKind, TableSpec};
use hypermnesia_rpc::{Value, proto};

use super::retention::{RetentionArgs, Size};
use super::{connect, definition};
use crate::args::{Global, Usage};
use crate::{literal, output};

pub(crate) mod show;

/// List, show, create, change, clear and drop tables.
#[derive(Debug, Subcommand)]
pub(crate) enum TableCommand {
    /// All tables with their sizes.
    List,
    /// Kind, key, copies, attributes and indexes of one table.
    Show {
        /// Name of the table.
        table: String,
    },
    /// Create a table with a copy on every member.
    Create(CreateArgs),
    /// Give a table another name.
    Rename {
        /// Name of the table.
        table: String,
        /// Its new name.
        to: String,
    },
    /// Take every row of a table away in one step; of a local table those of the member.
    Clear {
        /// Name of the table.
        table: String,
    },
    /// Add attributes behind those of a table.
    Add {
        /// Name of the table.
        table: String,
        /// What is added, as `create` takes it. It must allow null or have a default, which the rows that are there show.
        #[arg(long = "attribute", short = 'a', required = true, value_name = "NAME[:TYPE][?][=DEFAULT]")]
        attributes: Vec<AttributeSpec>,
    },
    /// Give members copies of a table, take them away, move them, while it is used.
    #[command(subcommand)]
    Copy(CopyCommand),
    /// Drop a table with all its rows.
    Drop {
        /// Name of the table.
        table: String,
    },
}

/// Copies of one table.
#[derive(Debug, Subcommand)]
pub(crate) enum CopyCommand {
    /// Give a member a copy; ends when that member has all rows.
    Add {
        /// Name of the table.
        table: String,
        /// Name of the member.
        member: String,
        /// Where it keeps it. Default: ram.
        #[arg(long, value_enum)]
        storage: Option<StorageArg>,
    },
    /// Take the copy away that a member keeps. Refused for the last one that is there.
    Drop {
        /// Name of the table.
        table: String,
        /// Name of the member.
        member: String,
    },
    /// Move a copy to another member, where it is kept in the same way.
    Move {
        /// Name of the table.
        table: String,
        /// Name of the member that keeps it.
        from: String,
        /// Name of the member that is to keep it.
        to: String,
    },
}

/// Create a table.
#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// Name of the new table.
    table: String,
    /// An attribute: its name and type (any, bool, int, float, text, bytes, timestamp, list, map; any where none is given);
    /// `?` behind it allows null, and a value behind `=` is its default where rows are written by names.
    #[arg(long = "attribute", short = 'a', required = true, value_name = "NAME[:TYPE][?][=DEFAULT]")]
    attributes: Vec<AttributeSpec>,
    /// An index over the values of a list: rows are found by any of them; may be given several times.
    #[arg(long, value_name = "COL")]
    multi: Vec<String>,
    #[command(flatten)]
    pub(crate) shape: Shape,
    #[command(flatten)]
    retention: RetentionArgs,
}

/// What a new table is besides its attributes; `import` takes it too.
#[derive(Clone, Debug, Args)]
pub(crate) struct Shape {
    /// The key attributes, in order. Default: the first attribute.
    #[arg(long, value_delimiter = ',', value_name = "COL[,COL]")]
    pub(crate) key: Vec<String>,
    /// How rows are kept. Default: set.
    #[arg(long, value_enum)]
    pub(crate) kind: Option<KindArg>,
    /// An index over these attributes; may be given several times.
    #[arg(long, value_name = "COL[,COL]")]
    pub(crate) index: Vec<String>,
    /// A unique index over these attributes; may be given several times.
    #[arg(long, value_name = "COL[,COL]")]
    pub(crate) unique: Vec<String>,
    /// Where every copy is kept. Default: ram.
    #[arg(long, value_enum)]
    pub(crate) storage: Option<StorageArg>,
    /// The memory that each copy may use for rows that are on disc alone; with --storage disc_only. Default: 64MiB.
    #[arg(long, value_name = "SIZE")]
    pub(crate) cache: Option<Size>,
    /// The members that shall have a copy. Default: all.
    #[arg(long, value_delimiter = ',', value_name = "NAME[,NAME]")]
    pub(crate) copies: Vec<String>,
    /// What a commit waits for. Default: logged for disc, memory for ram.
    #[arg(long, value_enum)]
    pub(crate) ack: Option<AckArg>,
}

/// Kinds of tables.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum KindArg {
    /// One row per key.
    Set,
    /// One row per key, in the order of keys.
    #[value(name = "ordered_set", alias = "ordered-set")]
    OrderedSet,
    /// Any number of different rows per key.
    Bag,
}

/// Where copies are kept.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum StorageArg {
    /// In memory.
    Ram,
    /// In memory and on disc.
    Disc,
    /// On disc, with a cache in memory: for tables larger than memory.
    #[value(name = "disc_only", alias = "disc-only")]
    DiscOnly,
}

/// Acknowledgement levels.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum AckArg {
    /// In the memory of all copies.
    Memory,
    /// Handed to the operating system by every disc copy.
    Logged,
    /// Forced to the disc by every disc copy.
    Synced,
}

/// `name:type` or `name:type?`.
#[derive(Clone, Debug)]
pub(crate) struct AttributeSpec {
    pub(crate) name: String,
    pub(crate) ty: AttributeType,
    pub(crate) nullable: bool,
    pub(crate) default: Option<Value>,
}

impl FromStr for AttributeSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<AttributeSpec, String> {
        let (text, default) =
            text.split_once('=').map_or((text, None), |(text, default)| (text, Some(default)));
        let (name, ty) = text.split_once(':').unwrap_or((text, "any"));
        let (ty, nullable) = ty.strip_suffix('?').map_or((ty, false), |ty| (ty, true));
        if name.is_empty() {
            return Err("an attribute needs a name, as in `id:int`".to_owned());
        }
        let ty = type_named(ty)?;
        if default == Some("") && !nullable {
            return Err(format!(
                "the default of {name:?} is null, since nothing stands behind `=`; `{name}:{}?` allows null",
                type_name(ty)
            ));
        }
        let default = default.map(|text| literal::of_type(text, ty)).transpose();
        let default = default.map_err(|error| format!("the default of {name:?}: {error:#}"))?;
        Ok(AttributeSpec { name: name.to_owned(), ty, nullable, default })
    }
}

/// A type by its name.
pub(crate) fn type_named(name: &str) -> Result<AttributeType, String> {
    let all = AttributeType::Any as i32..=AttributeType::Map as i32;
    all.filter_map(|number| AttributeType::try_from(number).ok())
        .find(|ty| type_name(*ty) == name)
        .ok_or_else(|| {
            format!("{name:?} is no type (any, bool, int, float, text, bytes, timestamp, list, map)")
        })
}

/// The name of a type.
pub(crate) fn type_name(ty: AttributeType) -> String {
    ty.as_str_name().trim_start_matches("ATTRIBUTE_TYPE_").to_ascii_lowercase().replace("unspecified", "any")
}

/// The request for a table of these attributes and this shape.
pub(crate) fn spec(name: &str, attributes: &[AttributeSpec], shape: &Shape) -> TableSpec {
    let kind = shape.kind.map_or(TableKind::Set, kind_of);
    let storage = shape.storage.map_or(Storage::Ram, storage_of);
    let cache_bytes = shape.cache.map_or(0, |Size(bytes)| bytes);
    let mut spec = TableSpec::new(name, kind);
    spec = if storage == Storage::DiscOnly { spec.disc_only(cache_bytes) } else { spec.storage(storage) };
    for attribute in attributes {
        spec = match attribute.nullable {
            true => spec.nullable(&attribute.name, attribute.ty),
            false => spec.attribute(&attribute.name, attribute.ty),
        };
        if let Some(default) = &attribute.default {
            spec = spec.default(&attribute.name, default.clone());
        }
    }
    if !shape.key.is_empty() {
        spec = spec.key(shape.key.iter().cloned());
    }
    for columns in &shape.index {
        spec = spec.index(index_name(columns), columns.split(','));
    }
    for columns in &shape.unique {
        spec = spec.unique_index(index_name(columns), columns.split(','));
    }
    for member in &shape.copies {
        spec = match storage {
            Storage::DiscOnly => spec.copy_disc_only(member, cache_bytes),
            _ => spec.copy(member, storage),
        };
    }
    match shape.ack {
        None => spec,
        Some(ack) => spec.acknowledge(acknowledge_of(ack)),
    }
}

pub(crate) fn kind_of(kind: KindArg) -> TableKind {
    match kind {
        KindArg::Set => TableKind::Set,
        KindArg::OrderedSet => TableKind::OrderedSet,
        KindArg::Bag => TableKind::Bag,
    }
}

pub(crate) fn storage_of(storage: StorageArg) -> Storage {
    match storage {
        StorageArg::Ram => Storage::Ram,
        StorageArg::Disc => Storage::Disc,
        StorageArg::DiscOnly => Storage::DiscOnly,
    }
}

/// What is wrong with a cache of a table that has none.
pub(crate) const CACHE_ALONE: &str =
    "--cache is for tables that are kept on disc alone: add --storage disc_only";

impl Shape {
    /// What clap cannot tell: a cache goes with one value of another option.
    pub(crate) fn check(&self) -> Result<()> {
        if self.cache.is_some() && !matches!(self.storage, Some(StorageArg::DiscOnly)) {
            return Err(Usage::error(CACHE_ALONE));
        }
        Ok(())
    }
}

/// A key is never null, so an attribute of it cannot be declared so.
fn check_key(attributes: &[AttributeSpec], key: &[String]) -> Result<()> {
    let first = attributes.first().map(|first| &first.name);
    let of_key = |spec: &&AttributeSpec| match key {
        [] => Some(&spec.name) == first,
        names => names.contains(&spec.name),
    };
    match attributes.iter().filter(of_key).find(|spec| spec.nullable) {
        None => Ok(()),
        Some(AttributeSpec { name, ty, .. }) => {
            let ty = type_name(*ty);
            Err(Usage::error(format!(
                "{name:?} is of the key, which is never null: write `{name}:{ty}`, not `{name}:{ty}?`"
            )))
        }
    }
}

pub(crate) fn acknowledge_of(ack: AckArg) -> Acknowledge {
    match ack {
        AckArg::Memory => Acknowledge::Memory,
        AckArg::Logged => Acknowledge::Logged,
        AckArg::Synced => Acknowledge::Synced,
    }
}

fn index_name(columns: &str) -> String {
    format!("by_{}", columns.replace(',', "_"))
}

/// Runs a `table` command.
pub(crate) async fn run(global: &Global, command: TableCommand) -> Result<()> {
    let client = connect(global).await?;
    match command {
        TableCommand::List => show::list(global, &client.tables().await?),
        TableCommand::Show { table } => {
            let info = client.describe_table(table).await?;
            show::table(global, definition(&info)?, Some(&info))
        }
        TableCommand::Create(args) => {
            args.shape.check()?;
            check_key(&args.attributes, &args.shape.key)?;
            let mut wanted = args.retention.apply(spec(&args.table, &args.attributes, &args.shape));
            for column in &args.multi {
                wanted = wanted.multi_index(index_name(column), column);
            }
            client.create_table(wanted).await?;
            output::note(format_args!("table {} created", args.table));
            Ok(())
        }
        TableCommand::Rename { table, to } => {
            client.rename_table(&table, &to).await?;
            output::note(format_args!("table {table} is called {to} now"));
            Ok(())
        }
        TableCommand::Clear { table } => {
            client.clear_table(&table).await?;
            output::note(format_args!("table {table} cleared"));
            Ok(())
        }
        TableCommand::Add { table, attributes } => {
            let added = attributes.into_iter().map(|one| proto::Attribute {
                name: one.name,
                r#type: one.ty.into(),
                nullable: one.nullable,
                default: one.default.map(Into::into),
            });
            show::table(global, &client.add_attributes(&table, added).await?, None)
        }
        TableCommand::Copy(command) => copy(&client, command).await,
        TableCommand::Drop { table } => {
            client.drop_table(&table).await?;
            output::note(format_args!("table {table} dropped"));
            Ok(())
        }
    }
}

async fn copy(client: &Client, command: CopyCommand) -> Result<()> {
    match command {
        CopyCommand::Add { table, member, storage } => {
            client.add_copy(&table, &member, storage.map_or(Storage::Ram, storage_of)).await?;
            output::note(format_args!("{member} has a copy of table {table}"));
        }
        CopyCommand::Drop { table, member } => {
            client.drop_copy(&table, &member).await?;
            output::note(format_args!("{member} keeps no copy of table {table} any more"));
        }
        CopyCommand::Move { table, from, to } => {
            client.move_copy(&table, &from, &to).await?;
            output::note(format_args!("{to} has the copy of table {table} that {from} had"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_read_with_type_and_null() {
        // Aim: what help promises is understood, what it does not is refused by name. Method: each form once.
        let spec: AttributeSpec = "at:timestamp?".parse().unwrap();
        assert_eq!((spec.name.as_str(), spec.ty, spec.nullable), ("at", AttributeType::Timestamp, true));
        let with_default: AttributeSpec = "n:int?=-7".parse().unwrap();
        assert_eq!((with_default.nullable, with_default.default), (true, Some(Value::Int(-7))));
        assert!("n:int=".parse::<AttributeSpec>().unwrap_err().contains("`n:int?` allows null"));
        assert!("n:int=x".parse::<AttributeSpec>().unwrap_err().contains("default of \"n\""));
        assert_eq!("x".parse::<AttributeSpec>().unwrap().ty, AttributeType::Any);
        assert!("x:integer".parse::<AttributeSpec>().unwrap_err().contains("integer"));
        assert!(":int".parse::<AttributeSpec>().is_err());
    }

    #[test]
    fn a_key_that_allows_null_is_refused() {
        // Aim: nobody believes that a key may be null. Method: the key by its place, by name, and attributes beside it.
        let specs = |texts: &[&str]| -> Vec<AttributeSpec> {
            texts.iter().map(|text| text.parse().unwrap()).collect()
        };
        let (first, second) = (specs(&["id:int?", "n:int"]), specs(&["id:int", "n:text?"]));
        let named = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<String>>();
        assert!(check_key(&first, &[]).unwrap_err().to_string().contains("`id:int`"));
        assert!(check_key(&first, &named(&["n"])).is_ok());
        assert!(check_key(&second, &[]).is_ok() && check_key(&second, &named(&["id"])).is_ok());
        assert!(check_key(&second, &named(&["id", "n"])).unwrap_err().to_string().contains("`n:text`"));
    }
}
