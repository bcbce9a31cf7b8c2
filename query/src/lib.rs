//! From SQL text to rows. A [`Statement`] is parsed once and executed many times over an [`Access`], which is a snapshot or
//! a transaction of the engine: names are bound, an access path per table is chosen, and rows are pushed one at a time to
//! a [`Sink`]. This room knows no peers, no disc and no clock, and believes nothing about the text it is given: length,
//! depth, joins and the memory of held rows are bounded in [`limits`]. What the language can do is said in `docs/sql.md`.

pub mod access;
pub mod alter;
mod bind;
mod dialect;
pub mod error;
mod eval;
mod execute;
mod explain;
mod expression;
mod filter;
mod function;
pub mod limits;
mod parse;
pub mod pattern;
mod plan;
pub mod schema;
pub mod sink;
pub mod statement;
mod suggest;
mod syntax;
mod write;

pub use access::{Access, Direction, Visit};
pub use alter::{Alteration, Change, Reform};
pub use error::{Error, ErrorKind, QueryError};
pub use filter::Filter;
pub use limits::Limits;
pub use pattern::{MatchPlan, Pattern, Reach};
pub use schema::{CreateIndex, CreateTable, NewIndex, SchemaChange};
pub use sink::{Column, Late, Rows, Sink};
pub use statement::{Outcome, Statement, StatementKind};
