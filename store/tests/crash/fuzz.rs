//! Logs and images changed at random: opened whole or refused by name, never a panic, never a part of a transaction, and no more
//! memory asked for than the files account for.

use std::panic::{AssertUnwindSafe, catch_unwind};

use hypermnesia_store::disc::{Crash, Disc, IMAGE_NAME, MemDisc};

use crate::asked::{Asked, asked};
use crate::mutation::{Dice, mutated, rounds};
use crate::session::{RAM, Session, T, TRANSACTIONS, held, model, run};

const BLOCK: usize = 4096;
/// Of a segment, and of each of its frames.
const HEADER: usize = 64;
const FRAME_HEADER: usize = 24;
/// What a sequence begins with at most, whatever length it claims.
const ROOM: usize = 1 << 20;
/// The largest page that redb knows, of 2^20 blocks, and what counts who holds it.
const PAGE_MAX: usize = (BLOCK << 20) + 16;

/// A kind of file to be changed, and what is made of the changed bytes.
struct Target {
    seed: u64,
    rounds: u64,
    ends_with: &'static str,
    /// Checksums that are made right again, so that what lies above them has to stand for itself.
    finish: fn(&mut [u8]),
    /// Whether what was changed is noticed: where the checksums of records are made right again, nobody can tell.
    noticed: bool,
    /// What one request for memory may be, whatever the files hold.
    claimed: usize,
}

impl Target {
    const IMAGE: Target =
        Target { seed: 12, rounds: 150, ends_with: ".redb", finish: |_| (), noticed: true, claimed: 0 };
    const LOG: Target = Target { seed: 11, rounds: 300, ends_with: ".seg", ..Target::IMAGE };
}

/// A directory that was in use when its process was killed.
fn used() -> MemDisc {
    let disc = MemDisc::new();
    let (_, error) = run(&disc);
    assert!(error.is_none(), "no fault is planted: {error:?}");
    disc
}

/// Changes one kind of file of a directory, opens it, and looks at what is there.
fn fuzz(target: &Target) {
    let disc = used();
    let mut files = disc.list().expect("no fault is planted");
    files.retain(|name| name.ends_with(target.ends_with));
    let seeds: Vec<Vec<u8>> = files.iter().map(|name| disc.bytes(name).expect("it is there")).collect();
    let (mut dice, mut refused, mut all) = (Dice::seeded(target.seed), 0, 0);
    for round in rounds(target.rounds) {
        all += 1;
        let changed = disc.crash(Crash::Kill);
        let number = dice.roll(files.len());
        let what = format!("round {round}, {}", files[number]);
        changed.overwrite(&files[number], changed_bytes(&mut dice, &seeds, number, target.finish));
        let accounted = Accounted::by(&changed);
        let (opened, asked) = asked(|| catch_unwind(AssertUnwindSafe(|| Session::open(&changed))));
        let opened = opened.unwrap_or_else(|_| panic!("{what}: it panics"));
        let claimed = if opened.is_err() { target.claimed } else { 0 };
        accounted.check(asked, claimed).unwrap_or_else(|more| panic!("{what}: {more}"));
        match opened {
            Err(error) => {
                assert!(error.is_corruption() || !target.noticed, "{what}: {error}");
                refused += 1;
            }
            Ok(session) if target.noticed => whole(&session, &what),
            Ok(_) => {}
        }
    }
    println!("{refused} of {all} changed directories were refused");
    assert!(refused > 0);
}

/// One of the files, changed. Mostly without a part of another one, and as long as it was: of others little is read.
fn changed_bytes(dice: &mut Dice, seeds: &[Vec<u8>], number: usize, finish: fn(&mut [u8])) -> Vec<u8> {
    let itself = std::slice::from_ref(&seeds[number]);
    let among = if dice.roll(4) == 0 { seeds } else { itself };
    let mut bytes = mutated(dice, among);
    if dice.roll(4) != 0 {
        bytes.resize(seeds[number].len(), 0);
    }
    finish(&mut bytes);
    bytes
}

/// As some number of transactions have left it.
fn whole(session: &Session, what: &str) {
    let rows = held(&session.store);
    let count = rows.get(&(T, 0)).map_or(0, |numbers| numbers[0]) as u64;
    assert!(count <= TRANSACTIONS, "{what}: {count} transactions");
    assert_eq!(rows, model(count), "{what}: {count} transactions, not whole");
    assert!(session.store.table(RAM).is_none_or(|table| table.is_empty()));
}

/// Memory that the files of a directory account for when it is opened.
struct Accounted {
    at_once: usize,
    over_all: usize,
}

impl Accounted {
    /// Over all: the log is read once, and a record becomes rows, keys and entries of indexes of many times its bytes. The
    /// image is smaller than what redb keeps of it (`IMAGE_CACHE_BYTES`), so a page is read once or twice, and of its rows
    /// come others. Work has four sequences, and there is what an empty store and an open image take. At once: a whole file, or
    /// a sequence.
    fn by(disc: &MemDisc) -> Accounted {
        let names = disc.list().expect("no fault is planted");
        let lengths = |image: bool| {
            let those = names.iter().filter(move |name| (*name == IMAGE_NAME) == image);
            those.map(|name| disc.bytes(name).map_or(0, |bytes| bytes.len()))
        };
        let longest = lengths(true).chain(lengths(false)).max().unwrap_or(0);
        let (image, others) = (lengths(true).sum::<usize>(), lengths(false).sum::<usize>());
        Accounted { at_once: longest.max(ROOM), over_all: 4 * image + 64 * others + 5 * ROOM }
    }

    /// Whether no more was asked for, but for one request of what is claimed.
    fn check(&self, asked: Asked, claimed: usize) -> Result<(), String> {
        let Accounted { at_once, over_all } = *self;
        let beyond = if asked.largest > at_once { asked.largest } else { 0 };
        if beyond <= claimed && asked.sum - beyond <= over_all {
            return Ok(());
        }
        Err(format!("{asked:?}, where {at_once} at once and {over_all} over all are accounted for"))
    }
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

/// Gives the header of a segment and every frame the checksum that its bytes have, as store/src/disc/segment.rs says.
fn framed(segment: &mut [u8]) {
    let Some((header, mut frames)) = segment.split_at_mut_checked(HEADER) else { return };
    let check = crc32fast::hash(&header[..HEADER - 4]);
    header[HEADER - 4..].copy_from_slice(&check.to_le_bytes());
    while let Some(length) = frames.first_chunk().map(|length| u32::from_le_bytes(*length) as usize) {
        let Some((frame, rest)) = frames.split_at_mut_checked(FRAME_HEADER + length) else { return };
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&frame[..4]);
        hasher.update(&frame[8..]);
        // Zeros are no frame.
        if frame.iter().any(|byte| *byte != 0) {
            frame[4..8].copy_from_slice(&hasher.finalize().to_le_bytes());
        }
        frames = rest;
    }
}

#[test]
fn changed_logs() {
    // Aim: the log reader meets anything. Method: segments replaced by changed ones, also by parts of each other.
    fuzz(&Target::LOG);
}

#[test]
fn changed_logs_whose_records_look_whole() {
    // Aim: what lies above the checksums of records meets anything too. Method: changed segments whose checksums are right.
    // Nobody can tell then that a record is another one, so nothing is said of the rows.
    fuzz(&Target { seed: 14, finish: framed, noticed: false, ..Target::LOG });
}

#[test]
fn changed_images() {
    // Aim: the image reader meets anything. Method: the image replaced by a changed one.
    fuzz(&Target::IMAGE);
}

#[test]
fn changed_images_whose_blocks_look_whole() {
    // Aim: what lies above the checksums of blocks meets anything too. Method: a changed image whose checksums are right. For a
    // page that is not there redb may ask for memory: see below.
    fuzz(&Target { seed: 13, finish: sealed, claimed: PAGE_MAX, ..Target::IMAGE });
}

#[test]
fn lengths_that_claim_more_than_there_is() {
    // Aim: whatever length a record claims, or a part of it, nothing is asked for because of it. Method: some sixty million, as
    // a number of four bytes and as the codec writes one, in many places of each segment, with and without right checksums.
    const CLAIM: [u8; 5] = [0xfc, 0xff, 0xff, 0xff, 0x03];
    let disc = used();
    let mut files = disc.list().expect("no fault is planted");
    files.retain(|name| name.ends_with(".seg"));
    for (number, file) in files.iter().enumerate() {
        let segment = disc.bytes(file).expect("it is there");
        let used = segment.iter().rposition(|byte| *byte != 0).unwrap_or(0).min(segment.len() - CLAIM.len());
        for (at, finish) in
            (HEADER + number..used).step_by(17).zip([|_: &mut [u8]| (), framed].into_iter().cycle())
        {
            let mut bytes = segment.clone();
            bytes[at..at + CLAIM.len()].copy_from_slice(&CLAIM);
            finish(&mut bytes);
            let changed = disc.crash(Crash::Kill);
            changed.overwrite(file, bytes);
            let accounted = Accounted::by(&changed);
            let (_, asked) = asked(|| Session::open(&changed).map(drop));
            accounted.check(asked, 0).unwrap_or_else(|more| panic!("{file}, at {at}: {more}"));
        }
    }
}

#[test]
fn page_numbers_that_claim_more_than_there_is() {
    // Aim: redb asks for a page's memory before it asks the file below it for the bytes, so nothing of ours can bound that: a
    // number may claim up to 4 GiB. It is refused then, with this one request beyond what the files account for. Who gets there
    // has made checksums of blocks right, or an image of an earlier version, which has none. Method: whatever could be the
    // number of a page, wherever it stands, claims 16 MiB.
    const ORDER: u8 = 12;
    let disc = used();
    let image = disc.bytes(IMAGE_NAME).expect("it is there");
    let pages = (image.len() / BLOCK) as u64;
    let mut claims = 0;
    for at in 2 * BLOCK..image.len() - 8 {
        let number = image[at..].first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        if !(1..=pages).contains(&number) {
            continue;
        }
        let changed = disc.crash(Crash::Kill);
        let mut bytes = image.clone();
        // Its highest five bits.
        bytes[at + 7] = ORDER << 3;
        sealed(&mut bytes);
        changed.overwrite(IMAGE_NAME, bytes);
        let accounted = Accounted::by(&changed);
        let (opened, asked) = asked(|| Session::open(&changed));
        let claimed = if opened.is_err() { (BLOCK << ORDER) + 16 } else { 0 };
        accounted.check(asked, claimed).unwrap_or_else(|more| panic!("at {at}: {more}"));
        claims += u32::from(asked.largest > BLOCK << ORDER);
        let refused = opened.err().is_none_or(|error| error.is_corruption());
        assert!(refused, "at {at}: refused as something else");
    }
    // Once redb looks first, the fuzzing above need not allow for it either.
    assert!(claims > 0, "no number claims anything");
}
