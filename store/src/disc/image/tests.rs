//! Images that get their checksums, are cut off, or are closed in the middle of something.

use super::*;
use crate::disc::mem::{Crash, Fault, FaultKind, MemDisc};
use crate::ids::SchemaVersion;
use crate::row::Row;
use crate::value::Value;

const TABLE: TableId = TableId(20);
const ROWS: i64 = 300;

/// An image as earlier versions made it, with some rows.
fn plain() -> MemDisc {
    let disc = MemDisc::new();
    let path = disc.path(IMAGE_NAME);
    let file = disc.create(IMAGE_NAME).expect("no fault is planted");
    let db = open_database(Backend::plain(Arc::clone(&file)), &path, "creating").expect("it is new");
    let (state, held) = (State::default(), HeldTables::default());
    let mut image = Image { db, is_plain: true, path, state, held };
    let body = Body::Row(Row::encode(SchemaVersion::FIRST, &[Value::Bytes(vec![7; 500])]).expect("fits"));
    let mut step = image.step().expect("well");
    let put = |rows: &mut Rows<'_>| {
        (0..ROWS).try_for_each(|k| rows.put(TABLE, &key(k), Timestamp(1), Some(&body), false))
    };
    step.rows(put).expect("there is room");
    step.commit(Position(1), &Outcomes::new()).expect("well");
    drop(image);
    file.sync().expect("no fault is planted");
    disc.sync_names().expect("no fault is planted");
    disc.crash(Crash::DropUnsynced)
}

fn key(k: i64) -> Key {
    Key::encode(&[Value::Int(k)]).expect("small")
}

fn found(disc: &MemDisc) -> Image {
    Image::find(disc).expect("it is well").expect("it is there")
}

fn check_rows(image: &Image) {
    let held: Vec<_> = image.held().collect();
    assert_eq!(held.iter().map(|(table, held)| (*table, held.keys)).collect::<Vec<_>>(), [(TABLE, 300)]);
    held.iter().for_each(|(table, held)| image.check_table(*table, held).expect("its rows are whole"));
}

#[test]
fn an_image_without_checksums_gets_them_or_stays_as_it_is() {
    // Aim: the copying of an image of an earlier version is one step, whatever stops it. Method: cut at every operation, in
    // every way; the image that is there has every row, and gets its checksums the next time.
    let whole = plain();
    let old = found(&whole);
    assert!(old.is_plain());
    drop(old);
    let (mut done, mut undone) = (0, 0);
    for at in 0.. {
        let disc = whole.crash(Crash::DropUnsynced);
        disc.set_fault(Some(Fault { at, kind: FaultKind::Cut }));
        if let Ok(Some(image)) = Image::find(&disc) {
            drop(image.checked(&disc));
        }
        if disc.operations() <= at {
            break;
        }
        let ways = [Crash::Kill, Crash::DropUnsynced, Crash::KeepUnsynced, Crash::Torn(at), Crash::Torn(!at)];
        for crash in ways {
            let disc = disc.crash(crash);
            let image = found(&disc);
            (done, undone) = (done + u32::from(!image.is_plain()), undone + u32::from(image.is_plain()));
            check_rows(&image);
            let image = image.checked(&disc).expect("no fault is planted");
            assert!(!image.is_plain());
            check_rows(&image);
            drop(image);
            assert!(!found(&disc.crash(Crash::DropUnsynced)).is_plain(), "cut at {at}, {crash:?}");
        }
    }
    assert!(done > 5 && undone > 50, "{done} had their checksums, {undone} had not");
}

#[test]
fn damage_gets_no_checksums() {
    // Aim: what is damaged before does not look whole behind the copying. Method: a row of an earlier version's image
    // changed.
    let disc = plain();
    let mut bytes = disc.bytes(IMAGE_NAME).expect("it is there");
    let at = bytes.windows(100).position(|part| part == [7; 100]).expect("a row is there");
    bytes[at + 50] ^= 1;
    disc.overwrite(IMAGE_NAME, bytes.clone());
    let refused = found(&disc).checked(&disc).expect_err("it is damaged");
    assert!(refused.is_corruption(), "{refused}");
    assert!(found(&disc).is_plain());
}
/// An image with a few steps, closed behind a panic in the middle of another one, where operation `at` of the closing is
/// cut, and whether it has as many.
fn closed_behind_a_panic(at: u64) -> (MemDisc, bool) {
    let disc = MemDisc::new();
    let mut image = Image::make(&disc, DirectoryId([1; 16])).expect("no fault is planted");
    let body = Body::Row(Row::encode(SchemaVersion::FIRST, &[Value::Bytes(vec![7; 500])]).expect("fits"));
    for n in 1..4 {
        let mut step = image.step().expect("well");
        let put = |rows: &mut Rows<'_>| {
            (0..ROWS).try_for_each(|k| rows.put(TABLE, &key(k), Timestamp(n), Some(&body), false))
        };
        step.rows(put).expect("there is room");
        step.commit(Position(n), &Outcomes::new()).expect("well");
    }
    let path = image.path.clone();
    let stopped: Result<()> = guarded(&path, || {
        image.step()?.rows(|rows| {
            rows.put(TABLE, &key(3), Timestamp(9), Some(&body), false)?;
            panic!("in the middle of a step")
        })
    });
    assert!(stopped.is_err());
    let at = disc.operations() + at;
    disc.set_fault(Some(Fault { at, kind: FaultKind::Cut }));
    drop(image);
    let is_cut = disc.operations() > at;
    (disc, is_cut)
}

#[test]
fn an_image_that_is_closed_behind_a_panic_opens_whatever_becomes_of_that() {
    // Aim: redb closes behind a panic with a commit in one phase, whose pages may be durable or not; that is no damage.
    // Method: a panic in a step, the closing behind it cut at every operation, in every way.
    for at in 0.. {
        let (closed, is_cut) = closed_behind_a_panic(at);
        for crash in
            [Crash::Kill, Crash::DropUnsynced, Crash::KeepUnsynced, Crash::Torn(at), Crash::Torn(!at)]
        {
            let disc = closed.crash(crash);
            check_rows(&found(&disc));
            check_rows(&found(&disc.crash(Crash::Kill)));
        }
        if !is_cut {
            break;
        }
    }
}

#[test]
fn an_image_that_is_cut_off_is_not_made_anew() {
    // Aim: redb makes a database of an empty file; ours is damaged then, and left as it is. Method: cut to lengths around
    // those of its first blocks.
    let disc = MemDisc::new();
    drop(Image::make(&disc, DirectoryId([1; 16])).expect("no fault is planted"));
    let whole = disc.bytes(IMAGE_NAME).expect("it is there");
    for len in [0, 1, 79, 80, 4_095, 4_096, 8_191, 8_192, 12_287, 12_288, whole.len() / 2, whole.len() - 1] {
        disc.overwrite(IMAGE_NAME, whole[..len].to_vec());
        let error = Image::find(&disc).expect_err("it is cut off");
        assert!(error.is_corruption(), "{len}: {error}");
        assert_eq!(disc.bytes(IMAGE_NAME), Some(whole[..len].to_vec()), "{len}: {error}");
    }
}
