//! Rows of tables that have no copy on the node which wants them: what it asks a member with a copy, and what that one
//! answers. A question names the epoch, and is dropped in another one; the member that answers holds a lease after it has
//! read. Many rows come in chunks: the source keeps its place, and the snapshot, between two of them, for a time.
//!
//! What is read is the newest state of the source, or one that the asker names since it has read something else in it. No
//! snapshot was alive at the source since then, so it says that there is such a state only when nothing that was asked for has
//! changed in between.

use hypermnesia_store::{Body, IndexId, Key, KeyRange, SchemaVersion, TableId, Timestamp, TxId};
use serde::{Deserialize, Serialize};

use crate::effect::{Effect, Unavailable, Why};
use crate::era::Era;
use crate::member::Peer;
use crate::message::Message;
use crate::replica::{Replica, Turn};

/// What a node asks a member that has a copy of a table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fetch {
    /// The table.
    pub table: TableId,
    /// Its definition as the asker knows it.
    pub version: SchemaVersion,
    /// In which state.
    pub at: At,
    /// Which rows.
    pub ask: Ask,
    /// How long the source may wait for what is being committed, in milliseconds.
    pub wait_ms: u32,
}

/// The state that is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum At {
    /// The newest one; not before this timestamp.
    Newest(Timestamp),
    /// That of this timestamp.
    Exactly(Timestamp),
}

impl At {
    /// The timestamp that the source's clock has to reach first.
    pub fn timestamp(self) -> Timestamp {
        match self {
            At::Newest(at) | At::Exactly(at) => at,
        }
    }
}

/// Which rows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ask {
    /// Those of a key.
    Key(Key),
    /// Those within a range.
    Range {
        /// Of the entries of this index; of the keys where there is none.
        index: Option<IndexId>,
        /// The range.
        range: KeyRange,
        /// From its end.
        backward: bool,
        /// At most so many keys, or entries.
        limit: u64,
    },
    /// The next ones of those that were asked for under the same number.
    Next,
    /// No more of them: there is no answer.
    Enough,
    /// None, only how many there are.
    Count,
}

/// What the source answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fetched {
    /// Some rows.
    Rows {
        /// The state that they are of.
        at: Timestamp,
        /// Key, what it holds, and the commit timestamp of that.
        rows: Vec<(Key, Body, Timestamp)>,
        /// There may be more: ask for the next ones.
        more: bool,
    },
    /// How many there are.
    Count(u64),
    /// None.
    Refused {
        /// The source's clock.
        clock: Timestamp,
        /// Why.
        why: NotFetched,
    },
}

/// Why a source answers nothing. Nothing was changed by asking.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NotFetched {
    /// It loads its tables, has no lease, or is about to stop.
    NotReady,
    /// It has too much of this under way.
    Overloaded,
    /// What was asked for is not as it was at the timestamp wanted.
    Changed,
    /// It has another definition of the table than the asker.
    Schema,
    /// This transaction may have committed before, and nobody told the source in time.
    Pending(TxId),
    /// It keeps the place where the asker was no longer.
    Gone,
    /// The asker's clock is too far ahead of its own.
    ClockAhead,
}

impl Replica {
    /// A member that may be asked for rows of a table now, and the epoch to name. Any number picks one of them; another one
    /// than `not` where there is another one.
    ///
    /// # Errors
    /// [`Unavailable`] when there is none: it names one that cannot take part now.
    pub fn holder_to_ask(
        &self,
        table: TableId,
        pick: u64,
        not: Option<Peer>,
    ) -> Result<(Peer, u64), Unavailable> {
        let era = self.shared();
        let here = |why| Unavailable { member: self.me.node, why };
        if !era.is_open() {
            return Err(here(Why::EpochChange));
        }
        if !era.serves(table) {
            return Err(here(Why::Unserved));
        }
        let holders = self.holders_of(&era, table).without(self.at);
        let ready = |at: &usize| {
            let known = &era.peers[*at];
            known.connected && !known.congested && known.ready == era.number()
        };
        let mut sources: Vec<Peer> = holders.iter().filter(ready).map(|at| era.life(at)).collect();
        if sources.len() > 1 {
            sources.retain(|source| Some(*source) != not);
        }
        if sources.is_empty() {
            self.missing(&era, holders)?;
            let loading = holders.iter().next().map(|at| self.slots.node(at));
            let loading = loading.map(|member| Unavailable { member, why: Why::Loading });
            return Err(loading.unwrap_or(here(Why::NoCopies)));
        }
        Ok((sources[(pick % sources.len() as u64) as usize], era.number()))
    }

    /// The number of the epoch that this node takes part in; `None` while there is none.
    pub fn open_epoch(&self) -> Option<u64> {
        let era = self.shared();
        era.is_open().then(|| era.number())
    }

    pub(crate) fn on_fetch(&self, era: &Era, from: usize, id: u64, fetch: Fetch, turn: &mut Turn<'_>) {
        let (to, epoch, table) = (self.peer(era, from), era.number(), fetch.table);
        let known = self.store.table(table).is_some();
        let ready = era.peers[self.at].ready == epoch && era.serves(table);
        if !known || (ready && self.holders_of(era, table).has(self.at)) {
            // One that is not known has been dropped, or is not known yet: whoever reads says so.
            return turn.out.effect(Effect::Fetch { from: to, epoch, id, fetch });
        }
        if fetch.ask != Ask::Enough {
            let answer = Fetched::Refused { clock: self.store.clock().read(), why: NotFetched::NotReady };
            turn.send(to, Message::Fetched { epoch, id, answer });
        }
    }
}
