//! What one frame of the commit log says. The encoding is the codec's; a record of a later form gets a variant behind
//! these, never a change of one.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::ids::{Incarnation, NodeId, TableId, TxId};
use crate::key::Key;
use crate::row::Body;
use crate::work::{Work, Write};

/// A record of the commit log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Record<'a> {
    /// A life of the node begins.
    Started(Incarnation),
    /// Prepared here; in doubt until an outcome follows.
    Prepared {
        /// The transaction.
        txid: TxId,
        /// Its epoch.
        epoch: u64,
        /// All participants.
        participants: Cow<'a, [(NodeId, Incarnation)]>,
        /// What it does.
        work: Cow<'a, Work>,
    },
    /// Committed.
    Committed {
        /// The transaction.
        txid: TxId,
        /// When.
        ts: Timestamp,
    },
    /// Aborted.
    Aborted {
        /// The transaction.
        txid: TxId,
    },
    /// A transaction of this node alone, whole.
    Applied {
        /// The transaction.
        txid: TxId,
        /// When.
        ts: Timestamp,
        /// What it changed.
        writes: Cow<'a, [Write]>,
    },
    /// About epochs: opaque here, replaces every earlier one.
    Epoch(Cow<'a, [u8]>),
    /// Rows that a copy from another member put in place or took away.
    Loaded {
        /// The table.
        table: TableId,
        /// Every row of the table goes first.
        clear: bool,
        /// Key, commit timestamp, rows.
        rows: Cow<'a, [(Key, Timestamp, Option<Body>)]>,
    },
    /// Prepared here, and settled by others while this node was away: in doubt no more, and what became of it is not known here.
    Released {
        /// The transaction.
        txid: TxId,
    },
}
