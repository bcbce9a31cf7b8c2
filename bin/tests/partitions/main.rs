//! Clusters of real processes, each member in a network namespace of its own, with clients beside each that record what
//! they see; members are killed and stopped, links are cut, and the record is judged. By hand for longer:
//! `HMN_PARTITIONS_SECONDS=60 HMN_PARTITIONS_SEEDS=5 cargo test -p hypermnesia-cli --test partitions`; docs/trust.md has more.
//!
//! Thresholds below half a second fire for no reason when several processes share few processors. So what happens here
//! takes seconds, and what depends on moments is simulated (`replication/tests/simulation`).

mod client;
mod cluster;
mod inside;
mod judge;
mod member;
mod network;
mod record;
mod scenarios;
