//! Sequences and unique ids.

use std::ops::Range;

use super::Client;
use crate::proto;
use crate::{Error, ErrorKind};

impl Client {
    /// The next number of a sequence, which is made if it is not there and begins at 1.
    pub async fn next(&self, sequence: impl Into<String>) -> Result<i64, Error> {
        Ok(self.next_block(sequence, 1).await?.start)
    }

    /// Numbers in a row that nobody else is given; at most 1,000,000.
    pub async fn next_block(&self, sequence: impl Into<String>, count: u32) -> Result<Range<i64>, Error> {
        let request = proto::NextRequest { sequence: sequence.into(), count };
        let response = self.sequences_client().next(request).await?.into_inner();
        Ok(response.first..response.first + i64::from(response.count))
    }

    /// The largest number of a sequence that may have been given out.
    pub async fn current(&self, sequence: impl Into<String>) -> Result<i64, Error> {
        let request = proto::CurrentRequest { sequence: sequence.into() };
        Ok(self.sequences_client().current(request).await?.into_inner().current)
    }

    /// Makes a sequence go on with a number.
    pub async fn reset_sequence(&self, sequence: impl Into<String>, next: i64) -> Result<(), Error> {
        let request = proto::ResetRequest { sequence: sequence.into(), next };
        self.sequences_client().reset(request).await.map(drop).map_err(Error::from)
    }

    /// Drops a sequence.
    pub async fn drop_sequence(&self, sequence: impl Into<String>) -> Result<(), Error> {
        let request = proto::DropSequenceRequest { sequence: sequence.into() };
        self.sequences_client().drop_sequence(request).await.map(drop).map_err(Error::from)
    }

    /// All sequences by name, each with the largest number that may have been given out.
    pub async fn sequences(&self) -> Result<Vec<(String, i64)>, Error> {
        let response = self.sequences_client().list_sequences(proto::ListSequencesRequest {}).await?;
        Ok(response.into_inner().sequences.into_iter().map(|one| (one.name, one.current)).collect())
    }

    /// Ids that nobody else is given, ascending, in the form of UUIDs of version 7; at most 10,000.
    pub async fn unique_ids(&self, count: u32) -> Result<Vec<[u8; 16]>, Error> {
        let response = self.sequences_client().unique_ids(proto::UniqueIdsRequest { count }).await?;
        let sixteen = |id: Vec<u8>| {
            let length = id.len();
            let wrong = |_| Error::new(ErrorKind::Internal, format!("an id of {length} bytes"));
            id.try_into().map_err(wrong)
        };
        response.into_inner().ids.into_iter().map(sixteen).collect()
    }
}
