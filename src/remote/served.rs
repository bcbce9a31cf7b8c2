//! The questions of other members for rows that are here. They are taken in by whoever carries messages and answered by tasks
//! of the I/O thread; what looks at more than a key in memory is done by another thread meanwhile.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use hypermnesia_replication::fetch::{Ask, At, Fetch, Fetched, NotFetched};
use hypermnesia_replication::{Effect, Message, Peer, Sink};
use hypermnesia_store::work::Blocked;
use hypermnesia_store::{Body, Key, Snapshot, Status, Storage, Table, Timestamp, Txn};
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::place::{Place, Stop, Wanted, settled};
use crate::core::Core;
use crate::life::{elsewhere, spawn};
use crate::limits::{FETCH_PLACE_IDLE_MAX, FETCH_PLACES_MAX, FETCH_WAIT_MAX, FETCHES_SERVED_MAX};

/// A question as it came.
pub(crate) struct Question {
    pub(crate) from: Peer,
    pub(crate) epoch: u64,
    pub(crate) id: u64,
    pub(crate) fetch: Fetch,
}

/// See the file's header.
#[derive(Default)]
pub(crate) struct Served {
    waiting: Mutex<Waiting>,
    bell: Notify,
    /// Between two chunks, by who fetches. Held for a map operation or a look at all; a leaf lock.
    places: Mutex<HashMap<(Peer, u64), Place>>,
}

/// Held for a list operation; a leaf lock.
#[derive(Default)]
struct Waiting {
    questions: VecDeque<Question>,
    /// Questions that are not answered, of each life that has any.
    open: HashMap<Peer, usize>,
}

impl Served {
    /// Takes a question in. Where there are too many the refusal comes back, to be sent.
    pub(crate) fn on_fetch(&self, core: &Core, question: Question) -> Option<Message> {
        if question.fetch.ask == Ask::Enough {
            self.places.lock().remove(&(question.from, question.id));
            return None;
        }
        let mut waiting = self.waiting.lock();
        let open = waiting.open.entry(question.from).or_default();
        if *open >= FETCHES_SERVED_MAX {
            let answer = refused(core, NotFetched::Overloaded);
            return Some(Message::Fetched { epoch: question.epoch, id: question.id, answer });
        }
        *open += 1;
        waiting.questions.push_back(question);
        drop(waiting);
        self.bell.notify_one();
        None
    }

    fn answered(&self, from: Peer) {
        let mut waiting = self.waiting.lock();
        if let Some(open) = waiting.open.get_mut(&from) {
            *open -= 1;
            if *open == 0 {
                waiting.open.remove(&from);
            }
        }
    }

    fn keep(&self, from: Peer, id: u64, mut place: Place) -> Result<(), NotFetched> {
        let mut places = self.places.lock();
        if places.len() >= FETCH_PLACES_MAX {
            return Err(NotFetched::Overloaded);
        }
        place.until = Instant::now() + FETCH_PLACE_IDLE_MAX;
        places.insert((from, id), place);
        Ok(())
    }

    pub(super) fn tick(&self, now: Instant) {
        self.places.lock().retain(|_, place| now < place.until);
    }

    pub(super) fn on_disconnected(&self, peer: Peer) {
        self.places.lock().retain(|(from, _), _| *from != peer);
    }
}

fn refused(core: &Core, why: NotFetched) -> Fetched {
    Fetched::Refused { clock: core.store.clock().read(), why }
}

/// Answers questions for as long as the node lives. Called on its I/O thread.
pub(crate) fn begin(core: &Arc<Core>) {
    let all = Arc::clone(core);
    spawn(core, async move {
        loop {
            all.remote.served.bell.notified().await;
            loop {
                let next = all.remote.served.waiting.lock().questions.pop_front();
                let Some(question) = next else { break };
                spawn(&all, answer(Arc::clone(&all), question));
            }
        }
    });
}

async fn answer(core: Arc<Core>, question: Question) {
    let Question { from, epoch, id, fetch } = question;
    let wait = Duration::from_millis(fetch.wait_ms.into()).min(FETCH_WAIT_MAX);
    let serving = Serving { core: Arc::clone(&core), from, id, until: Instant::now() + wait };
    let answer = serving.read(fetch).await.unwrap_or_else(|why| refused(&core, why));
    core.remote.served.answered(from);
    let message = Message::Fetched { epoch, id, answer };
    core.event(|_, _, out| out.effect(Effect::Send { to: from, message }));
}

/// One question that is being answered.
struct Serving {
    core: Arc<Core>,
    from: Peer,
    id: u64,
    until: Instant,
}

impl Serving {
    async fn read(&self, fetch: Fetch) -> Result<Fetched, NotFetched> {
        let core = &self.core;
        core.check_serving().map_err(|_| NotFetched::NotReady)?;
        // Whatever is proposed from here on is above what is read.
        core.store.clock().observe(fetch.at.timestamp()).map_err(|_| NotFetched::ClockAhead)?;
        let tenure = core.replica.tenure();
        while let Some(txn) = core.store.changing(fetch.table) {
            self.decided(&txn).await?;
        }
        let table = core.store.table(fetch.table).filter(|table| table.def().version == fetch.version);
        let table = table.ok_or(NotFetched::Schema)?;
        if !core.has_copy(table.def()) || core.check_served(table.def()).is_err() {
            return Err(NotFetched::NotReady);
        }
        match fetch.ask {
            Ask::Key(key) => self.key(table, key, fetch.at, tenure).await,
            Ask::Range { index, range, backward, limit } => {
                let wanted = Wanted { index, range, backward, limit };
                let place = self.placed(table, wanted, fetch.at, tenure).await?;
                self.chunk(place).await
            }
            Ask::Next => {
                let place = core.remote.served.places.lock().remove(&(self.from, self.id));
                self.chunk(place.ok_or(NotFetched::Gone)?).await
            }
            Ask::Count => {
                let counted = self.vouched(tenure, Fetched::Count(table.len())).await?;
                if table.is_current() { Ok(counted) } else { Err(NotFetched::Schema) }
            }
            Ask::Enough => Err(NotFetched::Gone),
        }
    }

    async fn key(&self, table: Arc<Table>, key: Key, at: At, tenure: u64) -> Result<Fetched, NotFetched> {
        let live = self.core.store.snapshot();
        let mut state = match at {
            At::Newest(_) => live.at(),
            At::Exactly(at) => at,
        };
        let exactly = matches!(at, At::Exactly(_));
        let look = Look { table: Arc::clone(&table), key: key.clone(), exactly };
        let on_disc = is_on_disc_alone(&self.core, &table);
        loop {
            let look = look.clone();
            let looked = if on_disc { elsewhere(move || look.look(state)).await } else { look.look(state) };
            match looked {
                Ok(found) => {
                    let rows =
                        found.map(|(body, version)| (key.clone(), body, version)).into_iter().collect();
                    drop(live);
                    return self.vouched(tenure, Fetched::Rows { at: state, rows, more: false }).await;
                }
                Err(Stop::Blocked(Blocked::Raise(to))) if !exactly => state = state.max(to),
                Err(stop) => self.on_stop(stop).await?,
            }
        }
    }

    /// The beginning of a range.
    async fn placed(
        &self,
        table: Arc<Table>,
        wanted: Wanted,
        at: At,
        tenure: u64,
    ) -> Result<Place, NotFetched> {
        let mut live: Snapshot = self.core.store.snapshot();
        if let At::Newest(_) = at {
            while let Err(blocked) = settled(&self.core.store, &mut live) {
                self.on_stop(Stop::Blocked(blocked)).await?;
            }
        }
        Ok(Place::begin(table, wanted, at, live, tenure))
    }

    async fn chunk(&self, mut place: Place) -> Result<Fetched, NotFetched> {
        loop {
            let (back, chunk) = elsewhere(move || {
                let chunk = place.chunk();
                (place, chunk)
            })
            .await;
            place = back;
            match chunk {
                Ok(rows) => {
                    let rows = self.vouched(place.tenure, rows).await?;
                    if matches!(rows, Fetched::Rows { more: true, .. }) {
                        self.core.remote.served.keep(self.from, self.id, place)?;
                    }
                    return Ok(rows);
                }
                Err(stop) => self.on_stop(stop).await?,
            }
        }
    }

    /// The answer, once a lease is held behind the reading.
    async fn vouched(&self, tenure: u64, answer: Fetched) -> Result<Fetched, NotFetched> {
        let vouched = self.core.vouch_async(tenure).await;
        vouched.map(|()| answer).map_err(|_| NotFetched::NotReady)
    }

    /// Waits for what can be waited for.
    async fn on_stop(&self, stop: Stop) -> Result<(), NotFetched> {
        match stop {
            Stop::Refused(why) => Err(why),
            Stop::Blocked(Blocked::Pending(txn)) => self.decided(&txn).await,
            Stop::Blocked(Blocked::Raise(_)) => Err(NotFetched::Changed),
            Stop::Blocked(Blocked::SchemaChanged(_)) => Err(NotFetched::Schema),
            Stop::Blocked(Blocked::Unreadable(unreadable)) => {
                // Perhaps the node stops for it, which it says itself.
                let _ = self.core.unreadable(&unreadable);
                Err(NotFetched::NotReady)
            }
        }
    }

    async fn decided(&self, txn: &Txn) -> Result<(), NotFetched> {
        let mut alarm = self.core.alarms.at(self.until);
        std::future::poll_fn(|context| {
            if txn.status.subscribe(context.waker()) != Status::Pending {
                return Poll::Ready(Ok(()));
            }
            if Instant::now() >= self.until {
                return Poll::Ready(Err(NotFetched::Pending(txn.id)));
            }
            alarm.wake(context.waker());
            Poll::Pending
        })
        .await
    }
}

/// A look at one key.
#[derive(Clone)]
struct Look {
    table: Arc<Table>,
    key: Key,
    exactly: bool,
}

impl Look {
    fn look(&self, at: Timestamp) -> Result<Option<(Body, Timestamp)>, Stop> {
        let found = self.table.read(&self.key, at)?;
        let unchanged = || self.table.is_key_unchanged(&self.key, at).map_err(Blocked::from);
        if self.exactly && !unchanged()? {
            return Err(Stop::Refused(NotFetched::Changed));
        }
        Ok(found)
    }
}

/// Whether a look at a key may have to wait for the disc.
fn is_on_disc_alone(core: &Core, table: &Table) -> bool {
    table.def().copy_on(core.me.node).is_some_and(|copy| matches!(copy.storage, Storage::DiscOnly { .. }))
}

#[cfg(test)]
mod tests {
    use hypermnesia_store::{Incarnation, NodeId, SchemaVersion, TableDef, TableId, Timestamp, Type, Value};

    use super::*;
    use crate::Node;

    fn asked(node: u32, id: u64, ask: Ask) -> Question {
        let from = Peer { node: NodeId(node), incarnation: Incarnation(1) };
        let (table, version, at) = (TableId(2), SchemaVersion::FIRST, At::Newest(Timestamp(1)));
        Question { from, epoch: 1, id, fetch: Fetch { table, version, at, ask, wait_ms: 1 } }
    }

    #[test]
    fn who_asks_too_much_is_refused_and_nobody_else() {
        // Aim: what waits to be answered is bounded for each member. Method: as many questions as may be, one more of the same and of
        // another member; one is answered, then one more goes. Who says that it has enough is never refused.
        let node = Node::builder().build().expect("an embedded node needs nothing");
        let served = Served::default();
        let take = |node_id, id, ask| served.on_fetch(&node.core, asked(node_id, id, ask));
        for id in 0..FETCHES_SERVED_MAX as u64 {
            assert!(take(2, id, Ask::Count).is_none());
        }
        let refusal = take(2, 1_000, Ask::Count);
        let overloaded =
            |answer: &Fetched| matches!(answer, Fetched::Refused { why: NotFetched::Overloaded, .. });
        assert!(
            matches!(&refusal, Some(Message::Fetched { id: 1_000, epoch: 1, answer }) if overloaded(answer)),
            "{refusal:?}"
        );
        assert!(take(3, 1, Ask::Count).is_none() && take(2, 5, Ask::Enough).is_none());
        served.answered(Peer { node: NodeId(2), incarnation: Incarnation(1) });
        assert!(take(2, 1_001, Ask::Count).is_none() && take(2, 1_002, Ask::Count).is_some());
    }

    #[test]
    fn what_cannot_be_answered_is_refused_by_its_reason() {
        // Aim: nobody decodes rows by another definition than theirs, and each refusal says what helps. Method: a node with one table is
        // asked for a row as it should be, by a newer definition, for a table and a place that are not there, by a clock that is days
        // ahead, and for the state of before a write.
        let node = Node::builder().build().expect("an embedded node needs nothing");
        let def = TableDef::builder("t").attribute("id", Type::Int).attribute("n", Type::Int);
        let table = node.create_table(def).expect("a good definition");
        table.insert(&[Value::Int(1), Value::Int(2)]).expect("written");
        let version = table.definition().expect("there").version;
        let key = || table.key(&[Value::Int(1)]).expect("a key");
        let now = node.core.store.clock().read();
        table.insert(&[Value::Int(1), Value::Int(3)]).expect("written");
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let read = |table, version, at, ask| {
            let from = asked(2, 1, Ask::Count).from;
            let serving = Serving { core: Arc::clone(&node.core), from, id: 1, until: Instant::now() };
            runtime.block_on(serving.read(Fetch { table, version, at, ask, wait_ms: 1 }))
        };
        let newest = At::Newest(now);
        let rows = read(table.id(), version, newest, Ask::Key(key()));
        assert!(matches!(rows, Ok(Fetched::Rows { rows, more: false, .. }) if rows.len() == 1));
        let days_ahead = At::Newest(Timestamp::from_wall_ms(now.wall_ms() + 1_000_000_000));
        for (table, version, at, ask, why) in [
            (table.id(), version.next(), newest, Ask::Key(key()), NotFetched::Schema),
            (TableId(999), version, newest, Ask::Key(key()), NotFetched::Schema),
            (table.id(), version, newest, Ask::Next, NotFetched::Gone),
            (table.id(), version, days_ahead, Ask::Key(key()), NotFetched::ClockAhead),
            (table.id(), version, At::Exactly(now), Ask::Key(key()), NotFetched::Changed),
        ] {
            assert_eq!(read(table, version, at, ask), Err(why));
        }
    }
}
