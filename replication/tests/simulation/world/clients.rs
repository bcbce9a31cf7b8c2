//! The clients of the world: what they run, what they see, and what they are told.

use std::collections::BTreeMap;

use hypermnesia_history::{Found, Op, Outcome as Told, Transaction};
use hypermnesia_replication::{CommitRequest, Outcome, Reply};
use hypermnesia_store::{Ack, Blocked, Incarnation, Timestamp, TxId};

use super::{ACCOUNTS, LISTS, MS, OPENING_BALANCE, Thing, US, World};
use crate::client::{Attempt, Plan, Which};
use crate::planted::Planted;
use crate::room;

impl World {
    pub(super) fn client(&mut self, client: usize) {
        if self.clients[client].attempt.as_ref().is_some_and(|attempt| attempt.committing) {
            return;
        }
        if self.now_ns < self.quiet_until_ns {
            return self.later(self.quiet_until_ns - self.now_ns, Thing::Client(client));
        }
        if self.clients[client].plan.is_none() && !self.begins(client) {
            return;
        }
        if self.clients[client].attempt.is_none() && !self.attempts(client) {
            let again = self.rng.between(MS, 5 * MS);
            return self.later(again, Thing::Client(client));
        }
        if self.clients[client].plan.is_none() {
            return;
        }
        if self.now_ns > self.clients[client].deadline_ns {
            return self.ends(client, Told::Failed);
        }
        self.reads_on(client);
    }

    pub(super) fn begins(&mut self, client: usize) -> bool {
        if self.begun >= self.shape.transactions {
            return false;
        }
        self.begun += 1;
        let plan = match self.rng.below(10) {
            0..=4 => {
                let mut reads: Vec<u64> = (0..LISTS).filter(|_| self.rng.chance(1, 2)).collect();
                let mut appends = Vec::new();
                for key in 0..LISTS {
                    if self.rng.chance(1, 3) || (key == LISTS - 1 && appends.is_empty()) {
                        appends.push((key, self.next_value));
                        self.next_value += 1;
                        reads.push(key);
                    }
                }
                reads.sort_unstable();
                reads.dedup();
                Plan::Append { reads, appends }
            }
            5..=8 => {
                let from = self.rng.below(ACCOUNTS);
                let to = (from + 1 + self.rng.below(ACCOUNTS - 1)) % ACCOUNTS;
                let amount = self.rng.between(1, 30) as i64;
                if self.rng.chance(1, 2) {
                    Plan::Transfer { from, to, amount }
                } else {
                    self.next_value += 1;
                    let append = (self.rng.below(LISTS), self.next_value - 1);
                    Plan::Book { from, to, amount, append }
                }
            }
            _ => Plan::Look,
        };
        let defines = self.shape.definitions && self.rng.chance(1, 4);
        let which = || if self.begun.is_multiple_of(2) { Which::Lists } else { Which::Accounts };
        let plan = if defines { Plan::Define(which()) } else { plan };
        let one = &mut self.clients[client];
        one.plan = Some(plan);
        one.invoked_ns = self.now_ns;
        one.deadline_ns = self.now_ns + self.rng.between(40, 400) * MS;
        (one.age, one.tries) = (None, 0);
        true
    }

    /// Begins an attempt on some node that serves.
    pub(super) fn attempts(&mut self, client: usize) -> bool {
        if self.now_ns > self.clients[client].deadline_ns {
            self.ends(client, Told::Failed);
            return true;
        }
        let node = self.rng.below(self.nodes.len() as u64) as usize;
        let (lists, accounts) = match self.clients[client].plan.as_ref().expect("it has begun") {
            Plan::Append { .. } => (true, false),
            Plan::Transfer { .. } => (false, true),
            Plan::Book { .. } | Plan::Look => (true, true),
            Plan::Define(_) => (false, false),
        };
        let holds = |which| room::holders(which, self.nodes.len()).contains(&node);
        if (lists && !holds(Which::Lists)) || (accounts && !holds(Which::Accounts)) {
            return false;
        }
        let shows = !self.is_asleep(node) && self.may_show(node) && self.serves(node, lists, accounts);
        let Some(life) = self.nodes[node].life.as_mut().filter(|life| shows && life.replica.is_serving())
        else {
            return false;
        };
        let tenure = life.replica.tenure();
        let snapshot = life.store.snapshot();
        let one = &mut self.clients[client];
        let age = *one.age.get_or_insert(snapshot.at());
        life.sequence += 1;
        let txid = TxId { age, node: self.members[node].node, sequence: life.sequence };
        let mut to_read = match one.plan.as_ref().expect("it has begun") {
            Plan::Append { reads, .. } => reads.iter().map(|key| (Which::Lists, *key)).collect(),
            Plan::Transfer { from, to, .. } => vec![(Which::Accounts, *from), (Which::Accounts, *to)],
            Plan::Book { from, to, append, .. } => {
                vec![(Which::Accounts, *from), (Which::Accounts, *to), (Which::Lists, append.0)]
            }
            Plan::Look => {
                let lists = (0..LISTS).map(|key| (Which::Lists, key));
                lists.chain((0..ACCOUNTS).map(|key| (Which::Accounts, key))).collect::<Vec<_>>()
            }
            Plan::Define(_) => Vec::new(),
        };
        for at in (1..to_read.len()).rev() {
            to_read.swap(at, self.rng.below(at as u64 + 1) as usize);
        }
        one.attempt = Some(Attempt {
            node,
            incarnation: life.incarnation.0,
            txid,
            tenure,
            versions: room::versions(&life.store),
            snapshot,
            to_read,
            lists: BTreeMap::new(),
            balances: BTreeMap::new(),
            committing: false,
        });
        true
    }

    /// Reads one key, and after the last one commits.
    pub(super) fn reads_on(&mut self, client: usize) {
        let may = |attempt: &Attempt| {
            let wants = |wanted| attempt.to_read.iter().any(|(which, _)| *which == wanted);
            let serves = self.serves(attempt.node, wants(Which::Lists), wants(Which::Accounts));
            let life = self.nodes[attempt.node].life.as_ref();
            let same = life.is_some_and(|life| life.replica.tenure() == attempt.tenure);
            self.may_show(attempt.node) && serves && same
        };
        let shows = self.clients[client].attempt.as_ref().is_some_and(may);
        if !shows {
            // Its lease ran out: it shows nothing, and begins anew elsewhere.
            self.clients[client].attempt = None;
            return self.later(MS, Thing::Client(client));
        }
        let Some(attempt) = self.clients[client].attempt.as_mut() else { return };
        let life = self.nodes[attempt.node].life.as_ref().expect("a crash ends its attempts");
        assert_eq!(life.incarnation, Incarnation(attempt.incarnation));
        let Some((which, key)) = attempt.to_read.last().copied() else { return self.commits(client) };
        let mut result = room::read(&life.store, which, key, attempt.snapshot.at());
        let dirty = match &result {
            Err(Blocked::Pending(_)) => self.shape.planted == Planted::ReadIgnoresMarks,
            Err(Blocked::Raise(_)) => self.shape.planted == Planted::ReadNeverRaised,
            _ => false,
        };
        if dirty {
            result = Ok(room::below(&life.store, which, key, attempt.snapshot.at()));
        }
        match result {
            Ok(found) => {
                attempt.to_read.pop();
                let version = found.as_ref().map_or(Timestamp::NEVER, |(_, ts)| *ts);
                let body = found.map(|(body, _)| body);
                match which {
                    Which::Lists => {
                        attempt.lists.insert(key, (body.as_ref().map_or_else(Vec::new, room::list), version));
                    }
                    Which::Accounts => {
                        let balance = body.as_ref().map_or(OPENING_BALANCE, room::balance);
                        attempt.balances.insert(key, (balance, version));
                    }
                }
                let again = if attempt.to_read.is_empty() { 0 } else { 1 };
                let after = again * self.rng.between(1, 300 * US);
                self.later(after, Thing::Client(client));
            }
            Err(Blocked::Pending(_)) => self.later(MS, Thing::Client(client)),
            Err(_) => {
                // Begins anew at a later snapshot; nothing was shown.
                self.clients[client].attempt = None;
                self.later(100 * US, Thing::Client(client));
            }
        }
    }

    pub(super) fn commits(&mut self, client: usize) {
        let one = &self.clients[client];
        let attempt = one.attempt.as_ref().expect("it has read");
        let mut work = match one.plan.as_ref().expect("it has begun") {
            Plan::Look => {
                let sum: i64 = attempt.balances.values().map(|(balance, _)| balance).sum();
                if sum != OPENING_BALANCE * ACCOUNTS as i64 && !self.shape.forgets {
                    self.broken = Some(format!("a snapshot on n{} sums to {sum}", attempt.node + 1));
                }
                return self.ends(client, Told::Ok);
            }
            Plan::Append { appends, .. } => room::work(&attempt.lists, &attempt.balances, appends, None),
            Plan::Transfer { from, to, amount } => {
                room::work(&attempt.lists, &attempt.balances, &[], Some((*from, *to, *amount)))
            }
            Plan::Book { from, to, amount, append } => {
                room::work(&attempt.lists, &attempt.balances, &[*append], Some((*from, *to, *amount)))
            }
            Plan::Define(which) => {
                let store = &self.nodes[attempt.node].life.as_ref().expect("a crash ends its attempts").store;
                let Ok(work) = room::redefine(store, *which, attempt.snapshot.at()) else {
                    // Somebody else is changing it.
                    self.clients[client].attempt = None;
                    return self.later(MS, Thing::Client(client));
                };
                // A cluster whose founders ended together before anybody was told anything has no definitions.
                let Some(work) = work else { return self.ends(client, Told::Failed) };
                work
            }
        };
        for (table, version) in &mut work.schema {
            let noted = attempt.versions.iter().find(|(known, _)| known == table);
            *version = noted.map_or(*version, |(_, noted)| *noted);
        }
        let (node, txid, deadline_ns) = (attempt.node, attempt.txid, one.deadline_ns);
        room::stir(&mut work, &mut self.rng);
        let sync = self.rng.chance(1, 8);
        self.clients[client].attempt.as_mut().expect("it has read").committing = true;
        self.waiting.insert(txid, client);
        let life = self.nodes[node].life.as_ref().expect("a crash ends its attempts");
        let txn = life.store.begin(txid);
        let request = CommitRequest { work: work.into(), ack: Ack::Logged, sync, deadline_ns };
        self.say(|| format!("client {client} commits {txid} on n{}", node + 1));
        self.call(node, |replica, now, out| replica.commit(now, txn, request, out));
    }

    pub(super) fn done(&mut self, node: usize, txid: TxId, reply: Reply) {
        self.say(|| format!("n{} tells {txid}: {reply:?}", node + 1));
        let Some(client) = self.waiting.remove(&txid) else {
            if self.shape.planted == Planted::Nothing {
                self.broken = Some(format!("{txid} was answered twice"));
            }
            return;
        };
        match reply {
            Reply::Committed(ts) => {
                self.tell(txid, Outcome::Committed(ts));
                self.ends(client, Told::Ok);
            }
            Reply::Unknown => {
                self.unknowns += 1;
                let lie = self.shape.planted == Planted::UnknownIsAborted;
                self.ends(client, if lie { Told::Failed } else { Told::Unknown });
            }
            _ => {
                self.tell(txid, Outcome::Aborted);
                self.clients[client].tries += 1;
                self.clients[client].attempt = None;
                let again = self.rng.between(100 * US, 3 * MS) * u64::from(self.clients[client].tries);
                if self.clients[client].tries > 12 {
                    return self.ends(client, Told::Failed);
                }
                self.later(again, Thing::Client(client));
            }
        }
    }

    pub(super) fn ends(&mut self, client: usize, outcome: Told) {
        let one = &mut self.clients[client];
        let attempt = one.attempt.take();
        let plan = one.plan.take().expect("it has begun");
        if let Some(attempt) = &attempt {
            self.waiting.remove(&attempt.txid);
        }
        let appends = match plan {
            Plan::Append { appends, .. } => appends,
            Plan::Book { append, .. } => vec![append],
            Plan::Transfer { .. } | Plan::Look => Vec::new(),
            Plan::Define(_) => {
                self.defined += u64::from(outcome == Told::Ok);
                Vec::new()
            }
        };
        let appends = appends.into_iter().map(|(key, value)| Op::Append { key, value });
        let lists = attempt.as_ref().map(|attempt| &attempt.lists).into_iter().flatten();
        let reads = lists.map(|(key, (list, _))| Op::Read { key: *key, found: Found::List(list.clone()) });
        self.history.transactions.push(Transaction {
            process: client as u64,
            invoked: one.invoked_ns,
            completed: self.now_ns,
            outcome,
            // It reads before it appends.
            ops: reads.chain(appends).collect(),
            note: attempt
                .map_or_else(String::new, |attempt| format!("n{} {}", attempt.node + 1, attempt.txid)),
        });
        let after = self.rng.between(10 * US, 4 * MS);
        self.later(after, Thing::Client(client));
    }
}
