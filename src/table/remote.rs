//! Reads outside a transaction of a table that has no copy on this node: see [`crate::remote`].

use hypermnesia_replication::fetch::Ask;
use hypermnesia_store::{Body, IndexId, Key, TableDef, Timestamp};

use super::{OpenTable, Table};
use crate::error::{Error, Result};
use crate::operation::{ordered, ordered_unless_all};
use crate::options::{Span, Walk};
use crate::remote;
use crate::shape::Shape;
use crate::snapshot::{Again, Snapshot};
use crate::vouch::passes;

/// A span as it is asked for.
pub(crate) fn ask_for(index: Option<IndexId>, span: &Span) -> Ask {
    let (backward, limit) = (span.walk == Walk::Backward, span.limit as u64);
    Ask::Range { index, range: span.range.clone(), backward, limit }
}

impl<S> Table<S> {
    /// Whether its rows have to be asked for.
    pub(crate) fn is_remote(&self) -> Result<bool> {
        self.core.check_serving()?;
        self.core.await_definition(self.id())?;
        self.core.is_remote(self.found()?.def())
    }

    /// As it is now, no change of it being under way.
    fn settled_open(&self) -> Result<OpenTable<'_>> {
        self.core.await_definition(self.id())?;
        self.open()
    }

    /// Shows what a key holds now.
    pub(super) fn shown_from_afar<T>(
        &self,
        encode: impl Fn(&TableDef) -> Result<Key>,
        show: impl FnOnce(&TableDef, &Body, Timestamp) -> T,
    ) -> Result<Option<T>> {
        let mut again = Again::default();
        loop {
            let open = self.settled_open()?;
            let ask = Ask::Key(encode(open.def())?);
            match remote::newest(&self.core, &open, &ask) {
                Err(Error::SchemaChanged { .. }) if again.pause() => {}
                Err(error) => return Err(error),
                Ok(found) => {
                    let first = found.rows.first();
                    return Ok(first.map(|(_, body, version)| show(open.def(), body, *version)));
                }
            }
        }
    }

    /// How many rows it has.
    pub(super) fn count_from_afar(&self) -> Result<u64> {
        let mut again = Again::default();
        loop {
            self.core.await_definition(self.id())?;
            match remote::newest(&self.core, &*self.found()?, &Ask::Count) {
                Err(Error::SchemaChanged { .. }) if again.pause() => {}
                counted => return Ok(counted?.count),
            }
        }
    }
}

impl<S> Table<S> {
    /// Reads at a snapshot of this node, or asks for it, as the copies are. One that comes or goes in the middle is not met twice.
    pub(crate) fn here_or<T>(
        &self,
        mut here: impl FnMut(&Snapshot) -> Result<T>,
        mut afar: impl FnMut() -> Result<T>,
    ) -> Result<T> {
        let mut again = Again::default();
        loop {
            if self.is_remote()? {
                return afar();
            }
            match Snapshot::once(&self.core, &mut here) {
                Err(error) if (passes(&error) || error.is_elsewhere()) && again.pause() => {}
                read => return read,
            }
        }
    }
}

impl<S: Shape> Table<S> {
    /// The rows within a span, of keys or of an index, in one state.
    pub(crate) fn range_from_afar(&self, index: Option<&str>, span: &Span) -> Result<Vec<S::Shown>> {
        let mut again = Again::default();
        if span.limit == 0 {
            return Ok(Vec::new());
        }
        loop {
            let open = self.settled_open()?;
            let index = index.map(|name| self.index_named(name)).transpose()?.map(|index| index.id);
            if index.is_none() {
                ordered_unless_all(open.def(), &span.range, "a range")?;
            }
            match remote::newest(&self.core, &open, &ask_for(index, span)) {
                Err(Error::SchemaChanged { .. }) if again.pause() => {}
                Err(error) => return Err(error),
                Ok(found) => {
                    let rows = found.rows.iter().flat_map(|(_, body, _)| body.rows());
                    return rows.map(|row| S::decode(open.def(), row)).collect();
                }
            }
        }
    }

    /// The first row within a span of an ordered set.
    pub(super) fn edge_from_afar(&self, span: Span, operation: &'static str) -> Result<Option<S::Shown>> {
        ordered(self.open()?.def(), operation)?;
        Ok(self.range_from_afar(None, &span.limit(1))?.into_iter().next())
    }
}
