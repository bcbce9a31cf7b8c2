//! Leaders one after another, lives that end and begin, links that come and go, commands that are lost, late or applied twice.
//! What is true is known here and to nobody inside.

use proptest::prelude::*;

use super::*;
use crate::register::Agreed;

/// Data nodes, of which the last is enlisted later, and a witness behind them.
const DATA: usize = 4;
const NAMES: [&str; DATA + 1] = ["a", "b", "c", "d", "w"];
const WITNESS: usize = DATA;

/// How often what was seen.
#[derive(Debug, Default)]
struct Seen {
    causes: BTreeMap<&'static str, u64>,
    refused: u64,
    again: u64,
    denied: u64,
    granted: u64,
    replaced: u64,
    settled: u64,
}

/// What one life may do with its lease, in true time.
#[derive(Clone, Copy, Debug, Default)]
struct Held {
    until_ns: u64,
    released_ns: Option<u64>,
}

struct World {
    now_ns: u64,
    register: Register,
    overseer: Overseer,
    caught_up: bool,
    leader: usize,
    /// A leader before, which has not learnt yet that it is none.
    deposed: Option<Overseer>,
    /// The process of each node, if one runs, and how many there were.
    running: [Option<Peer>; DATA + 1],
    lives: u64,
    cut: Vec<(usize, usize)>,
    held: BTreeMap<Peer, Held>,
    asks: Vec<Ask>,
    releases: Vec<Release>,
    /// What was proposed in this term and may still be agreed on.
    sent: Vec<Command>,
    /// The number of the proposal that was not answered yet.
    waits: Option<u64>,
    /// The proposal that must be made again as it was.
    unknown: Option<Command>,
    seen: Seen,
}

impl World {
    fn new() -> World {
        let roles = [Role::Data, Role::Data, Role::Data, Role::Witness];
        let names = ["a", "b", "c", "w"];
        let nodes = names.iter().zip(roles).map(|(name, role)| enlisting(name, role)).collect();
        let mut register = Register::default();
        register.apply(&Command::Found {
            cluster: 1,
            name: "c".into(),
            nodes,
            slots: Vec::new(),
            carried: None,
            floor: 0,
        });
        let life = |name| Peer { node: node(name), incarnation: Incarnation(1) };
        let mut world = World {
            now_ns: MS,
            register,
            overseer: Overseer::new(terms(), Pace::of_heartbeat(HEARTBEAT), life("a"), 0),
            caught_up: false,
            leader: 0,
            deposed: None,
            running: NAMES.map(|name| Some(life(name))),
            lives: 1,
            cut: vec![],
            held: BTreeMap::new(),
            asks: vec![],
            releases: vec![],
            sent: vec![],
            waits: None,
            unknown: None,
            seen: Seen::default(),
        };
        world.tell();
        world
    }

    fn tell(&mut self) {
        self.overseer.on_register(self.now_ns, &Arc::new(self.register.clone()));
    }

    /// Any number is a step: the lower digits say which, the higher ones how.
    fn step(&mut self, number: u32) {
        let (which, how) = (number % 64, number as usize / 64);
        let (one, other) = (how % DATA, how / DATA % DATA);
        match which {
            0..24 => self.wait([5, 30, 100, 100, 100, 250, 600, 1_500][how % 8] * MS, how / 8),
            24..29 => self.ask(one),
            29..32 => self.asked(how),
            32 => self.release(one),
            33 => self.released(how),
            34..36 => self.stop(one),
            36..39 => self.start(one),
            39..41 => self.cut.push((one, other)),
            41..43 => drop((!self.cut.is_empty()).then(|| self.cut.swap_remove(how % self.cut.len()))),
            43 => self.cut.clear(),
            44..48 => self.open(),
            48..55 => self.answer(how),
            55 => self.elect(how % (DATA + 1), how / 8),
            56..58 => self.catch_up(),
            58 => self.change(Change::Drain(node(NAMES[one]))),
            59 => self.change(Change::Undrain(node(NAMES[one]))),
            60..62 => self.change(Change::Enlist(enlisting("d", Role::Data))),
            62 => self.change(Change::Strike(node("d"))),
            _ => self.pause(),
        }
        self.look();
    }

    fn reaches(&self, one: usize, other: usize) -> bool {
        let met = |pair: &(usize, usize)| *pair == (one, other) || *pair == (other, one);
        one == other || !self.cut.iter().any(met)
    }

    /// Heartbeats of all, except that one may be slow.
    fn beats(&mut self, slow: usize) {
        for (at, running) in self.running.into_iter().enumerate().filter(|(at, _)| *at != slow) {
            let Some(peer) = running.filter(|_| self.reaches(at, self.leader)) else { continue };
            let hears = |other: &usize| self.running[*other].is_some() && self.reaches(at, *other);
            let slots = (0..DATA).filter(hears).filter_map(|other| self.register.slot_of(node(NAMES[other])));
            self.overseer.on_beat(self.now_ns, peer, slots.fold(NodeSet::EMPTY, NodeSet::with));
        }
    }

    fn wait(&mut self, ns: u64, slow: usize) {
        let until_ns = self.now_ns + ns;
        while self.now_ns < until_ns {
            self.now_ns += (50 * MS).min(until_ns - self.now_ns);
            self.overseer.on_authority(self.now_ns.saturating_sub(10 * MS));
            self.beats(slow % 16);
            self.look();
        }
    }

    fn ask(&mut self, one: usize) {
        self.asks.extend(self.running[one].map(|peer| Ask { peer, sent_ns: self.now_ns }));
        self.asked(0);
    }

    /// Some question arrives, at the leader or at the one before. The newest are the likeliest.
    fn asked(&mut self, how: usize) {
        let Some(ask) = self.asks.iter().rev().nth(how % 4).copied() else { return };
        let deposed = self.deposed.as_mut().filter(|_| how % 3 == 1);
        let answer = deposed.unwrap_or(&mut self.overseer).on_ask(self.now_ns, &ask);
        let held = self.held.entry(ask.peer).or_default();
        match answer {
            Ok(grant) if held.released_ns.is_none_or(|released| released < grant.sent_ns) => {
                held.until_ns = held.until_ns.max(grant.sent_ns + grant.length_ns);
                self.seen.granted += 1;
            }
            Ok(_) => {}
            Err(_) => self.seen.denied += 1,
        }
    }

    fn release(&mut self, one: usize) {
        let Some(peer) = self.running[one] else { return };
        self.held.insert(peer, Held { until_ns: 0, released_ns: Some(self.now_ns) });
        self.releases.push(Release { peer, released_ns: self.now_ns });
    }

    fn released(&mut self, how: usize) {
        if let Some(release) = self.releases.iter().rev().nth(how % 4) {
            self.overseer.on_release(release);
            self.deposed.iter_mut().for_each(|deposed| deposed.on_release(release));
        }
    }

    fn stop(&mut self, one: usize) {
        let Some(peer) = self.running[one].take() else { return };
        self.overseer.on_closed(peer);
        if self.leader == one {
            self.elect(WITNESS, 1);
        }
    }

    fn start(&mut self, one: usize) {
        if self.running[one].is_none() {
            self.lives += 1;
            self.running[one] = Some(Peer { node: node(NAMES[one]), incarnation: Incarnation(self.lives) });
        }
    }

    fn open(&mut self) {
        let Some(latest) = self.register.latest() else { return };
        let command = Command::Open {
            number: latest.number,
            opening: crate::register::Opening { stamp: Timestamp(1), unserved: vec![] },
        };
        assert!(self.register.apply(&command).is_done());
        self.tell();
    }

    fn change(&mut self, change: Change) {
        let seen = self.register.revision();
        self.register.apply(&Command::Roster { seen, change });
        self.tell();
    }

    /// What was proposed is answered, or something of old is applied again.
    fn answer(&mut self, how: usize) {
        if how % 4 == 3 && !self.sent.is_empty() {
            let command = self.sent[how / 4 % self.sent.len()].clone();
            self.apply(&command);
            return;
        }
        let Some((number, command)) = self.waits.zip(self.sent.last().cloned()) else { return };
        self.waits = None;
        if how % 4 == 2 {
            if (how / 4).is_multiple_of(2) {
                self.sent.pop();
            }
            self.unknown = Some(command);
            return self.overseer.on_answer(self.now_ns, number, None);
        }
        let answer = self.apply(&command);
        self.seen.refused += u64::from(!answer.is_done());
        self.overseer.on_answer(self.now_ns, number, Some(&answer));
    }

    /// The next leader; what was under way is agreed on before it is caught up, or never.
    fn elect(&mut self, leader: usize, how: usize) {
        let Some(me) = self.running[leader] else { return };
        for (at, command) in std::mem::take(&mut self.sent).into_iter().enumerate() {
            if how >> at & 1 == 1 {
                self.apply(&command);
            }
        }
        (self.waits, self.unknown, self.leader, self.caught_up) = (None, None, leader, false);
        let next = Overseer::new(terms(), Pace::of_heartbeat(HEARTBEAT), me, self.now_ns);
        self.deposed = Some(std::mem::replace(&mut self.overseer, next));
        self.tell();
    }

    fn catch_up(&mut self) {
        self.overseer.on_caught_up();
        self.caught_up = true;
    }

    fn pause(&mut self) {
        let gap_ns = 2_000 * MS;
        self.now_ns += gap_ns;
        self.overseer.on_pause(self.now_ns, gap_ns);
    }

    /// What is proposed has to be right when it is proposed.
    fn look(&mut self) {
        let Some(command) = self.overseer.next(self.now_ns) else { return };
        assert!(self.caught_up, "{command:?} before it is caught up");
        let Command::Agree { number, .. } = &command else { panic!("{command:?} is no epoch") };
        assert!(self.waits.is_none_or(|before| before < *number), "one proposal of a number at a time");
        if let Some(unknown) = self.unknown.take() {
            let free = matches!(&unknown, Command::Agree { number: before, .. } if before == number);
            assert!(!free || unknown == command, "{command:?} instead of {unknown:?}");
            self.seen.again += u64::from(free);
        }
        self.check(&command);
        self.waits = Some(*number);
        self.sent.push(command);
    }

    fn apply(&mut self, command: &Command) -> Answer {
        let before = self.register.clone();
        let answer = self.register.apply(command);
        if answer == Answer::Done {
            let after = std::mem::replace(&mut self.register, before);
            self.check(command);
            self.register = after;
            let why = self.register.latest().map(|latest| format!("{:?}", latest.why)).unwrap_or_default();
            let cause =
                ["Founded", "Lost", "Joined", "Left", "Restarted"].into_iter().find(|one| *one == why);
            *self.seen.causes.entry(cause.expect("one of those")).or_default() += 1;
            self.tell();
        }
        answer
    }

    /// What must hold of an epoch if it is agreed on now.
    fn check(&mut self, command: &Command) {
        let Command::Agree { number, members, why } = command else { return };
        let latest = self.register.latest().filter(|latest| latest.number + 1 == *number);
        for out in latest.iter().flat_map(|latest| &latest.members).filter(|out| !members.contains(out)) {
            let held = self.held.get(out).copied().unwrap_or_default();
            assert!(held.until_ns <= self.now_ns, "{out:?} holds a lease, and {command:?}");
            self.seen.replaced += u64::from(members.iter().any(|member| member.node == out.node));
        }
        let Some(opened) = self.register.opened() else {
            return assert!(*why == Cause::Founded || latest.is_none());
        };
        if latest.is_none() || *why == Cause::Founded {
            return;
        }
        let keeps = |epoch: &Agreed| epoch.members.iter().any(|member| members.contains(member));
        let is_over = |epoch: &Agreed| epoch.members.iter().all(|old| !self.running.contains(&Some(*old)));
        if *why == Cause::Restarted {
            assert!(keeps(opened) || is_over(opened), "{command:?} leaves {opened:?} behind");
        }
    }

    /// Everything heals. How long until the epoch of all is open; fails if it never is, or anything is proposed behind that.
    fn settle(&mut self) {
        self.cut.clear();
        (0..DATA).for_each(|one| self.start(one));
        self.start(WITNESS);
        for name in NAMES {
            self.change(Change::Undrain(node(name)));
        }
        self.change(Change::Enlist(enlisting("d", Role::Data)));
        self.catch_up();
        let mut quiet_ns = 0;
        for _ in 0..400 {
            if let Some(number) = self.waits.take() {
                let command = self.sent.last().cloned().expect("it waits for one");
                let answer = self.apply(&command);
                self.overseer.on_answer(self.now_ns, number, Some(&answer));
                quiet_ns = 0;
            }
            self.open();
            self.wait(50 * MS, DATA + 1);
            quiet_ns += 50 * MS;
            if quiet_ns > 3_000 * MS {
                break;
            }
        }
        let mut all: Vec<Peer> =
            self.running.into_iter().flatten().filter(|one| one.node != node("w")).collect();
        all.sort();
        let latest = self.register.latest().expect("there was time enough");
        assert_eq!(latest.members, all, "after {} ms", self.now_ns / MS);
        assert!(quiet_ns > 3_000 * MS && self.waits.is_none(), "it does not come to rest");
        let asks = all.iter().map(|peer| Ask { peer: *peer, sent_ns: self.now_ns });
        for ask in asks.collect::<Vec<_>>() {
            assert!(self.overseer.on_ask(self.now_ns, &ask).is_ok(), "{ask:?} is denied");
        }
        self.seen.settled += 1;
    }
}

fn walk(steps: &[u32]) -> Seen {
    let mut world = World::new();
    world.catch_up();
    steps.iter().for_each(|step| world.step(*step));
    world.settle();
    world.seen
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn any_walk_is_safe_and_comes_to_rest(steps in proptest::collection::vec(any::<u32>(), 1..300)) {
        // Aim: nobody is excluded who holds a lease, no epoch leaves behind what may be alive, and when everybody is heard it comes
        // to the epoch of all and stays there. Method: random walks, looked at from outside after each step; then all heals.
        walk(&steps);
    }
}

#[test]
fn walks_get_everywhere() {
    // Aim: the property above is not about nothing. Method: how often what happened, in walks that are always the same.
    let mut state = 5_u64;
    let mut next = || {
        // Knuth's MMIX generator; the low bits of its numbers are poor.
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 32) as u32
    };
    let mut sum = Seen::default();
    for _ in 0..60 {
        let seen = walk(&(0..300).map(|_| next()).collect::<Vec<_>>());
        seen.causes.into_iter().for_each(|(why, count)| *sum.causes.entry(why).or_default() += count);
        sum.refused += seen.refused;
        sum.again += seen.again;
        sum.denied += seen.denied;
        sum.granted += seen.granted;
        sum.replaced += seen.replaced;
        sum.settled += seen.settled;
    }
    println!("{sum:?}");
    assert_eq!((sum.causes.len(), sum.settled), (5, 60));
    assert!(sum.causes.values().all(|count| *count >= 10), "{sum:?}");
    assert!(
        sum.refused > 3 && sum.again > 10 && sum.replaced > 10 && sum.granted > 100 && sum.denied > 100,
        "{sum:?}"
    );
}
