//! Looks through a data directory that nobody serves: every page of the image, every row of every table. Tables on disc alone
//! are not read at the start, so this is what finds damage in rows that nobody asks for.

use std::sync::Arc;

use super::error::{DiscError, Result};
use super::file::Disc;
use super::image::{IMAGE_NAME, Image};
use crate::ids::TableId;

/// What was found of a table.
#[derive(Clone, Debug)]
pub struct CheckedTable {
    /// Its id.
    pub table: TableId,
    /// Its name, while it has one: of a dropped table rows may be left for a while.
    pub name: Option<String>,
    /// Keys that the image says it has.
    pub keys: u64,
    /// What is wrong with it, the first thing only; it names the key where it can.
    pub damage: Option<DiscError>,
}

/// Reads the image of a data directory as a whole. What the log has beyond it is checked whenever the directory is opened.
/// Where pages are damaged the tables are read all the same, to say which of them are hit.
///
/// # Errors
/// `Locked` while a node has it open; `Corrupt`, `Io` where nothing can be said of single tables, or nothing is wrong with any. Pages that tell what is free
/// may have been mended, and the mark that says that the image was open is written; nothing else is changed.
pub fn check(disc: &Arc<dyn Disc>) -> Result<Vec<CheckedTable>> {
    let _lock = disc.lock()?;
    let Some(mut image) = Image::find(&**disc)? else {
        return Err(DiscError::corrupt(
            disc.path(IMAGE_NAME),
            0,
            "there is no image: this is no data directory",
        ));
    };
    let pages = image.check_pages().err();
    if let Some(error) = &pages {
        image = again(&**disc, image).filter(|_| error.is_corruption()).ok_or_else(|| error.clone())?;
    }
    let names = image.names();
    let mut names = match &pages {
        Some(error) => names.map_err(|_| error.clone())?,
        None => names?,
    };
    let mut tables = Vec::new();
    for (table, held) in image.held().collect::<Vec<_>>() {
        let damage = image.check_table(table, &held).err();
        tables.push(CheckedTable { table, name: names.remove(&table), keys: held.keys, damage });
        if let Some(CheckedTable { damage: Some(error), .. }) = tables.last() {
            image = again(&**disc, image).ok_or_else(|| error.clone())?;
        }
    }
    match pages {
        Some(DiscError::Corrupt { offset, what, .. })
            if tables.iter().all(|table| table.damage.is_none()) =>
        {
            let what = format!("{what}; every row of every table is there and well");
            Err(DiscError::corrupt(disc.path(IMAGE_NAME), offset, what))
        }
        _ => Ok(tables),
    }
}

/// The image anew: behind an error redb reads no more, or has stopped in the middle of something.
fn again(disc: &dyn Disc, image: Image) -> Option<Image> {
    drop(image);
    Image::find(disc).ok().flatten()
}
