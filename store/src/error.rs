//! What can be wrong with a value, a key, a row or encoded bytes. None of these errors changes any state: they are found
//! before anything is stored. Schema errors stand beside the schema, clock errors beside the clock.

use crate::limits::{ATTRIBUTES_MAX, KEY_BYTES_MAX, ROW_BYTES_MAX, VALUE_DEPTH_MAX};

/// A value that cannot be stored as it is. Doing the same again fails again; nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ValueError {
    /// Lists and maps are nested deeper than [`VALUE_DEPTH_MAX`].
    #[error("value is nested too deeply (at most {VALUE_DEPTH_MAX} levels)")]
    TooDeep,
    /// The encoded key is longer than [`KEY_BYTES_MAX`]. The text or bytes in it are too long.
    #[error("key is too large: more than {KEY_BYTES_MAX} bytes when encoded")]
    KeyTooLarge,
    /// The encoded row would be longer than [`ROW_BYTES_MAX`].
    #[error("row is too large: {bytes} bytes when encoded, at most {ROW_BYTES_MAX}")]
    RowTooLarge {
        /// What it would need.
        bytes: usize,
    },
    /// More values than a row may have attributes.
    #[error("row has {count} attributes, at most {ATTRIBUTES_MAX}")]
    TooManyAttributes {
        /// How many were given.
        count: usize,
    },
}

/// Bytes from a disc or a peer that are not what they claim to be. They were not stored and must not be served.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed {what} at byte {offset}: {why}")]
pub struct Malformed {
    /// What was being read: "row", "key", "value".
    pub what: &'static str,
    /// Where in the bytes.
    pub offset: usize,
    /// Which rule is broken.
    pub why: &'static str,
}
