//! What all simulated nodes share, and the properties that are looked at all the time: one order of commands, authority that a
//! majority has confirmed and that ends before the next election.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use hypermnesia_store::codec;
use hypermnesia_store::disc::MemDisc;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::simulation::WAY_MS_MAX;
use crate::plane::kind::Appended;
use crate::plane::message::{Answer, Ask, Request};
use crate::plane::{Authority, Machine, Plane, RaftId, Term, View};

/// Longest way of a message that stalls.
const STALL_MS_MAX: u64 = 1500;

/// Says what is wrong with an answer that is about to leave, or with the disc below it.
pub(super) type Look = fn(&MemDisc, &Ask, &Answer) -> Option<String>;

/// What a machine has applied, with its indices.
pub(super) type Applied = Arc<Mutex<Vec<(u64, Vec<u8>)>>>;

/// All that nodes share.
pub(super) struct World {
    pub(super) random: fastrand::Rng,
    start: Instant,
    pub(super) planes: BTreeMap<usize, (u64, Arc<Plane>)>,
    /// From whom to whom nothing comes through.
    pub(super) cut: BTreeSet<(usize, usize)>,
    /// What every machine applied at an index.
    agreed: BTreeMap<u64, Vec<u8>>,
    /// When requests of a leader were sent that were answered: leader, who answered, time of the last one.
    answered: BTreeMap<(RaftId, RaftId), u64>,
    authority: BTreeMap<Term, u64>,
    elected: BTreeMap<Term, u64>,
    /// What must not be.
    pub(super) wrong: Vec<String>,
    /// What happened, for comparing two runs.
    pub(super) trace: crc32fast::Hasher,
    /// What is asked of every answer before it leaves.
    pub(super) before_answer: Option<Look>,
    /// Now and then a message takes as long as an election.
    pub(super) stalls: bool,
}

impl World {
    pub(super) fn new(seed: u64) -> World {
        World {
            random: fastrand::Rng::with_seed(seed),
            start: Instant::now(),
            planes: BTreeMap::new(),
            cut: BTreeSet::new(),
            agreed: BTreeMap::new(),
            answered: BTreeMap::new(),
            authority: BTreeMap::new(),
            elected: BTreeMap::new(),
            wrong: Vec::new(),
            trace: crc32fast::Hasher::new(),
            before_answer: None,
            stalls: false,
        }
    }

    pub(super) fn now_ns(&self) -> u64 {
        self.start.elapsed().as_nanos() as u64
    }

    pub(super) fn lives(&self, slot: usize, life: u64) -> bool {
        self.planes.get(&slot).is_some_and(|(now, _)| *now == life)
    }

    pub(super) fn way(&mut self) -> Duration {
        let longest = if self.stalls && self.random.u8(..) < 4 { STALL_MS_MAX } else { WAY_MS_MAX };
        Duration::from_micros(self.random.u64(100..longest * 1000))
    }

    /// Notes an answer that has come back to who asked.
    pub(super) fn heard(&mut self, sent: u64, request: &Request, answer: &Answer, bytes: &[u8]) {
        if let (Ask::Append(append), Answer::Append(Appended::Success | Appended::Conflict)) =
            (&request.ask, answer)
        {
            let last = self.answered.entry((append.vote.leader_id.node_id, request.to)).or_default();
            *last = sent.max(*last);
        }
        self.trace.update(&sent.to_le_bytes());
        self.trace.update(bytes);
    }

    /// Looks at what a node says of itself.
    pub(super) fn look(&mut self, view: &View) {
        if let Some(since) = view.leading_since_ns {
            self.elected.entry(view.term).or_insert(since);
        }
        if let Some(Authority { term, sent_ns }) = view.authority {
            let voters = view.voters.len();
            let me = view.me;
            let answers = view.voters.keys().filter(|id| {
                **id == me || self.answered.get(&(me, **id)).is_some_and(|sent| *sent >= sent_ns)
            });
            if view.settled && answers.count() <= voters / 2 {
                self.wrong.push(format!("no majority has confirmed {me} since {sent_ns}"));
            }
            let known = self.authority.entry(term).or_default();
            *known = sent_ns.max(*known);
        }
        for (term, sent) in &self.authority {
            let later = self.elected.range((std::ops::Bound::Excluded(term), std::ops::Bound::Unbounded));
            let over: Vec<_> = later.filter(|(_, since)| *since <= sent).collect();
            if !over.is_empty() {
                self.wrong.push(format!("{term:?} had authority at {sent}, when others led: {over:?}"));
            }
        }
    }
}

/// The test's machine: a list of commands.
pub(super) struct List {
    pub(super) applied: Applied,
    pub(super) world: Arc<Mutex<World>>,
}

impl List {
    fn compare(&self, index: u64, command: &[u8]) {
        let mut world = self.world.lock();
        let agreed = world.agreed.entry(index).or_insert_with(|| command.to_vec()).clone();
        if agreed != command {
            world.wrong.push(format!("two commands at {index}: {agreed:?} and {command:?}"));
        }
    }
}

impl Machine for List {
    fn apply(&mut self, index: u64, command: &[u8]) -> Vec<u8> {
        self.compare(index, command);
        let mut applied = self.applied.lock();
        if applied.last().is_some_and(|(last, _)| *last >= index) {
            self.world.lock().wrong.push(format!("{index} is applied after {:?}", applied.last()));
        }
        applied.push((index, command.to_vec()));
        (applied.len() as u64).to_le_bytes().to_vec()
    }

    fn snapshot(&self) -> Vec<u8> {
        codec::encode(&*self.applied.lock())
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), String> {
        let list: Vec<(u64, Vec<u8>)> =
            codec::decode(snapshot, 1 << 20).map_err(|wrong| wrong.to_string())?;
        list.iter().for_each(|(index, command)| self.compare(*index, command));
        *self.applied.lock() = list;
        Ok(())
    }
}
