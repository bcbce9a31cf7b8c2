//! Hypermnesia over gRPC, package `hypermnesia.v1`.
//!
//! - [`proto`]: the generated messages and services. Their comments are the reference of the interface.
//! - [`Value`] and [`Error`]: values and errors as both sides see them; the one place where they turn into messages.
//! - `client`: the Rust client, with no engine behind it.
//! - `server`: the services over a running node.
//!
//! The interface is described in `docs/grpc.md`.

#[cfg(feature = "client")]
pub mod client;
pub mod errors;
pub mod limits;
pub mod proto;
#[cfg(feature = "server")]
pub mod server;
pub mod value;

pub use errors::{Error, ErrorKind};
pub use value::Value;
