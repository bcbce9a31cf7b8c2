//! The four tables of the TPC-B-like workload, what one transfer is, and the check that no money came or went.

use std::ops::ControlFlow;

use anyhow::{Result, ensure};
use hypermnesia::{Node, Record, Snapshot, Span, Table};

use super::records::{Kept, create, load};

/// Accounts of one branch.
pub(crate) const ACCOUNTS: u64 = 100_000;
/// Tellers of one branch.
pub(crate) const TELLERS: u64 = 10;
/// Filler that brings rows to about a hundred bytes.
const FILLER_BYTES: usize = 84;
/// Filler of a history row, which has about fifty.
pub(crate) const HISTORY_FILLER_BYTES: usize = 22;

/// A branch.
#[derive(Clone, Debug, Record)]
#[record(table = "bench_branches")]
pub(crate) struct Branch {
    #[record(key)]
    pub(crate) id: u64,
    pub(crate) balance: i64,
    pub(crate) filler: Vec<u8>,
}

/// A teller.
#[derive(Clone, Debug, Record)]
#[record(table = "bench_tellers")]
pub(crate) struct Teller {
    #[record(key)]
    pub(crate) id: u64,
    pub(crate) branch: u64,
    pub(crate) balance: i64,
    pub(crate) filler: Vec<u8>,
}

/// An account.
#[derive(Clone, Debug, Record)]
#[record(table = "bench_accounts")]
pub(crate) struct Account {
    #[record(key)]
    pub(crate) id: u64,
    pub(crate) branch: u64,
    pub(crate) balance: i64,
    pub(crate) filler: Vec<u8>,
}

/// A line of the history.
#[derive(Clone, Debug, Record)]
#[record(table = "bench_history")]
pub(crate) struct History {
    #[record(key)]
    pub(crate) id: u64,
    pub(crate) account: u64,
    pub(crate) teller: u64,
    pub(crate) branch: u64,
    pub(crate) delta: i64,
    pub(crate) filler: Vec<u8>,
}

/// One transfer's inputs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Transfer {
    pub(crate) row: u64,
    pub(crate) account: u64,
    pub(crate) teller: u64,
    pub(crate) branch: u64,
    pub(crate) delta: i64,
}

impl Transfer {
    /// A uniform teller fixes the branch; 85 % of the accounts are of that branch, the others of another one.
    pub(crate) fn choose(random: &mut fastrand::Rng, scale: u64, row: u64) -> Transfer {
        let teller = random.u64(0..scale * TELLERS);
        let branch = teller / TELLERS;
        let home = if scale == 1 || random.u8(0..100) < 85 {
            branch
        } else {
            (branch + 1 + random.u64(0..scale - 1)) % scale
        };
        let account = home * ACCOUNTS + random.u64(0..ACCOUNTS);
        Transfer { row, account, teller, branch, delta: random.i64(-999_999..=999_999) }
    }

    /// Its line in the history.
    pub(crate) fn history(&self) -> History {
        let Transfer { row, account, teller, branch, delta } = *self;
        History { id: row, account, teller, branch, delta, filler: vec![0; HISTORY_FILLER_BYTES] }
    }
}

/// Handles of the four tables.
#[derive(Clone, Debug)]
pub(crate) struct Bank {
    pub(crate) branches: Table<Branch>,
    pub(crate) tellers: Table<Teller>,
    pub(crate) accounts: Table<Account>,
    pub(crate) history: Table<History>,
}

impl Bank {
    /// The tables that are there.
    pub(crate) fn open(node: &Node) -> Result<Bank> {
        Ok(Bank {
            branches: node.table()?,
            tellers: node.table()?,
            accounts: node.table()?,
            history: node.table()?,
        })
    }

    /// Creates and fills them.
    pub(crate) fn create(node: &Node, kept: Kept, scale: u64) -> Result<Bank> {
        let bank = Bank {
            branches: create(node, kept)?,
            tellers: create(node, kept)?,
            accounts: create(node, kept)?,
            history: create(node, kept)?,
        };
        let filler = || vec![0; FILLER_BYTES];
        load(&bank.branches, scale, |id| Branch { id, balance: 0, filler: filler() })?;
        load(&bank.tellers, scale * TELLERS, |id| Teller {
            id,
            branch: id / TELLERS,
            balance: 0,
            filler: filler(),
        })?;
        load(&bank.accounts, scale * ACCOUNTS, |id| Account {
            id,
            branch: id / ACCOUNTS,
            balance: 0,
            filler: filler(),
        })?;
        Ok(bank)
    }

    /// The balances of branches, tellers and accounts and the history's amounts are one sum.
    pub(crate) fn check(&self, node: &Node) -> Result<()> {
        let snapshot = node.snapshot()?;
        let sums = [
            sum(&snapshot, &self.branches, |row| row.balance)?,
            sum(&snapshot, &self.tellers, |row| row.balance)?,
            sum(&snapshot, &self.accounts, |row| row.balance)?,
            sum(&snapshot, &self.history, |row| row.delta)?,
        ];
        ensure!(sums.windows(2).all(|pair| pair[0] == pair[1]), "the bank's four sums differ: {sums:?}");
        Ok(())
    }
}

fn sum<R: Record>(snapshot: &Snapshot, table: &Table<R>, amount: impl Fn(&R) -> i64) -> Result<i64> {
    let mut sum = 0;
    snapshot.each(table, &Span::all(), |row| {
        sum += amount(&row);
        ControlFlow::Continue(())
    })?;
    Ok(sum)
}
