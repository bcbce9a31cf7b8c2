//! What is said was stored before.

use hypermnesia_store::disc::{Crash, MemDisc};

use super::simulation::{ELECTION_MAX, simulate};
use crate::plane::RaftId;
use crate::plane::kind::Appended;
use crate::plane::message::{Answer, Ask};
use crate::plane::store::Store;

#[test]
fn votes_and_entries_are_durable_before_they_are_told() {
    // Aim: no answer builds on what a power cut takes. Method: at each answer, what is synced of the disc is opened and must hold the
    // vote that was given and the entries that were acknowledged. Found with it: a vote saved without a sync, entries
    // appended without one.
    for seed in 0..5 {
        simulate(seed, async |mut cluster| {
            cluster.world.lock().before_answer = Some(synced);
            cluster.begin(3).await;
            for round in 0..3 {
                let leader = cluster.led().await;
                assert!(cluster.propose(leader, vec![round]).await);
                cluster.isolate(leader, 3);
                let other =
                    |cluster: &super::simulation::Cluster| cluster.leader().filter(|slot| *slot != leader);
                let new = cluster.until(ELECTION_MAX * 20, "another leader", other).await;
                assert!(cluster.propose(new, vec![round, 1]).await);
                cluster.heal();
            }
            cluster.settle().await;
        });
    }
}

fn synced(disc: &MemDisc, ask: &Ask, answer: &Answer) -> Option<String> {
    // Most requests are heartbeats, which promise nothing new.
    let (vote, entries) = match (ask, answer) {
        (Ask::Vote(ask), Answer::Vote(answer)) if answer.vote_granted => (ask.vote, &[][..]),
        (Ask::Append(ask), Answer::Append(Appended::Success)) if !ask.entries.is_empty() => {
            (ask.vote, &ask.entries[..])
        }
        _ => return None,
    };
    let left = disc.crash(Crash::DropUnsynced);
    let store = Store::open(&left, "simulated", RaftId(0)).expect("it was whole");
    let found = store.vote().expect("it is whole");
    if !found.is_some_and(|found| found >= vote) {
        return Some(format!("{vote} was told, {found:?} is synced"));
    }
    let (_, last) = store.log_ends().expect("it is whole");
    let told = entries.last().map(|entry| entry.log_id);
    (last < told).then(|| format!("entries to {told:?} were told, {last:?} is synced"))
}
