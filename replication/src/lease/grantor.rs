//! The leader's end of a lease: one leadership of the control plane, from its election on. It is made anew with each one, also
//! on the same node, and its predecessor on that node may go on answering until it learns that it was deposed: its
//! authority stands still, so what it grants ends in time. See [`lease`](crate::lease).

use super::{Ask, Denied, Grant, Release, StillHeld, Terms};
use crate::limits::MEMBERS_MAX;
use crate::member::{NodeSet, Peer};

/// What a slot may hold.
#[derive(Clone, Copy, Debug)]
struct Held {
    /// Who was granted last.
    peer: Peer,
    /// The latest question of theirs that was granted, on their clock.
    sent_ns: u64,
    /// Until when they may hold a lease, on this clock.
    until_ns: u64,
    /// Until when one who had the slot before them may: their release does not speak for that one.
    before_ns: u64,
}

/// See the file's header.
#[derive(Clone, Debug)]
pub struct Grantor {
    terms: Terms,
    /// When leases of earlier leaders are surely over, on this clock.
    settled_ns: u64,
    /// Everything agreed before the election is applied.
    caught_up: bool,
    /// When the last round left that a majority acknowledged in this term; `None` before the first.
    authority_ns: Option<u64>,
    /// The latest agreed epoch, and its members by slot.
    epoch: u64,
    members: Vec<Option<Peer>>,
    held: [Option<Held>; MEMBERS_MAX],
    /// Per slot the number of the epoch that is being agreed without it.
    excluding: [Option<u64>; MEMBERS_MAX],
}

impl Grantor {
    /// A leadership that began at `leading_since`, read on this clock after the election was won.
    pub fn new(terms: Terms, leading_since_ns: u64) -> Grantor {
        assert!(terms.drift_ppm < super::MILLION, "a clock that may stand still measures nothing");
        let settled_ns = leading_since_ns.saturating_add(terms.shown_by_fast(terms.lease_ns));
        Grantor {
            terms,
            settled_ns,
            caught_up: false,
            authority_ns: None,
            epoch: 0,
            members: Vec::new(),
            held: [None; MEMBERS_MAX],
            excluding: [None; MEMBERS_MAX],
        }
    }

    /// Everything that was agreed before the election is applied, and told with [`Grantor::on_agreed`].
    pub fn on_caught_up(&mut self) {
        self.caught_up = true;
    }

    /// An epoch was agreed on; its members by slot. Earlier ones than the last change nothing.
    pub fn on_agreed(&mut self, number: u64, members: Vec<Option<Peer>>) {
        assert!(members.len() <= MEMBERS_MAX, "{} members in epoch {number}", members.len());
        if number <= self.epoch {
            return;
        }
        self.epoch = number;
        self.members = members;
        // A proposal for this number can no longer be agreed on, nor can one for an earlier one.
        for excluding in &mut self.excluding {
            *excluding = excluding.filter(|of| *of > number);
        }
    }

    /// A majority has acknowledged, in this leader's term, a round that it sent at `sent`: the moment of sending, on this
    /// clock, and never that of the answers.
    pub fn on_authority(&mut self, sent_ns: u64) {
        self.authority_ns = self.authority_ns.max(Some(sent_ns));
    }

    /// Grants a lease, no longer than the leader's own authority lasts.
    ///
    /// # Errors
    /// [`Denied`]: nothing has changed; whether to ask again is said there.
    pub fn grant(&mut self, now_ns: u64, ask: &Ask) -> Result<Grant, Denied> {
        if !self.caught_up {
            return Err(Denied::CatchingUp);
        }
        let (node, epoch) = (ask.peer.node, self.epoch);
        let Some(slot) = self.members.iter().position(|member| *member == Some(ask.peer)) else {
            return Err(Denied::NoMember { node, epoch });
        };
        if let Some(epoch) = self.excluding[slot] {
            return Err(Denied::Excluding { node, epoch });
        }
        let left_ns = self.authority_left(now_ns);
        if left_ns < self.terms.useful_ns_min.max(1) {
            return Err(Denied::NoAuthority { left_ns });
        }
        self.note(slot, ask, now_ns, left_ns);
        Ok(Grant { sent_ns: ask.sent_ns, length_ns: left_ns, epoch })
    }

    /// What is surely left of one lease after the round that gave authority, in true time.
    fn authority_left(&self, now_ns: u64) -> u64 {
        let Some(authority_ns) = self.authority_ns else { return 0 };
        let passed = self.terms.true_at_most(now_ns.saturating_sub(authority_ns));
        self.terms.lease_ns.saturating_sub(passed)
    }

    fn note(&mut self, slot: usize, ask: &Ask, now_ns: u64, length_ns: u64) {
        let until_ns = now_ns.saturating_add(self.terms.shown_by_fast(length_ns));
        let held = match self.held[slot] {
            Some(held) if held.peer == ask.peer => {
                Held { sent_ns: held.sent_ns.max(ask.sent_ns), until_ns: held.until_ns.max(until_ns), ..held }
            }
            other => {
                let before_ns = other.map_or(0, |held| held.until_ns.max(held.before_ns));
                Held { peer: ask.peer, sent_ns: ask.sent_ns, until_ns, before_ns }
            }
        };
        self.held[slot] = Some(held);
    }

    /// A member has given its lease back. It speaks for what it asked for until then; a later grant stands.
    pub fn on_release(&mut self, release: &Release) {
        for held in self.held.iter_mut().flatten() {
            if held.peer == release.peer && held.sent_ns <= release.released_ns {
                held.until_ns = 0;
            }
        }
    }

    /// From when on nobody in this slot holds a lease, of this leader or one before it, on this clock.
    fn over_ns(&self, slot: usize) -> u64 {
        let granted = self.held[slot].map_or(0, |held| held.until_ns.max(held.before_ns));
        granted.max(self.settled_ns)
    }

    /// Whether surely nobody in this slot holds a lease at `now`. That is worth something only together with
    /// [`Grantor::exclude`].
    pub fn may_exclude(&self, slot: usize, now_ns: u64) -> bool {
        now_ns >= self.over_ns(slot)
    }

    /// To be called right before an epoch with this number is proposed in which these slots are empty or have another life. If
    /// it says yes, they are granted nothing until that or a later epoch is agreed on.
    ///
    /// # Errors
    /// [`StillHeld`]: nothing has changed, propose nothing yet.
    pub fn exclude(&mut self, slots: NodeSet, number: u64, now_ns: u64) -> Result<(), StillHeld> {
        let until_ns = slots.iter().map(|slot| self.over_ns(slot)).max().unwrap_or(0);
        if now_ns < until_ns {
            return Err(StillHeld { until_ns });
        }
        // An epoch that is agreed on already excludes nobody any more.
        if number > self.epoch {
            slots.iter().for_each(|slot| self.excluding[slot] = self.excluding[slot].max(Some(number)));
        }
        Ok(())
    }
}
