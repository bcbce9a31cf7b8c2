//! A disc whose operations of one sort hang until they are let go, and what goes on meanwhile.

use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::Duration;

use hypermnesia_store::disc::Crash;
use parking_lot::{Condvar, Mutex};

use super::between::{Before, Between};
use super::until::until;
use crate::{Ack, DiscOptions, DynTable, Error, Node, Storage, TableDef, TxOptions, Type, Value};

/// Longer than any machine takes for what is waited for.
const LONG: Duration = Duration::from_secs(20);

/// Operations that may hang.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sort {
    ImageWrite,
    ImageSync,
    /// Of a segment in use, not of one that is made ahead.
    LogWrite,
    /// The same.
    LogSync,
}

/// Where operations hang.
#[derive(Debug, Default)]
struct Gate {
    state: Mutex<GateState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct GateState {
    shut: Option<Sort>,
    /// So many may pass although it is shut.
    permits: usize,
    waiting: usize,
}

impl Gate {
    fn shut(&self, sort: Sort) {
        *self.state.lock() = GateState { shut: Some(sort), ..GateState::default() };
    }

    fn permit(&self, permits: usize) {
        self.state.lock().permits += permits;
        self.changed.notify_all();
    }

    fn open(&self) {
        self.state.lock().shut = None;
        self.changed.notify_all();
    }

    fn waiting(&self) -> usize {
        self.state.lock().waiting
    }

    fn pass(&self, sort: Sort) {
        let mut state = self.state.lock();
        while state.shut == Some(sort) && state.permits == 0 {
            state.waiting += 1;
            self.changed.wait(&mut state);
            state.waiting -= 1;
        }
        if state.shut == Some(sort) {
            state.permits -= 1;
        }
    }
}

/// Opens it at the end, also of a test that fails: a node waits for its threads when it goes.
struct Opens<'g>(&'g Gate);

impl Drop for Opens<'_> {
    fn drop(&mut self) {
        self.0.open();
    }
}

impl Before for Gate {
    fn write(&self, name: &str, _bytes: usize) {
        match name {
            "log-spare.tmp" => {}
            _ if name.starts_with("image") => self.pass(Sort::ImageWrite),
            _ if name.starts_with("log-") => self.pass(Sort::LogWrite),
            _ => {}
        }
    }

    fn sync(&self, name: &str) {
        match name {
            "log-spare.tmp" => {}
            _ if name.starts_with("image") => self.pass(Sort::ImageSync),
            _ if name.starts_with("log-") => self.pass(Sort::LogSync),
            _ => {}
        }
    }
}

type Hanging = Between<Gate>;

/// An embedded node on it, with small segments and checkpoints often.
fn node_on(hanging: &Hanging, segment_bytes: u64) -> Node {
    let options = DiscOptions::new().segment_bytes(segment_bytes).checkpoint_bytes(2 * segment_bytes);
    hanging.node(options)
}

fn table(node: &Node, ack: Ack) -> DynTable {
    let def = TableDef::builder("t").attribute("id", Type::Int).attribute("filler", Type::Bytes).ack(ack);
    node.create_table(def.copy(node.id(), Storage::Disc)).expect("new")
}

fn row(id: i64) -> [Value; 2] {
    [Value::Int(id), Value::Bytes(vec![7; 200])]
}

#[test]
fn a_checkpoint_that_hangs_holds_up_no_writer() {
    // Aim: commits at level `logged` go on, through one segment after the other, while the image's write or sync does not come
    // back, and the checkpoint is made when it does. Method: write until a checkpoint is due and hangs, then many segments' worth in a
    // thread that says when it is done; then let go, and look at the directory as a killed process leaves it.
    const FIRST: i64 = 400;
    const ALL: i64 = 1_400;
    for sort in [Sort::ImageWrite, Sort::ImageSync] {
        let hanging = Hanging::default();
        let node = node_on(&hanging, 16 << 10);
        let opens = Opens(&hanging.before);
        let rows = table(&node, Ack::Logged);
        hanging.before.shut(sort);
        (0..FIRST).for_each(|id| rows.insert(&row(id)).expect("written"));
        until(|| hanging.before.waiting() > 0);
        let (say, heard) = sync_channel(1);
        let writer = thread::spawn({
            let rows = rows.clone();
            move || {
                (FIRST..ALL).for_each(|id| rows.insert(&row(id)).expect("written"));
                say.send(()).expect("the test waits to hear it");
            }
        });
        let told = heard.recv_timeout(LONG);
        assert!(told.is_ok(), "{sort:?}: the writer was held up: {told:?}");
        writer.join().expect("it said so");
        let disc = node.core.disc.as_ref().expect("it has one");
        let (log_bytes, _) = disc.bytes();
        assert!(log_bytes > 8 * (16 << 10), "{sort:?}: many segments wait for the image: {log_bytes}");
        assert!(hanging.before.waiting() > 0 && node.status().ready, "{sort:?}: it still hangs");
        drop(opens);
        until(|| disc.bytes().0 < log_bytes / 2);
        drop(rows);
        let left = hanging.disc.crash(Crash::Kill);
        drop(node);
        let again = node_on(&Hanging::over(left), 16 << 10);
        assert_eq!(again.dyn_table("t").expect("kept").len(), Ok(ALL as u64), "{sort:?}");
    }
}

#[test]
fn one_sync_acknowledges_all_who_wait() {
    // Aim: what a writer at level `synced` waits for is syncs, not other writers: the one that is under way when it comes, and
    // one more. Method: a sync that hangs, so many writers behind it, and then two syncs and no third may pass; one more
    // writer alone, and one sync.
    const WRITERS: i64 = 32;
    let hanging = Hanging::default();
    let node = node_on(&hanging, 1 << 20);
    let opens = Opens(&hanging.before);
    let rows = table(&node, Ack::Synced);
    let disc = node.core.disc.as_ref().expect("it has one");
    let (say, heard) = sync_channel(WRITERS as usize + 1);
    let write = |id: i64| {
        let (node, rows, say) = (node.clone(), rows.clone(), say.clone());
        let patient = TxOptions::new().deadline(3 * LONG);
        thread::spawn(move || {
            let told: Result<(), Error> = node.transaction_with(&patient, |tx| tx.insert(&rows, &row(id)));
            say.send((id, told)).expect("the test waits to hear it");
        })
    };
    let settled = || disc.log.synced() == disc.log.written() && !*disc.wanted.lock();
    until(settled);
    hanging.before.shut(Sort::LogSync);
    let mut writers = vec![write(0)];
    until(|| hanging.before.waiting() == 1);
    writers.extend((1..=WRITERS).map(write));
    until(|| disc.waiting.lock().len() == WRITERS as usize + 1);
    assert!(heard.try_recv().is_err(), "nothing is acknowledged while the sync hangs");
    hanging.before.permit(2);
    for n in 0..=WRITERS {
        let (id, told) = heard.recv_timeout(LONG).unwrap_or_else(|_| panic!("two syncs told {n} writers"));
        assert_eq!(told, Ok(()), "writer {id}");
    }
    hanging.before.open();
    until(|| settled() && hanging.before.waiting() == 0);
    hanging.before.shut(Sort::LogSync);
    writers.push(write(WRITERS + 1));
    until(|| hanging.before.waiting() == 1);
    hanging.before.permit(1);
    let told = heard.recv_timeout(LONG).map(|(_, told)| told);
    assert_eq!(told, Ok(Ok(())), "one sync is enough for one writer");
    drop(opens);
    writers.into_iter().for_each(|writer| writer.join().expect("it said so"));
    let left = Hanging::over(hanging.disc.crash(Crash::DropUnsynced));
    assert_eq!(node_on(&left, 1 << 20).dyn_table("t").expect("kept").len(), Ok(WRITERS as u64 + 2));
}

#[test]
fn a_log_that_hangs_fills_no_memory() {
    // Aim: faults 15, bounded memory: what waits for no disc is refused once too much of it waits to be written, by name, and
    // taken again when the disc has caught up; everything else goes on. Method: a log whose writes hang; one writer at level
    // `memory` that meets the write and hangs with it, and another that writes until it is refused.
    let hanging = Hanging::default();
    let node = node_on(&hanging, 1 << 20);
    let opens = Opens(&hanging.before);
    let rows = table(&node, Ack::Memory);
    let elsewhere = node.create_table(TableDef::builder("ram").attribute("id", Type::Int)).expect("new");
    let disc = node.core.disc.as_ref().expect("it has one");
    hanging.before.shut(Sort::LogWrite);
    let filler = || Value::Bytes(vec![7; 64 << 10]);
    let stuck = thread::spawn({
        let rows = rows.clone();
        move || (0..10_000).map_while(|id| rows.insert(&[Value::Int(-id), filler()]).ok()).count()
    });
    until(|| hanging.before.waiting() > 0);
    let refused =
        (1..10_000).find_map(|id| rows.insert(&[Value::Int(id), filler()]).err()).expect("there is a bound");
    assert!(matches!(refused, Error::Unavailable { .. }) && refused.is_retryable(), "{refused}");
    assert!(refused.to_string().contains("slow or hangs"), "{refused}");
    let most = crate::limits::LOG_BEHIND_BYTES_MAX + (1 << 20);
    assert!(disc.log.backlog_bytes() < most, "{} bytes wait", disc.log.backlog_bytes());
    let kept = rows.len().expect("reads go on");
    elsewhere.insert(&[Value::Int(1)]).expect("no disc is asked");
    drop(opens);
    stuck.join().expect("it comes through");
    until(|| rows.insert(&row(0)).is_ok());
    assert!(rows.len().expect("served") >= kept);
}
