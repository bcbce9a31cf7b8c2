//! Whether what was read here may be shown: it was the newest at some moment of the call. A node may have been taken for lost
//! and be the last to hear of it, so a lease must be held after the reading; see `control/lease.rs`. One look at a clock.

use std::time::Instant;

use hypermnesia_store::Table;

use crate::core::Core;
use crate::error::{Error, Result};
use crate::limits::TICK;
use crate::wait::Answer;

/// What was read before the tenure ended may be of another state than what is read behind it.
const TENURE_OVER: &str = "this member was outside of the cluster for a moment, or has begun to load tables: what was \
                           read before counts no more, read again";

/// Whether a read met the end of a tenure, or a definition that changed: made again it is answered.
pub(crate) fn passes(error: &Error) -> bool {
    match error {
        Error::SchemaChanged { .. } => true,
        Error::NotReady { waits_for } => waits_for == TENURE_OVER,
        _ => false,
    }
}

impl Core {
    /// Says that what was read here, since this tenure began, was the newest at some moment since then: a lease is held after
    /// the reading. Where it has run out it is waited for, since one of the same tenure says the same of a reading before it.
    #[inline]
    pub(crate) fn vouch(&self, tenure: u64) -> Result<()> {
        if self.membership.lease.is_held() && self.replica.tenure() == tenure {
            return Ok(());
        }
        self.vouch_late(tenure)
    }

    /// As [`Core::vouch`], for what was read of a table without a snapshot: its rows may have gone meanwhile.
    #[inline]
    pub(crate) fn vouch_in(&self, table: &Table, tenure: u64) -> Result<()> {
        match table.is_current() {
            true => self.vouch(tenure),
            false => self.vouch_changed(table, tenure, |now| self.has_copy(now.def())),
        }
    }

    /// As [`Core::vouch_in`], with a snapshot alive since before the table was looked up: as long as it is, rows stay where the copy
    /// goes.
    pub(crate) fn vouch_beside(&self, table: &Table, tenure: u64) -> Result<()> {
        match table.is_current() {
            true => self.vouch(tenure),
            false => self.vouch_changed(table, tenure, |now| now.has_rows_of(table)),
        }
    }

    #[cold]
    fn vouch_changed(&self, table: &Table, tenure: u64, kept: impl FnOnce(&Table) -> bool) -> Result<()> {
        let name = || table.def().name.clone();
        match self.store.table(table.id()) {
            Some(now) if kept(&now) => self.vouch(tenure),
            Some(_) => Err(Error::SchemaChanged { table: name() }),
            None => Err(Error::NoSuchTable { name: name() }),
        }
    }

    #[cold]
    fn vouch_late(&self, tenure: u64) -> Result<()> {
        let until = Instant::now() + self.membership.timing.read_wait;
        while !self.may_be_held(until)? {
            Answer::<()>::new().wait((Instant::now() + TICK).min(until));
        }
        self.check_tenure(tenure)
    }

    /// As [`Core::vouch`], for tasks.
    pub(crate) async fn vouch_async(&self, tenure: u64) -> Result<()> {
        let until = Instant::now() + self.membership.timing.read_wait;
        while !self.may_be_held(until)? {
            self.alarms.sleep_until((Instant::now() + TICK).min(until)).await;
        }
        self.check_tenure(tenure)
    }

    /// Whether a lease is held; not any more when it is too late, or the node serves nothing.
    fn may_be_held(&self, until: Instant) -> Result<bool> {
        self.check_serving()?;
        if self.membership.lease.is_held() {
            return Ok(true);
        }
        if Instant::now() < until {
            return Ok(false);
        }
        Err(Error::NotReady { waits_for: self.waits_for() })
    }

    /// Whether this member has been one without a break since.
    #[inline]
    pub(crate) fn check_tenure(&self, tenure: u64) -> Result<()> {
        if self.replica.tenure() == tenure {
            return Ok(());
        }
        Err(Error::NotReady { waits_for: TENURE_OVER.to_owned() })
    }

    /// Whether a read of any table would be answered at once.
    pub(crate) fn check_ready(&self) -> Result<()> {
        self.check_lease()?;
        if !self.replica.is_loading() {
            return Ok(());
        }
        Err(Error::NotReady { waits_for: self.waits_for() })
    }

    /// Whether one of a table that is loaded would.
    pub(crate) fn check_lease(&self) -> Result<()> {
        self.check_serving()?;
        if self.membership.lease.is_held() {
            return Ok(());
        }
        Err(Error::NotReady { waits_for: self.waits_for() })
    }
}
