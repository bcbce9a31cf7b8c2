//! What all handles of a node share: the store, this node's part in the agreement, the peers, the log. Events come in from
//! callers' threads, the I/O thread and the log; each is handed to the replica on the thread it came in on, and its effects
//! are carried out by that thread too. Nothing here waits for another thread.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crossbeam::utils::CachePadded;
use hypermnesia_replication::{
    CommitRequest, LogToken, Member, Message, Now, Outcome, Peer, Replica, Reply, Unavailable, Why,
};
use hypermnesia_store::work::{Blocked, Unreadable};
use hypermnesia_store::{
    Body, Incarnation, IndexId, Key, NodeId, SCHEMA_TABLE, Status, Store, Table, TableDef, TableId,
    Timestamp, TxId, Txn,
};
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::carry::Carry;
use crate::continuation::Continuations;
use crate::control::{Membership, Timing};
use crate::disc::Disc;
use crate::drive::Seat;
use crate::error::{Error, Result};
use crate::event::Bus;
use crate::limits::{DEADLINE_DEFAULT, TIDIED_ROWS};
use crate::load::Loads;
use crate::lockers::Lockers;
use crate::peer::Peers;
use crate::reading::Readings;
use crate::remote::Remote;
use crate::sequence::Sequences;
use crate::sweep::Sweep;
use crate::tls::Tls;
use crate::unique::UniqueIds;
use crate::wait::{Alarms, Answer, Parker, deadline_in};

/// Bits of a sequence number below the incarnation: four million transactions per millisecond of a node's life.
const SEQUENCE_BITS: u32 = 22;

/// Parts of the table of waiting callers: well above the number of threads.
const WAITING_PARTS: usize = 64;

/// Callers by the sequence number of their transaction.
type Callers = HashMap<u64, Arc<Answer<Reply>>>;

/// Callers that wait for the reply to a commit.
struct Waiting {
    /// Each guards one part; held for a map operation. A leaf lock.
    parts: Box<[CachePadded<Mutex<Callers>>]>,
    /// How many, more or less: a guess for whoever decides how to write.
    count: CachePadded<AtomicUsize>,
}

impl Waiting {
    fn part(&self, txid: TxId) -> &Mutex<Callers> {
        &self.parts[txid.sequence as usize % WAITING_PARTS]
    }
}

/// See the file's header.
pub(crate) struct Core {
    pub(crate) name: String,
    pub(crate) cluster: String,
    pub(crate) me: Peer,
    /// Where it listens for the other members; empty when it has none.
    pub(crate) peer_address: String,
    /// Without others, and without a way to them.
    alone: bool,
    pub(crate) store: Arc<Store>,
    pub(crate) replica: Replica,
    pub(crate) peers: Peers,
    /// How connections with the others are secured, if they are.
    pub(crate) tls: Option<Tls>,
    pub(crate) disc: Option<Disc>,
    /// With whom, and under which lease.
    pub(crate) membership: Membership,
    pub(crate) alarms: Alarms,
    pub(crate) seat: Seat,
    pub(crate) lockers: Lockers,
    pub(crate) sweep: Sweep,
    pub(crate) loads: Loads,
    pub(crate) continuations: Continuations,
    pub(crate) remote: Remote,
    pub(crate) readings: Readings,
    pub(crate) events: Bus,
    pub(crate) sequences: Sequences,
    pub(crate) unique_ids: UniqueIds,
    waiting: Waiting,
    /// Zero of [`Now::mono_ns`].
    started: Instant,
    /// Of the next transaction.
    sequence: AtomicU64,
    /// No call is begun any more.
    closed: AtomicBool,
    /// Why the node serves no longer, if a part of it failed. Held for a copy.
    failed: Mutex<Option<Error>>,
    /// It failed now.
    failing: Notify,
}

/// What a core is made of.
pub(crate) struct Parts {
    pub(crate) name: String,
    pub(crate) cluster: String,
    pub(crate) peer_address: String,
    /// Without others, and without a way to them.
    pub(crate) alone: bool,
    pub(crate) store: Arc<Store>,
    pub(crate) replica: Replica,
    pub(crate) me: Peer,
    pub(crate) peers: Peers,
    pub(crate) tls: Option<Tls>,
    pub(crate) disc: Option<Disc>,
    pub(crate) timing: Timing,
}

impl Core {
    /// Whether it has no other members, and never will have.
    pub(crate) fn is_alone(&self) -> bool {
        self.alone
    }

    /// All members, as far as this node knows, itself among them.
    pub(crate) fn members(&self) -> impl Iterator<Item = &Member> {
        self.replica.slots().iter().map(|(_, member)| member)
    }

    /// The member with this id, if there is one.
    pub(crate) fn member(&self, node: NodeId) -> Option<&Member> {
        self.members().find(|member| member.node == node)
    }

    pub(crate) fn new(parts: Parts) -> Core {
        let Incarnation(life) = parts.me.incarnation;
        let seat = Seat::new(parts.alone);
        let membership = Membership::new(&parts);
        Core {
            name: parts.name,
            cluster: parts.cluster,
            me: parts.me,
            peer_address: parts.peer_address,
            alone: parts.alone,
            store: parts.store,
            replica: parts.replica,
            peers: parts.peers,
            tls: parts.tls,
            disc: parts.disc,
            membership,
            alarms: Alarms::default(),
            seat,
            lockers: Lockers::new(),
            sweep: Sweep::default(),
            loads: Loads::default(),
            continuations: Continuations::default(),
            remote: Remote::default(),
            readings: Readings::default(),
            events: Bus::default(),
            sequences: Sequences::default(),
            unique_ids: UniqueIds::new(parts.me.node, parts.me.incarnation),
            waiting: Waiting {
                parts: (0..WAITING_PARTS).map(|_| CachePadded::default()).collect(),
                count: CachePadded::default(),
            },
            started: Instant::now(),
            sequence: AtomicU64::new(life << SEQUENCE_BITS),
            closed: AtomicBool::new(false),
            failed: Mutex::new(None),
            failing: Notify::new(),
        }
    }

    /// The moment, for the pure code.
    pub(crate) fn now(&self) -> Now {
        Now { mono_ns: self.started.elapsed().as_nanos() as u64, wall_ms: wall_ms() }
    }

    /// A deadline on the clock of [`Now::mono_ns`].
    pub(crate) fn mono_ns(&self, at: Instant) -> u64 {
        at.saturating_duration_since(self.started).as_nanos() as u64
    }

    /// A name for an attempt. The first attempt of a transaction takes its age from the clock.
    pub(crate) fn next_txid(&self, age: Option<Timestamp>) -> TxId {
        let sequence = self.sequence.fetch_add(1, Ordering::Relaxed);
        TxId { age: age.unwrap_or_else(|| self.store.clock().read()), node: self.me.node, sequence }
    }

    /// Whether calls may begin.
    #[inline]
    pub(crate) fn check_open(&self) -> Result<()> {
        if self.closed.load(Ordering::Acquire) {
            return Err(self.failure().unwrap_or(Error::Closed));
        }
        Ok(())
    }

    /// Whether local reads may be served.
    #[inline]
    pub(crate) fn check_serving(&self) -> Result<()> {
        self.check_open()?;
        if self.replica.is_serving() {
            return Ok(());
        }
        Err(Error::NotReady { waits_for: self.waits_for() })
    }

    /// Who or what is missing before this node serves.
    pub(crate) fn waits_for(&self) -> String {
        let enlisted = |node| self.control().and_then(|control| control.register().enlisted(node).cloned());
        let drained = |node| enlisted(node).is_some_and(|one| one.draining);
        if drained(self.me.node) {
            return "this member is drained: hmn node undrain lets it take part again".to_owned();
        }
        let status = self.replica.status(self.now());
        let missing: Vec<String> = status
            .members
            .iter()
            .filter(|member| !member.connected && !drained(member.node))
            .map(|member| match self.peers.link(member.node).and_then(|link| link.trouble()) {
                Some(trouble) => format!("{} ({trouble})", member.name),
                None => member.name.clone(),
            })
            .collect();
        if !missing.is_empty() {
            return format!("members not connected: {}", missing.join(", "));
        }
        if self.disc.as_ref().is_some_and(Disc::lacks_space) {
            return "space on the disc for the log".to_owned();
        }
        let told =
            self.control().and_then(|control| control.lost_votes(self).or_else(|| control.forgotten(self)));
        if let Some(told) = told.filter(|_| !status.open) {
            return told;
        }
        if !status.open {
            return "an epoch to open".to_owned();
        }
        if self.replica.is_serving() && !self.membership.lease.is_held() {
            return "a lease: this member does not reach most of the others".to_owned();
        }
        "tables being loaded from another member".to_owned()
    }

    /// Whether this node keeps a copy of the table.
    #[inline]
    pub(crate) fn check_copy(&self, def: &TableDef) -> Result<()> {
        match self.has_copy(def) {
            true => self.check_served(def),
            false => Err(self.no_copy(def)),
        }
    }

    /// Whether the rows of a table are to be asked of another member, since there is no copy here.
    pub(crate) fn is_remote(&self, def: &TableDef) -> Result<bool> {
        let here = self.has_copy(def);
        if !here && def.local {
            return Err(self.no_copy(def));
        }
        // One that is being loaded is no hindrance where others have copies.
        match self.check_served(def) {
            Err(_) if here && def.copies.len() > 1 && self.replica.loads(def.id) => Ok(true),
            served => served.map(|()| !here),
        }
    }

    /// Waits for a change of the table's definition that is prepared here: others may follow it already, and write without this
    /// member from then on. Comes before a look at the definition.
    pub(crate) fn await_definition(&self, table: TableId) -> Result<()> {
        let mut deadline = None;
        while let Some(txn) = self.store.changing(table) {
            let until = *deadline.get_or_insert_with(|| deadline_in(DEADLINE_DEFAULT));
            self.wait_for(&txn, &Parker::current(), until)?;
        }
        Ok(())
    }

    fn no_copy(&self, def: &TableDef) -> Error {
        let others = def.copies.iter().filter(|copy| copy.node != self.me.node);
        let members: Vec<_> = others.map(|copy| self.member_name(copy.node)).collect();
        Error::NoCopy { table: def.name.clone(), members: members.join(" or ") }
    }

    /// Whether all of the table is here, or on a member that is.
    #[inline]
    pub(crate) fn check_served(&self, def: &TableDef) -> Result<()> {
        if self.replica.serves_all() || def.local || self.replica.serves(def.id) {
            return Ok(());
        }
        Err(self.unavailable(self.not_served(def)))
    }

    /// Why a table of which there is a copy here is not read here.
    pub(crate) fn not_served(&self, def: &TableDef) -> Unavailable {
        let why = if self.replica.loads(def.id) { Why::Loading } else { Why::Unserved };
        Unavailable { member: self.me.node, why }
    }

    /// Whether a table is read here. Nothing but its definition says so.
    pub(crate) fn has_copy(&self, def: &TableDef) -> bool {
        // Of the system's tables only the schema is on whoever joins.
        def.copy_on(self.me.node).is_some() && self.replica.counts_here(def) || def.id == SCHEMA_TABLE
    }

    /// Whether it is open and takes part, so that its tables may be read.
    #[inline]
    pub(crate) fn is_serving(&self) -> bool {
        !self.is_closed() && self.replica.is_serving()
    }

    /// Whether what concerns one key of a table is decided without the commit protocol: where the only copy is here and
    /// no log waits for it, and no other member can begin a transaction on it.
    pub(crate) fn alone_with(&self, def: &TableDef) -> bool {
        (self.alone || def.local) && self.replica.is_alone_with(def)
    }

    /// A table was loaded that is to have a copy on disc here. Without a disc the node must not take part: others would
    /// acknowledge what it never wrote down. The system's own tables are on disc wherever there is one.
    pub(crate) fn check_disc(&self, table: TableId) {
        let wanted = |table: &Table| {
            let on_disc = table.def().copy_on(self.me.node).is_some_and(|copy| copy.storage.is_on_disc());
            on_disc && !table.def().is_system()
        };
        if self.disc.is_none()
            && let Some(table) = self.store.table(table).filter(|table| wanted(table))
        {
            self.fail(Error::NoDataDirectory { table: table.def().name.clone() });
        }
    }

    /// Looks at what a key holds now: everything acknowledged before the call is seen. Waits for a commit under way. The tenure is
    /// that of before the table was looked up, and in a cluster a snapshot is alive since then.
    #[inline]
    pub(crate) fn latest<R>(
        &self,
        tenure: u64,
        open: &Table,
        key: &Key,
        look: impl FnOnce(&Body) -> R,
    ) -> Result<Option<R>> {
        self.latest_version(tenure, open, key, |body, _| look(body))
    }

    /// As [`Core::latest`], with the commit timestamp.
    pub(crate) fn latest_version<R>(
        &self,
        tenure: u64,
        open: &Table,
        key: &Key,
        look: impl FnOnce(&Body, Timestamp) -> R,
    ) -> Result<Option<R>> {
        let mut look = Some(look);
        let mut deadline = None;
        loop {
            let looked = open.latest_with(key, |body, at| look.take().map(|look| look(body, at)));
            match looked {
                Ok(found) => return self.vouch_beside(open, tenure).map(|()| found.flatten()),
                Err(Blocked::Pending(txn)) => {
                    let until = *deadline.get_or_insert_with(|| deadline_in(DEADLINE_DEFAULT));
                    self.wait_for(&txn, &Parker::current(), until)?;
                }
                Err(Blocked::Raise(_)) => {}
                Err(blocked) => return Err(self.unanswered(blocked)),
            }
        }
    }

    /// Sleeps until woken by another transaction of this node or until the deadline, as [`Parker::park_until`] says.
    pub(crate) fn wait(&self, parker: &Parker, until: Instant) -> bool {
        if self.is_alone() { parker.look_until(until) } else { parker.park_until(until) }
    }

    /// Parks the thread until a transaction is decided here.
    pub(crate) fn wait_for(&self, txn: &Txn, parker: &Parker, until: Instant) -> Result<()> {
        while txn.status.subscribe(parker.waker()) == Status::Pending {
            if !self.wait(parker, until) {
                return Err(Error::InDoubt { txid: txn.id });
            }
        }
        Ok(())
    }

    /// A row on disc could not be read: the node stops, as for every other failure of its disc, and the caller hears why.
    /// Unless the image is only opened again: then the caller may ask again.
    pub(crate) fn unreadable(&self, unreadable: &Unreadable) -> Error {
        self.check_reads();
        if unreadable.passes() {
            let waits_for = "space on the disc: the image of tables on disc alone is opened again".to_owned();
            return self.check_open().err().unwrap_or(Error::NotReady { waits_for });
        }
        let table = self.table_name(unreadable.table);
        let key = unreadable.key.as_ref().map_or_else(String::new, |key| format!("key {key}: "));
        match unreadable.error.is_corruption() {
            true => Error::Damaged { table, reason: format!("{key}{}", unreadable.error) },
            false => Error::Disc(format!("table {table:?}, {key}{}", unreadable.error)),
        }
    }

    /// A member, perhaps this one, could not read a row that was to be changed. It stops.
    pub(crate) fn not_prepared(&self, table: TableId) -> Error {
        self.check_reads();
        let table = self.table_name(table);
        let elsewhere = "another member cannot read a row that was to be changed from its disc, and stops";
        match self.store.disc_fault() {
            None => Error::Damaged { table, reason: elsewhere.to_owned() },
            Some(fault) if fault.is_corruption() => Error::Damaged { table, reason: fault.to_string() },
            Some(fault) => Error::Disc(format!("table {table:?}: {fault}")),
        }
    }

    /// A read that cannot wait, or waits for nobody, was not answered.
    pub(crate) fn unanswered(&self, blocked: Blocked) -> Error {
        match blocked {
            Blocked::Unreadable(unreadable) => self.unreadable(&unreadable),
            Blocked::SchemaChanged(table) => Error::SchemaChanged { table: self.table_name(table) },
            Blocked::Pending(txn) => Error::InDoubt { txid: txn.id },
            Blocked::Raise(_) => Error::Conflict { attempts: 1 },
        }
    }

    /// Stops the node once a row on disc could not be read: whoever met it may not have been a caller.
    fn check_reads(&self) {
        if let Some(fault) = self.store.disc_fault()
            && !self.is_closed()
        {
            self.fail(Error::Disc(fault.to_string()));
        }
    }

    /// The name of a table, for messages.
    pub(crate) fn table_name(&self, id: TableId) -> String {
        self.store.table(id).map_or_else(|| id.to_string(), |table| table.def().name.clone())
    }

    /// The name of an index, for messages.
    pub(crate) fn index_name(&self, table: TableId, index: IndexId) -> String {
        let table = self.store.table(table);
        let found = table.as_ref().and_then(|table| table.def().index(index));
        found.map_or_else(|| index.to_string(), |index| index.name.clone())
    }

    /// The name of a member.
    pub(crate) fn member_name(&self, node: NodeId) -> String {
        self.member(node).map_or_else(|| node.to_string(), |member| member.name.clone())
    }

    /// What a caller hears of a member that cannot take part.
    pub(crate) fn unavailable(&self, away: Unavailable) -> Error {
        Error::Unavailable { member: self.member_name(away.member), why: away.why.to_string() }
    }

    /// Where a member is reached, as far as this node knows.
    pub(crate) fn member_address(&self, node: NodeId) -> String {
        let known = || self.member(node).map(|member| member.address.clone());
        self.peers.link(node).map(|link| link.address()).or_else(known).unwrap_or_default()
    }

    /// Hands a transaction to the commit protocol. The answer comes once.
    pub(crate) fn commit(&self, txn: Arc<Txn>, request: CommitRequest) -> Arc<Answer<Reply>> {
        let answer = Answer::new();
        let txid = txn.id;
        self.event(|core, now, out| {
            if let Some(reply) = core.replica.commit_alone(now, &txn, &request, out) {
                return answer.give(reply);
            }
            core.waiting.part(txid).lock().insert(txid.sequence, Arc::clone(&answer));
            core.waiting.count.fetch_add(1, Ordering::Relaxed);
            core.replica.commit(now, txn, request, out);
        });
        answer
    }

    /// A transaction that was never handed to commit lets go of its locks; whoever waits for them goes on.
    pub(crate) fn abandon(&self, txn: &Arc<Txn>) {
        self.event(|core, now, out| core.replica.abandon(now, txn, out));
    }

    /// A caller's transaction has its reply.
    pub(crate) fn done(&self, txid: TxId, reply: Reply) {
        let answer = self.waiting.part(txid).lock().remove(&txid.sequence);
        if let Some(answer) = answer {
            self.waiting.count.fetch_sub(1, Ordering::Relaxed);
            answer.give(reply);
        }
    }

    /// How many commits wait for their reply, more or less.
    pub(crate) fn commits_under_way(&self) -> usize {
        self.waiting.count.load(Ordering::Relaxed)
    }

    /// A message came in. The effects stay in `out`, so that a reader answers many frames with one write.
    pub(crate) fn on_message(&self, from: Peer, message: Message, out: &mut Carry<'_>) {
        self.replica.on_message(self.now(), from, message, out);
    }

    /// A record is as safe as it had to be.
    pub(crate) fn on_logged(&self, token: LogToken, out: &mut Carry<'_>) {
        self.replica.on_logged(self.now(), token, out);
    }

    /// The stream to a life of a member is up.
    pub(crate) fn on_connected(&self, peer: Peer) {
        self.event(|core, now, out| core.replica.on_connected(now, peer, out));
        if let Some(control) = self.control() {
            control.on_connection(peer, true);
        }
        self.events.connected(peer.node, true);
    }

    /// The stream to a life of a member is down.
    pub(crate) fn on_disconnected(&self, peer: Peer) {
        self.event(|core, now, out| core.replica.on_disconnected(now, peer, out));
        self.remote.on_disconnected(peer);
        if let Some(control) = self.control() {
            control.on_connection(peer, false);
        }
        self.events.connected(peer.node, false);
    }

    /// Time has passed.
    pub(crate) fn tick(&self) {
        let now = self.now();
        self.store.clock().advance(now.wall_ms);
        self.event(|core, now, out| core.replica.on_tick(now, out));
        if let Some(disc) = &self.disc {
            disc.tick(self);
        }
        if self.store.is_untidy() {
            self.store.tidy(TIDIED_ROWS);
        }
        self.check_reads();
        self.sweep.tick(self);
        self.remote.tick(self);
        self.continuations.expire(Instant::now());
        self.alarms.ring(Instant::now());
    }

    /// One event and everything that follows from it.
    pub(crate) fn event(&self, event: impl FnOnce(&Core, Now, &mut Carry<'_>)) {
        let mut out = Carry::new(self);
        event(self, self.now(), &mut out);
        out.finish();
    }

    /// What became of a transaction.
    pub(crate) fn outcome(&self, txid: TxId) -> Outcome {
        self.replica.outcome(txid)
    }

    /// A part of the node failed: nothing is acknowledged or served from here on.
    pub(crate) fn fail(&self, error: Error) {
        let first = {
            let mut failed = self.failed.lock();
            let first = failed.is_none();
            failed.get_or_insert_with(|| error.clone());
            first
        };
        if first {
            tracing::error!(node = %self.name, %error, "the node stops serving");
        }
        self.close();
        self.failing.notify_waiters();
    }

    /// Why a part of the node failed, if one did.
    pub(crate) fn failure(&self) -> Option<Error> {
        self.failed.lock().clone()
    }

    /// Comes back when a part of the node has failed.
    pub(crate) async fn failed(&self) -> Error {
        loop {
            let told = self.failing.notified();
            if let Some(error) = self.failure() {
                return error;
            }
            told.await;
        }
    }

    /// No call begins any more; those that wait for a reply hear that the outcome is unknown.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.store.end_events();
        self.events.end();
        self.peers.close();
        for part in &self.waiting.parts {
            let waiting = std::mem::take(&mut *part.lock());
            waiting.into_values().for_each(|answer| answer.give(Reply::Unknown));
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }
}

/// Milliseconds since 1970 by the wall clock. Nothing that must hold rests on it.
pub(crate) fn wall_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}
