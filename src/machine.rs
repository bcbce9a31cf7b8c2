//! What the machine says of itself, for whoever may not ask it: which boot this is, and an id that nobody else has.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;

use hypermnesia_store::disc::{BootId, DirectoryId};

use crate::core::wall_ms;

/// Where Linux names the present boot.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// The present boot; `None` where the system does not say.
pub(crate) fn boot() -> Option<BootId> {
    let text = std::fs::read_to_string(BOOT_ID).ok()?;
    uuid(text.trim()).map(BootId)
}

/// An id that no other data directory has: 128 bits from the seeds of the standard library's hasher, which are random, the
/// time and the process.
pub(crate) fn fresh_id() -> DirectoryId {
    let half = || RandomState::new().hash_one((wall_ms(), std::process::id())).to_le_bytes();
    let mut id = [0; 16];
    id[..8].copy_from_slice(&half());
    id[8..].copy_from_slice(&half());
    DirectoryId(id)
}

/// The same as a number.
pub(crate) fn fresh_number() -> u128 {
    u128::from_le_bytes(fresh_id().0)
}

/// A random number, as good as the seeds of the standard library's hasher: for what must not be the same twice, and never for
/// what must not be guessed.
pub(crate) fn dice() -> u64 {
    RandomState::new().hash_one((wall_ms(), std::process::id()))
}

/// Nanoseconds of a clock that nobody sets and that goes on while the machine is suspended (on Linux; elsewhere it may stand
/// still meanwhile).
pub(crate) fn boottime_ns() -> u64 {
    #[cfg(target_os = "linux")]
    const CLOCK: rustix::time::ClockId = rustix::time::ClockId::Boottime;
    #[cfg(not(target_os = "linux"))]
    const CLOCK: rustix::time::ClockId = rustix::time::ClockId::Monotonic;
    let now = rustix::time::clock_gettime(CLOCK);
    // Neither is negative on this clock.
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// The bytes of `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx`.
fn uuid(text: &str) -> Option<[u8; 16]> {
    let digits: String = text.split('-').collect();
    let plain = digits.len() == 32 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    plain.then(|| u128::from_str_radix(&digits, 16).ok().map(u128::to_be_bytes))?
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Aim: a boot has one id, and what is none is not taken for one. Method: a good one, and texts that are close to one.
    #[test]
    fn a_boot_is_read_from_its_uuid() {
        let bytes = uuid("0123abcd-0000-0000-0000-0000000000ff").expect("it is one");
        assert_eq!((bytes[0], bytes[3], bytes[15]), (0x01, 0xcd, 0xff));
        for text in
            ["", "unknown", "+123abcd-0000-0000-0000-0000000000ff", "0123abcd-0000-0000-0000-0000000000f"]
        {
            assert_eq!(uuid(text), None, "{text:?}");
        }
        assert_eq!(boot(), boot());
        assert_ne!(fresh_id(), fresh_id());
    }
}
