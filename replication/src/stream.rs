//! Numbered streams between two lives of two members: what makes a reset connection lose and double nothing. The sender
//! keeps every message until the receiver has acknowledged it, numbers them from 1, and after a reconnect goes on behind
//! what the receiver has. The receiver takes the next number only. Both ends start anew when either process does.
//!
//! The engine owns the sockets: it numbers and keeps in [`Outbox::push`], writes when and what it likes, drops a second
//! connection between the same lives, and tells acknowledgements with whatever goes back.

use std::collections::VecDeque;

use crate::limits::{STREAM_BYTES_MAX, STREAM_PRESSURE_BYTES};

/// More than [`STREAM_BYTES_MAX`] is unacknowledged. The message was not taken. The node cannot keep what it owes the peer:
/// it must stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the peer has not acknowledged {STREAM_BYTES_MAX} bytes")]
pub struct OutboxFull;

/// The sending end.
#[derive(Debug)]
pub struct Outbox<T> {
    /// The number of the first kept message.
    first: u64,
    /// Messages and their sizes, in order.
    kept: VecDeque<(T, usize)>,
    bytes: usize,
}

impl<T> Default for Outbox<T> {
    fn default() -> Outbox<T> {
        Outbox { first: 1, kept: VecDeque::new(), bytes: 0 }
    }
}

impl<T> Outbox<T> {
    /// Numbers and keeps a message of this many bytes. Returns its number.
    ///
    /// # Errors
    /// [`OutboxFull`].
    pub fn push(&mut self, message: T, bytes: usize) -> Result<u64, OutboxFull> {
        if self.bytes.saturating_add(bytes) > STREAM_BYTES_MAX {
            return Err(OutboxFull);
        }
        self.bytes += bytes;
        self.kept.push_back((message, bytes));
        Ok(self.last())
    }

    /// The number of the newest message; 0 before the first.
    pub fn last(&self) -> u64 {
        self.first + self.kept.len() as u64 - 1
    }

    /// The peer has everything up to this number. Numbers it cannot have are ignored.
    pub fn acknowledged(&mut self, upto: u64) {
        while self.first <= upto {
            let Some((_, bytes)) = self.kept.pop_front() else { return };
            self.bytes -= bytes;
            self.first += 1;
        }
    }

    /// The messages behind this number that are still kept, with their numbers: all of them after a reconnect, where the
    /// peer's hello says what it has.
    pub fn behind(&self, number: u64) -> impl Iterator<Item = (u64, &T)> {
        let skip = (number + 1).saturating_sub(self.first) as usize;
        let first = self.first;
        self.kept.iter().enumerate().skip(skip).map(move |(at, (message, _))| (first + at as u64, message))
    }

    /// Unacknowledged bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether coordinators should stop preparing at this peer.
    pub fn is_congested(&self) -> bool {
        self.bytes > STREAM_PRESSURE_BYTES
    }
}

/// What to do with a message that came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// The next one: take it.
    Next,
    /// Taken before: drop it.
    Again,
    /// One is missing before it: the connection is broken, close it.
    Gap,
}

/// The receiving end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Inbox {
    taken: u64,
}

impl Inbox {
    /// Judges the number of a message. [`Arrival::Next`] counts it as taken: the caller handles it before anything else
    /// from this stream.
    pub fn arrive(&mut self, number: u64) -> Arrival {
        if number <= self.taken {
            Arrival::Again
        } else if number == self.taken + 1 {
            self.taken = number;
            Arrival::Next
        } else {
            Arrival::Gap
        }
    }

    /// The number of the last message taken: acknowledges it and all before.
    pub fn taken(&self) -> u64 {
        self.taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reset_loses_and_doubles_nothing() {
        // Aim: wrong text 7, a reset loses Commit. Method: cut at every point of ten messages and their
        // acknowledgements, resume, compare what was taken.
        for cut in 0..=10_u64 {
            for acknowledged in 0..=cut {
                let mut outbox = Outbox::default();
                let mut inbox = Inbox::default();
                let mut taken = Vec::new();
                (1..=10_u64).for_each(|n| assert_eq!(outbox.push(n, 1), Ok(n)));
                let sent: Vec<_> = outbox.behind(0).map(|(n, m)| (n, *m)).take(cut as usize).collect();
                let mut deliver = |inbox: &mut Inbox, (number, message): (u64, u64)| {
                    if inbox.arrive(number) == Arrival::Next {
                        taken.push(message);
                    }
                };
                sent.into_iter().for_each(|frame| deliver(&mut inbox, frame));
                outbox.acknowledged(acknowledged);
                let again: Vec<_> = outbox.behind(acknowledged).map(|(n, m)| (n, *m)).collect();
                again.into_iter().for_each(|frame| deliver(&mut inbox, frame));
                outbox.acknowledged(inbox.taken());
                assert_eq!(taken, (1..=10).collect::<Vec<_>>(), "cut at {cut}, acknowledged {acknowledged}");
                assert_eq!(outbox.bytes(), 0);
            }
        }
    }

    #[test]
    fn a_gap_is_seen_and_a_full_outbox_refuses() {
        // Aim: nothing is skipped and nothing grows. Method: a number too far, and a message past the bound.
        let mut inbox = Inbox::default();
        assert_eq!(inbox.arrive(2), Arrival::Gap);
        assert_eq!((inbox.arrive(1), inbox.arrive(1), inbox.taken()), (Arrival::Next, Arrival::Again, 1));
        let mut outbox = Outbox::default();
        assert_eq!(outbox.push((), STREAM_PRESSURE_BYTES + 1), Ok(1));
        assert!(outbox.is_congested());
        assert_eq!(outbox.push((), STREAM_BYTES_MAX), Err(OutboxFull));
        outbox.acknowledged(u64::MAX);
        assert_eq!((outbox.last(), outbox.bytes()), (1, 0));
    }
}
