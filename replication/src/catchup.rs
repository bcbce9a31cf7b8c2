//! How a joiner gets its tables, and how a source gives them. Described in `docs/protocol.md`, why it is so in decision 20.
//!
//! What is copied is the table as it was when the epoch opened: the source keeps that state (`Era::base`) until all members are ready.
//! What is committed in the epoch meanwhile the joiner takes part in, keeps, and puts behind the rows when it has them all (`tail`). So
//! writes go on while a table is loaded, and neither side's rows change beneath the copy. The schema comes before all others, since
//! it says which tables there are. Where the two differ, the source chooses one of three ways:
//!
//! | way | what comes | ends |
//! |---|---|---|
//! | whole | every row, after the joiner's own have gone | right, whatever was there |
//! | newer | rows newer than the joiner's newest, or behind its last key | right if the digests agree then; else leaves |
//! | leaves | digests of leaves; the rows of those that differ, in the order of keys | right if the digests agree then; else whole |
//!
//! What the joiner says of its copy is a hint: only digests decide. It reads its table once, and keeps the digests of its leaves
//! right with each row that it puts or takes away, from what the table says before and after.
//!
//! Rows never go back in time but in a whole copy, which clears the table first, in the log too: log and image let the newer
//! version of a row win, whatever order they are read in. A row that came and is older than what is here leads to a whole copy.
//!
//! Rows that were here and are not in the chain are taken away and counted, never silently: see [`Event::RowsReplaced`]. A table
//! that lives on disc alone may be larger than memory: the source reads each chunk when it is asked for, and the joiner keeps of
//! its own rows what tells them apart.
//!
//! A row that cannot be read stops the node that has it (see `Store::disc_fault`): it answers nothing, as if it had died. One
//! that cannot be read now is asked for again.
//!
//! A joiner that dies while loading has said so in its log (opened, not complete, these tables loaded) and is nobody's first choice as a
//! source. What had come by then stays, and is not sent again. A source that dies leads to a new epoch, in which loading starts
//! over, from whoever is the best then.
//!
//! | file | what |
//! |---|---|
//! | `joiner` | one table after the other: what is asked for, and when all is there |
//! | `place` | rows of a whole copy; rows into table and log |
//! | `difference` | what differs: newer rows, leaves |
//! | `reading` | what takes long is read beside all else |
//! | `survey` | what either side knows of its table after reading it once |
//! | `source` | what is answered |
//! | `served` | rows as they are given, in chunks |
//! | `tail` | what is committed while a table loads |
//!
//! [`Event::RowsReplaced`]: crate::effect::Event::RowsReplaced

mod difference;
mod joiner;
mod place;
mod reading;
mod served;
mod source;
mod survey;
mod tail;

use hypermnesia_store::{Body, Key, TableId, Timestamp};

use crate::era::Era;
use crate::message::CopyStep;
use crate::replica::{Replica, Turn};

pub(crate) use joiner::Loading;
pub use reading::{Read, Reading};
pub(crate) use source::Serving;
pub(crate) use tail::Tail;

/// The system table that holds the definitions of all others. Every member has a copy.
pub const SCHEMA_TABLE: TableId = hypermnesia_store::SCHEMA_TABLE;

/// Rows as they travel.
type CopyRows = Vec<(Key, Timestamp, Body)>;

/// What a row counts for in the bounds of chunks.
fn row_bytes(key: &Key, body: &Body) -> usize {
    key.as_bytes().len() + body.bytes() + 16
}

impl Replica {
    pub(crate) fn on_copy(
        &self,
        era: &mut Era,
        from: usize,
        epoch: u64,
        table: TableId,
        step: CopyStep,
        turn: &mut Turn<'_>,
    ) {
        if !era.is_open() || epoch != era.number() || !era.present().has(from) {
            return;
        }
        match step {
            CopyStep::Request(asked) => self.on_copy_request(era, from, table, asked, turn),
            CopyStep::Next { part, chunk } => self.send_chunk(era, from, table, part, chunk, turn),
            CopyStep::Compare { from: leaf } => self.send_digests(era, from, table, leaf, turn),
            CopyStep::Differ { leaves } => self.send_leaves(era, from, table, leaves, turn),
            answer if self.copies(era, from, table) => self.on_copy_answer(era, answer, turn),
            _ => {}
        }
    }

    fn on_copy_answer(&self, era: &mut Era, answer: CopyStep, turn: &mut Turn<'_>) {
        match answer {
            CopyStep::InDoubt { txid, work } => self.on_carried(era, txid, work, turn),
            CopyStep::Settled(outcomes) => self.on_kept(era, outcomes, turn),
            CopyStep::Same => self.on_same(era, turn),
            CopyStep::Chunk(chunk) => self.on_chunk(era, chunk, turn),
            CopyStep::Digests { from, digests } => self.on_digests(era, from, &digests, turn),
            _ => unreachable!("the caller has taken the questions"),
        }
    }

    /// Whether this node copies this table from that member now.
    fn copies(&self, era: &Era, from: usize, table: TableId) -> bool {
        let current = era.loading.as_ref().and_then(Loading::current);
        current.is_some_and(|one| one.table == table && one.source == from)
    }
}
