//! The runs of one transaction: how often it runs again after a conflict, at which age, how long it lets others finish, and
//! what the reply to its commit means. Threads and tasks use the same.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hypermnesia_replication::limits::ABORT_GRACE_NS;
use hypermnesia_replication::{CommitRequest, Reply, Unavailable, Why};
use hypermnesia_store::work::Conflict;
use hypermnesia_store::{Key, TableId, Timestamp, TxId, Txn};

use crate::attempt::{Attempt, Lost, lost_by};
use crate::core::Core;
use crate::error::{Error, Result};
use crate::limits::{OPTIMISTIC_RUNS, TICK, YIELDS_MAX};
use crate::options::TxOptions;
use crate::request;
use crate::running;
use crate::spin::spun;
use crate::vouch::passes;
use crate::wait::{Answer, Parker, deadline_in, without_blocking_others};

/// Before its deadline by no more than this a transaction is given up for its sake.
const ABORT_GRACE: Duration = Duration::from_nanos(ABORT_GRACE_NS);

/// How long a caller waits past its deadline for the word of the commit protocol, which comes at the deadline.
const WORD_GRACE: Duration = Duration::from_secs(2);

/// Different lengths of the pause after a conflict.
const SHARES: u64 = 4;

/// Whether a run that had nothing to commit counts: not where what it read may be of two states.
pub(crate) fn run_again_at_end(vouched: Result<()>) -> Result<Option<Lost>> {
    match vouched {
        Ok(()) => Ok(None),
        Err(error) if passes(&error) => Ok(Some(Lost::Conflict(None))),
        Err(error) => Err(error),
    }
}

/// The runs of one transaction.
pub(crate) struct Runs {
    core: Arc<Core>,
    options: TxOptions,
    pub(crate) deadline: Instant,
    age: Option<Timestamp>,
    /// Of the first run.
    first_sequence: u64,
    conflicts: u32,
    /// Since when members that are needed are away, in all runs together.
    away_since: Option<Instant>,
    /// Tables that may have to make room behind the last run.
    bounded: Vec<Arc<hypermnesia_store::Table>>,
    /// What the last run wrote.
    pub(crate) queue: Vec<(TableId, Key)>,
}

impl Runs {
    pub(crate) fn begin(core: &Arc<Core>, options: &TxOptions) -> Result<Runs> {
        core.check_serving()?;
        if options.deadline.is_zero() {
            return Err(Error::DeadlineExceeded);
        }
        Ok(Runs {
            core: Arc::clone(core),
            options: options.clone(),
            deadline: deadline_in(options.deadline),
            age: None,
            first_sequence: 0,
            bounded: Vec::new(),
            conflicts: 0,
            away_since: None,
            queue: Vec::new(),
        })
    }

    pub(crate) fn attempt(&mut self) -> Attempt {
        let id = self.core.next_txid(self.age);
        if self.age.is_none() {
            (self.age, self.first_sequence) = (Some(id.age), id.sequence);
        }
        let locking = self.options.locking || self.conflicts >= OPTIMISTIC_RUNS;
        Attempt::new(&self.core, id, self.deadline, locking)
    }

    /// Keeps what this run wrote for the next one, or what it was queueing on when it wrote nothing.
    pub(crate) fn remember(&mut self, attempt: &Attempt, queued: Vec<(TableId, Key)>) {
        let written = attempt.overlay.written();
        self.queue = if written.is_empty() { queued } else { written };
        self.bounded = attempt.bounded();
    }

    /// Whether it may run again.
    pub(crate) fn again(&mut self, lost: &Lost) -> Result<()> {
        if self.core.is_closed() {
            return self.core.check_open();
        }
        if let Lost::Away(away) = lost {
            return self.may_come(*away);
        }
        self.conflicts += 1;
        if let Lost::Conflict(Some(holder)) = lost {
            running::check_holder(&self.core, *holder)?;
        }
        if self.conflicts <= self.options.retries && Instant::now() < self.deadline {
            return Ok(());
        }
        Err(match lost {
            Lost::Conflict(_) => Error::Conflict { attempts: self.conflicts },
            Lost::Schema(table) => Error::SchemaChanged { table: self.core.table_name(*table) },
            Lost::Away(away) => self.away(*away),
        })
    }

    /// Whether it may run again although a member is away: one that loads is waited for, and so is an epoch; one without a connection
    /// for as long as the others take to go on without it.
    fn may_come(&mut self, away: Unavailable) -> Result<()> {
        let now = Instant::now();
        let since = *self.away_since.get_or_insert(now);
        let until = match away.why {
            Why::NotConnected => self.deadline.min(since + self.core.membership.timing.read_wait),
            _ => self.deadline,
        };
        if now + TICK < until { Ok(()) } else { Err(self.away(away)) }
    }

    fn away(&self, away: Unavailable) -> Error {
        self.core.unavailable(away)
    }

    /// Lets the others finish before the next run of a thread: the one that was in the way, if this node knows it; else for
    /// nothing at first, then up to a few milliseconds. On a node that is alone whoever was in the way is done, or is just
    /// being committed by another thread, which takes less than the shortest sleep.
    pub(crate) fn breathe(&self, lost: &Lost) {
        match self.in_the_way(lost) {
            // In doubt until the deadline: the next run says so.
            Some(txn) => drop(self.core.wait_for(&txn, &Parker::current(), self.deadline)),
            None if self.core.is_alone() && self.conflicts <= YIELDS_MAX => std::thread::yield_now(),
            None => without_blocking_others(|| std::thread::sleep(self.pause(lost))),
        }
    }

    /// The transaction that lost this one its run, as long as it is under way here.
    pub(crate) fn in_the_way(&self, lost: &Lost) -> Option<Arc<Txn>> {
        match lost {
            Lost::Conflict(Some(holder)) => {
                self.core.replica.under_way(*holder).or_else(|| self.core.lockers.get(*holder))
            }
            Lost::Conflict(None) | Lost::Schema(_) | Lost::Away(_) => None,
        }
    }

    /// How long to wait for others that are not known here. Two that refuse each other (each has read what the other
    /// writes) would go on to do so if both waited alike: those that began one behind the other wait differently long, the
    /// first time some of them not at all.
    fn moment_for_others(&self) -> Duration {
        let share = (self.first_sequence + u64::from(self.core.me.node.0)) % SHARES;
        let pause = Duration::from_micros((20 << self.conflicts.clamp(1, 8)) / 2 * share);
        pause.min(self.deadline.saturating_duration_since(Instant::now()))
    }

    /// How long the next run waits where nobody is known whom to wait for.
    pub(crate) fn pause(&self, lost: &Lost) -> Duration {
        if matches!(lost, Lost::Away(_)) { TICK } else { self.moment_for_others() }
    }

    /// Conflicts so far.
    pub(crate) fn conflicts(&self) -> u32 {
        self.conflicts
    }

    /// Hands the run over; nothing to wait for when it has nothing that others have to agree on.
    pub(crate) fn hand_over(&self, mut attempt: Attempt) -> Option<(TxId, Arc<Answer<Reply>>)> {
        if !attempt.is_to_be_agreed() {
            attempt.end();
            return None;
        }
        let id = attempt.id;
        let (txn, work, ack) = attempt.finish();
        // Its snapshot goes first: what the commit replaces need not be kept for it.
        drop(attempt);
        let request = CommitRequest {
            work: Arc::new(work),
            ack: self.options.ack.map_or(ack, |wanted| wanted.max(ack)),
            sync: self.options.sync,
            deadline_ns: self.core.mono_ns(self.deadline),
        };
        Some((id, self.core.commit(txn, request)))
    }

    pub(crate) fn commit(&self, attempt: Attempt) -> Result<Option<Lost>> {
        running::check_writes(&self.core, attempt.id, attempt.overlay.writes())?;
        let tenure = attempt.tenure;
        match self.hand_over(attempt) {
            None => run_again_at_end(self.core.vouch(tenure)),
            Some((id, answer)) => {
                self.core.drive(&answer);
                if self.core.is_alone() && !answer.is_given() {
                    spun(|| answer.is_given());
                }
                let reply = answer.wait(self.deadline + WORD_GRACE).unwrap_or(Reply::Unknown);
                self.judge(id, reply).map(|verdict| verdict.err())
            }
        }
    }

    /// What a reply means: committed, another run, or the end.
    pub(crate) fn judge(&self, id: TxId, reply: Reply) -> Result<Result<Timestamp, Lost>> {
        match reply {
            Reply::Committed(at) => {
                self.bounded.iter().for_each(|table| self.core.sweep.make_room(&self.core, table));
                Ok(Ok(at))
            }
            Reply::Conflict(conflict) => match lost_by(&conflict) {
                Some(lost) => Ok(Err(lost)),
                None => Err(self.hopeless(&conflict)),
            },
            Reply::SchemaChanged => Ok(Err(Lost::Schema(TableId(0)))),
            // It never happened: a member whose vote was missing is gone, and the deadline is far.
            Reply::TimedOut if self.deadline.saturating_duration_since(Instant::now()) > ABORT_GRACE => {
                Ok(Err(Lost::Away(Unavailable { member: self.core.me.node, why: Why::EpochChange })))
            }
            Reply::TimedOut => Err(Error::DeadlineExceeded),
            Reply::Unavailable(away) => match away.why {
                Why::NotConnected | Why::Loading | Why::EpochChange => Ok(Err(Lost::Away(away))),
                _ => Err(self.away(away)),
            },
            Reply::Overloaded => Err(Error::Overloaded { what: "transactions under way" }),
            Reply::Unknown => Err(Error::Unknown { txid: id }),
        }
    }

    fn hopeless(&self, conflict: &Conflict) -> Error {
        match conflict {
            Conflict::Unique { table, index, value, .. } => Error::Unique {
                table: self.core.table_name(*table),
                index: self.core.index_name(*table, *index),
                key: value.to_string(),
            },
            Conflict::Unfit { table, key } => {
                Error::IndexEntryTooLong { table: self.core.table_name(*table), key: key.to_string() }
            }
            Conflict::Unreadable { table } => self.core.not_prepared(*table),
            Conflict::Full { table } => match self.core.table_name(*table) {
                name if name == request::TABLE => Error::RequestsFull,
                name => Error::TableFull { table: name },
            },
            Conflict::OutOfMemory { member, held, most } => {
                Error::MemoryFull { member: self.core.member_name(*member), held: *held, bound: *most }
            }
            Conflict::Oversized { table, key, bytes } => self.oversized(*table, key, *bytes),
            other => Error::abort(other.to_string()),
        }
    }

    fn oversized(&self, table: TableId, key: &Key, bytes: u64) -> Error {
        let bound = self.core.store.table(table).and_then(|table| table.def().retention.row_bytes_max());
        let bound = bound.unwrap_or_default();
        Error::RowTooLarge { table: self.core.table_name(table), key: key.to_string(), bytes, bound }
    }

    /// When a caller gives up waiting for the word of the protocol.
    pub(crate) fn word_by(&self) -> Instant {
        self.deadline + WORD_GRACE
    }
}
