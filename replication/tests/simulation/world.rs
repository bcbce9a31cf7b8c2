//! The simulated world: nodes, links, clients and faults on one agenda, driven by one seed. Every event is one call into
//! the engine under test; a crash may fall between any two.

use std::collections::BTreeMap;

use hypermnesia_history::History;
use hypermnesia_replication::message::{CopyChunk, CopyStep, FlushStep, Part};
use hypermnesia_replication::{
    Arrival, Effect, Event, Inbox, LogToken, Member, Message, Now, Outbox, Outcome, Peer, Read, Reading,
    Reply,
};
use hypermnesia_store::{NodeId, TxId};

use crate::client::Client;
use crate::node::Node;
use crate::planted::Planted;
use crate::register::Register;
use crate::rng::Rng;

mod clients;
mod faults;
mod harm;

pub(crate) use harm::{Harm, What};

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
    /// Links are cut and nothing else happens: nobody ends, nobody is excluded.
    pub(crate) cuts_only: bool,
    /// Of so many looks of the control plane at a member one ends in its exclusion though it is there.
    pub(crate) falsely_of: u64,
    /// Whether a log may be lost with its disc, or an old one put back, at one node at a time.
    pub(crate) losses: bool,
    /// Without logs: all processes with a copy of a table may end, as long as one is left that knows the schema. Rows are gone then;
    /// what is left must be the same everywhere.
    pub(crate) forgets: bool,
    /// Whether definitions of tables change too.
    pub(crate) definitions: bool,
    /// What happens at certain steps, beside whatever else does.
    pub(crate) harms: Vec<Harm>,
    /// The run goes on for so long at least, until outcomes are forgotten.
    pub(crate) lasts_ms: u64,
    pub(crate) planted: Planted,
}

/// How often a source has sent the last rows of a copy, by the way it took, and how often none were needed.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Copies {
    pub(crate) same: u64,
    pub(crate) whole: u64,
    pub(crate) newer: u64,
    pub(crate) leaves: u64,
    /// Transactions that were committed to tables while these were copied.
    pub(crate) commits: u64,
}

impl Copies {
    fn count(&mut self, message: &Message) {
        let Message::Copy { step, .. } = message else { return };
        match step {
            CopyStep::Same => self.same += 1,
            CopyStep::Chunk(CopyChunk { part, last: Some(_), .. }) => match part {
                Part::Whole => self.whole += 1,
                Part::Newer => self.newer += 1,
                Part::Leaves => self.leaves += 1,
            },
            _ => {}
        }
    }

    pub(crate) fn add(&mut self, other: Copies) {
        self.same += other.same;
        self.whole += other.whole;
        self.newer += other.newer;
        self.leaves += other.leaves;
        self.commits += other.commits;
    }

    pub(crate) fn go_all_ways(&self) -> bool {
        self.same > 0 && self.whole > 0 && self.newer > 0 && self.leaves > 0 && self.commits > 0
    }
}

enum Thing {
    Deliver {
        from: usize,
        to: usize,
        link: u64,
        number: u64,
        message: Message,
    },
    Logged {
        node: usize,
        life: u64,
        token: LogToken,
        upto: usize,
    },
    Read {
        node: usize,
        life: u64,
        reading: Reading,
    },
    WasRead {
        node: usize,
        life: u64,
        read: Box<Read>,
    },
    Tick {
        node: usize,
        life: u64,
    },
    Client(usize),
    Connect(usize, usize),
    Disconnected {
        node: usize,
        life: u64,
        peer: Peer,
    },
    /// A process that was stopped in the middle of something goes on with it.
    Wake {
        node: usize,
        life: u64,
        effects: Vec<Effect>,
    },
    Restart(usize),
    /// A node hears what the control plane has agreed on by then.
    Agreed {
        node: usize,
        life: u64,
    },
    /// The control plane looks who is there.
    Govern,
    Fault,
    /// A log is lost, if all is well.
    Lose,
}

pub(crate) struct World {
    pub(crate) shape: Shape,
    pub(crate) rng: Rng,
    pub(crate) now_ns: u64,
    agenda: BTreeMap<(u64, u64), Thing>,
    count: u64,
    pub(crate) members: Vec<Member>,
    pub(crate) nodes: Vec<Node>,
    pub(crate) register: Register,
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
    /// What members have sent, logged and told so far.
    pub(crate) steps: u64,
    pub(crate) steps_until_healing: u64,
    /// By member: until when it is stopped.
    asleep_until_ns: Vec<u64>,
    pub(crate) pauses: u64,
    pub(crate) cuts: u64,
    pub(crate) healing: bool,
    /// No client goes on before.
    quiet_until_ns: u64,
    pub(crate) crashes: u64,
    pub(crate) losses: u64,
    pub(crate) came_back_empty: u64,
    pub(crate) unknowns: u64,
    /// Definitions that were changed, as callers were told.
    pub(crate) defined: u64,
    pub(crate) settled: (usize, usize),
    pub(crate) copies: Copies,
    pub(crate) trace: Vec<String>,
    pub(crate) broken: Option<String>,
}

impl World {
    pub(crate) fn new(shape: Shape) -> World {
        let members: Vec<Member> = (0..shape.nodes as u32)
            .map(|at| Member { node: NodeId(at + 1), name: format!("n{}", at + 1), address: String::new() })
            .collect();
        let nodes = members.iter().map(|member| Node::new(member.node, shape.durable)).collect();
        let mut world = World {
            rng: Rng::new(shape.seed),
            now_ns: MS,
            agenda: BTreeMap::new(),
            count: 0,
            members,
            nodes,
            register: Register::restarting_with(if shape.losses { 2 } else { 1 }),
            links: BTreeMap::new(),
            clients: (0..shape.clients).map(|_| Client::default()).collect(),
            history: History::default(),
            waiting: BTreeMap::new(),
            told: BTreeMap::new(),
            begun: 0,
            next_value: 1,
            steps: 0,
            steps_until_healing: 0,
            asleep_until_ns: vec![0; shape.nodes],
            pauses: 0,
            cuts: 0,
            healing: false,
            quiet_until_ns: 0,
            crashes: 0,
            losses: 0,
            came_back_empty: 0,
            unknowns: 0,
            defined: 0,
            settled: (0, 0),
            copies: Copies::default(),
            trace: Vec::new(),
            broken: None,
            shape,
        };
        for at in 0..world.nodes.len() {
            world.restart(at);
        }
        world.later(MS, Thing::Govern);
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
        if std::env::var_os("HMN_SIM_LIVE").is_some() {
            eprintln!("{:>9} us  {}", self.now_ns / US, line());
        } else if self.trace.len() < 100_000 {
            let line = line();
            self.trace.push(format!("{:>9} us  {line}", self.now_ns / US));
        }
    }

    /// Whether all clients are through.
    pub(crate) fn is_idle(&self) -> bool {
        self.begun >= self.shape.transactions
            && self.clients.iter().all(|client| client.plan.is_none())
            && self.now_ns >= self.shape.lasts_ms * MS
    }

    /// Handles the next event on the agenda.
    pub(crate) fn step(&mut self) {
        let Some(((at_ns, count), thing)) = self.agenda.pop_first() else { return };
        self.now_ns = at_ns;
        if let Some(until_ns) = self.sleeps_through(&thing) {
            // In the order in which it would have come.
            self.agenda.insert((until_ns, count), thing);
            return;
        }
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
            Thing::Read { node, life, reading } => {
                let alive = self.nodes[node].life.as_ref().filter(|_| self.nodes[node].lives == life);
                if let Some(alive) = alive {
                    let read = Box::new(alive.replica.read(reading));
                    let after = self.rng.between(10 * US, 300 * US);
                    self.later(after, Thing::WasRead { node, life, read });
                }
            }
            Thing::WasRead { node, life, read } => {
                if self.nodes[node].lives == life && self.nodes[node].life.is_some() {
                    self.call(node, |replica, now, out| replica.on_read(now, *read, out));
                }
            }
            Thing::Client(client) => self.client(client),
            Thing::Connect(a, b) => self.connect(a, b),
            Thing::Disconnected { node, life, peer } => {
                if self.nodes[node].lives == life && self.nodes[node].life.is_some() {
                    self.call(node, |replica, now, out| replica.on_disconnected(now, peer, out));
                }
            }
            Thing::Wake { node, life, effects } => {
                if self.nodes[node].lives == life && self.nodes[node].life.is_some() {
                    self.carry_out(node, effects);
                }
            }
            Thing::Restart(node) => self.restart(node),
            Thing::Agreed { node, life } => {
                if self.nodes[node].lives == life && self.nodes[node].life.is_some() {
                    let agreement = self.register.agreement();
                    self.call(node, |replica, now, out| replica.on_agreed(now, agreement, out));
                }
            }
            Thing::Govern => self.govern(),
            Thing::Fault => self.fault(),
            Thing::Lose => self.lose_a_log(),
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
        self.carry_out(node, effects);
    }

    /// What a handler has asked for, in its order, unless something happens to its member in the middle of it.
    fn carry_out(&mut self, node: usize, effects: Vec<Effect>) {
        let mut left = effects.into_iter();
        while let Some(effect) = left.next() {
            let delicate = self.is_delicate(&effect);
            let is_step = !matches!(effect, Effect::Event(_) | Effect::Settled { .. });
            self.effect(node, effect);
            self.steps += u64::from(is_step);
            if delicate && self.strike(node) {
                // The rest of the handler's effects never happens.
                return;
            }
            if is_step && self.harm(node) {
                return self.go_on_later(node, left.collect());
            }
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
        self.shape.faults && !self.shape.cuts_only && !self.healing && self.rng.chance(1, of)
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
            Effect::ProposeOpening(opened) => {
                self.say(|| format!("n{} proposes to open {}", node + 1, opened.epoch.number));
                if self.register.open(opened) {
                    self.announce();
                }
            }
            Effect::Read(reading) => {
                let (after, life) = (self.rng.between(10 * US, 300 * US), self.nodes[node].lives);
                self.later(after, Thing::Read { node, life, reading });
            }
            // Every member here has a copy of everything.
            Effect::Fetch { .. } | Effect::Fetched { .. } => {}
            Effect::Event(event) => {
                if let Event::EpochOpened { settled, .. } = &event {
                    self.settled.0 += settled.0;
                    self.settled.1 += settled.1;
                    self.ask(node);
                }
                self.say(|| format!("n{} {event:?}", node + 1));
                if let Event::Loaded { commits, .. } = &event {
                    self.copies.commits += commits;
                }
                self.came_back_empty += u64::from(matches!(event, Event::CameBackEmpty { .. }));
                if matches!(event, Event::CopyDiffers { .. }) {
                    self.broken = Some(format!("n{} {event:?}", node + 1));
                }
            }
        }
    }

    /// What a member says now of everything that somebody was told of: others may say no other thing, now or later.
    fn ask(&mut self, node: usize) {
        let Some(life) = &self.nodes[node].life else { return };
        let said = self.told.keys().map(|txid| (*txid, life.replica.outcome(*txid)));
        let said: Vec<_> = said.filter(|(_, said)| *said != Outcome::Unknown).collect();
        said.into_iter().for_each(|(txid, said)| self.tell(txid, said));
    }

    fn tell(&mut self, txid: TxId, outcome: Outcome) {
        if outcome == Outcome::Unknown {
            // Members are asked about it later.
            self.told.entry(txid).or_insert(outcome);
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
        self.copies.count(&message);
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
            (Message::Copy { step, .. }, Planted::CarriedNotCopied)
                if matches!(step, CopyStep::InDoubt { .. }) =>
            {
                *step = CopyStep::Settled(Vec::new());
            }
            (Message::Copy { step: CopyStep::Settled(outcomes), .. }, Planted::OutcomesNotCopied) => {
                outcomes.clear();
            }
            (Message::Copy { step, .. }, Planted::CopySkipped) if matches!(step, CopyStep::Chunk(_)) => {
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
            let life = self.nodes[from].lives;
            self.later(0, Thing::Disconnected { node: from, life, peer });
        }
    }
}

fn short(message: &Message) -> String {
    match message {
        Message::Prepare(prepare) => format!("Prepare {} in {}", prepare.txid, prepare.epoch),
        Message::Copy { table, step, .. } => match step {
            CopyStep::Chunk(CopyChunk { part, chunk, rows, last }) => {
                format!("Copy {table} {part:?} {chunk}: {} rows, {last:?}", rows.len())
            }
            CopyStep::Digests { from, digests } => {
                format!("Copy {table} digests from {from}: {}", digests.len())
            }
            other => {
                let text = format!("{other:?}");
                format!("Copy {table} {}", &text[..text.len().min(60)])
            }
        },
        Message::Flush { number, step: FlushStep::Stage(stage) } => {
            let standing = |one: &hypermnesia_replication::epoch::Standing| (one.survivor, one.whole.clone());
            let standings: Vec<_> = stage.standings.iter().map(standing).collect();
            format!("Stage {number} {:?} {standings:?} unserved {:?}", stage.decisions, stage.unserved)
        }
        other => {
            let text = format!("{other:?}");
            text[..text.len().min(300)].to_string()
        }
    }
}
