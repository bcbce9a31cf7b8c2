//! Bytes that were right, changed in the ways in which bytes go wrong: flipped, cut, doubled, spliced with others, numbers
//! pushed to their ends. Seeded: the same seed makes the same bytes. With `HMN_FUZZ_SECONDS` every run goes on for as long, and
//! `HMN_FUZZ_SEED` makes another one.

use std::time::{Duration, Instant};

/// A small generator.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn seeded(target: u64) -> Dice {
        Dice(target.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ from_environment("HMN_FUZZ_SEED", 1))
    }

    pub(crate) fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % sides.max(1)
    }
}

fn from_environment(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Rounds to go: a few, and on from there for the time that is asked for.
#[expect(clippy::disallowed_methods, reason = "it lasts as long as it is told to")]
pub(crate) fn rounds(few: u64) -> impl Iterator<Item = u64> {
    let (begin, time) = (Instant::now(), Duration::from_secs(from_environment("HMN_FUZZ_SECONDS", 0)));
    (0..).take_while(move |round| *round < few || begin.elapsed() < time)
}

/// Numbers at which lengths and counts break.
const ENDS: [u8; 8] = [0, 1, 0x7f, 0x80, 0xfb, 0xfc, 0xfd, 0xff];

/// One of the seeds, changed in one to eight places.
pub(crate) fn mutated(dice: &mut Dice, seeds: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = seeds[dice.roll(seeds.len())].clone();
    for _ in 0..=dice.roll(8) {
        let at = dice.roll(bytes.len());
        match dice.roll(7) {
            _ if bytes.is_empty() => bytes.push(dice.roll(256) as u8),
            0 => bytes[at] ^= 1 << dice.roll(8),
            1 => bytes[at] = ENDS[dice.roll(ENDS.len())],
            2 => bytes.truncate(at),
            3 => bytes.insert(at, ENDS[dice.roll(ENDS.len())]),
            4 => {
                let end = (at + 1 + dice.roll(16)).min(bytes.len());
                let part = bytes[at..end].to_vec();
                bytes.splice(at..at, part);
            }
            5 => {
                let end = (at + 1 + dice.roll(16)).min(bytes.len());
                bytes.drain(at..end);
            }
            _ => {
                let other = &seeds[dice.roll(seeds.len())];
                let from = dice.roll(other.len());
                bytes.truncate(at);
                bytes.extend_from_slice(&other[from..]);
            }
        }
    }
    bytes
}
