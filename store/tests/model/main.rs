//! Each kind of table against a plain map, by random transactions, single operations, counters, swaps and takes with a fixed
//! seed; old states are kept beside snapshots and compared later.
//!
//! | module | what |
//! |---|---|
//! | `run` | the table, its model, and transactions |
//! | `single` | operations on one key in one step, and swaps by version |
//! | `compare` | every way to read the table, beside the model |

mod compare;
mod run;
mod single;

use hypermnesia_store::Kind;

use run::Run;

/// Operations of a table with an index, and of one without; both together are 10^6 of each kind.
const WITH_INDEX: usize = 500_000;
const WITHOUT: usize = 500_000;

/// Goes on for so many operations; says how many counters changed a row in place.
fn run(kind: Kind, with_index: bool, seed: u64) -> usize {
    let mut run = Run::new(kind, with_index, seed);
    while run.operations < if with_index { WITH_INDEX } else { WITHOUT } {
        run.step();
    }
    let in_place = run.in_place;
    run.finish();
    in_place
}

// Aim: each kind is what its name says for every operation in any order, and old states stay as they were. Method: see the
// file's header; each kind with an index, and without one, which lets rows change where they stand.

#[test]
fn a_set_is_a_map() {
    run(Kind::Set, true, 0x9e37_79b9_7f4a_7c15);
}

#[test]
fn an_ordered_set_is_a_sorted_map() {
    run(Kind::OrderedSet, true, 0xdead_beef_cafe_f00d);
}

#[test]
fn a_bag_is_a_map_of_lists() {
    run(Kind::Bag, true, 0x0123_4567_89ab_cdef);
}

#[test]
fn a_set_without_index_is_a_map() {
    let in_place = run(Kind::Set, false, 0x51ed_270b_9f3c_8aa1);
    assert!(in_place > 1_000, "{in_place} counters in place: they are hardly tried");
}

#[test]
fn an_ordered_set_without_index_is_a_sorted_map() {
    let in_place = run(Kind::OrderedSet, false, 0x7f4a_7c15_dead_beef);
    assert!(in_place > 1_000, "{in_place} counters in place: they are hardly tried");
}

#[test]
fn a_bag_without_index_is_a_map_of_lists() {
    run(Kind::Bag, false, 0xcafe_f00d_0123_4567);
}
