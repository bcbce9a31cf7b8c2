//! Who is a member of the next epoch, and what for.

use super::*;
use crate::register::{Carried, Opening};

#[test]
fn a_cluster_begins_with_all_who_founded_it() {
    // Aim: the first epoch is that of all data nodes that do not drain, when they hear each other. Method: one after the other;
    // with a link missing; with a witness, which is not waited for; with one that drains.
    let mut cluster = Cluster::of("a b c", "a1");
    cluster.enlist("w", Role::Witness);
    cluster.up = peers("a1 b1 w1");
    cluster.run(2_000 * MS);
    cluster.start("c1");
    cluster.cut = vec![(peer("b1"), peer("c1"))];
    cluster.run(2_000 * MS);
    let mut without = cluster.clone();
    cluster.cut.clear();
    assert_eq!(cluster.agreed(), epoch(1, "a1 b1 c1", Cause::Founded));
    cluster.run(2_000 * MS);
    without.change(Change::Drain(node("c")));
    assert_eq!(without.agreed(), epoch(1, "a1 b1", Cause::Founded));
}

#[test]
fn a_first_epoch_that_does_not_open_is_replaced_by_one_of_all() {
    // Aim: founding means all of them until an epoch has opened. Method: a member dies before; it comes back in another life.
    let mut cluster = Cluster::of("a b", "a1");
    cluster.up = peers("a1 b1");
    assert_eq!(cluster.agreed(), epoch(1, "a1 b1", Cause::Founded));
    cluster.stop("b1");
    cluster.run(3_000 * MS);
    cluster.start("b2");
    assert_eq!(cluster.agreed(), epoch(2, "a1 b2", Cause::Founded));
    cluster.open();
    cluster.run(2_000 * MS);
}

#[test]
fn what_the_founders_brought_is_known_by_its_number() {
    // Aim: only epochs from before the register count as brought. Method: registers that were founded with a number, with an epoch, and
    // with neither; then with the first epoch of their own.
    let opening = || Opening { stamp: Timestamp(1), unserved: Vec::new() };
    let brought = Carried { number: 7, members: peers("a1"), opening: opening() };
    for (carried, floor, next) in
        [(None, 0, 1), (None, 1, 2), (Some(brought.clone()), 0, 8), (Some(brought), 9, 10)]
    {
        let mut register = Register::default();
        let nodes = vec![enlisting("a", Role::Data)];
        let why = if carried.is_some() { Cause::Restarted } else { Cause::Founded };
        assert!(
            register
                .apply(&Command::Found {
                    cluster: 1,
                    name: "c".into(),
                    nodes,
                    slots: Vec::new(),
                    carried,
                    floor
                })
                .is_done()
        );
        assert!(!plan::has_begun(&register), "{floor}");
        let members = peers("a2");
        assert!(register.apply(&Command::Agree { number: next, members, why }).is_done(), "{floor}");
        assert!(register.apply(&Command::Open { number: next, opening: opening() }).is_done(), "{floor}");
        assert!(plan::has_begun(&register), "{floor}");
    }
}

#[test]
fn another_life_replaces_the_one_before() {
    // Aim: one step, behind the old life's lease, and an old life's late beat changes nothing. Method: a fast restart.
    let mut cluster = Cluster::running("a1 b1 c1", "a1");
    assert!(cluster.grants("c1").is_ok());
    cluster.up = peers("a1 b1 c2");
    cluster.beats();
    let all = cluster.hears(peer("a1"));
    cluster.overseer.on_beat(cluster.now_ns, peer("c1"), all);
    assert_eq!(cluster.grants("c1"), Err(Denied::Excluding { node: node("c"), epoch: 2 }));
    assert_eq!(cluster.grants("c2"), Err(Denied::NoMember { node: node("c"), epoch: 1 }));
    let (ms, command) = cluster.proposed_within(2_000 * MS).expect("c1 is over");
    assert!((500..=506).contains(&ms), "after {ms} ms");
    assert_eq!(members_of(&command), peers("a1 b1 c2"));
    assert_eq!(cluster.register.apply(&command), Answer::Done);
    assert_eq!(cluster.register.latest().expect("agreed on").why, Cause::Lost);
    cluster.tell();
    cluster.open();
    cluster.run(2_000 * MS);
}

#[test]
fn who_must_go_waits_for_nobody_who_wants_to_join() {
    // Aim: a joiner that misses a link does not hold up an exclusion, nor get in. Method: a new life without a link to a member.
    let mut cluster = Cluster::running("a1 b1 c1", "a1");
    cluster.up = peers("a1 b1 c2");
    cluster.cut = vec![(peer("b1"), peer("c2"))];
    cluster.beats();
    assert_eq!(cluster.grants("c2"), Err(Denied::NoMember { node: node("c"), epoch: 1 }));
    assert_eq!(cluster.agreed(), epoch(2, "a1 b1", Cause::Lost));
    cluster.open();
    cluster.run(2_000 * MS);
    cluster.cut.clear();
    assert_eq!(cluster.agreed(), epoch(3, "a1 b1 c2", Cause::Joined));
}

#[test]
fn joiners_wait_until_the_latest_epoch_is_open() {
    // Aim: a flush is not started over for who only wants to join or to leave, and for who is lost it is. Method: each while epoch
    // 2 is not open.
    let mut cluster = Cluster::running("a1 b1 c1", "a1");
    cluster.stop("c1");
    assert_eq!(cluster.agreed(), epoch(2, "a1 b1", Cause::Lost));
    cluster.enlist("d", Role::Data);
    cluster.start("d1");
    cluster.run(2_000 * MS);
    let mut drained = cluster.clone();
    drained.change(Change::Drain(node("b")));
    drained.run(2_000 * MS);
    drained.open();
    assert_eq!(drained.agreed(), epoch(3, "a1 d1", Cause::Left));
    let mut lost = cluster.clone();
    lost.stop("b1");
    let mut both = lost.clone();
    assert_eq!(lost.agreed(), epoch(3, "a1 d1", Cause::Lost), "who is ready comes along");
    both.stop("d1");
    assert_eq!(both.agreed(), epoch(3, "a1", Cause::Lost), "who is not there does not");
    let mut gone = cluster.clone();
    gone.stop("d1");
    gone.open();
    assert_eq!(gone.proposed_within(0), None, "whatever was said of its links");
    cluster.open();
    assert_eq!(cluster.agreed(), epoch(3, "a1 b1 d1", Cause::Joined));
}

#[test]
fn who_drains_leaves_and_comes_back_when_it_may() {
    // Aim: its lease ends, it is out, and undrained it joins again. Method: drained with a lease; given back; undrained.
    let mut cluster = Cluster::running("a1 b1 c1", "a1");
    assert!(cluster.grants("c1").is_ok());
    cluster.change(Change::Drain(node("c")));
    assert_eq!(cluster.overseer.next(cluster.now_ns), None, "it may hold a lease");
    assert!(cluster.grants("c1").is_err());
    let mut gone = cluster.clone();
    gone.stop("c1");
    assert_eq!(gone.agreed(), epoch(2, "a1 b1", Cause::Left));
    cluster.overseer.on_release(&Release { peer: peer("c1"), released_ns: 1 });
    assert!(cluster.proposed_within(0).is_some(), "the lease was given back");
    cluster.overseer.on_answer(cluster.now_ns, 2, None);
    assert_eq!(cluster.agreed(), epoch(2, "a1 b1", Cause::Left));
    cluster.open();
    cluster.run(2_000 * MS);
    cluster.change(Change::Undrain(node("c")));
    assert_eq!(cluster.agreed(), epoch(3, "a1 b1 c1", Cause::Joined));
}

#[test]
fn the_last_survivor_drains_when_there_is_another_one() {
    // Aim: draining loses nothing. Method: the only member drains while another node is there to join; alone it stays, also when
    // the others are lost.
    let mut left = Cluster::running("a1 b1", "a1");
    left.change(Change::Drain(node("a")));
    left.stop("b1");
    assert_eq!(left.agreed(), epoch(2, "a1", Cause::Lost));
    let mut cluster = Cluster::running("a1", "a1");
    cluster.change(Change::Drain(node("a")));
    cluster.run(2_000 * MS);
    cluster.enlist("b", Role::Data);
    cluster.start("b1");
    assert_eq!(cluster.agreed(), epoch(2, "a1 b1", Cause::Joined));
    cluster.run(2_000 * MS);
    cluster.open();
    assert_eq!(cluster.agreed(), epoch(3, "b1", Cause::Left), "the leader is no member any more");
    cluster.open();
    cluster.run(2_000 * MS);
}

#[test]
fn nothing_is_left_behind_that_may_be_alive() {
    // Aim: an epoch without a survivor only when every life of the last opened one is over. Method: all restart but one, which is
    // silent; then it comes back, or another life of it.
    let mut cluster = Cluster::running("a1 b1 c1", "w1");
    cluster.up = peers("a2 b2");
    cluster.beats();
    cluster.overseer.on_closed(peer("c1"));
    cluster.run(5_000 * MS);
    let mut back = cluster.clone();
    back.start("c1");
    assert_eq!(back.agreed(), epoch(2, "a2 b2 c1", Cause::Lost));
    let mut drained = cluster.clone();
    cluster.start("c2");
    assert_eq!(cluster.agreed(), epoch(2, "a2 b2 c2", Cause::Restarted));

    // One that drains may have the newest copy, and leaves afterwards.
    drained.change(Change::Drain(node("c")));
    drained.run(2_000 * MS);
    drained.start("c2");
    assert_eq!(drained.agreed(), epoch(2, "a2 b2 c2", Cause::Restarted));
    drained.run(2_000 * MS);
    drained.open();
    assert_eq!(drained.agreed(), epoch(3, "a2 b2", Cause::Left));
}

#[test]
fn a_restart_that_does_not_open_is_done_again_with_all() {
    // Aim: as before, until one opens. Method: a life of it ends before; who is new comes along only with all the old ones.
    let mut cluster = Cluster::running("a1 b1", "w1");
    cluster.enlist("d", Role::Data);
    cluster.up = peers("a2 b2");
    cluster.overseer.on_closed(peer("a1"));
    cluster.overseer.on_closed(peer("b1"));
    assert_eq!(cluster.agreed(), epoch(2, "a2 b2", Cause::Restarted));
    cluster.stop("b2");
    cluster.start("d1");
    cluster.run(3_000 * MS);
    cluster.start("b3");
    assert_eq!(cluster.agreed(), epoch(3, "a2 b3 d1", Cause::Restarted));
}

#[test]
fn an_opening_under_way_is_not_left_behind() {
    // Aim: an epoch that keeps nobody of the last opened one keeps somebody of the latest, which may open before it is agreed on.
    // Method: all of epoch 1 restarted once, epoch 2 is of one of them and is not open; that one is silent, then back.
    let mut cluster = Cluster::running("a1 b1", "w1");
    let members = peers("a2");
    let only = Command::Agree { number: 2, members, why: Cause::Restarted };
    cluster.enlist("d", Role::Data);
    assert_eq!(cluster.register.apply(&only), Answer::Done);
    cluster.tell();
    cluster.up = peers("a2 b2");
    cluster.run(HEARTBEAT);
    cluster.stop("a2");
    cluster.run(3_000 * MS);
    cluster.start("a3");
    assert_eq!(cluster.agreed(), epoch(3, "a3 b2", Cause::Restarted));
}

#[test]
fn an_epoch_that_does_not_open_is_replaced() {
    // Aim: who dies before it opens goes like anybody else, and who survives is kept although links are missing. Method: a joiner
    // dies; then the only survivor loses its links to two joiners, who would be the smaller set without it.
    let mut cluster = Cluster::running("a1 b1 c1", "w1");
    cluster.up = peers("a1 b2 c2");
    cluster.beats();
    assert_eq!(cluster.agreed(), epoch(2, "a1 b2 c2", Cause::Lost));
    let mut cut = cluster.clone();
    cluster.stop("c2");
    assert_eq!(cluster.agreed(), epoch(3, "a1 b2", Cause::Lost));
    cut.cut = vec![(peer("a1"), peer("b2")), (peer("a1"), peer("c2"))];
    assert_eq!(cut.agreed(), epoch(3, "a1", Cause::Lost));
}

#[test]
fn a_joiner_that_may_serve_is_not_left_behind() {
    // Aim: the latest epoch may open with a joiner alone left of it. Method: its survivor restarts, and its joiner is silent; then
    // it is heard, or another life of it.
    let mut cluster = Cluster::running("a1 b1", "w1");
    cluster.enlist("d", Role::Data);
    let members = peers("a1 d1");
    assert!(cluster.register.apply(&Command::Agree { number: 2, members, why: Cause::Lost }).is_done());
    cluster.tell();
    cluster.up = peers("a2 b2");
    cluster.beats();
    cluster.overseer.on_closed(peer("d1"));
    cluster.run(3_000 * MS);
    let mut back = cluster.clone();
    back.start("d1");
    assert_eq!(back.agreed(), epoch(3, "a2 b2 d1", Cause::Restarted));
    cluster.start("d2");
    assert_eq!(cluster.agreed(), epoch(3, "a2 b2 d2", Cause::Restarted));
}

#[test]
fn an_earlier_life_does_not_end_a_later_one() {
    // Aim: a beat that comes late is no restart. Method: b2 of the last opened epoch is out of the latest, a1 restarts, b1 is heard.
    let mut cluster = Cluster::running("a1 b2", "w1");
    cluster.stop("b2");
    assert_eq!(cluster.agreed(), epoch(2, "a1", Cause::Lost));
    cluster.lead("w1");
    cluster.up = peers("a2 b1");
    cluster.run(3_000 * MS);
    cluster.up = peers("a2 b2");
    assert_eq!(cluster.agreed(), epoch(3, "a2 b2", Cause::Lost));
}

#[test]
fn who_was_excluded_survives_if_nobody_else_does() {
    // Aim: a survivor that is out is one still, as long as no epoch without it has opened. Method: c1 is out of epoch 2, which does
    // not open because all of it end; b does not come back.
    let mut cluster = Cluster::running("a1 b1 c1", "w1");
    cluster.up = peers("a1 b1");
    assert_eq!(cluster.agreed(), epoch(2, "a1 b1", Cause::Lost));
    cluster.up = peers("a2 c1");
    cluster.beats();
    cluster.overseer.on_closed(peer("b1"));
    assert_eq!(cluster.agreed(), epoch(3, "a2 c1", Cause::Lost));
}
