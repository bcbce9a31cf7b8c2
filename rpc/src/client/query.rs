//! The answer to a query.

use std::collections::VecDeque;

use tonic::Streaming;

use super::{Row, values};
use crate::proto::{self, execute_response::Part};
use crate::{Error, ErrorKind};

/// The rows of a query as they arrive. Dropping it ends the query at the server.
#[derive(Debug)]
pub struct QueryRows {
    stream: Streaming<proto::ExecuteResponse>,
    columns: Vec<String>,
    arrived: VecDeque<Row>,
    summary: Option<proto::QuerySummary>,
}

impl QueryRows {
    pub(super) async fn open(stream: Streaming<proto::ExecuteResponse>) -> Result<QueryRows, Error> {
        let mut rows = QueryRows { stream, columns: Vec::new(), arrived: VecDeque::new(), summary: None };
        match rows.part().await? {
            Part::Header(header) => rows.columns = header.columns,
            _ => {
                return Err(Error::new(
                    ErrorKind::Internal,
                    "the answer to a query did not begin with its header",
                ));
            }
        }
        Ok(rows)
    }

    /// Names of the columns; empty for statements that change rows.
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// The next row; `None` when the answer is complete. An answer that is cut off is an error, never a short answer.
    pub async fn next(&mut self) -> Result<Option<Row>, Error> {
        loop {
            if let Some(row) = self.arrived.pop_front() {
                return Ok(Some(row));
            }
            if self.summary.is_some() {
                return Ok(None);
            }
            match self.part().await? {
                Part::Batch(batch) => self.arrived.extend(values::rows(batch.rows)?),
                Part::Summary(summary) => self.summary = Some(summary),
                Part::Header(_) => {
                    return Err(Error::new(ErrorKind::Internal, "a second header in a query's answer"));
                }
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

    /// Reads to the end and tells how many rows were sent or, by INSERT, UPDATE and DELETE, changed.
    pub async fn finish(mut self) -> Result<u64, Error> {
        while self.next().await?.is_some() {}
        Ok(self.affected().unwrap_or_default())
    }

    /// Once [`next`](QueryRows::next) has returned `None`: how many rows were sent or changed.
    pub fn affected(&self) -> Option<u64> {
        self.summary.map(|summary| summary.rows)
    }

    /// Once [`next`](QueryRows::next) has returned `None`: how long the server worked on it, in microseconds.
    pub fn elapsed_us(&self) -> Option<u64> {
        self.summary.map(|summary| summary.elapsed_us)
    }

    async fn part(&mut self) -> Result<Part, Error> {
        let message = self.stream.message().await?;
        let part = message.and_then(|message| message.part);
        part.ok_or_else(|| Error::new(ErrorKind::Internal, "the answer to a query ended before its summary"))
    }
}
