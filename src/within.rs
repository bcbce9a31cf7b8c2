//! Calls of a node that wait, with a time of the caller's own instead of the default one: for servers, whose callers have
//! deadlines. Transactions take theirs as [`TxOptions::deadline`](crate::TxOptions::deadline).

use std::time::Duration;

use hypermnesia_store::TableBuilder;

use crate::error::Result;
use crate::node::Node;
use crate::schema::{self, NewIndex};
use crate::snapshot::Snapshot;
use crate::table::DynTable;

impl Node {
    /// As [`Node::snapshot`], waiting no longer than this, for all waits of the snapshot together.
    ///
    /// # Errors
    /// As there.
    pub fn snapshot_within(&self, time: Duration) -> Result<Snapshot> {
        Snapshot::take_within(&self.core, time)
    }

    /// As [`Node::create_table`], within this time.
    ///
    /// # Errors
    /// As there.
    pub fn create_table_within(&self, definition: TableBuilder, time: Duration) -> Result<DynTable> {
        schema::create(&self.core, definition.build()?, time)
    }

    /// As [`Node::drop_table`], within this time.
    ///
    /// # Errors
    /// As there.
    pub fn drop_table_within(&self, name: &str, time: Duration) -> Result<()> {
        schema::drop_table(&self.core, name, time)
    }

    /// As [`Node::add_index`], within this time.
    ///
    /// # Errors
    /// As there.
    pub fn add_index_within(
        &self,
        table: &str,
        index: &str,
        attributes: &[&str],
        unique: bool,
        time: Duration,
    ) -> Result<()> {
        let index = NewIndex { name: index, attributes, unique, multi: false };
        schema::add_index(&self.core, table, &index, time)
    }

    /// As [`Node::add_multi_index`], within this time.
    ///
    /// # Errors
    /// As there.
    pub fn add_multi_index_within(
        &self,
        table: &str,
        index: &str,
        attribute: &str,
        unique: bool,
        time: Duration,
    ) -> Result<()> {
        let index = NewIndex { name: index, attributes: &[attribute], unique, multi: true };
        schema::add_index(&self.core, table, &index, time)
    }

    /// As [`Node::drop_index`], within this time.
    ///
    /// # Errors
    /// As there.
    pub fn drop_index_within(&self, table: &str, index: &str, time: Duration) -> Result<()> {
        schema::drop_index(&self.core, table, index, time)
    }
}
