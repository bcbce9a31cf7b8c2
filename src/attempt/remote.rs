//! Tables that have no copy on this node, inside a run. An operation asks a member that has one, parks, and is made again once
//! the answer is here; until it has its own answer, what it was told is kept.
//!
//! Where nothing was read before, what is asked for is the newest state, and the snapshot moves there. Else it is the state of
//! the snapshot, and a member that finds that something has changed since says so: the run would not be committed anyway.

use std::collections::HashMap;
use std::sync::Arc;
use std::task::Waker;
use std::time::Instant;

use hypermnesia_replication::fetch::{Ask, At, NotFetched};
use hypermnesia_replication::{Peer, Unavailable, Why};
use hypermnesia_store::{Body, Found, IndexDef, Key, Row, Status, Table, TableId, Timestamp};

use super::{Attempt, Lost, Pause, Step};
use crate::error::Error;
use crate::limits::{FETCH_WAIT_MAX, TICK};
use crate::options::Span;
use crate::remote::{Asking, Unanswered, Whole};
use crate::table::remote::ask_for;

/// See the file's header.
#[derive(Default)]
pub(super) struct Remote {
    /// The epoch of all answers so far.
    epoch: Option<u64>,
    /// Under way.
    asking: Vec<(TableId, Ask, Asking)>,
    /// What keys hold, for the present operation.
    keys: HashMap<(TableId, Key), Option<(Body, Timestamp)>>,
    /// What ranges hold, for the present operation.
    ranges: Vec<(TableId, Ask, Vec<Found>)>,
}

impl Remote {
    /// Whether something was read.
    pub(super) fn is_touched(&self) -> bool {
        self.epoch.is_some()
    }

    /// An operation is over. What another one waits for stays: it may be one of another task.
    pub(super) fn stepped(&mut self) {
        self.keys.clear();
        self.ranges.clear();
    }
}

impl Attempt {
    /// Whether a table is to be read on another member.
    pub(super) fn is_remote(&mut self, table: &Arc<Table>, waker: &Waker) -> Step<bool> {
        self.await_definition(table, waker)?;
        if !self.core.is_remote(table.def())? {
            return Ok(false);
        }
        if self.core.replica.tenure() != self.tenure {
            return Err(self.lose(Lost::Conflict(None)));
        }
        self.touch(table).map(|()| true)
    }

    /// As [`Core::await_definition`](crate::core::Core::await_definition). Who waits for what this run has locked may be what the
    /// change waits for.
    fn await_definition(&mut self, table: &Arc<Table>, waker: &Waker) -> Step<()> {
        while let Some(txn) = self.core.store.changing(table.id()) {
            if self.locks {
                return Err(self.lose(Lost::Conflict(Some(txn.id))));
            }
            if txn.status.subscribe(waker) == Status::Pending {
                return Err(Pause::Parked(Some(txn.id)));
            }
        }
        match table.is_current() {
            true => Ok(()),
            false => Err(self.lose(Lost::Schema(table.id()))),
        }
    }

    pub(super) fn read_from_afar(
        &mut self,
        table: &Arc<Table>,
        key: &Key,
        waker: &Waker,
    ) -> Step<Option<Body>> {
        let (id, kind) = (table.id(), table.def().kind);
        if let Some(own) = self.overlay.alone(id, kind, key) {
            return Ok(own);
        }
        let found = self.key_from_afar(table, key, waker)?;
        self.note_read(id, key, found.as_ref().map_or(Timestamp::NEVER, |(_, at)| *at))?;
        Ok(self.overlay.over(id, kind, key, found.map(|(body, _)| body)))
    }

    pub(super) fn scan_from_afar(
        &mut self,
        table: &Arc<Table>,
        span: &Span,
        waker: &Waker,
    ) -> Step<Vec<(Key, Body)>> {
        // Each own write hides one row at most.
        let own = self.overlay.keys_in(table.id(), &span.range).len();
        let asked = span.clone().limit(span.limit.saturating_add(own));
        let rows = self.range_from_afar(table, ask_for(None, &asked), waker)?;
        let overlaid = self.overlaid(table.def(), span, rows.into_iter().map(Ok));
        let (found, range) = overlaid.expect("rows that are here block nobody");
        self.note_range(table.id(), None, range);
        Ok(found)
    }

    pub(super) fn index_scan_from_afar(
        &mut self,
        table: &Arc<Table>,
        index: &IndexDef,
        span: &Span,
        waker: &Waker,
    ) -> Step<Vec<(Key, Row)>> {
        let (def, id) = (table.def(), table.id());
        let written = self.overlay.keys_in(id, &hypermnesia_store::KeyRange::all());
        let limit = if written.is_empty() { span.limit } else { usize::MAX };
        let rows = self.range_from_afar(table, ask_for(Some(index.id), &span.clone().limit(limit)), waker)?;
        let mut committed = HashMap::new();
        for key in written {
            if self.overlay.alone(id, def.kind, &key).is_none() {
                let found = self.key_from_afar(table, &key, waker)?;
                committed.insert(key, found.map(|(body, _)| body));
            }
        }
        let look = |key: &Key| Ok(committed.get(key).cloned().flatten());
        let overlaid = self.index_overlaid(def, index, span, rows.into_iter().map(Ok), look);
        self.note_range(id, Some(index.id), span.range.clone());
        Ok(overlaid.expect("rows that are here block nobody"))
    }

    fn key_from_afar(
        &mut self,
        table: &Arc<Table>,
        key: &Key,
        waker: &Waker,
    ) -> Step<Option<(Body, Timestamp)>> {
        if let Some(known) = self.remote.keys.get(&(table.id(), key.clone())) {
            return Ok(known.clone());
        }
        let rows = self.ask(table, &Ask::Key(key.clone()), waker)?;
        let found = rows.into_iter().next().map(|(_, body, at)| (body, at));
        self.remote.keys.insert((table.id(), key.clone()), found.clone());
        Ok(found)
    }

    fn range_from_afar(&mut self, table: &Arc<Table>, ask: Ask, waker: &Waker) -> Step<Vec<Found>> {
        let id = table.id();
        let known = self.remote.ranges.iter().find(|(of, known, _)| *of == id && *known == ask);
        if let Some((.., rows)) = known {
            return Ok(rows.clone());
        }
        let rows = self.ask(table, &ask, waker)?;
        self.remote.ranges.push((id, ask, rows.clone()));
        Ok(rows)
    }

    /// Asks, or looks whether the answer has come.
    fn ask(&mut self, table: &Arc<Table>, ask: &Ask, waker: &Waker) -> Step<Vec<Found>> {
        loop {
            let under_way = |(of, asked, _): &(TableId, Ask, Asking)| *of == table.id() && asked == ask;
            let Some(at) = self.remote.asking.iter().position(under_way) else {
                let state = self.snapshot.at();
                let state = if self.fixed { At::Exactly(state) } else { At::Newest(state) };
                // Who waits for what this run has locked may be what the member waits for.
                let patience = if self.locks { TICK } else { FETCH_WAIT_MAX };
                let by = (self.deadline, patience);
                let asking = Asking::begin(&self.core, table, state, ask.clone(), by, None)
                    .map_err(|why| self.on_unanswered(table, None, why))?;
                self.remote.asking.push((table.id(), ask.clone(), asking));
                continue;
            };
            let Some(told) = self.remote.asking[at].2.poll(waker) else { return Err(Pause::Parked(None)) };
            let (.., asking) = self.remote.asking.swap_remove(at);
            match told {
                Ok(whole) => {
                    if let Some(rows) = self.on_answer(asking.epoch, whole)? {
                        return Ok(rows);
                    }
                }
                Err(Unanswered::Refused(NotFetched::Pending(txid))) => {
                    if Instant::now() + TICK >= self.deadline {
                        return Err(Error::InDoubt { txid }.into());
                    }
                    // As for a lock: the older one of two may wait for the younger one, and never the other way round too.
                    if self.locks && txid < self.id {
                        return Err(self.lose(Lost::Conflict(Some(txid))));
                    }
                }
                Err(why) => return Err(self.on_unanswered(table, Some(asking.to), why)),
            }
        }
    }

    /// The rows, unless something else was read meanwhile and they are of another state.
    fn on_answer(&mut self, epoch: u64, whole: Whole) -> Step<Option<Vec<Found>>> {
        // Rows come under other timestamps in another epoch, perhaps.
        if *self.remote.epoch.get_or_insert(epoch) != epoch {
            return Err(self.lose(Lost::Conflict(None)));
        }
        if !self.fixed {
            self.snapshot.raise(whole.at);
        }
        if self.snapshot.at() != whole.at {
            return Ok(None);
        }
        self.fixed = true;
        Ok(Some(whole.rows))
    }

    fn on_unanswered(&mut self, table: &Arc<Table>, asked: Option<Peer>, why: Unanswered) -> Pause {
        let member = asked.map_or(self.core.me.node, |peer| peer.node);
        match why {
            Unanswered::Failed(error) => error.into(),
            Unanswered::Away(away) => match away.why {
                Why::NotConnected | Why::Loading | Why::EpochChange | Why::Congested => {
                    self.lose(Lost::Away(away))
                }
                _ => self.core.unavailable(away).into(),
            },
            Unanswered::Refused(NotFetched::Changed | NotFetched::Pending(_)) => {
                self.lose(Lost::Conflict(None))
            }
            Unanswered::Refused(NotFetched::Schema) => self.lose(Lost::Schema(table.id())),
            Unanswered::Refused(NotFetched::NotReady | NotFetched::Gone) => {
                self.lose(Lost::Away(Unavailable { member, why: Why::Loading }))
            }
            Unanswered::Refused(NotFetched::Overloaded) => {
                Error::Overloaded { what: "reads at a member that has a copy" }.into()
            }
            Unanswered::Refused(NotFetched::ClockAhead) => {
                let why = "has a clock that is too far from this member's".to_owned();
                Error::Unavailable { member: self.core.member_name(member), why }.into()
            }
        }
    }
}
