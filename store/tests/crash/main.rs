//! Crashes of the log and the image, on a disc that forgets. Method: a seeded run of transactions at all ack levels, with
//! checkpoints, trimming and a clean stop, is cut at every write, sync and change of a name, for tables with their rows in
//! memory and on disc alone. What is left is opened as a killed process leaves it, and as a power cut does: unsynced writes
//! dropped, kept, and four times lost, kept or torn by chance, which is in any order. The opening is cut at each of its own
//! operations too. Each time what is there is compared with what a plain map held after so many transactions. Every
//! transaction writes a counter, so the reopened directory says itself how many it has: at least all that were acknowledged
//! at a level that survives, each whole.
//!
//! | module | what |
//! |---|---|
//! | `session` | the run, and what it should leave |
//! | `backlog` | what waits to be written |
//! | `cuts` | the run cut short, and failing discs |
//! | `damage` | files changed, cut and taken away |
//! | `owner` | directories and files of somebody else |
//! | `open_files` | what stays open of a directory that is refused |
//! | `full` | no space on the disc |
//! | `fuzz` | files changed at random |

#[path = "../shared/asked.rs"]
mod asked;
mod backlog;
mod cuts;
mod damage;
mod full;
mod fuzz;
#[path = "../shared/mutation.rs"]
mod mutation;
mod open_files;
#[path = "../shared/over.rs"]
mod over;
mod owner;
mod session;
