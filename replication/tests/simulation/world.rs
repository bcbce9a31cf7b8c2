//! The simulated world: nodes, links, clients and faults on one agenda, driven by one seed. Every event is one call into
//! the engine under test; a crash may fall between any two.

use std::collections::BTreeMap;

use hypermnesia_history::{Found, History, Op, Outcome as Told, Transaction};
use hypermnesia_replication::message::{CopyStep, FlushStep};
use hypermnesia_replication::{
    Arrival, CommitRequest, Effect, Event, Inbox, LogToken, Member, Message, Now, Outbox, Outcome, Peer,
    Reply,
};
use hypermnesia_store::{Ack, Blocked, Incarnation, NodeId, Timestamp, TxId};

use crate::client::{Attempt, Client, Plan, Which};
use crate::node::Node;
use crate::planted::Planted;
use crate::rng::Rng;
use crate::room;

const US: u64 = 1_000;
const MS: u64 = 1_000_000;
pub(crate) const LISTS: u64 = 4;
pub(crate) const ACCOUNTS: u64 = 4;
pub(crate) const OPENING_BALANCE: i64 = 100;

/// What a run is made of.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    pub(crate) seed: u64,
    pub(crate) nodes: usize,
    /// Whether nodes have logs. Without them at least one process that is complete is always left alive.
    pub(crate) durable: bool,
    pub(crate) clients: usize,
    pub(crate) transactions: usize,
    pub(crate) faults: bool,
    /// Whether a log may be lost with its disc, or an old one put back, at one node at a time.
    pub(crate) losses: bool,
    /// Crash this node at this many handler calls, and do nothing else harmful.
    pub(crate) crash_at: Option<(usize, u64)>,
    pub(crate) planted: Planted,
}

enum Thing {
    Deliver { from: usize, to: usize, link: u64, number: u64, message: Message },
    Logged { node: usize, life: u64, token: LogToken, upto: usize },
    Tick { node: usize, life: u64 },
    Client(usize),
    Connect(usize, usize),
    Disconnected { node: usize, peer: Peer },
    Restart(usize),
    Fault,
}

pub(crate) struct World {
    pub(crate) shape: Shape,
    pub(crate) rng: Rng,
    pub(crate) now_ns: u64,
    agenda: BTreeMap<(u64, u64), Thing>,
    count: u64,
    pub(crate) members: Vec<Member>,
    pub(crate) nodes: Vec<Node>,
    /// Generation of each link; odd when it is up.
    links: BTreeMap<(usize, usize), u64>,
    pub(crate) clients: Vec<Client>,
    pub(crate) history: History,
    /// Which client waits for a transaction.
    waiting: BTreeMap<TxId, usize>,
    /// What callers and askers were told.
    pub(crate) told: BTreeMap<TxId, Outcome>,
    begun: usize,
    next_value: u64,
    /// Handler calls so far.
    pub(crate) calls: u64,
    pub(crate) healing: bool,
    pub(crate) crashes: u64,
    pub(crate) losses: u64,
    pub(crate) unknowns: u64,
    pub(crate) settled: (usize, usize),
    pub(crate) trace: Vec<String>,
    pub(crate) broken: Option<String>,
}

impl World {
    pub(crate) fn new(shape: Shape) -> World {
        let members: Vec<Member> = (0..shape.nodes as u32)
            .map(|at| Member { node: NodeId(at + 1), name: format!("n{}", at + 1) })
            .collect();
        let nodes = members.iter().map(|member| Node::new(member.node, shape.durable)).collect();
        let mut world = World {
            rng: Rng::new(shape.seed),
            now_ns: MS,
            agenda: BTreeMap::new(),
            count: 0,
            members,
            nodes,
            links: BTreeMap::new(),
            clients: (0..shape.clients).map(|_| Client::default()).collect(),
            history: History::default(),
            waiting: BTreeMap::new(),
            told: BTreeMap::new(),
            begun: 0,
            next_value: 1,
            calls: 0,
            healing: false,
            crashes: 0,
            losses: 0,
            unknowns: 0,
            settled: (0, 0),
            trace: Vec::new(),
            broken: None,
            shape,
        };
        for at in 0..world.nodes.len() {
            world.restart(at);
        }
        for client in 0..world.clients.len() {
            world.later(20 * MS, Thing::Client(client));
        }
        if world.shape.faults {
            world.later(25 * MS, Thing::Fault);
        }
        world
    }

    fn later(&mut self, after_ns: u64, thing: Thing) {
        self.count += 1;
        self.agenda.insert((self.now_ns + after_ns, self.count), thing);
    }

    fn now(&self) -> Now {
        Now { mono_ns: self.now_ns, wall_ms: 1_000_000 + self.now_ns / MS }
    }

    fn say(&mut self, line: impl FnOnce() -> String) {
        if self.trace.len() < 100_000 {
            let line = line();
            self.trace.push(format!("{:>9} us  {line}", self.now_ns / US));
        }
    }

    /// Whether all clients are through.
    pub(crate) fn is_idle(&self) -> bool {
        self.begun >= self.shape.transactions && self.clients.iter().all(|client| client.plan.is_none())
    }

    /// Handles the next event on the agenda.
    pub(crate) fn step(&mut self) {
        let Some(((at_ns, _), thing)) = self.agenda.pop_first() else { return };
        self.now_ns = at_ns;
        match thing {
            Thing::Deliver { from, to, link, number, message } => {
                self.deliver(from, to, link, number, message)
            }
            Thing::Logged { node, life, token, upto } => {
                if self.nodes[node].lives == life && self.nodes[node].life.is_some() {
                    self.nodes[node].safe = self.nodes[node].safe.max(upto);
                    self.call(node, |replica, now, out| replica.on_logged(now, token, out));
                }
            }
            Thing::Tick { node, life } => {
                if self.nodes[node].lives == life && self.nodes[node].life.is_some() {
                    let wall_ms = self.now().wall_ms;
                    self.nodes[node].life.as_ref().expect("just seen").store.clock().advance(wall_ms);
                    self.call(node, |replica, now, out| replica.on_tick(now, out));
                    self.later(10 * MS, Thing::Tick { node, life });
                }
            }
            Thing::Client(client) => self.client(client),
            Thing::Connect(a, b) => self.connect(a, b),
            Thing::Disconnected { node, peer } => {
                if self.nodes[node].life.is_some() {
                    self.call(node, |replica, now, out| replica.on_disconnected(now, peer, out));
                }
            }
            Thing::Restart(node) => self.restart(node),
            Thing::Fault => self.fault(),
        }
    }

    /// One handler of one node, and everything it asks for.
    fn call(
        &mut self,
        node: usize,
        event: impl FnOnce(&hypermnesia_replication::Replica, Now, &mut Vec<Effect>),
    ) {
        let now = self.now();
        let Some(life) = &self.nodes[node].life else { return };
        let mut effects = Vec::new();
        event(&life.replica, now, &mut effects);
        self.calls += 1;
        let crash_now = self.shape.crash_at.is_some_and(|(victim, at)| victim == node && at == self.calls);
        // A crash inside the handler's effects: some are done, the rest never happens.
        let done = if crash_now { self.rng.below(effects.len() as u64 + 1) as usize } else { effects.len() };
        for effect in effects.into_iter().take(done) {
            let delicate = self.is_delicate(&effect);
            self.effect(node, effect);
            if delicate && self.strike(node) {
                // The rest of the handler's effects never happens.
                return;
            }
        }
        if crash_now {
            self.crash(node);
            self.later(5 * MS, Thing::Restart(node));
        }
    }

    /// Now and then, behind a message that decides something, the moment has come.
    fn is_delicate(&mut self, effect: &Effect) -> bool {
        let Effect::Send { message, .. } = effect else { return false };
        let of = match message {
            Message::Abort { .. } => 12,
            Message::AbortRecorded { .. } => 40,
            Message::Flush { .. } | Message::Copy { .. } => 120,
            Message::Vote { .. } | Message::Commit { .. } | Message::Prepare(_) => 600,
            _ => return false,
        };
        self.shape.faults && !self.healing && self.rng.chance(1, of)
    }

    /// The sender dies, and perhaps others with it. Says whether it did.
    fn strike(&mut self, node: usize) -> bool {
        self.crash_for_a_while(node);
        if self.nodes[node].life.is_some() {
            return false;
        }
        for other in 0..self.nodes.len() {
            if other != node && self.rng.chance(1, 3) {
                self.crash_for_a_while(other);
            }
        }
        true
    }

    fn effect(&mut self, node: usize, effect: Effect) {
        match effect {
            Effect::Send { to, message } => self.send(node, to, message),
            Effect::Log { fact, token, .. } => {
                self.nodes[node].log.push(fact);
                let (upto, life) = (self.nodes[node].log.len(), self.nodes[node].lives);
                if let Some(token) = token {
                    let early = self.shape.planted == Planted::VoteBeforeLog
                        && matches!(token, LogToken::Prepared(_) | LogToken::Applied(_));
                    let after = self.rng.between(20 * US, 2 * MS);
                    let upto = if early { 0 } else { upto };
                    self.later(if early { 0 } else { after }, Thing::Logged { node, life, token, upto });
                }
            }
            Effect::Done { txid, reply } => self.done(node, txid, reply),
            Effect::Settled { txid, outcome } => self.tell(txid, outcome),
            Effect::Event(event) => {
                if let Event::EpochOpened { settled, .. } = &event {
                    self.settled.0 += settled.0;
                    self.settled.1 += settled.1;
                }
                self.say(|| format!("n{} {event:?}", node + 1));
            }
        }
    }

    fn tell(&mut self, txid: TxId, outcome: Outcome) {
        if outcome == Outcome::Unknown {
            return;
        }
        let before = self.told.insert(txid, outcome);
        let contradicts = matches!(
            (before, outcome),
            (Some(Outcome::Committed(_)), Outcome::Aborted) | (Some(Outcome::Aborted), Outcome::Committed(_))
        );
        if contradicts {
            self.broken = Some(format!("{txid} was told as {before:?} and then as {outcome:?}"));
        }
    }

    // The network.

    fn send(&mut self, from: usize, to: Peer, message: Message) {
        let message = self.plant(message);
        if let (Message::Abort { txid, .. }, Planted::AbortToldEarly) = (&message, self.shape.planted) {
            self.done(from, *txid, Reply::TimedOut);
        }
        let at = self.members.iter().position(|member| member.node == to.node).expect("a member");
        self.say(|| format!("n{} -> n{} {}", from + 1, at + 1, short(&message)));
        let Some(life) = self.nodes[from].life.as_mut() else { return };
        if life.peers[at] != Some(to.incarnation) {
            return;
        }
        let number = life.outboxes[at].push(message.clone(), 1).expect("below the bound");
        if self.links.get(&(from, at)).is_some_and(|link| link % 2 == 1) {
            self.carry(from, at, number, message);
        }
    }

    fn plant(&mut self, mut message: Message) -> Message {
        match (&mut message, self.shape.planted) {
            (Message::Flush { step: FlushStep::Stage(stage), .. }, Planted::FlushAborts) => {
                stage.decisions.iter_mut().for_each(|(_, outcome)| *outcome = Outcome::Aborted);
            }
            (Message::Flush { step: FlushStep::Stage(stage), .. }, Planted::FlushCommits) => {
                let stamp = stage.stamp;
                let aborted = stage.decisions.iter_mut().filter(|(_, outcome)| *outcome == Outcome::Aborted);
                aborted.for_each(|(_, outcome)| *outcome = Outcome::Committed(stamp));
            }
            (Message::Copy { step, .. }, Planted::CopySkipped) if matches!(step, CopyStep::Chunk { .. }) => {
                *step = CopyStep::Same;
            }
            _ => {}
        }
        message
    }

    fn carry(&mut self, from: usize, to: usize, number: u64, message: Message) {
        let slow = self.rng.chance(1, 20);
        let delay = if slow { self.rng.between(MS, 10 * MS) } else { self.rng.between(20 * US, 400 * US) };
        let link = self.links[&(from, to)];
        let life = self.nodes[from].life.as_mut().expect("it sends");
        let at_ns = (self.now_ns + delay).max(life.arrivals[to] + 1);
        life.arrivals[to] = at_ns;
        let after = at_ns - self.now_ns;
        self.later(after, Thing::Deliver { from, to, link, number, message });
    }

    fn deliver(&mut self, from: usize, to: usize, link: u64, number: u64, message: Message) {
        if self.links.get(&(from, to)) != Some(&link) {
            return;
        }
        let Some(life) = self.nodes[to].life.as_mut() else { return };
        let Some(incarnation) = life.peers[from] else { return };
        match life.inboxes[from].arrive(number) {
            Arrival::Next => {}
            Arrival::Again => return,
            Arrival::Gap => panic!("the link lost a message"),
        }
        let taken = life.inboxes[from].taken();
        let peer = Peer { node: self.members[from].node, incarnation };
        if self.rng.chance(1, 2)
            && let Some(sender) = self.nodes[from].life.as_mut()
        {
            sender.outboxes[to].acknowledged(taken);
        }
        self.call(to, |replica, now, out| replica.on_message(now, peer, message, out));
    }

    fn connect(&mut self, a: usize, b: usize) {
        let up = self.links.get(&(a, b)).is_some_and(|link| link % 2 == 1);
        if up || self.nodes[a].life.is_none() || self.nodes[b].life.is_none() {
            return;
        }
        for (from, to) in [(a, b), (b, a)] {
            let theirs = self.nodes[to].life.as_ref().expect("it lives").incarnation;
            let life = self.nodes[from].life.as_mut().expect("it lives");
            let resets = self.shape.planted == Planted::ResetLoses;
            if life.peers[to] != Some(theirs) || resets {
                life.peers[to] = Some(theirs);
                life.outboxes[to] = Outbox::default();
                life.inboxes[to] = Inbox::default();
            }
            *self.links.entry((from, to)).or_insert(0) += 1;
        }
        for (from, to) in [(a, b), (b, a)] {
            let taken = self.nodes[to].life.as_ref().expect("it lives").inboxes[from].taken();
            let life = self.nodes[from].life.as_ref().expect("it lives");
            let again: Vec<_> = life.outboxes[to].behind(taken).map(|(n, m)| (n, m.clone())).collect();
            again.into_iter().for_each(|(number, message)| self.carry(from, to, number, message));
        }
        for (at, peer) in [(a, b), (b, a)] {
            let Some(incarnation) = self.nodes[peer].life.as_ref().map(|life| life.incarnation) else {
                return;
            };
            let peer = Peer { node: self.members[peer].node, incarnation };
            self.call(at, |replica, now, out| replica.on_connected(now, peer, out));
        }
    }

    fn disconnect(&mut self, a: usize, b: usize) {
        for (from, to) in [(a, b), (b, a)] {
            let Some(link) = self.links.get_mut(&(from, to)).filter(|link| **link % 2 == 1) else { continue };
            *link += 1;
            let Some(incarnation) = self.nodes[from].life.as_ref().and_then(|life| life.peers[to]) else {
                continue;
            };
            let peer = Peer { node: self.members[to].node, incarnation };
            self.later(0, Thing::Disconnected { node: from, peer });
        }
    }

    // Faults.

    fn fault(&mut self) {
        if self.healing {
            return;
        }
        let count = self.nodes.len() as u64;
        match self.rng.below(10) {
            0..=3 => {
                let (a, b) = (self.rng.below(count) as usize, self.rng.below(count) as usize);
                if a != b {
                    self.say(|| format!("-- link n{} n{} is cut", a + 1, b + 1));
                    self.disconnect(a, b);
                    let after = self.rng.between(MS, 120 * MS);
                    self.later(after, Thing::Connect(a, b));
                }
            }
            4..=7 => {
                let node = self.rng.below(count) as usize;
                self.crash_for_a_while(node);
            }
            8 => {
                for node in 0..self.nodes.len() {
                    if self.rng.chance(2, 3) {
                        self.crash_for_a_while(node);
                    }
                }
            }
            _ if self.shape.losses => self.lose_a_log(),
            _ => {}
        }
        let after = self.rng.between(5 * MS, 80 * MS);
        self.later(after, Thing::Fault);
    }

    /// While all are whole and know it: some end at once, and one of them comes back with an empty disc, or with what was
    /// on it some time ago. Whatever was acknowledged is on the others.
    fn lose_a_log(&mut self) {
        let settled = |one: &Node| {
            one.life.as_ref().is_some_and(|life| {
                let status = life.replica.status(Now::default());
                status.open
                    && status.complete
                    && status.members.iter().all(|member| member.connected && member.ready)
            })
        };
        if !self.nodes.iter().all(settled) {
            return;
        }
        let victim = self.rng.below(self.nodes.len() as u64) as usize;
        for node in 0..self.nodes.len() {
            if node == victim || self.rng.chance(2, 3) {
                self.crash_for_a_while(node);
            }
        }
        let log = &self.nodes[victim].log;
        let kept = if self.rng.chance(1, 2) { 0 } else { self.rng.below(log.len() as u64 + 1) as usize };
        self.say(|| format!("-- n{} loses its log but {kept} records", victim + 1));
        self.losses += 1;
        self.nodes[victim].lose(kept);
    }

    fn crash_for_a_while(&mut self, node: usize) {
        let whole =
            |one: &Node| one.life.as_ref().is_some_and(|life| life.replica.status(Now::default()).complete);
        let last = !self.nodes.iter().enumerate().any(|(at, one)| at != node && whole(one));
        if self.nodes[node].life.is_none() || (!self.shape.durable && last) {
            return;
        }
        self.crash(node);
        let after = self.rng.between(MS, 100 * MS);
        self.later(after, Thing::Restart(node));
    }

    fn crash(&mut self, node: usize) {
        self.say(|| format!("-- n{} crashes", node + 1));
        self.crashes += 1;
        let rng = &mut self.rng;
        self.nodes[node].crash(|tail| rng.below(tail));
        for peer in (0..self.nodes.len()).filter(|peer| *peer != node) {
            self.disconnect(node, peer);
        }
        for client in 0..self.clients.len() {
            if self.clients[client].attempt.as_ref().is_some_and(|attempt| attempt.node == node) {
                let committing = self.clients[client].attempt.as_ref().is_some_and(|a| a.committing);
                self.ends(client, if committing { Told::Unknown } else { Told::Failed });
            }
        }
    }

    fn restart(&mut self, node: usize) {
        if self.nodes[node].life.is_some() {
            return;
        }
        self.say(|| format!("-- n{} starts", node + 1));
        let wall_ms = self.now().wall_ms;
        let members = self.members.clone();
        self.nodes[node].start(&members, wall_ms);
        self.call(node, |replica, now, out| replica.start(now, out));
        let life = self.nodes[node].lives;
        self.later(10 * MS, Thing::Tick { node, life });
        for peer in (0..self.nodes.len()).filter(|peer| *peer != node) {
            let after = self.rng.between(100 * US, 5 * MS);
            self.later(after, Thing::Connect(node, peer));
        }
    }

    /// Ends all faults: everyone is started and connected again.
    pub(crate) fn heal(&mut self) {
        if std::mem::replace(&mut self.healing, true) {
            return;
        }
        self.say(|| "-- healing".into());
        self.shape.crash_at = None;
        for node in 0..self.nodes.len() {
            self.later(0, Thing::Restart(node));
            for peer in 0..node {
                self.later(6 * MS, Thing::Connect(node, peer));
            }
        }
    }

    // The clients.

    fn client(&mut self, client: usize) {
        if self.clients[client].attempt.as_ref().is_some_and(|attempt| attempt.committing) {
            return;
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

    fn begins(&mut self, client: usize) -> bool {
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
        let one = &mut self.clients[client];
        one.plan = Some(plan);
        one.invoked_ns = self.now_ns;
        one.deadline_ns = self.now_ns + self.rng.between(40, 400) * MS;
        (one.age, one.tries) = (None, 0);
        true
    }

    /// Begins an attempt on some node that serves.
    fn attempts(&mut self, client: usize) -> bool {
        if self.now_ns > self.clients[client].deadline_ns {
            self.ends(client, Told::Failed);
            return true;
        }
        let node = self.rng.below(self.nodes.len() as u64) as usize;
        let (lists, accounts) = match self.clients[client].plan.as_ref().expect("it has begun") {
            Plan::Append { .. } => (true, false),
            Plan::Transfer { .. } => (false, true),
            Plan::Book { .. } | Plan::Look => (true, true),
        };
        let holds = |which| room::holders(which, self.nodes.len()).contains(&node);
        if (lists && !holds(Which::Lists)) || (accounts && !holds(Which::Accounts)) {
            return false;
        }
        let Some(life) = self.nodes[node].life.as_mut().filter(|life| life.replica.is_serving()) else {
            return false;
        };
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
        };
        for at in (1..to_read.len()).rev() {
            to_read.swap(at, self.rng.below(at as u64 + 1) as usize);
        }
        one.attempt = Some(Attempt {
            node,
            incarnation: life.incarnation.0,
            txid,
            snapshot,
            to_read,
            lists: BTreeMap::new(),
            balances: BTreeMap::new(),
            committing: false,
        });
        true
    }

    /// Reads one key, and after the last one commits.
    fn reads_on(&mut self, client: usize) {
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

    fn commits(&mut self, client: usize) {
        let one = &self.clients[client];
        let attempt = one.attempt.as_ref().expect("it has read");
        let work = match one.plan.as_ref().expect("it has begun") {
            Plan::Look => {
                let sum: i64 = attempt.balances.values().map(|(balance, _)| balance).sum();
                if sum != OPENING_BALANCE * ACCOUNTS as i64 {
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
        };
        let (node, txid, deadline_ns) = (attempt.node, attempt.txid, one.deadline_ns);
        let sync = self.rng.chance(1, 8);
        self.clients[client].attempt.as_mut().expect("it has read").committing = true;
        self.waiting.insert(txid, client);
        let life = self.nodes[node].life.as_ref().expect("a crash ends its attempts");
        let txn = life.store.begin(txid);
        let request = CommitRequest { work: work.into(), ack: Ack::Logged, sync, deadline_ns };
        self.say(|| format!("client {client} commits {txid} on n{}", node + 1));
        self.call(node, |replica, now, out| replica.commit(now, txn, request, out));
    }

    fn done(&mut self, node: usize, txid: TxId, reply: Reply) {
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

    fn ends(&mut self, client: usize, outcome: Told) {
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

fn short(message: &Message) -> String {
    match message {
        Message::Prepare(prepare) => format!("Prepare {} in {}", prepare.txid, prepare.epoch),
        Message::Copy { table, step, .. } => {
            let text = format!("{step:?}");
            format!("Copy {table} {}", &text[..text.len().min(60)])
        }
        other => {
            let text = format!("{other:?}");
            text[..text.len().min(300)].to_string()
        }
    }
}
