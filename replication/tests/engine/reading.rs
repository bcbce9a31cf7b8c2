//! Tables that are read for copies, and what was read when it comes late.

use hypermnesia_replication::Reading;
use hypermnesia_store::Value;

use crate::trio::{TABLE, Trio};

/// Carries until a member is to read the table for the joiner's copy, which has not begun: that reading, and whose it is.
fn until_a_source_reads(trio: &mut Trio, joiner: usize) -> (usize, Reading) {
    loop {
        let wanted = |(at, reading): &(usize, Reading)| *at != joiner && reading.table() == TABLE;
        if let Some(found) = trio.reads.iter().position(wanted) {
            return trio.reads.remove(found).expect("just found");
        }
        assert!(trio.carry_one(), "nobody reads");
    }
}

#[test]
fn what_was_read_in_an_epoch_that_is_over_counts_for_nothing() {
    // Aim: a copy is not said to be equal because it was so once. Method: a member comes back to what it has all of; its source has read the
    // table, and says so only in the epoch after the next one, when a row was written without that member and it asks the same again.
    let mut trio = Trio::open(3, false);
    trio.commit(0, 1, 1);
    trio.settle();
    trio.agree(&[0, 1]);
    trio.settle();
    trio.agree(&[0, 1, 2]);
    let (source, reading) = until_a_source_reads(&mut trio, 2);
    let late = trio.nodes[source].read(reading);
    trio.agree(&[0, 1]);
    trio.settle();
    trio.commit(0, 1, 2);
    trio.settle();
    trio.agree(&[0, 1, 2]);
    let (again, reading) = until_a_source_reads(&mut trio, 2);
    assert_eq!(again, source);
    trio.event(source, |replica, now, out| replica.on_read(now, late, out));
    trio.reads.push_back((source, reading));
    trio.settle();
    assert_eq!(trio.value(2, 1), Some(Value::Int(2)));
}
