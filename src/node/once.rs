//! Transactions that are done once for each request id. How: `request.rs`.

use std::future::Future;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Node;
use crate::async_transaction::AsyncTransaction;
use crate::error::{Error, Result};
use crate::options::TxOptions;
use crate::request::{self, Answered, RequestId};
use crate::transaction::Transaction;

impl Node {
    /// As [`Node::transaction`], done once for this id: a call with the same id, at any member, also after a restart of one
    /// member or of all, gives the answer of the first without running the program. The id is committed with the work or not
    /// at all, so whoever hears [`Error::Unknown`] or nothing simply calls again. A program that aborts leaves no trace of the id.
    ///
    /// *How long*: an id is remembered for ten minutes ([`REQUEST_ID_KEPT`](crate::limits::REQUEST_ID_KEPT)) from its commit on, by
    /// the clocks of the members, which may differ from each other by that much less. Behind that the work would be done again: a
    /// caller gives up repeating sooner.
    ///
    /// *Where*: ids are kept by the members that there were at the first request ever, in memory, and on disc where a member has a
    /// data directory; another member asks one of them. A transaction with an id therefore is logged on every member
    /// with a data directory, also where its tables are in memory alone: their rows may end with the processes, the ids do not.
    ///
    /// ```
    /// use hypermnesia::{Node, RequestId, TableDef, Type, Value};
    /// let node = Node::builder().build()?;
    /// let accounts = TableDef::builder("accounts").attribute("name", Type::Text).attribute("balance", Type::Int);
    /// let accounts = node.create_table(accounts)?;
    /// let deposit = || {
    ///     node.transaction_once(&RequestId::new("deposit 1"), |tx| {
    ///         let ada = [Value::from("ada")];
    ///         let held = tx.lookup(&accounts, &ada, "balance", Value::Int(0))?;
    ///         let balance = if let Value::Int(held) = held { held + 10 } else { 10 };
    ///         tx.insert(&accounts, &[Value::from("ada"), Value::Int(balance)])?;
    ///         Ok(balance)
    ///     })
    /// };
    /// assert_eq!(deposit()?, 10);
    /// assert_eq!(deposit()?, 10); // told, not done again
    /// # Ok::<(), hypermnesia::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Node::transaction`]. [`Error::RequestReused`] when the id has another digest, or its answer is of another type;
    /// [`Error::RequestsFull`]; [`Error::TooLarge`] for an answer of more than
    /// [`REQUEST_ANSWER_BYTES_MAX`](crate::limits::REQUEST_ANSWER_BYTES_MAX); [`Error::Aborted`] for one that cannot be read again (of a
    /// type that needs a format which describes itself); [`Error::Config`] for an id that is empty or too long. Nothing changed.
    pub fn transaction_once<T: Serialize + DeserializeOwned>(
        &self,
        id: &RequestId,
        program: impl FnMut(&mut Transaction) -> Result<T>,
    ) -> Result<T> {
        Ok(request::run(&self.core, id, &TxOptions::default(), program)?.answer)
    }

    /// As [`Node::transaction_once`], with options and an error type of the program's own; says whether an earlier call did it.
    ///
    /// # Errors
    /// As there.
    pub fn try_transaction_once<T: Serialize + DeserializeOwned, E: From<Error>>(
        &self,
        id: &RequestId,
        options: &TxOptions,
        program: impl FnMut(&mut Transaction) -> Result<T, E>,
    ) -> Result<Answered<T>, E> {
        request::run(&self.core, id, options, program)
    }

    /// As [`Node::try_transaction_once`], for tasks of any runtime: nothing blocks.
    ///
    /// # Errors
    /// As there.
    pub async fn try_transaction_once_async<T, E, F>(
        &self,
        id: &RequestId,
        options: &TxOptions,
        program: impl FnMut(AsyncTransaction) -> F,
    ) -> Result<Answered<T>, E>
    where
        T: Serialize + DeserializeOwned,
        E: From<Error>,
        F: Future<Output = Result<T, E>>,
    {
        request::run_async(&self.core, id, options, program).await
    }
}
