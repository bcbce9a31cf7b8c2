//! Walks over the trees of ordered tables and indexes. Entries stand beside each other in a leaf, but the cells they point
//! to stand anywhere, so some entries are taken ahead and their memory is asked for before the first is looked at: few at
//! first, since many a walk ends at its first row.

use std::ops::ControlFlow;

use scc::{Guard, TreeIndex};
use seize::LocalGuard;

use crate::cell::CellRef;
use crate::key::{Key, KeyRange};
use crate::prefetch::prefetch;
use crate::table::Direction;
use crate::work::Blocked;

/// Entries taken ahead at first, and at most.
const AHEAD_FIRST: usize = 2;
const AHEAD_MAX: usize = 32;

/// Walks a tree's entries in a range. The tree shows every entry that was there when the walk began and still is.
pub(crate) fn walk_tree(
    tree: &TreeIndex<Key, CellRef>,
    range: &KeyRange,
    direction: Direction,
    guard: &LocalGuard<'_>,
    mut each: impl FnMut(&Key, &CellRef) -> Result<ControlFlow<()>, Blocked>,
) -> Result<(), Blocked> {
    if range.is_empty() {
        return Ok(());
    }
    let tree_guard = Guard::new();
    let mut entries = tree.range::<Key, _>((range.start.as_ref(), range.end.as_ref()), &tree_guard);
    let any = match direction {
        Direction::Forward => ahead(&mut || entries.next(), guard, &mut each)?,
        Direction::Backward => ahead(&mut || entries.next_back(), guard, &mut each)?,
    };
    if any { Ok(()) } else { walk_from_edge(tree, range, direction, guard, each) }
}

/// A range of scc 3.8 that begins where the tree does finds nothing when all entries of the outermost leaf were removed; its
/// iterator over everything steps to the next leaf. So where a range found nothing, the outermost entry tells whether it
/// should have: if that lies in the range, the walk begins there, and if not, the range began further in and is empty.
fn walk_from_edge(
    tree: &TreeIndex<Key, CellRef>,
    range: &KeyRange,
    direction: Direction,
    guard: &LocalGuard<'_>,
    mut each: impl FnMut(&Key, &CellRef) -> Result<ControlFlow<()>, Blocked>,
) -> Result<(), Blocked> {
    let tree_guard = Guard::new();
    let mut entries = tree.iter(&tree_guard);
    let mut next = || match direction {
        Direction::Forward => entries.next(),
        Direction::Backward => entries.next_back(),
    };
    ahead(&mut || next().filter(|(entry, _)| range.contains(entry)), guard, &mut each)?;
    Ok(())
}

/// Shows entries, asking for the memory of some of them ahead. Says whether there was any.
fn ahead<'t>(
    next: &mut impl FnMut() -> Option<(&'t Key, &'t CellRef)>,
    guard: &LocalGuard<'_>,
    each: &mut impl FnMut(&Key, &CellRef) -> Result<ControlFlow<()>, Blocked>,
) -> Result<bool, Blocked> {
    let mut taken = [None; AHEAD_MAX];
    let (mut any, mut most) = (false, AHEAD_FIRST);
    loop {
        let mut len = 0;
        while len < most
            && let Some((entry, cell)) = next()
        {
            prefetch(CellRef::as_ptr(cell));
            taken[len] = Some((entry, cell));
            len += 1;
        }
        any |= len > 0;
        taken[..len].iter().flatten().for_each(|(_, cell)| cell.ask(guard));
        for (entry, cell) in taken[..len].iter().flatten() {
            if each(entry, cell)?.is_break() {
                return Ok(true);
            }
        }
        // The end, which is not to be asked for twice: the tree's iterators would begin anew.
        if len < most {
            return Ok(any);
        }
        most = (most * 2).min(AHEAD_MAX);
    }
}
