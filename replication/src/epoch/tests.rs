use hypermnesia_store::Incarnation;

use super::*;
use crate::register::{Answer, Cause, Enlisting, Role};

/// Names by the ids that follow from them: slots are given in this order.
fn names() -> [&'static str; 3] {
    let mut names = ["a", "b", "c"];
    names.sort_by_key(|name| NodeId::of_name(name));
    names
}

fn life(slot: usize, life: u64) -> Peer {
    Peer { node: NodeId::of_name(names()[slot]), incarnation: Incarnation(life) }
}

/// A register of three, founded with this.
fn founded(carried: Option<Carried>) -> Register {
    let data = |name: &&str| Enlisting {
        name: (*name).to_owned(),
        address: format!("{name}.test:1"),
        role: Role::Data,
        raft: None,
    };
    let nodes = names().iter().map(data).collect();
    let mut register = Register::default();
    let found =
        Command::Found { cluster: 1, name: "c".to_owned(), nodes, slots: Vec::new(), carried, floor: 0 };
    assert_eq!(register.apply(&found), Answer::Done);
    register
}

fn agree(register: &mut Register, number: u64, members: Vec<Peer>, why: Cause) {
    assert_eq!(register.apply(&Command::Agree { number, members, why }), Answer::Done);
}

#[test]
fn an_agreement_is_what_the_register_says() {
    // Aim: epochs have an entry for every slot, and an opening goes there and back as it is. Method: nothing agreed on yet; an
    // epoch without the last slot, opened by the command of an opening; the next one without the first slot.
    let mut register = founded(None);
    assert_eq!(Agreement::of(&register), Agreement::default());
    agree(&mut register, 1, vec![life(0, 5), life(1, 6)], Cause::Founded);
    let first = Epoch { number: 1, parent: 0, members: vec![Some(life(0, 5)), Some(life(1, 6)), None] };
    let latest = Some(first.clone());
    assert_eq!(Agreement::of(&register), Agreement { opened: None, latest, chain: vec![] });

    let opening = Opening { stamp: Timestamp(8), unserved: vec![(TableId(3), 0)] };
    let opened = Opened { epoch: first, opening };
    assert_eq!(register.apply(&opened.command()), Answer::Done);
    agree(&mut register, 2, vec![life(1, 6), life(2, 9)], Cause::Joined);
    let second = Epoch { number: 2, parent: 1, members: vec![None, Some(life(1, 6)), Some(life(2, 9))] };
    let expected = Agreement { opened: Some(opened), latest: Some(second), chain: vec![1] };
    assert_eq!(Agreement::of(&register), expected);
}

#[test]
fn a_founding_goes_on_from_what_a_log_knows() {
    // Aim: a cluster of former times is found again in the register that its nodes found. Method: the stage that a log has, as
    // what is brought to a founding, and the agreement that comes of it.
    let members = vec![Some(life(0, 5)), None, Some(life(2, 7))];
    let epoch = Epoch { number: 9, parent: 8, members };
    let unserved = vec![(TableId(2), 4)];
    let stage = Stage { epoch, stamp: Timestamp(8), decisions: vec![], standings: vec![], unserved };
    let register = founded(Some(stage.carried()));
    let opened = Agreement::of(&register).opened.expect("brought");
    assert_eq!((opened.epoch.number, &opened.epoch.members), (9, &stage.epoch.members));
    assert_eq!(opened.opening, Opening { stamp: stage.stamp, unserved: stage.unserved });
    assert_eq!(Agreement::of(&register).chain, [9]);
}

#[test]
fn a_copy_from_an_older_disc_is_not_whole_before_it_was_compared() {
    // Aim: what was lost with a disc is not shown once who knew more is lost too. Method: two copies of the last epoch, from
    // logs that know of the same commit, and of different ones; and two that never left memory, whose clocks differ.
    let table = TableId(2);
    let good = |commits: [u64; 2], survivor: bool| {
        let standing = |last: u64| Standing {
            survivor,
            whole: vec![(table, 7)],
            opened: 7,
            last_commit: Timestamp(last),
        };
        let standings = commits.map(standing);
        [0, 1].map(|slot| is_as_good_as_any(&standings, slot, table, NodeSet::first(2)))
    };
    assert_eq!(good([5, 5], false), [true, true]);
    assert_eq!(good([4, 5], false), [false, true]);
    assert_eq!(good([4, 5], true), [true, true]);
}
