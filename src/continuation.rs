//! Reading by a pattern in chunks, for callers that take their time. A continuation pins one snapshot: what others write
//! between two chunks is not seen, and no row is given twice or left out. Since it keeps old versions alive it may lie idle
//! and grow old only so long ([`CONTINUATION_IDLE_MAX`], [`CONTINUATION_AGE_MAX`]); past that the node lets the snapshot go by
//! itself, and the next call hears [`Error::Expired`].

use std::collections::HashMap;
use std::marker::PhantomData;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use hypermnesia_query::Pattern;
use hypermnesia_store::{Row, Table as Open};
use parking_lot::Mutex;

use crate::core::Core;
use crate::error::{Error, Result};
use crate::limits::{CONTINUATION_AGE_MAX, CONTINUATION_IDLE_MAX, CONTINUATIONS_MAX};
use crate::pattern::{Walker, plan};
use crate::shape::Shape;
use crate::snapshot::Snapshot;
use crate::table::Table;

/// The rest of the rows of a pattern, to be read chunk by chunk, all of one snapshot. Dropping it releases the snapshot at
/// once, and so does its end.
///
/// ```
/// use hypermnesia::{Filter, Node, TableDef, Type, Value};
/// let node = Node::builder().build()?;
/// let jobs = node.create_table(TableDef::builder("jobs").attribute("id", Type::Int).attribute("done", Type::Bool))?;
/// for id in 0..5 {
///     jobs.insert(&[Value::Int(id), Value::Bool(false)])?;
/// }
/// let mut open = jobs.chunks(Filter::equal("done", false), 2)?;
/// let mut sizes = Vec::new();
/// while let Some(chunk) = open.next_chunk()? {
///     for job in &chunk {
///         jobs.update_attributes(&job[..1], &[("done", Value::Bool(true))])?; // not seen by the chunks that follow
///     }
///     sizes.push(chunk.len());
/// }
/// assert_eq!(sizes, [2, 2, 1]);
/// # Ok::<(), hypermnesia::Error>(())
/// ```
pub struct Continuation<S> {
    core: Arc<Core>,
    open: Arc<Open>,
    held: Arc<Held>,
    rows: usize,
    shape: PhantomData<fn() -> S>,
}

/// What the node may let go.
struct Held {
    id: u64,
    began: Instant,
    /// Held by its owner for one chunk, by the node for a look; never together with another lock of the engine.
    state: Mutex<State>,
}

enum State {
    Open(Box<Walking>),
    /// Every row was given.
    Through,
    Over(Error),
}

struct Walking {
    snapshot: Snapshot,
    walker: Walker,
    used: Instant,
}

impl Held {
    /// Which limit has been met.
    fn limit_met(&self, used: Instant, now: Instant) -> Option<Error> {
        let expired = |how, limit| Error::Expired { what: "continuation", how, limit };
        let passed = |since: Instant, limit: Duration| now.saturating_duration_since(since) >= limit;
        if passed(used, CONTINUATION_IDLE_MAX) {
            return Some(expired("idle", CONTINUATION_IDLE_MAX));
        }
        passed(self.began, CONTINUATION_AGE_MAX).then(|| expired("open", CONTINUATION_AGE_MAX))
    }
}

/// The open continuations of a node.
#[derive(Default)]
pub(crate) struct Continuations {
    /// Guards the list for a map operation. A continuation is owned by whoever reads it; this only knows it.
    list: Mutex<List>,
}

#[derive(Default)]
struct List {
    next: u64,
    held: HashMap<u64, Weak<Held>>,
}

impl Continuations {
    fn enter(&self, walking: Walking, now: Instant) -> Result<Arc<Held>> {
        let mut list = self.list.lock();
        if list.held.len() >= CONTINUATIONS_MAX {
            return Err(Error::Overloaded { what: "open continuations" });
        }
        list.next += 1;
        let state = Mutex::new(State::Open(Box::new(walking)));
        let held = Arc::new(Held { id: list.next, began: now, state });
        list.held.insert(held.id, Arc::downgrade(&held));
        Ok(held)
    }

    fn leave(&self, held: &Held) {
        self.list.lock().held.remove(&held.id);
    }

    /// How many are open.
    pub(crate) fn len(&self) -> usize {
        self.list.lock().held.len()
    }

    /// Lets go of those that have met a limit. One that is being read is left to its reader, who looks too.
    pub(crate) fn expire(&self, now: Instant) {
        let all: Vec<Arc<Held>> = self.list.lock().held.values().filter_map(Weak::upgrade).collect();
        for held in all {
            let Some(mut state) = held.state.try_lock() else { continue };
            if let State::Open(walking) = &*state
                && let Some(error) = held.limit_met(walking.used, now)
            {
                *state = State::Over(error);
                drop(state);
                self.leave(&held);
            }
        }
    }
}

impl<S: Shape> Table<S> {
    /// The rows of a pattern in chunks of so many (0 counts as 1), all of one snapshot, taken now.
    ///
    /// # Errors
    /// As [`Table::matching`]; [`Error::Overloaded`] when as many are open on this node as may be.
    pub fn chunks(&self, pattern: impl Into<Pattern>, rows: usize) -> Result<Continuation<S>> {
        let snapshot = Snapshot::take(&self.core)?;
        let open = self.open()?;
        self.core.check_copy(open.def())?;
        let walker = Walker::new(&open, plan(&open, &pattern.into())?)?;
        let now = Instant::now();
        let held = self.core.continuations.enter(Walking { snapshot, walker, used: now }, now)?;
        let core = Arc::clone(&self.core);
        Ok(Continuation { core, open: Arc::clone(&open), held, rows: rows.max(1), shape: PhantomData })
    }
}

impl<S: Shape> Continuation<S> {
    /// The next rows, as many as a chunk has unless they are the last; `None` when all were given. Reads memory only and waits
    /// for nobody.
    ///
    /// # Errors
    /// [`Error::Expired`] past a limit, [`Error::SchemaChanged`] when the table's definition has changed, [`Error::Closed`]:
    /// the continuation has ended then. Nothing changed; start again. [`Error::Query`] for a row that the filter cannot be
    /// worked out for.
    pub fn next_chunk(&mut self) -> Result<Option<Vec<S::Shown>>> {
        let rows = self.next_rows(Instant::now())?;
        let shown = |rows: Vec<Row>| rows.iter().map(|row| S::decode(self.open.def(), row)).collect();
        rows.map(shown).transpose()
    }

    /// Whether it has ended: every row was given, or an error ended it.
    pub fn is_ended(&self) -> bool {
        !matches!(*self.held.state.lock(), State::Open(_))
    }

    fn next_rows(&self, now: Instant) -> Result<Option<Vec<Row>>> {
        let mut state = self.held.state.lock();
        let walking = match &mut *state {
            State::Open(walking) => walking,
            State::Through => return Ok(None),
            State::Over(error) => return Err(error.clone()),
        };
        let read = match self.held.limit_met(walking.used, now) {
            Some(error) => Err(error),
            None => self.core.check_open().and_then(|()| walking.read(self.rows)),
        };
        let ended = match &read {
            Ok(rows) if rows.len() == self.rows => None,
            Ok(_) => Some(State::Through),
            Err(error) => Some(State::Over(error.clone())),
        };
        match ended {
            // Counted from the end of the work on it: the time in between is the caller's.
            None => walking.used = Instant::now().max(now),
            Some(ended) => {
                *state = ended;
                drop(state);
                self.core.continuations.leave(&self.held);
            }
        }
        read.map(|rows| (!rows.is_empty()).then_some(rows))
    }
}

impl Walking {
    fn read(&mut self, most: usize) -> Result<Vec<Row>> {
        let mut rows = Vec::new();
        while rows.len() < most
            && let Some((_, row)) = self.walker.next(&self.snapshot)?
        {
            rows.push(row);
        }
        Ok(rows)
    }
}

impl<S> Drop for Continuation<S> {
    fn drop(&mut self) {
        self.core.continuations.leave(&self.held);
    }
}

impl<S> std::fmt::Debug for Continuation<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Continuation")
            .field("table", &self.open.def().name)
            .field("rows", &self.rows)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    //! Aim: what pins a snapshot lets it go at its limits, by itself, and says so. Method: the moment is passed in, so no
    //! test waits; live snapshots are counted from outside.

    use super::*;
    use crate::{DynTable, Filter, Node, TableDef, Type, Value};

    fn ten() -> (Node, DynTable) {
        let node = Node::builder().build().expect("embedded");
        let table = node.create_table(TableDef::builder("t").attribute("id", Type::Int)).expect("new");
        (0..10).for_each(|id| table.insert(&[Value::Int(id)]).expect("fits"));
        (node, table)
    }

    fn pinned(node: &Node) -> (usize, usize) {
        let status = node.status();
        (status.continuations, status.snapshots)
    }

    #[test]
    fn an_idle_one_is_let_go_by_the_node_and_says_so() {
        let (node, table) = ten();
        let mut idle = table.chunks(Filter::everything(), 3).expect("opens");
        assert_eq!(idle.next_chunk().expect("open").map(|rows| rows.len()), Some(3));
        assert_eq!(pinned(&node), (1, 1));
        let now = Instant::now();
        table.core.continuations.expire(now + CONTINUATION_IDLE_MAX / 2);
        assert_eq!(pinned(&node), (1, 1), "not yet");
        table.core.continuations.expire(now + CONTINUATION_IDLE_MAX);
        assert_eq!(pinned(&node), (0, 0), "nobody had to call it");
        for _ in 0..2 {
            let error = idle.next_chunk().expect_err("it is over");
            assert!(matches!(error, Error::Expired { how: "idle", .. }), "{error}");
        }
        assert!(idle.is_ended());
    }

    #[test]
    fn one_that_is_used_ends_at_its_age() {
        let (node, table) = ten();
        let old = table.chunks(Filter::everything(), 1).expect("opens");
        let began = Instant::now();
        assert!(old.next_rows(began + CONTINUATION_IDLE_MAX / 2).expect("open").is_some());
        if let State::Open(walking) = &mut *old.held.state.lock() {
            walking.used = began + CONTINUATION_AGE_MAX - Duration::from_secs(1);
        }
        let error = old.next_rows(began + CONTINUATION_AGE_MAX).expect_err("too old");
        assert!(matches!(error, Error::Expired { how: "open", .. }), "{error}");
        assert_eq!(pinned(&node), (0, 0));
    }

    #[test]
    fn its_end_and_its_drop_release_at_once() {
        let (node, table) = ten();
        let mut through = table.chunks(Filter::everything(), 10).expect("opens");
        assert_eq!(through.next_chunk().expect("open").map(|rows| rows.len()), Some(10));
        assert_eq!(pinned(&node), (1, 1), "there may be more");
        assert_eq!(through.next_chunk().expect("through"), None);
        assert_eq!(pinned(&node), (0, 0));
        assert_eq!(through.next_chunk().expect("stays through"), None);
        let dropped = table.chunks(Filter::everything(), 1).expect("opens");
        assert_eq!(pinned(&node), (1, 1));
        drop(dropped);
        assert_eq!(pinned(&node), (0, 0));
    }

    #[test]
    fn only_so_many_are_open_at_a_time() {
        let (node, table) = ten();
        let open = || table.chunks(Filter::everything(), 1);
        let all: Vec<_> = (0..CONTINUATIONS_MAX).map(|_| open().expect("there is room")).collect();
        assert!(matches!(open(), Err(Error::Overloaded { .. })));
        assert_eq!(pinned(&node).0, CONTINUATIONS_MAX);
        drop(all);
        assert!(open().is_ok());
    }
}
