//! What nodes say to each other. Messages travel on numbered streams (`stream.rs`) between two lives of two members:
//! exactly once and in order, or not at all because one of the two is gone. The cluster id is checked when a connection
//! comes up. Every message of a transaction carries its epoch; one of another epoch than the receiver's is dropped, since
//! the flush between the two has settled what it was about.

use std::sync::Arc;

use hypermnesia_store::{Ack, Body, Conflict, Key, TableId, Timestamp, TxId, Work};
use serde::{Deserialize, Serialize};

use crate::epoch::{Stage, Standing};
use crate::fetch::{Fetch, Fetched};
use crate::member::NodeSet;
use crate::outcome::Outcome;

/// A message between two members.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Message {
    /// Coordinator to participants: lock, mark, validate, and vote.
    Prepare(Prepare),
    /// Participant to coordinator. A yes is never taken back.
    Vote {
        /// The epoch of the prepare.
        epoch: u64,
        /// The transaction.
        txid: TxId,
        /// What the participant thinks of it.
        vote: Vote,
    },
    /// Coordinator to participants, once all said yes. Queued before the coordinator releases its own locks, so that no
    /// later prepare of the same keys overtakes it.
    Commit {
        /// The epoch of the prepare.
        epoch: u64,
        /// The transaction.
        txid: TxId,
        /// The largest proposal.
        ts: Timestamp,
        /// Whether the coordinator's caller waits until it is applied.
        acknowledge: bool,
    },
    /// Participant to coordinator: applied. Only when asked for.
    Applied {
        /// The epoch of the prepare.
        epoch: u64,
        /// The transaction.
        txid: TxId,
    },
    /// Coordinator to every participant that did not refuse, those that have not voted included.
    Abort {
        /// The epoch of the prepare.
        epoch: u64,
        /// The transaction.
        txid: TxId,
    },
    /// Participant to coordinator: the abort is recorded, at the ack level of the prepare.
    AbortRecorded {
        /// The epoch of the prepare.
        epoch: u64,
        /// The transaction.
        txid: TxId,
    },
    /// Coordinator to participants: my outcomes up to `generation` were sent before this; those up to `settled` may be
    /// forgotten.
    Mark {
        /// The epoch.
        epoch: u64,
        /// The generation it closes.
        generation: u64,
        /// The last generation that all its participants have.
        settled: u64,
    },
    /// Participant to coordinator: everything before that mark is in my log.
    Marked {
        /// The epoch.
        epoch: u64,
        /// The generation of the mark.
        generation: u64,
    },
    /// What became of this transaction?
    Ask {
        /// The transaction.
        txid: TxId,
    },
    /// As far as the sender may say.
    Answer {
        /// The transaction.
        txid: TxId,
        /// What became of it.
        outcome: Outcome,
    },
    /// A step of an epoch change.
    Flush {
        /// The epoch that is to be.
        number: u64,
        /// The step.
        step: FlushStep,
    },
    /// The sender serves all its tables in this epoch.
    Ready {
        /// The epoch.
        epoch: u64,
    },
    /// A step of a copy to a joiner.
    Copy {
        /// The epoch in which it loads.
        epoch: u64,
        /// The table.
        table: TableId,
        /// The step.
        step: CopyStep,
    },
    /// The sender knows the schema of this epoch and takes prepares; of tables that it still loads it keeps what is committed.
    Taking {
        /// The epoch.
        epoch: u64,
    },
    /// A node without a copy of a table to one that has it: these rows, please.
    Fetch {
        /// The epoch in which both are.
        epoch: u64,
        /// The asker's number for it.
        id: u64,
        /// What it wants.
        fetch: Fetch,
    },
    /// The answer.
    Fetched {
        /// The epoch of the question.
        epoch: u64,
        /// The asker's number for it.
        id: u64,
        /// The rows, or why not.
        answer: Fetched,
    },
}

/// Everything a participant needs to vote.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prepare {
    /// The epoch.
    pub epoch: u64,
    /// The transaction.
    pub txid: TxId,
    /// Each table that it touches and who holds it. Participants are all of them together.
    pub holders: Vec<(TableId, NodeSet)>,
    /// Reads with versions, ranges, writes, schema versions.
    pub work: Arc<Work>,
    /// What must have happened before the vote.
    pub level: Ack,
    /// How long the participant may let it wait, in milliseconds.
    pub wait_ms: u32,
}

/// A participant's vote.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Vote {
    /// Locked, marked, validated and, if asked for, logged.
    Yes {
        /// Later than everything it has served or heard.
        proposal: Timestamp,
    },
    /// Nothing is held here, and never was from anyone's point of view.
    Refused(Refusal),
}

/// Why a participant refuses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// Another transaction is in the way, or what was read has changed.
    Conflict(Conflict),
    /// A table has a newer schema version than the transaction noted.
    SchemaChanged,
    /// It waited for its whole time behind others.
    Waited,
    /// The participant cannot take it while it is still loading, or is fenced, or in another epoch.
    NotReady,
    /// The participant has too many transactions under way.
    Overloaded,
    /// A table would have a copy on disc at the participant, which has none.
    NoDisc,
    /// The participant would have to log it, and its log has no space on its disc.
    NoSpace,
    /// The participant would have to log it, and its disc does not take the log as fast as it comes.
    SlowDisc,
}

/// The steps of an epoch change, in order. Who leads it asks, the members answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FlushStep {
    /// The control plane has agreed on this epoch: report when you have heard of it.
    Call,
    /// Stopped taking part in the epoch before: what I have prepared, and where I stand.
    Report(Report),
    /// These transactions are prepared somewhere.
    Inquire(Vec<TxId>),
    /// The outcomes I have records of.
    Known(Vec<(TxId, Outcome)>),
    /// Keep this, tell nobody.
    Stage(Stage),
    /// Kept, durably where there is a log.
    Staged,
}

/// A member's report in an epoch change.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Transactions that it has prepared and has no outcome of, and who holds the tables each touches.
    pub prepared: Vec<(TxId, Vec<(TableId, NodeSet)>)>,
    /// Transactions that it coordinates, in this life, and has not decided. It never will.
    pub undecided: Vec<TxId>,
    /// Its clock: nothing it has ever served or heard is later.
    pub clock: Timestamp,
    /// As a source of data.
    pub standing: Standing,
    /// The tables it knows, and who has a copy by their definition.
    pub tables: Vec<(TableId, NodeSet)>,
}

/// The steps of a copy. The joiner asks, the source answers; one answer is under way at a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CopyStep {
    /// Joiner: is yours the same as mine?
    Request(CopyRequest),
    /// Source: this stays in doubt in this epoch and touches the table; keep it with the rows. Comes before they are complete.
    InDoubt {
        /// The transaction.
        txid: TxId,
        /// What it does.
        work: Arc<Work>,
    },
    /// Source: what became of transactions that who is away may be in doubt about; keep it with the rows. Comes before they are
    /// complete.
    Settled(Vec<(TxId, Outcome)>),
    /// Source: it is.
    Same,
    /// Joiner: send this chunk. Asking for the next one acknowledges those before.
    Next {
        /// Of which rows.
        part: Part,
        /// From 0.
        chunk: u64,
    },
    /// Source: rows of the table, none of them twice, in the order of keys.
    Chunk(CopyChunk),
    /// Joiner: send the digests of your leaves from this one on. Nothing before it is needed any more.
    Compare {
        /// From 0.
        from: u32,
    },
    /// Source: those of the next leaves, in order.
    Digests {
        /// The first of them.
        from: u32,
        /// By leaf.
        digests: Vec<u64>,
    },
    /// Joiner: these leaves differ, send the first chunk of their rows.
    Differ {
        /// A bit for each leaf, the lowest bit of the first byte first.
        leaves: Vec<u8>,
    },
}

/// What a joiner says of its own copy. Only the digest has to be true; the rest says what may be worth a try.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopyRequest {
    /// Over keys, rows and versions, whatever their order.
    pub digest: u64,
    /// How many leaves it has divided its copy in.
    pub leaves: u32,
    /// Keys with a row.
    pub rows: u64,
    /// The newest version: what came before it may be there.
    pub newest: Timestamp,
    /// The last key: an earlier copy may have been interrupted behind it.
    pub last: Option<Key>,
}

/// Which rows of a table are copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Part {
    /// All of them; what is not among them goes.
    Whole,
    /// Those that are newer than the joiner's newest, or behind its last key.
    Newer,
    /// All of the leaves that differ; what is in these leaves and not among them goes.
    Leaves,
}

/// Some rows of a table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopyChunk {
    /// Of which.
    pub part: Part,
    /// From 0.
    pub chunk: u64,
    /// Key, commit timestamp and rows.
    pub rows: Vec<(Key, Timestamp, Body)>,
    /// Nothing of this part comes after it, and this is the digest of the table as the source has it.
    pub last: Option<u64>,
}
