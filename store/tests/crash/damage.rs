//! Files that are not what was written: named, and never served.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use hypermnesia_store::disc::{BootId, Crash, Disc, DiscError, MemDisc, Position, Warning, check_log};
use hypermnesia_store::{Kind, Storage, TableDef};

use crate::session::{BAG, Promised, RAM, Session, T, TRANSACTIONS, check, def, held, model, opener};

/// The only segment of short runs.
const SEGMENT: &str = "log-000000000001.seg";

/// A directory that was stopped cleanly, with an image and two log segments.
pub(crate) fn stopped() -> MemDisc {
    let disc = MemDisc::new();
    let mut session = Session::open(&disc).expect("no fault is planted");
    session.begin().expect("no fault is planted");
    let mut promised = Promised::default();
    (1..=TRANSACTIONS).try_for_each(|n| session.transaction(n, &mut promised)).expect("no fault is planted");
    session.writer.close().expect("no fault is planted");
    disc.crash(Crash::Kill)
}

/// What a changed directory does: it opens and holds everything, or it is refused and the file is named.
fn all_or_named(disc: &MemDisc, file: &str, what: &str) -> bool {
    match catch_unwind(AssertUnwindSafe(|| Session::open(disc))) {
        Err(_) => panic!("{what}: a panic"),
        Ok(Ok(session)) => {
            assert_eq!(held(&session.store), model(TRANSACTIONS), "{what}: served although it was changed");
            false
        }
        Ok(Err(error)) => {
            assert!(error.is_corruption(), "{what}: {error}");
            assert!(
                error.to_string().contains(file.split('-').next().expect("no fault is planted")),
                "{what}: {error} names no file"
            );
            true
        }
    }
}

#[test]
fn flipped_bytes_and_cut_files_are_named_and_never_served() {
    // Aim: no damage is served, none panics. Method: flip bytes at even steps through every file, and cut files.
    let disc = stopped();
    let mut noticed = BTreeMap::new();
    for file in disc.list().expect("no fault is planted") {
        let bytes = disc.bytes(&file).expect("no fault is planted");
        let steps = if file.ends_with(".seg") { 300 } else { 400 };
        for at in (0..bytes.len()).step_by(bytes.len().div_ceil(steps).max(1)) {
            let changed = disc.crash(Crash::Kill);
            let mut bytes = bytes.clone();
            bytes[at] ^= 0x41;
            changed.overwrite(&file, bytes);
            let found = all_or_named(&changed, &file, &format!("{file} flipped at {at}"));
            *noticed.entry(file.clone()).or_insert(0) += u32::from(found);
        }
        for length in [0, 1, 63, 64, bytes.len() / 2, bytes.len() - 1] {
            let changed = disc.crash(Crash::Kill);
            changed.overwrite(&file, bytes[..length.min(bytes.len())].to_vec());
            all_or_named(&changed, &file, &format!("{file} cut to {length}"));
        }
    }
    assert!(noticed.len() >= 2 && noticed.values().all(|found| *found > 3), "{noticed:?}");
}

/// A directory that was stopped cleanly while its definitions were in the log (`image` does not have them yet) or after they
/// had gone into the image.
fn with_definitions(storage: Storage, in_log: bool) -> MemDisc {
    let disc = MemDisc::new();
    let mut session = Session::open(&disc).expect("no fault is planted");
    session.begin_on(storage).expect("no fault is planted");
    let mut promised = Promised::default();
    (1..=TRANSACTIONS)
        .try_for_each(|n| match in_log {
            // Without checkpoints.
            true => session.logged(n).map(drop),
            false => session.transaction(n, &mut promised),
        })
        .expect("no fault is planted");
    session.writer.close().expect("no fault is planted");
    disc.crash(Crash::Kill)
}

/// The file changed at the place in each way: a bit, a run of other bytes, and cut off there.
fn changed_at(bytes: &[u8], at: usize) -> [Vec<u8>; 3] {
    let (mut flipped, mut overwritten) = (bytes.to_vec(), bytes.to_vec());
    flipped[at] ^= 0x10;
    let end = bytes.len().min(at + 8);
    overwritten[at..end].fill(0xa5);
    [flipped, overwritten, bytes[..at].to_vec()]
}

/// The tables of a changed directory are those that were made, or it is refused and the file is named.
fn definitions_or_named(disc: &MemDisc, file: &str, wanted: &[TableDef], what: &str) -> bool {
    let opened = catch_unwind(AssertUnwindSafe(|| Session::open(disc)));
    match opened.unwrap_or_else(|_| panic!("{what}: a panic")) {
        Ok(session) => {
            for def in wanted {
                let table =
                    session.store.table(def.id).unwrap_or_else(|| panic!("{what}: {} is gone", def.name));
                assert_eq!(table.def(), def, "{what}: another definition");
            }
            false
        }
        Err(error) => {
            assert!(error.is_corruption() && error.to_string().contains(file), "{what}: {error}");
            true
        }
    }
}

#[test]
fn damage_to_definitions_is_named_and_never_served() {
    // Aim: what the schema says is as safe as rows are, in the log and in the image, also where the image's pages are not
    // checked at the start: another definition is never served. Method: all around each place of a file where a definition
    // has the name of an attribute, from its head to its tail, a bit flipped, bytes overwritten, and the file cut.
    for (storage, in_log) in [Storage::Disc, Storage::DISC_ONLY]
        .into_iter()
        .flat_map(|storage| [(storage, true), (storage, false)])
    {
        let disc = with_definitions(storage, in_log);
        let wanted = [
            def(T, Kind::OrderedSet, storage),
            def(BAG, Kind::Bag, storage),
            def(RAM, Kind::Set, Storage::Ram),
        ];
        let file = if in_log { SEGMENT } else { "image.redb" };
        let bytes = disc.bytes(file).expect("it is there");
        let (mut all, mut noticed) = (0, 0);
        for at in around(&bytes, b"filler") {
            for (way, bytes) in ["flipped", "overwritten", "cut"].into_iter().zip(changed_at(&bytes, at)) {
                let changed = disc.crash(Crash::Kill);
                changed.overwrite(file, bytes);
                let what = format!("{storage:?}: {file} {way} at {at}");
                all += 1;
                noticed += u32::from(definitions_or_named(&changed, file, &wanted, &what));
            }
        }
        // An image has pages of before that nobody reads.
        assert!(noticed > if in_log { all - 1 } else { all / 3 }, "{storage:?}, {file}: {noticed} of {all}");
    }
}

/// Every third byte around each place of a file that has this word.
fn around(bytes: &[u8], word: &[u8]) -> BTreeSet<usize> {
    let places = bytes.windows(word.len()).enumerate().filter(|(_, here)| *here == word).map(|(at, _)| at);
    places.flat_map(|at| (at.saturating_sub(90)..bytes.len().min(at + 90)).step_by(3)).collect()
}

#[test]
fn an_older_file_of_the_same_directory_is_named() {
    // Aim: one file of an old backup put back beside newer ones is no directory of any time. Method: each file as it was after
    // each transaction of a run that was other than at its end, in the place of the one of that name.
    let disc = MemDisc::new();
    let mut session = Session::open(&disc).expect("no fault is planted");
    session.begin().expect("no fault is planted");
    let (mut promised, mut older) = (Promised::default(), BTreeMap::<String, BTreeSet<Vec<u8>>>::new());
    for n in 1..=TRANSACTIONS {
        session.transaction(n, &mut promised).expect("no fault is planted");
        for file in disc.list().expect("no fault is planted") {
            let bytes = disc.bytes(&file).expect("it is there");
            older.entry(file).or_default().insert(bytes);
        }
    }
    session.writer.close().expect("no fault is planted");
    let disc = disc.crash(Crash::Kill);
    let (mut all, mut refused) = (0, BTreeMap::new());
    for file in disc.list().expect("no fault is planted") {
        for bytes in older.remove(&file).unwrap_or_default() {
            let changed = disc.crash(Crash::Kill);
            changed.overwrite(&file, bytes);
            all += 1;
            match Session::open(&changed) {
                Ok(session) => assert_eq!(held(&session.store), model(TRANSACTIONS), "{file}: older rows"),
                Err(error) => {
                    assert!(
                        error.is_corruption() && error.to_string().contains("/memory/"),
                        "{file}: {error}"
                    );
                    *refused.entry(file.clone()).or_insert(0) += 1;
                }
            }
        }
    }
    let count: u32 = refused.values().sum();
    assert!(
        refused.contains_key("image.redb") && refused.len() > 3 && count > all / 2,
        "{refused:?} of {all}"
    );
}

#[test]
fn a_missing_file_is_named() {
    // Aim: half a directory is refused. Method: take away each file.
    let disc = stopped();
    let files = disc.list().expect("no fault is planted");
    assert!(files.len() > 2, "{files:?}");
    for file in &files {
        let changed = disc.crash(Crash::Kill);
        changed.remove(file).expect("no fault is planted");
        assert!(all_or_named(&changed, file, &format!("without {file}")), "without {file}");
    }
}

/// Ten transactions that are written and not synced, behind a beginning that is; where each ends.
fn unsynced() -> (MemDisc, Vec<usize>) {
    let disc = MemDisc::new();
    let mut session = Session::open(&disc).expect("no fault is planted");
    session.begin().expect("no fault is planted");
    let mut ends = vec![offset(session.log.end())];
    for n in 1..=10 {
        ends.push(offset(session.logged(n).expect("no fault is planted")));
    }
    (disc, ends)
}

/// Where a position stands in the first segment.
fn offset(position: Position) -> usize {
    64 + position.0 as usize
}

/// The disc with one bit of the segment flipped.
fn flipped(disc: &MemDisc, crash: Crash, at: usize) -> MemDisc {
    let changed = disc.crash(crash);
    let mut bytes = changed.bytes(SEGMENT).expect("no fault is planted");
    bytes[at] ^= 4;
    changed.overwrite(SEGMENT, bytes);
    changed
}

#[test]
fn behind_a_clean_stop_every_flipped_byte_is_damage() {
    // Aim: nothing acknowledged vanishes unsaid. Method: flip bytes all over a log that was stopped cleanly, by turns in the same
    // boot, after the machine was started anew, and where nobody can tell; nothing may be changed by the attempt to open it.
    let disc = unsynced().0.crash(Crash::Kill);
    let mut session = Session::open(&disc).expect("no fault is planted");
    session.writer.close().expect("no fault is planted");
    let end = offset(session.log.end());
    drop(session);
    for at in (0..end).filter(|at| at % 4 == 0 || *at > end - 150) {
        let (crash, known) = [(Crash::Kill, true), (Crash::KeepUnsynced, true), (Crash::Kill, false)][at % 3];
        let changed = flipped(&disc, crash, at);
        let before = changed.bytes(SEGMENT);
        let opened = Session::open_as(&changed, &opener(known.then(|| changed.boots())));
        let error = opened.err().unwrap_or_else(|| panic!("byte {at} is flipped and nobody says so"));
        assert!(error.is_corruption() && error.to_string().contains(SEGMENT), "byte {at}: {error}");
        assert_eq!(changed.bytes(SEGMENT), before, "byte {at}: the evidence is as it was");
    }
}

#[test]
fn the_closing_frame_alone_tells_damage_from_a_torn_tail() {
    // Aim: a clean stop that could not note the end of the log beside it is one all the same. Method: put back the identity as
    // it was before the stop, cut power, flip a bit of the last transaction.
    let (disc, ends) = unsynced();
    let disc = disc.crash(Crash::Kill);
    let mut session = Session::open(&disc).expect("no fault is planted");
    session.logged(11).expect("no fault is planted");
    let identity = disc.bytes("IDENTITY").expect("it is there");
    session.writer.close().expect("no fault is planted");
    disc.overwrite("IDENTITY", identity);
    let error = Session::open(&flipped(&disc, Crash::KeepUnsynced, ends[10])).err().expect("it is damaged");
    assert!(matches!(&error, DiscError::Corrupt { offset, .. } if *offset == ends[10] as u64), "{error}");
}

#[test]
fn a_hole_behind_a_killed_process_is_damage() {
    // Aim: what write(2) took is there while the machine runs, so a hole before a whole record is damage, synced or not.
    // Method: flip bytes of ten unsynced transactions but the last, which may be half a write.
    let (disc, ends) = unsynced();
    for at in (ends[0]..ends[9]).step_by(5) {
        let changed = flipped(&disc, Crash::Kill, at);
        let before = changed.bytes(SEGMENT);
        let error = Session::open(&changed).err().unwrap_or_else(|| panic!("byte {at} is flipped, unsaid"));
        assert!(
            matches!(&error, DiscError::Corrupt { offset, .. } if *offset <= at as u64),
            "byte {at}: {error}"
        );
        assert!(error.to_string().contains(SEGMENT), "byte {at}: {error}");
        assert_eq!(changed.bytes(SEGMENT), before, "byte {at}: the evidence is as it was");
    }
    let changed = flipped(&disc, Crash::Kill, ends[9]);
    assert_eq!(check(&changed, 9, 9, "the last one is broken"), 9);
}

#[test]
fn a_hole_behind_a_power_cut_ends_the_log_and_the_rest_is_kept_aside() {
    // Aim: unsynced records may be lost in any order when power is cut; none is lost in part, and what is cut off is kept.
    // Method: flip bytes of ten unsynced transactions, in another boot and where nobody can tell; open twice.
    let (disc, ends) = unsynced();
    for at in (ends[0]..ends[10]).step_by(11) {
        for known in [true, false] {
            let changed = flipped(&disc, if known { Crash::KeepUnsynced } else { Crash::Kill }, at);
            let tail = changed.bytes(SEGMENT).expect("it is there");
            let boot = known.then(|| changed.boots());
            let session = Session::open_as(&changed, &opener(boot)).expect("a power cut explains it");
            let whole = ends.iter().rposition(|end| *end <= at).expect("they are behind the beginning");
            assert_eq!(held(&session.store), model(whole as u64), "byte {at}");
            let [Warning::Cut { offset, bytes, saved, .. }] = &session.warnings[..] else {
                panic!("byte {at}: {:?}", session.warnings)
            };
            let (from, to) = (ends[whole], ends[10]);
            assert_eq!((*offset, *bytes), (from as u64, (to - from) as u64), "byte {at}");
            let saved = saved.file_name().and_then(|name| name.to_str()).expect("a name");
            assert_eq!(changed.bytes(saved).as_deref(), Some(&tail[from..to]), "byte {at}: kept aside");
            assert!(session.warnings[0].to_string().contains(saved), "{}", session.warnings[0]);
            drop(session);
            let again = Session::open_as(&changed, &opener(boot)).expect("no fault is planted");
            assert!(again.warnings.is_empty(), "byte {at}: {:?}", again.warnings);
        }
    }
}

/// The damage that a look through the log finds, in words, and whether it says that the log ends torn.
fn looked_through(disc: &MemDisc) -> (Vec<String>, bool) {
    let (found, boot) = (disc.crash(Crash::Kill), Some(BootId([disc.boots() as u8; 16])));
    let files = check_log(&(Arc::new(found) as _), boot).expect("nobody has it open");
    let damage = files.iter().filter_map(|file| file.damage.as_ref());
    (damage.map(ToString::to_string).collect(), files.iter().any(|file| file.torn.is_some()))
}

#[test]
fn a_look_through_the_log_finds_what_a_start_refuses() {
    // Aim: `check` says of identity and log what a start would say, whose every error it has among its own, and of a log that
    // opens nothing but that it ends torn. Method: flip bytes, cut and take away each file, stopped cleanly, killed, and
    // with the power cut; open, and look through a copy.
    let (killed, cut) = (unsynced().0.crash(Crash::Kill), unsynced().0.crash(Crash::KeepUnsynced));
    let (mut refused, mut torn) = (0, 0);
    for disc in [stopped(), killed, cut] {
        for file in disc.list().expect("no fault is planted") {
            if file.ends_with(".redb") {
                continue;
            }
            let bytes = disc.bytes(&file).expect("it is there");
            let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
            let flips = (0..used).step_by(used.div_ceil(40).max(1)).map(|at| {
                let mut bytes = bytes.clone();
                bytes[at] ^= 0x41;
                Some(bytes)
            });
            let cuts =
                [0, 1, 64, bytes.len() - 1].map(|length| Some(bytes[..length.min(bytes.len())].to_vec()));
            for bytes in flips.chain(cuts).chain([None]) {
                let changed = disc.crash(Crash::Kill);
                match bytes {
                    Some(bytes) => changed.overwrite(&file, bytes),
                    None => changed.remove(&file).expect("it is there"),
                }
                let (damage, is_torn) = looked_through(&changed);
                match Session::open(&changed) {
                    Ok(session) => {
                        assert_eq!(damage, [""; 0], "{file}");
                        let said = session
                            .warnings
                            .iter()
                            .any(|warning| matches!(warning, Warning::Cut { .. } | Warning::Strayed { .. }));
                        assert_eq!(is_torn, said, "{file}");
                        torn += u32::from(said);
                    }
                    Err(error) => {
                        assert!(damage.contains(&error.to_string()), "{file}: {error}, and not {damage:?}");
                        refused += 1;
                    }
                }
            }
        }
    }
    assert!(refused > 100 && torn > 10, "{refused} were refused, {torn} were torn");
}

#[test]
fn bytes_changed_behind_the_end_are_told_as_what_they_are() {
    // Aim: a flipped zero behind the last record loses nothing, and is no power cut where there was none. Method: flip one right
    // behind the end, one in the first header that would come, two further behind; killed, and in another boot.
    let (disc, ends) = unsynced();
    let killed = disc.crash(Crash::Kill);
    for crash in [Crash::Kill, Crash::KeepUnsynced] {
        for behind in [0, 20, 24, 700] {
            let changed = flipped(&killed, crash, ends[10] + behind);
            let session = Session::open(&changed).expect("all of it is there");
            assert_eq!(held(&session.store), model(10), "{behind} bytes behind the end");
            let said = session.warnings[0].to_string();
            match (&session.warnings[..], crash) {
                ([Warning::Strayed { offset, end, .. }], Crash::Kill) if behind >= 24 => {
                    assert_eq!((*offset, *end), ((ends[10] + behind) as u64, ends[10] as u64));
                    assert!(said.contains("No record is missing") && !said.contains("power cut"), "{said}");
                }
                ([Warning::Cut { offset, .. }], _) if behind < 24 || !matches!(crash, Crash::Kill) => {
                    assert_eq!(*offset, ends[10] as u64);
                    assert!(
                        said.contains("no whole record") && said.contains("has changed on the disc"),
                        "{said}"
                    );
                }
                (warnings, _) => panic!("{behind} bytes behind the end: {warnings:?}"),
            }
            drop(session);
            let again = Session::open(&changed).expect("no fault is planted");
            assert!(again.warnings.is_empty(), "{:?}", again.warnings);
        }
    }
}

#[test]
fn what_was_cut_off_never_comes_back() {
    // Aim: records behind the end are cleared before others are written. Method: cut the log at record 5 of 10, write that
    // one again, as long as it was; the old sixth would fit behind it.
    let (disc, ends) = unsynced();
    let disc = flipped(&disc, Crash::KeepUnsynced, ends[4]);
    let mut session = Session::open(&disc).expect("a power cut explains it");
    session.logged(5).expect("no fault is planted");
    assert_eq!(offset(session.log.end()), ends[5], "it is as long as it was");
    session.writer.sync().expect("no fault is planted");
    assert_eq!(check(&disc.crash(Crash::Kill), 5, 5, "killed"), 5);
    assert_eq!(check(&disc.crash(Crash::DropUnsynced), 5, 5, "power cut"), 5);
}

#[test]
fn only_so_many_cut_off_tails_are_kept() {
    // Aim: tails do not fill the disc. Method: cut power over and over, each time behind a torn record.
    let (mut disc, ends) = unsynced();
    let mut removed = Vec::new();
    for _ in 0..hypermnesia_store::disc::limits::CUT_FILES_MAX + 3 {
        disc = flipped(&disc, Crash::KeepUnsynced, ends[1] - 1);
        let mut session = Session::open(&disc).expect("a power cut explains it");
        let [Warning::Cut { removed: gone, .. }] = &session.warnings[..] else { panic!("it is cut") };
        removed.extend(gone.clone());
        session.logged(1).expect("no fault is planted");
    }
    let names = disc.list().expect("no fault is planted");
    let cuts: Vec<_> = names.iter().filter(|name| name.ends_with(".cut")).collect();
    assert_eq!(cuts.len(), hypermnesia_store::disc::limits::CUT_FILES_MAX, "{cuts:?}");
    assert_eq!(removed.len(), 3, "and it is said: {removed:?}");
}

#[test]
fn a_checkpoint_takes_no_damaged_segment() {
    // Aim: a closed segment that rots while the node runs is named, and does not go into the image as far as it can be read,
    // with the rest trimmed. Method: flip a byte in the middle of the first one, then take it.
    let disc = MemDisc::new();
    let mut session = Session::open(&disc).expect("no fault is planted");
    session.begin().expect("no fault is planted");
    for n in 1..=20 {
        session.logged(n).expect("no fault is planted");
    }
    let mut bytes = disc.bytes(SEGMENT).expect("it is there");
    bytes[2000] ^= 1;
    disc.overwrite(SEGMENT, bytes);
    let closed = session.writer.closed();
    assert!(!closed.is_empty());
    let error = session.checkpointer.take(&closed[..1]).expect_err("it is damaged");
    assert!(error.is_corruption() && error.to_string().contains(SEGMENT), "{error}");
}
