//! Backups without a node: a chain into one full backup, row by row through the caller's hands.

use std::path::Path;

use hypermnesia_store::backup::{BackupError, BackupId, BackupWriter, Opening, Scope};
use hypermnesia_store::{Row, TableDef};

use super::chain::Chain;
use super::options::{BackupSummary, TableBackup};
use super::target::Target;
use crate::core::wall_ms;
use crate::error::{Error, Result};
use crate::machine;

impl Chain {
    /// Writes the state of the chain as one full backup: each row as `change` gives it back, or not at all. With
    /// `|_, row| Ok(Some(row))` incremental backups and their base become one file, from which later incremental ones can go
    /// on. The position stays, the name is a new one. The file appears when it is whole, and may take the place of one of the
    /// chain's own.
    ///
    /// ```
    /// use hypermnesia::backup::{BackupFile, BackupOptions, Chain};
    /// use hypermnesia::{Node, TableDef, Type, Value};
    ///
    /// let home = tempfile::tempdir()?;
    /// let [all, few] = ["all.hmb", "few.hmb"].map(|name| home.path().join(name));
    /// let node = Node::builder().build()?;
    /// let notes = node.create_table(TableDef::builder("notes").attribute("id", Type::Int))?;
    /// notes.insert_many([&[Value::Int(1)][..], &[Value::Int(2)][..]])?;
    /// node.backup(&all, &BackupOptions::new())?;
    ///
    /// let chain = Chain::of(vec![BackupFile::open(&all)?])?;
    /// let even = |value: Value| matches!(value, Value::Int(n) if n % 2 == 0);
    /// let summary = chain.rewrite(&few, |_, row| Ok(even(row.attribute(0).to_value()).then_some(row)))?;
    /// assert_eq!(summary.rows, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Backup`], [`Error::BackupChain`], [`Error::Row`] when a row does not fit its table any more, and what `change`
    /// returned. No file is left then.
    pub fn rewrite(
        &self,
        path: impl AsRef<Path>,
        mut change: impl FnMut(&TableDef, Row) -> Result<Option<Row>>,
    ) -> Result<BackupSummary> {
        let path = path.as_ref();
        let target = Target::create(path)?;
        let failed = |error: BackupError| Error::Backup { file: path.display().to_string(), error };
        let last = &self.last().contents().opening;
        let opening = Opening {
            id: BackupId(machine::fresh_id().0),
            base: None,
            written_ms: wall_ms(),
            program: env!("CARGO_PKG_VERSION").to_owned(),
            ..last.clone()
        };
        let mut writer = BackupWriter::begin(target.file(), &opening, self.sequences()).map_err(failed)?;
        let mut tables = Vec::new();
        for table in self.tables() {
            let def = &table.def;
            writer.table(def, Scope::Full).map_err(failed)?;
            self.each(&def.name, |row, at| match change(def, row)? {
                Some(row) => writer.row(&def.adopt(&row)?, at).map_err(failed),
                None => Ok(()),
            })?;
            let closing = writer.end_table().map_err(failed)?;
            let (name, rows, bytes) = (def.name.clone(), closing.rows, closing.bytes);
            tables.push(TableBackup { name, scope: Scope::Full, rows, bytes, unchanged: 0 });
        }
        let (_, closing, file_bytes) = writer.finish().map_err(failed)?;
        target.keep()?;
        let Opening { id, position, base, .. } = opening;
        let sequences = self.sequences().unwrap_or_default().to_vec();
        let (rows, bytes) = (closing.rows, closing.bytes);
        Ok(BackupSummary { id, position, base, sequences, tables, rows, bytes, file_bytes })
    }
}
