//! Tables into a backup: one snapshot, each table walked by a cursor that holds nothing between its chunks.

use std::io::Write;
use std::ops::ControlFlow;
use std::sync::Arc;

use hypermnesia_store::backup::{BackupError, BackupId, BackupWriter, Opening, Scope};
use hypermnesia_store::{Key, Table as Open, Timestamp};

use super::options::{BackupOptions, BackupSummary, Baseline, TableBackup};
use crate::core::{Core, wall_ms};
use crate::error::{Error, Result};
use crate::limits::BACKUP_TOLD_EVERY;
use crate::machine;
use crate::sequence;
use crate::snapshot::Snapshot;

/// One backup that is being written.
struct Save<'a, W> {
    snapshot: Snapshot,
    writer: BackupWriter<W>,
    /// What the backup is called in errors.
    name: &'a str,
    base: Option<&'a Baseline>,
    progress: &'a mut dyn FnMut(u64, u64),
    /// Keys looked at.
    seen: u64,
    /// Rows there are, more or less.
    total: u64,
}

pub(super) fn save(
    core: &Arc<Core>,
    name: &str,
    options: &BackupOptions,
    sink: &mut dyn Write,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<BackupSummary> {
    let snapshot = Snapshot::take(core)?;
    let tables = chosen(core, &options.tables)?;
    let base = options.base.as_ref();
    base.map_or(Ok(()), |base| check_base(core, base, snapshot.at()))?;
    let opening = Opening {
        id: BackupId(machine::fresh_id().0),
        position: snapshot.at(),
        base: base.map(|base| base.base),
        cluster: core.cluster.clone(),
        node: core.name.clone(),
        written_ms: wall_ms(),
        program: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let sequences = match options.without_sequences {
        true => None,
        false => Some(sequence::backed_up(core, &snapshot)?),
    };
    let writer =
        BackupWriter::begin(sink, &opening, sequences.as_deref()).map_err(|error| failed(name, error))?;
    let total = tables.iter().map(|table| table.len()).sum();
    let mut save = Save { snapshot, writer, name, base, progress, seen: 0, total };
    let tables = tables.iter().map(|table| save.table(core, table)).collect::<Result<Vec<_>>>()?;
    (save.progress)(save.seen.max(total), total);
    let (_, closing, file_bytes) = save.writer.finish().map_err(|error| failed(name, error))?;
    let Opening { id, position, base, .. } = opening;
    let (sequences, rows, bytes) = (sequences.unwrap_or_default(), closing.rows, closing.bytes);
    Ok(BackupSummary { id, position, base, sequences, tables, rows, bytes, file_bytes })
}

fn failed(name: &str, error: BackupError) -> Error {
    Error::Backup { file: name.to_owned(), error }
}

/// The tables of these names, or all but the system's own, each with a copy here.
fn chosen(core: &Core, names: &[String]) -> Result<Vec<Arc<Open>>> {
    let mut tables = Vec::new();
    if names.is_empty() {
        tables = core.store.tables();
        tables.retain(|table| !table.def().is_system());
        tables.sort_by(|a, b| a.def().name.cmp(&b.def().name));
    }
    for name in names {
        let missing = || Error::NoSuchTable { name: name.clone() };
        let table = core.store.table_named(name).ok_or_else(missing)?;
        if table.def().is_system() {
            return Err(Error::SystemTable { table: name.clone() });
        }
        if !tables.iter().any(|known| known.id() == table.id()) {
            tables.push(table);
        }
    }
    tables.iter().try_for_each(|table| core.check_copy(table.def()))?;
    Ok(tables)
}

/// A base whose position means nothing here would give a backup with rows missing.
fn check_base(core: &Core, base: &Baseline, at: Timestamp) -> Result<()> {
    if base.cluster != core.cluster {
        return Err(Error::BackupChain(format!(
            "the base is a backup of cluster {:?}, this is {:?}: only a backup of the same cluster can be gone on from",
            base.cluster, core.cluster
        )));
    }
    if base.base.position > at {
        return Err(Error::BackupChain(format!(
            "the base shows a later state (position {}) than this member has (position {}): ask the member that wrote it, or make a full backup",
            base.base.position.0, at.0
        )));
    }
    Ok(())
}

impl<W: Write> Save<'_, W> {
    fn table(&mut self, core: &Core, table: &Arc<Open>) -> Result<TableBackup> {
        let def = table.def();
        let since = self.base.filter(|base| {
            // A local table has other rows on every member.
            base.tables.contains(&def.id) && (!def.local || base.node == core.name)
        });
        let since = since.map(|base| base.base.position);
        let scope = if since.is_some() { Scope::Changes } else { Scope::Full };
        let name = self.name;
        self.writer.table(def, scope).map_err(|error| failed(name, error))?;
        self.rows(table, since)?;
        let closing = self.writer.end_table().map_err(|error| failed(name, error))?;
        let (rows, bytes, unchanged) = (closing.rows, closing.bytes, closing.unchanged);
        Ok(TableBackup { name: def.name.clone(), scope, rows, bytes, unchanged })
    }

    fn rows(&mut self, table: &Arc<Open>, since: Option<Timestamp>) -> Result<()> {
        let (writer, seen, total) = (&mut self.writer, &mut self.seen, self.total);
        let progress = &mut *self.progress;
        let mut stopped = None;
        let mut write = |key: &Key, body: &hypermnesia_store::Body, at: Timestamp| {
            if since.is_some_and(|since| at <= since) {
                return writer.unchanged(key, at);
            }
            body.rows().iter().try_for_each(|row| writer.row(row, at))
        };
        self.snapshot.visit_versions(table, |key, body, at| {
            if let Err(error) = write(key, body, at) {
                stopped = Some(error);
                return ControlFlow::Break(());
            }
            let before = *seen / BACKUP_TOLD_EVERY;
            *seen += body.rows().len() as u64;
            if *seen / BACKUP_TOLD_EVERY != before {
                progress(*seen, total.max(*seen));
            }
            ControlFlow::Continue(())
        })?;
        stopped.map_or(Ok(()), |error| Err(failed(self.name, error)))
    }
}
