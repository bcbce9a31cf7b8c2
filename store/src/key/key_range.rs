//! A range of keys: what scans walk and what transactions note as read. It compares bytes only.

use std::ops::{Bound, RangeBounds};

use serde::{Deserialize, Serialize};

use super::{Key, KeyBuffer};
use crate::error::ValueError;
use crate::value_ref::ValueRef;

/// All keys between two bounds, in the order of values.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct KeyRange {
    /// Where it begins.
    pub start: Bound<Key>,
    /// Where it ends.
    pub end: Bound<Key>,
}

impl KeyRange {
    /// Every key.
    pub fn all() -> KeyRange {
        KeyRange { start: Bound::Unbounded, end: Bound::Unbounded }
    }

    /// One key alone.
    pub fn single(key: Key) -> KeyRange {
        KeyRange { start: Bound::Included(key.clone()), end: Bound::Included(key) }
    }

    /// All keys whose first values are those of this key, itself included.
    pub fn prefix(first: &Key) -> KeyRange {
        if first.is_empty() {
            return KeyRange::all();
        }
        KeyRange { start: Bound::Included(first.clone()), end: behind(first) }
    }

    /// All keys whose first values are these, followed by a text that begins with this one: what `LIKE 'abc%'` finds.
    ///
    /// # Errors
    /// As [`Key::encode`].
    pub fn text_prefix<'a>(
        first: impl IntoIterator<Item = ValueRef<'a>>,
        text: &str,
    ) -> Result<KeyRange, ValueError> {
        let mut buffer = KeyBuffer::new();
        for value in first {
            buffer.push(value)?;
        }
        buffer.push(ValueRef::Text(text))?;
        let whole = buffer.finish()?;
        // Without the two bytes that end a text, the key is a prefix of every longer text's.
        Ok(KeyRange::prefix(&Key::from_encoded(&whole[..whole.len() - 2])))
    }

    /// All keys that begin with this one or come after all that do: the start of what is greater than a prefix.
    pub fn behind_prefix(first: &Key) -> Bound<Key> {
        match behind(first) {
            Bound::Excluded(key) => Bound::Included(key),
            other => other,
        }
    }

    /// Whether the key lies in it.
    pub fn contains(&self, key: &[u8]) -> bool {
        let after_start = match &self.start {
            Bound::Included(start) => **start <= *key,
            Bound::Excluded(start) => **start < *key,
            Bound::Unbounded => true,
        };
        after_start
            && match &self.end {
                Bound::Included(end) => *key <= **end,
                Bound::Excluded(end) => *key < **end,
                Bound::Unbounded => true,
            }
    }

    /// Whether no key can lie in it. `false` does not promise that one does.
    pub fn is_empty(&self) -> bool {
        ends_before(&self.end, &self.start)
    }

    /// Whether a key can lie in both.
    pub fn intersects(&self, other: &KeyRange) -> bool {
        !(self.is_empty()
            || other.is_empty()
            || ends_before(&self.end, &other.start)
            || ends_before(&other.end, &self.start))
    }
}

/// Whether everything up to `end` comes before everything from `start` on.
fn ends_before(end: &Bound<Key>, start: &Bound<Key>) -> bool {
    match (end, start) {
        (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
        (Bound::Included(end), Bound::Included(start)) => end < start,
        (Bound::Included(end) | Bound::Excluded(end), Bound::Included(start) | Bound::Excluded(start)) => {
            end <= start
        }
    }
}

/// The end of all byte strings that begin with these: the last byte that can be raised is, and what follows it dropped.
fn behind(first: &[u8]) -> Bound<Key> {
    match first.iter().rposition(|&byte| byte != 0xff) {
        Some(last) => {
            let mut end = first[..=last].to_vec();
            end[last] += 1;
            Bound::Excluded(Key::from_encoded(&end))
        }
        None => Bound::Unbounded,
    }
}

impl RangeBounds<Key> for KeyRange {
    fn start_bound(&self) -> Bound<&Key> {
        self.start.as_ref()
    }

    fn end_bound(&self) -> Bound<&Key> {
        self.end.as_ref()
    }
}
