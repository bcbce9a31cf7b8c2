//! A key as the nodes of trees hold it: its first six bytes as one number, so that most comparisons are of two numbers that
//! stand in one array, and the rest of its words apart. A packed key is bytes that were moved out of a [`Key`]; whether it
//! still owns what a long key points to is up to the node that it is in.

use std::cmp::Ordering;
use std::mem::{ManuallyDrop, MaybeUninit};
use std::ptr;

use super::{INLINE_TAG, Key, Repr, WORDS};

/// The second and the third word: bytes of a short key, or where a long one's are. Not numbers in themselves: what points
/// has to be copied as it is.
pub(crate) type Rest = [MaybeUninit<u64>; WORDS - 1];

/// Bits of the first word that are no bytes of the key: its tag, and the length of a short one. One less than these take in
/// a key, so that the first words are below 2^63 and the sign of their difference says which is less.
const MARKS: u32 = 15;
/// In a key they are this many, and its first bytes come behind them.
const MARKS_OF_KEYS: u32 = 16;
const LENGTHS: u64 = 0xff;
const TAGS: u64 = 0x7f00;
const LONG: u64 = 1 << 8;

#[derive(Clone, Copy)]
pub(crate) struct PackedKey {
    /// Six bytes of the key, zeros behind a shorter one; the tag; the length of a short key.
    pub(crate) first: u64,
    pub(crate) rest: Rest,
}

impl PackedKey {
    /// The key without bytes, below every other. Owns nothing.
    pub(crate) const LEAST: PackedKey = PackedKey { first: 0, rest: [MaybeUninit::new(0); WORDS - 1] };

    /// Takes a key over.
    #[inline]
    pub(crate) fn of(key: Key) -> PackedKey {
        let key = ManuallyDrop::new(key);
        let words = ptr::from_ref(&*key).cast::<MaybeUninit<u64>>();
        // SAFETY: a key is three words (see `Repr`), and words that may be anything can be read from any of its bytes.
        PackedKey { first: first_of(&key), rest: unsafe { words.add(1).cast::<Rest>().read() } }
    }

    /// The key it was made of. The bytes stay whose they are: it must not be dropped unless this is the last look at them.
    ///
    /// # Safety
    /// What a long key points to is still there.
    #[inline]
    pub(crate) unsafe fn key(self) -> ManuallyDrop<Key> {
        let mut key = MaybeUninit::<Key>::uninit();
        let words = key.as_mut_ptr().cast::<MaybeUninit<u64>>();
        let marks = self.first & (TAGS | LENGTHS);
        let first = (marks << (u64::BITS - MARKS_OF_KEYS) | self.first >> MARKS).to_be();
        // SAFETY: within the three words of the key.
        unsafe {
            words.write(MaybeUninit::new(first));
            words.add(1).cast::<Rest>().write(self.rest);
        }
        // SAFETY: the first byte is the tag that the key had, the rest its words (see `Repr`); what stands between the tag
        // of a long key and its second word has no meaning.
        ManuallyDrop::new(unsafe { key.assume_init() })
    }

    /// Gives back what it owns.
    ///
    /// # Safety
    /// It owns it, and nobody looks at it any more.
    pub(crate) unsafe fn free(self) {
        // SAFETY: as the caller says.
        drop(ManuallyDrop::into_inner(unsafe { self.key() }));
    }

    /// Whether there is anything to give back.
    #[inline]
    pub(crate) fn is_long(self) -> bool {
        !is_short(self.first)
    }
}

#[inline]
fn is_short(first: u64) -> bool {
    first & TAGS == u64::from(INLINE_TAG) << 8
}

#[inline]
fn first_of(key: &Key) -> u64 {
    match (key.0.words(), &key.0) {
        (Some([first, ..]), _) => {
            let first = u64::from_be(first);
            (first << MARKS_OF_KEYS >> 1) | first >> (u64::BITS - MARKS_OF_KEYS)
        }
        (None, Repr::Shared(bytes)) => {
            let mut first = [0; 8];
            first[2..].copy_from_slice(&bytes[..6]);
            u64::from_be_bytes(first) << MARKS | LONG
        }
        (None, Repr::Inline(..)) => unreachable!("a short key has words"),
    }
}

/// A key that packed ones are compared with.
#[derive(Clone, Copy)]
pub(crate) struct Probe<'k> {
    first: u64,
    /// Of a short key, so that they compare as its bytes do.
    rest: [u64; WORDS - 1],
    key: &'k Key,
}

impl<'k> Probe<'k> {
    #[inline]
    pub(crate) fn new(key: &'k Key) -> Probe<'k> {
        let rest = key.0.words().map_or([0; WORDS - 1], |[_, rest @ ..]| rest.map(u64::from_be));
        Probe { first: first_of(key), rest, key }
    }

    /// One where a packed key begins with other bytes and is below, else zero.
    #[inline]
    pub(crate) fn above(&self, first: u64) -> u64 {
        first.wrapping_sub(self.first >> MARKS << MARKS) >> 63
    }

    /// How a packed key stands to this one, where the first words say so: whether it is below.
    #[inline]
    pub(crate) fn below(&self, first: u64) -> Option<bool> {
        ((first ^ self.first) >> MARKS != 0).then_some(first < self.first)
    }

    /// How a packed key stands to this one that begins as it does.
    ///
    /// # Safety
    /// What a long key points to is still there.
    #[inline]
    pub(crate) unsafe fn compare(&self, packed: PackedKey) -> Ordering {
        if is_short(packed.first) && is_short(self.first) {
            // SAFETY: a short key's words are all bytes of it.
            let rest = packed.rest.map(|word| u64::from_be(unsafe { word.assume_init() }));
            // Of two that are equal with zeros behind them the shorter one is less; its marks are its length.
            return (rest, packed.first).cmp(&(self.rest, self.first));
        }
        // SAFETY: as the caller says.
        (**unsafe { packed.key() }).cmp(&**self.key)
    }
}

/// A key above `left` and not above `right`, which is above `left`: as few bytes of `right` as do. It parts the two, and is
/// short where they differ soon.
pub(crate) fn parting(left: &Key, right: &Key) -> Key {
    let same = left.iter().zip(right.iter()).take_while(|(left, right)| left == right).count();
    Key::from_encoded(&right[..same + 1])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Keys around every border: empty, in one, two and three words, short and long, with zeros, and beginnings of others.
    fn keys() -> Vec<Key> {
        let mut all = vec![Vec::new()];
        let lens: &[usize] =
            if cfg!(miri) { &[5, 7, 22, 23] } else { &[1, 5, 6, 7, 13, 14, 15, 21, 22, 23, 24, 40] };
        for &len in lens {
            for (byte, last) in [(0, 0), (0, 1), (7, 0), (7, 7), (7, 255), (255, 255)] {
                let mut bytes = vec![byte; len];
                bytes[len - 1] = last;
                all.push(bytes);
            }
        }
        all.iter().map(|bytes| Key::from_encoded(bytes)).collect()
    }

    #[test]
    fn packed_keys_compare_as_their_bytes_do_and_come_back_whole() {
        // Aim: the order of trees is the order of keys, and nothing of a key is lost in a node. Method: all pairs.
        let keys = keys();
        for left in &keys {
            let packed = PackedKey::of(left.clone());
            // SAFETY: it owns what was cloned, and is freed below.
            assert_eq!(&*unsafe { packed.key() }, left);
            for right in &keys {
                // SAFETY: as above.
                let compared = unsafe { Probe::new(right).compare(packed) };
                let probe = Probe::new(right);
                let said = (left, right);
                match probe.below(packed.first) {
                    Some(below) => assert_eq!(below, left < right, "{said:?}"),
                    None => assert_eq!(compared, left.cmp(right), "{said:?}"),
                }
                assert_eq!(
                    probe.above(packed.first) == 1,
                    probe.below(packed.first) == Some(true),
                    "{said:?}"
                );
                if left < right {
                    let parting = parting(left, right);
                    assert!(*left < parting && parting <= *right);
                }
            }
            // SAFETY: made by this test, which does not look again.
            unsafe { packed.free() };
        }
    }
}
