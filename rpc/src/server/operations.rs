//! The pipelined stream. Operations run side by side, as many at a time as [`OPERATIONS_IN_FLIGHT`]; while that many are
//! under way nothing more is read, so HTTP/2 tells the client to wait. The stream's end drops what is under way.

use std::pin::Pin;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::Services;
use super::deadline::Deadline;
use super::door::Door;
use crate::errors::Error;
use crate::limits::OPERATIONS_IN_FLIGHT;
use crate::proto::operations_server::Operations;
use crate::proto::{OperateRequest, OperateResponse, operate_request::Operation, operate_response::Answer};

/// Answers that wait for the socket.
const ANSWERS_QUEUED: usize = 256;

type Answers = mpsc::Sender<Result<OperateResponse, Status>>;

#[tonic::async_trait]
impl Operations for Services {
    type OperateStream = Pin<Box<dyn Stream<Item = Result<OperateResponse, Status>> + Send>>;

    async fn operate(
        &self,
        request: Request<Streaming<OperateRequest>>,
    ) -> Result<Response<Self::OperateStream>, Status> {
        let (answers, outgoing) = mpsc::channel(ANSWERS_QUEUED);
        tokio::spawn(run(Arc::clone(&self.door), request.into_inner(), answers));
        Ok(Response::new(Box::pin(ReceiverStream::new(outgoing))))
    }
}

async fn run(door: Arc<Door>, mut requests: Streaming<OperateRequest>, answers: Answers) {
    let mut running = JoinSet::new();
    loop {
        while running.try_join_next().is_some() {}
        if running.len() >= OPERATIONS_IN_FLIGHT {
            running.join_next().await;
        }
        let request = tokio::select! {
            request = requests.message() => request,
            () = answers.closed() => return,
        };
        match request {
            Ok(Some(request)) => {
                let (door, answers) = (Arc::clone(&door), answers.clone());
                running.spawn(async move {
                    let answer = operate(&door, request.operation)
                        .await
                        .unwrap_or_else(|error| Answer::Failed(error.into_message()));
                    // A client that has gone wants no answer.
                    let _ = answers.send(Ok(OperateResponse { id: request.id, answer: Some(answer) })).await;
                });
            }
            Ok(None) => break,
            // The client has reset the stream: nobody hears the rest.
            Err(_) => return,
        }
    }
    while running.join_next().await.is_some() {}
}

async fn operate(door: &Arc<Door>, operation: Option<Operation>) -> Result<Answer, Error> {
    // The stream is open for as long as its client likes: its operations take what they take by default.
    let by = Deadline::default();
    match operation.ok_or_else(|| Error::invalid("operation", "is required"))? {
        Operation::Get(request) => door.get(request, by).await.map(Answer::Get),
        Operation::Put(request) => door.put(request, by).await.map(Answer::Put),
        Operation::Delete(request) => door.delete(request, by).await.map(Answer::Delete),
        Operation::BatchGet(request) => door.batch_get(request, by).await.map(Answer::BatchGet),
        Operation::BatchPut(request) => door.batch_put(request, by).await.map(Answer::BatchPut),
        Operation::BatchDelete(request) => door.batch_delete(request, by).await.map(Answer::BatchDelete),
        Operation::Transact(request) => door.transact(request, by).await.map(Answer::Transact),
    }
}
