//! Requests that are done once, whichever member is asked and whoever was restarted in between. The id of a request and its
//! answer are a row of a system table, read before the program runs and written by the transaction that does the work: so
//! they are committed with it or not at all, and what became of the work is never guessed.
//!
//! The table is made by the first request, with a copy on every member that there is then, on disc where the member has
//! one. Two calls with one id queue on the row's key or lose to each other, as any two transactions do. A row has a deadline,
//! so ids are forgotten by time alone: a full table refuses.
//!
//! A member that joined later has no copy and asks one that has.

use std::future::Future;
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

use hypermnesia_store::work::{LockMode, Op};
use hypermnesia_store::{
    Key, Row, SCHEMA_TABLE, Storage, Table as Open, TableDef, TableId, Timestamp, Type, Value, ValueRef,
    codec, define, schema_key, undefine,
};
use parking_lot::Mutex;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::async_transaction::{self, AsyncTransaction};
use crate::attempt::{Attempt, Step};
use crate::core::{Core, wall_ms};
use crate::error::{Error, Result};
use crate::limits::{
    REQUEST_ANSWER_BYTES_MAX, REQUEST_BYTES_MAX, REQUEST_ID_BYTES_MAX, REQUEST_ID_KEPT, REQUEST_IDS_MAX,
};
use crate::options::TxOptions;
use crate::schema::{COUNTER, FIRST_ID, counter, next_id};
use crate::transaction::{self, Transaction};

/// The system's table of requests.
pub(crate) const TABLE: &str = "_requests";

/// Positions of its attributes that are read.
const DIGEST: usize = 1;
const ANSWER: usize = 2;

/// Names a piece of work that is to be done once: any text that the caller chooses, of 1 to
/// [`REQUEST_ID_BYTES_MAX`](crate::limits::REQUEST_ID_BYTES_MAX) bytes.
///
/// ```
/// use hypermnesia::RequestId;
/// let id = RequestId::new("order 17 of ada").asking(b"two apples");
/// assert_eq!(id.text(), "order 17 of ada");
/// assert_ne!(id, RequestId::new("order 17 of ada").asking(b"two pears"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId {
    text: String,
    digest: Option<[u8; 16]>,
}

impl RequestId {
    /// Of this text.
    pub fn new(text: impl Into<String>) -> RequestId {
        RequestId { text: text.into(), digest: None }
    }

    /// With what is asked for, of which a digest is kept: the id of another request is refused then
    /// ([`Error::RequestReused`]) instead of being answered with what this one has done. The digest finds mistakes, it keeps
    /// nobody out.
    #[must_use]
    pub fn asking(mut self, request: &[u8]) -> RequestId {
        self.digest = Some(fnv(request));
        self
    }

    /// The text.
    pub fn text(&self) -> &str {
        &self.text
    }

    fn check(&self) -> Result<()> {
        if (1..=REQUEST_ID_BYTES_MAX).contains(&self.text.len()) {
            return Ok(());
        }
        let bytes = self.text.len();
        Err(Error::Config(format!("a request id has 1 to {REQUEST_ID_BYTES_MAX} bytes, this one {bytes}")))
    }

    fn key(&self) -> Result<Key> {
        Ok(Key::encode(&[Value::Text(self.text.clone())])?)
    }

    fn reused(&self) -> Error {
        Error::RequestReused { id: self.text.clone() }
    }
}

/// FNV-1a with 128 bits: the same on every member and in every version.
fn fnv(bytes: &[u8]) -> [u8; 16] {
    const OFFSET: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    let mixed = |hash: u128, byte: &u8| (hash ^ u128::from(*byte)).wrapping_mul(PRIME);
    bytes.iter().fold(OFFSET, mixed).to_be_bytes()
}

/// The answer to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered<T> {
    /// What the program gave in the run that was committed.
    pub answer: T,
    /// When it was committed by an earlier call with the same id. `None` when this call did the work.
    pub earlier: Option<Timestamp>,
}

/// Does a request, or gives the answer of who did it.
pub(crate) fn run<T, E>(
    core: &Arc<Core>,
    id: &RequestId,
    options: &TxOptions,
    mut program: impl FnMut(&mut Transaction) -> Result<T, E>,
) -> Result<Answered<T>, E>
where
    T: Serialize + DeserializeOwned,
    E: From<Error>,
{
    id.check()?;
    let begun = Instant::now();
    while opened(core).is_err() {
        transaction::run::<_, Error>(core, &making(options), |tx| tx.step(make))?;
    }
    transaction::run(core, &rest(options, begun), |tx| {
        if let Some(known) = tx.step(|attempt, waker| recall(attempt, waker, id))? {
            return Ok(known.answered(id)?);
        }
        let answer = program(tx)?;
        let encoded = encoded(&answer)?;
        tx.step(|attempt, _| remember(attempt, id, &encoded))?;
        Ok(Answered { answer, earlier: None })
    })
}

/// As [`run`], for tasks.
pub(crate) async fn run_async<T, E, F>(
    core: &Arc<Core>,
    id: &RequestId,
    options: &TxOptions,
    program: impl FnMut(AsyncTransaction) -> F,
) -> Result<Answered<T>, E>
where
    T: Serialize + DeserializeOwned,
    E: From<Error>,
    F: Future<Output = Result<T, E>>,
{
    id.check()?;
    let begun = Instant::now();
    while opened(core).is_err() {
        let made = |tx: AsyncTransaction| async move { tx.step(make).await };
        async_transaction::run::<_, Error, _>(core, &making(options), made).await?;
    }
    // Called by one run at a time, behind its first wait; held for the call, not for what it gives.
    let program = Mutex::new(program);
    async_transaction::run(core, &rest(options, begun), |tx| {
        let program = &program;
        async move {
            if let Some(known) = tx.step(|attempt, waker| recall(attempt, waker, id)).await? {
                return Ok(known.answered(id)?);
            }
            let work = program.lock()(tx.clone());
            let answer = work.await?;
            let encoded = encoded(&answer)?;
            tx.step(|attempt, _| remember(attempt, id, &encoded)).await?;
            Ok(Answered { answer, earlier: None })
        }
    })
    .await
}

/// Every member has followed it when it is told: the same id may come to another one next.
fn making(options: &TxOptions) -> TxOptions {
    TxOptions::new().deadline(options.deadline).sync()
}

fn rest(options: &TxOptions, begun: Instant) -> TxOptions {
    options.clone().deadline(options.deadline.saturating_sub(begun.elapsed()))
}

/// What is remembered of a request.
struct Known {
    answer: Vec<u8>,
    at: Timestamp,
}

impl Known {
    fn answered<T: DeserializeOwned>(&self, id: &RequestId) -> Result<Answered<T>> {
        let answer = decoded(&self.answer).map_err(|_| id.reused())?;
        Ok(Answered { answer, earlier: Some(self.at) })
    }
}

fn recall(attempt: &mut Attempt, waker: &Waker, id: &RequestId) -> Step<Option<Known>> {
    let (open, key) = (opened(&attempt.core)?, id.key()?);
    // Locked, so that of two calls here the second waits for the first instead of doing its work in vain.
    let held = attempt.read(&open, &key, Some(LockMode::Write), waker)?;
    let Some(row) = held.as_ref().and_then(|body| body.rows().first()) else { return Ok(None) };
    let wanted = id.digest.as_ref().map_or(ValueRef::Null, |digest| ValueRef::Bytes(digest));
    match row.attribute(ANSWER) {
        ValueRef::Bytes(answer) if row.attribute(DIGEST) == wanted => {
            Ok(Some(Known { answer: answer.to_vec(), at: attempt.version(open.id(), &key) }))
        }
        _ => Err(id.reused().into()),
    }
}

fn remember(attempt: &mut Attempt, id: &RequestId, answer: &[u8]) -> Step<()> {
    let (open, key) = (opened(&attempt.core)?, id.key()?);
    let now_ms = wall_ms();
    let values = [
        Value::Text(id.text.clone()),
        id.digest.map_or(Value::Null, |digest| Value::Bytes(digest.to_vec())),
        Value::Bytes(answer.to_vec()),
        Value::Text(attempt.core.name.clone()),
        Value::Timestamp(i64::try_from(now_ms.saturating_mul(1_000)).unwrap_or(i64::MAX)),
    ];
    let row = open.def().encode_row(&values).map_err(Error::from)?;
    // Counted from the last moment at which it may be committed.
    let kept = attempt.deadline.saturating_duration_since(Instant::now()) + REQUEST_ID_KEPT;
    let row = until(row, now_ms, kept)?;
    attempt.write_system(&open, key, Op::Put(row))
}

fn until(row: Row, now_ms: u64, kept: Duration) -> Result<Row> {
    let kept_ms = u64::try_from(kept.as_millis()).unwrap_or(u64::MAX);
    Ok(row.with_deadline(Some(now_ms.saturating_add(kept_ms)))?)
}

/// The answer as it is kept. One that could not be read again fails now, and not whoever asks for it.
fn encoded<T: Serialize + DeserializeOwned>(answer: &T) -> Result<Vec<u8>> {
    let unfit = |wrong: codec::CodecError| Error::abort(format!("the answer cannot be remembered: {wrong}"));
    let bytes = codec::encode_checked(answer).map_err(unfit)?;
    if bytes.len() > REQUEST_ANSWER_BYTES_MAX {
        let what = "bytes of an answer to be remembered";
        return Err(Error::TooLarge { what, bound: REQUEST_ANSWER_BYTES_MAX });
    }
    decoded::<T>(&bytes).map_err(unfit)?;
    Ok(bytes)
}

fn decoded<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, codec::CodecError> {
    codec::decode(bytes, REQUEST_ANSWER_BYTES_MAX)
}

/// The table of requests, if it is there and somebody who has it is.
fn opened(core: &Core) -> Result<Arc<Open>> {
    let held = |open: &Arc<Open>| open.def().copies.iter().any(|copy| core.member(copy.node).is_some());
    let open = core.store.table_named(TABLE).filter(held);
    open.ok_or_else(|| Error::NoSuchTable { name: TABLE.to_owned() })
}

/// Makes the table unless it is there; one that only members have who were removed goes first, by a transaction of its own. All
/// reads come first, so a step that has to wait is made again.
fn make(attempt: &mut Attempt, waker: &Waker) -> Step<()> {
    let core = Arc::clone(&attempt.core);
    let schema = core.store.table(SCHEMA_TABLE).expect("every store has its schema table");
    let row_0 = schema_key(COUNTER);
    // Locked and noted by all who change the schema: of two members that make it at a time one does.
    let held = attempt.read(&schema, &row_0, Some(LockMode::Write), waker)?;
    if opened(&core).is_ok() {
        return Ok(());
    }
    let next = held.as_ref().and_then(|body| body.rows().first()).map_or(FIRST_ID, next_id);
    let (change, next) = match core.store.table_named(TABLE) {
        Some(left) => (undefine(left.id()), next),
        None => (define(&definition(&core, TableId(next))?), next + 1),
    };
    let counter = counter(next);
    attempt.write_system(&schema, change.key, change.op)?;
    attempt.write_system(&schema, counter.key, counter.op)
}

fn definition(core: &Core, id: TableId) -> Result<TableDef> {
    let mut builder = TableDef::builder(TABLE)
        .attribute("id", Type::Text)
        .nullable("digest", Type::Bytes)
        .attribute("answer", Type::Bytes)
        .attribute("member", Type::Text)
        .attribute("at", Type::Timestamp)
        .rows_max(REQUEST_IDS_MAX)
        .bytes_max(REQUEST_BYTES_MAX);
    for member in core.members() {
        builder = builder.copy(member.node, Storage::Disc);
    }
    Ok(TableDef { id, ..builder.build()? })
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::Node;

    fn node() -> Node {
        Node::builder().build().expect("an embedded node needs nothing")
    }

    #[test]
    fn an_id_that_is_past_is_free() {
        // Aim: the end of an id is the deadline of its row. Method: the row of a request gets one that has passed; the id again.
        let (node, runs) = (node(), Cell::new(0));
        let id = RequestId::new("1");
        let counted = || {
            node.transaction_once(&id, |_| {
                runs.set(runs.get() + 1);
                Ok(runs.get())
            })
        };
        assert_eq!((counted(), counted()), (Ok(1), Ok(1)));
        let (open, key) = (opened(&node.core).expect("made"), id.key().expect("short"));
        let ended = node.transaction(|tx| {
            tx.step(|attempt, waker| {
                let held = attempt.read(&open, &key, None, waker)?.expect("remembered");
                let row = until(held.rows()[0].clone(), 1, Duration::from_millis(1))?;
                attempt.write_system(&open, key.clone(), Op::Put(row))
            })
        });
        assert_eq!((ended, counted(), counted()), (Ok(()), Ok(2), Ok(2)));
    }

    #[test]
    fn a_full_table_refuses_and_forgets_nobody() {
        // Aim: what cannot be remembered is not done, and what is remembered stays. Method: a table of ids with room for two.
        let node = node();
        let schema = node.core.store.table(SCHEMA_TABLE).expect("there");
        let mut small = definition(&node.core, TableId(FIRST_ID)).expect("a definition");
        small.retention.rows_max = Some(2);
        let made = node.transaction(|tx| {
            tx.step(|attempt, _| {
                let (write, counter) = (define(&small), counter(FIRST_ID + 1));
                attempt.write_system(&schema, write.key, write.op)?;
                attempt.write_system(&schema, counter.key, counter.op)
            })
        });
        made.expect("made");
        let done = |id: &str| node.transaction_once(&RequestId::new(id), |tx| Ok(tx.id().sequence));
        let (one, two) = (done("1").expect("room"), done("2").expect("room"));
        assert_eq!((done("3"), done("1"), done("2")), (Err(Error::RequestsFull), Ok(one), Ok(two)));
    }

    #[test]
    fn a_digest_is_the_same_everywhere() {
        // Aim: members of different versions compare them. Method: the published vectors of the 128-bit FNV-1a.
        let hex = |bytes: &[u8]| fnv(bytes).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        assert_eq!(hex(b""), "6c62272e07bb014262b821756295c58d");
        assert_eq!(hex(b"a"), "d228cb696f1a8caf78912b704e4a8964");
    }
}
