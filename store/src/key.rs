//! Keys: values encoded so that comparing bytes gives the order of [`crate::order`]. Keys of several attributes are the
//! encodings one behind the other; each tells its own end, so a prefix of values is a prefix of bytes. How the bytes of
//! one value look is said in `key_bytes`.

use std::borrow::Borrow;
use std::fmt;
use std::hash::{BuildHasher, Hash, Hasher};
use std::ops::Deref;
use std::sync::Arc;

use foldhash::fast::FixedState;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::{Malformed, ValueError};
use crate::limits::INDEX_ENTRY_BYTES_MAX;
use crate::value::Value;
use crate::value_ref::ValueRef;

mod key_bytes;
mod key_range;
mod packed_key;

pub(crate) use key_bytes::KeyBuffer;
pub use key_range::KeyRange;
pub(crate) use packed_key::{PackedKey, Probe, Rest, parting};

/// Keys up to this length live inside the [`Key`]: two whole numbers, or a text of 19 bytes.
const INLINE_BYTES: usize = 22;

/// An encoded key. Comparing two compares their values; cloning one never copies more than 24 bytes.
///
/// ```
/// use hypermnesia_store::{Key, Value};
/// let amsterdam = Key::encode(&[Value::from("NL"), Value::Int(1)])?;
/// let berlin = Key::encode(&[Value::from("DE"), Value::Int(2)])?;
/// assert!(berlin < amsterdam);
/// assert_eq!(amsterdam.decode()?, [Value::from("NL"), Value::Int(1)]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Key(Repr);

/// `repr(u8)` fixes the layout: the tag, then the fields of the variant in order, each at its alignment. So a short key is
/// 24 bytes without a gap, which are compared and hashed as three words. This is not only shorter: words that were stored
/// as words are read again without waiting for the stores to leave the processor's queue, which stand behind whatever
/// memory the operation before still waits for.
#[repr(u8)]
enum Repr {
    /// How many bytes, and the bytes with zeros behind them.
    Inline(u8, [u8; INLINE_BYTES]) = INLINE_TAG,
    Shared(Arc<[u8]>) = 1,
}

const INLINE_TAG: u8 = 0;
/// Words of a short key, tag and length included.
const WORDS: usize = 3;
const _: () =
    assert!(size_of::<Repr>() == WORDS * size_of::<u64>() && INLINE_BYTES + 2 == WORDS * size_of::<u64>());

impl Clone for Repr {
    #[inline]
    fn clone(&self) -> Repr {
        match self {
            Repr::Shared(bytes) => Repr::Shared(Arc::clone(bytes)),
            Repr::Inline(..) => Repr::of_words(self.words().expect("it is a short one")),
        }
    }
}

impl Repr {
    /// The words of a short key.
    #[inline]
    fn words(&self) -> Option<[u64; WORDS]> {
        match self {
            // SAFETY: the layout above: an inline key is this many bytes, all of them written, at the alignment of a word.
            Repr::Inline(..) => Some(unsafe { std::ptr::from_ref(self).cast::<[u64; WORDS]>().read() }),
            Repr::Shared(_) => None,
        }
    }

    /// A short key of these words: the tag in the first byte, the length in the second, zeros behind its bytes.
    #[inline]
    fn of_words(words: [u64; WORDS]) -> Repr {
        let [tag, len, ..] = words[0].to_ne_bytes();
        assert!(tag == INLINE_TAG && usize::from(len) <= INLINE_BYTES, "the words are those of a short key");
        // SAFETY: the layout above; the tag says inline, and its fields may hold any bytes.
        unsafe { std::mem::transmute::<[u64; WORDS], Repr>(words) }
    }
}

impl Key {
    /// Encodes the values of a key's attributes, in order. A single number, and every other key of up to 22 bytes,
    /// allocates nothing.
    ///
    /// # Errors
    /// [`ValueError::KeyTooLarge`] or [`ValueError::TooDeep`].
    pub fn encode(values: &[Value]) -> Result<Key, ValueError> {
        Key::encode_refs(values.iter().map(Value::as_ref))
    }

    /// The key of one whole number, if it is a float exactly (up to 2^53 either way): what most keys are, without the
    /// detour over values.
    #[inline]
    pub fn of_whole(n: i64) -> Option<Key> {
        key_bytes::exact(n).map(|words| Key(Repr::of_words(words)))
    }

    /// Encodes borrowed values.
    ///
    /// # Errors
    /// As [`Key::encode`].
    pub fn encode_refs<'a>(values: impl IntoIterator<Item = ValueRef<'a>>) -> Result<Key, ValueError> {
        let mut buffer = KeyBuffer::new();
        for value in values {
            buffer.push(value)?;
        }
        buffer.finish()
    }

    /// Takes bytes that were a key's, for instance from the image on disc. They are not looked at before [`Key::decode`].
    pub fn from_encoded(bytes: &[u8]) -> Key {
        Key(match u8::try_from(bytes.len()) {
            Ok(len) if bytes.len() <= INLINE_BYTES => {
                let mut inline = [0; INLINE_BYTES];
                inline[..bytes.len()].copy_from_slice(bytes);
                Repr::Inline(len, inline)
            }
            _ => Repr::Shared(bytes.into()),
        })
    }

    /// The values it was encoded from.
    ///
    /// # Errors
    /// [`Malformed`] when the bytes are no key, which only bytes from outside can be.
    pub fn decode(&self) -> Result<Vec<Value>, Malformed> {
        let mut reader = key_bytes::KeyReader::new(self);
        let mut values = Vec::new();
        while !reader.is_at_end() {
            values.push(reader.take_value()?);
        }
        Ok(values)
    }

    /// Cuts it behind its first `count` values: an index entry into the index key and the primary key.
    ///
    /// # Errors
    /// [`Malformed`] when it does not begin with that many values.
    pub fn split_after(&self, count: usize) -> Result<(&[u8], &[u8]), Malformed> {
        let mut reader = key_bytes::KeyReader::new(self);
        for _ in 0..count {
            reader.skip_value()?;
        }
        Ok(self.split_at(reader.position()))
    }

    /// This key with the values of another behind its own: an index entry from an index key and a primary key.
    #[must_use]
    pub fn join(&self, behind: &Key) -> Key {
        let len = self.len() + behind.len();
        if len <= INLINE_BYTES {
            let mut inline = [0; INLINE_BYTES];
            inline[..self.len()].copy_from_slice(self);
            inline[self.len()..len].copy_from_slice(behind);
            return Key(Repr::Inline(len as u8, inline));
        }
        Key(Repr::Shared([&**self, &**behind].concat().into()))
    }

    /// All keys whose first values are these, for instance all of one index value.
    ///
    /// # Errors
    /// As [`Key::encode`].
    pub fn prefix_range(values: &[Value]) -> Result<KeyRange, ValueError> {
        Ok(KeyRange::prefix(&Key::encode(values)?))
    }

    /// The encoded bytes.
    pub fn as_bytes(&self) -> &[u8] {
        self
    }

    /// Bytes it needs outside of itself.
    pub fn heap_bytes(&self) -> usize {
        match &self.0 {
            Repr::Inline(..) => 0,
            // The two counts of the Arc stand before the bytes, and it is as long as whole words are.
            Repr::Shared(bytes) => {
                (bytes.len() + 2 * size_of::<usize>()).next_multiple_of(size_of::<usize>())
            }
        }
    }
}

impl Deref for Key {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match &self.0 {
            Repr::Inline(len, bytes) => &bytes[..usize::from(*len)],
            Repr::Shared(bytes) => bytes,
        }
    }
}

// Equality, order and hash are those of the bytes, so that a map of keys can be asked with borrowed bytes.
impl Borrow<[u8]> for Key {
    fn borrow(&self) -> &[u8] {
        self
    }
}

impl AsRef<[u8]> for Key {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl PartialEq for Key {
    #[inline]
    fn eq(&self, other: &Key) -> bool {
        // Most of all comparisons are of short keys: three words, and no call.
        match (self.0.words(), other.0.words()) {
            // Word by word, as they were stored: see `Repr`.
            (Some([a, b, c]), Some([x, y, z])) => (a ^ x) | (b ^ y) | (c ^ z) == 0,
            _ => **self == **other,
        }
    }
}

impl Eq for Key {}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Key) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Key {
    fn cmp(&self, other: &Key) -> std::cmp::Ordering {
        (**self).cmp(&**other)
    }
}

impl Key {
    /// Its hash for tables in memory: that of three words for a short key, of its bytes for a long one. Equal keys are both
    /// short or both long.
    #[inline]
    pub(crate) fn hashed(&self) -> KeyHash {
        let hasher = FixedState::default();
        KeyHash(match self.0.words() {
            Some([first, second, third]) => {
                let mut state = hasher.build_hasher();
                state.write_u64(first);
                state.write_u64(second ^ third.rotate_left(32));
                state.finish()
            }
            None => hasher.hash_one(&**self),
        })
    }
}

/// The hash of a key, for who needs it more than once. Never stored and never sent.
#[derive(Clone, Copy)]
pub(crate) struct KeyHash(pub(crate) u64);

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (**self).hash(state);
    }
}

/// The values of the key as text, with commas between them; the bytes in hexadecimal where they are no key.
impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.decode() {
            Ok(values) => {
                for (n, value) in values.iter().enumerate() {
                    write!(f, "{}{value}", if n == 0 { "" } else { ", " })?;
                }
                Ok(())
            }
            Err(_) => ValueRef::Bytes(self).fmt(f),
        }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({self})")
    }
}

impl Serialize for Key {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self)
    }
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Key, D::Error> {
        let bytes: &serde_bytes::Bytes = Deserialize::deserialize(deserializer)?;
        if bytes.len() > INDEX_ENTRY_BYTES_MAX {
            return Err(serde::de::Error::custom("key is longer than a key may be"));
        }
        Ok(Key::from_encoded(bytes))
    }
}
