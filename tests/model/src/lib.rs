//! A model of how the nodes of Hypermnesia agree, small enough for many of its scenarios to be visited whole: two-phase commit over all
//! copies, the rule for aborts, epochs with fence and flush, leases under a control plane whose leaders change, joiners that
//! catch up while writes go on, and tables with copies on some nodes only. `docs/protocol.md` says the same in words.
//!
//! A [`Scenario`] says who is there, what is run and how much may go wrong; stateright visits every state that any order
//! of messages, faults and clock ticks leads to. [`Obligation`]s are looked at in each of them. A [`Mutant`] is a simpler text
//! that looks right and is wrong: each must be caught by the scenario that names it, else the model is too weak to trust.
//!
//! What is abstracted: the control plane is a register that a majority agrees on (openraft's part, tested for itself);
//! messages between two lives arrive once and in order, or not at all because one of the two is gone; a handler is one step.
//!
//! | module | noun |
//! |---|---|
//! | [`scenario`], [`mutant`] | what is run; what is planted |
//! | [`cluster`] | a state: nodes, messages, control plane, callers |
//! | [`action`] | what can happen next |
//! | `commit`, `flush`, `catchup`, `plane`, `reader` | what it leads to, part by part of the protocol |
//! | [`history`], [`obligation`] | what must hold: strict serializability, and the obligations by number |

pub mod action;
mod catchup;
pub mod cluster;
mod commit;
mod flush;
pub mod history;
pub mod mutant;
pub mod obligation;
mod plane;
mod reader;
pub mod scenario;
pub mod scenarios;

pub use action::Action;
pub use cluster::Cluster;
pub use mutant::Mutant;
pub use obligation::{Obligation, Sight};
pub use scenario::{Faults, Read, Scenario, Transaction};
