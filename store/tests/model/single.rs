//! Operations on one key in one step (`Store::alter`, `Store::count`, `Store::increment`), each with its answer, and swaps
//! by version, which are transactions. What the model answers is worked out from plain rows alone.

use hypermnesia_store::{Body, Kind, Numbers, Op, ReadNote, Row, Timestamp, Work, Write};

use crate::run::{Run, T, int, key, pairs, row};

/// One operation on one key. A put into a bag adds the row unless it is there.
#[derive(Clone, Copy, Debug)]
enum Single {
    Put(i64),
    /// Only where the key holds nothing.
    New(i64),
    Remove(i64),
    Delete,
    Take,
    /// The second number, where the key holds the first and nothing else.
    Swap(i64, i64),
    /// Adds to the number of the row, if there is one. Sets only.
    Count(i64),
}

/// What an operation tells its caller.
#[derive(Debug, PartialEq)]
enum Answer {
    Changed(bool),
    Took(Vec<(i64, i64)>),
    Sum(Option<i64>),
}

impl Single {
    fn roll(run: &mut Run, k: i64) -> Single {
        let v = run.value();
        match run.dice.roll(16) {
            0..4 => Single::Put(v),
            4 => Single::New(v),
            5 => Single::Remove(v),
            6 => Single::Delete,
            7 => Single::Take,
            8..11 => {
                // Mostly what is there, so that it is swapped.
                let held = run.model.get(&k).map(|rows| rows[0].1).filter(|_| run.dice.roll(4) != 0);
                Single::Swap(held.unwrap_or(v), run.value())
            }
            _ if run.kind == Kind::Bag => Single::Put(v),
            _ => Single::Count(run.dice.roll(7) as i64 - 3),
        }
    }

    /// What happens to what the key holds.
    fn op(self, k: i64, held: Option<&Body>) -> (Option<Op>, Answer) {
        let put = |v| Op::Put(row(k, v));
        let rows = held.map(pairs).unwrap_or_default();
        match self {
            Single::Put(v) => (Some(put(v)), Answer::Changed(true)),
            Single::New(v) if held.is_none() => (Some(put(v)), Answer::Changed(true)),
            Single::Remove(v) => (Some(Op::BagRemove(row(k, v))), Answer::Changed(rows.contains(&(k, v)))),
            Single::Delete => (Some(Op::Delete), Answer::Changed(held.is_some())),
            Single::Take => (held.map(|_| Op::Delete), Answer::Took(rows)),
            // In a bag a swap of the only row takes two steps, so there it is a removal.
            Single::Swap(old, new) if rows == [(k, old)] => match held {
                Some(Body::Bag(_)) => (Some(Op::BagRemove(row(k, old))), Answer::Changed(true)),
                _ => (Some(put(new)), Answer::Changed(true)),
            },
            Single::New(_) | Single::Swap(..) => (None, Answer::Changed(false)),
            Single::Count(by) => {
                let sum = rows.first().map(|(_, v)| v + by);
                (sum.map(put), Answer::Sum(sum))
            }
        }
    }

    /// The same for plain rows.
    fn apply(self, kind: Kind, k: i64, held: &mut Vec<(i64, i64)>) -> Answer {
        let before = held.clone();
        match self {
            Single::Put(v) | Single::New(v) if before.is_empty() => held.push((k, v)),
            Single::New(_) => {}
            Single::Put(v) if kind != Kind::Bag => *held = vec![(k, v)],
            Single::Put(v) if before.contains(&(k, v)) => return Answer::Changed(true),
            Single::Put(v) => held.push((k, v)),
            Single::Remove(v) => held.retain(|known| *known != (k, v)),
            Single::Delete => held.clear(),
            Single::Take => {
                held.clear();
                return Answer::Took(before);
            }
            Single::Swap(old, _) if before != [(k, old)] => {}
            Single::Swap(..) if kind == Kind::Bag => held.clear(),
            Single::Swap(_, new) => {
                *held = vec![(k, new)];
                return Answer::Changed(true);
            }
            Single::Count(by) => {
                held.iter_mut().for_each(|(_, v)| *v += by);
                return Answer::Sum(held.first().map(|(_, v)| *v));
            }
        }
        Answer::Changed(matches!(self, Single::Put(_)) || *held != before)
    }
}

impl Run {
    /// Some operations one by one, each answer compared, and what the key holds then.
    pub(crate) fn singles(&mut self) {
        let count = 1 + self.dice.roll(8);
        for _ in 0..count {
            let k = self.any_key();
            let single = Single::roll(self, k);
            let told = self.perform(k, single);
            let mut held = self.model.remove(&k).unwrap_or_default();
            let wanted = single.apply(self.kind, k, &mut held);
            self.hold(k, held);
            assert_eq!(told, wanted, "{single:?} of {k}");
            self.look_at(k);
        }
        self.operations += count as usize;
    }

    fn perform(&mut self, k: i64, single: Single) -> Answer {
        if let Single::Count(by) = single
            && let Some(sum) = self.count_in_place(k, by)
        {
            self.in_place += 1;
            return Answer::Sum(Some(sum));
        }
        let decide = |held: Option<&Body>| Ok::<_, ()>(single.op(k, held));
        let done = self.store.alter(&self.table(), &key(k), self.wall_ms, decide);
        done.expect("nobody is in the way").expect("it decides")
    }

    /// By turns in both ways to count in place; nothing where it takes another.
    fn count_in_place(&mut self, k: i64, by: i64) -> Option<i64> {
        let (table, wall) = (self.table(), self.wall_ms);
        if self.dice.roll(2) == 0 {
            return self.store.increment(&table, &key(k), wall, || Some(1), by);
        }
        let add = |row: &Row, ()| {
            let sum = int(row, 1) + by;
            Some(Ok::<_, ()>((Numbers::from_slice(&[(1, sum)]), sum)))
        };
        self.store.count(&table, &key(k), wall, || Ok(()), add).map(|done| done.expect("it decides"))
    }

    /// A swap by version: it commits exactly when nobody has written the key since it was read.
    pub(crate) fn swap_by_version(&mut self) {
        let (k, v) = (self.any_key(), self.value());
        let version = self.version(k);
        let between = [None, Some(Single::Count(0)), Some(Single::Take), Some(Single::Put(v + 1))];
        let between = between[self.dice.roll(4) as usize];
        let between = between.filter(|single| self.kind != Kind::Bag || !matches!(single, Single::Count(_)));
        let was_there = self.model.contains_key(&k);
        if let Some(single) = between {
            self.perform(k, single);
            let mut held = self.model.remove(&k).unwrap_or_default();
            let already =
                self.kind == Kind::Bag && matches!(single, Single::Put(v) if held.contains(&(k, v)));
            single.apply(self.kind, k, &mut held);
            self.hold(k, held);
            let changed = !already && (was_there || matches!(single, Single::Put(_)));
            assert_eq!(self.version(k) != version, changed, "{single:?} of {k}, held before: {was_there}");
        }
        let is_old = self.version(k) != version;
        let reads = vec![ReadNote { table: T, key: key(k), version }];
        let writes = vec![Write { table: T, key: key(k), op: Op::Delete }];
        let done = self.commit_work(Work { reads, writes, ..Work::default() });
        assert_eq!(done, !is_old, "{k} after {between:?}");
        if done {
            self.model.remove(&k);
        }
        self.look_at(k);
        self.operations += 2;
    }

    fn version(&self, k: i64) -> Timestamp {
        let found = self.table().latest(&key(k)).expect("nothing is pending");
        found.map_or(Timestamp::NEVER, |(_, version)| version)
    }
}
