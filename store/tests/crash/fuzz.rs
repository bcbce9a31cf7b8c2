//! Logs and images changed at random: opened whole or refused by name, never a panic, never a part of a transaction.

use std::panic::{AssertUnwindSafe, catch_unwind};

use hypermnesia_store::disc::{Crash, Disc, MemDisc};

use crate::mutation::{Dice, mutated, rounds};
use crate::session::{RAM, Session, T, TRANSACTIONS, held, model, run};

const BLOCK: usize = 4096;

/// Changes one kind of file of a directory that was in use when its process was killed, and does something more to it.
fn fuzz(target: u64, few: u64, wanted: impl Fn(&str) -> bool, finish: impl Fn(&mut [u8])) {
    let disc = MemDisc::new();
    let (_, error) = run(&disc);
    assert!(error.is_none(), "no fault is planted: {error:?}");
    let files: Vec<String> =
        disc.list().expect("no fault is planted").into_iter().filter(|name| wanted(name)).collect();
    let seeds: Vec<Vec<u8>> = files.iter().map(|name| disc.bytes(name).expect("it is there")).collect();
    let (mut dice, mut refused, mut all) = (Dice::seeded(target), 0, 0);
    for round in rounds(few) {
        all += 1;
        let changed = disc.crash(Crash::Kill);
        let file = &files[dice.roll(files.len())];
        let mut bytes = mutated(&mut dice, &seeds);
        finish(&mut bytes);
        changed.overwrite(file, bytes);
        let opened = catch_unwind(AssertUnwindSafe(|| Session::open(&changed)));
        match opened.unwrap_or_else(|_| panic!("round {round}: {file} made it panic")) {
            Err(error) => {
                assert!(error.is_corruption(), "round {round}, {file}: {error}");
                refused += 1;
            }
            Ok(session) => {
                let rows = held(&session.store);
                let count = rows.get(&(T, 0)).map_or(0, |numbers| numbers[0]) as u64;
                assert!(count <= TRANSACTIONS, "round {round}, {file}: {count} transactions");
                assert_eq!(rows, model(count), "round {round}, {file}: {count} transactions, not whole");
                assert!(session.store.table(RAM).is_none_or(|table| table.is_empty()));
            }
        }
    }
    println!("{refused} of {all} changed directories were refused");
    assert!(refused > 0);
}

/// Gives every block of an image the checksum that its bytes have, as store/src/disc/blocks.rs says.
fn sealed(image: &mut [u8]) {
    let mut blocks = image.chunks_exact_mut(BLOCK).skip(1);
    let mut number = 0_u64;
    while let Some(checks) = blocks.next() {
        for check in checks.chunks_exact_mut(4) {
            let Some(block) = blocks.next() else { return };
            let mut hasher = crc32fast::Hasher::new();
            hasher.update(&number.to_le_bytes());
            hasher.update(block);
            // The first one is redb's header, and has none.
            let right = if number == 0 { 0 } else { hasher.finalize().max(1) };
            check.copy_from_slice(&right.to_le_bytes());
            number += 1;
        }
    }
}

#[test]
fn changed_logs() {
    // Aim: the log reader meets anything. Method: segments replaced by changed ones, also by parts of each other.
    fuzz(11, 300, |name| name.ends_with(".seg"), |_| ());
}

#[test]
fn changed_images() {
    // Aim: the image reader meets anything. Method: the image replaced by a changed one.
    fuzz(12, 100, |name| name.ends_with(".redb"), |_| ());
}

#[test]
fn changed_images_whose_blocks_look_whole() {
    // Aim: what lies above the checksums of blocks meets anything too. Method: a changed image whose checksums are right.
    fuzz(13, 100, |name| name.ends_with(".redb"), sealed);
}
