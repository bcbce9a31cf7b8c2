//! How keys and rows are written down in a call: a single value, a tuple, a list of values.

use crate::Value;
use crate::proto;

/// One row as it is answered: a value for each attribute, in the order of the table's definition.
pub type Row = Vec<Value>;

/// The values of a key, a row or a statement's parameters.
///
/// ```
/// use hypermnesia_rpc::{Value, client::Values};
/// assert_eq!(Values::from("Ada").0, vec![Value::from("Ada")]);
/// assert_eq!(Values::from((1, "Ada", 2.5)).0.len(), 3);
/// assert_eq!(Values::from([1, 2]).0, vec![Value::Int(1), Value::Int(2)]);
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Values(pub Vec<Value>);

macro_rules! from_single {
    ($($single:ty),*) => { $(
        impl From<$single> for Values {
            fn from(value: $single) -> Values {
                Values(vec![value.into()])
            }
        }
    )* };
}
from_single!(i8, i16, i32, i64, u8, u16, u32, u64, bool, f64, &str, String, Value);

macro_rules! from_tuple {
    ($($name:ident)*) => {
        impl<$($name: Into<Value>),*> From<($($name,)*)> for Values {
            #[expect(non_snake_case, reason = "the names of the type parameters serve as names of the fields")]
            fn from(($($name,)*): ($($name,)*)) -> Values {
                Values(vec![$($name.into()),*])
            }
        }
    };
}
from_tuple!(A);
from_tuple!(A B);
from_tuple!(A B C);
from_tuple!(A B C D);
from_tuple!(A B C D E);
from_tuple!(A B C D E F);
from_tuple!(A B C D E F G);
from_tuple!(A B C D E F G H);

impl<T: Into<Value>> From<Vec<T>> for Values {
    fn from(values: Vec<T>) -> Values {
        Values(values.into_iter().map(Into::into).collect())
    }
}

impl<T: Into<Value>, const N: usize> From<[T; N]> for Values {
    fn from(values: [T; N]) -> Values {
        Values(values.into_iter().map(Into::into).collect())
    }
}

impl From<()> for Values {
    fn from((): ()) -> Values {
        Values::default()
    }
}

impl From<Values> for proto::Row {
    fn from(values: Values) -> proto::Row {
        values.0.into()
    }
}

impl From<Values> for proto::Key {
    fn from(values: Values) -> proto::Key {
        values.0.into()
    }
}

/// Rows of an answer.
pub(super) fn rows(rows: Vec<proto::Row>) -> Result<Vec<Row>, crate::Error> {
    rows.into_iter().map(|row| crate::value::from_messages(row.values, "row.values")).collect()
}
