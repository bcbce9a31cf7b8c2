//! The versions of one key as a reader walks them, newest first, from the one it has found in the cell. What a version is, is
//! said in `version`.

use std::ptr::{self, NonNull};
use std::sync::Arc;

use seize::LocalGuard;

use crate::clock::Timestamp;
use crate::row::{Body, Head};
use crate::txn::Txn;
use crate::version::{Fate, Seen, Version};
use crate::work::Blocked;

/// See the file's header.
#[derive(Clone, Copy)]
pub(crate) struct Chain<'g> {
    newest: *mut Head,
    guard: &'g LocalGuard<'g>,
}

impl<'g> Chain<'g> {
    /// # Safety
    /// The pointer was loaded under this guard from a cell.
    #[inline]
    pub(crate) unsafe fn from(newest: *mut Head, guard: &'g LocalGuard<'_>) -> Chain<'g> {
        Chain { newest, guard }
    }

    /// All versions, newest first, aborted marks included.
    #[inline]
    pub(crate) fn versions(self) -> Versions<'g> {
        Versions { at: self.newest, guard: self.guard }
    }

    /// What is visible at a snapshot. Absent, deleted and past its deadline are alike.
    #[inline]
    pub(crate) fn read(self, at: Timestamp) -> Result<Option<(Seen<'g>, Timestamp)>, Blocked> {
        self.read_as(at, |version, committed| {
            let body = version.body().filter(|body| !body.is_expired(at));
            body.map(|body| (body, committed))
        })
    }

    /// As [`Chain::read`] at a timestamp that is no snapshot's, counted ([`Version::kept`]).
    pub(crate) fn read_kept(self, at: Timestamp) -> Result<Option<(Body, Timestamp)>, Blocked> {
        self.read_as(at, |version, committed| {
            kept(version, committed).filter(|(body, _)| !body.is_expired(at))
        })
    }

    #[inline]
    fn read_as<B>(
        self,
        at: Timestamp,
        see: impl Fn(Version<'g>, Timestamp) -> Option<(B, Timestamp)>,
    ) -> Result<Option<(B, Timestamp)>, Blocked> {
        for version in self.versions() {
            if let Some(committed) = version.settled().filter(|committed| *committed <= at) {
                return Ok(see(version, committed));
            }
            match version.fate() {
                Fate::Committed { at: committed, .. } if committed <= at => {
                    return Ok(see(version, committed));
                }
                // Proposed at or below the snapshot, committed above it: wrong text 1 of the protocol.
                Fate::Committed { at: committed, proposal } if proposal.0 != 0 && proposal <= at => {
                    return Err(Blocked::Raise(committed));
                }
                Fate::Pending(txn) if txn.proposal().is_some_and(|proposal| proposal <= at) => {
                    return Err(Blocked::Pending(share(txn)));
                }
                Fate::Placing => {
                    if let Some(committed) = version.keep_above(at).filter(|committed| *committed <= at) {
                        return Ok(see(version, committed));
                    }
                }
                Fate::Committed { .. } | Fate::Pending(_) | Fate::Aborted => {}
            }
        }
        Ok(None)
    }

    /// The version on top, when it is committed and folded: then it is what the key holds now, whatever the clock says.
    #[inline]
    pub(crate) fn settled(self) -> Option<(Version<'g>, Timestamp)> {
        let top = self.versions().next()?;
        top.settled().map(|at| (top, at))
    }

    /// The newest committed version, deletions included, whatever stands undecided above it.
    pub(crate) fn newest(self) -> Option<(Version<'g>, Timestamp)> {
        self.versions().find_map(|version| version.committed().map(|at| (version, at)))
    }

    /// As [`Chain::settled`] with what it holds, counted ([`Version::kept`]).
    pub(crate) fn settled_kept(self) -> Option<Option<(Body, Timestamp)>> {
        self.settled().map(|(version, at)| kept(version, at))
    }

    /// As [`Chain::newest_body`], counted ([`Version::kept`]).
    pub(crate) fn newest_kept(self) -> Option<(Body, Timestamp)> {
        self.newest().and_then(|(version, at)| kept(version, at))
    }

    /// As [`Chain::newest_kept`], of what was committed up to a timestamp.
    pub(crate) fn stored_kept(self, upto: Timestamp) -> Option<(Body, Timestamp)> {
        let committed = |version: Version<'g>| version.committed().map(|at| (version, at));
        let stored = self.versions().filter_map(committed).find(|(_, at)| *at <= upto);
        stored.and_then(|(version, at)| kept(version, at))
    }

    /// The newest committed row or bag, past its deadline or not.
    pub(crate) fn newest_body(self) -> Option<(Seen<'g>, Timestamp)> {
        self.newest().and_then(|(version, at)| version.body().map(|body| (body, at)))
    }
}

/// What a version holds, counted, and its timestamp: that which goes with the row as it is now.
fn kept(version: Version<'_>, committed: Timestamp) -> Option<(Body, Timestamp)> {
    let body = version.kept()?;
    Some((body, version.committed().unwrap_or(committed)))
}

/// A counted reference to a transaction that a mark points to.
fn share(txn: &Txn) -> Arc<Txn> {
    let raw = ptr::from_ref(txn);
    // SAFETY: every `Txn` that a mark points to lives in an `Arc` (see `Cell::mark`), which is alive as said in `Version::fate`.
    unsafe {
        Arc::increment_strong_count(raw);
        Arc::from_raw(raw)
    }
}

/// Versions from the newest on.
pub(crate) struct Versions<'g> {
    at: *mut Head,
    guard: &'g LocalGuard<'g>,
}

impl<'g> Iterator for Versions<'g> {
    type Item = Version<'g>;

    #[inline]
    fn next(&mut self) -> Option<Version<'g>> {
        // SAFETY: loaded through the guard from a cell or a linked version; retired only after it is unlinked, so it outlives
        // the guard.
        let version = unsafe { Version::at(NonNull::new(self.at)?) };
        self.at = version.next(self.guard);
        Some(version)
    }
}
