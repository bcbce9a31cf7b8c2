use hypermnesia_store::{Incarnation, Timestamp};

use super::*;
use crate::limits::{
    LEASE_DRIFT_PPM, LEASE_NS, LEASE_NS_MIN, OVERSEER_LINK_HEARTBEATS, OVERSEER_REJOIN_HEARTBEATS,
};
use crate::register::{Change, Enlisting};

mod leader;
mod links;
mod members;
mod walk;

const MS: u64 = 1_000_000;
const HEARTBEAT: u64 = 100 * MS;
/// When nothing of leaders before is left.
const SETTLED: u64 = 510 * MS;

fn terms() -> Terms {
    Terms { lease_ns: LEASE_NS, drift_ppm: LEASE_DRIFT_PPM, useful_ns_min: LEASE_NS_MIN }
}

fn node(name: &str) -> NodeId {
    NodeId::of_name(name)
}

/// `a1` is the first life of node `a`.
fn peer(life: &str) -> Peer {
    let (name, number) = life.split_at(1);
    Peer { node: node(name), incarnation: Incarnation(number.parse().expect("a life has a number")) }
}

fn peers(lives: &str) -> Vec<Peer> {
    let mut peers: Vec<Peer> = lives.split_whitespace().map(peer).collect();
    peers.sort();
    peers
}

fn enlisting(name: &str, role: Role) -> Enlisting {
    Enlisting { name: name.into(), address: format!("{name}.test:1"), role, raft: None }
}

/// A leader, what it leads, and what the network is like. Everybody who is `up` beats once per heartbeat.
#[derive(Clone)]
struct Cluster {
    now_ns: u64,
    register: Register,
    overseer: Overseer,
    up: Vec<Peer>,
    /// Links that are missing.
    cut: Vec<(Peer, Peer)>,
    /// Who does not hear whom, although the other one hears it.
    deaf: Vec<(Peer, Peer)>,
    /// Who is up and does not beat.
    silent: Vec<Peer>,
}

impl Cluster {
    /// Data nodes, of which `leader` leads from 0 on.
    fn of(names: &str, leader: &str) -> Cluster {
        let nodes = names.split_whitespace().map(|name| enlisting(name, Role::Data)).collect();
        let mut register = Register::default();
        register.apply(&Command::Found {
            cluster: 1,
            name: "c".into(),
            nodes,
            slots: Vec::new(),
            carried: None,
            floor: 0,
        });
        let overseer = Overseer::new(terms(), Pace::of_heartbeat(HEARTBEAT), peer(leader), 0);
        let mut cluster =
            Cluster { now_ns: 0, register, overseer, up: vec![], cut: vec![], deaf: vec![], silent: vec![] };
        cluster.lead(leader);
        cluster
    }

    /// The same with these lives up, all in epoch 1, which is open, and nothing left to wait for.
    fn running(lives: &str, leader: &str) -> Cluster {
        let names: Vec<&str> = lives.split_whitespace().map(|life| &life[..1]).collect();
        let mut cluster = Cluster::of(&names.join(" "), leader);
        cluster.up = peers(lives);
        cluster.beats();
        assert_eq!(cluster.agreed(), Some((1, peers(lives), Cause::Founded)));
        cluster.open();
        cluster.run(SETTLED);
        cluster
    }

    /// A new leadership.
    fn lead(&mut self, leader: &str) {
        self.overseer = Overseer::new(terms(), Pace::of_heartbeat(HEARTBEAT), peer(leader), self.now_ns);
        self.tell();
        self.overseer.on_caught_up();
    }

    fn tell(&mut self) {
        self.overseer.on_register(self.now_ns, &Arc::new(self.register.clone()));
    }

    fn change(&mut self, change: Change) {
        let seen = self.register.revision();
        assert_eq!(self.register.apply(&Command::Roster { seen, change }), Answer::Done);
        self.tell();
    }

    fn enlist(&mut self, name: &str, role: Role) {
        self.change(Change::Enlist(enlisting(name, role)));
    }

    fn open(&mut self) {
        let number = self.register.latest().expect("one was agreed on").number;
        assert!(
            self.register
                .apply(&Command::Open {
                    number,
                    opening: crate::register::Opening { stamp: Timestamp(number), unserved: vec![] }
                })
                .is_done()
        );
        self.tell();
    }

    fn stop(&mut self, life: &str) {
        self.up.retain(|up| *up != peer(life));
        self.overseer.on_closed(peer(life));
    }

    fn start(&mut self, life: &str) {
        self.up.push(peer(life));
    }

    fn hears(&self, one: Peer) -> NodeSet {
        let linked = |other: &&Peer| {
            let (there, back) = ((one, **other), (**other, one));
            !self.cut.contains(&there) && !self.cut.contains(&back) && !self.deaf.contains(&there)
        };
        let slots = self.up.iter().filter(linked).filter_map(|other| self.register.slot_of(other.node));
        slots.fold(NodeSet::EMPTY, NodeSet::with)
    }

    /// Everybody who is up beats twice: what was told of whom is told again when all have been heard.
    fn beats(&mut self) {
        let beat: Vec<Peer> = self.up.iter().copied().filter(|one| !self.silent.contains(one)).collect();
        for one in beat.iter().chain(&beat).copied() {
            self.overseer.on_beat(self.now_ns, one, self.hears(one));
        }
    }

    /// Time goes on with heartbeats; fails if something is proposed.
    fn run(&mut self, ns: u64) {
        let until_ns = self.now_ns + ns;
        while self.now_ns < until_ns {
            self.now_ns += (10 * MS - self.now_ns % (10 * MS)).min(until_ns - self.now_ns);
            if self.now_ns.is_multiple_of(HEARTBEAT) {
                self.beats();
            }
            self.overseer.on_authority(self.now_ns);
            assert_eq!(self.overseer.next(self.now_ns), None, "at {} ms", self.now_ns / MS);
        }
    }

    /// The first proposal within a time, as it is, and after how many ms it came.
    fn proposed_within(&mut self, ns: u64) -> Option<(u64, Command)> {
        let start_ns = self.now_ns;
        loop {
            if let Some(command) = self.overseer.next(self.now_ns) {
                return Some(((self.now_ns - start_ns) / MS, command));
            }
            if self.now_ns >= start_ns + ns {
                return None;
            }
            self.now_ns += MS;
            if self.now_ns.is_multiple_of(HEARTBEAT) {
                self.beats();
            }
            self.overseer.on_authority(self.now_ns);
        }
    }

    /// What is proposed within three seconds is agreed on: which epoch.
    fn agreed(&mut self) -> Option<(u64, Vec<Peer>, Cause)> {
        let (_, command) = self.proposed_within(3_000 * MS)?;
        let answer = self.register.apply(&command);
        assert_eq!(answer, Answer::Done, "{command:?}");
        self.tell();
        let epoch = self.register.latest().expect("it was agreed on");
        self.overseer.on_answer(self.now_ns, epoch.number, Some(&answer));
        Some((epoch.number, epoch.members.clone(), epoch.why))
    }

    fn grants(&mut self, life: &str) -> Result<Grant, Denied> {
        self.overseer.on_authority(self.now_ns);
        self.overseer.on_ask(self.now_ns, &Ask { peer: peer(life), sent_ns: 1 })
    }
}

fn epoch(number: u64, lives: &str, why: Cause) -> Option<(u64, Vec<Peer>, Cause)> {
    Some((number, peers(lives), why))
}

fn members_of(command: &Command) -> &[Peer] {
    match command {
        Command::Agree { members, .. } => members,
        other => panic!("only epochs are proposed, not {other:?}"),
    }
}
