//! One operation of each workload with the blocking calls of the library, on the thread of the client.

use hypermnesia::{Error, Node, Result, Table};

use super::bank::{Bank, Transfer};
use super::records::{Indexed, Plain};
use super::workload::{Choices, Workload};

/// A row that the workload needs is not there.
pub(crate) fn missing() -> Error {
    Error::abort("a row of the workload is missing")
}

/// Handles that a client works with.
#[derive(Clone, Debug)]
pub(crate) struct Tables {
    pub(crate) node: Node,
    pub(crate) plain: Option<Table<Plain>>,
    pub(crate) indexed: Option<Table<Indexed>>,
    pub(crate) bank: Option<Bank>,
}

impl Tables {
    /// Runs one operation.
    pub(crate) fn operate(&self, workload: Workload, choices: &mut Choices) -> Result<()> {
        let node = &self.node;
        if workload == Workload::Tpcb {
            let bank = self.bank.as_ref().ok_or_else(missing)?;
            return transfer(node, bank, choices.transfer());
        }
        if workload == Workload::IndexRead10Txn {
            let table = self.indexed.as_ref().ok_or_else(missing)?;
            let value = [choices.value().into()];
            let found = node.transaction(|tx| tx.index_read(table, "by_small", &value))?;
            return all_there(&found, choices);
        }
        let table = self.plain.as_ref().ok_or_else(missing)?;
        match workload {
            Workload::WriteTxn => {
                let row = Plain::new(choices.key());
                node.transaction(|tx| tx.insert(table, &row))
            }
            Workload::Write10Txn => {
                let rows: [Plain; 10] = std::array::from_fn(|_| Plain::new(choices.key()));
                node.transaction(|tx| rows.iter().try_for_each(|row| tx.insert(table, row)))
            }
            Workload::ReadTxn => {
                let key = choices.key();
                node.transaction(|tx| tx.get(table, &key))?.map(drop).ok_or_else(missing)
            }
            Workload::RmwTxnUniform => add_one(node, table, choices.key()),
            Workload::RmwTxn1key => add_one(node, table, 1),
            Workload::DirtyRead => table.dirty_get(&choices.key())?.map(drop).ok_or_else(missing),
            Workload::DirtyWrite => table.dirty_put(&Plain::new(choices.key())),
            Workload::IndexRead10Txn | Workload::Tpcb => Ok(()),
        }
    }
}

/// Whether a value of the index has found its rows.
pub(crate) fn all_there(rows: &[Indexed], choices: &Choices) -> Result<()> {
    if rows.len() < choices.rows_of_value() { Err(missing()) } else { Ok(()) }
}

fn add_one(node: &Node, table: &Table<Plain>, key: u64) -> Result<()> {
    node.transaction(|tx| {
        let mut row = tx.get_for_update(table, &key)?.ok_or_else(missing)?;
        row.small += 1;
        tx.insert(table, &row)
    })
}

fn transfer(node: &Node, bank: &Bank, transfer: Transfer) -> Result<()> {
    let Transfer { account, teller, branch, delta, .. } = transfer;
    node.transaction(|tx| {
        let mut account = tx.get_for_update(&bank.accounts, &account)?.ok_or_else(missing)?;
        account.balance += delta;
        tx.insert(&bank.accounts, &account)?;
        let mut teller = tx.get_for_update(&bank.tellers, &teller)?.ok_or_else(missing)?;
        teller.balance += delta;
        tx.insert(&bank.tellers, &teller)?;
        let mut branch = tx.get_for_update(&bank.branches, &branch)?.ok_or_else(missing)?;
        branch.balance += delta;
        tx.insert(&bank.branches, &branch)?;
        tx.insert(&bank.history, &transfer.history())?;
        Ok(account.balance)
    })?;
    Ok(())
}
