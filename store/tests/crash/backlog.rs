//! What is appended and not written yet, as it is told while others append and write.

use std::sync::atomic::{AtomicBool, Ordering};

use hypermnesia_store::Timestamp;
use hypermnesia_store::disc::{MemDisc, Record};

use crate::over::Over;
use crate::session::{Session, txid};

/// Records, and the bytes of one with all that stands around it, at most.
const RECORDS: u64 = 30_000;
const RECORD_BYTES_MAX: u64 = 200;

#[test]
fn the_backlog_is_never_less_than_nothing() {
    // Aim: `backlog_bytes` is what waited at some moment; it used to count below nothing when a write came between its two
    // looks, and so to look like a log that is full. Method: every record is written as soon as it is appended, while others
    // ask all the time: never more than the little that was appended since.
    let mut session = Session::open(&MemDisc::new()).expect("no fault is planted");
    session.begin().expect("no fault is planted");
    let (log, done) = (session.log.clone(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let ask = || {
            let mut most = 0;
            while !done.load(Ordering::Relaxed) {
                most = most.max(log.backlog_bytes());
            }
            most
        };
        let askers = [scope.spawn(ask), scope.spawn(ask)];
        let over = Over(&done);
        for n in 0..RECORDS {
            session.append(&Record::Aborted { txid: txid(n) }).expect("it fits");
            session.writer.write().expect("no fault is planted");
            if n.is_multiple_of(64) {
                let synced = session.writer.sync().expect("no fault is planted");
                session.writer.trim(synced).expect("no fault is planted");
            }
        }
        drop(over);
        // Who is held up between its two looks sees what came meanwhile, which is all that comes here at the most.
        let all = RECORDS * RECORD_BYTES_MAX;
        for asker in askers {
            assert!(asker.join().expect("no overflow") <= all);
        }
    });
    assert_eq!((log.backlog_bytes(), log.end()), (0, log.written()));
    session.append(&Record::Committed { txid: txid(1), ts: Timestamp(9) }).expect("it fits");
    assert_eq!(log.backlog_bytes(), log.end().0 - log.written().0);
    assert!(log.backlog_bytes() > 0);
}
