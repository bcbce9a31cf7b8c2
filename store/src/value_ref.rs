//! The values of attributes, borrowed: from an owned [`Value`] or straight from the bytes of a row. Everything that looks
//! at values (order, key encoding, row encoding, type checks) is written once, for this type.

use std::collections::BTreeMap;
use std::fmt;

use crate::row::value_bytes;
use crate::value::Value;

/// A borrowed [`Value`]. Copying it costs two words and a tag.
#[derive(Clone, Copy, Debug, Default)]
pub enum ValueRef<'a> {
    /// See [`Value::Null`].
    #[default]
    Null,
    /// See [`Value::Bool`].
    Bool(bool),
    /// See [`Value::Int`].
    Int(i64),
    /// See [`Value::Uint`].
    Uint(u64),
    /// See [`Value::Float`].
    Float(f64),
    /// See [`Value::Text`].
    Text(&'a str),
    /// See [`Value::Bytes`].
    Bytes(&'a [u8]),
    /// See [`Value::Timestamp`].
    Timestamp(i64),
    /// See [`Value::List`].
    List(ListRef<'a>),
    /// See [`Value::Map`].
    Map(MapRef<'a>),
}

impl<'a> ValueRef<'a> {
    /// An owned copy.
    pub fn to_value(self) -> Value {
        match self {
            ValueRef::Null => Value::Null,
            ValueRef::Bool(b) => Value::Bool(b),
            ValueRef::Int(n) => Value::Int(n),
            ValueRef::Uint(n) => Value::from(n),
            ValueRef::Float(x) => Value::Float(x),
            ValueRef::Text(s) => Value::Text(s.to_owned()),
            ValueRef::Bytes(b) => Value::Bytes(b.to_vec()),
            ValueRef::Timestamp(us) => Value::Timestamp(us),
            ValueRef::List(list) => Value::List(list.iter().map(ValueRef::to_value).collect()),
            ValueRef::Map(map) => Value::Map(map.iter().map(|(k, v)| (k.to_value(), v.to_value())).collect()),
        }
    }

    /// Whether it is [`ValueRef::Null`].
    pub fn is_null(self) -> bool {
        matches!(self, ValueRef::Null)
    }

    /// The word for its type, as error messages use it.
    pub fn type_name(self) -> &'static str {
        match self {
            ValueRef::Null => "null",
            ValueRef::Bool(_) => "bool",
            ValueRef::Int(_) | ValueRef::Uint(_) => "int",
            ValueRef::Float(_) => "float",
            ValueRef::Text(_) => "text",
            ValueRef::Bytes(_) => "bytes",
            ValueRef::Timestamp(_) => "timestamp",
            ValueRef::List(_) => "list",
            ValueRef::Map(_) => "map",
        }
    }

    /// A whole number, whichever of the two variants holds it.
    pub(crate) fn as_whole(self) -> Option<i128> {
        match self {
            ValueRef::Int(n) => Some(i128::from(n)),
            ValueRef::Uint(n) => Some(i128::from(n)),
            _ => None,
        }
    }
}

/// A borrowed list.
#[derive(Clone, Copy, Debug)]
pub struct ListRef<'a>(Items<'a>);

#[derive(Clone, Copy, Debug)]
enum Items<'a> {
    Values(&'a [Value]),
    /// Checked row bytes of so many elements.
    Encoded(usize, &'a [u8]),
}

impl<'a> ListRef<'a> {
    pub(crate) fn from_values(items: &'a [Value]) -> ListRef<'a> {
        ListRef(Items::Values(items))
    }

    pub(crate) fn from_encoded(count: usize, bytes: &'a [u8]) -> ListRef<'a> {
        ListRef(Items::Encoded(count, bytes))
    }

    /// How many elements it has.
    pub fn len(self) -> usize {
        match self.0 {
            Items::Values(items) => items.len(),
            Items::Encoded(count, _) => count,
        }
    }

    /// Whether it has none.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// The elements in order.
    pub fn iter(self) -> ListIter<'a> {
        ListIter(self.0)
    }
}

impl<'a> IntoIterator for ListRef<'a> {
    type Item = ValueRef<'a>;
    type IntoIter = ListIter<'a>;

    fn into_iter(self) -> ListIter<'a> {
        self.iter()
    }
}

/// The elements of a [`ListRef`].
#[derive(Clone, Debug)]
pub struct ListIter<'a>(Items<'a>);

impl<'a> Iterator for ListIter<'a> {
    type Item = ValueRef<'a>;

    fn next(&mut self) -> Option<ValueRef<'a>> {
        match &mut self.0 {
            Items::Values(items) => {
                let (first, rest) = items.split_first()?;
                *items = rest;
                Some(first.as_ref())
            }
            Items::Encoded(0, _) => None,
            Items::Encoded(count, bytes) => {
                *count -= 1;
                Some(value_bytes::take_element(bytes))
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = ListRef(self.0).len();
        (left, Some(left))
    }
}

impl ExactSizeIterator for ListIter<'_> {}

/// A borrowed map.
#[derive(Clone, Copy, Debug)]
pub struct MapRef<'a>(Pairs<'a>);

#[derive(Clone, Copy, Debug)]
enum Pairs<'a> {
    Tree(&'a BTreeMap<Value, Value>),
    /// Checked row bytes of so many pairs, keys ascending.
    Encoded(usize, &'a [u8]),
}

impl<'a> MapRef<'a> {
    pub(crate) fn from_tree(pairs: &'a BTreeMap<Value, Value>) -> MapRef<'a> {
        MapRef(Pairs::Tree(pairs))
    }

    pub(crate) fn from_encoded(count: usize, bytes: &'a [u8]) -> MapRef<'a> {
        MapRef(Pairs::Encoded(count, bytes))
    }

    /// How many pairs it has.
    pub fn len(self) -> usize {
        match self.0 {
            Pairs::Tree(pairs) => pairs.len(),
            Pairs::Encoded(count, _) => count,
        }
    }

    /// Whether it has none.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// The pairs in the order of their keys.
    pub fn iter(self) -> MapIter<'a> {
        MapIter(match self.0 {
            Pairs::Tree(pairs) => PairsIter::Tree(pairs.iter()),
            Pairs::Encoded(count, bytes) => PairsIter::Encoded(count, bytes),
        })
    }
}

impl<'a> IntoIterator for MapRef<'a> {
    type Item = (ValueRef<'a>, ValueRef<'a>);
    type IntoIter = MapIter<'a>;

    fn into_iter(self) -> MapIter<'a> {
        self.iter()
    }
}

/// The pairs of a [`MapRef`].
#[derive(Clone, Debug)]
pub struct MapIter<'a>(PairsIter<'a>);

#[derive(Clone, Debug)]
enum PairsIter<'a> {
    Tree(std::collections::btree_map::Iter<'a, Value, Value>),
    Encoded(usize, &'a [u8]),
}

impl<'a> Iterator for MapIter<'a> {
    type Item = (ValueRef<'a>, ValueRef<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        match &mut self.0 {
            PairsIter::Tree(pairs) => pairs.next().map(|(k, v)| (k.as_ref(), v.as_ref())),
            PairsIter::Encoded(0, _) => None,
            PairsIter::Encoded(count, bytes) => {
                *count -= 1;
                let key = value_bytes::take_element(bytes);
                Some((key, value_bytes::take_element(bytes)))
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = match &self.0 {
            PairsIter::Tree(pairs) => pairs.len(),
            PairsIter::Encoded(count, _) => *count,
        };
        (left, Some(left))
    }
}

impl ExactSizeIterator for MapIter<'_> {}

impl fmt::Display for ValueRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ValueRef::Null => f.write_str("null"),
            ValueRef::Bool(b) => write!(f, "{b}"),
            ValueRef::Int(n) => write!(f, "{n}"),
            ValueRef::Uint(n) => write!(f, "{n}"),
            // Debug prints 1.0, where Display prints 1, which would read as an int.
            ValueRef::Float(x) => write!(f, "{x:?}"),
            ValueRef::Text(s) => write!(f, "'{}'", s.replace('\'', "''")),
            ValueRef::Bytes(bytes) => {
                f.write_str("x'")?;
                bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
                f.write_str("'")
            }
            ValueRef::Timestamp(us) => write!(f, "timestamp '{}'", crate::calendar::Moment(*us)),
            ValueRef::List(list) => {
                f.write_str("[")?;
                for (n, item) in list.iter().enumerate() {
                    write!(f, "{}{item}", if n == 0 { "" } else { ", " })?;
                }
                f.write_str("]")
            }
            ValueRef::Map(map) => {
                f.write_str("{")?;
                for (n, (key, value)) in map.iter().enumerate() {
                    write!(f, "{}{key}: {value}", if n == 0 { "" } else { ", " })?;
                }
                f.write_str("}")
            }
        }
    }
}
