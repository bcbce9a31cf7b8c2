//! Replicated in-memory tables for Rust programs.

pub mod record;

pub use record::Record;
