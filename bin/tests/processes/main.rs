//! The program as its users meet it: real processes, real sockets on free ports, own data directories. Every process is
//! ended by its handle when a test ends, also when the test fails.

mod backups;
mod cluster;
mod commands;
mod deadlines;
mod development;
mod failover;
mod files;
mod growth;
#[path = "../../../tests/shared/loopback.rs"]
mod loopback;
mod manners;
mod metrics;
mod patterns;
mod program;
mod requests;
mod security;
mod single;
#[path = "../../../tests/shared/until.rs"]
mod until;
mod watch;
