//! Crashes of the log and the image, on a disc that forgets. Method: a seeded run of transactions at all ack levels, with
//! checkpoints and trimming, is cut at every operation of the disc (or an even share of them: all with `HMN_CRASH_ALL=1`),
//! reopened in several ways, and compared with what a plain map held after so many transactions. Every transaction writes a
//! counter, so the reopened directory says itself how many it has: at least all that were acknowledged at a level that
//! survives, each whole.
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
