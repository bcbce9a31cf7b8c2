//! The control plane as the simulation has it: a register of epochs that answers at once to itself and late to everybody else.
//! It decides what a control plane may decide: any member may be excluded, dead or not, as long as a survivor of the opened epoch
//! stays, or none is left anywhere; whoever is not in the last epoch may be taken in. Where discs are lost or old it restarts
//! with two of the opened epoch at least: one alone is believed whatever it has.

use std::collections::BTreeMap;

use hypermnesia_replication::{Agreement, Epoch, Opened, Peer};

/// See the file's header.
#[derive(Debug)]
pub(crate) struct Register {
    agreement: Agreement,
    /// How many former members it takes to restart, or all if they are fewer.
    restart_min: usize,
    /// By slot: the last epoch that was agreed on without a process.
    without: BTreeMap<(usize, Peer), u64>,
}

impl Register {
    /// One that restarts with so many former members.
    pub(crate) fn restarting_with(restart_min: usize) -> Register {
        Register { agreement: Agreement::default(), restart_min, without: BTreeMap::new() }
    }

    /// What nodes hear of.
    pub(crate) fn agreement(&self) -> Agreement {
        self.agreement.clone()
    }

    /// The last epoch that was agreed on.
    pub(crate) fn latest(&self) -> Option<&Epoch> {
        self.agreement.latest.as_ref()
    }

    /// Whether a process that entered this epoch takes part in all that were agreed on since. Who was excluded and is to be
    /// taken in again may have heard of neither.
    pub(crate) fn has(&self, slot: usize, life: Peer, entered: u64) -> bool {
        let since = self.without.get(&(slot, life)).is_none_or(|number| *number <= entered);
        since && self.latest().is_some_and(|latest| latest.life(slot) == Some(life))
    }

    /// Whether a process takes part in the last epoch that was opened, and that serves everything if it has to.
    pub(crate) fn was_opened(&self, slot: usize, life: Option<Peer>, everything: bool) -> bool {
        let opened = self.agreement.opened.as_ref();
        let serves = |opened: &Opened| !everything || opened.opening.unserved.is_empty();
        let whole = |opened: &Opened| serves(opened) && opened.epoch.life(slot) == life;
        life.is_some() && opened.is_some_and(whole)
    }

    /// Agrees on an epoch of these, if that may be. `alive`: whether a process still runs.
    pub(crate) fn agree(&mut self, members: Vec<Option<Peer>>, alive: impl Fn(usize, Peer) -> bool) -> bool {
        let number = self.latest().map_or(0, |latest| latest.number) + 1;
        let before = self.agreement.opened.as_ref().map(|opened| &opened.epoch);
        let parent = before.map_or(0, |epoch| epoch.number);
        let next = Epoch { number, parent, members };
        let left = before.is_some_and(|before| {
            before.present().iter().any(|slot| before.life(slot).is_some_and(|life| alive(slot, life)))
        });
        let survives = !next.survivors(before).is_empty();
        let same_node =
            |before: &Epoch, slot: &usize| before.life(*slot).is_some() && next.life(*slot).is_some();
        let restarts = before.is_some_and(|before| {
            let again = before.present().iter().filter(|slot| same_node(before, slot)).count();
            !left && again >= self.restart_min.min(before.present().iter().count())
        });
        // The first epoch is of everybody.
        let first = before.is_none() && next.members.iter().all(Option::is_some);
        let may = first || (before.is_some() && (survives || restarts)) && !next.present().is_empty();
        if may {
            for slot in 0..next.members.len() {
                let before = self.latest().and_then(|latest| latest.life(slot));
                if let Some(life) = before.filter(|life| next.life(slot) != Some(*life)) {
                    self.without.insert((slot, life), next.number);
                }
            }
            self.agreement.latest = Some(next);
        }
        may
    }

    /// Records an opening, unless a later epoch was agreed on.
    pub(crate) fn open(&mut self, opened: Opened) -> bool {
        let latest = self.latest().is_some_and(|latest| *latest == opened.epoch);
        let news = self.agreement.opened.as_ref() != Some(&opened);
        if latest && news {
            self.agreement.chain.push(opened.epoch.number);
            self.agreement.opened = Some(opened);
        }
        latest && news
    }
}
