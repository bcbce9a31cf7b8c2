//! Any commands in any order, each perhaps again at any later time: what must hold after each.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// Names from which nodes are enlisted: a few more than there are slots.
const NAMES: u64 = 70;

/// Digits of a number that looks random: each choice takes some of it.
struct Choice(u64);

impl Choice {
    fn below(&mut self, bound: u64) -> u64 {
        let digit = self.0 % bound;
        self.0 /= bound;
        digit
    }
}

/// A command that makes sense more often than not.
fn command(register: &Register, number: u64) -> Command {
    let mut choice = Choice(number);
    match choice.below(16) {
        0 => founding(&["n0", "n1"]),
        1..7 => {
            let seen = register.revision.saturating_sub(choice.below(6).saturating_sub(4));
            Command::Roster { seen, change: change(register, &mut choice) }
        }
        7..12 => next_epoch(register, &mut choice),
        _ => {
            let latest = register.latest().map_or(0, |epoch| epoch.number);
            let (off, table) = (choice.below(8).saturating_sub(6), choice.below(4));
            let unserved = if table == 0 { vec![(TableId(1), latest.saturating_sub(1))] } else { vec![] };
            let opening = Opening { stamp: Timestamp(choice.below(9)), unserved };
            Command::Open { number: latest.saturating_sub(off), opening }
        }
    }
}

fn change(register: &Register, choice: &mut Choice) -> Change {
    let name = format!("n{}", choice.below(NAMES));
    let raft = Some(choice.below(100)).filter(|raft| *raft < 50);
    let (kind, at) = (choice.below(9), choice.below(64) as usize);
    let known =
        register.nodes().nth(at % register.nodes().count().max(1)).map_or(node(&name), |(_, one)| one.node);
    match kind {
        0..4 => {
            let role = if choice.below(8) == 0 { Role::Witness } else { Role::Data };
            Change::Enlist(Enlisting { role, raft, ..enlisting(&name) })
        }
        4 => Change::Readdress { node: known, address: name, raft },
        5 => Change::Drain(known),
        6 => Change::Undrain(known),
        _ => Change::Strike(known),
    }
}

/// Some of the enlisted nodes, and most members of the last opened epoch in the same life.
fn next_epoch(register: &Register, choice: &mut Choice) -> Command {
    let latest = register.latest().map_or(0, |epoch| epoch.number);
    let number = (latest + 1).saturating_sub(choice.below(8).saturating_sub(6));
    let causes = [Cause::Lost, Cause::Joined, Cause::Left, Cause::Restarted, Cause::Schema];
    let why = if register.opened().is_none() { Cause::Founded } else { causes[choice.below(5) as usize] };
    let (new, again) = (choice.below(6), choice.below(10));
    let mut members: Vec<Peer> = Vec::new();
    for (slot, one) in register.nodes() {
        let before =
            register.opened().and_then(|epoch| epoch.members.iter().find(|peer| peer.node == one.node));
        let incarnation = before.map_or(Incarnation(number), |peer| Peer::clone(peer).incarnation);
        let life = if again == 0 { Incarnation(number + 1_000) } else { incarnation };
        if slot as u64 % 6 == new || before.is_some() && slot as u64 % 7 != new {
            members.push(Peer { node: one.node, incarnation: life });
        }
    }
    if choice.below(10) > 0 {
        members.sort();
        members.retain(|member| register.roster.refuses_member(member.node).is_none());
    }
    Command::Agree { number, members, why }
}

/// What was seen of a register from outside.
#[derive(Default)]
struct Seen {
    /// The number of the epoch that was brought to the founding.
    brought: u64,
    members: BTreeMap<u64, Vec<Peer>>,
    openings: BTreeMap<u64, Opening>,
    slots: BTreeMap<usize, NodeId>,
    /// Per slot, when it became free last.
    freed: BTreeMap<usize, usize>,
}

impl Seen {
    /// Holds a register against everything that was seen before.
    fn look(&mut self, register: &Register, time: usize) {
        assert_eq!(register.is_sound(), Ok(()));
        let latest = register.latest().map_or(0, |epoch| epoch.number);
        let known = self.members.keys().next_back().copied().unwrap_or(self.brought);
        assert!(latest == known || latest == known + 1, "numbers are dense and rising");
        for epoch in register.chain.kept() {
            let members = self.members.entry(epoch.number).or_insert_with(|| epoch.members.clone());
            assert_eq!(*members, epoch.members, "one membership per number");
            let Some(opening) = &epoch.opening else { continue };
            let before = self.openings.range(..epoch.number).next_back().map_or(0, |(number, _)| *number);
            assert_eq!(epoch.parent, before, "opened epochs form a chain");
            assert_eq!(self.openings.entry(epoch.number).or_insert_with(|| opening.clone()), opening);
        }
        let last = self.openings.keys().next_back().copied();
        assert_eq!(
            register.opened().map(|epoch| epoch.number),
            last,
            "the opened one is kept, and none opens behind it"
        );
        self.look_at_slots(register, time);
    }

    fn look_at_slots(&mut self, register: &Register, time: usize) {
        let slots: BTreeMap<usize, NodeId> = register.nodes().map(|(slot, one)| (slot, one.node)).collect();
        assert!(slots.keys().all(|slot| *slot < MEMBERS_MAX));
        for (slot, was) in &self.slots {
            let now = register.slot_of(*was);
            assert!(now == Some(*slot) || now.is_none(), "a slot is stable");
        }
        for (slot, is) in &slots {
            if self.slots.get(slot) != Some(is) && !self.freed.is_empty() {
                let since = |slot: usize| self.freed.get(&slot).copied().unwrap_or(0);
                let free = (0..MEMBERS_MAX).filter(|slot| !self.slots.contains_key(slot));
                let longest = free.min_by_key(|slot| (since(*slot), *slot));
                assert_eq!(Some(*slot), longest, "the slot that was free longest");
            }
        }
        for slot in self.slots.keys().filter(|slot| !slots.contains_key(slot)) {
            self.freed.insert(*slot, time);
        }
        self.slots = slots;
    }
}

/// Applies what the numbers say and looks at everything after each command. The register and what became of each command.
fn run(first: usize, brought: u64, numbers: &[u64]) -> (Register, Vec<(Command, Answer)>) {
    let names: Vec<String> = (0..first).map(|at| format!("n{at}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut register = Register::default();
    let mut seen = Seen { brought, ..Seen::default() };
    let brought = Some(brought).filter(|brought| *brought > 0);
    let begin = founding_with(&names, brought.map(|number| carried(number, &[("n0", 1), ("n1", 1)], &[])));
    let mut history = vec![(begin.clone(), register.apply(&begin))];
    seen.look(&register, 0);
    for (time, number) in numbers.iter().enumerate() {
        // Every fourth is one that came before.
        let old = (number % 4 == 0).then(|| history[(number / 4) as usize % history.len()].clone());
        let (before, fresh) = (register.clone(), command(&register, number / 4));
        let command = old.as_ref().map_or(fresh, |(command, _)| command.clone());
        let answer = register.apply(&command);
        assert_eq!(answer == Answer::Done, register != before, "{command:?}: {answer:?}");
        let counted = old.is_some_and(|(_, answer)| answer.is_done());
        assert!(!counted || register == before, "{command:?} counted twice");
        let after = register.clone();
        assert_ne!(register.apply(&command), Answer::Done, "{command:?} counted twice");
        assert_eq!(register, after);
        seen.look(&register, time + 1);
        history.push((command, answer));
    }
    (register, history)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn any_history_keeps_the_invariants(
        full in any::<bool>(),
        brought in 0..3_u64,
        numbers in proptest::collection::vec(any::<u64>(), 1..300),
        at in 0..300_usize,
    ) {
        // Aim: what the header of the register promises. Method: any commands, looked at from outside after each; then from a
        // snapshot somewhere in between again.
        let (register, history) = run(if full { 62 } else { 3 }, brought, &numbers);
        let (before, behind) = history.split_at(at.min(history.len()));
        let mut replayed = Register::default();
        before.iter().for_each(|(command, answer)| assert_eq!(replayed.apply(command), *answer));
        let mut replayed = Register::decode(&replayed.encode()).expect("its own bytes");
        for (command, answer) in behind {
            let command = Command::decode(&command.encode()).expect("its own bytes");
            prop_assert_eq!(&replayed.apply(&command), answer);
        }
        prop_assert_eq!(replayed, register);
    }
}

#[test]
fn histories_get_everywhere() {
    // Aim: the property above is not about refusals only. Method: one long history; how often what was done, and that epochs
    // were dropped and slots given anew.
    let mut state = 3_u64;
    let mut next = || {
        // Knuth's MMIX generator; the low bits of its numbers are poor.
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state ^ state >> 29
    };
    let numbers: Vec<u64> = (0..3_000).map(|_| next()).collect();
    let (register, history) = run(62, 0, &numbers);
    let done = |of: fn(&Command) -> bool| {
        history.iter().filter(|(command, answer)| of(command) && *answer == Answer::Done).count()
    };
    let strikes = done(|command| matches!(command, Command::Roster { change: Change::Strike(_), .. }));
    let enlisted = done(|command| matches!(command, Command::Roster { change: Change::Enlist(_), .. }));
    let agreed = done(|command| matches!(command, Command::Agree { .. }));
    let opened = done(|command| matches!(command, Command::Open { .. }));
    println!("{strikes} struck, {enlisted} enlisted, {agreed} agreed on, {opened} opened");
    assert!(strikes > 20 && enlisted > 20 && agreed > 2 * EPOCHS_KEPT_MAX && opened > 50);
    assert_eq!(register.numbers().len(), EPOCHS_KEPT_MAX);
    assert_eq!(register.roster.nodes().map(|(slot, _)| slot).max(), Some(MEMBERS_MAX - 1));
}
