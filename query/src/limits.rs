//! Every bound of this room, by name, with the sum behind the number. What would pass a bound is refused with an error
//! of kind [`crate::ErrorKind::Limit`] that names it.

/// Longest text of a statement, in bytes. A syntax tree takes some 300 bytes for a literal of two, so this text may cost
/// 80 MiB while it is parsed. Bulk data belongs in parameters or in several statements.
pub const TEXT_BYTES_MAX: usize = 256 * 1024;

/// Deepest nesting of parentheses, calls and operators in one expression. Binding and evaluation recurse once per level
/// with at most a few KiB, far below the 2 MiB of a thread's stack. Chains of AND, of OR, and lists count as one level.
pub const EXPRESSION_DEPTH_MAX: usize = 128;

/// How deep the parser may recurse. It takes several steps per level of an expression.
pub const PARSE_DEPTH_MAX: usize = 300;

/// Most words and signs between two commas, counted along the open parentheses. The parser builds chains of operators
/// as trees as deep as the chain is long, and dropping or printing such a tree recurses: 1,000 levels stay below 1 MiB of stack.
pub const CHAIN_TOKENS_MAX: usize = 2_000;

/// Most tests and listed values of one filter: a list of lookups as long as [`LOOKUPS_MAX`] twice over.
pub const FILTER_TESTS_MAX: usize = 20_000;

/// Most tables in one FROM. Finding a join order looks at every table for every place.
pub const TABLES_MAX: usize = 16;

/// Most columns of a result.
pub const COLUMNS_MAX: usize = 1024;

/// Most parameters of a statement.
pub const PARAMETERS_MAX: usize = 65_535;

/// Most key lookups or ranges that one access path of one table is made of: IN lists over several attributes multiply.
/// Above, the list is a filter instead.
pub const LOOKUPS_MAX: usize = 10_000;

/// Longest text, list or bytes that an expression may make, in bytes.
pub const VALUE_BYTES_MAX: usize = 8 * 1024 * 1024;

/// What one execution may hold in memory at once: groups, rows to be sorted, the inner side of a hash join, changes to
/// be written. Rows that stream through are not held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most rows held.
    pub held_rows_max: usize,
    /// Most bytes held, as far as they are counted: values and keys with their overhead, not the allocator's.
    pub held_bytes_max: usize,
}

/// A million rows, 256 MiB: a few such queries at once still fit a small machine.
impl Default for Limits {
    fn default() -> Limits {
        Limits { held_rows_max: 1_000_000, held_bytes_max: 256 * 1024 * 1024 }
    }
}
