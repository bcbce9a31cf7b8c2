//! Who serves what: whether local reads are served here, of all tables or of some, and which members take part in what.
//!
//! A member of an open epoch first learns the schema of it, and then takes prepares (*taking*); of tables that it still loads it
//! keeps what is committed (`catchup/tail.rs`). It is *ready* when it has all rows of all its tables. Changes of the schema wait until
//! all are ready: what is loaded has the form that it had when the epoch opened.

use std::sync::atomic::Ordering;

use hypermnesia_store::{TableId, Work};

use crate::catchup::SCHEMA_TABLE;
use crate::effect::{Unavailable, Why};
use crate::era::Era;
use crate::member::{NodeSet, Peer};
use crate::message::Message;
use crate::replica::{Replica, Turn};

impl Replica {
    /// Whether local reads may be served. One atomic load.
    #[inline]
    pub fn is_serving(&self) -> bool {
        self.serving.load(Ordering::Acquire)
    }

    /// Whether it is so of all tables with a copy here, as long as any is served. One atomic load.
    #[inline]
    pub fn serves_all(&self) -> bool {
        !self.partial.load(Ordering::Acquire)
    }

    /// Whether this node's copy of a table has all of it, in the epoch that it is in.
    pub fn serves(&self, table: TableId) -> bool {
        let era = self.shared();
        self.is_local(table) || (era.live && era.serves(table) && !era.lacks.has(table))
    }

    /// Whether some table is still being loaded. Others may be served meanwhile.
    pub fn is_loading(&self) -> bool {
        !self.shared().lacks.is_nothing()
    }

    /// Whether it will be, when it is loaded.
    pub fn loads(&self, table: TableId) -> bool {
        let era = self.shared();
        era.live && era.serves(table) && era.lacks.has(table)
    }

    /// Changes when this node is excluded and when it loads tables: rows come back under other timestamps then, so a snapshot that
    /// was taken before means nothing any more. Who reads on in one looks at this first.
    pub fn tenure(&self) -> u64 {
        self.tenure.load(Ordering::Acquire)
    }

    pub(crate) fn end_tenure(&self) {
        self.tenure.fetch_add(1, Ordering::AcqRel);
    }

    pub(crate) fn serve(&self, whether: bool) {
        self.serving.store(whether, Ordering::Release);
    }

    /// Whether a transaction over these tables could be sent out now.
    ///
    /// # Errors
    /// [`Unavailable`] names the first member that cannot take part.
    pub fn available(&self, tables: &[TableId]) -> Result<(), Unavailable> {
        let era = self.shared();
        let needed = tables.iter().fold(NodeSet::EMPTY, |set, table| set.and(self.holders_of(&era, *table)));
        self.missing(&era, needed)
    }

    /// Whether removing expired rows of a table is this node's part: it is the first that keeps a copy and is ready.
    pub fn sweeps(&self, table: TableId) -> bool {
        let era = self.shared();
        let is_ready = |at: &usize| era.peers[*at].ready == era.number();
        self.holders_of(&era, table).iter().find(is_ready) == Some(self.at)
    }

    /// The first member of a set that cannot take part, if there is one.
    pub(crate) fn missing(&self, era: &Era, needed: NodeSet) -> Result<(), Unavailable> {
        let unavailable = |at: usize, why| Err(Unavailable { member: self.slots.node(at), why });
        for at in needed.without(self.at).iter() {
            let known = &era.peers[at];
            if !known.connected {
                return unavailable(at, Why::NotConnected);
            }
            if known.congested {
                return unavailable(at, Why::Congested);
            }
        }
        if !era.is_open() {
            return unavailable(self.at, Why::EpochChange);
        }
        let loading = needed.iter().find(|at| era.peers[*at].taking != era.number());
        loading.map_or(Ok(()), |at| unavailable(at, Why::Loading))
    }

    /// Whether it changes definitions; then the members of the epoch have to be ready, and the first that is not is named.
    pub(crate) fn waits_with_schema(&self, era: &Era, work: &Work) -> Option<Unavailable> {
        let defines = work.writes.iter().any(|write| write.table == SCHEMA_TABLE);
        let loads = |at: &usize| era.peers[*at].ready != era.number();
        let loading = era.present().iter().find(|at| defines && loads(at))?;
        Some(Unavailable { member: self.slots.node(loading), why: Why::Loading })
    }

    /// Takes prepares from now on.
    pub(crate) fn begin_taking(&self, era: &mut Era, turn: &mut Turn<'_>) {
        let epoch = era.number();
        if era.peers[self.at].taking == epoch {
            return;
        }
        era.peers[self.at].taking = epoch;
        self.tell_others(era, &Message::Taking { epoch }, turn);
    }

    /// A member says that it has all rows of all its tables. When all have them the state they began with is kept no longer.
    pub(crate) fn on_ready(&self, era: &mut Era, from: usize, epoch: u64) {
        let known = &mut era.peers[from];
        (known.taking, known.ready) = (known.taking.max(epoch), known.ready.max(epoch));
        self.let_go_of_base(era);
    }

    pub(crate) fn let_go_of_base(&self, era: &mut Era) {
        let number = era.number();
        if era.present().iter().all(|at| era.peers[at].ready == number) {
            era.base = None;
        }
    }

    /// What a member that has just connected may not have heard of this one.
    pub(crate) fn tell_readiness(&self, era: &Era, to: Peer, turn: &mut Turn<'_>) {
        let (epoch, own) = (era.number(), &era.peers[self.at]);
        if own.ready == epoch && era.complete {
            turn.send(to, Message::Ready { epoch });
        } else if own.taking == epoch {
            turn.send(to, Message::Taking { epoch });
        }
    }
}
