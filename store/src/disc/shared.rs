//! Much work on rows of the image by several threads: one reads, the others take what it reads, some hundred at a time.

use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam::channel::{Receiver, bounded};

use super::error::{DiscError, Result};

/// Bytes that are handed over at once.
const HANDED_BYTES: usize = 64 << 10;
/// Hands that wait for a thread at most.
const HANDS_WAITING: usize = 8;

/// Rows as they stand in the image, one behind the other.
#[derive(Default)]
pub(super) struct Hand {
    bytes: Vec<u8>,
    /// Where each place ends, and each value.
    ends: Vec<(usize, usize)>,
}

impl Hand {
    fn add(&mut self, place: &[u8], value: &[u8]) {
        self.bytes.extend_from_slice(place);
        let place_end = self.bytes.len();
        self.bytes.extend_from_slice(value);
        self.ends.push((place_end, self.bytes.len()));
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Shows place and value of each, in their order.
    pub(super) fn each(&self, mut show: impl FnMut(&[u8], &[u8]) -> Result<()>) -> Result<()> {
        let mut from = 0;
        for &(place_end, end) in &self.ends {
            show(&self.bytes[from..place_end], &self.bytes[place_end..end])?;
            from = end;
        }
        Ok(())
    }
}

/// Takes a row as it stands in the image: its place and its value.
pub(super) type Give<'g> = dyn FnMut(&[u8], &[u8]) -> Result<()> + 'g;

/// What one thread has seen: how many rows, and their checksums added up.
type Seen = (u64, u64);

/// Has every row that `read` gives shown by one of these many threads, some hundred at a time, and adds up what `show` says of
/// them. With one thread that is the caller's, and rows are shown in their order. What fails ends it, the reading too: rows may have been shown behind
/// it.
pub(super) fn shared(
    threads: usize,
    show: impl Fn(&Hand) -> Result<u64> + Sync,
    read: impl FnOnce(&mut Give<'_>) -> Result<()>,
) -> Result<Seen> {
    let add = |seen: Seen, hand: &Hand| -> Result<Seen> {
        Ok((seen.0 + hand.len() as u64, seen.1.wrapping_add(show(hand)?)))
    };
    if threads <= 1 {
        let mut seen = (0, 0);
        handed(read, |hand| {
            seen = add(seen, &hand)?;
            Ok(())
        })?;
        return Ok(seen);
    }
    let (sender, receiver) = bounded::<Hand>(HANDS_WAITING);
    // Only ever set; whoever sees it late has done a little for nothing. What failed is handed over by joining.
    let failed = AtomicBool::new(false);
    // Each has a receiver of its own: were they all to panic, the one who reads would find nobody and end.
    let take = |receiver: Receiver<Hand>| {
        let mut seen = Ok((0, 0));
        // Who has failed goes on taking, so that the one who reads is not left waiting for room.
        for hand in receiver {
            seen = seen.and_then(|seen| add(seen, &hand));
            if seen.is_err() {
                failed.store(true, Ordering::Relaxed);
            }
        }
        seen
    };
    let take = &take;
    std::thread::scope(|scope| {
        let takers: Vec<_> = (0..threads)
            .map(|_| {
                let receiver = receiver.clone();
                scope.spawn(move || take(receiver))
            })
            .collect();
        drop(receiver);
        let given = handed(read, |hand| {
            // Takers are there until the sender goes, unless they have all panicked.
            match sender.send(hand).is_err() || failed.load(Ordering::Relaxed) {
                // Heard by nobody: who has failed says why, below.
                true => Err(DiscError::Poisoned { first: "another thread has failed".into() }),
                false => Ok(()),
            }
        });
        drop(sender);
        let mut all = (0, 0_u64);
        for taker in takers {
            let seen: Result<Seen> = taker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            let seen = seen?;
            all = (all.0 + seen.0, all.1.wrapping_add(seen.1));
        }
        given.map(|()| all)
    })
}

/// Hands over all that `read` gives, if it does not fail.
fn handed(
    read: impl FnOnce(&mut Give<'_>) -> Result<()>,
    mut hand_over: impl FnMut(Hand) -> Result<()>,
) -> Result<()> {
    let mut hand = Hand::default();
    read(&mut |place, value| {
        hand.add(place, value);
        match hand.bytes.len() >= HANDED_BYTES {
            true => hand_over(std::mem::take(&mut hand)),
            false => Ok(()),
        }
    })?;
    hand_over(hand)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use super::*;

    /// Rows of their numbers.
    fn numbers(count: u64, give: &mut Give<'_>) -> Result<()> {
        (0..count).try_for_each(|n| one(n, give))
    }

    fn one(n: u64, give: &mut Give<'_>) -> Result<()> {
        give(&n.to_le_bytes(), &[7; 40])
    }

    /// Shows each row of a hand.
    fn each(show: impl Fn(&[u8], &[u8]) -> Result<u64> + Sync) -> impl Fn(&Hand) -> Result<u64> + Sync {
        move |hand| {
            let mut sum = 0;
            hand.each(|place, value| {
                sum += show(place, value)?;
                Ok(())
            })?;
            Ok(sum)
        }
    }

    fn number(place: &[u8]) -> u64 {
        u64::from_le_bytes(place.try_into().expect("as they were given"))
    }

    #[test]
    fn every_row_is_shown_once() {
        // Aim: what is added up is all that was read, by one thread or several. Method: numbers, none to many.
        for (threads, count) in [(1, 1_000), (2, 0), (2, 1), (3, 60_000)] {
            let shown = AtomicU64::new(0);
            let show = |place: &[u8], value: &[u8]| {
                assert_eq!(value, [7; 40]);
                shown.fetch_add(1, Ordering::Relaxed);
                Ok(number(place))
            };
            let seen = shared(threads, each(show), |give| numbers(count, give)).expect("nothing fails");
            assert_eq!(seen, (count, (0..count).sum()));
            assert_eq!(shown.into_inner(), count);
        }
    }

    #[test]
    fn what_fails_is_said_and_nobody_waits() {
        // Aim: a row that cannot be shown, or a read that fails, ends it with its error. Method: both, with far more rows
        // behind it than may wait.
        let wrong = |what: &str| DiscError::corrupt("image", 0, what);
        for threads in [1, 3] {
            let show = |place: &[u8], _: &[u8]| match number(place) {
                100 => Err(wrong("row 100")),
                n => Ok(n),
            };
            let ended =
                shared(threads, each(show), |give| numbers(100_000, give)).expect_err("a row is wrong");
            assert!(ended.to_string().contains("row 100"), "{ended}");
            let read = |give: &mut Give<'_>| {
                numbers(90, give)?;
                Err(wrong("page 3"))
            };
            let ended = shared(threads, each(show), read).expect_err("it cannot be read");
            assert!(ended.to_string().contains("page 3"), "{ended}");
        }
    }

    #[test]
    fn nothing_is_read_for_nobody() {
        // Aim: the reading of a large image ends soon behind a row that cannot be shown. Method: one that has no end of its own.
        for threads in [1, 3] {
            let show = |place: &[u8], _: &[u8]| match number(place) {
                100 => Err(DiscError::corrupt("image", 0, "row 100")),
                n => Ok(n),
            };
            let ended = shared(threads, each(show), |give| (0..).try_for_each(|n| one(n, give)));
            let ended = ended.expect_err("a row is wrong").to_string();
            assert!(ended.contains("row 100"), "{ended}");
        }
    }

    #[test]
    #[should_panic(expected = "planted")]
    fn takers_that_panic_leave_nobody_waiting() {
        // Aim: a fault of this program in every taker ends the reading too. Method: far more rows than may wait.
        let show = |_: &[u8], _: &[u8]| panic!("planted");
        let _ = shared(2, each(show), |give| numbers(1_000_000, give));
    }
}
