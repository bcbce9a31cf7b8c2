//! What a caller may ask of one transaction, and which part of a table it wants to see.

use std::ops::{Bound, RangeBounds};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hypermnesia_store::disc::limits::SEGMENT_BYTES;
use hypermnesia_store::{Ack, Key, KeyRange, Retention, Row};

use crate::core::wall_ms;
use crate::error::{Error, Result};
use crate::limits::{
    CHECKPOINT_BYTES, DEADLINE_DEFAULT, RETRIES_DEFAULT, SEGMENT_BYTES_MAX, SEGMENT_BYTES_MIN,
};

/// How a data directory is written.
///
/// ```
/// use hypermnesia::{DiscOptions, Node};
/// let home = tempfile::tempdir()?;
/// let small = DiscOptions::new().segment_bytes(1 << 20).checkpoint_bytes(4 << 20);
/// let node = Node::builder().data_dir(home.path()).disc_options(small).build()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DiscOptions {
    /// Bytes of one segment of the commit log, a file that is allocated at once.
    pub segment_bytes: u64,
    /// Bytes of full segments after which they go into the image and are removed. A restart reads at most about this much
    /// and one segment of the log.
    pub checkpoint_bytes: u64,
}

impl Default for DiscOptions {
    fn default() -> DiscOptions {
        DiscOptions { segment_bytes: SEGMENT_BYTES, checkpoint_bytes: CHECKPOINT_BYTES }
    }
}

impl DiscOptions {
    /// The defaults: 16 MiB and 64 MiB.
    pub fn new() -> DiscOptions {
        DiscOptions::default()
    }

    /// Sets [`DiscOptions::segment_bytes`].
    #[must_use]
    pub fn segment_bytes(mut self, bytes: u64) -> DiscOptions {
        self.segment_bytes = bytes;
        self
    }

    /// Sets [`DiscOptions::checkpoint_bytes`].
    #[must_use]
    pub fn checkpoint_bytes(mut self, bytes: u64) -> DiscOptions {
        self.checkpoint_bytes = bytes;
        self
    }

    pub(crate) fn check(self) -> Result<()> {
        let (least, most) = (SEGMENT_BYTES_MIN, SEGMENT_BYTES_MAX);
        if (least..=most).contains(&self.segment_bytes) {
            return Ok(());
        }
        Err(Error::Config(format!(
            "log segments of {} bytes, from {least} to {most} are possible",
            self.segment_bytes
        )))
    }
}

/// Options of one transaction.
///
/// ```
/// use hypermnesia::TxOptions;
/// use std::time::{Duration, SystemTime, UNIX_EPOCH};
/// let careful = TxOptions::new().deadline(Duration::from_secs(2)).sync();
/// assert_eq!(careful.deadline, Duration::from_secs(2));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TxOptions {
    /// From begin to answer, retries included. Zero is over at once. At the commit, a coordinator that still misses a vote
    /// decides to abort 250 ms before the deadline, or a quarter of the time that was left if that is less, so that the
    /// abort is recorded when the caller hears of it: a transaction of half a second may end with
    /// [`Error::DeadlineExceeded`] after 375 ms. If no word comes at all, the answer is [`Error::Unknown`], at most two
    /// seconds after the deadline.
    pub deadline: Duration,
    /// How often it may run again after a conflict.
    pub retries: u32,
    /// Wait until every copy has applied it, not only promised to.
    pub sync: bool,
    /// At least this ack level, whatever the touched tables ask for.
    pub ack: Option<Ack>,
    /// Lock every row and range as it is read, from the first run on.
    pub locking: bool,
}

impl Default for TxOptions {
    fn default() -> TxOptions {
        TxOptions {
            deadline: DEADLINE_DEFAULT,
            retries: RETRIES_DEFAULT,
            sync: false,
            ack: None,
            locking: false,
        }
    }
}

impl TxOptions {
    /// The defaults: ten seconds, and as many retries as fit ([`crate::limits::RETRIES_DEFAULT`] bounds them).
    pub fn new() -> TxOptions {
        TxOptions::default()
    }

    /// With this deadline, counted from the begin of the first run.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> TxOptions {
        self.deadline = deadline;
        self
    }

    /// With at most this many retries.
    #[must_use]
    pub fn retries(mut self, retries: u32) -> TxOptions {
        self.retries = retries;
        self
    }

    /// Answered when every copy has applied it.
    #[must_use]
    pub fn sync(mut self) -> TxOptions {
        self.sync = true;
        self
    }

    /// With at least this ack level.
    #[must_use]
    pub fn ack(mut self, ack: Ack) -> TxOptions {
        self.ack = Some(ack);
        self
    }

    /// Locking as it reads.
    #[must_use]
    pub fn locking(mut self) -> TxOptions {
        self.locking = true;
        self
    }
}

/// How long a row lives that is put. A row past its deadline counts as absent in every read and on every copy, and is
/// removed soon after. Deadlines are moments of the cluster's clock in milliseconds: they survive restarts.
///
/// ```
/// use hypermnesia::{Lifetime, Node, TableDef, Type, Value};
/// use std::time::{Duration, SystemTime, UNIX_EPOCH};
///
/// let node = Node::builder().build()?;
/// let tokens = TableDef::builder("tokens").attribute("id", Type::Int).ttl(Duration::from_secs(3600));
/// let tokens = node.create_table(tokens)?;
/// tokens.insert(&[Value::Int(1)])?; // an hour, as the table says
/// tokens.insert_with(&[Value::Int(2)], Lifetime::For(Duration::from_secs(5)))?;
/// tokens.insert_with(&[Value::Int(3)], Lifetime::Forever)?;
/// assert!(tokens.deadline(&[Value::Int(1)])? > tokens.deadline(&[Value::Int(2)])?);
/// assert_eq!(tokens.deadline(&[Value::Int(3)])?, None);
/// # Ok::<(), hypermnesia::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Lifetime {
    /// The table's time to live, or no end if it has none.
    #[default]
    OfTable,
    /// So long from now, in whole milliseconds.
    For(Duration),
    /// Until this moment. One that has passed makes a row that nobody sees.
    Until(SystemTime),
    /// No end, whatever the table says.
    Forever,
}

impl Lifetime {
    /// The one that leaves a row as it is: until the deadline it has, or without end.
    pub fn of(row: &Row) -> Lifetime {
        let until = |ms| UNIX_EPOCH.checked_add(Duration::from_millis(ms)).map(Lifetime::Until);
        row.deadline_ms().and_then(until).unwrap_or(Lifetime::Forever)
    }

    /// The deadline in milliseconds since 1970 of a row that is put now.
    pub(crate) fn deadline_ms(self, retention: &Retention) -> Option<u64> {
        let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        match self {
            Lifetime::OfTable if retention.ttl_ms.is_none() => None,
            Lifetime::OfTable => retention.deadline_ms(wall_ms()),
            Lifetime::For(time) => Some(wall_ms().saturating_add(ms(time))),
            Lifetime::Until(moment) => Some(moment.duration_since(UNIX_EPOCH).map_or(0, ms)),
            Lifetime::Forever => None,
        }
    }
}

/// Which way to walk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Walk {
    /// From the smallest key.
    #[default]
    Forward,
    /// From the largest key.
    Backward,
}

impl From<Walk> for hypermnesia_store::Direction {
    fn from(walk: Walk) -> hypermnesia_store::Direction {
        match walk {
            Walk::Forward => hypermnesia_store::Direction::Forward,
            Walk::Backward => hypermnesia_store::Direction::Backward,
        }
    }
}

/// A part of a table or an index: a range of keys, a direction, a limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// Between which keys.
    pub range: KeyRange,
    /// Which way.
    pub walk: Walk,
    /// At most so many rows.
    pub limit: usize,
}

impl Span {
    /// Everything, forward.
    pub fn all() -> Span {
        Span::of(KeyRange::all())
    }

    /// A range of encoded keys, forward. [`DynTable::span`](crate::DynTable::span) makes one from values.
    pub fn of(range: KeyRange) -> Span {
        Span { range, walk: Walk::Forward, limit: usize::MAX }
    }

    /// Between two encoded keys, forward.
    pub fn between(bounds: impl RangeBounds<Key>) -> Span {
        let own = |bound: Bound<&Key>| bound.cloned();
        Span::of(KeyRange { start: own(bounds.start_bound()), end: own(bounds.end_bound()) })
    }

    /// Everything behind a key, forward.
    pub fn behind(key: Key) -> Span {
        Span::between((Bound::Excluded(key), Bound::Unbounded))
    }

    /// Everything before a key, backward.
    pub fn before(key: Key) -> Span {
        Span::between((Bound::Unbounded, Bound::Excluded(key))).backward()
    }

    /// From the largest key to the smallest.
    #[must_use]
    pub fn backward(mut self) -> Span {
        self.walk = Walk::Backward;
        self
    }

    /// At most this many rows.
    #[must_use]
    pub fn limit(mut self, rows: usize) -> Span {
        self.limit = rows;
        self
    }
}
