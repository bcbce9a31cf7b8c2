//! Copies of a table that lives on disc alone, and is not held in memory by whoever gives or takes it. Two members on discs in
//! memory, messages carried by hand.

use std::sync::Arc;

use hypermnesia_replication::limits::{COPY_CHUNK_ROWS, COPY_RETRY_NS};
use hypermnesia_replication::message::CopyStep;
use hypermnesia_replication::{Agreement, Effect, Event, Fact, Message, Recovered, RecoveredPrepare};
use hypermnesia_store::disc::{
    self, BootId, Checkpointer, Crash, DirectoryId, LockGuard, LogWriter, MemDisc, Opener, Record,
};
use hypermnesia_store::{
    Incarnation, NodeId, Storage, Store, StoreConfig, Timestamp, TxId, Write, codec, define,
};

use crate::trio::{TABLE, Trio, nodes, put, table};

/// Rows that both have: three chunks.
const ROWS: i64 = 2 * COPY_CHUNK_ROWS as i64 + 500;

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

/// Two members with the same rows that have just started again, connected, and nothing carried yet; the first has more in its
/// table than the second, which has some that the first has not: so many each.
fn pair(more: i64, own: i64) -> (Trio, Vec<Home>) {
    let mut def = table(&nodes(2), Storage::DISC_ONLY);
    // Below what a definition may ask for: a cache for a small part of the rows.
    def.copies.iter_mut().for_each(|copy| copy.storage = Storage::DiscOnly { cache_bytes: 64 << 10 });
    let start = |discs: &[MemDisc], life, agreed: Agreement| {
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
    };
    let (mut trio, mut homes) = start(&[MemDisc::new(), MemDisc::new()], 1, Agreement::default());
    trio.carry_all();
    for (at, home) in homes.iter_mut().enumerate() {
        home.take(std::mem::take(&mut trio.logs[at]));
    }
    let write = |at: usize, ts, keys: std::ops::Range<i64>| {
        let writes: Vec<Write> = keys.flat_map(|k| put(k, 2).writes).collect();
        if !writes.is_empty() {
            homes[at].wrote(&trio.stores[at], Timestamp(ts), writes);
        }
    };
    write(1, 11, ROWS + 100..ROWS + 100 + own);
    write(0, 12, 0..more);
    for (home, store) in homes.iter_mut().zip(&trio.stores) {
        home.bring_all(store);
    }
    let discs: Vec<_> = homes.iter().map(|home| home.disc.crash(Crash::Kill)).collect();
    start(&discs, 2, trio.agreed.clone())
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
    matches!(step, CopyStep::Request { .. })
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
    homes[0].checkpointer.close();
    trio.carry_to(0);
    assert_eq!(waiting(&trio, |step| matches!(step, CopyStep::Same)), 2, "it answers again without looking");
    homes[0].reopen_image(&trio.stores[0]);
    trio.settle();
    let ready = Effect::Event(Event::Ready { epoch: 2 });
    assert!([0, 1].iter().all(|at| trio.effects.contains(&(*at, ready.clone()))));
}

#[test]
fn a_copy_comes_whole_whatever_happens_between_its_chunks() {
    // Aim: several chunks, questions that are repeated, checkpoints of both sides between them, and a moment in which the
    // joiner cannot read its image: what arrives is what was given, what went is counted once, and it is all there after a
    // restart. Method: so, by hand.
    let (mut trio, mut homes) = pair(700, 40);
    carry_until(&mut trio, is_request);
    ask_again(&mut trio);
    trio.carry_to(0);
    trio.carry_to(0);
    let is_chunk = |wanted: u64| move |step: &CopyStep| matches!(step, CopyStep::Chunk { chunk, .. } if *chunk == wanted);
    assert_eq!(waiting(&trio, is_chunk(0)), 2);
    carry_until(&mut trio, is_chunk(0));
    trio.carry_to(1);
    carry_until(&mut trio, |step| matches!(step, CopyStep::Next { chunk: 1 }));
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
    assert_eq!(
        waiting(&trio, |step| matches!(step, CopyStep::Next { chunk: 2 })),
        0,
        "it could not be taken"
    );
    homes[1].reopen_image(&trio.stores[1]);
    trio.settle();
    assert_eq!(digest(&trio.stores[1]), digest(&trio.stores[0]));
    let replaced: Vec<_> = trio
        .effects
        .iter()
        .filter(|(_, one)| matches!(one, Effect::Event(Event::RowsReplaced { .. })))
        .collect();
    let wanted = Effect::Event(Event::RowsReplaced { table: TABLE, rows: 740, newer: 0 });
    assert_eq!(replaced, [&(1, wanted)]);
    let loaded = Effect::Event(Event::Loaded { table: TABLE, rows: ROWS as u64 });
    assert!(trio.effects.contains(&(1, loaded)), "rows that came twice are counted once");
    homes[1].take(std::mem::take(&mut trio.logs[1]));
    let (_home, store, _) = opened(&homes[1].disc.crash(Crash::Kill), NodeId(2));
    assert_eq!(digest(&store), digest(&trio.stores[0]));
}
