//! What a client has written while members died, what it was told of each write, and whether that holds. Each write is a row with a
//! number of its own and one more in a counter, in one transaction: one that was lost is missing, one that was done twice counts twice.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hypermnesia_rpc::Value;
use hypermnesia_rpc::client::{
    AttributeType, Change, Client, Count, Storage, TableSpec, Transact, TransactionOptions, Values,
};
use serde::Serialize;

const ROWS: &str = "bench_numbers";
const COUNT: &str = "bench_count";
/// How long a write may take: longer than a cluster takes to go on.
const WRITTEN_WITHIN: Duration = Duration::from_secs(20);

/// See the file's header.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    next: i64,
    acknowledged: BTreeSet<i64>,
    /// The client was told that nothing was changed.
    refused: BTreeSet<i64>,
}

/// How what is there differs from what was told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Compared {
    /// Rows that were acknowledged.
    pub(crate) acknowledged: usize,
    /// Of those, how many are not there.
    pub(crate) lost: usize,
    /// Rows that are there although their writes were refused.
    pub(crate) refused_and_there: usize,
    /// How many more were counted than there are rows: writes that were done twice; below zero, half.
    pub(crate) twice: i64,
}

impl Ledger {
    /// Makes the tables, with a copy on every member.
    pub(crate) async fn create(client: &Client, storage: Storage) -> Result<Ledger> {
        let spec = |name: &str| {
            let spec = TableSpec::set(name).attribute("number", AttributeType::Int);
            spec.attribute("n", AttributeType::Int).storage(storage)
        };
        client.create_table(spec(ROWS)).await?;
        client.create_table(spec(COUNT)).await?;
        Ok(Ledger::default())
    }

    /// Writes the next row; whether that was acknowledged.
    pub(crate) async fn write(&mut self, client: &Client) -> bool {
        let number = self.next;
        self.next += 1;
        let one_more = Change::count(COUNT, 0, [Count::new("n", 1)]).or_from((0, 0));
        let options = TransactionOptions::new().timeout(WRITTEN_WITHIN);
        let write = Transact::new().put(ROWS, (number, number)).change(one_more).options(options);
        match client.transact(write).await {
            Ok(_) => self.acknowledged.insert(number),
            Err(error) => {
                // Of any other one nobody knows (yet).
                if error.changed_nothing() {
                    self.refused.insert(number);
                }
                false
            }
        }
    }

    /// Compares what was told with what each of these members has, which must be the same.
    pub(crate) async fn compare(&self, clients: &[Client]) -> Result<Compared> {
        let mut found: Option<(BTreeSet<i64>, i64)> = None;
        for client in clients {
            let rows = ints(client, &format!("SELECT number FROM {ROWS}")).await?.into_iter().collect();
            let counted = ints(client, &format!("SELECT n FROM {COUNT}")).await?.into_iter().sum();
            let here = (rows, counted);
            ensure!(found.as_ref().is_none_or(|found| *found == here), "the members have different rows");
            found = Some(here);
        }
        let (rows, counted) = found.context("no member to ask")?;
        Ok(self.compare_with(&rows, counted))
    }

    fn compare_with(&self, rows: &BTreeSet<i64>, counted: i64) -> Compared {
        Compared {
            acknowledged: self.acknowledged.len(),
            lost: self.acknowledged.difference(rows).count(),
            refused_and_there: self.refused.intersection(rows).count(),
            twice: counted - rows.len() as i64,
        }
    }
}

impl Compared {
    /// Fails where something was told that does not hold.
    pub(crate) fn check(&self) -> Result<()> {
        let holds = Compared { acknowledged: self.acknowledged, ..Compared::default() };
        ensure!(*self == holds, "what clients were told does not hold: {self:?}");
        Ok(())
    }
}

/// The integers that a statement of one column gives.
async fn ints(client: &Client, statement: &str) -> Result<Vec<i64>> {
    let rows = client.query(statement, Values::default()).await?.collect().await?;
    let int = |row: Vec<Value>| match row.first() {
        Some(Value::Int(int)) => Some(*int),
        _ => None,
    };
    rows.into_iter().map(|row| int(row).context("a row of the ledger has no number")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_does_not_hold_is_found() {
        // Aim: a lost write, one that was done twice and one that was refused and done are each found. Method: a ledger of four
        // writes, beside what may be there and what may not.
        let ledger = Ledger { next: 4, acknowledged: BTreeSet::from([0, 1]), refused: BTreeSet::from([2]) };
        let compared = |rows: &[i64], counted| ledger.compare_with(&rows.iter().copied().collect(), counted);
        // Of the last one nobody knows.
        for (rows, counted) in [(&[0, 1][..], 2), (&[0, 1, 3], 3)] {
            assert!(compared(rows, counted).check().is_ok(), "{rows:?}");
        }
        for (rows, counted) in [(&[0, 3][..], 2), (&[0, 1], 3), (&[0, 1], 1), (&[0, 1, 2], 3)] {
            assert!(compared(rows, counted).check().is_err(), "{rows:?} {counted}");
        }
    }
}
