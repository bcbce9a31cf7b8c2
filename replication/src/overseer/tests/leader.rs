//! Leases, leaders, and what becomes of proposals.

use super::*;

#[test]
fn a_lost_member_goes_when_its_lease_is_over() {
    // Aim: not before, at once then, and no lease for it meanwhile. Method: granted, then killed; and one without a lease.
    let mut cluster = Cluster::running("a1 b1 c1", "a1");
    let mut idle = cluster.clone();
    idle.stop("c1");
    assert_eq!(
        idle.proposed_within(0).map(|(ms, command)| (ms, members_of(&command).to_vec())),
        Some((0, peers("a1 b1")))
    );
    assert!(idle.grants("c1").is_err(), "its exclusion is under way");

    assert!(cluster.grants("c1").is_ok());
    cluster.stop("c1");
    let denied = Denied::Excluding { node: node("c"), epoch: 2 };
    assert_eq!(cluster.grants("c1"), Err(denied), "it would never be over");
    assert!(cluster.grants("b1").is_ok());
    let over_ns = cluster.now_ns + 505 * MS + 1;
    let mut close = cluster.clone();
    close.now_ns = over_ns - 10 * MS;
    close.beats();
    assert_eq!(close.overseer.next(close.now_ns), None);
    assert!(close.overseer.look_ns() <= over_ns, "it is looked at again when the lease is over");
    let (ms, command) = cluster.proposed_within(2_000 * MS).expect("it has to go");
    assert!((500..=506).contains(&ms), "after {ms} ms");
    assert_eq!(members_of(&command), peers("a1 b1"));
    assert_eq!(cluster.register.apply(&command), Answer::Done);
    cluster.tell();
    cluster.open();
    cluster.run(2_000 * MS);
}

#[test]
fn silence_is_found_without_a_closed_connection() {
    // Aim: a member that stands still goes, within suspicion and lease; one that is late does not. Method: no beats for a while.
    let mut cluster = Cluster::running("a1 b1 c1", "a1");
    assert!(cluster.grants("c1").is_ok());
    cluster.up = peers("a1 b1");
    let mut late = cluster.clone();
    let (ms, command) = cluster.proposed_within(2_000 * MS).expect("it is silent");
    assert!((500..=520).contains(&ms), "after {ms} ms");
    assert_eq!(members_of(&command), peers("a1 b1"));
    late.cut = vec![];
    late.now_ns += 290 * MS;
    assert_eq!(late.overseer.next(late.now_ns), None);
    late.start("c1");
    late.beats();
    late.run(3_000 * MS);
}

#[test]
fn a_new_leader_waits_and_listens() {
    // Aim: nobody goes because a new leader has not heard it yet, and nothing happens before it is caught up. Method: a member is
    // dead before the election; the others are heard late.
    let mut cluster = Cluster::running("a1 b1 c1", "a1");
    cluster.up = peers("b1");
    cluster.lead("b1");
    let start_ns = cluster.now_ns;
    cluster.run(200 * MS);
    cluster.start("a1");
    let (_, command) = cluster.proposed_within(2_000 * MS).expect("c1 is gone");
    assert_eq!(members_of(&command), peers("a1 b1"));
    assert!(cluster.now_ns >= start_ns + 505 * MS, "leases of the leader before");

    let mut cluster = Cluster::running("a1 b1 c1", "a1");
    cluster.overseer = Overseer::new(terms(), Pace::of_heartbeat(HEARTBEAT), peer("a1"), cluster.now_ns);
    cluster.tell();
    cluster.stop("c1");
    cluster.run(2_000 * MS);
    assert_eq!(cluster.grants("c1"), Err(Denied::CatchingUp));
    cluster.overseer.on_caught_up();
    assert_eq!(cluster.agreed(), epoch(2, "a1 b1", Cause::Lost));
}

#[test]
fn nobody_is_taken_over_unheard() {
    // Aim: an epoch names nobody whom its leader has not heard. Method: leases shorter than a suspicion; two of four are dead
    // before the election, of which one is told to be closed.
    let mut cluster = Cluster::running("a1 b1 c1 d1", "a1");
    let short = Terms { lease_ns: 50 * MS, useful_ns_min: MS, ..terms() };
    cluster.overseer = Overseer::new(short, Pace::of_heartbeat(HEARTBEAT), peer("a1"), cluster.now_ns);
    cluster.tell();
    cluster.overseer.on_caught_up();
    cluster.up = peers("a1 b1");
    cluster.overseer.on_closed(peer("c1"));
    assert_eq!(cluster.agreed(), epoch(2, "a1 b1", Cause::Lost));
}

#[test]
fn what_nobody_knows_of_is_proposed_again_as_it_was() {
    // Aim: the same members as long as its number is free, not all the time, and then the next. Method: no answer, twice; a member
    // of it dies meanwhile.
    let mut cluster = Cluster::running("a1 b1 c1", "a1");
    cluster.stop("c1");
    let (_, first) = cluster.proposed_within(0).expect("it is lost");
    cluster.run(2_000 * MS);
    cluster.stop("b1");
    for _ in 0..2 {
        cluster.overseer.on_answer(cluster.now_ns, 2, None);
        assert_eq!(cluster.proposed_within(2 * HEARTBEAT), Some((HEARTBEAT / MS, first.clone())));
        assert!(cluster.grants("c1").is_err());
    }
    let answer = cluster.register.apply(&first);
    cluster.overseer.on_answer(cluster.now_ns, 2, Some(&answer));
    cluster.run(2_000 * MS);
    cluster.tell();
    assert_eq!(cluster.agreed(), epoch(3, "a1", Cause::Lost));
}

#[test]
fn after_a_refusal_it_thinks_anew_and_the_number_is_taken() {
    // Aim: a refused proposal is not repeated for ever, and whom it excluded gets leases again. Method: a joiner of it is struck;
    // the lost member is back meanwhile, or not.
    let mut cluster = Cluster::running("a1 b1 c1", "a1");
    cluster.enlist("d", Role::Data);
    cluster.start("d1");
    cluster.run(0);
    cluster.stop("c1");
    cluster.beats();
    let (_, command) = cluster.proposed_within(0).expect("it is lost");
    assert_eq!(members_of(&command), peers("a1 b1 d1"));
    cluster.up.retain(|one| *one != peer("d1"));
    cluster.change(Change::Strike(node("d")));
    let answer = cluster.register.apply(&command);
    assert!(!answer.is_done());
    cluster.overseer.on_answer(cluster.now_ns, 2, Some(&answer));
    assert_eq!(cluster.overseer.next(cluster.now_ns), None, "not at once again");
    let mut back = cluster.clone();
    assert_eq!(cluster.agreed(), epoch(2, "a1 b1", Cause::Lost));

    back.start("c1");
    back.beats();
    assert_eq!(
        back.grants("c1"),
        Err(Denied::Excluding { node: node("c"), epoch: 2 }),
        "it may be agreed on yet"
    );
    assert_eq!(back.agreed(), epoch(2, "a1 b1 c1", Cause::Joined));
    assert!(back.grants("c1").is_ok());
    back.open();
    back.run(2_000 * MS);
}

#[test]
fn a_leader_without_tables_leads_like_any_other() {
    // Aim: a witness, or a node that is not enlisted at all, decides about others and never names itself. Method: both, with beats
    // of their own.
    for enlisted in [true, false] {
        let mut cluster = Cluster::of("a b c", "w1");
        if enlisted {
            cluster.enlist("w", Role::Witness);
        }
        cluster.up = peers("a1 b1 c1 w1");
        assert_eq!(cluster.agreed(), epoch(1, "a1 b1 c1", Cause::Founded));
        cluster.open();
        cluster.run(SETTLED);
        cluster.stop("a1");
        assert_eq!(cluster.agreed(), epoch(2, "b1 c1", Cause::Lost));
        cluster.open();
        cluster.start("a2");
        assert_eq!(cluster.agreed(), epoch(3, "a2 b1 c1", Cause::Joined));
        assert!(cluster.overseer.lives.keys().all(|known| *known != node("w")), "nothing is kept of it");
    }
}

#[test]
fn nothing_is_kept_of_strangers() {
    // Aim: what is kept is bounded by who is enlisted. Method: beats of strangers, and of a node that is struck.
    let mut cluster = Cluster::running("a1 b1", "a1");
    cluster.enlist("d", Role::Data);
    for life in ["d1", "x1", "y1"] {
        cluster.overseer.on_beat(cluster.now_ns, peer(life), NodeSet::EMPTY);
    }
    assert_eq!(cluster.overseer.lives.len(), 3);
    cluster.change(Change::Strike(node("d")));
    assert_eq!(cluster.overseer.lives.len(), 2);
}

#[test]
fn a_leader_does_not_suspect_itself() {
    // Aim: a leader is there while it leads. Method: no beats of its own for a while.
    let mut cluster = Cluster::running("a1 b1 c1", "a1");
    cluster.silent = peers("a1");
    cluster.run(2_000 * MS);
}
