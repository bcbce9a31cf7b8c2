//! Three nodes in one process over loopback: what the library promises about a cluster.

mod agree;
mod disc;
mod identity;
mod trio;
