//! Bytes that no control plane of ours would send.

use std::collections::BTreeMap;

use hypermnesia_store::codec::{self, CodecError};
use openraft::{EntryPayload, LogId, Vote};

use super::simulation::{Cluster, simulate, voter};
use crate::plane::kind::{Append, Appended, Entry, Members, VoteAnswer, VoteRequest};
use crate::plane::message::{Answer, Ask, Asked, BadMessage, Refusal, Request};
use crate::plane::{BadMessage as Bad, RaftId};

fn id(term: u64, index: u64) -> LogId<RaftId> {
    LogId::new(openraft::CommittedLeaderId::new(term, RaftId(1)), index)
}

fn entry(term: u64, index: u64) -> Entry {
    Entry { log_id: id(term, index), payload: EntryPayload::Normal(b"x".to_vec()) }
}

fn append(vote: Vote<RaftId>, prev: Option<LogId<RaftId>>, entries: Vec<Entry>) -> Ask {
    Ask::Append(Append { vote, prev_log_id: prev, entries, leader_commit: None })
}

#[test]
fn garbage_changes_nothing() {
    // Aim: whatever comes, the answer is an error with a reason, and the plane goes on as it was. Method: noise, cut and flipped
    // requests, requests for others, and each that none may send; the view and the store before and after.
    simulate(1, async |mut cluster: Cluster| {
        cluster.begin(3).await;
        cluster.led().await;
        let plane = cluster.plane(1);
        let before = (plane.view(), cluster.stored(1).await);
        let me = plane.raft_id();
        let elected = Vote::new_committed(9, RaftId(1));
        let request = |cluster: &str, to, ask| Request { cluster: cluster.to_owned(), to, ask }.encode();
        let whole = request("simulated", me, append(elected, None, vec![entry(9, 0)]));
        for at in 0..whole.len() {
            let mut flipped = whole.clone();
            flipped[at] ^= 1 << (at % 8);
            assert!(plane.on_request(&flipped).await.is_err(), "byte {at}");
            assert!(plane.on_request(&whole[..at]).await.is_err(), "cut at {at}");
        }
        let noise: Vec<u8> = (0..100).map(|_| cluster.random.u8(..)).collect();
        assert!(matches!(plane.on_request(&codec::seal(21, 1, &noise)).await, Err(Bad::Codec(_))));
        assert_eq!(plane.on_request(&codec::seal(21, 2, &noise)).await, Err(Bad::Version(2)));
        for ask in unsound() {
            let answer = plane.on_request(&request("simulated", me, ask)).await;
            assert!(matches!(answer, Err(Bad::Unsound(_))), "{answer:?}");
        }
        for (cluster, to, refusal) in
            [("other", me, Refusal::Cluster), ("simulated", RaftId(1), Refusal::NotMe)]
        {
            let answer =
                plane.on_request(&request(cluster, to, append(elected, None, vec![entry(9, 0)]))).await;
            let answer =
                Answer::decode(&answer.expect("it is sound"), &Asked::Append { vote: elected, prev: false });
            assert!(matches!(answer, Ok(Answer::Refused(why)) if why == refusal), "{answer:?}");
        }
        let after = (plane.view(), cluster.stored(1).await);
        assert_eq!(before.0.term, after.0.term);
        assert_eq!((before.0.applied, before.1), (after.0.applied, after.1));
        cluster.settle().await;
    });
}

fn unsound() -> Vec<Ask> {
    let elected = Vote::new_committed(9, RaftId(1));
    let endless = Vote::new_committed(u64::MAX, RaftId(1));
    let snapshot = |vote, last, bytes| Ask::Snapshot { vote, last, members: Members::default(), bytes };
    vec![
        append(Vote::new(9, RaftId(1)), None, Vec::new()),
        append(endless, None, Vec::new()),
        append(elected, None, vec![entry(9, 1)]),
        append(elected, Some(id(9, 3)), vec![entry(9, 4), entry(9, 6)]),
        append(elected, Some(id(8, 3)), vec![entry(7, 4)]),
        append(elected, Some(id(8, 3)), vec![entry(10, 4)]),
        append(elected, None, (0..100).map(|index| entry(9, index)).collect()),
        Ask::Vote(VoteRequest::new(elected, None)),
        Ask::Vote(VoteRequest::new(Vote::new(u64::MAX, RaftId(1)), None)),
        snapshot(Vote::new(9, RaftId(1)), id(8, 3), Vec::new()),
        snapshot(elected, id(10, 3), Vec::new()),
        snapshot(elected, id(8, 3), vec![0; 1024 * 1024 + 1]),
    ]
}

#[test]
fn answers_that_answer_nothing_are_none() {
    // Aim: the consensus library asserts on answers that a correct peer never gives, so none gets there. Method: one of each kind.
    let vote = Vote::new_committed(9, RaftId(1));
    let (first, later) = (Asked::Append { vote, prev: false }, Asked::Append { vote, prev: true });
    let lower = Vote::new(8, RaftId(2));
    let unsound = |answer: Answer, asked| {
        matches!(Answer::decode(&answer.encode(), asked), Err(BadMessage::Unsound(_)))
    };
    assert!(unsound(Answer::Append(Appended::HigherVote(lower)), &later));
    assert!(unsound(Answer::Append(Appended::HigherVote(Vote::new(u64::MAX, RaftId(2)))), &later));
    assert!(unsound(Answer::Append(Appended::PartialSuccess(None)), &later));
    assert!(unsound(Answer::Append(Appended::Conflict), &first));
    assert!(!unsound(Answer::Append(Appended::Conflict), &later));
    assert!(unsound(Answer::Canvass(true), &Asked::Vote));
    assert!(unsound(Answer::Snapshot(lower), &Asked::Canvass));
    let cut = Answer::decode(&Answer::Canvass(true).encode()[..3], &Asked::Canvass);
    assert!(matches!(cut, Err(BadMessage::Codec(CodecError::NoEnvelope(_)))));
}

#[test]
fn the_bytes_are_those_of_this_version() {
    // Aim: nobody changes what is sent or stored, by hand or with another release of the consensus library, without a new version.
    // Method: checksums of one of each; the same types are in the file.
    let members =
        openraft::Membership::new(vec![[RaftId(1)].into()], BTreeMap::from([(RaftId(1), voter(1))]));
    let stored = Members::new(Some(id(8, 2)), members.clone());
    let vote = Vote::new_committed(9, RaftId(1));
    let change = Entry { log_id: id(9, 5), payload: EntryPayload::Membership(members) };
    let blank = Entry { log_id: id(9, 6), payload: EntryPayload::Blank };
    let asks = [
        append(vote, Some(id(8, 3)), vec![entry(9, 4), change, blank]),
        Ask::Vote(VoteRequest::new(Vote::new(9, RaftId(1)), None)),
        Ask::Snapshot { vote, last: id(8, 3), members: stored, bytes: vec![1, 2] },
        Ask::Canvass { last: Some(id(8, 3)) },
    ];
    let asked = asks.map(|ask| Request { cluster: "c".to_owned(), to: RaftId(2), ask }.encode());
    let answered = [
        Answer::Append(Appended::Success),
        Answer::Append(Appended::HigherVote(vote)),
        Answer::Vote(VoteAnswer::new(vote, Some(id(8, 3)), true)),
        Answer::Snapshot(vote),
        Answer::Canvass(true),
        Answer::Refused(Refusal::Stopped),
    ];
    let sum = |all: &[Vec<u8>]| crc32fast::hash(&all.concat());
    assert_eq!((sum(&asked), sum(&answered.map(|answer| answer.encode()))), (3_237_710_634, 799_409_600));
}
