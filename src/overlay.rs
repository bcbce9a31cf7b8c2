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
    /// Per table, in key order: which of the writes are about the key. Kept once there are more than a few, which are found
    /// as quickly by looking at each.
    keys: Option<Box<Positions>>,
    /// Of keys and rows.
    bytes: usize,
}

type Positions = HashMap<TableId, BTreeMap<Key, Vec<usize>>>;

/// Writes that are looked at one by one.
const FEW: usize = 8;

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
        self.writes.push(write);
        match &mut self.keys {
            Some(keys) => note(keys, &self.writes, self.writes.len() - 1),
            None if self.writes.len() > FEW => {
                let mut keys = Box::default();
                (0..self.writes.len()).for_each(|at| note(&mut keys, &self.writes, at));
                self.keys = Some(keys);
            }
            None => {}
        }
        Ok(())
    }

    /// How many writes there are: a mark for [`Overlay::cut`].
    pub(crate) fn len(&self) -> usize {
        self.writes.len()
    }

    /// Whether the key was written.
    pub(crate) fn wrote(&self, table: TableId, key: &Key) -> bool {
        self.of_key(table, key).next().is_some()
    }

    /// The writes of a key in their order.
    fn of_key<'a>(&'a self, table: TableId, key: &'a Key) -> impl Iterator<Item = &'a Write> + 'a {
        let noted = self.keys.as_ref().and_then(|keys| keys.get(&table)?.get(key));
        let few = if self.keys.is_none() { &self.writes[..] } else { &[] };
        let of_few = few.iter().filter(move |write| write.table == table && write.key == *key);
        noted.into_iter().flatten().map(|at| &self.writes[*at]).chain(of_few)
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
            if let Some(of_table) = self.keys.as_mut().and_then(|keys| keys.get_mut(&write.table))
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
        self.keys = None;
        self.bytes = 0;
        std::mem::take(&mut self.writes)
    }

    /// The keys written, each once, in order.
    pub(crate) fn written(&self) -> Vec<(TableId, Key)> {
        let mut keys: Vec<_> = self.writes.iter().map(|write| (write.table, write.key.clone())).collect();
        keys.sort_unstable();
        keys.dedup();
        keys
    }

    /// What the key holds after the own writes alone, whatever was committed: `None` when that has to be looked up.
    pub(crate) fn alone(&self, table: TableId, kind: Kind, key: &Key) -> Option<Option<Body>> {
        let decides = self.of_key(table, key).any(|write| match write.op {
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
        self.of_key(table, key).fold(committed, |body, write| change(kind, body, &write.op))
    }

    /// The written keys of a table within a range, in order.
    pub(crate) fn keys_in(&self, table: TableId, range: &KeyRange) -> Vec<Key> {
        let within = |key: &&Key| range.contains(key);
        if let Some(keys) = &self.keys {
            return keys
                .get(&table)
                .map_or_else(Vec::new, |keys| keys.keys().filter(within).cloned().collect());
        }
        let few = self.writes.iter().filter(|write| write.table == table).map(|write| &write.key);
        let mut keys: Vec<Key> = few.filter(within).cloned().collect();
        keys.sort_unstable();
        keys.dedup();
        keys
    }
}

/// Notes which key a write is about.
fn note(keys: &mut Positions, writes: &[Write], at: usize) {
    let write = &writes[at];
    keys.entry(write.table).or_default().entry(write.key.clone()).or_default().push(at);
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
    fn many_writes_are_found_as_few_are() {
        // Aim: noting keys changes no answer. Method: the same questions while writes grow past what is looked at one by
        // one, and are cut back.
        let (mut overlay, table) = (Overlay::default(), TableId(7));
        let key = |n: usize| Key::encode(&[Value::Int(n as i64)]).expect("small");
        for n in 0..3 * FEW {
            overlay.push(Write { table, key: key(n / 2), op: Op::Put(row(n as i64)) }).expect("small");
            let keys: Vec<Key> = (0..=n / 2).map(key).collect();
            assert_eq!(overlay.keys_in(table, &KeyRange::all()), keys);
            assert_eq!(overlay.alone(table, Kind::Set, &key(n / 2)), Some(Some(Body::Row(row(n as i64)))));
            assert_eq!(overlay.written().len(), n / 2 + 1);
            assert!(!overlay.wrote(table, &key(n / 2 + 1)) && !overlay.wrote(TableId(8), &key(0)));
        }
        overlay.cut(1);
        assert_eq!(overlay.alone(table, Kind::Set, &key(0)), Some(Some(Body::Row(row(0)))));
        assert_eq!(overlay.keys_in(table, &KeyRange::all()), [key(0)]);
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
