//! An access over plain maps: what the engine is to the query room, as simple as it can be said.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use hypermnesia_query::{
    Access, Alteration, Change, CreateTable, Direction, Error, Limits, NewIndex, Outcome, QueryError, Reform,
    Rows, SchemaChange, Statement, StatementKind, Visit,
};
use hypermnesia_store::{IndexDef, IndexId, Key, KeyRange, Kind, Row, TableDef, TableId, Value};

#[derive(Default)]
pub(crate) struct Memory {
    tables: RefCell<BTreeMap<String, Table>>,
    /// Rows shown to visitors so far.
    pub(crate) visited: Cell<usize>,
    /// From now on every check refuses.
    pub(crate) expired: Cell<bool>,
}

struct Table {
    def: Arc<TableDef>,
    rows: BTreeMap<Key, Vec<Row>>,
}

/// The only thing that can go wrong here.
#[derive(Debug, PartialEq)]
pub(crate) struct Refused(&'static str);

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0)
    }
}

pub(crate) type Failed = Error<Refused>;

impl Memory {
    /// Runs one statement, also changes of the schema.
    pub(crate) fn run(&self, sql: &str, parameters: &[Value]) -> Result<(Rows, Outcome), Failed> {
        self.run_limited(sql, parameters, Limits::default())
    }

    pub(crate) fn run_limited(
        &self,
        sql: &str,
        parameters: &[Value],
        limits: Limits,
    ) -> Result<(Rows, Outcome), Failed> {
        let statement = Statement::parse(sql).map_err(Error::Query)?;
        let mut rows = Rows::default();
        if statement.kind() == StatementKind::Schema {
            match statement.schema_change() {
                Some(change) => self.change(change),
                None => self.alter(&statement).map_err(Error::Query)?,
            }
            return Ok((rows, Outcome { rows: 0 }));
        }
        let outcome = statement.execute(self, parameters, limits, &mut rows)?;
        Ok((rows, outcome))
    }

    pub(crate) fn rows(&self, sql: &str) -> Vec<Vec<Value>> {
        self.run(sql, &[]).unwrap_or_else(|error| panic!("{sql}\n{error}")).0.rows
    }

    fn change(&self, change: &SchemaChange) {
        let mut tables = self.tables.borrow_mut();
        match change {
            SchemaChange::CreateTable(create) => {
                let mut def = build(create);
                def.id = TableId(tables.len() as u32 + 1);
                tables.insert(create.name.clone(), Table { def: Arc::new(def), rows: BTreeMap::new() });
            }
            SchemaChange::CreateIndex(create) => {
                let table = tables.get_mut(&create.table).expect("the table of the index is there");
                let mut def = TableDef::clone(&table.def);
                let id = IndexId(def.indexes.len() as u32 + 1);
                let NewIndex { name, attributes, unique, multi } = create.index.clone();
                let attributes =
                    attributes.iter().map(|a| def.position(a).expect("the column is there")).collect();
                def.indexes.push(IndexDef { id, name, attributes, unique, multi });
                table.def = Arc::new(def);
            }
            SchemaChange::DropTable { name, .. } => drop(tables.remove(name)),
            SchemaChange::DropIndex { name, .. } => {
                for table in tables.values_mut() {
                    let mut def = TableDef::clone(&table.def);
                    def.indexes.retain(|index| index.name != *name);
                    table.def = Arc::new(def);
                }
            }
        }
    }

    fn alter(&self, statement: &Statement) -> Result<(), QueryError> {
        let all: Vec<_> = self.tables.borrow().values().map(|table| table.def.clone()).collect();
        let Some(Alteration { table, change }) = statement.alteration(&all)? else { return Ok(()) };
        let mut tables = self.tables.borrow_mut();
        let Table { mut def, mut rows } = tables.remove(&table.name).expect("one of all");
        let mut failed = None;
        match change {
            Change::Rename(to) => Arc::make_mut(&mut def).name = to,
            Change::Add(added) => {
                def = Arc::new(def.with_attributes(&added, 1).expect("it was looked at"));
                rows = rows
                    .into_iter()
                    .map(|(key, body)| (key, body.iter().map(|row| grown(&def, row)).collect()))
                    .collect();
            }
            Change::Reform(reform) => match reformed(&reform, &rows) {
                Ok(new) => (def, rows) = (Arc::new(reform.definition().clone()), new),
                Err(error) => failed = Some(error),
            },
        }
        tables.insert(def.name.clone(), Table { def, rows });
        failed.map_or(Ok(()), Err)
    }

    fn show<'r>(&self, rows: impl Iterator<Item = &'r Row>, visit: &mut Visit<'_>) {
        for row in rows {
            self.visited.set(self.visited.get() + 1);
            if visit(row).is_break() {
                return;
            }
        }
    }
}

fn grown(def: &TableDef, row: &Row) -> Row {
    let values: Vec<Value> = (0..def.attributes.len()).map(|at| def.value_of(row, at).to_value()).collect();
    def.encode_row(&values).expect("it was looked at")
}

fn reformed(reform: &Reform, rows: &BTreeMap<Key, Vec<Row>>) -> Result<BTreeMap<Key, Vec<Row>>, QueryError> {
    let form = |row: &Row| Ok(reform.definition().encode_row(&reform.row(row)?).expect("short"));
    rows.iter()
        .map(|(key, body)| Ok((key.clone(), body.iter().map(form).collect::<Result<_, QueryError>>()?)))
        .collect()
}

fn build(create: &CreateTable) -> TableDef {
    let mut builder =
        TableDef::builder(create.name.clone()).kind(create.kind).key(create.key.iter().cloned());
    for attribute in &create.attributes {
        builder = match attribute.nullable {
            true => builder.nullable(attribute.name.clone(), attribute.ty),
            false => builder.attribute(attribute.name.clone(), attribute.ty),
        };
    }
    for attribute in &create.attributes {
        if let Some(default) = &attribute.default {
            builder = builder.default(attribute.name.clone(), default.clone());
        }
    }
    for index in &create.indexes {
        builder = match index.unique {
            true => builder.unique_index(index.name.clone(), index.attributes.iter().cloned()),
            false => builder.index(index.name.clone(), index.attributes.iter().cloned()),
        };
    }
    builder.build().expect("the definition is valid")
}

fn between<'m, V>(map: &'m BTreeMap<Key, V>, range: &'m KeyRange) -> impl DoubleEndedIterator<Item = &'m V> {
    map.iter().filter(|(key, _)| range.contains(key)).map(|(_, value)| value)
}

impl Access for Memory {
    type Error = Refused;

    fn table(&self, name: &str) -> Result<Option<Arc<TableDef>>, Refused> {
        Ok(self.tables.borrow().get(name).map(|table| table.def.clone()))
    }

    fn tables(&self) -> Result<Vec<Arc<TableDef>>, Refused> {
        Ok(self.tables.borrow().values().map(|table| table.def.clone()).collect())
    }

    fn row_count(&self, table: &TableDef) -> u64 {
        self.tables.borrow()[&table.name].rows.values().map(Vec::len).sum::<usize>() as u64
    }

    fn get(&self, table: &TableDef, key: &Key, visit: &mut Visit<'_>) -> Result<(), Refused> {
        let tables = self.tables.borrow();
        self.show(tables[&table.name].rows.get(key).into_iter().flatten(), visit);
        Ok(())
    }

    fn scan(
        &self,
        table: &TableDef,
        range: &KeyRange,
        direction: Direction,
        visit: &mut Visit<'_>,
    ) -> Result<(), Refused> {
        let tables = self.tables.borrow();
        assert!(
            table.kind == Kind::OrderedSet || *range == KeyRange::all(),
            "only an ordered set has ranges"
        );
        let rows = between(&tables[&table.name].rows, range);
        match (table.kind, direction) {
            // Without an order the worst one will do.
            (Kind::Set | Kind::Bag, _) | (_, Direction::Backward) => {
                self.show(rows.rev().flatten(), visit);
            }
            (_, Direction::Forward) => self.show(rows.flatten(), visit),
        }
        Ok(())
    }

    fn index_scan(
        &self,
        table: &TableDef,
        index: &IndexDef,
        range: &KeyRange,
        direction: Direction,
        visit: &mut Visit<'_>,
    ) -> Result<(), Refused> {
        let tables = self.tables.borrow();
        let mut entries: BTreeMap<Key, Vec<&Row>> = BTreeMap::new();
        for (key, rows) in &tables[&table.name].rows {
            for row in rows {
                for entry in table.index_keys(index, row).expect("short") {
                    entries.entry(entry.join(key)).or_default().push(row);
                }
            }
        }
        let found = between(&entries, range);
        match direction {
            Direction::Forward => self.show(found.flatten().copied(), visit),
            Direction::Backward => self.show(found.rev().flatten().copied(), visit),
        }
        Ok(())
    }

    fn check(&self) -> Result<(), Refused> {
        if self.expired.get() { Err(Refused("expired")) } else { Ok(()) }
    }

    fn put(&self, table: &TableDef, key: &Key, row: Row) -> Result<(), Refused> {
        let mut tables = self.tables.borrow_mut();
        let rows = tables.get_mut(&table.name).expect("found before").rows.entry(key.clone()).or_default();
        if table.kind != Kind::Bag {
            rows.clear();
        }
        if !rows.contains(&row) {
            rows.push(row);
        }
        Ok(())
    }

    fn delete(&self, table: &TableDef, key: &Key) -> Result<(), Refused> {
        self.tables.borrow_mut().get_mut(&table.name).expect("found before").rows.remove(key);
        Ok(())
    }

    fn delete_row(&self, table: &TableDef, key: &Key, row: &Row) -> Result<(), Refused> {
        let mut tables = self.tables.borrow_mut();
        let rows = &mut tables.get_mut(&table.name).expect("found before").rows;
        if let Some(bag) = rows.get_mut(key) {
            bag.retain(|each| each != row);
            if bag.is_empty() {
                rows.remove(key);
            }
        }
        Ok(())
    }
}

/// A snapshot, so to speak: reads as the tables it stands for, and refuses to scan or to write.
pub(crate) struct ReadsNothing<'a>(pub(crate) &'a Memory);

impl Access for ReadsNothing<'_> {
    type Error = Refused;

    fn table(&self, name: &str) -> Result<Option<Arc<TableDef>>, Refused> {
        self.0.table(name)
    }

    fn tables(&self) -> Result<Vec<Arc<TableDef>>, Refused> {
        self.0.tables()
    }

    fn row_count(&self, table: &TableDef) -> u64 {
        self.0.row_count(table)
    }

    fn get(&self, _: &TableDef, _: &Key, _: &mut Visit<'_>) -> Result<(), Refused> {
        Err(Refused("no get"))
    }

    fn scan(
        &self,
        table: &TableDef,
        range: &KeyRange,
        way: Direction,
        visit: &mut Visit<'_>,
    ) -> Result<(), Refused> {
        // Shows one row and fails then, as a connection that breaks would.
        self.0.scan(table, range, way, &mut |row| {
            let _ = visit(row);
            ControlFlow::Break(())
        })?;
        Err(Refused("no scan"))
    }

    fn index_scan(
        &self,
        _: &TableDef,
        _: &IndexDef,
        _: &KeyRange,
        _: Direction,
        _: &mut Visit<'_>,
    ) -> Result<(), Refused> {
        Err(Refused("no index"))
    }

    fn put(&self, _: &TableDef, _: &Key, _: Row) -> Result<(), Refused> {
        Err(Refused("no put"))
    }

    fn delete(&self, _: &TableDef, _: &Key) -> Result<(), Refused> {
        Err(Refused("no delete"))
    }

    fn delete_row(&self, _: &TableDef, _: &Key, _: &Row) -> Result<(), Refused> {
        Err(Refused("no delete"))
    }
}
