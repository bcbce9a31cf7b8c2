//! The lexical rules and the few switches of the parser. Everything a switch does not open is refused by the parser
//! itself, and what it still reads but we do not execute is refused in [`crate::parse`].

use sqlparser::dialect::Dialect;

/// Our SQL: names as in most systems, quoted with double quotes; lists `[1, 2]` and maps `{'a': 1}`.
#[derive(Debug)]
pub(crate) struct HypermnesiaDialect;

impl Dialect for HypermnesiaDialect {
    fn is_identifier_start(&self, ch: char) -> bool {
        ch.is_alphabetic() || ch == '_'
    }

    fn is_identifier_part(&self, ch: char) -> bool {
        ch.is_alphanumeric() || ch == '_'
    }

    fn is_delimited_identifier_start(&self, ch: char) -> bool {
        ch == '"'
    }

    fn identifier_quote_style(&self, _identifier: &str) -> Option<char> {
        Some('"')
    }

    fn supports_group_by_expr(&self) -> bool {
        true
    }

    fn supports_dictionary_syntax(&self) -> bool {
        true
    }

    fn supports_create_index_with_clause(&self) -> bool {
        false
    }

    fn supports_alter_column_type_using(&self) -> bool {
        true
    }

    fn supports_array_typedef_without_element_type(&self) -> bool {
        true
    }
}
