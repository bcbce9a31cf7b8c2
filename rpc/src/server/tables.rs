//! The service `Tables`: each call hands its request to the door and turns an error into a status.

use std::pin::Pin;

use tokio_stream::Stream;
use tonic::{Request, Response, Status};

use super::Services;
use super::deadline::Deadline;
use crate::proto::tables_server::Tables;
use crate::proto::{
    AddAttributesRequest, AddAttributesResponse, AddCopyRequest, AddCopyResponse, AddIndexRequest,
    AddIndexResponse, BatchDeleteRequest, BatchDeleteResponse, BatchGetRequest, BatchGetResponse,
    BatchPutRequest, BatchPutResponse, ClearTableRequest, ClearTableResponse, CreateTableRequest,
    CreateTableResponse, DeleteRequest, DeleteResponse, DescribeTableRequest, DescribeTableResponse,
    DropCopyRequest, DropCopyResponse, DropIndexRequest, DropIndexResponse, DropTableRequest,
    DropTableResponse, GetRequest, GetResponse, ListTablesRequest, ListTablesResponse, MoveCopyRequest,
    MoveCopyResponse, PutRequest, PutResponse, RenameTableRequest, RenameTableResponse, ScanRequest,
    ScanResponse,
};

#[tonic::async_trait]
impl Tables for Services {
    type ScanStream = Pin<Box<dyn Stream<Item = Result<ScanResponse, Status>> + Send>>;

    async fn create_table(
        &self,
        request: Request<CreateTableRequest>,
    ) -> Result<Response<CreateTableResponse>, Status> {
        let (request, by) = self.admit(request).await?;
        Ok(Response::new(self.door.create_table(request, by).await?))
    }

    async fn drop_table(
        &self,
        request: Request<DropTableRequest>,
    ) -> Result<Response<DropTableResponse>, Status> {
        let (request, by) = self.admit(request).await?;
        Ok(Response::new(self.door.drop_table(request, by).await?))
    }

    async fn rename_table(
        &self,
        request: Request<RenameTableRequest>,
    ) -> Result<Response<RenameTableResponse>, Status> {
        let (request, by) = self.admit(request).await?;
        Ok(Response::new(self.door.rename_table(request, by).await?))
    }

    async fn add_copy(&self, request: Request<AddCopyRequest>) -> Result<Response<AddCopyResponse>, Status> {
        let (request, by) = self.admit(request).await?;
        Ok(Response::new(self.door.add_copy(request, by).await?))
    }

    async fn drop_copy(
        &self,
        request: Request<DropCopyRequest>,
    ) -> Result<Response<DropCopyResponse>, Status> {
        let (request, by) = self.admit(request).await?;
        Ok(Response::new(self.door.drop_copy(request, by).await?))
    }

    async fn move_copy(
        &self,
        request: Request<MoveCopyRequest>,
    ) -> Result<Response<MoveCopyResponse>, Status> {
        let (request, by) = self.admit(request).await?;
        Ok(Response::new(self.door.move_copy(request, by).await?))
    }

    async fn clear_table(
        &self,
        request: Request<ClearTableRequest>,
    ) -> Result<Response<ClearTableResponse>, Status> {
        let (request, by) = self.admit(request).await?;
        Ok(Response::new(self.door.clear_table(request, by).await?))
    }

    async fn add_attributes(
        &self,
        request: Request<AddAttributesRequest>,
    ) -> Result<Response<AddAttributesResponse>, Status> {
        let (request, by) = self.admit(request).await?;
        Ok(Response::new(self.door.add_attributes(request, by).await?))
    }

    async fn add_index(
        &self,
        request: Request<AddIndexRequest>,
    ) -> Result<Response<AddIndexResponse>, Status> {
        let (request, by) = self.admit(request).await?;
        Ok(Response::new(self.door.add_index(request, by).await?))
    }

    async fn drop_index(
        &self,
        request: Request<DropIndexRequest>,
    ) -> Result<Response<DropIndexResponse>, Status> {
        let (request, by) = self.admit(request).await?;
        Ok(Response::new(self.door.drop_index(request, by).await?))
    }

    async fn list_tables(
        &self,
        _request: Request<ListTablesRequest>,
    ) -> Result<Response<ListTablesResponse>, Status> {
        Ok(Response::new(ListTablesResponse { tables: self.door.tables() }))
    }

    async fn describe_table(
        &self,
        request: Request<DescribeTableRequest>,
    ) -> Result<Response<DescribeTableResponse>, Status> {
        let by = Deadline::of(request.metadata());
        let table = self.door.describe_by(&request.into_inner().table, by).await?;
        Ok(Response::new(DescribeTableResponse { table: Some(table) }))
    }

    async fn get(&self, request: Request<GetRequest>) -> Result<Response<GetResponse>, Status> {
        let (request, by) = self.admit(request).await?;
        Ok(Response::new(self.door.get(request, by).await?))
    }

    async fn put(&self, request: Request<PutRequest>) -> Result<Response<PutResponse>, Status> {
        let (request, by) = self.admit(request).await?;
        Ok(Response::new(self.door.put(request, by).await?))
    }

    async fn delete(&self, request: Request<DeleteRequest>) -> Result<Response<DeleteResponse>, Status> {
        let (request, by) = self.admit(request).await?;
        Ok(Response::new(self.door.delete(request, by).await?))
    }

    async fn batch_get(
        &self,
        request: Request<BatchGetRequest>,
    ) -> Result<Response<BatchGetResponse>, Status> {
        let (request, by) = self.admit(request).await?;
        Ok(Response::new(self.door.batch_get(request, by).await?))
    }

    async fn batch_put(
        &self,
        request: Request<BatchPutRequest>,
    ) -> Result<Response<BatchPutResponse>, Status> {
        let (request, by) = self.admit(request).await?;
        Ok(Response::new(self.door.batch_put(request, by).await?))
    }

    async fn batch_delete(
        &self,
        request: Request<BatchDeleteRequest>,
    ) -> Result<Response<BatchDeleteResponse>, Status> {
        let (request, by) = self.admit(request).await?;
        Ok(Response::new(self.door.batch_delete(request, by).await?))
    }

    async fn scan(&self, request: Request<ScanRequest>) -> Result<Response<Self::ScanStream>, Status> {
        let (request, by) = self.admit(request).await?;
        Ok(Response::new(Box::pin(self.door.scan(request, by).await?)))
    }
}
