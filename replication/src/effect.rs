//! What the pure code asks the engine to do. Effects are handed to a [`Sink`] one by one, in an order that means
//! something: a `Send` must be in its peer's queue when [`Sink::effect`] returns, because a coordinator queues a Commit
//! before it releases the locks, and another thread may prepare the same keys right after.

use std::sync::Arc;

use hypermnesia_store::{Ack, Body, Conflict, Incarnation, Key, NodeId, TableId, Timestamp, TxId, Work};

use crate::catchup::Reading;
use crate::epoch::Opened;
use crate::fetch::{Fetch, Fetched};
use crate::member::Peer;
use crate::message::Message;
use crate::outcome::Outcome;

/// Takes effects as they arise. Called while internal locks may be held: it queues, it never blocks and never calls back
/// into the [`Replica`](crate::Replica).
pub trait Sink {
    /// Takes one effect.
    fn effect(&mut self, effect: Effect);
}

/// Collects them: for tests, and for engines with one thread.
impl Sink for Vec<Effect> {
    fn effect(&mut self, effect: Effect) {
        self.push(effect);
    }
}

/// Something for the engine to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Put on the stream to that life of the member; dropped when the stream leads to another one.
    Send {
        /// Whom to.
        to: Peer,
        /// What.
        message: Message,
    },
    /// Append to the commit log, in this order. With a token: once the level is reached for it and for all before it, call
    /// [`on_logged`](crate::Replica::on_logged). Never emitted by a node without a log.
    Log {
        /// What.
        fact: Fact,
        /// How safe it must be before the token comes back.
        level: Ack,
        /// Comes back.
        token: Option<LogToken>,
    },
    /// The answer to a [`commit`](crate::Replica::commit): exactly one for each.
    Done {
        /// The transaction.
        txid: TxId,
        /// What the caller hears.
        reply: Reply,
    },
    /// What became of a transaction that was answered with [`Reply::Unknown`], or that was asked about.
    Settled {
        /// The transaction.
        txid: TxId,
        /// What became of it.
        outcome: Outcome,
    },
    /// All members of an epoch have staged it: the control plane is to record that it is open ([`Opened::command`]), unless it
    /// has agreed on a later one. Emitted again until this node hears of either.
    ProposeOpening(Opened),
    /// A member of the present epoch wants rows: read them, and send the answer.
    Fetch {
        /// Who asks.
        from: Peer,
        /// The epoch, which the answer names.
        epoch: u64,
        /// The asker's number for it.
        id: u64,
        /// What it wants.
        fetch: Fetch,
    },
    /// Rows that were asked for, or why there are none.
    Fetched {
        /// The number under which they were asked for.
        id: u64,
        /// The answer.
        answer: Fetched,
    },
    /// Read a table for a copy of it, on a thread that may take its time: call [`read`](crate::Replica::read) there, and
    /// [`on_read`](crate::Replica::on_read) with what it gives. A node that ends may forget about it.
    Read(Reading),
    /// Something people want to know.
    Event(Event),
}

/// What the caller of a transaction hears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Visible in every snapshot at or above the timestamp, on every copy.
    Committed(Timestamp),
    /// Another transaction was in the way. It never happened; run it again at its old age.
    Conflict(Conflict),
    /// A table changed its schema since the transaction first touched it. It never happened; run it again.
    SchemaChanged,
    /// It never happened: somebody's vote was missing or waited for too long, and every participant has recorded the abort.
    TimedOut,
    /// It never happened: a replica of a touched table cannot take part now.
    Unavailable(Unavailable),
    /// It never happened: too many transactions are under way.
    Overloaded,
    /// Nobody knows yet. [`outcome`](crate::Replica::outcome) tells later, and [`Effect::Settled`] says when.
    Unknown,
}

/// A replica that is needed cannot take part. Nothing was sent and nothing changed; a retry is safe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("member {member} {why}")]
pub struct Unavailable {
    /// Which member.
    pub member: NodeId,
    /// What is wrong with it.
    pub why: Why,
}

/// Whether a member's log takes what is new.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum LogState {
    /// It does.
    #[default]
    Open,
    /// There is no space on its disc.
    NoSpace,
    /// More waits for its disc than may.
    Slow,
}

impl LogState {
    pub(crate) fn refusal(self) -> Option<Why> {
        match self {
            LogState::Open => None,
            LogState::NoSpace => Some(Why::NoSpace),
            LogState::Slow => Some(Why::SlowDisc),
        }
    }
}

/// Why a member cannot take part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// There is no connection to it.
    NotConnected,
    /// It is connected, but has not yet loaded its tables in this epoch.
    Loading,
    /// An epoch change is under way.
    EpochChange,
    /// It does not take its messages fast enough.
    Congested,
    /// It keeps nothing on disc, and the table wants a copy on disc there.
    NoDisc,
    /// No member keeps a copy of the table: its copies are on members of former times.
    NoCopies,
    /// The copies that have all of the table are on members that are away.
    Unserved,
    /// Its log has no space on its disc.
    NoSpace,
    /// Its disc does not take the log as fast as it comes.
    SlowDisc,
}

impl std::fmt::Display for Why {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Why::NotConnected => "is not connected",
            Why::Loading => "is still loading its tables",
            Why::EpochChange => "is in an epoch change",
            Why::Congested => "is congested",
            Why::NoDisc => "has no data directory, and the table wants a copy on disc there",
            Why::NoCopies => "knows no member that keeps a copy of the table",
            Why::Unserved => "knows of no copy with all of the table: those who have it are away",
            Why::NoSpace => "has no space on its disc: tables on disc can be read only until there is some",
            Why::SlowDisc => {
                "has more of its log in memory than may wait for its disc, which is slow or hangs"
            }
        })
    }
}

/// A fact for the commit log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    /// Prepared here. Without an outcome behind it the transaction is in doubt after a restart.
    Prepared {
        /// The transaction.
        txid: TxId,
        /// Its epoch.
        epoch: u64,
        /// All participants.
        participants: Vec<(NodeId, Incarnation)>,
        /// What it does.
        work: Arc<Work>,
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
    /// Prepared here, and settled by others while this node was away: what became of it is not known here, and nothing of it
    /// is in doubt any more.
    Released {
        /// The transaction.
        txid: TxId,
    },
    /// Committed, with what it does here: a transaction of this node alone, which was not prepared before, or one of whose tables
    /// some are still being loaded. What it does to these is not among it, and comes with the rows.
    Applied {
        /// The transaction.
        txid: TxId,
        /// When.
        ts: Timestamp,
        /// What it does to the tables that are here. Nothing else is in doubt of it any more.
        work: Arc<Work>,
    },
    /// About epochs: opaque to the log, replaces every earlier one; the last one is given back in
    /// [`Recovered`](crate::Recovered), also when the log behind it was trimmed.
    Epoch(Vec<u8>),
    /// Rows that a copy put in place (`Some`) or took away (`None`).
    Loaded {
        /// The table.
        table: TableId,
        /// Every row of the table goes first, and with it what is known of its versions: what a copy brings may be older.
        clear: bool,
        /// Key, commit timestamp, rows.
        rows: Vec<(Key, Timestamp, Option<Body>)>,
    },
    /// Nothing; its token says that everything before it is safe.
    Barrier,
}

/// Says what a log effect was for, when it comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogToken {
    /// A prepare: the vote may go out.
    Prepared(TxId),
    /// An abort: it may be reported as recorded.
    Aborted(TxId),
    /// A single-node transaction: it may be applied and told.
    Applied(TxId),
    /// A stage of this epoch number.
    Staged(u64),
    /// All tables are loaded in this epoch.
    Complete(u64),
    /// A mark of a coordinator.
    Marked {
        /// Position of the coordinator among the members.
        coordinator: usize,
        /// The epoch.
        epoch: u64,
        /// The generation.
        generation: u64,
    },
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// An epoch opened here.
    EpochOpened {
        /// Its number.
        number: u64,
        /// Members that came in a new life and now load their tables.
        joiners: Vec<NodeId>,
        /// In-doubt transactions that were settled: committed, aborted.
        settled: (usize, usize),
    },
    /// A copy begins.
    Loading {
        /// The table.
        table: TableId,
        /// Where from.
        source: NodeId,
    },
    /// A table is complete.
    Loaded {
        /// The table.
        table: TableId,
        /// Rows that came over; 0 when the own copy was equal.
        rows: u64,
        /// Transactions that were committed to it meanwhile.
        commits: u64,
    },
    /// This node's copy had rows that the others do not have; they were replaced.
    RowsReplaced {
        /// The table.
        table: TableId,
        /// How many; at least so many where the table had more than [`OWN_ROWS_MAX`](crate::limits::OWN_ROWS_MAX).
        rows: u64,
        /// Of them, those that are newer than anything the others have under their key.
        newer: u64,
    },
    /// What differed came, and the table is not what its source has: it is copied whole. One of the two is in the wrong.
    CopyDiffers {
        /// The table.
        table: TableId,
    },
    /// This node's copy of the table was taken away, and its rows have gone.
    CopyDropped {
        /// The table.
        table: TableId,
    },
    /// All copies of the table were in memory and all their processes ended.
    CameBackEmpty {
        /// The table.
        table: TableId,
    },
    /// All tables are complete; this node takes part.
    Ready {
        /// The epoch.
        epoch: u64,
    },
    /// A peer's timestamps are too far ahead of this node's wall clock; they were not followed.
    ClockAhead {
        /// The peer.
        member: NodeId,
        /// By how much.
        ahead_ms: u64,
    },
}
