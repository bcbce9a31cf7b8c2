//! How nodes of Hypermnesia agree: two-phase commit over all replicas, epochs, flush, catch-up.
//!
//! This room is a function of state, event and time that hands out effects. It never waits, spawns, reads a clock or rolls
//! dice, and knows no sockets and no files, so a whole cluster runs in one thread from one seed. The protocol, its proof
//! obligations and what breaks how are in `docs/protocol.md`.
//!
//! | module | noun |
//! |---|---|
//! | [`replica`] | one node's part: the doors for events |
//! | [`message`], [`stream`] | what nodes say, and how it arrives once and in order |
//! | [`effect`] | what the engine is asked to do, and what callers hear |
//! | `coordinator`, `participant`, `shard` | a transaction, from both ends; where those under way are kept |
//! | [`outcome`] | what is remembered, until when, and who may hear it |
//! | [`epoch`], [`settle`] | memberships and the rule for what is in doubt |
//! | `flush`, `opening`, `era` | the change from one epoch to the next, and what a node believes of it |
//! | `catchup`, `own` | how a joiner gets its tables, whole or what differs; what it had before |
//! | [`fetch`] | rows for a node that has no copy of their table |
//! | `carried` | what stays in doubt from one epoch to the next |
//! | `tick`, [`time`] | what time alone brings about |
//! | [`register`] | what the control plane agrees on: who is enlisted, who is a member, which epoch is open |
//! | [`lease`] | who may read without asking, and when nobody does |
//! | [`suspicion`] | who may be gone: how unlikely a peer's silence is, and this process's own pauses |
//! | [`mesh`] | whom to exclude when links are missing |
//! | [`overseer`] | what the leader of the control plane makes of all that: the next epoch, and who is granted a lease |
//! | [`member`], [`slots`] | who takes part, and at which position |
//! | [`status`], [`limits`] | what people see; every bound |

mod carried;
mod catchup;
mod coordinator;
pub mod effect;
pub mod epoch;
mod era;
pub mod fetch;
mod flush;
mod holders;
mod lacks;
pub mod lease;
pub mod limits;
pub mod member;
pub mod mesh;
pub mod message;
mod opening;
pub mod outcome;
pub mod overseer;
mod own;
mod participant;
pub mod register;
pub mod replica;
mod serving;
pub mod settle;
mod shard;
pub mod slots;
pub mod status;
pub mod stream;
pub mod suspicion;
mod tick;
pub mod time;

pub use catchup::{Read, Reading, SCHEMA_TABLE};
pub use effect::{Effect, Event, Fact, LogState, LogToken, Reply, Sink, Unavailable, Why};
pub use epoch::{Agreement, Epoch, Opened, check_members, members_of};
pub use member::{Member, NodeSet, Peer};
pub use message::Message;
pub use outcome::Outcome;
pub use replica::{CommitRequest, Recovered, RecoveredPrepare, Replica, ReplicaConfig};
pub use slots::{Placed, SlotTaken, Slots, first_slots};
pub use status::{InDoubt, MemberStatus, Status};
pub use stream::{Arrival, Inbox, Outbox, OutboxFull};
pub use time::Now;
