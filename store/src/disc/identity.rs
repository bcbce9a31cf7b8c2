//! Whose a data directory is, and how far its log had come: one small file. It is written when the directory is made, before
//! anything else is, and again at each start and each clean stop, always whole under another name first. Segments and the
//! image repeat the directory's id, so that no file of another directory passes for one of this.
//!
//! What it says of the log stays true when a later writing of it fails: logs only grow, and an identity of a boot never comes
//! back. A directory of a version that had no such file belongs to whoever opens it first.

use std::fmt;
use std::io::ErrorKind;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::error::{DiscError, Result};
use super::file::Disc;
use super::segment::{Header, Position, segment_name};
use crate::codec;
use crate::ids::NodeId;
use crate::limits::MESSAGE_BYTES_MAX;

/// The identity's file.
pub(crate) const IDENTITY_NAME: &str = "IDENTITY";
/// The same while it is made.
const NEW_NAME: &str = "identity-new.tmp";
/// Kind of its envelope.
const IDENTITY_KIND: u16 = 12;
/// The form of the directory. The first one had the same identity; since the second its log may say that a transaction was
/// released, and of epochs what no earlier version reads. As the identity is written at each start, those refuse the directory
/// from then on, before they have read anything else of it.
const IDENTITY_FORMAT: u16 = 2;
/// The one before, which is read as well.
const FIRST_FORMAT: u16 = 1;

/// Tells data directories apart. No two are made with the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct DirectoryId(pub [u8; 16]);

impl fmt::Display for DirectoryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// One time that a machine ran, from power on to power off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct BootId(pub [u8; 16]);

/// Who opens a data directory, and where.
#[derive(Clone, Debug)]
pub struct Opener {
    /// The node.
    pub node: NodeId,
    /// Its name.
    pub name: String,
    /// The name of its cluster.
    pub cluster: String,
    /// The id that the directory gets if it has none yet.
    pub fresh: DirectoryId,
    /// The present boot of the machine; `None` where nobody can tell: then it counts as another one each time.
    pub boot: Option<BootId>,
}

/// See the file's header.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    pub(crate) id: DirectoryId,
    node: NodeId,
    #[serde(deserialize_with = "codec::text")]
    name: String,
    #[serde(deserialize_with = "codec::text")]
    cluster: String,
    /// Segments from this index on repeat the id; those before are of a version that had none.
    named_from: u64,
    /// What the log has; `None` until its first segment is there.
    pub(crate) log: Option<Promise>,
}

/// What the log of a directory has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Promise {
    /// Everything behind `synced` was written in this boot of the machine.
    pub(crate) boot: Option<BootId>,
    /// Everything before it survives a power cut.
    pub(crate) synced: Position,
}

impl Identity {
    /// Of a directory that had none, with the segments up to this index.
    pub(crate) fn new(opener: &Opener, last_segment: u64) -> Identity {
        Identity {
            id: opener.fresh,
            node: opener.node,
            name: opener.name.clone(),
            cluster: opener.cluster.clone(),
            named_from: last_segment + 1,
            log: None,
        }
    }

    /// Reads it, if there is one, and lets nobody but its owner pass.
    pub(crate) fn find(disc: &dyn Disc, opener: &Opener) -> Result<Option<Identity>> {
        let identity = Identity::read(disc)?;
        identity.iter().try_for_each(|identity| identity.admit(disc, opener))?;
        Ok(identity)
    }

    /// Reads it, if there is one, whoever's it is.
    pub(crate) fn read(disc: &dyn Disc) -> Result<Option<Identity>> {
        let path = disc.path(IDENTITY_NAME);
        let file = match disc.open(IDENTITY_NAME) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(DiscError::io(path, "opening", error)),
        };
        let read = || {
            let mut bytes = vec![0; file.len()?.min(MESSAGE_BYTES_MAX as u64) as usize];
            file.read_at(0, &mut bytes)?;
            Ok(bytes)
        };
        let bytes = read().map_err(|error| DiscError::io(&path, "reading", error))?;
        Identity::decode(&bytes, &path).map(Some)
    }

    fn decode(bytes: &[u8], path: &PathBuf) -> Result<Identity> {
        let damaged = |what: codec::CodecError| DiscError::corrupt(path, 0, what.to_string());
        let (found, payload) = codec::open(IDENTITY_KIND, bytes).map_err(damaged)?;
        if ![FIRST_FORMAT, IDENTITY_FORMAT].contains(&found) {
            let (found, expected) = (found.into(), IDENTITY_FORMAT.into());
            return Err(DiscError::Version { file: path.clone(), found, expected });
        }
        codec::decode(payload, MESSAGE_BYTES_MAX).map_err(damaged)
    }

    fn admit(&self, disc: &dyn Disc, opener: &Opener) -> Result<()> {
        if (self.node, &self.name, &self.cluster) == (opener.node, &opener.name, &opener.cluster) {
            return Ok(());
        }
        let opener = said(&opener.name, &opener.cluster);
        Err(DiscError::Foreign { path: disc.path(""), owner: said(&self.name, &self.cluster), opener })
    }

    /// Puts it in place, durably.
    pub(crate) fn write(&self, disc: &dyn Disc) -> Result<()> {
        let sealed = codec::seal(IDENTITY_KIND, IDENTITY_FORMAT, &codec::encode(self));
        let place = || {
            let file = disc.create(NEW_NAME)?;
            file.write_at(0, &sealed)?;
            file.sync()?;
            disc.rename(NEW_NAME, IDENTITY_NAME)?;
            disc.sync_names()
        };
        place().map_err(|error| DiscError::io(disc.path(IDENTITY_NAME), "writing", error))
    }

    /// Whether a segment is one of this directory.
    pub(crate) fn admit_segment(&self, disc: &dyn Disc, header: &Header) -> Result<()> {
        let is_older = header.directory.is_none() && header.index < self.named_from;
        if is_older || header.directory == Some(self.id) {
            return Ok(());
        }
        Err(self.stray(disc, &segment_name(header.index), header.directory))
    }

    /// A file that says it is of another directory.
    pub(crate) fn stray(&self, disc: &dyn Disc, name: &str, found: Option<DirectoryId>) -> DiscError {
        let found = found.map_or_else(|| "none".to_owned(), |id| id.to_string());
        DiscError::Stray {
            file: disc.path(name),
            directory: disc.path(""),
            owner: said(&self.name, &self.cluster),
            ids: format!("the directory's id is {}, that of the file {found}", self.id),
        }
    }
}

/// A node, for messages.
fn said(name: &str, cluster: &str) -> String {
    format!("node {name:?} of cluster {cluster:?}")
}

/// Without an identity there is no file that repeats one: somebody took the identity away.
pub(crate) fn refuse_named(disc: &dyn Disc, name: &str, found: Option<DirectoryId>) -> Result<()> {
    let Some(id) = found else { return Ok(()) };
    let what = format!("it is missing, and {} is of data directory {id}", disc.path(name).display());
    Err(DiscError::corrupt(disc.path(IDENTITY_NAME), 0, what))
}

#[cfg(test)]
mod tests {
    use super::super::mem::MemDisc;
    use super::*;

    fn identity() -> Identity {
        let opener = Opener {
            node: NodeId(7),
            name: "n7".to_owned(),
            cluster: "c".to_owned(),
            fresh: DirectoryId([7; 16]),
            boot: None,
        };
        Identity::new(&opener, 0)
    }

    #[test]
    fn the_first_form_is_read_and_the_present_one_written() {
        // Aim: a directory of an earlier version opens, and is not taken for one by an earlier version any more. Method: the same
        // identity in each form, one to come included.
        let disc = MemDisc::new();
        let path = disc.path(IDENTITY_NAME);
        let payload = codec::encode(&identity());
        let sealed = |format| codec::seal(IDENTITY_KIND, format, &payload);
        assert_eq!(Identity::decode(&sealed(1), &path).expect("the first form"), identity());
        assert_eq!(Identity::decode(&sealed(2), &path).expect("the present form"), identity());
        assert!(matches!(Identity::decode(&sealed(3), &path), Err(DiscError::Version { found: 3, .. })));
        identity().write(&disc).expect("no fault is planted");
        assert_eq!(disc.bytes(IDENTITY_NAME), Some(sealed(2)));
    }
}
