//! Which tables a member takes part in without having all of their rows: see `catchup/tail.rs`.

use std::collections::BTreeSet;

use hypermnesia_store::TableId;

/// The tables whose copies here are still being loaded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Lacks {
    /// None.
    #[default]
    Nothing,
    /// All of them: which there are is not known before the schema has come.
    Everything,
    /// These, and at least one.
    Tables(BTreeSet<TableId>),
}

impl Lacks {
    /// These tables; there may be none.
    pub(crate) fn of(tables: impl IntoIterator<Item = TableId>) -> Lacks {
        let tables: BTreeSet<TableId> = tables.into_iter().collect();
        if tables.is_empty() { Lacks::Nothing } else { Lacks::Tables(tables) }
    }

    pub(crate) fn is_nothing(&self) -> bool {
        *self == Lacks::Nothing
    }

    pub(crate) fn has(&self, table: TableId) -> bool {
        match self {
            Lacks::Nothing => false,
            Lacks::Everything => true,
            Lacks::Tables(tables) => tables.contains(&table),
        }
    }

    /// All of this table is here now.
    pub(crate) fn got(&mut self, table: TableId) {
        if let Lacks::Tables(tables) = self {
            tables.remove(&table);
            if tables.is_empty() {
                *self = Lacks::Nothing;
            }
        }
    }
}
