//! What a query reads and writes: a snapshot, a transaction on this thread, or an interactive one of a task. Each row goes
//! through a watch, so that a query nobody waits for any more, or whose time is over, stops where it is.

use std::cell::{Cell, RefCell};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Instant;

use hypermnesia::sql::{Access, Direction, Visit};
use hypermnesia::{
    AsyncTransaction, Encoded, Error, IndexDef, Key, KeyRange, Lifetime, Node, Result, Row, Snapshot, Span,
    Stored, Table, TableDef, Transaction,
};
use tokio::runtime::Handle;

/// Rows between two looks at the clock and at the reader: a few hundred microseconds.
const ROWS_PER_LOOK: u32 = 512;

/// Takes stored rows, one at a time.
type Show<'a> = dyn FnMut(&Row) -> ControlFlow<()> + 'a;

/// One state of all tables, and perhaps a place for changes. Writing to a snapshot is refused.
pub(super) trait State {
    fn read(&self, table: &Table<Stored>, key: Encoded, show: &mut Show<'_>) -> Result<()>;
    fn range(&self, table: &Table<Stored>, span: &Span, show: &mut Show<'_>) -> Result<()>;
    fn index_range(&self, table: &Table<Stored>, index: &str, span: &Span, show: &mut Show<'_>)
    -> Result<()>;
    fn put(&self, table: &Table<Stored>, row: &Row, lifetime: Lifetime) -> Result<()>;
    fn delete(&self, table: &Table<Stored>, key: Encoded) -> Result<()>;
    fn delete_object(&self, table: &Table<Stored>, row: &Row) -> Result<()>;
}

/// Whether to go on.
pub(super) struct Watch<'a> {
    deadline: Instant,
    gone: &'a dyn Fn() -> bool,
    rows: Cell<u32>,
    stopped: Cell<bool>,
}

impl<'a> Watch<'a> {
    /// Stops at the deadline, or when `gone` says that nobody waits.
    pub(super) fn new(deadline: Instant, gone: &'a dyn Fn() -> bool) -> Watch<'a> {
        Watch { deadline, gone, rows: Cell::new(0), stopped: Cell::new(false) }
    }

    /// Whether it has stopped the query: what was found is not complete.
    pub(super) fn stopped(&self) -> bool {
        self.stopped.get()
    }

    fn goes_on(&self) -> bool {
        let rows = self.rows.get();
        self.rows.set(rows.wrapping_add(1));
        if rows.is_multiple_of(ROWS_PER_LOOK) && (Instant::now() >= self.deadline || (self.gone)()) {
            self.stopped.set(true);
        }
        !self.stopped.get()
    }
}

/// A state, as the query room wants to see it.
pub(super) struct Over<'a, S> {
    pub(super) node: &'a Node,
    pub(super) state: &'a S,
    pub(super) watch: &'a Watch<'a>,
}

impl<S: State> Over<'_, S> {
    fn table_of(&self, def: &TableDef) -> Result<Table<Stored>> {
        Ok(self.node.dyn_table(&def.name)?.stored())
    }

    /// Shows rows to the query until it, or the watch, has had enough; `each` makes them come.
    fn show(
        &self,
        def: &TableDef,
        visit: &mut Visit<'_>,
        each: impl FnOnce(&Table<Stored>, &mut Show<'_>) -> Result<()>,
    ) -> Result<()> {
        let table = self.table_of(def)?;
        each(&table, &mut |row| if self.watch.goes_on() { visit(row) } else { ControlFlow::Break(()) })
    }
}

impl<S: State> Access for Over<'_, S> {
    type Error = Error;

    fn table(&self, name: &str) -> Result<Option<Arc<TableDef>>> {
        Ok(self.tables()?.into_iter().find(|def| def.name == name))
    }

    fn tables(&self) -> Result<Vec<Arc<TableDef>>> {
        Ok(self.node.tables().into_iter().map(Arc::new).collect())
    }

    fn row_count(&self, table: &TableDef) -> u64 {
        self.node.dyn_table(&table.name).and_then(|table| table.len()).unwrap_or_default()
    }

    fn get(&self, table: &TableDef, key: &Key, visit: &mut Visit<'_>) -> Result<()> {
        self.show(table, visit, |handle, show| self.state.read(handle, Encoded(key.clone()), show))
    }

    fn scan(
        &self,
        table: &TableDef,
        range: &KeyRange,
        direction: Direction,
        visit: &mut Visit<'_>,
    ) -> Result<()> {
        let span = span(range, direction);
        self.show(table, visit, |handle, show| self.state.range(handle, &span, show))
    }

    fn index_scan(
        &self,
        table: &TableDef,
        index: &IndexDef,
        range: &KeyRange,
        direction: Direction,
        visit: &mut Visit<'_>,
    ) -> Result<()> {
        let span = span(range, direction);
        self.show(table, visit, |handle, show| self.state.index_range(handle, &index.name, &span, show))
    }

    fn put(&self, table: &TableDef, _key: &Key, row: Row) -> Result<()> {
        self.state.put(&self.table_of(table)?, &row, Lifetime::OfTable)
    }

    fn replace(&self, table: &TableDef, _key: &Key, row: Row) -> Result<()> {
        self.state.put(&self.table_of(table)?, &row, Lifetime::of(&row))
    }

    fn delete(&self, table: &TableDef, key: &Key) -> Result<()> {
        self.state.delete(&self.table_of(table)?, Encoded(key.clone()))
    }

    fn delete_row(&self, table: &TableDef, _key: &Key, row: &Row) -> Result<()> {
        self.state.delete_object(&self.table_of(table)?, row)
    }
}

fn span(range: &KeyRange, direction: Direction) -> Span {
    let span = Span::of(range.clone());
    match direction {
        Direction::Forward => span,
        Direction::Backward => span.backward(),
    }
}

fn show_all(rows: Vec<Row>, show: &mut Show<'_>) -> Result<()> {
    // Broken off: the query has what it wanted.
    let _ = rows.iter().try_for_each(show);
    Ok(())
}

impl State for Snapshot {
    fn read(&self, table: &Table<Stored>, key: Encoded, show: &mut Show<'_>) -> Result<()> {
        show_all(self.stored(table, &key)?, show)
    }

    fn range(&self, table: &Table<Stored>, span: &Span, show: &mut Show<'_>) -> Result<()> {
        self.each_stored(table, span, show)
    }

    fn index_range(
        &self,
        table: &Table<Stored>,
        index: &str,
        span: &Span,
        show: &mut Show<'_>,
    ) -> Result<()> {
        self.each_indexed(table, index, span, show)
    }

    fn put(&self, _table: &Table<Stored>, _row: &Row, _lifetime: Lifetime) -> Result<()> {
        Err(read_only())
    }

    fn delete(&self, _table: &Table<Stored>, _key: Encoded) -> Result<()> {
        Err(read_only())
    }

    fn delete_object(&self, _table: &Table<Stored>, _row: &Row) -> Result<()> {
        Err(read_only())
    }
}

fn read_only() -> Error {
    Error::abort("a snapshot cannot be written")
}

/// A transaction of this thread. Borrowed for the time of one operation, never while rows are shown.
pub(super) type OnThread<'a> = RefCell<&'a mut Transaction>;

impl State for OnThread<'_> {
    fn read(&self, table: &Table<Stored>, key: Encoded, show: &mut Show<'_>) -> Result<()> {
        let rows = self.borrow_mut().read(table, &key)?;
        show_all(rows, show)
    }

    fn range(&self, table: &Table<Stored>, span: &Span, show: &mut Show<'_>) -> Result<()> {
        let rows = self.borrow_mut().range(table, span)?;
        show_all(rows, show)
    }

    fn index_range(
        &self,
        table: &Table<Stored>,
        index: &str,
        span: &Span,
        show: &mut Show<'_>,
    ) -> Result<()> {
        let rows = self.borrow_mut().index_range(table, index, span)?;
        show_all(rows, show)
    }

    fn put(&self, table: &Table<Stored>, row: &Row, lifetime: Lifetime) -> Result<()> {
        self.borrow_mut().insert_with(table, row, lifetime)
    }

    fn delete(&self, table: &Table<Stored>, key: Encoded) -> Result<()> {
        self.borrow_mut().delete(table, &key)
    }

    fn delete_object(&self, table: &Table<Stored>, row: &Row) -> Result<()> {
        self.borrow_mut().delete_object(table, row).map(drop)
    }
}

/// A transaction of a task, used from a thread outside the runtime.
pub(super) struct OfTask {
    pub(super) tx: AsyncTransaction,
    pub(super) runtime: Handle,
}

impl State for OfTask {
    fn read(&self, table: &Table<Stored>, key: Encoded, show: &mut Show<'_>) -> Result<()> {
        show_all(self.runtime.block_on(self.tx.read(table, &key))?, show)
    }

    fn range(&self, table: &Table<Stored>, span: &Span, show: &mut Show<'_>) -> Result<()> {
        show_all(self.runtime.block_on(self.tx.range(table, span))?, show)
    }

    fn index_range(
        &self,
        table: &Table<Stored>,
        index: &str,
        span: &Span,
        show: &mut Show<'_>,
    ) -> Result<()> {
        show_all(self.runtime.block_on(self.tx.index_range(table, index, span))?, show)
    }

    fn put(&self, table: &Table<Stored>, row: &Row, lifetime: Lifetime) -> Result<()> {
        self.runtime.block_on(self.tx.insert_with(table, row, lifetime))
    }

    fn delete(&self, table: &Table<Stored>, key: Encoded) -> Result<()> {
        self.runtime.block_on(self.tx.delete(table, &key))
    }

    fn delete_object(&self, table: &Table<Stored>, row: &Row) -> Result<()> {
        self.runtime.block_on(self.tx.delete_object(table, row)).map(drop)
    }
}
