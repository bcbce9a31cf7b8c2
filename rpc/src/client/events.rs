//! Watching a table, and the member.

use std::collections::VecDeque;

use tonic::Streaming;

use super::{Client, Row, values};
use crate::proto::{self, WatchMemberResponse};
use crate::{Error, ErrorKind};

/// From where on a table is watched, and what is told.
///
/// ```
/// use hypermnesia_rpc::client::Watch;
/// let all_there_is = Watch::new().with_rows();
/// let again = Watch::new().with_old_rows().from("1.1763800000000.16.1.0.42");
/// ```
#[derive(Clone, Debug, Default)]
pub struct Watch {
    old_rows: bool,
    rows: bool,
    from: String,
}

impl Watch {
    /// Changes from now on.
    pub fn new() -> Watch {
        Watch::default()
    }

    /// Changes tell the rows that were there before, too.
    pub fn with_old_rows(mut self) -> Watch {
        self.old_rows = true;
        self
    }

    /// Begins with the rows that are there, all of one instant; then come the changes behind it.
    pub fn with_rows(mut self) -> Watch {
        self.rows = true;
        self
    }

    /// Goes on behind a position of another watch of the table at this member: [`Changes::position`]. Fails with
    /// [`ErrorKind::Expired`](crate::ErrorKind::Expired) when the changes behind it were not kept.
    pub fn from(mut self, position: impl Into<String>) -> Watch {
        self.from = position.into();
        self
    }
}

/// What a watch tells next.
#[derive(Clone, Debug, PartialEq)]
pub enum Watched {
    /// A row that was there, and the version of the definition whose attributes it has.
    Row(Row, u32),
    /// All rows that were there have come.
    Complete,
    /// A key of the table changed.
    Change(TableChange),
    /// The reader was too slow: so many changes were dropped before the next one.
    Missed(u64),
}

/// A change of what one key holds.
#[derive(Clone, Debug, PartialEq)]
pub struct TableChange {
    /// Counts the table's changes at the member.
    pub sequence: u64,
    /// Timestamp of the commit.
    pub committed_at: u64,
    /// The key.
    pub key: Row,
    /// What it holds now: no row when it was deleted; of a bag all rows of the key.
    pub rows: Vec<Row>,
    /// What it held before, where that was asked for.
    pub old_rows: Vec<Row>,
    /// Version of the definition whose attributes the rows have: [`TableDefinition::version`](super::TableDefinition).
    pub definition: u32,
    /// That of the old rows.
    pub old_definition: u32,
}

/// Changes of a table as they come. Dropping it ends the watch at the member, which expects it back for a minute.
#[derive(Debug)]
pub struct Changes {
    answers: Streaming<proto::WatchResponse>,
    /// Where it began, without the last number.
    stream: String,
    /// The last number.
    after: u64,
    /// Rows that were there are on their way.
    begins: bool,
    /// Version of the definition whose attributes these have.
    definition: u32,
    arrived: VecDeque<Watched>,
}

impl Changes {
    /// What comes next. A watch has no end but an error: [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) when the table was
    /// dropped, [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) when the member stops or the connection breaks.
    pub async fn next(&mut self) -> Result<Watched, Error> {
        loop {
            if let Some(watched) = self.arrived.pop_front() {
                match &watched {
                    Watched::Change(change) => self.after = change.sequence,
                    Watched::Missed(count) => self.after += count,
                    Watched::Complete => self.begins = false,
                    Watched::Row(..) => (),
                }
                return Ok(watched);
            }
            let part = self.answers.message().await?;
            self.take(part.ok_or_else(|| Error::new(ErrorKind::Unavailable, "the watch has ended"))?)?;
        }
    }

    /// Where it stands: behind the change that was taken last, for [`Watch::from`]. While rows that were there come there is
    /// nothing to go on from.
    pub fn position(&self) -> Option<String> {
        (!self.begins).then(|| format!("{}.{}", self.stream, self.after))
    }

    fn take(&mut self, part: proto::WatchResponse) -> Result<(), Error> {
        if part.missed > 0 {
            self.arrived.push_back(Watched::Missed(part.missed));
        }
        let definition = self.definition;
        self.arrived.extend(values::rows(part.rows)?.into_iter().map(|row| Watched::Row(row, definition)));
        if part.rows_complete {
            self.arrived.push_back(Watched::Complete);
        }
        for change in part.changes {
            let key = proto::Row { values: change.key.unwrap_or_default().values };
            self.arrived.push_back(Watched::Change(TableChange {
                sequence: change.sequence,
                committed_at: change.committed_at,
                key: values::rows(vec![key])?.into_iter().next().unwrap_or_default(),
                rows: values::rows(change.rows)?,
                old_rows: values::rows(change.old_rows)?,
                definition: change.definition,
                old_definition: change.old_definition,
            }));
        }
        Ok(())
    }
}

/// What happens to a member, as it happens.
#[derive(Debug)]
pub struct MemberEvents {
    stream: Streaming<WatchMemberResponse>,
}

impl MemberEvents {
    /// What happens next; fails with [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) when the member stops.
    pub async fn next(&mut self) -> Result<WatchMemberResponse, Error> {
        let ended = || Error::new(ErrorKind::Unavailable, "the watch has ended");
        self.stream.message().await?.ok_or_else(ended)
    }
}

impl Client {
    /// Watches a table: its changes as they are committed at the connected member, each once.
    ///
    /// ```no_run
    /// use hypermnesia_rpc::client::{Client, Watch, Watched};
    ///
    /// # async fn example() -> Result<(), hypermnesia_rpc::Error> {
    /// let client = Client::connect("127.0.0.1:7400").await?;
    /// let mut changes = client.watch("people", Watch::new().with_rows()).await?;
    /// loop {
    ///     match changes.next().await? {
    ///         Watched::Row(row, _) => println!("is there: {row:?}"),
    ///         Watched::Change(change) => println!("{:?} holds {:?}", change.key, change.rows),
    ///         Watched::Complete => println!("that was all"),
    ///         Watched::Missed(count) => println!("too slow for {count} changes"),
    ///     }
    /// }
    /// # }
    /// ```
    pub async fn watch(&self, table: impl Into<String>, watch: Watch) -> Result<Changes, Error> {
        let Watch { old_rows, rows, from } = watch;
        let request = proto::WatchRequest { table: table.into(), old_rows, rows, from };
        let mut answers = self.events_client().watch(request).await?.into_inner();
        let wrong = || Error::new(ErrorKind::Internal, "the member did not say where the watch begins");
        let first = answers.message().await?.ok_or_else(wrong)?;
        let (stream, after) = first.position.rsplit_once('.').ok_or_else(wrong)?;
        let after = after.parse().map_err(|_| wrong())?;
        let stream = stream.to_owned();
        let (arrived, definition) = (VecDeque::new(), first.definition);
        let mut changes = Changes { answers, stream, after, begins: rows, definition, arrived };
        changes.take(first)?;
        Ok(changes)
    }

    /// Watches the connected member: members that come and go, epochs, tables that are loaded.
    pub async fn watch_member(&self) -> Result<MemberEvents, Error> {
        let stream = self.events_client().watch_member(proto::WatchMemberRequest {}).await?.into_inner();
        Ok(MemberEvents { stream })
    }
}
