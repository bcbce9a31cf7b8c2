//! The forms in which a key may be given: a `String` key also as `&str`, a composite key as a tuple of such forms, as
//! the standard maps do with `Borrow`. Nothing is copied on the way into the encoded key.

use std::time::SystemTime;

use hypermnesia_store::calendar::Moment;
use hypermnesia_store::{Key, RowError, TableDef, Value};

use super::attribute_type::{Lent, ToValue};

/// `Self` is the type of a key, and `Q` a form in which it may be given.
///
/// ```
/// use hypermnesia::record::{KeyForm, Record};
///
/// #[derive(Record)]
/// struct Visit {
///     #[record(key)]
///     user: String,
///     #[record(key)]
///     day: u32,
/// }
///
/// fn encoded<R: Record, Q: ?Sized>(key: &Q) -> hypermnesia_store::Key
/// where
///     R::Key: KeyForm<Q>,
/// {
///     let table = R::definition().build().expect("a good definition");
///     R::Key::encode_key(key, &table).expect("fits the table")
/// }
/// assert_eq!(encoded::<Visit, _>(&("ann", 3)), encoded::<Visit, _>(&("ann".to_string(), 3_u32)));
/// ```
#[diagnostic::on_unimplemented(message = "`{Q}` is not a form of a key of type `{Self}`")]
pub trait KeyForm<Q: ?Sized> {
    /// Encodes the key for this table.
    ///
    /// # Errors
    /// [`RowError`] when it does not fit the table's key or is too large.
    fn encode_key(form: &Q, table: &TableDef) -> Result<Key, RowError>;
}

/// `Self` is the type of one value of a key, and `Q` a form in which it may be given.
#[diagnostic::on_unimplemented(message = "`{Q}` is not a form of a key's value of type `{Self}`")]
pub trait KeyPart<Q: ?Sized> {
    /// The value, borrowed where possible.
    fn lend_part(form: &Q) -> Lent<'_>;
}

impl<K: KeyPart<Q>, Q: ?Sized> KeyPart<&Q> for K {
    fn lend_part<'a>(form: &'a &Q) -> Lent<'a> {
        K::lend_part(*form)
    }
}

impl<K: KeyForm<Q>, Q: ?Sized> KeyForm<&Q> for K {
    fn encode_key(form: &&Q, table: &TableDef) -> Result<Key, RowError> {
        K::encode_key(*form, table)
    }
}

macro_rules! whole {
    ($($key:ty),*) => { $(
        impl KeyPart<$key> for $key {
            #[inline]
            fn lend_part(form: &$key) -> Lent<'_> {
                form.lend()
            }
        }

        impl KeyForm<$key> for $key {
            #[inline(always)]
            fn encode_key(form: &$key, table: &TableDef) -> Result<Key, RowError> {
                match i64::try_from(*form).ok().and_then(|n| table.whole_key(n)) {
                    Some(key) => Ok(key),
                    None => table.encode_key_refs([form.lend().as_ref()]),
                }
            }
        }
    )* };
}

whole!(i8, i16, i32, i64, isize, u8, u16, u32, u64, usize);

macro_rules! single {
    ($($key:ty: $($form:ty),+;)*) => { $( $(
        impl KeyPart<$form> for $key {
            #[inline]
            fn lend_part(form: &$form) -> Lent<'_> {
                form.lend()
            }
        }

        impl KeyForm<$form> for $key {
            #[inline]
            fn encode_key(form: &$form, table: &TableDef) -> Result<Key, RowError> {
                table.encode_key_refs([form.lend().as_ref()])
            }
        }
    )+ )* };
}

single! {
    bool: bool;
    f32: f32; f64: f64;
    String: String, str;
    Vec<u8>: Vec<u8>, [u8];
    Moment: Moment;
    SystemTime: SystemTime;
    Value: Value;
}

macro_rules! composite {
    ($(($($key:ident $form:ident $at:tt),+))*) => { $(
        impl<$($key: KeyPart<$form>, $form),+> KeyForm<($($form,)+)> for ($($key,)+) {
            fn encode_key(form: &($($form,)+), table: &TableDef) -> Result<Key, RowError> {
                let parts = [$($key::lend_part(&form.$at)),+];
                table.encode_key_refs(parts.iter().map(Lent::as_ref))
            }
        }
    )* };
}

composite! {
    (A P 0, B Q 1)
    (A P 0, B Q 1, C R 2)
    (A P 0, B Q 1, C R 2, D S 3)
    (A P 0, B Q 1, C R 2, D S 3, E T 4)
    (A P 0, B Q 1, C R 2, D S 3, E T 4, F U 5)
}
