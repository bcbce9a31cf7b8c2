//! Control planes under simulation: all nodes in one thread, on a clock that moves only when everybody waits, over a network
//! and discs that obey a seed. And what needs none: files, and bytes that are no messages.

mod chaos;
mod durable;
mod file;
mod garbage;
mod leadership;
mod members;
mod simulation;
mod wire;
mod world;
