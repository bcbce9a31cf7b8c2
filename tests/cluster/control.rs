//! The control plane of a cluster: who votes, who leads, and that there is one of it.

use std::time::{Duration, Instant};

use hypermnesia::status::ControlStatus;
use hypermnesia::{Error, Node};

use crate::loopback::free_ports;
use crate::trio::{LONG, Trio};
use crate::until::until;

fn control(node: &Node) -> ControlStatus {
    node.status().control.expect("a member has one")
}

/// Waits until these say the same of a founded cluster in which they all vote, and somebody who is up leads; what they say.
fn agreed(trio: &Trio, up: &[usize]) -> ControlStatus {
    let names: Vec<&str> = up.iter().map(|at| trio.node(*at).name()).collect();
    let said = || up.iter().map(|at| control(trio.node(*at))).collect::<Vec<_>>();
    let end = Instant::now() + LONG;
    loop {
        let mut all = said();
        let same = all.windows(2).all(|pair| pair[0] == pair[1]);
        let leads = all[0].leader.as_deref().is_some_and(|leader| names.contains(&leader));
        if same && leads && all[0].cluster_id.is_some() && all[0].without_vote.is_empty() {
            return all.swap_remove(0);
        }
        assert!(Instant::now() < end, "they do not agree: {all:#?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_cluster_is_founded_once_and_has_a_leader_for_as_long_as_most_are_there() {
    // Aim: one control plane, which outlives any member, in memory and on disc. Method: the leader is stopped, somebody else
    // leads the same cluster; it comes back, all at once are stopped, and what was founded depends on whether it was on disc.
    for on_disc in [false, true] {
        let directories: Vec<_> = (0..3).map(|_| tempfile::tempdir().expect("a directory")).collect();
        let homes = on_disc.then(|| directories.iter().map(|home| home.path().to_owned()).collect());
        let mut trio = Trio::start_on(homes);
        let first = agreed(&trio, &[0, 1, 2]);
        assert_eq!(first.voters, ["n1", "n2", "n3"]);
        let lost =
            (0..3).find(|at| Some(trio.node(*at).name()) == first.leader.as_deref()).expect("it is up");
        trio.stop(lost);
        let left: Vec<usize> = (0..3).filter(|at| *at != lost).collect();
        let second = agreed(&trio, &left);
        assert_eq!((&second.cluster_id, &second.voters), (&first.cluster_id, &first.voters));
        assert!(second.term > first.term, "{second:?}");
        trio.restart(lost);
        let third = agreed(&trio, &[0, 1, 2]);
        assert_eq!((&third.cluster_id, &third.voters), (&first.cluster_id, &first.voters));
        (0..3).for_each(|at| trio.stop(at));
        (0..3).for_each(|at| trio.restart(at));
        let fourth = agreed(&trio, &[0, 1, 2]);
        assert_eq!(fourth.cluster_id == first.cluster_id, on_disc, "{fourth:?}");
    }
}

#[test]
fn a_store_of_votes_that_is_lost_is_replaced_before_the_next_one_is_lost() {
    // Aim: members without a disc can restart one after the other for ever, and a directory may be lost. Method: each of three in
    // turn, twice; without replacement the second restart would leave one voter of three.
    let mut trio = Trio::start();
    let first = agreed(&trio, &[0, 1, 2]);
    for at in [0, 1, 2, 0, 1, 2] {
        trio.stop(at);
        let left: Vec<usize> = (0..3).filter(|other| *other != at).collect();
        agreed(&trio, &left);
        trio.restart(at);
        let now = agreed(&trio, &[0, 1, 2]);
        assert_eq!((&now.cluster_id, &now.voters), (&first.cluster_id, &first.voters));
        trio.settle();
    }
}

#[test]
fn some_of_the_first_members_found_nothing() {
    // Aim: two parts of a list do not become two clusters. Method: two of three, which are connected, for many times as long as it
    // takes three; then the third.
    let listeners = free_ports(3);
    let address = |at: usize| listeners[at].local_addr().expect("bound").to_string();
    let addresses: Vec<_> = (0..3).map(|at| (format!("n{}", at + 1), address(at))).collect();
    let start = |(at, listener): (usize, std::net::TcpListener)| {
        Trio::builder(&addresses, None, at).peer_listener(listener).build().expect("a good configuration")
    };
    let mut listeners = listeners.into_iter().enumerate();
    let two: Vec<Node> = listeners.by_ref().take(2).map(start).collect();
    until(|| {
        two.iter().all(|node| node.status().members.iter().filter(|member| member.connected).count() == 2)
    });
    std::thread::sleep(Duration::from_secs(1));
    for node in &two {
        assert_eq!((control(node).cluster_id, control(node).voters), (None, Vec::new()));
        assert!(matches!(node.snapshot(), Err(Error::NotReady { .. })));
    }
    let three = listeners.map(start).next().expect("there are three");
    until(|| control(&three).cluster_id.is_some() && control(&three).leader.is_some());
    assert_eq!(control(&three).voters, ["n1", "n2", "n3"]);
}

#[test]
fn a_node_that_is_alone_has_no_control_plane() {
    // Aim: an embedded node pays for none. Method: its status.
    let node = Node::builder().build().expect("it needs nothing");
    assert_eq!(node.status().control, None);
}

#[test]
fn empty_directories_of_most_members_are_no_cluster_until_somebody_says_so() {
    // Aim: directories that were not mounted do not make a cluster that knows less than they do. Method: two of three start with empty
    // directories: nothing serves, and it is said what to do; with their own again everything is there.
    let directories: Vec<_> = (0..3).map(|_| tempfile::tempdir().expect("a directory")).collect();
    let homes: Vec<_> = directories.iter().map(|home| home.path().to_owned()).collect();
    let mut trio = Trio::start_on(Some(homes));
    let first = agreed(&trio, &[0, 1, 2]);
    (0..3).for_each(|at| trio.stop(at));
    let kept = [trio.saved(1), trio.saved(2)];
    trio.restart(0);
    trio.restart_empty(1);
    trio.restart_empty(2);
    let end = Instant::now() + LONG;
    loop {
        let said = trio.node(0).status();
        assert!(!said.ready, "{said:?}");
        if said.waits_for.as_ref().is_some_and(|what| what.contains("plane.redb") && what.contains("n2, n3"))
        {
            break;
        }
        assert!(Instant::now() < end, "{said:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
    std::thread::sleep(Duration::from_secs(1));
    (0..3).for_each(|at| assert_eq!(control(trio.node(at)).cluster_id, None, "nobody agrees on anything"));
    trio.stop(1);
    trio.stop(2);
    for (at, home) in [1, 2].into_iter().zip(kept) {
        trio.restart_on(at, home);
    }
    trio.settle();
    assert_eq!(agreed(&trio, &[0, 1, 2]).cluster_id, first.cluster_id);
}
