use hypermnesia_store::{Incarnation, TableId, Timestamp};

use super::*;
use crate::limits::{ADDRESS_BYTES_MAX, EPOCHS_KEPT_MAX, MEMBERS_MAX, UNSERVED_MAX};

mod bytes;
mod history;

fn node(name: &str) -> NodeId {
    NodeId::of_name(name)
}

fn enlisting(name: &str) -> Enlisting {
    Enlisting { name: name.into(), address: format!("{name}.test:4711"), role: Role::Data, raft: None }
}

fn lives(names: &[(&str, u64)]) -> Vec<Peer> {
    let life = |(name, life): &(&str, u64)| Peer { node: node(name), incarnation: Incarnation(*life) };
    let mut members: Vec<_> = names.iter().map(life).collect();
    members.sort();
    members
}

fn founding(names: &[&str]) -> Command {
    founding_with(names, None)
}

fn founding_with(names: &[&str], carried: Option<Carried>) -> Command {
    let nodes = names.iter().map(|name| enlisting(name)).collect();
    Command::Found { cluster: 7, name: "c".into(), nodes, slots: Vec::new(), carried, floor: 0 }
}

fn carried(number: u64, names: &[(&str, u64)], unserved: &[(u32, u64)]) -> Carried {
    let unserved = unserved.iter().map(|(table, served)| (TableId(*table), *served)).collect();
    Carried { number, members: lives(names), opening: Opening { stamp: Timestamp(9), unserved } }
}

/// A cluster of `a`, `b`, `c` without an epoch.
fn founded() -> Register {
    let mut register = Register::default();
    assert_eq!(register.apply(&founding(&["a", "b", "c"])), Answer::Done);
    register
}

fn agree(number: u64, names: &[(&str, u64)], why: Cause) -> Command {
    Command::Agree { number, members: lives(names), why }
}

fn open(number: u64) -> Command {
    Command::Open { number, opening: Opening { stamp: Timestamp(number * 100), unserved: vec![] } }
}

/// The same cluster with epoch 1 of all three in their first life, open.
fn opened() -> Register {
    let mut register = founded();
    assert_eq!(register.apply(&agree(1, &[("a", 1), ("b", 1), ("c", 1)], Cause::Founded)), Answer::Done);
    assert_eq!(register.apply(&open(1)), Answer::Done);
    register
}

impl Register {
    /// A change by somebody who has seen everything.
    fn changed(&mut self, change: Change) -> Answer {
        self.apply(&Command::Roster { seen: self.revision, change })
    }

    fn numbers(&self) -> Vec<u64> {
        self.chain.kept().iter().map(|epoch| epoch.number).collect()
    }
}

/// Fails unless the command is refused, for this reason, and the register stays what it is.
fn refused(register: &mut Register, command: &Command, why: Refusal) {
    let before = register.clone();
    assert_eq!(register.apply(command), Answer::Refused(why));
    assert_eq!(*register, before, "a refusal changes nothing");
}

#[test]
fn a_cluster_is_founded_once() {
    // Aim: one cluster, for good, and nothing before it. Method: commands before, the same founding again, another one, bad ones.
    let mut register = Register::default();
    refused(&mut register, &agree(1, &[("a", 1)], Cause::Founded), Refusal::NotFounded);
    refused(&mut register, &founding(&[]), Refusal::NoNodes);
    refused(&mut register, &founding(&["a", "a"]), Refusal::EnlistedOtherwise { node: node("a") });
    let nameless = Command::Found {
        cluster: 7,
        name: String::new(),
        nodes: vec![enlisting("a")],
        slots: Vec::new(),
        carried: None,
        floor: 0,
    };
    refused(&mut register, &nameless, Refusal::BadText { bytes_max: NAME_BYTES_MAX as u64 });
    assert_eq!((register.cluster(), register.revision()), (None, 0));

    assert_eq!(register.apply(&founding(&["c", "a", "b"])), Answer::Done);
    assert_eq!((register.cluster(), register.revision()), (Some((7, "c")), 1));
    let mut by_id = ["a", "b", "c"].map(node);
    by_id.sort();
    assert!(
        register.nodes().map(|(slot, one)| (slot, one.node)).eq(by_id.into_iter().enumerate()),
        "slots by id"
    );
    assert_eq!(register.apply(&founding(&["a"])), Answer::Already);
    let other = Command::Found {
        cluster: 8,
        name: "c".into(),
        nodes: vec![enlisting("a")],
        slots: Vec::new(),
        carried: None,
        floor: 0,
    };
    refused(&mut register, &other, Refusal::FoundedOtherwise { cluster: 7 });
}

#[test]
fn a_cluster_that_was_there_before_its_register_goes_on_in_it() {
    // Aim: numbers go on behind the epoch that the founders bring, and who of it is there still survives. Method: each rule for
    // what is brought; then the next epoch with somebody of it, with nobody, and from a snapshot.
    let mut register = Register::default();
    let all = ["a", "b", "c"];
    let mut refuses = |brought, why| refused(&mut register, &founding_with(&all, Some(brought)), why);
    refuses(carried(0, &[("a", 4)], &[]), Refusal::BadCarried);
    refuses(carried(7, &[], &[]), Refusal::BadMembers);
    refuses(carried(7, &[("a", 4), ("d", 1)], &[]), Refusal::NotEnlisted { node: node("d") });
    refuses(carried(7, &[("a", 4)], &[(2, 7)]), Refusal::BadUnserved { table: TableId(2) });

    let brought = carried(7, &[("a", 4), ("b", 5)], &[(2, 6)]);
    let found = founding_with(&all, Some(brought.clone()));
    assert_eq!((register.apply(&found), register.apply(&found)), (Answer::Done, Answer::Already));
    assert_eq!(register.apply(&founding(&all)), Answer::Already, "what comes later brings nothing");
    let opened = register.opened().expect("brought").clone();
    assert_eq!(
        (opened.number, &opened.members, opened.opening),
        (7, &brought.members, Some(brought.opening))
    );
    assert_eq!(Register::decode(&register.encode()), Ok(register.clone()));
    let command = Command::Roster { seen: register.revision, change: Change::Strike(node("b")) };
    refused(&mut register, &command, Refusal::IsMember { node: node("b"), epoch: 7 });

    let (same, other) = ([("a", 4), ("c", 1)], [("a", 6), ("b", 6), ("c", 1)]);
    refused(&mut register, &agree(1, &same, Cause::Founded), Refusal::NotNext { latest: 7 });
    refused(&mut register, &agree(8, &same, Cause::Founded), Refusal::BadCause { opened: 7 });
    refused(&mut register, &agree(8, &other, Cause::Joined), Refusal::NoSurvivor { opened: 7 });
    assert_eq!(register.clone().apply(&agree(8, &same, Cause::Joined)), Answer::Done);
    assert_eq!(register.apply(&agree(8, &other, Cause::Restarted)), Answer::Done);
    assert_eq!(register.latest().expect("agreed on").parent, 7);
    assert_eq!(register.apply(&open(8)), Answer::Done);
    assert_eq!(Register::decode(&register.encode()), Ok(register.clone()));
}

#[test]
fn the_roster_changes_for_who_has_seen_it() {
    // Aim: each change once, whatever comes again. Method: each kind of change, and each again later.
    let mut register = founded();
    let enlist = Command::Roster { seen: 1, change: Change::Enlist(enlisting("d")) };
    assert_eq!(register.apply(&enlist), Answer::Done);
    assert_eq!((register.apply(&enlist), register.slot_of(node("d"))), (Answer::Already, Some(3)));
    let address =
        |address: &str| Change::Readdress { node: node("d"), address: address.into(), raft: Some(5) };
    let first = Command::Roster { seen: 2, change: address("one:1") };
    assert_eq!((register.apply(&first), register.changed(address("two:2"))), (Answer::Done, Answer::Done));
    refused(&mut register, &first, Refusal::Stale { seen: 2, revision: 4 });
    let known = register.enlisted(node("d")).expect("enlisted");
    assert_eq!((known.address.as_str(), known.raft, known.draining), ("two:2", Some(5), false));
    let store = Change::Readdress { node: node("d"), address: "two:2".into(), raft: Some(6) };
    assert_eq!(register.changed(store), Answer::Done, "another store at the same address");
    assert_eq!(register.changed(Change::Undrain(node("d"))), Answer::Already);
    assert_eq!(register.changed(Change::Drain(node("d"))), Answer::Done);
    assert!(register.node_at(3).expect("d").draining);
    assert_eq!(register.changed(Change::Undrain(node("d"))), Answer::Done);
    assert_eq!(register.changed(Change::Strike(node("d"))), Answer::Done);
    assert_eq!((register.enlisted(node("d")), register.node_at(3)), (None, None));
    let revision = register.revision;
    refused(&mut register, &enlist, Refusal::Stale { seen: 1, revision });
    for change in [Change::Drain(node("d")), Change::Strike(node("d")), address("three:3")] {
        let command = Command::Roster { seen: register.revision, change };
        refused(&mut register, &command, Refusal::NotEnlisted { node: node("d") });
    }
}

#[test]
fn nodes_are_told_apart() {
    // Aim: no two nodes with one name, id or voting store, and names that can be read. Method: each clash.
    let mut register = founded();
    let mut other = enlisting("a");
    other.address = "elsewhere:1".into();
    let mut clash = |new: Enlisting, why: Refusal| {
        let command = Command::Roster { seen: register.revision, change: Change::Enlist(new) };
        refused(&mut register, &command, why);
    };
    clash(other, Refusal::EnlistedOtherwise { node: node("a") });
    clash(enlisting(""), Refusal::BadText { bytes_max: NAME_BYTES_MAX as u64 });
    clash(enlisting("a\nb"), Refusal::BadText { bytes_max: NAME_BYTES_MAX as u64 });
    clash(
        Enlisting { address: "x".repeat(ADDRESS_BYTES_MAX + 1), ..enlisting("d") },
        Refusal::BadText { bytes_max: ADDRESS_BYTES_MAX as u64 },
    );
    let store = |name: &str| Change::Readdress { node: node(name), address: "x:1".into(), raft: Some(9) };
    assert_eq!(register.changed(store("a")), Answer::Done);
    let taken = Refusal::StoreTaken { raft: 9, node: node("a") };
    let command = Command::Roster { seen: register.revision, change: store("b") };
    refused(&mut register, &command, taken.clone());
    let change = Change::Enlist(Enlisting { raft: Some(9), ..enlisting("d") });
    let command = Command::Roster { seen: register.revision, change };
    refused(&mut register, &command, taken);
}

#[test]
fn the_slot_that_was_free_longest_is_given_next() {
    // Aim: old sets of nodes meet new ones as late as can be. Method: all slots taken, three given back, three taken.
    let names: Vec<String> = (0..=MEMBERS_MAX + 2).map(|at| format!("n{at}")).collect();
    let mut register = Register::default();
    register.apply(&founding(&["n0"]));
    for (at, name) in names.iter().enumerate().take(MEMBERS_MAX).skip(1) {
        if at == 40 {
            assert_eq!(register.changed(Change::Strike(node("n1"))), Answer::Done);
            assert_eq!(register.changed(Change::Enlist(enlisting("n1"))), Answer::Done);
            assert_eq!(register.slot_of(node("n1")), Some(40), "a slot that was never used is free longest");
            continue;
        }
        assert_eq!(register.changed(Change::Enlist(enlisting(name))), Answer::Done);
        assert_eq!(register.slot_of(node(name)), Some(at));
    }
    assert_eq!(register.changed(Change::Enlist(enlisting("n40"))), Answer::Done);
    assert_eq!(register.slot_of(node("n40")), Some(1));
    let full = Command::Roster { seen: register.revision, change: Change::Enlist(enlisting("n64")) };
    refused(&mut register, &full, Refusal::Full);
    for struck in ["n50", "n9", "n30"] {
        assert_eq!(register.changed(Change::Strike(node(struck))), Answer::Done);
    }
    for (name, slot) in [("n64", 50), ("n65", 9), ("n66", 30)] {
        assert_eq!(register.changed(Change::Enlist(enlisting(name))), Answer::Done);
        assert_eq!(register.slot_of(node(name)), Some(slot));
    }
}

#[test]
fn nobody_is_struck_whom_an_epoch_needs() {
    // Aim: sets of slots of the latest and of the last opened epoch keep their meaning. Method: an epoch without c is agreed
    // on, and opens later.
    let mut register = opened();
    let strike = |register: &Register, name| Command::Roster {
        seen: register.revision,
        change: Change::Strike(node(name)),
    };
    let command = strike(&register, "c");
    refused(&mut register, &command, Refusal::IsMember { node: node("c"), epoch: 1 });
    assert_eq!(register.apply(&agree(2, &[("a", 1), ("b", 1)], Cause::Lost)), Answer::Done);
    let command = strike(&register, "c");
    refused(&mut register, &command, Refusal::IsMember { node: node("c"), epoch: 1 });
    let command = strike(&register, "b");
    refused(&mut register, &command, Refusal::IsMember { node: node("b"), epoch: 2 });
    assert_eq!(register.apply(&open(2)), Answer::Done);
    assert_eq!(register.changed(Change::Strike(node("c"))), Answer::Done);
    let by_slot = register.by_slot(register.epoch(1).expect("kept"));
    assert_eq!(by_slot.iter().flatten().count(), 2, "who was struck has no slot");
}

#[test]
fn an_epoch_is_agreed_on_by_the_rules() {
    // Aim: each rule refuses for itself. Method: break them one by one, then keep them.
    let mut register = founded();
    let all = [("a", 1), ("b", 1), ("c", 1)];
    refused(&mut register, &agree(1, &all, Cause::Lost), Refusal::BadCause { opened: 0 });
    refused(&mut register, &agree(2, &all, Cause::Founded), Refusal::NotNext { latest: 0 });
    refused(&mut register, &agree(0, &all, Cause::Founded), Refusal::NotNext { latest: 0 });
    refused(&mut register, &agree(1, &[], Cause::Founded), Refusal::BadMembers);
    refused(&mut register, &agree(1, &[("a", 1), ("a", 2)], Cause::Founded), Refusal::BadMembers);
    let mut members = lives(&all);
    members.reverse();
    refused(&mut register, &Command::Agree { number: 1, members, why: Cause::Founded }, Refusal::BadMembers);
    refused(&mut register, &agree(1, &[("d", 1)], Cause::Founded), Refusal::NotEnlisted { node: node("d") });
    let witness = Enlisting { role: Role::Witness, ..enlisting("w") };
    assert_eq!(register.changed(Change::Enlist(witness)), Answer::Done);
    let no_data = Refusal::NoDataNode { node: node("w"), role: Role::Witness };
    refused(&mut register, &agree(1, &[("a", 1), ("w", 1)], Cause::Founded), no_data);

    assert_eq!(register.apply(&agree(1, &all, Cause::Founded)), Answer::Done);
    assert_eq!(register.apply(&agree(1, &all, Cause::Founded)), Answer::Already);
    refused(&mut register, &agree(1, &all[..2], Cause::Founded), Refusal::NotNext { latest: 1 });
    refused(&mut register, &agree(2, &all, Cause::Lost), Refusal::BadCause { opened: 0 });
    assert_eq!(
        register.apply(&agree(2, &[("a", 2), ("b", 1)], Cause::Founded)),
        Answer::Done,
        "none has opened"
    );
    refused(&mut register, &open(1), Refusal::NotLatest { latest: 2 });
    assert_eq!(register.apply(&open(2)), Answer::Done);

    refused(&mut register, &agree(3, &all, Cause::Founded), Refusal::BadCause { opened: 2 });
    let dead = [("a", 1), ("b", 2), ("c", 1)];
    refused(&mut register, &agree(3, &dead, Cause::Joined), Refusal::NoSurvivor { opened: 2 });
    assert_eq!(register.apply(&agree(3, &dead, Cause::Restarted)), Answer::Done);
    refused(&mut register, &agree(4, &dead, Cause::Lost), Refusal::NoSurvivor { opened: 2 });
    assert_eq!(register.apply(&agree(4, &[("b", 1), ("c", 1)], Cause::Left)), Answer::Done, "3 never opened");
    assert_eq!(register.latest().expect("agreed on").parent, 2);
    assert!(register.is_survivor(lives(&[("b", 1)])[0]) && !register.is_survivor(lives(&[("c", 1)])[0]));
    let slots = register.slots_of(register.latest().expect("agreed on"));
    let by_slot = register.by_slot(register.latest().expect("agreed on"));
    for (name, member) in
        [("b", Some(lives(&[("b", 1)])[0])), ("c", Some(lives(&[("c", 1)])[0])), ("a", None)]
    {
        let slot = register.slot_of(node(name)).expect("enlisted");
        assert_eq!((by_slot.get(slot).copied().flatten(), slots.has(slot)), (member, member.is_some()));
    }
    // By id d comes before a, by slot behind it.
    assert_eq!(register.changed(Change::Enlist(enlisting("d"))), Answer::Done);
    assert_eq!(register.apply(&agree(5, &[("a", 3), ("b", 1), ("d", 3)], Cause::Joined)), Answer::Done);
    refused(
        &mut register,
        &agree(5, &[("a", 3), ("b", 1), ("d", 3)], Cause::Lost),
        Refusal::NotNext { latest: 5 },
    );
    let by_slot = register.by_slot(register.latest().expect("agreed on"));
    assert_eq!(by_slot.iter().flatten().count(), 3);
}

#[test]
fn an_epoch_opens_once() {
    // Aim: one opening, told again as it was. Method: the same again, another, malformed ones, and behind the next epoch.
    let mut register = opened();
    let with = |number: u64, unserved: &[(u32, u64)]| {
        let unserved = unserved.iter().map(|(table, served)| (TableId(*table), *served)).collect();
        Command::Open { number, opening: Opening { stamp: Timestamp(9), unserved } }
    };
    assert_eq!(register.apply(&open(1)), Answer::Already);
    refused(&mut register, &with(1, &[]), Refusal::OpenedOtherwise { number: 1 });
    let unserved = vec![(TableId(1), 0)];
    let other = Command::Open { number: 1, opening: Opening { stamp: Timestamp(100), unserved } };
    refused(&mut register, &other, Refusal::OpenedOtherwise { number: 1 });
    refused(&mut register, &with(2, &[]), Refusal::NotLatest { latest: 1 });
    register.apply(&agree(2, &[("a", 1), ("b", 1)], Cause::Lost));
    refused(&mut register, &with(2, &[(3, 1), (3, 1)]), Refusal::BadUnserved { table: TableId(3) });
    refused(&mut register, &with(2, &[(4, 1), (3, 1)]), Refusal::BadUnserved { table: TableId(3) });
    refused(&mut register, &with(2, &[(3, 0), (4, 2)]), Refusal::BadUnserved { table: TableId(4) });
    let many: Vec<_> = (0..=UNSERVED_MAX as u32).map(|table| (table, 0)).collect();
    let tables = many.len() as u64;
    refused(&mut register, &with(2, &many), Refusal::TooManyUnserved { tables });
    assert_eq!(register.opened().expect("1").number, 1);
    assert_eq!(register.apply(&with(2, &[(3, 0), (4, 1)])), Answer::Done);
    assert_eq!(register.apply(&with(2, &[(3, 0), (4, 1)])), Answer::Already);
    register.apply(&agree(3, &[("a", 1)], Cause::Lost));
    assert_eq!(register.apply(&with(2, &[(3, 0), (4, 1)])), Answer::Already, "also behind the next");
    assert_eq!(register.chain().map(|epoch| epoch.number).collect::<Vec<_>>(), [1, 2]);
}

#[test]
fn the_last_epochs_are_kept_and_the_opened_one() {
    // Aim: a bound, and never without the epoch that a flush starts from. Method: more epochs that do not open than are kept.
    let mut register = opened();
    let last = EPOCHS_KEPT_MAX as u64 + 10;
    (2..=last).for_each(|number| {
        assert_eq!(register.apply(&agree(number, &[("a", 1)], Cause::Lost)), Answer::Done)
    });
    let kept: Vec<u64> = [1].into_iter().chain(last + 2 - EPOCHS_KEPT_MAX as u64..=last).collect();
    assert_eq!(register.numbers(), kept);
    assert_eq!(register.opened().expect("kept").number, 1);
    refused(&mut register, &agree(5, &[("a", 1)], Cause::Lost), Refusal::NotNext { latest: last });
    assert_eq!(register.apply(&open(last)), Answer::Done);
    assert_eq!(Register::decode(&register.encode()), Ok(register.clone()));
    register.apply(&agree(last + 1, &[("a", 1), ("b", 2)], Cause::Joined));
    assert_eq!(
        (register.numbers()[0], register.numbers().len()),
        (last + 2 - EPOCHS_KEPT_MAX as u64, EPOCHS_KEPT_MAX)
    );
}

#[test]
fn a_founding_keeps_the_slots_that_it_names() {
    // Aim: who begins anew is where all know it; nobody is at two places. Method: a gap, then one wrong thing at a time.
    let nodes = || vec![enlisting("a"), enlisting("b")];
    let found = |slots: Vec<u8>| {
        let mut register = Register::default();
        let answer = register.apply(&Command::Found {
            cluster: 7,
            name: "c".into(),
            nodes: nodes(),
            slots,
            carried: None,
            floor: 0,
        });
        (answer, register)
    };
    let (answer, mut register) = found(vec![3, 1]);
    assert_eq!(answer, Answer::Done);
    assert_eq!(["a", "b"].map(|name| register.slot_of(node(name))), [Some(3), Some(1)]);
    assert!(
        register.is_struck(0) && register.is_struck(2) && !register.is_struck(1) && !register.is_struck(4)
    );
    let change = Change::Enlist(enlisting("c"));
    assert_eq!(register.apply(&Command::Roster { seen: register.revision(), change }), Answer::Done);
    assert_eq!(register.slot_of(node("c")), Some(4), "a place that somebody had is given again last");
    assert_eq!(Register::decode(&register.encode()), Ok(register));
    for wrong in [vec![1], vec![1, 1], vec![64, 0], vec![0, 1, 2]] {
        assert_eq!(
            found(wrong.clone()),
            (Answer::Refused(Refusal::BadSlots), Register::default()),
            "{wrong:?}"
        );
    }
}
