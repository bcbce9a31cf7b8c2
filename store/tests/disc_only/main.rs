//! Tables that live on disc alone, on a disc in memory and on a real one: as other tables, whatever of them is in memory.
//!
//! | module | what |
//! |---|---|
//! | `house` | a store with a log, driven as a node does it |
//! | `model` | against a plain map, by random operations |
//! | `moves` | rows that come and go under readers and writers |
//! | `damage` | rows that were changed, steps and discs that fail |
//! | `again` | steps that read what the image has had before |
//! | `room` | what the image takes of the disc, whatever is written over and over |

mod again;
mod damage;
mod house;
mod model;
mod moves;
#[path = "../shared/over.rs"]
mod over;
mod room;
