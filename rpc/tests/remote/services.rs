//! Aim: status, health and reflection answer over the same port, and the server stops when told. Method: their own clients.

use std::time::Duration;

use hypermnesia_rpc::ErrorKind;
use hypermnesia_rpc::client::{AttributeType, Client, TableSpec};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_request, server_reflection_response,
};

use crate::served::Served;

#[tokio::test(flavor = "multi_thread")]
async fn the_status_tells_members_and_tables() {
    let served = Served::with_accounts().await;
    let status = served.client.status().await.expect("answered");
    assert_eq!((status.name.as_str(), status.ready, status.tables.len()), ("n1", true, 1));
    assert!(status.epoch >= 1 && status.in_doubt.is_empty());
    let members = served.client.members().await.expect("answered");
    assert!(members.len() == 1 && members[0].itself && members[0].connected, "{members:?}");
    assert!(served.client.in_doubt().await.expect("answered").is_empty());
    served.client.wait_for_tables(["accounts"], Duration::from_secs(1)).await.expect("loaded");
    let unknown = served.client.wait_for_tables(["nothing"], Duration::from_millis(50)).await;
    assert!(unknown.is_err(), "there is no such table");
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn health_says_serving() {
    let served = Served::start().await;
    let mut health = HealthClient::new(served.client.channel());
    for service in ["", "hypermnesia"] {
        let mut watch =
            health.watch(HealthCheckRequest { service: service.into() }).await.expect("watched").into_inner();
        let serving = async {
            loop {
                let answer = watch.message().await.expect("answered").expect("no end");
                if answer.status() == ServingStatus::Serving {
                    return;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(10), serving).await.expect("it serves");
    }
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reflection_lists_every_service() {
    let served = Served::start().await;
    let mut reflection = ServerReflectionClient::new(served.client.channel());
    let list = server_reflection_request::MessageRequest::ListServices(String::new());
    let request = ServerReflectionRequest { host: String::new(), message_request: Some(list) };
    let mut answers =
        reflection.server_reflection_info(tokio_stream::once(request)).await.expect("answered").into_inner();
    let answer = answers.message().await.expect("answered").expect("one answer");
    let Some(server_reflection_response::MessageResponse::ListServicesResponse(list)) =
        answer.message_response
    else {
        panic!("not a list: {answer:?}");
    };
    let names: Vec<_> = list.service.into_iter().map(|service| service.name).collect();
    for name in ["Tables", "Transactions", "Query", "Operations", "Cluster"] {
        assert!(names.contains(&format!("hypermnesia.v1.{name}")), "{name} is missing in {names:?}");
    }
    assert!(names.contains(&"grpc.health.v1.Health".to_owned()), "{names:?}");
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_answer_is_unavailable() {
    let served = Served::start().await;
    let address = served.address.clone();
    assert!(served.node.clone().tables().is_empty());
    served.stop().await;
    let error = Client::connect(&address).await.expect_err("nobody listens any more");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    let lazy = Client::connect_lazy(&address).expect("an address");
    let spec = TableSpec::set("t").attribute("id", AttributeType::Int);
    assert_eq!(lazy.create_table(spec).await.expect_err("nobody listens").kind(), ErrorKind::Unavailable);
}
