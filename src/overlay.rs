//! A transaction's own writes, seen by its own reads. The writes are kept in the order they were made, because the order
//! decides what a bag holds; a nested transaction is a mark in that order, and its abort cuts the list there.

use std::collections::{BTreeMap, HashMap};

use hypermnesia_store::work::{Op, Write};
use hypermnesia_store::{Body, Key, KeyRange, Kind, TableId, change};

use crate::error::{Error, Result};
use crate::limits::{WRITE_BYTES_MAX, WRITES_MAX};

/// The writes of one attempt.
#[derive(Debug, Default)]
pub(crate) struct Overlay {
    writes: Vec<Write>,
    /// Per table, in key order: which of the writes are about the key.
    keys: HashMap<TableId, BTreeMap<Key, Vec<usize>>>,
    /// Of keys and rows.
    bytes: usize,
}

impl Overlay {
    /// Adds a write behind the others.
    pub(crate) fn push(&mut self, write: Write) -> Result<()> {
        let bytes = self.bytes + size_of(&write);
        if self.writes.len() >= WRITES_MAX {
            return Err(Error::TooLarge { what: "writes", bound: WRITES_MAX });
        }
        if bytes > WRITE_BYTES_MAX {
            return Err(Error::TooLarge { what: "bytes of writes", bound: WRITE_BYTES_MAX });
        }
        self.bytes = bytes;
        let of_table = self.keys.entry(write.table).or_default();
        of_table.entry(write.key.clone()).or_default().push(self.writes.len());
        self.writes.push(write);
        Ok(())
    }

    /// How many writes there are: a mark for [`Overlay::cut`].
    pub(crate) fn len(&self) -> usize {
        self.writes.len()
    }

    /// Whether the key was written.
    pub(crate) fn wrote(&self, table: TableId, key: &Key) -> bool {
        self.keys.get(&table).is_some_and(|of_table| of_table.contains_key(key))
    }

    /// All writes in order.
    pub(crate) fn writes(&self) -> &[Write] {
        &self.writes
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }

    /// Forgets every write behind the mark.
    pub(crate) fn cut(&mut self, mark: usize) {
        for write in self.writes.drain(mark..) {
            self.bytes -= size_of(&write);
            if let Some(of_table) = self.keys.get_mut(&write.table)
                && let Some(positions) = of_table.get_mut(&write.key)
            {
                positions.pop();
                if positions.is_empty() {
                    of_table.remove(&write.key);
                }
            }
        }
    }

    /// All writes in order, which are gone from here then.
    pub(crate) fn take(&mut self) -> Vec<Write> {
        self.keys.clear();
        self.bytes = 0;
        std::mem::take(&mut self.writes)
    }

    /// The keys written, each once, in order.
    pub(crate) fn written(&self) -> Vec<(TableId, Key)> {
        let mut keys: Vec<_> = self
            .keys
            .iter()
            .flat_map(|(table, of_table)| of_table.keys().map(|key| (*table, key.clone())))
            .collect();
        keys.sort_unstable();
        keys
    }

    /// What the key holds after the own writes alone, whatever was committed: `None` when that has to be looked up.
    pub(crate) fn alone(&self, table: TableId, kind: Kind, key: &Key) -> Option<Option<Body>> {
        let positions = self.keys.get(&table)?.get(key)?;
        let decides = positions.iter().any(|at| match self.writes[*at].op {
            Op::Delete => true,
            Op::Put(_) | Op::BagAdd(_) | Op::BagAppend(_) => kind != Kind::Bag,
            Op::BagRemove(_) | Op::Expire(_) => false,
        });
        decides.then(|| self.over(table, kind, key, None))
    }

    /// What the key holds after the own writes over what was committed.
    pub(crate) fn over(
        &self,
        table: TableId,
        kind: Kind,
        key: &Key,
        committed: Option<Body>,
    ) -> Option<Body> {
        let Some(positions) = self.keys.get(&table).and_then(|of_table| of_table.get(key)) else {
            return committed;
        };
        positions.iter().fold(committed, |body, at| change(kind, body, &self.writes[*at].op))
    }

    /// The written keys of a table within a range, in order.
    pub(crate) fn keys_in(&self, table: TableId, range: &KeyRange) -> Vec<Key> {
        let Some(of_table) = self.keys.get(&table) else { return Vec::new() };
        of_table.keys().filter(|key| range.contains(key)).cloned().collect()
    }
}

fn size_of(write: &Write) -> usize {
    let row = match &write.op {
        Op::Put(row) | Op::BagAdd(row) | Op::BagAppend(row) | Op::BagRemove(row) => row.as_bytes().len(),
        Op::Delete | Op::Expire(_) => 0,
    };
    write.key.as_bytes().len() + row
}

#[cfg(test)]
mod tests {
    use super::*;
    use hypermnesia_store::{Row, SchemaVersion, Value};
    use std::sync::Arc;

    fn row(n: i64) -> Row {
        Row::encode(SchemaVersion::FIRST, &[Value::Int(n)]).expect("small")
    }

    fn write(op: Op) -> Write {
        Write { table: TableId(7), key: Key::encode(&[Value::Int(1)]).expect("small"), op }
    }

    #[test]
    fn writes_shadow_in_their_order() {
        // Aim: contract case 7. Method: delete, add and remove in both orders, over committed rows, for bag and set.
        let key = write(Op::Delete).key;
        let committed = Some(Body::Bag(Arc::new(vec![row(1), row(2)])));
        let rows = |ops: Vec<Op>, kind, committed: &Option<Body>| {
            let mut overlay = Overlay::default();
            ops.into_iter().for_each(|op| overlay.push(write(op)).expect("small"));
            overlay
                .over(TableId(7), kind, &key, committed.clone())
                .map_or(vec![], |body| body.rows().to_vec())
        };
        let (add, remove) = (|n| Op::BagAdd(row(n)), |n| Op::BagRemove(row(n)));
        assert_eq!(rows(vec![add(3), remove(1)], Kind::Bag, &committed), [row(2), row(3)]);
        assert_eq!(rows(vec![add(3), Op::Delete], Kind::Bag, &committed), []);
        assert_eq!(rows(vec![Op::Delete, add(3)], Kind::Bag, &committed), [row(3)]);
        assert_eq!(
            rows(vec![add(1)], Kind::Bag, &committed),
            [row(1), row(2)],
            "an identical row is kept once"
        );
        let one = Some(Body::Row(row(1)));
        assert_eq!(rows(vec![remove(2)], Kind::Set, &one), [row(1)], "only the equal row is deleted");
        assert_eq!(rows(vec![remove(1)], Kind::Set, &one), []);
    }

    #[test]
    fn a_cut_takes_back_what_came_behind_it() {
        // Aim: the abort of a nested transaction. Method: write, mark, overwrite, cut, look.
        let mut overlay = Overlay::default();
        overlay.push(write(Op::Put(row(1)))).expect("small");
        let mark = overlay.len();
        overlay.push(write(Op::Delete)).expect("small");
        let key = write(Op::Delete).key;
        assert_eq!(overlay.alone(TableId(7), Kind::Set, &key), Some(None));
        overlay.cut(mark);
        assert_eq!(overlay.alone(TableId(7), Kind::Set, &key), Some(Some(Body::Row(row(1)))));
        overlay.cut(0);
        assert!(overlay.is_empty() && overlay.written().is_empty());
        assert_eq!(overlay.bytes, 0);
    }
}
