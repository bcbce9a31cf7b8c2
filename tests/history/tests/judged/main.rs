//! The judge is judged: histories made by hand with one mistake each, histories of a store that does one transaction after
//! another, and the same store with a mistake of its own.

mod hand;
mod random;
