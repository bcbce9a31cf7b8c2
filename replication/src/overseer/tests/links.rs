//! Links that are missing, silences, and who comes back.

use super::*;

#[test]
fn a_missing_link_takes_the_smallest_set() {
    // Aim: links decide, but not those that somebody misses who is dead, nor for a moment. Method: one node without a link to
    // another; a dead one that others miss before its silence tells; a link that is back at once.
    let mut cluster = Cluster::running("a1 b1 c1 d1", "a1");
    let youngest = peers("b1 c1").pop().expect("two");
    let stays: Vec<Peer> = peers("a1 b1 c1 d1").into_iter().filter(|one| *one != youngest).collect();
    let mut dead = cluster.clone();
    let mut short = cluster.clone();
    cluster.cut = vec![(peer("b1"), peer("c1"))];
    let start_ns = cluster.now_ns;
    assert_eq!(cluster.agreed(), Some((2, stays.clone(), Cause::Lost)));
    assert!(cluster.now_ns >= start_ns + OVERSEER_LINK_HEARTBEATS * HEARTBEAT);

    dead.cut = vec![(peer("a1"), peer("b1")), (peer("c1"), peer("b1")), (peer("d1"), peer("b1"))];
    dead.up.retain(|one| *one != peer("b1"));
    assert_eq!(dead.agreed(), epoch(2, "a1 c1 d1", Cause::Lost));

    short.cut = vec![(peer("b1"), peer("c1"))];
    short.run(2 * HEARTBEAT);
    short.cut.clear();
    short.run(2_000 * MS);
}

#[test]
fn the_dead_take_nobody_with_them() {
    // Aim: whom a dead member is missed by is not excluded for it, whoever is younger. Method: each of two dies silently, with no
    // lease to wait for, long before it is suspect; who hears it no longer says so at once.
    for life in ["a1", "b1"] {
        let mut cluster = Cluster::running("a1 b1", "w1");
        let slow = Pace { threshold: 300.0, ..Pace::of_heartbeat(HEARTBEAT) };
        cluster.overseer = Overseer::new(terms(), slow, peer("w1"), cluster.now_ns);
        cluster.tell();
        cluster.overseer.on_caught_up();
        cluster.run(SETTLED);
        cluster.up.retain(|one| *one != peer(life));
        let (_, members, _) = cluster.agreed().expect("it is lost");
        assert_eq!(members, cluster.up, "{life}");
    }
}

#[test]
fn who_stood_still_is_not_cut_when_it_comes_back() {
    // Aim: after a silence the others need a moment to tell that they hear it. Method: back after two seconds, before the lease of
    // a leader just elected lets anything happen; the others' reports are a heartbeat late.
    let mut cluster = Cluster::running("a1 b1 c1", "a1");
    cluster.lead("a1");
    cluster.up.retain(|one| *one != peer("c1"));
    cluster.run(500 * MS);
    cluster.start("c1");
    let all = cluster.hears(peer("c1"));
    cluster.overseer.on_beat(cluster.now_ns, peer("c1"), all);
    for _ in 0..9 {
        cluster.now_ns += 10 * MS;
        assert_eq!(cluster.overseer.next(cluster.now_ns), None);
    }
    cluster.run(2_010 * MS);
}

#[test]
fn a_pause_of_the_leader_excludes_nobody() {
    // Aim: what this process slept through is nobody's silence, nor a missing link's age. Method: an hour; a link missed right
    // before it.
    let mut cluster = Cluster::running("a1 b1 c1", "a1");
    cluster.cut = vec![(peer("b1"), peer("c1"))];
    cluster.run(HEARTBEAT);
    let gap_ns = 3_600_000 * MS;
    cluster.now_ns += gap_ns;
    cluster.overseer.on_pause(cluster.now_ns, gap_ns);
    assert_eq!(cluster.overseer.next(cluster.now_ns), None);
    cluster.beats();
    assert_eq!(cluster.overseer.next(cluster.now_ns), None, "the link is missing for one heartbeat only");
    cluster.cut.clear();
    cluster.beats();
    cluster.run(2_000 * MS);
}

#[test]
fn who_was_excluded_has_to_be_steady() {
    // Aim: a link that comes and goes does not bring epoch after epoch. Method: excluded for a link, which is back for less than it
    // takes, gone for a beat, back for good; under a new leader too.
    let mut cluster = Cluster::running("a1 b1 c1", "a1");
    let away = peers("b1 c1").pop().expect("two");
    cluster.cut = vec![(peer("b1"), peer("c1"))];
    let (_, members, _) = cluster.agreed().expect("one of them has to go");
    assert!(!members.contains(&away));
    cluster.open();
    let cut = std::mem::take(&mut cluster.cut);
    let steady_ns = OVERSEER_REJOIN_HEARTBEATS * HEARTBEAT;
    cluster.run(steady_ns - HEARTBEAT);
    cluster.cut = cut;
    cluster.run(HEARTBEAT);
    cluster.cut.clear();
    cluster.run(steady_ns - HEARTBEAT);
    let mut led = cluster.clone();
    assert_eq!(cluster.agreed(), epoch(3, "a1 b1 c1", Cause::Joined));
    led.lead("a1");
    led.beats();
    led.run(steady_ns - HEARTBEAT);
    assert_eq!(led.agreed(), epoch(3, "a1 b1 c1", Cause::Joined));
}

#[test]
fn the_leader_stays_and_then_the_oldest() {
    // Aim: who leads is not cut, and among others the youngest is. Method: a link to the leader is missing, whoever leads; one
    // between a member and another that joined later.
    for (leader, other) in [("b1", "c1"), ("c1", "b1")] {
        let mut cluster = Cluster::running("a1 b1 c1", leader);
        cluster.cut = vec![(peer("b1"), peer("c1"))];
        let (_, members, _) = cluster.agreed().expect("one has to go");
        assert!(members.contains(&peer(leader)) && !members.contains(&peer(other)));
    }
    for (young, old) in [("b", "c"), ("c", "b")] {
        let mut cluster = Cluster::running(&format!("a1 {old}1"), "a1");
        cluster.enlist(young, Role::Data);
        let young = format!("{young}1");
        cluster.start(&young);
        cluster.agreed().expect("it joins");
        cluster.open();
        cluster.cut = vec![(peer("b1"), peer("c1"))];
        assert_eq!(cluster.agreed(), epoch(3, &format!("a1 {old}1"), Cause::Lost), "{young} goes");
    }
}

#[test]
fn a_joiner_needs_both_ends_of_each_link_in_their_present_lives() {
    // Aim: a link that works one way is none, and neither is one to an earlier life. Method: a member does not hear the joiner;
    // a member's report is of the life before.
    let mut cluster = Cluster::running("a1 b1", "a1");
    cluster.enlist("d", Role::Data);
    cluster.start("d1");
    for deaf in [(peer("b1"), peer("d1")), (peer("d1"), peer("b1"))] {
        let mut cluster = cluster.clone();
        cluster.deaf = vec![deaf];
        cluster.run(2_000 * MS);
        cluster.deaf.clear();
        assert_eq!(cluster.agreed(), epoch(2, "a1 b1 d1", Cause::Joined));
    }
    assert_eq!(cluster.agreed(), epoch(2, "a1 b1 d1", Cause::Joined));
    cluster.open();
    cluster.stop("d1");
    cluster.now_ns += MS;
    let all = NodeSet::first(3);
    cluster.overseer.on_beat(cluster.now_ns, peer("d2"), all);
    cluster.overseer.on_beat(cluster.now_ns, peer("a1"), all);
    let (_, command) = cluster.proposed_within(0).expect("d1 is over");
    assert_eq!(members_of(&command), peers("a1 b1"), "b1 has told nothing of d2");
}

#[test]
fn who_was_silent_has_to_be_steady_too() {
    // Aim: the same for who was heard by all but the leader. Method: silent until it is excluded, with its links as they were.
    let mut cluster = Cluster::running("a1 b1 c1", "w1");
    cluster.silent = peers("c1");
    assert_eq!(cluster.agreed(), epoch(2, "a1 b1", Cause::Lost));
    cluster.open();
    cluster.silent.clear();
    cluster.run(OVERSEER_REJOIN_HEARTBEATS * HEARTBEAT - HEARTBEAT);
    assert_eq!(cluster.agreed(), epoch(3, "a1 b1 c1", Cause::Joined));
}
