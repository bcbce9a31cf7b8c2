//! Aim: whoever speaks HTTP/2, gRPC or protobuf wrongly is refused or closed within bounds, changes nothing, keeps nobody
//! out and leaves nothing behind (faults 20). Method: bytes by hand on plain sockets, beside a real client that is served
//! all the while.

mod frames;
mod messages;
#[path = "../remote/served.rs"]
#[expect(dead_code, reason = "of what another binary uses too")]
mod served;
mod victim;
mod wire;
