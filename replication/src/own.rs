//! What a table held here before a copy of another member's replaced it, so that rows which went are counted and never go
//! silently. Rows are fingerprints: of their keys and of what they hold. Of a table that is larger than memory they have no
//! place either, so past a bound they are added up in parts, by the fingerprint of their key: a part in which sums agree had
//! the same rows, and one in which they do not had at least one that is gone. What differs is little and parts are many, so
//! the count is close; it is never too high.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash};

use foldhash::fast::FixedState;
use hypermnesia_store::{Body, Key, Timestamp};

use crate::limits::{OWN_PARTS, OWN_ROWS_MAX};

/// See the file's header.
#[derive(Debug)]
pub(crate) struct Own {
    /// The rows within the bound that have not come: when they were written, and what they hold.
    rows: HashMap<u64, (Timestamp, u64), FixedState>,
    rows_max: usize,
    /// The others, less what has come; empty while there are none.
    parts: Vec<Part>,
    parts_max: usize,
    /// Came with something else than what was here, and older than that.
    differ: u64,
    newer: u64,
}

/// Rows of which only sums are kept.
#[derive(Clone, Copy, Debug, Default)]
struct Part {
    keys: i64,
    sum: u64,
    /// Commit timestamps.
    at: u64,
}

/// How many rows were replaced or taken away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Replaced {
    pub(crate) rows: u64,
    /// Had been written later than what came for them.
    pub(crate) newer: u64,
}

impl Replaced {
    pub(crate) fn add(&mut self, more: Replaced) {
        self.rows += more.rows;
        self.newer += more.newer;
    }
}

impl Default for Own {
    fn default() -> Own {
        Own::within(OWN_ROWS_MAX, OWN_PARTS)
    }
}

impl Own {
    fn within(rows_max: usize, parts_max: usize) -> Own {
        Own { rows: HashMap::default(), rows_max, parts: Vec::new(), parts_max, differ: 0, newer: 0 }
    }

    /// It was here.
    pub(crate) fn was(&mut self, key: &Key, at: Timestamp, body: &Body) {
        let (name, held) = (fingerprint(key), fingerprint(body));
        if self.rows.len() < self.rows_max {
            self.rows.insert(name, (at, held));
            return;
        }
        if self.parts.is_empty() {
            self.parts = vec![Part::default(); self.parts_max];
        }
        let part = self.part(name);
        part.keys += 1;
        part.sum = part.sum.wrapping_add(mixed(name, held));
        part.at = part.at.wrapping_add(at.0);
    }

    /// It has come; each key comes once.
    pub(crate) fn came(&mut self, key: &Key, at: Timestamp, body: &Body) {
        let (name, held) = (fingerprint(key), fingerprint(body));
        if let Some((own_at, own)) = self.rows.remove(&name) {
            self.differ += u64::from(own != held);
            self.newer += u64::from(own != held && own_at > at);
        } else if !self.parts.is_empty() {
            let part = self.part(name);
            part.keys -= 1;
            part.sum = part.sum.wrapping_sub(mixed(name, held));
            part.at = part.at.wrapping_sub(at.0);
        }
    }

    /// Nothing more comes.
    pub(crate) fn end(self) -> Replaced {
        let mut replaced = Replaced { rows: self.differ + self.rows.len() as u64, newer: self.newer };
        for part in self.parts {
            replaced.rows += match part.keys {
                0 => u64::from(part.sum != 0),
                keys => keys.max(0) as u64,
            };
            replaced.newer += u64::from(part.keys == 0 && part.sum != 0 && part.at as i64 > 0);
        }
        replaced
    }

    fn part(&mut self, name: u64) -> &mut Part {
        let at = name as usize % self.parts.len();
        &mut self.parts[at]
    }
}

/// Tells values apart within one process, for counting: two that differ have the same one once in 2^64.
fn fingerprint(value: &impl Hash) -> u64 {
    FixedState::default().hash_one(value)
}

/// One number for a row, such that sums of them tell rows apart.
fn mixed(name: u64, held: u64) -> u64 {
    fingerprint(&(name, held))
}

#[cfg(test)]
mod tests {
    use hypermnesia_store::{Row, SchemaVersion, Value};

    use super::*;

    fn row(k: i64, v: i64) -> (Key, Body) {
        let key = Key::encode(&[Value::Int(k)]).expect("short");
        let row = Row::encode(SchemaVersion::FIRST, &[Value::Int(k), Value::Int(v)]).expect("short");
        (key, Body::Row(row))
    }

    /// What is counted of a thousand rows of which this many were changed here later than what comes, this many earlier,
    /// this many are here alone, and of some more that are new.
    fn counted(mut own: Own, [later, earlier, gone, new]: [i64; 4]) -> Replaced {
        for k in 0..1_000 {
            let changed = i64::from(k < later + earlier);
            let (key, body) = row(k, changed);
            own.was(&key, Timestamp(if k < later { 9 } else { 5 }), &body);
        }
        for k in (0..1_000 - gone).chain(1_000..1_000 + new) {
            let (key, body) = row(k, 0);
            own.came(&key, Timestamp(7), &body);
        }
        own.end()
    }

    #[test]
    fn rows_within_the_bound_are_counted_exactly() {
        // Aim: changed rows, those that had been written later among them, and rows that are gone. Method: each in turn, and
        // all together with new ones.
        for ([later, earlier, gone, new], rows) in
            [([0; 4], 0), ([3, 0, 0, 0], 3), ([0, 4, 0, 0], 4), ([0, 0, 5, 0], 5), ([3, 4, 5, 600], 12)]
        {
            let found = counted(Own::default(), [later, earlier, gone, new]);
            assert_eq!(found, Replaced { rows, newer: later as u64 });
        }
    }

    #[test]
    fn rows_past_the_bound_are_counted_in_parts() {
        // Aim: memory has a bound, nothing is counted that did not go, and what goes is not silent. Method: a bound for a
        // tenth of the rows; many parts, then two.
        let all = |parts| move |changes| counted(Own::within(100, parts), changes);
        let (fine, coarse) = (all(1 << 16), all(2));
        assert_eq!(fine([0; 4]), Replaced::default());
        assert_eq!(fine([103, 4, 5, 0]), Replaced { rows: 112, newer: 103 });
        assert_eq!(coarse([0; 4]), Replaced::default());
        for changes in [[200, 0, 0, 0], [0, 200, 0, 0], [0, 0, 200, 0], [100, 100, 200, 0]] {
            let (rows, most) = (coarse(changes).rows, changes.iter().sum::<i64>() as u64);
            assert!((1..=most).contains(&rows), "{changes:?}: {rows} rows");
        }
        let mut own = Own::within(10, 64);
        (0..100_000).for_each(|k| own.was(&row(k, 0).0, Timestamp(1), &row(k, 0).1));
        assert_eq!((own.rows.len(), own.parts.len()), (10, 64));
    }
}
