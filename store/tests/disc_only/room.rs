//! What the image takes of the disc, whatever is written over and over.

use std::sync::Arc;

use hypermnesia_store::Kind;
use hypermnesia_store::disc::{Disc, IMAGE_NAME, MemDisc};

use crate::house::{Dice, House, builder, defined, key, put};

const ROWS: i64 = 500;
/// Bytes of a row at most: some rows share a page, some have one of their own or two.
const LONGEST: u64 = 4_000;
/// What fits into a segment.
const COMMIT: usize = 50_000;
/// Times that every row is written anew, each with its checkpoint, before the room is looked at, and while it is.
const ROUNDS: i64 = 20;
/// Length of the image's file over what its rows take, where every row is new in every checkpoint: pages that are not full, those
/// of the checkpoint before, which readers look at, those that come free with this one, and a file that grows by doubling.
/// 8.1 was measured.
const MOST: usize = 10;

fn opened(disc: &MemDisc, wall_ms: u64) -> House {
    let disc: Arc<dyn Disc> = Arc::new(disc.clone());
    House::open_with(&disc, wall_ms, 256 << 10).expect("no fault is planted")
}

/// Writes every row anew, with another length, and brings them into the image. Gives the length of its file.
fn rewritten(house: &mut House, disc: &MemDisc, dice: &mut Dice, round: i64) -> usize {
    let (mut writes, mut bytes) = (Vec::new(), 0);
    for k in 0..ROWS {
        let filler = dice.roll(LONGEST) as usize;
        writes.push(put(k, round, filler));
        bytes += filler;
        if bytes > COMMIT {
            house.commit(std::mem::take(&mut writes));
            bytes = 0;
        }
    }
    house.commit(writes);
    house.bring_all();
    house.pass(3_000);
    length(disc)
}

fn length(disc: &MemDisc) -> usize {
    disc.bytes(IMAGE_NAME).map_or(0, |bytes| bytes.len())
}

#[test]
fn room_of_rows_that_are_gone_is_used_again() {
    // Aim: the image has a bound that follows from what its tables hold, not from how often they are written; what a table had
    // is there for others once it is cleared, and after a close. Method: every row rewritten with other lengths for many
    // checkpoints; cleared and filled again; closed, opened, and filled again.
    let disc = MemDisc::new();
    let mut dice = Dice(7);
    let mut house = opened(&disc, 1_000);
    house.define(&defined(builder(Kind::OrderedSet), 100 << 10));
    let first = (0..ROUNDS).map(|round| rewritten(&mut house, &disc, &mut dice, round)).max().unwrap_or(0);
    let held = house.table().bytes() as usize;
    assert!(first <= MOST * held, "{first} bytes of file for {held} of rows");
    for round in ROUNDS..2 * ROUNDS {
        let now = rewritten(&mut house, &disc, &mut dice, round);
        assert!(now <= first, "round {round}: {now} bytes, and {first} were enough before");
    }
    for round in 0..6 {
        house.copy(&[]);
        if round % 2 == 0 {
            house.bring_all();
        }
        let now = rewritten(&mut house, &disc, &mut dice, round);
        assert!(now <= MOST * held, "cleared {round} times: {now} bytes of file for {held} of rows");
    }
    house.copy(&[]);
    house.bring_all();
    for round in 0..3 {
        let (before, wall_ms) = (length(&disc), house.wall_ms);
        house.writer.close().expect("no fault is planted");
        drop(house);
        let closed = length(&disc);
        // redb gives back what is free at its end, and no more: a page in use there keeps the file as long as it is.
        assert!(closed <= before, "closing takes room: {closed} bytes, {before} before");
        house = opened(&disc, wall_ms);
        assert!(house.table().latest(&key(1)).expect("the disc is well").is_none());
        let now = rewritten(&mut house, &disc, &mut dice, round);
        assert!(now <= MOST * held, "opened {round} times: {now} bytes of file for {held} of rows");
        house.copy(&[]);
        house.bring_all();
    }
}
