//! One operation of each workload with the library's futures: many clients share a thread, as many tasks of a service do.

use hypermnesia::{Node, Result, Table};

use super::bank::{Bank, Transfer};
use super::records::Plain;
use super::threads::{Tables, all_there, missing};
use super::workload::{Choices, Workload};

impl Tables {
    /// Runs one operation. What has no futures, because it never waits for long, runs in place.
    pub(crate) async fn operate_task(&self, workload: Workload, choices: &mut Choices) -> Result<()> {
        let node = &self.node;
        if workload == Workload::Tpcb {
            let bank = self.bank.as_ref().ok_or_else(missing)?;
            return transfer(node, bank, choices.transfer()).await;
        }
        if workload == Workload::IndexRead10Txn {
            let table = self.indexed.as_ref().ok_or_else(missing)?;
            let value = &[choices.value().into()];
            let reading =
                node.transaction_async(|tx| async move { tx.index_read(table, "by_small", value).await });
            return all_there(&reading.await?, choices);
        }
        let table = self.plain.as_ref().ok_or_else(missing)?;
        match workload {
            Workload::WriteTxn | Workload::DirtyWrite => {
                let row = &Plain::new(choices.key());
                node.transaction_async(|tx| async move { tx.insert(table, row).await }).await
            }
            Workload::Write10Txn => {
                let rows: &[Plain; 10] = &std::array::from_fn(|_| Plain::new(choices.key()));
                node.transaction_async(|tx| async move {
                    for row in rows {
                        tx.insert(table, row).await?;
                    }
                    Ok(())
                })
                .await
            }
            Workload::ReadTxn => {
                let key = choices.key();
                let found = node.transaction_async(|tx| async move { tx.get(table, &key).await }).await?;
                found.map(drop).ok_or_else(missing)
            }
            Workload::RmwTxnUniform => add_one(node, table, choices.key()).await,
            Workload::RmwTxn1key => add_one(node, table, 1).await,
            Workload::DirtyRead | Workload::IndexRead10Txn | Workload::Tpcb => {
                self.operate(workload, choices)
            }
        }
    }
}

async fn add_one(node: &Node, table: &Table<Plain>, key: u64) -> Result<()> {
    node.transaction_async(|tx| async move {
        let mut row = tx.get_for_update(table, &key).await?.ok_or_else(missing)?;
        row.small += 1;
        tx.insert(table, &row).await
    })
    .await
}

async fn transfer(node: &Node, bank: &Bank, transfer: Transfer) -> Result<()> {
    let Transfer { account, teller, branch, delta, .. } = transfer;
    node.transaction_async(|tx| async move {
        let mut account = tx.get_for_update(&bank.accounts, &account).await?.ok_or_else(missing)?;
        account.balance += delta;
        tx.insert(&bank.accounts, &account).await?;
        let mut teller = tx.get_for_update(&bank.tellers, &teller).await?.ok_or_else(missing)?;
        teller.balance += delta;
        tx.insert(&bank.tellers, &teller).await?;
        let mut branch = tx.get_for_update(&bank.branches, &branch).await?.ok_or_else(missing)?;
        branch.balance += delta;
        tx.insert(&bank.branches, &branch).await?;
        tx.insert(&bank.history, &transfer.history()).await
    })
    .await
}
