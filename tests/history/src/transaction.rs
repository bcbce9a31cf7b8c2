//! One transaction as its client saw it.

use std::collections::BTreeMap;
use std::fmt;

/// What the client was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It happened.
    Ok,
    /// It surely did not, and never will.
    Failed,
    /// Nobody has said.
    Unknown,
}

/// What a read found under a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// Nothing, which is an empty list too.
    Nothing,
    /// A list.
    List(Vec<u64>),
    /// A register.
    Register(u64),
}

/// One step of a transaction. What a read found counts only when the transaction is [`Outcome::Ok`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Put `value` at the end of a list. No value is appended twice to one list.
    Append {
        /// The list.
        key: u64,
        /// What is appended.
        value: u64,
    },
    /// Read a list or a register.
    Read {
        /// Which one.
        key: u64,
        /// What was there.
        found: Found,
    },
    /// Replace a register that holds `old`. No value is written twice to one register. Blind writes are no part of
    /// histories, since nobody could tell in which order they took place.
    Swap {
        /// The register.
        key: u64,
        /// What it holds before; nothing: it is not there.
        old: Option<u64>,
        /// What it holds after.
        new: u64,
    },
    /// Move money.
    Transfer {
        /// The account it comes from.
        from: u64,
        /// The account it goes to.
        to: u64,
        /// How much; not below 0.
        amount: i64,
    },
    /// Read all accounts.
    Accounts(BTreeMap<u64, i64>),
    /// Add to the counter, which begins at 0.
    Add(i64),
    /// Read the counter.
    Counter(i64),
}

/// What one client asked for at once, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transaction {
    /// Which client. It has one transaction at a time; one that was told [`Outcome::Unknown`] goes on under another number.
    pub process: u64,
    /// When it was asked for, on a clock that all clients share; the unit does not matter.
    pub invoked: u64,
    /// When the client was told. For an unknown one it does not count.
    pub completed: u64,
    /// What the client was told.
    pub outcome: Outcome,
    /// Its steps in their order.
    pub ops: Vec<Op>,
    /// Anything about it that helps people, such as where it ran.
    pub note: String,
}

impl Transaction {
    /// Whether it may have happened by this moment.
    pub(crate) fn may_precede(&self, moment: u64) -> bool {
        self.outcome != Outcome::Failed && self.invoked <= moment
    }
}

impl fmt::Display for Transaction {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let outcome = match self.outcome {
            Outcome::Ok => "ok",
            Outcome::Failed => "failed",
            Outcome::Unknown => "unknown",
        };
        write!(out, "client {} from {} to {}, {outcome}", self.process, self.invoked, self.completed)?;
        if !self.note.is_empty() {
            write!(out, ", {}", self.note)?;
        }
        self.ops.iter().try_for_each(|op| write!(out, "; {op}"))
    }
}

impl fmt::Display for Op {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Op::Append { key, value } => write!(out, "append {value} to {key}"),
            Op::Read { key, found: Found::Nothing } => write!(out, "read {key}: nothing"),
            Op::Read { key, found: Found::List(list) } => write!(out, "read {key}: {list:?}"),
            Op::Read { key, found: Found::Register(value) } => write!(out, "read {key}: {value}"),
            Op::Swap { key, old: None, new } => write!(out, "swap {key} from nothing to {new}"),
            Op::Swap { key, old: Some(old), new } => write!(out, "swap {key} from {old} to {new}"),
            Op::Transfer { from, to, amount } => write!(out, "move {amount} from {from} to {to}"),
            Op::Accounts(balances) => write!(out, "accounts: {balances:?}"),
            Op::Add(by) => write!(out, "add {by}"),
            Op::Counter(sum) => write!(out, "counter: {sum}"),
        }
    }
}
