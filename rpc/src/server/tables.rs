//! The service `Tables`: each call hands its request to the door and turns an error into a status.

use std::pin::Pin;

use tokio_stream::Stream;
use tonic::{Request, Response, Status};

use super::Services;
use crate::proto::tables_server::Tables;
use crate::proto::{
    AddIndexRequest, AddIndexResponse, BatchDeleteRequest, BatchDeleteResponse, BatchGetRequest,
    BatchGetResponse, BatchPutRequest, BatchPutResponse, CreateTableRequest, CreateTableResponse,
    DeleteRequest, DeleteResponse, DescribeTableRequest, DescribeTableResponse, DropIndexRequest,
    DropIndexResponse, DropTableRequest, DropTableResponse, GetRequest, GetResponse, ListTablesRequest,
    ListTablesResponse, PutRequest, PutResponse, ScanRequest, ScanResponse,
};

#[tonic::async_trait]
impl Tables for Services {
    type ScanStream = Pin<Box<dyn Stream<Item = Result<ScanResponse, Status>> + Send>>;

    async fn create_table(
        &self,
        request: Request<CreateTableRequest>,
    ) -> Result<Response<CreateTableResponse>, Status> {
        Ok(Response::new(self.door.create_table(request.into_inner()).await?))
    }

    async fn drop_table(
        &self,
        request: Request<DropTableRequest>,
    ) -> Result<Response<DropTableResponse>, Status> {
        Ok(Response::new(self.door.drop_table(request.into_inner()).await?))
    }

    async fn add_index(
        &self,
        request: Request<AddIndexRequest>,
    ) -> Result<Response<AddIndexResponse>, Status> {
        Ok(Response::new(self.door.add_index(request.into_inner()).await?))
    }

    async fn drop_index(
        &self,
        request: Request<DropIndexRequest>,
    ) -> Result<Response<DropIndexResponse>, Status> {
        Ok(Response::new(self.door.drop_index(request.into_inner()).await?))
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
        let table = self.door.describe(&request.into_inner().table)?;
        Ok(Response::new(DescribeTableResponse { table: Some(table) }))
    }

    async fn get(&self, request: Request<GetRequest>) -> Result<Response<GetResponse>, Status> {
        Ok(Response::new(self.door.get(request.into_inner()).await?))
    }

    async fn put(&self, request: Request<PutRequest>) -> Result<Response<PutResponse>, Status> {
        Ok(Response::new(self.door.put(request.into_inner()).await?))
    }

    async fn delete(&self, request: Request<DeleteRequest>) -> Result<Response<DeleteResponse>, Status> {
        Ok(Response::new(self.door.delete(request.into_inner()).await?))
    }

    async fn batch_get(
        &self,
        request: Request<BatchGetRequest>,
    ) -> Result<Response<BatchGetResponse>, Status> {
        Ok(Response::new(self.door.batch_get(request.into_inner()).await?))
    }

    async fn batch_put(
        &self,
        request: Request<BatchPutRequest>,
    ) -> Result<Response<BatchPutResponse>, Status> {
        Ok(Response::new(self.door.batch_put(request.into_inner()).await?))
    }

    async fn batch_delete(
        &self,
        request: Request<BatchDeleteRequest>,
    ) -> Result<Response<BatchDeleteResponse>, Status> {
        Ok(Response::new(self.door.batch_delete(request.into_inner()).await?))
    }

    async fn scan(&self, request: Request<ScanRequest>) -> Result<Response<Self::ScanStream>, Status> {
        Ok(Response::new(Box::pin(self.door.scan(request.into_inner()).await?)))
    }
}
