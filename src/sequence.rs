//! Sequences: numbers that are given out once. What is kept, on every member and on disc wherever there is one, is the next
//! number that nobody has reserved. A node reserves a block at a time and gives its numbers out from memory; what a node has
//! reserved when it ends is given out by nobody. A crash therefore leaves a gap and never a number twice.
//!
//! A sequence is a row of the schema table, because that one is on every member and is logged wherever there is a log: its
//! number is below 0 (tables have those above), its name begins with a character that no table's name may have. A reset
//! counts up the generation, which every number is compared with when it is given out: a block of an earlier generation is
//! dropped then, on whichever node it lies.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use hypermnesia_store::limits::NAME_BYTES_MAX;
use hypermnesia_store::work::{LockMode, Op};
use hypermnesia_store::{
    Body, Key, Row, SCHEMA_TABLE, SchemaError, SchemaVersion, Table as Open, Value, ValueRef,
};
use parking_lot::Mutex;

use crate::async_transaction;
use crate::attempt::{Attempt, Step};
use crate::core::Core;
use crate::error::{Error, Result};
use crate::limits::{SEQUENCE_BLOCK, SEQUENCE_BLOCK_MAX};
use crate::options::TxOptions;
use crate::transaction;

mod manage;

pub(crate) use manage::{Sequences, backed_up, check_backed_up, raise};

/// The first character of the name of a sequence's row, which no table's name may have.
const MARK: char = '\u{1}';

/// Format of a row's state.
const FORMAT: u8 = 1;

/// A sequence of numbers, from 1 on. Cheap to clone; every handle of a node takes from the same block. See
/// [`Node::sequence`](crate::Node::sequence).
///
/// *Guaranteed*: no number is given out twice, on any member, through crashes and restarts, as long as at least one member
/// keeps what it knew (a data directory on any member, or one member that is up all the time). On one node numbers grow from
/// call to call. *Not guaranteed*: that there are no gaps, and that a number taken later on another node is larger.
///
/// ```
/// use hypermnesia::Node;
/// let node = Node::builder().build()?;
/// let invoices = node.sequence("invoices")?;
/// assert_eq!((invoices.next()?, invoices.next()?), (1, 2));
/// assert_eq!(invoices.next_block(10)?, 3..13);
/// invoices.reset(1_000)?;
/// assert_eq!(invoices.next()?, 1_000);
/// # Ok::<(), hypermnesia::Error>(())
/// ```
#[derive(Clone)]
pub struct Sequence {
    core: Arc<Core>,
    shared: Arc<Shared>,
}

/// What the handles of a node share.
pub(crate) struct Shared {
    name: String,
    /// Of its row.
    key: Key,
    /// Numbers that this node may give out. Held for a few instructions.
    reserved: Mutex<Reserved>,
    /// Held by the thread that reserves, while others of this node wait for its block instead of reserving their own.
    reserving: Mutex<()>,
}

#[derive(Default)]
struct Reserved {
    generation: u64,
    /// Several where tasks have reserved at the same time.
    blocks: VecDeque<Range<i64>>,
}

impl Reserved {
    /// So many numbers in a row, if a block has them. Numbers of another generation are dropped.
    fn take(&mut self, count: i64, generation: u64) -> Option<Range<i64>> {
        if self.generation != generation {
            return None;
        }
        let fits = |block: &Range<i64>| block.end - block.start >= count;
        let at = self.blocks.iter().position(fits)?;
        let block = &mut self.blocks[at];
        let taken = block.start..block.start + count;
        block.start = taken.end;
        if block.is_empty() {
            self.blocks.remove(at);
        }
        Some(taken)
    }

    fn add(&mut self, block: Range<i64>, generation: u64) {
        if self.generation < generation {
            *self = Reserved { generation, blocks: VecDeque::new() };
        }
        if self.generation > generation || block.is_empty() {
            return;
        }
        match self.blocks.back_mut() {
            Some(last) if last.end == block.start => last.end = block.end,
            _ => self.blocks.push_back(block),
        }
    }
}

/// What the row of a sequence says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct State {
    /// The first number that nobody has reserved.
    next: i64,
    /// How often it was reset.
    generation: u64,
}

impl State {
    fn of(body: &Body) -> Option<State> {
        let row = body.rows().first()?;
        let ValueRef::Bytes(bytes) = row.attribute(2) else { return None };
        let (format, numbers) = bytes.split_first()?;
        let (next, generation) = numbers.split_first_chunk::<8>()?;
        let generation = u64::from_le_bytes(generation.try_into().ok()?);
        (*format == FORMAT).then_some(State { next: i64::from_le_bytes(*next), generation })
    }

    fn row(self, id: i64, name: &str) -> Row {
        let mut bytes = vec![FORMAT];
        bytes.extend_from_slice(&self.next.to_le_bytes());
        bytes.extend_from_slice(&self.generation.to_le_bytes());
        let values = [Value::Int(id), Value::Text(format!("{MARK}{name}")), Value::Bytes(bytes)];
        Row::encode(SchemaVersion::FIRST, &values).expect("a short name and a few bytes are a row")
    }
}

impl std::fmt::Debug for Sequence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Sequence").field(&self.shared.name).finish()
    }
}

impl Sequence {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// The next number. From memory, but for one call in [`SEQUENCE_BLOCK`](crate::limits::SEQUENCE_BLOCK), which is a
    /// transaction.
    ///
    /// # Errors
    /// [`Error::NoSuchSequence`] when it was dropped, [`Error::SequenceExhausted`] behind 2^63 - 2; otherwise as a
    /// transaction. Nothing was given out.
    pub fn next(&self) -> Result<i64> {
        Ok(self.next_block(1)?.start)
    }

    /// So many numbers in a row; at most [`SEQUENCE_BLOCK_MAX`](crate::limits::SEQUENCE_BLOCK_MAX).
    ///
    /// # Errors
    /// As [`Sequence::next`], and [`Error::TooLarge`].
    pub fn next_block(&self, count: u32) -> Result<Range<i64>> {
        let count = checked(count)?;
        loop {
            if let Some(taken) = self.at_hand(count)? {
                return Ok(taken);
            }
            let _reserving = self.shared.reserving.lock();
            if let Some(taken) = self.at_hand(count)? {
                return Ok(taken);
            }
            let (block, generation) = transaction::run(&self.core, &TxOptions::default(), |tx| {
                tx.step(|attempt, waker| self.reserve(attempt, waker, count))
            })?;
            self.shared.reserved.lock().add(block, generation);
        }
    }

    /// As [`Sequence::next`], for tasks: blocks no thread.
    ///
    /// # Errors
    /// As there.
    pub async fn next_async(&self) -> Result<i64> {
        Ok(self.next_block_async(1).await?.start)
    }

    /// As [`Sequence::next_block`], for tasks: blocks no thread.
    ///
    /// # Errors
    /// As there.
    pub async fn next_block_async(&self, count: u32) -> Result<Range<i64>> {
        let count = checked(count)?;
        loop {
            if let Some(taken) = self.at_hand(count)? {
                return Ok(taken);
            }
            let program = |tx: async_transaction::AsyncTransaction| {
                let own = self.clone();
                async move { tx.step(|attempt, waker| own.reserve(attempt, waker, count)).await }
            };
            let (block, generation) =
                async_transaction::run(&self.core, &TxOptions::default(), program).await?;
            self.shared.reserved.lock().add(block, generation);
        }
    }

    /// The largest number that may have been given out, on any member: 0 at the beginning.
    ///
    /// # Errors
    /// [`Error::NoSuchSequence`]; otherwise as a read.
    pub fn current(&self) -> Result<i64> {
        Ok(self.state()?.next.saturating_sub(1))
    }

    /// Goes on with this number, on every member: numbers that were reserved before are given out no more. Whoever resets
    /// to a number that was given out already gets it again.
    ///
    /// # Errors
    /// [`Error::NoSuchSequence`]; otherwise as a transaction.
    pub fn reset(&self, next: i64) -> Result<()> {
        transaction::run(&self.core, &TxOptions::default(), |tx| {
            tx.step(|attempt, waker| {
                let state = self.locked(attempt, waker)?;
                self.write(attempt, State { next, generation: state.generation + 1 })
            })
        })
    }

    /// Goes on behind what was given out here and behind `least`, on every member; says with which number. What was reserved
    /// before is given out no more: some of it may have been given out where `least` comes from.
    fn raise(&self, least: i64) -> Result<i64> {
        transaction::run(&self.core, &TxOptions::default(), |tx| {
            tx.step(|attempt, waker| {
                let state = self.locked(attempt, waker)?;
                let next = state.next.max(least);
                self.write(attempt, State { next, generation: state.generation + 1 })?;
                Ok(next)
            })
        })
    }

    /// Numbers that this node has reserved already.
    fn at_hand(&self, count: i64) -> Result<Option<Range<i64>>> {
        // Reading the row here costs no message and sees every reset that was acknowledged.
        let generation = self.state()?.generation;
        Ok(self.shared.reserved.lock().take(count, generation))
    }

    fn state(&self) -> Result<State> {
        let tenure = self.core.replica.tenure();
        self.core.check_serving()?;
        let open = schema(&self.core);
        self.core.latest(tenure, &open, &self.shared.key, State::of)?.flatten().ok_or_else(|| self.gone())
    }

    fn gone(&self) -> Error {
        Error::NoSuchSequence { name: self.shared.name.clone() }
    }

    /// Moves the row behind a block that is this node's then.
    fn reserve(
        &self,
        attempt: &mut Attempt,
        waker: &std::task::Waker,
        count: i64,
    ) -> Step<(Range<i64>, u64)> {
        let State { next, generation } = self.locked(attempt, waker)?;
        let exhausted = || Error::SequenceExhausted { name: self.shared.name.clone() };
        let needed = next.checked_add(count).ok_or_else(exhausted)?;
        let end = next.checked_add(count.max(SEQUENCE_BLOCK)).unwrap_or(needed);
        self.write(attempt, State { next: end, generation })?;
        Ok((next..end, generation))
    }

    fn locked(&self, attempt: &mut Attempt, waker: &std::task::Waker) -> Step<State> {
        let open = schema(&self.core);
        let held = attempt.read(&open, &self.shared.key, Some(LockMode::Write), waker)?;
        Ok(held.as_ref().and_then(State::of).ok_or_else(|| self.gone())?)
    }

    fn write(&self, attempt: &mut Attempt, state: State) -> Step<()> {
        let id = match self.shared.key.decode().ok().and_then(|values| values.into_iter().next()) {
            Some(Value::Int(id)) => id,
            _ => return Err(self.gone().into()),
        };
        let op = Op::Put(state.row(id, &self.shared.name));
        attempt.write_system(&schema(&self.core), self.shared.key.clone(), op)
    }
}

fn checked(count: u32) -> Result<i64> {
    match count {
        0 => Err(Error::Config("a block of a sequence has at least one number".into())),
        more if more > SEQUENCE_BLOCK_MAX => {
            Err(Error::TooLarge { what: "numbers in a block", bound: SEQUENCE_BLOCK_MAX as usize })
        }
        fits => Ok(i64::from(fits)),
    }
}

fn check_name(name: &str) -> Result<()> {
    match name.is_empty() || name.len() >= NAME_BYTES_MAX || name.chars().any(char::is_control) {
        true => Err(SchemaError::BadName { what: "sequence", name: name.to_owned() }.into()),
        false => Ok(()),
    }
}

fn schema(core: &Core) -> Arc<Open> {
    core.store.table(SCHEMA_TABLE).expect("every store has its schema table")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_taken_in_their_order_and_of_one_generation() {
        // Aim: no number comes twice out of what a node has reserved. Method: neighbours, gaps, larger takes, a reset.
        let mut reserved = Reserved::default();
        reserved.add(1..5, 0);
        reserved.add(5..7, 0);
        assert_eq!(reserved.take(5, 0), Some(1..6), "neighbours are one");
        reserved.add(20..30, 0);
        assert_eq!(reserved.take(2, 0), Some(20..22));
        assert_eq!(reserved.take(1, 0), Some(6..7), "what was too short for two");
        assert_eq!(reserved.take(1, 1), None, "it was reset elsewhere");
        reserved.add(1..3, 1);
        assert_eq!((reserved.take(1, 0), reserved.take(2, 1)), (None, Some(1..3)));
        reserved.add(40..50, 0);
        assert_eq!(reserved.take(1, 1), None, "a block of before the reset is not added");
    }

    #[test]
    fn a_state_reads_back() {
        let state = State { next: -3, generation: 7 };
        assert_eq!(State::of(&Body::Row(state.row(-17, "orders"))), Some(state));
    }
}
