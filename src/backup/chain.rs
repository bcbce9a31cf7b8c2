//! A full backup and the incremental ones behind it, read as one: every row that was there at the position of the last one,
//! once, as it was then.
//!
//! The last file tells which keys are there: those of its rows, and those it calls unchanged. An unchanged key is looked for in
//! the file before, among its rows, and if it is unchanged there too, in the one before that. The commit timestamps must agree
//! on the way, so files that do not belong together are found, whatever their names say. The keys that are looked for are
//! held, at most [`RESTORE_KEYS_HELD`] at a time: where there are more the files are read several times, each time for a part
//! of the keys.

use std::collections::{HashMap, HashSet};

use hypermnesia_store::backup::{BackedUpSequence, Item, Scope, TableContents};
use hypermnesia_store::{Key, Row, Timestamp};

use super::file::BackupFile;
use crate::error::{Error, Result};
use crate::limits::RESTORE_KEYS_HELD;

/// Backups that belong together, the full one first.
#[derive(Clone, Debug)]
pub struct Chain {
    files: Vec<BackupFile>,
}

/// One table of a chain: in which files its rows are, the newest first, down to one that has it whole.
type Parts<'a> = Vec<(&'a BackupFile, &'a TableContents)>;

/// Keys that are looked for, with their commit timestamps, and whether they were found.
type Sought = HashMap<Key, (Timestamp, bool)>;

/// The part of the keys that one reading of the files is for.
#[derive(Clone, Copy)]
struct Share {
    number: u64,
    of: u64,
}

impl Share {
    fn has(self, key: &Key) -> bool {
        self.of == 1 || u64::from(crc32fast::hash(key.as_bytes())) % self.of == self.number
    }
}

impl Chain {
    /// Puts files together: one full backup, or a full one with the incremental ones behind it in their order.
    ///
    /// # Errors
    /// [`Error::BackupChain`] when they do not belong together in this order, or a table of the last one lacks its base.
    pub fn of(files: Vec<BackupFile>) -> Result<Chain> {
        let Some(first) = files.first() else {
            return Err(Error::BackupChain("no backup was named".to_owned()));
        };
        if let Some(base) = first.contents().opening.base {
            return Err(Error::BackupChain(format!(
                "{} is an incremental backup on backup {} at position {}: name that file, and those between, before it",
                first.name(),
                base.id,
                base.position.0
            )));
        }
        for pair in files.windows(2) {
            check_pair(&pair[0], &pair[1])?;
        }
        let chain = Chain { files };
        chain.tables().iter().try_for_each(|table| chain.parts(&table.def.name).map(drop))?;
        Ok(chain)
    }

    /// The tables that the chain restores: those of its last file.
    pub fn tables(&self) -> &[TableContents] {
        self.last().tables()
    }

    /// The tables that it does not restore although one of its files has them, each with the newest such file: dropped
    /// before the last backup, or not among the tables that this one was asked to take. Nobody can tell which from the files.
    pub fn left_out(&self) -> Vec<(&str, &BackupFile)> {
        let mut known: HashSet<_> = self.tables().iter().map(|table| table.def.id).collect();
        let mut left_out = Vec::new();
        for file in self.files.iter().rev() {
            // One of the same name is another table, which came later.
            let gone = file.tables().iter().filter(|table| known.insert(table.def.id));
            left_out.extend(gone.map(|table| (table.def.name.as_str(), file)));
        }
        left_out.retain(|(name, _)| self.last().contents().table(name).is_none());
        left_out
    }

    /// The sequences that the chain restores: those of its last file, as of the position of its rows. None where that one
    /// has none noted, as in files that earlier versions wrote, whatever those before it say: their numbers are older than the
    /// rows, which may have been given later ones.
    pub fn sequences(&self) -> Option<&[BackedUpSequence]> {
        self.last().contents().sequences.as_deref()
    }

    /// Its files, the full backup first.
    pub fn files(&self) -> &[BackupFile] {
        &self.files
    }

    pub(super) fn last(&self) -> &BackupFile {
        self.files.last().expect("a chain has a file")
    }

    /// Rows of a table, more or less: in a chain some are counted twice.
    pub(super) fn rows_of(&self, table: &str) -> u64 {
        let parts = self.parts(table).unwrap_or_default();
        let own = parts.first().map_or(0, |(_, table)| table.closing.rows + table.closing.unchanged);
        parts.last().map_or(0, |(_, table)| table.closing.rows).max(own)
    }

    fn parts(&self, name: &str) -> Result<Parts<'_>> {
        let mut parts: Parts<'_> = Vec::new();
        for file in self.files.iter().rev() {
            // In older files it may have another name.
            let table = match parts.last() {
                None => file.contents().table(name),
                Some((_, newer)) => file.tables().iter().find(|table| table.def.id == newer.def.id),
            };
            let Some(table) = table else { return Err(file.lacks(name)) };
            parts.push((file, table));
            if table.scope == Scope::Full {
                return Ok(parts);
            }
        }
        Err(self.last().lacks(name))
    }

    /// Shows every row of a table as it was at the position of the last file, once. Rows of one key of a bag follow each other
    /// in their order. Rows are as they were stored, as [`BackupFile::rows`] gives them.
    ///
    /// # Errors
    /// [`Error::BackupChain`] when the files do not belong together after all; what `show` returned.
    pub fn each(&self, table: &str, mut show: impl FnMut(Row, Timestamp) -> Result<()>) -> Result<()> {
        let parts = self.parts(table)?;
        let sought = parts[..parts.len() - 1].iter().map(|(_, table)| table.closing.unchanged).max();
        let of = sought.unwrap_or(0).div_ceil(RESTORE_KEYS_HELD).max(1);
        (0..of).try_for_each(|number| each_of(&parts, Share { number, of }, &mut show))
    }
}

fn check_pair(older: &BackupFile, newer: &BackupFile) -> Result<()> {
    let (before, after) = (&older.contents().opening, &newer.contents().opening);
    let wrong = |what: String| Err(Error::BackupChain(what));
    let Some(base) = after.base else {
        return wrong(format!(
            "{} is a full backup: it stands alone or first, and {} came before it",
            newer.name(),
            older.name()
        ));
    };
    if base.id != before.id || base.position != before.position {
        return wrong(format!(
            "{} goes on from backup {} at position {}, and {} is backup {} at position {}",
            newer.name(),
            base.id,
            base.position.0,
            older.name(),
            before.id,
            before.position.0
        ));
    }
    Ok(())
}

fn each_of(
    parts: &Parts<'_>,
    share: Share,
    show: &mut impl FnMut(Row, Timestamp) -> Result<()>,
) -> Result<()> {
    // In the newest file everything counts.
    let mut wanted: Option<Sought> = None;
    for (file, table) in parts {
        let (mut reader, mut next, mut found) = (file.reader(table), Sought::new(), 0);
        let alone = parts.len() == 1;
        while let Some(item) = reader.next().map_err(|error| file.failed(error))? {
            match item {
                Item::Row(row, at) if alone => show(row, at)?,
                Item::Row(row, at) => {
                    let key = table.def.key_of(&row)?;
                    if share.has(&key) && is_wanted(&mut wanted, &key, at, &mut found) {
                        show(row, at)?;
                    }
                }
                Item::Unchanged(key, at) => {
                    if share.has(&key) && is_wanted(&mut wanted, &key, at, &mut found) {
                        next.insert(key, (at, false));
                    }
                }
                Item::Table { .. } | Item::TableEnd(_) => {}
            }
        }
        if let Some(missing) = wanted.as_ref().filter(|wanted| wanted.len() > found) {
            let lost = missing.iter().find(|(_, (_, found))| !found).map(|(key, _)| key.to_string());
            return Err(Error::BackupChain(format!(
                "{}: table {:?} has not the row of key {} that a later backup calls unchanged: they are not of one history",
                file.name(),
                table.def.name,
                lost.unwrap_or_default()
            )));
        }
        wanted = Some(next);
    }
    Ok(())
}

/// Whether this version of the key is the one that counts; notes that it was found.
fn is_wanted(wanted: &mut Option<Sought>, key: &Key, at: Timestamp, found: &mut usize) -> bool {
    let Some(wanted) = wanted else { return true };
    match wanted.get_mut(key) {
        Some((version, seen)) if *version == at => {
            *found += usize::from(!std::mem::replace(seen, true));
            true
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backup::BackupOptions;
    use crate::{Node, TableDef, Type, Value};

    #[test]
    fn parts_of_the_keys_make_the_whole() {
        // Aim: tables with more keys than are held at a time. Method: a chain of three, read for one share of the keys after
        // the other: together they are what one reading shows, and nothing twice.
        let home = tempfile::tempdir().expect("a directory");
        let node = Node::builder().build().expect("embedded");
        let def = TableDef::builder("t").attribute("id", Type::Int).attribute("n", Type::Int);
        let table = node.create_table(def).expect("new");
        let mut files: Vec<BackupFile> = Vec::new();
        for n in 0..3_i64 {
            (0..300).filter(|id| id % (n + 1) == 0).for_each(|id| {
                table.insert(&[Value::Int(id), Value::Int(n)]).expect("fits");
                table.delete(&[Value::Int(id + 7)]).expect("deleted");
            });
            let path = home.path().join(n.to_string());
            let options = files.last().map_or(BackupOptions::new(), |base| BackupOptions::new().since(base));
            node.backup(&path, &options).expect("written");
            files.push(BackupFile::open(&path).expect("whole"));
        }
        let chain = Chain::of(files).expect("they belong together");
        let parts = chain.parts("t").expect("there");
        let shown = |of| {
            let mut rows = Vec::new();
            for number in 0..of {
                let mut show = |row: Row, _| {
                    rows.push(row.to_values());
                    Ok(())
                };
                each_of(&parts, Share { number, of }, &mut show).expect("of one history");
            }
            rows.sort();
            rows
        };
        let mut all = table.to_vec().expect("read");
        all.sort();
        assert!(all.len() > 100);
        assert_eq!((shown(1), shown(7)), (all.clone(), all));
    }
}
