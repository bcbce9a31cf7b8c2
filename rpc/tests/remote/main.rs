//! The server over a real embedded node, and the client, over a real connection on a free port of the loopback.

mod backups;
mod changes;
mod cluster;
mod connections;
mod deadlines;
mod disc_only;
mod events;
mod interactive;
mod limits;
mod operations;
mod patterns;
mod queries;
mod rows;
mod sequences;
mod served;
mod services;
mod transactions;
