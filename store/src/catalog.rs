//! The tables of a node, from the rows of the schema table. A schema change is an ordinary transaction that writes there;
//! preparing it locks the changed table as a whole, committing it changes the physical table before the lock goes.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use foldhash::fast::FixedState;
use papaya::HashMap;
use seize::{Collector, LocalGuard};

use crate::cell::CellRef;
use crate::clock::Timestamp;
use crate::codec::CodecError;
use crate::heap::{Heap, Pin};
use crate::ids::{IndexId, SchemaVersion, TableId};
use crate::index::Index;
use crate::key::{Key, KeyRange};
use crate::resident::Place;
use crate::row::{Body, Row};
use crate::schema::{Attribute, IndexDef, Kind, Layout, TableDef, Type};
use crate::store::Store;
use crate::table::{DROPPED, Direction, Rows, Table};
use crate::txn::Txn;
use crate::value::Value;
use crate::value_ref::ValueRef;
use crate::version::Version;
use crate::work::{Blocked, Op, Write};

/// The table whose rows are the definitions of the others.
pub const SCHEMA_TABLE: TableId = TableId(1);
/// Its name: those that begin so are the system's own.
pub(crate) const SCHEMA_NAME: &str = "_schema";

pub(crate) struct Catalog {
    /// Frees the entries of the two maps; see `heap` for why it is their own.
    pub(crate) collector: Arc<Collector>,
    pub(crate) tables: HashMap<TableId, Arc<Table>, FixedState>,
    pub(crate) names: HashMap<String, TableId, FixedState>,
    /// Marks on rows of the schema table. A reader looks at it before it looks whether its definition is in force: a change that it
    /// does not see here, neither being made nor done, was not yet prepared then, so nothing was acknowledged that follows it.
    changing: AtomicUsize,
}

impl Catalog {
    pub(crate) fn new(heap: &Arc<Heap>) -> Catalog {
        let collector = Arc::new(Collector::new());
        let tables =
            HashMap::builder().hasher(FixedState::default()).shared_collector(Arc::clone(&collector));
        let names = HashMap::builder().hasher(FixedState::default()).shared_collector(Arc::clone(&collector));
        let (tables, names) = (tables.build(), names.build());
        let catalog = Catalog { tables, names, collector, changing: AtomicUsize::new(0) };
        let guard = Pin { rows: heap.collector.enter(), catalog: catalog.collector.enter() };
        catalog.install(schema_def(), heap, &guard);
        drop(guard);
        catalog
    }

    pub(crate) fn get<'g>(&self, id: TableId, guard: &'g Pin<'_>) -> Option<&'g Arc<Table>> {
        self.tables.get(&id, &guard.catalog)
    }

    /// A row of the schema table is marked.
    pub(crate) fn begin_change(&self) {
        self.changing.fetch_add(1, Ordering::SeqCst);
    }

    /// As many marks are gone, and the tables are as they leave them.
    pub(crate) fn end_changes(&self, marks: usize) {
        if marks > 0 {
            self.changing.fetch_sub(marks, Ordering::SeqCst);
        }
    }

    /// Creates the table or gives it its new definition. Under the table's write lock, or before anybody serves.
    fn install(&self, def: TableDef, heap: &Arc<Heap>, guard: &Pin<'_>) {
        let known = self.get(def.id, guard).cloned();
        if known.as_ref().is_some_and(|known| known.def == def) {
            return;
        }
        if let Some(known) = known.as_ref().filter(|known| known.def.cleared < def.cleared) {
            known.rows.vanish(&heap.clock, |at| known.clear_away(at, guard));
        } else if let Some(known) = known.as_ref().filter(|known| known.def.reshaped < def.reshaped) {
            known.rows.vanish(&heap.clock, |_| ());
        }
        // Its copy here came, went, or is kept in another way: it begins without rows.
        let same = known.as_ref().filter(|known| known.rows.is_kept_as(&def, heap));
        if let Some(other) = known.as_ref().filter(|_| same.is_none()) {
            other.rows.version.store(DROPPED, Ordering::SeqCst);
            other.rows.vanish(&heap.clock, |_| other.empty(guard));
            other.rows.events.end();
        }
        let rows = same.map_or_else(|| Rows::create(&def, heap), |table| Arc::clone(&table.rows));
        let kept = |wanted: &IndexDef| same?.index(wanted.id).filter(|index| index.def == *wanted).cloned();
        let (mut indexes, mut fresh) = (Vec::new(), Vec::new());
        for wanted in &def.indexes {
            let index = kept(wanted).unwrap_or_else(|| {
                fresh.push(wanted.id);
                Arc::new(Index::new(wanted.clone(), rows.backing.is_some()))
            });
            indexes.push(index);
        }
        let table = Arc::new(Table::new(def, rows, indexes, heap));
        if same.is_none() {
            table.rows.take_over();
        }
        fill(&table, &fresh, same.is_none(), guard);
        table.rows.version.store(table.def.version.0, Ordering::SeqCst);
        if let Some(known) = known.filter(|known| known.def.name != table.def.name) {
            self.names.remove(&known.def.name, &guard.catalog);
        }
        self.names.insert(table.def.name.clone(), table.def.id, &guard.catalog);
        self.tables.insert(table.def.id, table, &guard.catalog);
    }

    fn uninstall(&self, id: TableId, guard: &Pin<'_>) {
        if let Some(table) = self.tables.remove(&id, &guard.catalog) {
            table.rows.version.store(DROPPED, Ordering::SeqCst);
            self.names.remove(&table.def.name, &guard.catalog);
            table.empty(guard);
            table.rows.events.end();
        }
    }
}

/// Fills new indexes from every kept version of every row, and for a table that is new here (`begins`) the queue of deadlines.
/// Nobody writes meanwhile.
fn fill(table: &Table, fresh: &[IndexId], begins: bool, guard: &LocalGuard<'_>) {
    let fresh: Vec<_> = fresh.iter().filter_map(|id| table.index(*id)).collect();
    let Some(backing) = &table.rows.backing else {
        if fresh.is_empty() {
            return;
        }
        let done = table.walk(&KeyRange::all(), Direction::Forward, guard, |cell| {
            fill_from_cell(table, &fresh, &cell.clone_arc(), guard);
            Ok(ControlFlow::Continue(()))
        });
        return done.expect("walking cells reads no version, so nothing blocks it");
    };
    let timed = begins && backing.held().deadlines > 0;
    if fresh.is_empty() && !timed {
        return;
    }
    // Memory and image in one walk: a row that goes from one to the other meanwhile is met once. One that cannot be read
    // stops the node, and until then whoever reads an index is told: `entries_in`.
    let filled = table.each_place(backing, &KeyRange::all(), Direction::Forward, |key, place| {
        match place {
            Place::Memory(cell) => fill_from_cell(table, &fresh, cell, guard),
            Place::Image(at, body) => {
                for index in fresh.iter().filter(|_| is_read(table, *at)) {
                    let entries = index.entries(&table.def, key, Some(body));
                    entries.iter().for_each(|entry| index.put_alone(entry, guard));
                }
            }
        }
        if let Some((body, _)) = place.newest(guard).filter(|_| timed) {
            table.rows.deadlines.moved(key, None, Some(&body));
        }
        Ok(ControlFlow::Continue(()))
    });
    filled.unwrap_or_else(|blocked| backing.give_up(&blocked));
}

fn fill_from_cell(table: &Table, fresh: &[&Arc<Index>], cell: &CellRef, guard: &LocalGuard<'_>) {
    let read = |version: &Version<'_>| version.committed().is_none_or(|at| is_read(table, at));
    // Counted: a schema that is loaded, not agreed on, comes without the table's lock.
    for body in cell.versions(guard).filter(read).filter_map(|version| version.kept()) {
        for index in fresh {
            let entries = index.entries(&table.def, &cell.key, Some(&body));
            entries.iter().for_each(|entry| index.put(entry, cell, guard));
        }
    }
}

/// Whether a version of this time has the table's attributes: what was there before all rows were rewritten has others, and
/// nobody reads it any more.
fn is_read(table: &Table, at: Timestamp) -> bool {
    at > table.def.reshaped
}

impl Store {
    /// Whether the definition of some table is being changed. One atomic load.
    #[inline]
    pub fn is_changing(&self) -> bool {
        self.catalog.changing.load(Ordering::SeqCst) > 0
    }

    /// The transaction that is changing the definition of a table, prepared and not decided here. Others may have followed it: what is
    /// read of the table before it is decided may be older than what they have acknowledged.
    pub fn changing(&self, table: TableId) -> Option<Arc<Txn>> {
        let schema = self.table(SCHEMA_TABLE).filter(|_| table != SCHEMA_TABLE)?;
        while self.is_changing() {
            let agreed = match schema.latest_with(&schema_key(table), |body, _| definition_in(body)) {
                Err(Blocked::Pending(txn)) => return Some(txn),
                agreed => agreed.ok()?.flatten(),
            };
            if agreed.as_ref() == self.table(table).as_ref().map(|open| open.def()) {
                return None;
            }
            // It is decided, and another thread is just following it.
            std::thread::yield_now();
        }
        None
    }

    /// Follows a change of the schema table's row.
    pub(crate) fn follow_schema(&self, key: &Key, body: Option<&Body>, guard: &Pin<'_>) {
        match body {
            Some(body) => {
                if let Some(def) = definition_in(body) {
                    self.catalog.install(def, &self.heap, guard);
                }
            }
            None => {
                if let Some(id) = table_of_schema_key(key) {
                    self.catalog.uninstall(id, guard);
                }
            }
        }
    }
}

fn definition_in(body: &Body) -> Option<TableDef> {
    body.rows().first().and_then(|row| defined_by(row).ok().flatten())
}

/// The definition in a row of the schema table; none in the row that counts table ids, and in those below it, which the
/// store keeps and does not look into.
///
/// # Errors
/// When the bytes are no definition that this version knows.
pub fn defined_by(row: &Row) -> Result<Option<TableDef>, CodecError> {
    match (row.attribute(0), row.attribute(2)) {
        (ValueRef::Int(..=0), _) => Ok(None),
        (_, ValueRef::Bytes(bytes)) => TableDef::from_bytes(bytes).map(Some),
        _ => Err(CodecError::Undecodable("a row of the schema without a definition".into())),
    }
}

/// The write that creates or changes a table: a row of the schema table.
pub fn define(def: &TableDef) -> Write {
    let values =
        [Value::Int(i64::from(def.id.0)), Value::Text(def.name.clone()), Value::Bytes(def.to_bytes())];
    let row = Row::encode(SchemaVersion::FIRST, &values).expect("a definition is far below a row's bounds");
    Write { table: SCHEMA_TABLE, key: schema_key(def.id), op: Op::Put(row) }
}

/// The write that drops a table.
pub fn undefine(id: TableId) -> Write {
    Write { table: SCHEMA_TABLE, key: schema_key(id), op: Op::Delete }
}

/// The key of a table's row in the schema table.
pub fn schema_key(id: TableId) -> Key {
    Key::encode(&[Value::Int(i64::from(id.0))]).expect("a number fits a key")
}

/// The table that a row of the schema table is about.
pub(crate) fn table_of_schema_key(key: &Key) -> Option<TableId> {
    match key.decode().ok()?.first()? {
        Value::Int(id) => u32::try_from(*id).ok().map(TableId),
        _ => None,
    }
}

fn schema_def() -> TableDef {
    let attribute = |name: &str, ty| Attribute { name: name.to_owned(), ty, nullable: false, default: None };
    TableDef {
        id: SCHEMA_TABLE,
        name: SCHEMA_NAME.to_owned(),
        version: SchemaVersion::FIRST,
        kind: Kind::Set,
        attributes: vec![
            attribute("id", Type::Int),
            attribute("name", Type::Text),
            attribute("definition", Type::Bytes),
        ],
        key: vec![0],
        // Two tables of one name are refused like any two rows of one unique value.
        indexes: vec![IndexDef {
            id: IndexId(1),
            name: "by_name".to_owned(),
            attributes: vec![1],
            unique: true,
            multi: false,
        }],
        copies: Vec::new(),
        ack: crate::schema::Ack::default(),
        mode: crate::schema::Mode::default(),
        retention: crate::schema::Retention::default(),
        local: false,
        duplicates: false,
        layouts: vec![Layout { since: SchemaVersion::FIRST, record: 1 }],
        cleared: Timestamp::NEVER,
        reshaped: Timestamp::NEVER,
        coming: Vec::new(),
    }
}
