//! Copies of a table that lives on disc alone, and is not held in memory by whoever gives or takes it. Two members on discs in
//! memory, messages carried by hand.

use std::ops::Range;
use std::sync::Arc;

use hypermnesia_replication::limits::COPY_RETRY_NS;
use hypermnesia_replication::message::{CopyStep, Part};
use hypermnesia_replication::{Agreement, Effect, Event, Fact, Message, Recovered, RecoveredPrepare};
use hypermnesia_store::disc::{
    self, BootId, Checkpointer, Crash, DirectoryId, LockGuard, LogWriter, MemDisc, Opener, Record,
};
use hypermnesia_store::{
    Incarnation, NodeId, Storage, Store, StoreConfig, Timestamp, TxId, Write, codec, define,
};

use crate::trio::{CHUNK, TABLE, Trio, key, nodes, put, table};

/// Rows that both have: three chunks.
const ROWS: i64 = 2 * CHUNK.chunk_rows as i64 + 500;

/// A member's directory.
struct Home {
    disc: MemDisc,
    writer: LogWriter,
    checkpointer: Checkpointer,
    /// The last record about epochs.
    epoch: Option<Vec<u8>>,
    _lock: LockGuard,
}

impl Home {
    fn append(&self, record: &Record<'_>) {
        self.writer.log().append(&[&codec::encode(record)]).expect("the log takes it");
    }

    fn wrote(&self, store: &Store, ts: Timestamp, writes: Vec<Write>) {
        store.load_writes(ts, &writes).expect("nobody holds anything");
        let txid = TxId { age: ts, node: NodeId(1), sequence: ts.0 };
        self.append(&Record::Applied { txid, ts, writes: writes.into() });
    }

    /// What a replica had its engine log.
    fn take(&mut self, facts: Vec<Fact>) {
        for fact in &facts {
            match fact {
                Fact::Epoch(bytes) => {
                    self.append(&Record::Epoch(bytes.as_slice().into()));
                    self.epoch = Some(bytes.clone());
                }
                Fact::Loaded { table, clear, rows } => {
                    self.append(&Record::Loaded {
                        table: *table,
                        clear: *clear,
                        rows: rows.as_slice().into(),
                    });
                }
                Fact::Barrier => {}
                other => panic!("nothing is committed here: {other:?}"),
            }
        }
        self.writer.write().expect("the disc is well");
    }

    /// All that was logged goes into the image, and memory lets go of it.
    fn bring_all(&mut self, store: &Store) {
        let bytes = self.writer.segment_bytes() as usize / 3;
        for _ in 0..4 {
            self.append(&Record::Epoch(vec![0; bytes].into()));
        }
        if let Some(epoch) = &self.epoch {
            self.append(&Record::Epoch(epoch.as_slice().into()));
        }
        self.writer.write().expect("the disc is well");
        let closed = self.writer.closed();
        for batch in self.checkpointer.batches(&closed, 1) {
            store.imaged(self.checkpointer.take(&batch).expect("the disc is well"));
        }
        store.clock().advance(store.clock().wall_ms() + 10_000);
        store.tidy(usize::MAX);
    }

    fn reopen_image(&mut self, store: &Store) {
        store.imaged(self.checkpointer.reopen().expect("the disc is well"));
    }
}

fn opened(disc: &MemDisc, node: NodeId) -> (Home, Arc<Store>, Recovered) {
    let store = Arc::new(Store::new(StoreConfig { wall_ms: 1_000 }));
    let opener = Opener {
        node,
        name: format!("n{}", node.0),
        cluster: "engine".to_owned(),
        fresh: DirectoryId([node.0 as u8; 16]),
        boot: Some(BootId([1; 16])),
    };
    let home = disc::open(Arc::new(disc.clone()), &store, &opener, 64 << 10).expect("the disc is well");
    let prepared = home.replayed.prepared.into_iter();
    let recovered = Recovered {
        prepared: prepared.map(|(txid, epoch, work)| RecoveredPrepare { txid, epoch, work }).collect(),
        outcomes: home.replayed.outcomes,
        epoch: home.replayed.epoch,
        last_commit: home.replayed.last_commit,
    };
    let (writer, checkpointer, epoch) = (home.writer, home.checkpointer, recovered.epoch.clone());
    (Home { disc: disc.clone(), writer, checkpointer, epoch, _lock: home.lock }, store, recovered)
}

/// Two members that start on these discs, connected, and nothing carried yet. New ones get the same rows.
fn started(discs: &[MemDisc], life: u64, agreed: Agreement) -> (Trio, Vec<Home>) {
    let mut def = table(&nodes(2), Storage::DISC_ONLY);
    // Below what a definition may ask for: a cache for a small part of the rows.
    def.copies.iter_mut().for_each(|copy| copy.storage = Storage::DiscOnly { cache_bytes: 64 << 10 });
    let begun = discs.iter().zip(nodes(2)).map(|(disc, node)| opened(disc, node));
    let (mut homes, mut parts) = (Vec::new(), Vec::new());
    for (home, store, recovered) in begun {
        if store.table(TABLE).is_none() {
            home.wrote(&store, Timestamp(1), vec![define(&def)]);
            home.wrote(&store, Timestamp(10), (0..ROWS).flat_map(|k| put(k, 1).writes).collect());
        }
        homes.push(home);
        parts.push((store, recovered, Vec::new()));
    }
    let mut trio = Trio::started(parts, true, Incarnation(life));
    trio.agreed = agreed;
    trio.begin();
    (trio, homes)
}

/// The same after a kill, on all that was handed to their logs.
fn reborn(mut trio: Trio, homes: &mut [Home], life: u64) -> (Trio, Vec<Home>) {
    for (at, home) in homes.iter_mut().enumerate() {
        home.take(std::mem::take(&mut trio.logs[at]));
    }
    for (home, store) in homes.iter_mut().zip(&trio.stores) {
        home.bring_all(store);
    }
    let discs: Vec<_> = homes.iter().map(|home| home.disc.crash(Crash::Kill)).collect();
    started(&discs, life, trio.agreed.clone())
}

/// Rows that a member has written by itself, and when.
type Written<'w> = &'w [(u64, Range<i64>)];

/// Two members with the same rows, but for those that each has written since, that have just started again. The second copies
/// from the first, which has the latest commit.
fn pair_with(source: Written<'_>, joiner: Written<'_>) -> (Trio, Vec<Home>) {
    let (mut trio, mut homes) = started(&[MemDisc::new(), MemDisc::new()], 1, Agreement::default());
    trio.carry_all();
    for (at, home) in homes.iter_mut().enumerate() {
        home.take(std::mem::take(&mut trio.logs[at]));
    }
    for (at, written) in [source, joiner].into_iter().enumerate() {
        for (ts, keys) in written {
            let writes: Vec<Write> = keys.clone().flat_map(|k| put(k, *ts as i64).writes).collect();
            homes[at].wrote(&trio.stores[at], Timestamp(*ts), writes);
        }
    }
    reborn(trio, &mut homes, 2)
}

/// The first has changed so many rows, the second has so many that the first has not.
fn pair(more: i64, own: i64) -> (Trio, Vec<Home>) {
    let (source, joiner) = ([(12, 0..more)], [(11, ROWS + 100..ROWS + 100 + own)]);
    pair_with(&source[..usize::from(more > 0)], &joiner[..usize::from(own > 0)])
}

fn is_copy(message: &Message, wanted: impl Fn(&CopyStep) -> bool) -> bool {
    matches!(message, Message::Copy { table: TABLE, step, .. } if wanted(step))
}

/// Carries until such a step about the table is the next to be carried.
fn carry_until(trio: &mut Trio, wanted: impl Fn(&CopyStep) -> bool) {
    while !trio.wire.front().is_some_and(|(.., message)| is_copy(message, &wanted)) {
        assert!(trio.carry_one(), "it never comes");
    }
}

/// The copy steps about the table that wait to be carried.
fn waiting(trio: &Trio, wanted: impl Fn(&CopyStep) -> bool) -> usize {
    trio.wire.iter().filter(|(.., message)| is_copy(message, &wanted)).count()
}

fn is_request(step: &CopyStep) -> bool {
    matches!(step, CopyStep::Request(_))
}

/// Time enough to ask once more; of a long look at a table it begins to count behind it.
fn ask_again(trio: &mut Trio) {
    for _ in 0..2 {
        trio.tick(1);
        trio.pass_ms(2 * COPY_RETRY_NS / 1_000_000);
    }
    trio.tick(1);
}

fn digest(store: &Store) -> u64 {
    store.table(TABLE).expect("it is there").digest_with_versions().expect("the disc is well")
}

#[test]
fn a_table_that_is_equal_is_read_once_by_either_side() {
    // Aim: who is asked again, or asks again, does not read a large table once more. Method: two equal copies; the image of
    // each is closed behind the first question and the first answer.
    let (mut trio, mut homes) = pair(0, 0);
    carry_until(&mut trio, is_request);
    homes[1].checkpointer.close();
    ask_again(&mut trio);
    assert_eq!(waiting(&trio, is_request), 2, "it asks again without looking");
    homes[1].reopen_image(&trio.stores[1]);
    trio.carry_to(0);
    assert!(trio.read_one());
    homes[0].checkpointer.close();
    trio.carry_to(0);
    assert!(trio.reads.is_empty());
    assert_eq!(waiting(&trio, |step| matches!(step, CopyStep::Same)), 2, "it answers again without looking");
    homes[0].reopen_image(&trio.stores[0]);
    trio.settle();
    let ready = Effect::Event(Event::Ready { epoch: 2 });
    assert!([0, 1].iter().all(|at| trio.effects.contains(&(*at, ready.clone()))));
}

fn is_chunk(part: Part, wanted: u64) -> impl Fn(&CopyStep) -> bool {
    move |step| matches!(step, CopyStep::Chunk(one) if (one.part, one.chunk) == (part, wanted))
}

fn is_next(wanted: Part, number: u64) -> impl Fn(&CopyStep) -> bool {
    move |step| matches!(step, CopyStep::Next { part, chunk } if (*part, *chunk) == (wanted, number))
}

/// What went, and how many rows came over.
fn found(trio: &Trio) -> (Vec<(u64, u64)>, Vec<u64>) {
    let (mut replaced, mut loaded) = (Vec::new(), Vec::new());
    for (_, effect) in &trio.effects {
        match effect {
            Effect::Event(Event::RowsReplaced { table: TABLE, rows, newer }) => {
                replaced.push((*rows, *newer))
            }
            Effect::Event(Event::Loaded { table: TABLE, rows, .. }) => loaded.push(*rows),
            _ => {}
        }
    }
    // The member that the others copy from loads nothing.
    loaded.retain(|rows| *rows > 0);
    (replaced, loaded)
}

/// The joiner has what the source has, and has it again after a restart.
fn are_equal(trio: &mut Trio, homes: &mut [Home]) {
    assert_eq!(digest(&trio.stores[1]), digest(&trio.stores[0]));
    homes[1].take(std::mem::take(&mut trio.logs[1]));
    let (_home, store, _) = opened(&homes[1].disc.crash(Crash::Kill), NodeId(2));
    assert_eq!(digest(&store), digest(&trio.stores[0]));
}

#[test]
fn a_copy_comes_whole_whatever_happens_between_its_chunks() {
    // Aim: several chunks, questions that are repeated, checkpoints of both sides between them, and a moment in which the
    // joiner cannot read its image: what arrives is what was given, what went is counted once, and it is all there after a
    // restart. Method: so, by hand; nearly all rows differ.
    let (mut trio, mut homes) = pair(8_000, 40);
    carry_until(&mut trio, is_request);
    ask_again(&mut trio);
    trio.carry_to(0);
    assert!(trio.read_one());
    trio.carry_to(0);
    let is_chunk = |wanted| is_chunk(Part::Whole, wanted);
    assert_eq!(waiting(&trio, is_chunk(0)), 2);
    carry_until(&mut trio, is_chunk(0));
    trio.carry_to(1);
    carry_until(&mut trio, is_next(Part::Whole, 1));
    ask_again(&mut trio);
    // The image has the clearing and the first chunk, and is asked for rows again.
    homes[1].take(std::mem::take(&mut trio.logs[1]));
    homes[1].bring_all(&trio.stores[1]);
    homes[0].bring_all(&trio.stores[0]);
    carry_until(&mut trio, is_chunk(1));
    homes[1].checkpointer.close();
    while waiting(&trio, is_chunk(1)) > 0 {
        trio.carry_to(1);
    }
    assert_eq!(waiting(&trio, is_next(Part::Whole, 2)), 0, "it could not be taken");
    homes[1].reopen_image(&trio.stores[1]);
    trio.settle();
    assert_eq!(found(&trio), (vec![(8_040, 0)], vec![ROWS as u64]), "rows that came twice are counted once");
    are_equal(&mut trio, &mut homes);
}

#[test]
fn what_differs_comes_alone_whatever_happens_meanwhile() {
    // Aim: of a table on disc alone come the rows that are newer, then those of leaves that differ, and nothing else: what went
    // is counted once and gone, and it is all there after a restart. Method: some rows changed at the source and some that only
    // the joiner has; every question twice, checkpoints of both sides, and a joiner that cannot read its image when rows of
    // each kind come.
    let (mut trio, mut homes) = pair(5_000, 40);
    carry_until(&mut trio, is_request);
    ask_again(&mut trio);
    let is_taken_later = |trio: &mut Trio, homes: &mut [Home], part, chunk| {
        homes[1].take(std::mem::take(&mut trio.logs[1]));
        homes[1].bring_all(&trio.stores[1]);
        homes[0].bring_all(&trio.stores[0]);
        carry_until(trio, is_chunk(part, chunk));
        homes[1].checkpointer.close();
        while waiting(trio, is_chunk(part, chunk)) > 0 {
            trio.carry_to(1);
        }
        assert_eq!(waiting(trio, is_next(part, chunk + 1)), 0, "it could not be taken");
        homes[1].reopen_image(&trio.stores[1]);
        ask_again(trio);
    };
    carry_until(&mut trio, is_chunk(Part::Newer, 0));
    trio.carry_to(1);
    ask_again(&mut trio);
    is_taken_later(&mut trio, &mut homes, Part::Newer, 1);
    carry_until(&mut trio, |step| matches!(step, CopyStep::Differ { .. }));
    ask_again(&mut trio);
    is_taken_later(&mut trio, &mut homes, Part::Leaves, 0);
    trio.settle();
    let (replaced, loaded) = found(&trio);
    assert_eq!(replaced, [(5_040, 0)]);
    assert_eq!(loaded, [5_179], "with each row that is gone come the three or four others of its leaf");
    are_equal(&mut trio, &mut homes);
}

#[test]
fn a_copy_that_was_interrupted_goes_on_where_it_stopped() {
    // Aim: what came before the joiner died is not sent again. Method: a whole copy in three chunks, a kill behind the second;
    // then a copy of leaves, a kill behind the first of its two chunks.
    let (mut trio, mut homes) = pair(8_000, 40);
    carry_until(&mut trio, is_next(Part::Whole, 2));
    let (mut trio, mut homes) = reborn(trio, &mut homes, 3);
    trio.settle();
    assert_eq!(found(&trio), (vec![], vec![500]));
    are_equal(&mut trio, &mut homes);

    // Rows that are as old as others: nothing tells them apart but the digests.
    let differing = || pair_with(&[(12, 0..1_000), (13, 7_000..8_000), (14, 0..1)], &[(13, ROWS..ROWS + 1)]);
    let (mut trio, _homes) = differing();
    trio.settle();
    assert_eq!(found(&trio), (vec![(2_001, 0)], vec![6_149]));
    let (mut trio, mut homes) = differing();
    carry_until(&mut trio, is_next(Part::Leaves, 1));
    let (mut trio, mut homes) = reborn(trio, &mut homes, 3);
    trio.settle();
    assert_eq!(found(&trio), (vec![(1_001, 0)], vec![3_899]));
    are_equal(&mut trio, &mut homes);
}

#[test]
fn a_row_never_goes_back_in_time_but_in_a_whole_copy() {
    // Aim: a joiner with a version that is newer than the chain's gets what the chain has, and that is in its log and image
    // too. Method: it has a later row under one key of the source's, which has the latest commit under another.
    let (mut trio, mut homes) = pair_with(&[(12, 0..50), (20, 60..61)], &[(15, 3..4)]);
    trio.settle();
    assert_eq!(found(&trio), (vec![(51, 1)], vec![257 + ROWS as u64]), "leaves, and then all of it");
    assert!(!trio.effects.iter().any(|(_, one)| matches!(one, Effect::Event(Event::CopyDiffers { .. }))));
    are_equal(&mut trio, &mut homes);
}

/// Changes the next such step about the table, on its way.
fn change(trio: &mut Trio, wanted: impl Fn(&CopyStep) -> bool, change: impl FnOnce(&mut CopyStep)) {
    carry_until(trio, wanted);
    let Some((.., Message::Copy { step, .. })) = trio.wire.front_mut() else { panic!("just seen") };
    change(step);
}

#[test]
fn nonsense_from_a_peer_leads_to_a_whole_copy_or_nowhere() {
    // Aim: neither side believes the other: whatever a step of a copy says, the table is right in the end, and nobody stops.
    // Method: each step that has something to get wrong is changed once on its way.
    let is_request: fn(&CopyStep) -> bool = is_request;
    let is_digests: fn(&CopyStep) -> bool = |step| matches!(step, CopyStep::Digests { .. });
    let is_differ: fn(&CopyStep) -> bool = |step| matches!(step, CopyStep::Differ { .. });
    let is_leaves: fn(&CopyStep) -> bool =
        |step| matches!(step, CopyStep::Chunk(one) if one.part == Part::Leaves);
    let is_newer: fn(&CopyStep) -> bool =
        |step| matches!(step, CopyStep::Chunk(one) if one.part == Part::Newer);
    type Nonsense = (&'static str, fn(&CopyStep) -> bool, fn(&mut CopyStep));
    let cases: [Nonsense; 12] = [
        ("leaves that are no power of two", is_request, |step| {
            let CopyStep::Request(asked) = step else { panic!() };
            asked.leaves = 1_000;
        }),
        ("more leaves than there may be", is_request, |step| {
            let CopyStep::Request(asked) = step else { panic!() };
            asked.leaves = 1 << 31;
        }),
        ("other leaves than it has", is_request, |step| {
            let CopyStep::Request(asked) = step else { panic!() };
            asked.leaves = 16;
        }),
        ("no digests", is_digests, |step| {
            let CopyStep::Digests { digests, .. } = step else { panic!() };
            digests.clear();
        }),
        ("too many digests", is_digests, |step| {
            let CopyStep::Digests { digests, .. } = step else { panic!() };
            digests.resize(digests.len() + 1, 7);
        }),
        ("digests that were not asked for", is_digests, |step| {
            let CopyStep::Digests { from, .. } = step else { panic!() };
            *from = u32::MAX;
        }),
        ("digests that are wrong", is_digests, |step| {
            let CopyStep::Digests { digests, .. } = step else { panic!() };
            digests.fill(7);
        }),
        ("a set of fewer leaves", is_differ, |step| {
            let CopyStep::Differ { leaves } = step else { panic!() };
            leaves.truncate(9);
        }),
        ("rows of other leaves", is_leaves, |step| {
            let CopyStep::Chunk(chunk) = step else { panic!() };
            chunk.rows[0].0 = key(-1);
        }),
        ("rows in no order", is_leaves, |step| {
            let CopyStep::Chunk(chunk) = step else { panic!() };
            chunk.rows.swap(0, 1);
        }),
        ("rows that are not all", is_leaves, |step| {
            let CopyStep::Chunk(chunk) = step else { panic!() };
            chunk.rows.pop();
        }),
        ("a chunk that was not asked for", is_newer, |step| {
            let CopyStep::Chunk(chunk) = step else { panic!() };
            chunk.chunk = 7;
        }),
    ];
    let mut differed = Vec::new();
    for (what, wanted, nonsense) in cases {
        let (mut trio, mut homes) = pair(700, 40);
        change(&mut trio, wanted, nonsense);
        trio.settle();
        assert_eq!(digest(&trio.stores[1]), digest(&trio.stores[0]), "{what}");
        assert!(trio.effects.contains(&(1, Effect::Event(Event::Ready { epoch: 2 }))), "{what}");
        if trio.effects.contains(&(1, Effect::Event(Event::CopyDiffers { table: TABLE }))) {
            differed.push(what);
        }
        are_equal(&mut trio, &mut homes);
    }
    assert_eq!(differed, ["rows that are not all"], "what is not seen before is seen in the end");
}
