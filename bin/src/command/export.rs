//! `export`: all rows of a table, read at one instant, as CSV or JSON lines that `import` reads back as the same rows. A
//! regular file appears under its name only when it is whole; anything else (a pipe, a device) is written directly.

use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;
use hypermnesia_rpc::client::{Client, Scan, TableDefinition};

use super::{attributes, connect, definition, loaded_table};
use crate::args::{Global, Usage};
use crate::file::{Layout, layout_of};
use crate::output::{Format, Output, note};
use crate::progress;

/// Symbolic links that are followed before they are taken for a circle, as Linux counts them.
const LINKS_MAX: usize = 40;

/// Write a table to the standard output or a file.
#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// Name of the table.
    table: String,
    /// The file; its ending (.csv, .json, .jsonl, .ndjson) says the format, and --format stands above it.
    /// Default, and `-`: the standard output, as --format says.
    file: Option<PathBuf>,
}

/// Exports the table.
pub(crate) async fn run(global: &Global, args: ExportArgs) -> Result<()> {
    let path = args.file.as_deref().filter(|path| ![Path::new("-"), Path::new("/dev/stdout")].contains(path));
    let format = match path {
        None => global.format,
        Some(path) => format_of(path, global)?,
    };
    let client = connect(global).await?;
    let info = loaded_table(&client, global, &args.table).await?;
    let export = Export { client: &client, table: definition(&info)?, total: info.rows, format };
    let Some(path) = path else {
        return export.write(io::stdout()).await.map(drop);
    };
    let rows = export.to_file(path).await?;
    let word = if rows == 1 { "row" } else { "rows" };
    note(format_args!("{rows} {word} of {} into {}", args.table, path.display()));
    Ok(())
}

/// The format of a file: as it is told, else by the file's ending.
fn format_of(path: &Path, global: &Global) -> Result<Format> {
    let by_ending = layout_of(path).map(|layout| match layout {
        Layout::Csv => Format::Csv,
        Layout::Json => Format::Json,
    });
    match (global.format_given, by_ending) {
        (false, Some(format)) => Ok(format),
        (false, None) => Err(Usage::error(format!(
            "{}: its ending says no format; give --format csv, json or table, or end it in .csv, .json, .jsonl or .ndjson",
            path.display()
        ))),
        (true, ending) => {
            if ending.is_some_and(|ending| ending != global.format) {
                note(format_args!("{} is written as --format says, not as its ending does", path.display()));
            }
            Ok(global.format)
        }
    }
}

struct Export<'a> {
    client: &'a Client,
    table: &'a TableDefinition,
    /// Rows when it began, for the progress bar.
    total: u64,
    format: Format,
}

impl Export<'_> {
    async fn to_file(&self, path: &Path) -> Result<u64> {
        let cannot = || format!("cannot write {}", path.display());
        if is_descriptor(path) {
            return self.write(OpenOptions::new().write(true).open(path).with_context(cannot)?).await;
        }
        let target = followed(path).with_context(cannot)?;
        match fs::metadata(&target) {
            Ok(there) if there.is_file() => self.in_place_of(&target, Some(there.permissions())).await,
            Ok(_) => {
                let file = OpenOptions::new().write(true).open(&target).with_context(cannot)?;
                self.write(file).await.map_err(|error| told(error, &target))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.in_place_of(&target, None).await,
            Err(error) => Err(error).with_context(cannot),
        }
    }

    /// Writes beside the file and then puts it in its place, so that a half-written file never stands under its name.
    async fn in_place_of(&self, target: &Path, permissions: Option<fs::Permissions>) -> Result<u64> {
        let beside = beside(target);
        let cannot = || format!("cannot write {}", target.display());
        let file = OpenOptions::new().write(true).create_new(true).open(&beside).with_context(cannot)?;
        let written = async {
            if let Some(permissions) = permissions {
                file.set_permissions(permissions).with_context(cannot)?;
            }
            let rows = self.write(&file).await.map_err(|error| told(error, target))?;
            file.sync_all().with_context(cannot)?;
            fs::rename(&beside, target).with_context(cannot)?;
            Ok(rows)
        }
        .await;
        if written.is_err() {
            // The failure that led here is what is told.
            drop(fs::remove_file(&beside));
        }
        written
    }

    /// Reads the table and writes its rows; an error may be of either.
    async fn write(&self, writer: impl Write) -> Result<u64> {
        let columns = attributes(self.table).map(|(name, _)| name.to_owned()).collect();
        let types = attributes(self.table).map(|(_, ty)| ty);
        let mut out = Output::new(self.format, columns, BufWriter::new(writer))?.of_types(types);
        let bar = progress::rows("reading", self.total);
        let mut rows = self.client.table(&self.table.name).scan(Scan::all()).await?;
        let mut count = 0;
        while let Some(row) = rows.next().await? {
            out.row(&row)?;
            count += 1;
            bar.at(count);
        }
        out.finish()?;
        Ok(count)
    }
}

/// Whether a path names an open file of a process rather than a place in a directory: even where a regular file is behind
/// it, its owner writes to that very file.
fn is_descriptor(path: &Path) -> bool {
    ["/dev/stderr", "/dev/fd", "/proc"].iter().any(|begin| path.starts_with(begin))
}

/// Where symbolic links lead, whether or not there is a file yet.
fn followed(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..LINKS_MAX {
        match fs::read_link(&path) {
            // A link is relative to its own directory.
            Ok(link) => path = path.parent().unwrap_or(Path::new("")).join(link),
            Err(_) => return Ok(path),
        }
    }
    Err(io::Error::other("too many symbolic links"))
}

/// A name in the same directory that nobody else uses.
fn beside(target: &Path) -> PathBuf {
    let mut name = target.file_name().map_or_else(OsString::new, OsString::from);
    name.push(format!(".part{}", std::process::id()));
    target.with_file_name(name)
}

/// What could not be read says so by itself; the rest is about the file.
fn told(error: anyhow::Error, path: &Path) -> anyhow::Error {
    match error.is::<hypermnesia_rpc::Error>() {
        true => error,
        false => error.context(format!("cannot write {}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_followed_to_a_file_that_is_not_there_yet() {
        // Aim: an export through a link writes what the link names. Method: a chain of two relative links, and a circle.
        let home = tempfile::tempdir().unwrap();
        let at = |name: &str| home.path().join(name);
        std::os::unix::fs::symlink("b", at("a")).unwrap();
        std::os::unix::fs::symlink("c.csv", at("b")).unwrap();
        std::os::unix::fs::symlink("e", at("d")).unwrap();
        std::os::unix::fs::symlink("d", at("e")).unwrap();
        assert_eq!(followed(&at("a")).unwrap(), at("c.csv"));
        assert!(followed(&at("d")).is_err());
    }
}
