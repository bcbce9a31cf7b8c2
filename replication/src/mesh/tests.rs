use proptest::prelude::*;

use super::*;

const NOW: u64 = 1_000;
const REPORT_MAX: u64 = 100;

/// `count` members in slots from 0, joined in that order, all of which hear all.
fn full(count: usize) -> Vec<Linked> {
    let report = Some(Report { at_ns: NOW, hears: NodeSet::first(count) });
    let member = |slot| Linked { slot, node: NodeId(slot as u32), joined: slot as u64, report };
    (0..count).map(member).collect()
}

/// `one` no longer hears `other`.
fn deafen(members: &mut [Linked], one: usize, other: usize) {
    let report = members[one].report.as_mut().expect("all report");
    report.hears = report.hears.without(other);
}

fn cut(members: &mut [Linked], one: usize, other: usize) {
    deafen(members, one, other);
    deafen(members, other, one);
}

/// `count` members with links only where `linked` says so.
fn meshed(count: usize, linked: impl Fn(usize, usize) -> bool) -> Vec<Linked> {
    let mut members = full(count);
    for one in 0..count {
        (0..one).filter(|other| !linked(*other, one)).for_each(|other| cut(&mut members, one, other));
    }
    members
}

fn slots(set: NodeSet) -> Vec<usize> {
    set.iter().collect()
}

/// The slots that are unreachable, and those that are cut.
fn excluded(members: &[Linked], leader: usize) -> (Vec<usize>, Vec<usize>) {
    let exclusion = exclusion(members, leader, NOW, REPORT_MAX);
    (slots(exclusion.unreachable), slots(exclusion.cut))
}

#[test]
fn known_shapes() {
    // Aim: what people would draw on paper. Method: each shape from the leader's place and another one.
    assert_eq!(excluded(&full(5), 2), (vec![], vec![]), "whole");
    let pair = meshed(3, |one, other| (one, other) != (0, 1));
    assert_eq!(excluded(&pair, 2), (vec![], vec![1]), "A-B cut, both see the leader C: the younger goes");
    assert_eq!(excluded(&pair, 0), (vec![1], vec![]), "A-B cut, A leads: B is not reached");
    let ring = meshed(5, |one, other| other - one == 1 || other - one == 4);
    assert_eq!(excluded(&ring, 0), (vec![2, 3], vec![4]), "ring: the leader and one neighbour stay");
    let bridge = meshed(5, |one, other| other <= 2 || one >= 2);
    assert_eq!(excluded(&bridge, 2), (vec![], vec![3, 4]), "bridge: the younger side goes");
    assert_eq!(excluded(&bridge, 4), (vec![0, 1], vec![]), "bridge: the other side is not reached");
    let star = meshed(6, |one, _| one == 0);
    assert_eq!(excluded(&star, 0), (vec![], vec![2, 3, 4, 5]), "star: the hub and the oldest leaf stay");
    assert_eq!(excluded(&star, 3), (vec![1, 2, 4, 5], vec![]), "star: the leaf and the hub stay");
    let isolated = meshed(5, |one, other| one != 1 && other != 1);
    assert_eq!(excluded(&isolated, 0), (vec![1], vec![]), "isolated node");
    assert_eq!(excluded(&meshed(5, |_, _| false), 3), (vec![0, 1, 2, 4], vec![]), "all isolated");
    assert_eq!(excluded(&full(1), 0), (vec![], vec![]), "alone");
}

#[test]
fn one_bad_member_goes_alone() {
    // Aim: the smallest set, not the youngest members. Method: slot 1 lost its links to all but the leader.
    let members = meshed(7, |one, other| one == 0 || (one != 1 && other != 1));
    assert_eq!(excluded(&members, 0), (vec![], vec![1]));
}

#[test]
fn ties_go_to_the_youngest_then_to_the_highest_id() {
    // Aim: the stated order, whatever the slots. Method: one missing link, ages and ids set against the slots.
    let mut members = meshed(4, |one, other| (one, other) != (1, 2));
    assert_eq!(excluded(&members, 0).1, [2]);
    members[1].joined = 9;
    assert_eq!(excluded(&members, 0).1, [1], "slot 1 is younger");
    members[2].joined = 9;
    assert_eq!(excluded(&members, 0).1, [2], "as old, and the id is higher");
    members[1].node = NodeId(77);
    assert_eq!(excluded(&members, 0).1, [1], "as old, and the id is higher");
}

#[test]
fn one_way_links_are_down() {
    // Aim: a link counts only when both ends report it. Method: one direction taken away, either one; and to the leader.
    for (one, other) in [(1, 2), (2, 1)] {
        let mut members = full(3);
        deafen(&mut members, one, other);
        assert_eq!(excluded(&members, 0), (vec![], vec![2]), "{one} does not hear {other}");
    }
    for (one, other) in [(0, 2), (2, 0)] {
        let mut members = full(3);
        deafen(&mut members, one, other);
        assert_eq!(excluded(&members, 0), (vec![2], vec![]), "{one} does not hear {other}");
    }
}

#[test]
fn old_reports_count_as_none() {
    // Aim: silence is not a link. Method: a report just within the bound, just behind it, and none; the leader's own is as
    // good at any age, it is the leader that asks.
    let mut members = full(3);
    members[1].report.as_mut().expect("reports").at_ns = NOW - REPORT_MAX;
    assert_eq!(excluded(&members, 0), (vec![], vec![]));
    members[1].report.as_mut().expect("reports").at_ns = NOW - REPORT_MAX - 1;
    assert_eq!(excluded(&members, 0), (vec![1], vec![]));
    assert_eq!(excluded(&members, 1), (vec![], vec![]));
    members[1].report = None;
    assert_eq!(excluded(&members, 0), (vec![1], vec![]));
    members[1].report = Some(Report { at_ns: NOW + 5, hears: NodeSet::first(3) });
    assert_eq!(excluded(&members, 0), (vec![], vec![]), "received while this was being asked");
}

#[test]
fn a_leader_without_data_reaches_whoever_reports() {
    // Aim: a witness can lead. Method: a leader whose slot is no member's.
    let mut members = meshed(3, |one, other| (one, other) != (0, 1));
    assert_eq!(excluded(&members, 9), (vec![], vec![1]));
    members[0].report = None;
    assert_eq!(excluded(&members, 9), (vec![0], vec![]));
}

/// Any links among members with ages and ids that often tie, the members in any order, and which of them leads.
fn any_mesh(count: impl Strategy<Value = usize>) -> impl Strategy<Value = (Vec<Linked>, usize)> {
    let links = |count: usize| {
        // Some meshes nearly whole, some nearly empty.
        let hears = (any::<u64>(), any::<u64>(), 0..3_u8).prop_map(|(one, other, how)| match how {
            0 => one & other,
            1 => one | other,
            _ => u64::MAX,
        });
        let member = (hears, 0..3_u64, 0..4_u8);
        (proptest::collection::vec(member, count), 0..count, any::<u64>())
    };
    count.prop_flat_map(links).prop_map(|(members, leader, turn)| {
        let place = |(slot, (hears, joined, fresh)): (usize, (u64, u64, u8))| {
            let at_ns = if fresh == 0 { 0 } else { NOW };
            // Ids go against the slots, so that neither stands for the other.
            let node = NodeId(1_000 - slot as u32);
            Linked { slot, node, joined, report: Some(Report { at_ns, hears: NodeSet::from_bits(hears) }) }
        };
        let mut members: Vec<_> = members.into_iter().enumerate().map(place).collect();
        let turn = turn as usize % members.len();
        members.rotate_left(turn);
        (members, leader)
    })
}

/// Whether those are all linked with each other, told apart from the code above.
fn is_mesh(members: &[Linked], left: u64) -> bool {
    let within: Vec<_> = members.iter().filter(|one| left >> one.slot & 1 == 1).collect();
    within.iter().all(|one| {
        let hears = one.report.expect("all report").hears.bits() | 1 << one.slot;
        left & !hears == 0
    })
}

/// Who goes, the most preferred first.
fn ranked(members: &[Linked], gone: u64) -> Vec<Reverse<(u64, NodeId)>> {
    let mut ranks: Vec<_> = members
        .iter()
        .filter(|one| gone >> one.slot & 1 == 1)
        .map(|one| Reverse((one.joined, one.node)))
        .collect();
    ranks.sort();
    ranks
}

proptest! {
    #[test]
    fn small_meshes_lose_the_fewest((members, leader) in any_mesh(1_usize..=9)) {
        // Aim: exact, with the stated ties. Method: all sets of the reached members, by a definition of its own.
        let found = exclusion(&members, leader, NOW, REPORT_MAX);
        let leads = members.iter().find(|one| one.slot == leader).expect("among them").report.expect("all report");
        let hears = |one: &Linked| one.report.expect("all report").hears.has(leader);
        let reached = members.iter().filter(|one| {
            let fresh = one.report.expect("all report").at_ns == NOW;
            one.slot == leader || fresh && leads.hears.has(one.slot) && hears(one)
        });
        let reached = reached.fold(0, |set, one| set | 1 << one.slot);
        let all = (1_u64 << members.len()) - 1;
        prop_assert_eq!(found.unreachable.bits(), all & !reached);
        let best = (0..=all)
            .filter(|gone| gone & !reached == 0 && is_mesh(&members, reached & !gone))
            .min_by_key(|gone| (gone.count_ones(), ranked(&members, *gone)));
        prop_assert_eq!(Some(found.cut.bits()), best);
        prop_assert!(!found.cut.has(leader));
    }

    #[test]
    fn large_meshes_lose_nobody_in_vain((members, leader) in any_mesh(10_usize..=64)) {
        // Aim: a full mesh, nobody of the cut could stay, and the order of the input says nothing. Method: look at each.
        let found = exclusion(&members, leader, NOW, REPORT_MAX);
        let all = members.iter().fold(0_u64, |set, one| set | 1 << one.slot);
        let left = all & !found.unreachable.bits() & !found.cut.bits();
        prop_assert!(left >> leader & 1 == 1 && is_mesh(&members, left));
        prop_assert!(found.cut.common(found.unreachable).is_empty());
        prop_assert!(found.cut.iter().all(|slot| !is_mesh(&members, left | 1 << slot)));
        let mut turned = members.clone();
        turned.reverse();
        prop_assert_eq!(exclusion(&turned, leader, NOW, REPORT_MAX), found);
    }
}

#[test]
fn the_greedy_rule_takes_who_misses_most() {
    // Aim: the rule above nine is the one that is stated. Method: a bad member and ten pairs without a link.
    let pairs = |one: usize, other: usize| other != one + 1 || one.is_multiple_of(2) || one == 0;
    let members = meshed(23, |one, other| one == 0 || (one != 22 && other != 22 && pairs(one, other)));
    let younger: Vec<usize> = (2..=20).step_by(2).chain([22]).collect();
    assert_eq!(excluded(&members, 0), (vec![], younger));
    // A tree in which the first choice, the middle, turns out not to be needed: its four neighbours have to go anyway, for
    // each misses its link to two leaves as well.
    let tree = |one: usize, other: usize| {
        let (branch, leaf) = ((1..=4).contains(&one), one + 5 == other || one + 9 == other);
        branch && (other == 5 || leaf)
    };
    assert_eq!(excluded(&meshed(14, |one, other| !tree(one, other)), 0).1, [1, 2, 3, 4]);
    // Two in the middle that miss a link to each other: either could stay, and the older one does.
    let middles = |one: usize, other: usize| {
        let branch = |at: usize| (3..=7).contains(&at);
        (one, other) == (1, 2)
            || one <= 2 && branch(other)
            || branch(one) && (one + 5 == other || one + 10 == other)
    };
    let members = meshed(18, |one, other| one == 0 || !middles(one, other));
    assert_eq!(excluded(&members, 0).1, [2, 3, 4, 5, 6, 7]);
}
