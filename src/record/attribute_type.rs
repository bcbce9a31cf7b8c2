//! Which Rust types are attributes, and how each becomes a value and is made from one. Strings, bytes and numbers are lent
//! to the encoder without a copy; lists and maps are built as values first.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hypermnesia_store::calendar::Moment;
use hypermnesia_store::{Type, Value, ValueRef};

/// A value on its way into a row: borrowed from the record where that is possible.
#[derive(Clone, Debug)]
pub enum Lent<'a> {
    /// Within the record.
    Borrowed(ValueRef<'a>),
    /// Made for the occasion.
    Owned(Value),
}

impl Lent<'_> {
    /// The value.
    pub fn as_ref(&self) -> ValueRef<'_> {
        match self {
            Lent::Borrowed(value) => *value,
            Lent::Owned(value) => value.as_ref(),
        }
    }

    /// The value, owned.
    pub fn into_value(self) -> Value {
        match self {
            Lent::Borrowed(value) => value.to_value(),
            Lent::Owned(value) => value,
        }
    }
}

/// A value is not of the type that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{given} where {wanted} was wanted")]
pub struct Misfit {
    /// What was asked for.
    pub wanted: &'static str,
    /// What is there.
    pub given: &'static str,
}

/// Can be written as the value of an attribute.
pub trait ToValue {
    /// The value, borrowed where possible.
    fn lend(&self) -> Lent<'_>;

    /// The value of a list of these. Bytes are a value of their own; everything else is a list.
    fn lend_list(list: &[Self]) -> Lent<'_>
    where
        Self: Sized,
    {
        Lent::Owned(Value::List(list.iter().map(|item| item.lend().into_value()).collect()))
    }
}

/// Can be read from the value of an attribute, possibly borrowing from its row.
pub trait FromValue<'r>: Sized {
    /// Reads one.
    ///
    /// # Errors
    /// [`Misfit`] when the value is of another type or out of range.
    fn from_value(value: ValueRef<'r>) -> Result<Self, Misfit>;

    /// Reads a list of them.
    ///
    /// # Errors
    /// [`Misfit`] when the value or one of its elements does not fit.
    fn list_from_value(value: ValueRef<'r>) -> Result<Vec<Self>, Misfit> {
        match value {
            ValueRef::List(list) => list.iter().map(Self::from_value).collect(),
            other => Err(Misfit { wanted: "list", given: other.type_name() }),
        }
    }
}

/// A type whose values are an attribute of a table: the type of a record's field.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be an attribute of a table",
    note = "attributes are bool, integers, f32, f64, String, Vec<u8>, Moment, SystemTime, Value, and Option, Vec, BTreeMap of these"
)]
pub trait AttributeType: ToValue + for<'r> FromValue<'r> {
    /// The type of the attribute.
    const TYPE: Type;
    /// The type of an attribute that holds a list of these.
    const LIST_TYPE: Type = Type::List;
    /// Whether the attribute takes null.
    const NULLABLE: bool = false;
    /// How it is read in place.
    type View<'r>: FromValue<'r>;
    /// How a list of these is read in place.
    type ListView<'r>: FromValue<'r>;
}

/// `ToValue` by a borrowed value, and views that are the type itself.
macro_rules! plain {
    ($($ty:ty, $type:ident, $lend:expr, $wanted:literal, $read:expr;)*) => { $(
        impl ToValue for $ty {
            fn lend(&self) -> Lent<'_> {
                let lend: fn(&$ty) -> ValueRef<'_> = $lend;
                Lent::Borrowed(lend(self))
            }
        }

        impl<'r> FromValue<'r> for $ty {
            fn from_value(value: ValueRef<'r>) -> Result<Self, Misfit> {
                let read: fn(ValueRef<'r>) -> Option<$ty> = $read;
                read(value).ok_or(Misfit { wanted: $wanted, given: value.type_name() })
            }
        }

        impl AttributeType for $ty {
            const TYPE: Type = Type::$type;
            type View<'r> = $ty;
            type ListView<'r> = Vec<$ty>;
        }
    )* };
}

plain! {
    bool, Bool, |b| ValueRef::Bool(*b), "bool", |v| match v { ValueRef::Bool(b) => Some(b), _ => None };
    f64, Float, |x| ValueRef::Float(*x), "float", |v| match Type::Float.admit(v) {
        Some(ValueRef::Float(x)) => Some(x),
        _ => None,
    };
    f32, Float, |x| ValueRef::Float(f64::from(*x)), "float", |v| match Type::Float.admit(v) {
        // Every f32 is an f64; the way back is exact for those that came from one.
        Some(ValueRef::Float(x)) => Some(x as f32),
        _ => None,
    };
    Moment, Timestamp, |m| ValueRef::Timestamp(m.0), "timestamp", |v| match v {
        ValueRef::Timestamp(us) => Some(Moment(us)),
        _ => None,
    };
    // Cut to microseconds; moments that do not fit are held at the ends of the range.
    SystemTime, Timestamp, |time| ValueRef::Timestamp(microseconds(*time)), "timestamp", |v| match v {
        ValueRef::Timestamp(us) => {
            let distance = Duration::from_micros(us.unsigned_abs());
            if us < 0 { UNIX_EPOCH.checked_sub(distance) } else { UNIX_EPOCH.checked_add(distance) }
        }
        _ => None,
    };
}

fn microseconds(time: SystemTime) -> i64 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_micros()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_micros()).map_or(i64::MIN, |us| -us),
    }
}

macro_rules! integers {
    ($($ty:ty, $wanted:literal;)*) => { $(
        impl ToValue for $ty {
            #[inline]
            fn lend(&self) -> Lent<'_> {
                Lent::Borrowed(match i64::try_from(*self) {
                    Ok(n) => ValueRef::Int(n),
                    // Only u64 and usize come here, and they fit.
                    Err(_) => ValueRef::Uint(*self as u64),
                })
            }
        }

        impl<'r> FromValue<'r> for $ty {
            #[inline]
            fn from_value(value: ValueRef<'r>) -> Result<Self, Misfit> {
                match value {
                    ValueRef::Int(n) => <$ty>::try_from(n).ok(),
                    ValueRef::Uint(n) => <$ty>::try_from(n).ok(),
                    other => return Err(Misfit { wanted: $wanted, given: other.type_name() }),
                }
                .ok_or(Misfit { wanted: $wanted, given: "an int out of range" })
            }
        }

        impl AttributeType for $ty {
            const TYPE: Type = Type::Int;
            type View<'r> = $ty;
            type ListView<'r> = Vec<$ty>;
        }
    )* };
}

integers! {
    i8, "i8"; i16, "i16"; i32, "i32"; i64, "i64"; isize, "isize";
    u16, "u16"; u32, "u32"; u64, "u64"; usize, "usize";
}

impl ToValue for u8 {
    fn lend(&self) -> Lent<'_> {
        Lent::Borrowed(ValueRef::Int(i64::from(*self)))
    }

    fn lend_list(list: &[u8]) -> Lent<'_> {
        Lent::Borrowed(ValueRef::Bytes(list))
    }
}

impl<'r> FromValue<'r> for u8 {
    fn from_value(value: ValueRef<'r>) -> Result<u8, Misfit> {
        let wide = u16::from_value(value).map_err(|misfit| Misfit { wanted: "u8", ..misfit })?;
        u8::try_from(wide).map_err(|_| Misfit { wanted: "u8", given: "an int out of range" })
    }

    fn list_from_value(value: ValueRef<'r>) -> Result<Vec<u8>, Misfit> {
        <&[u8]>::from_value(value).map(<[u8]>::to_vec)
    }
}

impl AttributeType for u8 {
    const TYPE: Type = Type::Int;
    const LIST_TYPE: Type = Type::Bytes;
    type View<'r> = u8;
    type ListView<'r> = &'r [u8];
}

impl<'r> FromValue<'r> for &'r [u8] {
    fn from_value(value: ValueRef<'r>) -> Result<&'r [u8], Misfit> {
        match value {
            ValueRef::Bytes(bytes) => Ok(bytes),
            other => Err(Misfit { wanted: "bytes", given: other.type_name() }),
        }
    }
}

impl ToValue for str {
    fn lend(&self) -> Lent<'_> {
        Lent::Borrowed(ValueRef::Text(self))
    }
}

impl ToValue for [u8] {
    fn lend(&self) -> Lent<'_> {
        Lent::Borrowed(ValueRef::Bytes(self))
    }
}

impl<'r> FromValue<'r> for &'r str {
    fn from_value(value: ValueRef<'r>) -> Result<&'r str, Misfit> {
        match value {
            ValueRef::Text(text) => Ok(text),
            other => Err(Misfit { wanted: "text", given: other.type_name() }),
        }
    }
}

impl ToValue for String {
    fn lend(&self) -> Lent<'_> {
        Lent::Borrowed(ValueRef::Text(self))
    }
}

impl<'r> FromValue<'r> for String {
    fn from_value(value: ValueRef<'r>) -> Result<String, Misfit> {
        <&str>::from_value(value).map(str::to_owned)
    }
}

impl AttributeType for String {
    const TYPE: Type = Type::Text;
    type View<'r> = &'r str;
    type ListView<'r> = Vec<&'r str>;
}

impl ToValue for Value {
    fn lend(&self) -> Lent<'_> {
        Lent::Borrowed(self.as_ref())
    }
}

impl<'r> FromValue<'r> for Value {
    fn from_value(value: ValueRef<'r>) -> Result<Value, Misfit> {
        Ok(value.to_value())
    }
}

impl<'r> FromValue<'r> for ValueRef<'r> {
    fn from_value(value: ValueRef<'r>) -> Result<ValueRef<'r>, Misfit> {
        Ok(value)
    }
}

impl AttributeType for Value {
    const TYPE: Type = Type::Any;
    const NULLABLE: bool = true;
    type View<'r> = ValueRef<'r>;
    type ListView<'r> = Vec<ValueRef<'r>>;
}

impl<T: ToValue> ToValue for &T {
    fn lend(&self) -> Lent<'_> {
        T::lend(self)
    }
}

impl<T: ToValue> ToValue for Option<T> {
    fn lend(&self) -> Lent<'_> {
        self.as_ref().map_or(Lent::Borrowed(ValueRef::Null), T::lend)
    }
}

impl<'r, T: FromValue<'r>> FromValue<'r> for Option<T> {
    fn from_value(value: ValueRef<'r>) -> Result<Option<T>, Misfit> {
        if value.is_null() { Ok(None) } else { T::from_value(value).map(Some) }
    }
}

impl<T: AttributeType> AttributeType for Option<T> {
    const TYPE: Type = T::TYPE;
    const NULLABLE: bool = true;
    type View<'r> = Option<T::View<'r>>;
    type ListView<'r> = Vec<Option<T::View<'r>>>;
}

impl<T: ToValue> ToValue for Vec<T> {
    fn lend(&self) -> Lent<'_> {
        T::lend_list(self)
    }
}

impl<'r, T: FromValue<'r>> FromValue<'r> for Vec<T> {
    fn from_value(value: ValueRef<'r>) -> Result<Vec<T>, Misfit> {
        T::list_from_value(value)
    }
}

impl<T: AttributeType> AttributeType for Vec<T> {
    const TYPE: Type = T::LIST_TYPE;
    type View<'r> = T::ListView<'r>;
    type ListView<'r> = Vec<T::ListView<'r>>;
}

impl<K: ToValue, V: ToValue> ToValue for BTreeMap<K, V> {
    fn lend(&self) -> Lent<'_> {
        let pairs = self.iter().map(|(key, value)| (key.lend().into_value(), value.lend().into_value()));
        Lent::Owned(Value::Map(pairs.collect()))
    }
}

impl<'r, K: FromValue<'r> + Ord, V: FromValue<'r>> FromValue<'r> for BTreeMap<K, V> {
    fn from_value(value: ValueRef<'r>) -> Result<BTreeMap<K, V>, Misfit> {
        match value {
            ValueRef::Map(map) => {
                map.iter().map(|(key, value)| Ok((K::from_value(key)?, V::from_value(value)?))).collect()
            }
            other => Err(Misfit { wanted: "map", given: other.type_name() }),
        }
    }
}

impl<K: AttributeType + Ord, V: AttributeType> AttributeType for BTreeMap<K, V> {
    const TYPE: Type = Type::Map;
    type View<'r> = BTreeMap<K, V>;
    type ListView<'r> = Vec<BTreeMap<K, V>>;
}
