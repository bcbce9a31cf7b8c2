//! Reads outside of transactions of tables that have no copy here: each is answered by one member, from its newest state, and
//! so sees everything that was acknowledged anywhere before it began. A member that goes away in the middle is replaced by
//! another one; what it had sent is forgotten then.

use std::sync::Arc;
use std::time::Instant;

use hypermnesia_replication::fetch::{Ask, At, NotFetched};
use hypermnesia_replication::{Peer, Unavailable, Why};
use hypermnesia_store::Table;

use super::asking::{Asking, Unanswered, Whole};
use crate::core::Core;
use crate::error::{Error, Result};
use crate::limits::{DEADLINE_DEFAULT, FETCH_WAIT_MAX, TICK};
use crate::wait::{Parker, deadline_in};

/// The newest state of what is asked for. Parks the thread.
pub(crate) fn newest(core: &Arc<Core>, table: &Table, ask: &Ask) -> Result<Whole> {
    let mut tries = Tries { core, table, until: deadline_in(DEADLINE_DEFAULT), away_since: None, not: None };
    loop {
        core.check_serving()?;
        match tries.ask(ask) {
            Ok(whole) => return Ok(whole),
            Err(unanswered) => tries.again(unanswered)?,
        }
    }
}

/// The questions of one read.
struct Tries<'a> {
    core: &'a Arc<Core>,
    table: &'a Table,
    until: Instant,
    away_since: Option<Instant>,
    /// Who was asked last, in vain.
    not: Option<Peer>,
}

impl Tries<'_> {
    fn ask(&mut self, ask: &Ask) -> Result<Whole, Unanswered> {
        let at = At::Newest(self.core.store.clock().read());
        let asking =
            Asking::begin(self.core, self.table, at, ask.clone(), (self.until, FETCH_WAIT_MAX), self.not)?;
        self.not = Some(asking.to);
        asking.wait()
    }

    /// Waits a little where another question may be answered.
    fn again(&mut self, unanswered: Unanswered) -> Result<()> {
        let now = Instant::now();
        let (until, error) = match unanswered {
            Unanswered::Failed(error) => return Err(error),
            Unanswered::Refused(NotFetched::Schema) => {
                return Err(Error::SchemaChanged { table: self.table.def().name.clone() });
            }
            Unanswered::Refused(why) => (self.until, self.refused(why)),
            Unanswered::Away(away) => (self.away_until(away, now), self.core.unavailable(away)),
        };
        if now + TICK >= until {
            return Err(error);
        }
        Parker::current().park_until(now + TICK);
        Ok(())
    }

    /// As long as a transaction waits for a member that is away.
    fn away_until(&mut self, away: Unavailable, now: Instant) -> Instant {
        let since = *self.away_since.get_or_insert(now);
        match away.why {
            Why::NotConnected => self.until.min(since + self.core.membership.timing.read_wait),
            Why::Loading | Why::EpochChange | Why::Congested => self.until,
            _ => now,
        }
    }

    fn refused(&self, why: NotFetched) -> Error {
        let member = self.not.map_or_else(String::new, |peer| self.core.member_name(peer.node));
        match why {
            NotFetched::Pending(txid) => Error::InDoubt { txid },
            NotFetched::Overloaded => Error::Overloaded { what: "reads at a member that has a copy" },
            NotFetched::ClockAhead => Error::Unavailable {
                member,
                why: "has a clock that is too far from this member's".to_owned(),
            },
            _ => Error::NotReady { waits_for: format!("member {member}, which has a copy of the table") },
        }
    }
}
