//! The service `Sequences`.

use hypermnesia::Sequence;
use tonic::{Request, Response, Status};

use super::Services;
use super::door::{Door, check_items};
use crate::errors::Error;
use crate::proto::sequences_server::Sequences;
use crate::proto::{
    CurrentRequest, CurrentResponse, DropSequenceRequest, DropSequenceResponse, ListSequencesRequest,
    ListSequencesResponse, NextRequest, NextResponse, ResetRequest, ResetResponse, SequenceInfo,
    UniqueIdsRequest, UniqueIdsResponse,
};

#[tonic::async_trait]
impl Sequences for Services {
    async fn next(&self, request: Request<NextRequest>) -> Result<Response<NextResponse>, Status> {
        let (request, _) = self.admit(request).await?;
        let count = request.count.max(1);
        let sequence = self.door.sequence(&request.sequence)?;
        let block = sequence.next_block_async(count).await.map_err(Error::from)?;
        Ok(Response::new(NextResponse { first: block.start, count }))
    }

    async fn current(&self, request: Request<CurrentRequest>) -> Result<Response<CurrentResponse>, Status> {
        let (request, _) = self.admit(request).await?;
        let current = self.door.existing(&request.sequence)?.current().map_err(Error::from)?;
        Ok(Response::new(CurrentResponse { current }))
    }

    async fn reset(&self, request: Request<ResetRequest>) -> Result<Response<ResetResponse>, Status> {
        let (request, _) = self.admit(request).await?;
        self.door.existing(&request.sequence)?.reset(request.next).map_err(Error::from)?;
        Ok(Response::new(ResetResponse {}))
    }

    async fn drop_sequence(
        &self,
        request: Request<DropSequenceRequest>,
    ) -> Result<Response<DropSequenceResponse>, Status> {
        let (request, _) = self.admit(request).await?;
        self.door.node.drop_sequence(&request.sequence).map_err(Error::from)?;
        Ok(Response::new(DropSequenceResponse {}))
    }

    async fn list_sequences(
        &self,
        request: Request<ListSequencesRequest>,
    ) -> Result<Response<ListSequencesResponse>, Status> {
        self.admit(request).await?;
        let listed = self.door.node.sequences().map_err(Error::from)?.into_iter();
        let sequences = listed.map(|(name, current)| SequenceInfo { name, current }).collect();
        Ok(Response::new(ListSequencesResponse { sequences }))
    }

    async fn unique_ids(
        &self,
        request: Request<UniqueIdsRequest>,
    ) -> Result<Response<UniqueIdsResponse>, Status> {
        let count = request.into_inner().count.max(1);
        check_items(count as usize, "count")?;
        let ids = (0..count).map(|_| self.door.node.unique_id().as_bytes().to_vec()).collect();
        Ok(Response::new(UniqueIdsResponse { ids }))
    }
}

impl Door {
    /// A sequence, made if it is not there: looking for it is a read of local memory, making it a change of the schema.
    fn sequence(&self, name: &str) -> Result<Sequence, Error> {
        Ok(self.node.sequence(name)?)
    }

    fn existing(&self, name: &str) -> Result<Sequence, Error> {
        Ok(self.node.existing_sequence(name)?)
    }
}
