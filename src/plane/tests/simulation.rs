//! The nodes, the network between them and the discs below, and the properties that are checked all the time: one order of
//! commands, authority that a majority has confirmed and that ends before the next election.

use std::collections::{BTreeMap, BTreeSet};
use std::future::{Future, pending};
use std::sync::Arc;
use std::time::Duration;

use hypermnesia_store::NodeId;
use hypermnesia_store::codec;
use hypermnesia_store::disc::{Crash, MemDisc};
use parking_lot::Mutex;
use tokio::time::{Instant, sleep, timeout};

use crate::plane::kind::Appended;
use crate::plane::message::{Answer, Ask, Request};
use crate::plane::{
    Authority, Config, Machine, Place, Plane, RaftId, Reply, Term, Unreachable, View, Voter, Wire,
};

pub(super) const HEARTBEAT: Duration = Duration::from_millis(100);
pub(super) const ELECTION_MIN: Duration = Duration::from_millis(300);
pub(super) const ELECTION_MAX: Duration = Duration::from_millis(600);
/// Longest way of a message.
pub(super) const WAY_MS_MAX: u64 = 20;

/// Runs a simulation on its own clock.
pub(super) fn simulate<F: Future<Output = ()>>(seed: u64, run: impl FnOnce(Cluster) -> F) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let _named = Named(seed);
    runtime.expect("a runtime needs nothing").block_on(async {
        let cluster = Cluster::new(seed);
        let world = cluster.world.clone();
        run(cluster).await;
        let left: Vec<_> = world.lock().planes.values().map(|(_, plane)| plane.clone()).collect();
        left.iter().for_each(|plane| no_panic(&world, plane));
        let wrong = world.lock().wrong.clone();
        assert!(wrong.is_empty(), "seed {seed}: {wrong:#?}");
    });
}

/// Tells the seed of what fails.
struct Named(u64);

impl Drop for Named {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("it was seed {}", self.0);
        }
    }
}

/// Says what is wrong with an answer that is about to leave, or with the disc below it.
pub(super) type Look = fn(&MemDisc, &Ask, &Answer) -> Option<String>;

/// What a machine has applied, with its indices.
type Applied = Arc<Mutex<Vec<(u64, Vec<u8>)>>>;

/// All that nodes share.
pub(super) struct World {
    random: fastrand::Rng,
    start: Instant,
    planes: BTreeMap<usize, (u64, Arc<Plane>)>,
    /// From whom to whom nothing comes through.
    cut: BTreeSet<(usize, usize)>,
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
    pub(super) requests: u64,
}

impl World {
    fn now_ns(&self) -> u64 {
        self.start.elapsed().as_nanos() as u64
    }

    fn lives(&self, slot: usize, life: u64) -> bool {
        self.planes.get(&slot).is_some_and(|(now, _)| *now == life)
    }

    fn way(&mut self) -> Duration {
        Duration::from_micros(self.random.u64(100..WAY_MS_MAX * 1000))
    }

    /// Looks at what a node says of itself.
    fn look(&mut self, view: &View) {
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
struct List {
    applied: Applied,
    world: Arc<Mutex<World>>,
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

struct SimulatedWire {
    slot: usize,
    life: u64,
    world: Arc<Mutex<World>>,
    discs: Arc<Mutex<BTreeMap<usize, MemDisc>>>,
}

impl Wire for SimulatedWire {
    fn send(&self, _: RaftId, voter: &Voter, bytes: Vec<u8>) -> Reply {
        let (from, life, world, discs) = (self.slot, self.life, self.world.clone(), self.discs.clone());
        let to: usize = voter.address.parse().expect("addresses are slots here");
        Box::pin(async move {
            let sent = world.lock().now_ns();
            let (way, twice) = {
                let mut world = world.lock();
                world.requests += 1;
                (world.way(), world.random.u8(..) < 8)
            };
            sleep(way).await;
            let plane = {
                let mut world = world.lock();
                let lost = !world.lives(from, life) || world.cut.contains(&(from, to));
                let noticed = world.random.bool();
                match world.planes.get(&to) {
                    Some((_, plane)) if !lost => Some(plane.clone()),
                    _ if noticed => return Err(Unreachable(format!("slot {to}"))),
                    _ => None,
                }
            };
            let Some(plane) = plane else { return pending().await };
            if twice {
                let (plane, bytes, again) = (plane.clone(), bytes.clone(), world.lock().way());
                tokio::spawn(async move {
                    sleep(again).await;
                    drop(plane.on_request(&bytes).await);
                });
            }
            let answer = match plane.on_request(&bytes).await {
                Ok(answer) => answer,
                Err(wrong) => {
                    world.lock().wrong.push(format!("slot {from} asks what none may ask: {wrong}"));
                    return Err(Unreachable(wrong.to_string()));
                }
            };
            let request = Request::decode(&bytes).expect("it was understood");
            let read = Answer::decode(&answer, &request.ask.asked()).expect("what planes answer is sound");
            let check = world.lock().before_answer;
            if let Some(wrong) = check.and_then(|check| check(&discs.lock()[&to], &request.ask, &read)) {
                world.lock().wrong.push(wrong);
            }
            let way = world.lock().way();
            sleep(way).await;
            let lost = {
                let world = world.lock();
                !world.lives(from, life) || world.cut.contains(&(to, from))
            };
            if lost {
                return pending().await;
            }
            let mut world = world.lock();
            if let (Ask::Append(append), Answer::Append(Appended::Success | Appended::Conflict)) =
                (&request.ask, &read)
            {
                let last = world.answered.entry((append.vote.leader_id.node_id, request.to)).or_default();
                *last = sent.max(*last);
            }
            world.trace.update(&sent.to_le_bytes());
            world.trace.update(&answer);
            Ok(answer)
        })
    }
}

/// The nodes, by slot.
pub(super) struct Cluster {
    pub(super) world: Arc<Mutex<World>>,
    discs: Arc<Mutex<BTreeMap<usize, MemDisc>>>,
    lists: BTreeMap<usize, Applied>,
    lives: u64,
    pub(super) random: fastrand::Rng,
    told: Arc<Mutex<BTreeMap<u64, Vec<u8>>>>,
}

impl Cluster {
    fn new(seed: u64) -> Cluster {
        let world = World {
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
            requests: 0,
        };
        Cluster {
            world: Arc::new(Mutex::new(world)),
            discs: Arc::default(),
            lists: BTreeMap::new(),
            lives: 0,
            random: fastrand::Rng::with_seed(!seed),
            told: Arc::default(),
        }
    }

    /// Some nodes that have begun together.
    pub(super) async fn begin(&mut self, count: usize) {
        for slot in 0..count {
            self.start(slot).await;
        }
        let voters = (0..count).map(|slot| (self.plane(slot).raft_id(), voter(slot))).collect();
        self.plane(0).initialize(voters).await.expect("it is new");
        // Until then nobody else knows who the voters are.
        let know = |cluster: &Cluster| cluster.views().iter().all(|view| view.settled).then_some(());
        self.until(ELECTION_MAX * 10, "all know the voters", know).await;
    }

    /// Starts the node of a slot, on its disc or a new one.
    pub(super) async fn start(&mut self, slot: usize) -> Arc<Plane> {
        self.lives += 1;
        let life = self.lives;
        let disc = self.discs.lock().entry(slot).or_default().clone();
        let list = Arc::new(Mutex::new(Vec::new()));
        self.lists.insert(slot, list.clone());
        let (clock, dice) = (self.world.clone(), self.world.clone());
        let config = Config {
            cluster: "simulated".to_owned(),
            place: Place::Simulated(Arc::new(disc)),
            heartbeat: HEARTBEAT,
            election_min: ELECTION_MIN,
            election_max: ELECTION_MAX,
            patience: ELECTION_MAX * 5,
            clock: Arc::new(move || clock.lock().now_ns()),
            random: Arc::new(move || dice.lock().random.u64(..)),
        };
        let machine = Box::new(List { applied: list, world: self.world.clone() });
        let wire = SimulatedWire { slot, life, world: self.world.clone(), discs: self.discs.clone() };
        let plane = Arc::new(Plane::open(config, machine, Arc::new(wire)).await.expect("its disc is whole"));
        self.world.lock().planes.insert(slot, (life, plane.clone()));
        let (world, mut views) = (self.world.clone(), plane.watch());
        tokio::spawn(async move {
            while views.changed().await.is_ok() {
                let view = views.borrow_and_update().clone();
                let mut world = world.lock();
                if !world.lives(slot, life) {
                    break;
                }
                world.look(&view);
            }
        });
        plane
    }

    /// Ends a node as a power cut does; its disc is what was synced of it, torn.
    pub(super) async fn crash(&mut self, slot: usize) {
        let Some((_, plane)) = self.world.lock().planes.remove(&slot) else { return };
        no_panic(&self.world, &plane);
        let torn = Crash::Torn(self.random.u64(..));
        let left = self.discs.lock()[&slot].crash(torn);
        self.discs.lock().insert(slot, left);
        plane.shutdown().await;
    }

    pub(super) fn disc(&self, slot: usize) -> MemDisc {
        self.discs.lock()[&slot].clone()
    }

    /// Takes the disc of a slot away.
    pub(super) fn lose_disc(&mut self, slot: usize) {
        self.discs.lock().remove(&slot);
    }

    pub(super) fn running(&self) -> Vec<usize> {
        self.world.lock().planes.keys().copied().collect()
    }

    pub(super) fn plane(&self, slot: usize) -> Arc<Plane> {
        self.world.lock().planes[&slot].1.clone()
    }

    pub(super) fn id(&self, slot: usize) -> RaftId {
        self.plane(slot).raft_id()
    }

    pub(super) fn cut(&self, from: usize, to: usize) {
        self.world.lock().cut.insert((from, to));
    }

    /// Cuts a node off, both ways.
    pub(super) fn isolate(&self, slot: usize, count: usize) {
        for other in (0..count).filter(|other| *other != slot) {
            self.cut(slot, other);
            self.cut(other, slot);
        }
    }

    pub(super) fn heal(&self) {
        self.world.lock().cut.clear();
    }

    pub(super) fn now_ns(&self) -> u64 {
        self.world.lock().now_ns()
    }

    /// Who leads in the latest term, of those that run.
    pub(super) fn leader(&self) -> Option<usize> {
        let planes: Vec<_> =
            self.world.lock().planes.iter().map(|(slot, (_, plane))| (*slot, plane.clone())).collect();
        let led =
            planes.into_iter().map(|(slot, plane)| (slot, plane.view())).filter(|(_, view)| view.leading);
        led.max_by_key(|(_, view)| view.term).map(|(slot, _)| slot)
    }

    /// Waits for something, up to a time.
    pub(super) async fn until<T>(
        &self,
        within: Duration,
        what: &str,
        mut look: impl FnMut(&Cluster) -> Option<T>,
    ) -> T {
        let looking = async {
            loop {
                if let Some(found) = look(self) {
                    return found;
                }
                sleep(Duration::from_millis(3)).await;
            }
        };
        let found = timeout(within, looking).await;
        found.unwrap_or_else(|_| panic!("not within {within:?}: {what}; {:#?}", self.views()))
    }

    /// A leader that a majority has confirmed just now.
    pub(super) async fn led(&self) -> usize {
        let since = self.now_ns();
        self.until(ELECTION_MAX * 20, "a leader", |cluster| {
            let slot = cluster.leader()?;
            let view = cluster.plane(slot).view();
            view.authority.is_some_and(|proof| proof.sent_ns >= since).then_some(slot)
        })
        .await
    }

    /// Proposes at a slot and remembers what was told.
    pub(super) fn propose(&self, slot: usize, command: Vec<u8>) -> impl Future<Output = bool> + use<> {
        let (plane, told) = (self.plane(slot), self.told.clone());
        async move {
            let answer = plane.propose(command.clone()).await;
            answer.is_ok_and(|(index, _)| told.lock().insert(index, command).is_none())
        }
    }

    /// Has a last command agreed, and compares what all voters' machines hold and what proposers were told.
    pub(super) async fn settle(&self) {
        let (leader, last) = loop {
            let slot = self.led().await;
            if let Ok((last, _)) = self.plane(slot).propose(b"last".to_vec()).await {
                break (slot, last);
            }
        };
        let voters = self.plane(leader).view().voters;
        for slot in self.running().into_iter().filter(|slot| voters.contains_key(&self.id(*slot))) {
            self.until(ELECTION_MAX * 20, "everybody has the last command", |cluster| {
                let applied = cluster.plane(slot).view().applied;
                applied.is_some_and(|applied| applied >= last).then_some(())
            })
            .await;
            let list: BTreeMap<_, _> = self.lists[&slot].lock().iter().cloned().collect();
            for (index, command) in self.told.lock().iter() {
                assert_eq!(
                    list.get(index),
                    Some(command),
                    "slot {slot} lost a command that was told as agreed"
                );
            }
        }
    }

    pub(super) fn told(&self) -> usize {
        self.told.lock().len()
    }

    pub(super) fn list(&self, slot: usize) -> Vec<(u64, Vec<u8>)> {
        self.lists[&slot].lock().clone()
    }

    /// Entries in the log of a slot.
    pub(super) async fn stored(&self, slot: usize) -> u64 {
        let keeper = self.plane(slot).core.keeper.clone();
        keeper.run(|store| store.entries(0, u64::MAX)).await.expect("it runs").len() as u64
    }

    pub(super) fn views(&self) -> Vec<View> {
        self.running().into_iter().map(|slot| self.plane(slot).view()).collect()
    }
}

/// A panic below is no failure of a test by itself.
fn no_panic(world: &Mutex<World>, plane: &Plane) {
    let view = plane.view();
    if view.stopped.as_ref().is_some_and(|why| why.contains("panic")) {
        world.lock().wrong.push(format!("{view:?}"));
    }
}

pub(super) fn voter(slot: usize) -> Voter {
    let name = format!("n{slot}");
    Voter { node: NodeId::of_name(&name), name, address: slot.to_string() }
}
