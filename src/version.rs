//! A row together with the commit it comes from, for who reads a row, thinks, and writes it back only if nobody else has
//! written it meanwhile.

use hypermnesia_store::Timestamp;

/// What a key holds, and since which commit.
///
/// The version is the commit timestamp of the last change of the key (of any of its rows, in a bag). It grows with every
/// change, is the same on every copy, survives restarts, and is never used again for the key: equal versions are equal
/// rows. What a transaction has written itself has no version before its commit: it shows [`Timestamp::NEVER`], which
/// [`swap_if_version`](crate::Transaction::swap_if_version) takes for no version at all.
///
/// ```
/// use hypermnesia::{Node, TableDef, Type, Value};
/// let node = Node::builder().build()?;
/// let pages = node.create_table(TableDef::builder("pages").attribute("path", Type::Text).attribute("html", Type::Text))?;
/// let key = [Value::from("/")];
/// pages.insert(&[key[0].clone(), Value::from("old")])?;
/// let seen = pages.get_versioned(&key)?.expect("it was put");
/// let mine = [key[0].clone(), Value::from("mine")];
/// let version = pages.swap_if_version(&key, seen.version, Some(&mine))?.expect("nobody wrote meanwhile");
/// assert_eq!(pages.swap_if_version(&key, seen.version, None)?, None); // it has changed since
/// assert_eq!(pages.get_versioned(&key)?.map(|now| now.version), Some(version));
/// # Ok::<(), hypermnesia::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Versioned<T> {
    /// The row; where all rows of a key are asked for, all of them.
    pub row: T,
    /// The commit timestamp; [`Timestamp::NEVER`] when there is no row, and for what this transaction has written itself.
    pub version: Timestamp,
}
