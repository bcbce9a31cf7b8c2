//! Images of earlier versions, whose blocks have no checksums: they get them at their first start.

use std::io;

use super::{IMAGE_NAME, Image, NEW_NAME};
use crate::disc::blocks::Blocks;
use crate::disc::error::{DiscError, Result};
use crate::disc::file::{Disc, File};
use crate::disc::limits::COPY_BYTES;

impl Image {
    /// The image with a checksum of every block: one that has none is read as a whole, and copied. Needs room for both.
    pub(in crate::disc) fn checked(mut self, disc: &dyn Disc) -> Result<Image> {
        if !self.is_plain {
            return Ok(self);
        }
        self.check_pages()?;
        // Closed: all of it is in the file.
        let path = self.path.clone();
        drop(self);
        let failed = |error| DiscError::io(&path, "rewriting", error);
        let plain = disc.open(IMAGE_NAME).map_err(failed)?;
        let new = disc.create(NEW_NAME).map_err(failed)?;
        if let Err(error) = Blocks::make(new).and_then(|blocks| copied(&*plain, &blocks)) {
            // It may take all the room that there is. If it cannot be removed the next start overwrites it.
            let _ = disc.remove(NEW_NAME);
            return Err(failed(error));
        }
        disc.rename(NEW_NAME, IMAGE_NAME).map_err(failed)?;
        disc.sync_names().map_err(failed)?;
        Image::find(disc)?.ok_or_else(|| DiscError::corrupt(&path, 0, "the image is missing"))
    }

    /// Whether blocks have no checksums.
    pub(in crate::disc) fn is_plain(&self) -> bool {
        self.is_plain
    }
}

/// Copies what redb has written to where blocks have checksums.
fn copied(plain: &dyn File, blocks: &Blocks) -> io::Result<()> {
    let len = plain.len()?;
    blocks.set_len(len)?;
    let mut bytes = vec![0; COPY_BYTES];
    for offset in (0..len).step_by(COPY_BYTES) {
        let here = &mut bytes[..COPY_BYTES.min((len - offset) as usize)];
        plain.read_at(offset, here)?;
        blocks.write(offset, here)?;
    }
    blocks.sync()
}
