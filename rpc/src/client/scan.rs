//! Which rows a scan asks for, and the stream of its answer.

use std::collections::vec_deque::VecDeque;

use tonic::Streaming;

use super::{Row, Values, values};
use crate::Error;
use crate::proto::{self, Direction};

/// Which rows to walk through, and how. Bounds may have fewer values than the key: they stand for all keys that begin so.
///
/// ```
/// use hypermnesia_rpc::client::Scan;
/// let newest_three = Scan::prefix("ada").descending().limit(3);
/// let from_b_to_before_d = Scan::all().from("b").before("d");
/// ```
#[derive(Clone, Debug, Default)]
pub struct Scan {
    index: String,
    range: proto::Range,
    descending: bool,
    limit: u64,
}

impl Scan {
    /// All rows.
    pub fn all() -> Scan {
        Scan::default()
    }

    /// The rows whose key (or index attributes) begins with these values.
    pub fn prefix(values: impl Into<Values>) -> Scan {
        let range = proto::Range { prefix: Some(values.into().into()), ..proto::Range::default() };
        Scan { range, ..Scan::default() }
    }

    /// From this key, itself included.
    pub fn from(mut self, values: impl Into<Values>) -> Scan {
        self.range.start = Some(bound(values.into(), false));
        self
    }

    /// From behind this key; to go on where an earlier scan ended.
    pub fn after(mut self, values: impl Into<Values>) -> Scan {
        self.range.start = Some(bound(values.into(), true));
        self
    }

    /// To this key, itself included.
    pub fn to(mut self, values: impl Into<Values>) -> Scan {
        self.range.end = Some(bound(values.into(), false));
        self
    }

    /// To before this key.
    pub fn before(mut self, values: impl Into<Values>) -> Scan {
        self.range.end = Some(bound(values.into(), true));
        self
    }

    /// Through an index; prefix and bounds are then about its attributes.
    pub fn index(mut self, name: impl Into<String>) -> Scan {
        self.index = name.into();
        self
    }

    /// From the greatest to the smallest.
    pub fn descending(mut self) -> Scan {
        self.descending = true;
        self
    }

    /// At most so many rows; 0 means all.
    pub fn limit(mut self, rows: u64) -> Scan {
        self.limit = rows;
        self
    }

    pub(super) fn into_message(self, table: String) -> proto::ScanRequest {
        let direction = if self.descending { Direction::Descending } else { Direction::Ascending };
        let range = Some(self.range);
        proto::ScanRequest { table, index: self.index, range, direction: direction.into(), limit: self.limit }
    }
}

fn bound(values: Values, exclusive: bool) -> proto::Bound {
    proto::Bound { values: crate::value::into_messages(values.0), exclusive }
}

/// The rows of a scan as they arrive. Dropping it ends the scan at the server.
#[derive(Debug)]
pub struct ScanRows {
    stream: Streaming<proto::ScanResponse>,
    arrived: VecDeque<Row>,
}

impl ScanRows {
    pub(super) fn new(stream: Streaming<proto::ScanResponse>) -> ScanRows {
        ScanRows { stream, arrived: VecDeque::new() }
    }

    /// The next row; `None` at the end of the range.
    pub async fn next(&mut self) -> Result<Option<Row>, Error> {
        loop {
            if let Some(row) = self.arrived.pop_front() {
                return Ok(Some(row));
            }
            match self.stream.message().await? {
                Some(part) => self.arrived.extend(values::rows(part.rows)?),
                None => return Ok(None),
            }
        }
    }

    /// All rows that are left.
    pub async fn collect(mut self) -> Result<Vec<Row>, Error> {
        let mut rows = Vec::new();
        while let Some(row) = self.next().await? {
            rows.push(row);
        }
        Ok(rows)
    }
}
