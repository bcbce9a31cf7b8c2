//! What a node keeps on disc: the commit log, the image behind it, and what is read from them at the start.
//!
//! | module | noun |
//! |---|---|
//! | [`mod@file`], `real`, `mem` | the border to a disc; the real one; one that forgets, for crash tests |
//! | [`identity`] | whose a directory is, and how far its log had come |
//! | [`log`], `segment`, [`spare`] | appending, writing, syncing; the files; the next one, made ahead |
//! | [`record`], [`replay`], [`cut`] | what a frame says; reading all of them at the start; what stands behind the end |
//! | `image`, `held`, `database`, [`checkpoint`] | what tables held at a position of the log; bringing it forward |
//! | `backend`, `blocks`, `head` | the file below the image, with a checksum of every block |
//! | `view` | reading it meanwhile, for tables that live there alone |
//! | [`mod@check`] | reading all of it while nobody serves |
//! | [`error`], [`limits`] | what can go wrong; every bound |

mod backend;
mod blocks;
pub mod check;
pub mod checkpoint;
pub mod cut;
mod database;
pub mod error;
pub mod file;
mod head;
mod held;
pub mod identity;
mod image;
pub mod limits;
pub mod log;
pub mod log_check;
mod mem;
mod real;
pub mod record;
pub mod replay;
mod segment;
mod shared;
pub mod spare;
mod view;

pub(crate) use held::Held;
pub(crate) use view::{Chunk, View};

pub use backend::Backend;
pub use check::{CheckedTable, check};
pub use checkpoint::{Checkpointer, Imaged};
pub use cut::Warning;
pub use database::{OpenDatabase, caught};
pub use error::{DiscError, Result};
pub use file::{Disc, File, LockGuard};
pub use identity::{BootId, DirectoryId, Opener};
pub use image::IMAGE_NAME;
pub use log::{Log, LogWriter};
pub use log_check::{CheckedFile, check_log};
pub use mem::{Crash, Fault, FaultKind, MemDisc};
pub use real::RealDisc;
pub use record::Record;
pub use replay::{Opened, Replayed, open};
pub use segment::Position;
