//! The `Record` derive macro of Hypermnesia: a struct with named fields becomes a table's definition and the way between
//! its values and rows. Use it through the `hypermnesia` crate; what the attributes mean is told there, at `Record`.
//!
//! It only reads tokens and writes tokens: `parse` turns the struct into a plain description and finds all mistakes,
//! each at the place of its cause; `expand` turns a good description into code and cannot fail.

mod expand;
mod parse;

use proc_macro::TokenStream;

/// Derives `hypermnesia::Record` for a struct with named fields.
///
/// On the struct: `table = "name"` (its own name in snake case if left out), `kind = "set" | "ordered_set" | "bag"`,
/// `version = N`, `index(NAME(FIELD, ...))` and `unique(NAME(FIELD, ...))` for indexes over several fields, and
/// `view = "NAME"` for the borrowed form (`<Struct>View` if left out). On a field: `key` (several in order make a composite
/// key), `index` or `index = "name"`, `unique` or `unique = "name"`, `rename = "name"`, and `default` for a field that
/// rows of older versions lack.
#[proc_macro_derive(Record, attributes(record))]
pub fn derive_record(input: TokenStream) -> TokenStream {
    let input = syn::parse_macro_input!(input as syn::DeriveInput);
    match parse::parse(&input) {
        Ok(record) => expand::expand(&record).into(),
        Err(mistakes) => mistakes.to_compile_error().into(),
    }
}
