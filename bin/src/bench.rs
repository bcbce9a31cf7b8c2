//! Measuring: workloads of transactions in closed loops, on a cluster of processes of our own or on a running one, in the
//! shapes and the line format of `benches/peers`, so that figures of one run stand beside each other.

pub(crate) mod bank;
pub(crate) mod cluster;
pub(crate) mod echo;
pub(crate) mod failover;
pub(crate) mod figure;
pub(crate) mod ledger;
pub(crate) mod member;
pub(crate) mod records;
pub(crate) mod rejoin;
pub(crate) mod remote;
pub(crate) mod run;
pub(crate) mod tasks;
pub(crate) mod threads;
pub(crate) mod workload;
