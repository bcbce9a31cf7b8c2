use hypermnesia_store::Incarnation;

use super::*;
use crate::limits::{LEASE_DRIFT_PPM, LEASE_NS, LEASE_NS_MIN};
use crate::member::NodeSet;

mod walk;

const MS: u64 = 1_000_000;
const SLOT: usize = 3;

fn terms() -> Terms {
    Terms { lease_ns: LEASE_NS, drift_ppm: LEASE_DRIFT_PPM, useful_ns_min: LEASE_NS_MIN }
}

fn peer(life: u64) -> Peer {
    Peer { node: NodeId(7), incarnation: Incarnation(life) }
}

/// The members of an epoch with this one alone.
fn only(peer: Peer) -> Vec<Option<Peer>> {
    let mut members = vec![None; SLOT];
    members.push(Some(peer));
    members
}

/// A leader since 0 whose first leases are long over, with authority from `authority_ms`, and a member in epoch 1.
fn both(authority_ms: u64) -> (Grantor, Holder) {
    let mut grantor = Grantor::new(terms(), 0);
    grantor.on_agreed(1, only(peer(1)));
    grantor.on_caught_up();
    grantor.on_authority(authority_ms * MS);
    let mut holder = Holder::new(terms(), peer(1));
    holder.on_epoch(1);
    (grantor, holder)
}

#[test]
fn a_lease_counts_from_the_question_and_ends_with_the_authority() {
    // Aim: both ends count as they should. Method: authority from 1000, asked at 5000 on a clock of its own, granted at
    // 1200, heard 30 ms later; with one percent of drift.
    let (mut grantor, mut holder) = both(1_000);
    let ask = holder.ask(5_000 * MS);
    let grant = grantor.grant(1_200 * MS, &ask).expect("a member");
    assert_eq!(
        grant.length_ns,
        500 * MS - 200 * MS * 100 / 99 - 1,
        "what is left, as if the leader's clock were slow"
    );
    holder.on_grant(5_030 * MS, &grant);
    let length = grant.length_ns * 99 / 100;
    assert_eq!(holder.until_ns(), 5_000 * MS + length);
    assert_eq!(holder.left(5_030 * MS), length - 30 * MS);
    assert_eq!(holder.left(5_000 * MS + length), 0);
    let over = 1_200 * MS + grant.length_ns * 101 / 100 + 1;
    assert!(!grantor.may_exclude(SLOT, over - 1) && grantor.may_exclude(SLOT, over));
    assert!(grantor.may_exclude(SLOT + 1, 1_200 * MS), "nobody else was granted any");
}

#[test]
fn a_shorter_one_takes_nothing_away() {
    // Aim: answers in any order leave the longest lease, at both ends. Method: two grants of the same authority, of which the
    // second is over first by the leader's clock; heard the other way round.
    let (mut grantor, mut holder) = both(1_000);
    let first = grantor.grant(1_000 * MS, &holder.ask(5_000 * MS)).expect("a member");
    let second = grantor.grant(1_300 * MS, &holder.ask(5_000 * MS)).expect("a member");
    let over = 1_000 * MS + first.length_ns * 101 / 100 + 1;
    assert!(!grantor.may_exclude(SLOT, over - 1) && grantor.may_exclude(SLOT, over));
    holder.on_grant(5_000 * MS, &first);
    let until = holder.until_ns();
    holder.on_grant(5_000 * MS, &second);
    assert_eq!(holder.until_ns(), until);
}

#[test]
fn a_later_epoch_ends_it() {
    // Aim: no read in an epoch that is over. Method: hear of it by the fence, and by a grant.
    let (mut grantor, mut holder) = both(0);
    let grant = grantor.grant(0, &holder.ask(0)).expect("a member");
    holder.on_grant(MS, &grant);
    assert!(holder.left(MS) > 0);
    holder.on_epoch(1);
    assert!(holder.left(MS) > 0, "the same again");
    holder.on_epoch(2);
    assert_eq!(holder.left(MS), 0);
    holder.on_grant(MS, &grant);
    assert_eq!(holder.left(MS), 0, "a grant of the epoch before");

    let (_, mut holder) = both(0);
    holder.on_grant(MS, &grant);
    let later = Grant { epoch: 2, ..grant };
    holder.on_grant(MS, &later);
    assert_eq!(holder.left(MS), 0, "a later epoch exists");
    holder.on_grant(MS, &later);
    holder.on_grant(MS, &grant);
    assert_eq!(holder.left(MS), 0, "it is not in that epoch, and no more in its own");
    holder.on_epoch(2);
    holder.on_grant(MS, &later);
    assert!(holder.left(MS) > 0);
}

#[test]
fn what_is_granted_is_bounded() {
    // Aim: each refusal for its reason, and nothing noted with it. Method: each cause in turn.
    let mut grantor = Grantor::new(terms(), 0);
    let holder = Holder::new(terms(), peer(1));
    let ask = holder.ask(0);
    let now = 2_000 * MS;
    assert_eq!(grantor.grant(now, &ask), Err(Denied::CatchingUp));
    grantor.on_caught_up();
    assert_eq!(grantor.grant(now, &ask), Err(Denied::NoMember { node: NodeId(7), epoch: 0 }));
    grantor.on_agreed(4, only(peer(2)));
    grantor.on_agreed(3, only(peer(1)));
    assert_eq!(grantor.grant(now, &ask), Err(Denied::NoMember { node: NodeId(7), epoch: 4 }), "another life");
    grantor.on_agreed(5, only(peer(1)));
    assert_eq!(grantor.grant(now, &ask), Err(Denied::NoAuthority { left_ns: 0 }), "none yet");
    grantor.on_authority(now - 480 * MS);
    grantor.on_authority(now - 490 * MS);
    let left_ns = 500 * MS - 480 * MS * 100 / 99 - 1;
    assert_eq!(grantor.grant(now, &ask), Err(Denied::NoAuthority { left_ns }), "too short to be of use");
    assert!(grantor.may_exclude(SLOT, now));
    grantor.on_authority(now - MS);
    assert!(grantor.grant(now, &ask).is_ok());
    assert!(!grantor.may_exclude(SLOT, now));
    assert!(grantor.grant(now + 600 * MS, &ask).is_err(), "its authority stands still");
}

#[test]
fn a_new_leader_waits_for_the_leases_of_those_before_it() {
    // Aim: nobody is excluded for one lease on a fast clock, whoever was granted what. Method: to the nanosecond.
    let leading = Grantor::new(terms(), 700 * MS);
    let over = 700 * MS + 505 * MS + 1;
    assert!(!leading.may_exclude(SLOT, over - 1) && leading.may_exclude(SLOT, over));
    let mut leading = leading;
    assert_eq!(leading.exclude(NodeSet::only(SLOT), 1, over - 1), Err(StillHeld { until_ns: over }));
    assert_eq!(leading.exclude(NodeSet::only(SLOT), 1, over), Ok(()));
}

#[test]
fn who_is_being_excluded_is_granted_nothing() {
    // Aim: no grant between the proposal and its agreement. Method: exclude, ask, agree on something else, ask.
    let (mut grantor, holder) = both(5_000);
    let now = 5_000 * MS;
    assert_eq!(grantor.exclude(NodeSet::only(SLOT).with(9), 2, now), Ok(()));
    assert_eq!(grantor.grant(now, &holder.ask(0)), Err(Denied::Excluding { node: NodeId(7), epoch: 2 }));
    grantor.on_agreed(1, only(peer(1)));
    assert!(grantor.grant(now, &holder.ask(0)).is_err(), "the proposal may still be agreed on");
    grantor.on_agreed(2, only(peer(1)));
    assert!(grantor.grant(now, &holder.ask(0)).is_ok(), "another epoch 2 was agreed on");
    let later = now + 600 * MS;
    grantor.on_authority(later);
    assert_eq!(grantor.exclude(NodeSet::only(SLOT), 4, later), Ok(()));
    grantor.on_agreed(3, only(peer(1)));
    assert!(grantor.grant(later, &holder.ask(0)).is_err(), "the proposal for 4 is still under way");
    grantor.on_agreed(4, only(peer(1)));
    assert!(grantor.grant(later, &holder.ask(0)).is_ok());
    let held = grantor.exclude(NodeSet::only(9).with(SLOT), 5, later).expect_err("one of them may hold one");
    assert!(held.until_ns > later + 500 * MS);
    assert!(grantor.grant(later, &holder.ask(0)).is_ok(), "a refusal changes nothing");
}

#[test]
fn a_lease_given_back_is_over_at_once() {
    // Aim: who leaves of its own accord is not waited for, however messages cross. Method: release, then a grant that was under
    // way; a release that arrives behind a later grant; and a life before that may hold one still.
    let (mut grantor, mut holder) = both(5_000);
    let now = 5_000 * MS;
    let grant = grantor.grant(now, &holder.ask(10)).expect("a member");
    holder.on_grant(20, &grant);
    let release = holder.release(30);
    assert_eq!(holder.left(30), 0);
    holder.on_grant(40, &grant);
    assert_eq!(holder.left(40), 0, "it was under way");
    assert!(!grantor.may_exclude(SLOT, now));
    grantor.on_release(&release);
    assert!(grantor.may_exclude(SLOT, now));

    let again = grantor.grant(now, &holder.ask(50)).expect("a member");
    holder.on_grant(60, &again);
    assert!(holder.left(60) > 0);
    grantor.on_release(&release);
    assert!(!grantor.may_exclude(SLOT, now), "an old release says nothing of a later grant");

    grantor.on_agreed(2, only(peer(2)));
    let mut next = Holder::new(terms(), peer(2));
    grantor.grant(now + 100 * MS, &next.ask(1)).expect("a member");
    grantor.on_release(&next.release(2));
    assert!(!grantor.may_exclude(SLOT, now + 100 * MS), "the life before has given nothing back");
    assert!(grantor.may_exclude(SLOT, now + 510 * MS));
}

#[test]
fn an_answer_from_the_future_is_none() {
    // Aim: what comes from the network does not make a lease longer. Method: a question never asked, and a length beyond the
    // terms.
    let (_, mut holder) = both(0);
    holder.on_grant(10, &Grant { sent_ns: 11, length_ns: MS, epoch: 1 });
    assert_eq!(holder.left(10), 0);
    holder.on_grant(10, &Grant { sent_ns: 10, length_ns: u64::MAX, epoch: 1 });
    assert_eq!(holder.left(10), 495 * MS);
}

#[test]
fn messages_keep_their_bytes() {
    // Aim: both ends of a rolling upgrade understand each other. Method: golden bytes, there and back.
    use hypermnesia_store::codec::{decode, encode};
    let ask = Ask { peer: peer(300), sent_ns: 1 };
    assert_eq!(encode(&ask), [7, 251, 44, 1, 1]);
    assert_eq!(decode(&encode(&ask), 64), Ok(ask));
    let grant = Grant { sent_ns: 1, length_ns: 2, epoch: 3 };
    assert_eq!(encode(&grant), [1, 2, 3]);
    assert_eq!(decode(&encode(&grant), 64), Ok(grant));
    let release = Release { peer: peer(1), released_ns: 9 };
    assert_eq!(encode(&release), [7, 1, 9]);
    assert_eq!(decode(&encode(&release), 64), Ok(release));
}
