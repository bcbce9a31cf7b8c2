//! The epochs that were agreed on, the latest ones, and which of them opened. See [`register`](crate::register).

use hypermnesia_store::{NodeId, TableId, Timestamp};
use serde::{Deserialize, Serialize};

use super::Refusal;
use crate::limits::{EPOCHS_KEPT_MAX, UNSERVED_MAX};
use crate::member::Peer;

/// What an epoch is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Cause {
    /// It is to be the first that opens; or it is what the founders brought with them.
    Founded,
    /// A member is lost.
    Lost,
    /// Somebody takes part from now on.
    Joined,
    /// A member leaves in good order.
    Left,
    /// No process of the last opened epoch is left; it goes on from what is on disc.
    Restarted,
    /// The definition of tables changes; the members are the same.
    Schema,
}

/// What an epoch was opened with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opening {
    /// What its flush committed without a record carries it.
    pub stamp: Timestamp,
    /// The tables that are not served in it, by id, and the last epoch in which each was: 0 if in none.
    pub unserved: Vec<(TableId, u64)>,
}

/// The last opened epoch of a cluster that there was before its register: the chain goes on from it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Carried {
    /// At least 1.
    pub number: u64,
    /// The lives that took part, by node id.
    pub members: Vec<Peer>,
    /// What it began with.
    pub opening: Opening,
}

/// An epoch that was agreed on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Agreed {
    /// From 1, dense.
    pub number: u64,
    /// The last epoch that was open when it was agreed on; 0 for the first.
    pub parent: u64,
    /// Who takes part, by node id.
    pub members: Vec<Peer>,
    /// What it is for.
    pub why: Cause,
    /// `None` as long as it is not open.
    pub opening: Option<Opening>,
}

/// See the file's header. The oldest first; the last is the latest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Chain {
    kept: Vec<Agreed>,
    /// The highest number that may have been agreed on in former times: none is given twice.
    floor: u64,
}

impl Chain {
    /// Begins with an epoch of former times, or with none. `refused` is what the roster says against its members. Its own parent
    /// is not known any more, and nobody asks for it: it is open.
    pub(super) fn of(
        carried: Option<&Carried>,
        floor: u64,
        refused: Option<Refusal>,
    ) -> Result<Chain, Refusal> {
        let Some(Carried { number, members, opening }) = carried else {
            return Ok(Chain { kept: Vec::new(), floor });
        };
        if *number == 0 {
            return Err(Refusal::BadCarried);
        }
        if !is_ordered(members) {
            return Err(Refusal::BadMembers);
        }
        refused.map_or(Ok(()), Err)?;
        check_unserved(*number, &opening.unserved)?;
        let (members, opening) = (members.clone(), Some(opening.clone()));
        let epoch = Agreed { number: *number, parent: 0, members, why: Cause::Founded, opening };
        Ok(Chain { kept: vec![epoch], floor: floor.max(*number) })
    }

    pub(super) fn kept(&self) -> &[Agreed] {
        &self.kept
    }

    pub(super) fn latest(&self) -> Option<&Agreed> {
        self.kept.last()
    }

    pub(super) fn opened(&self) -> Option<&Agreed> {
        self.kept.iter().rfind(|epoch| epoch.opening.is_some())
    }

    pub(super) fn epoch(&self, number: u64) -> Option<&Agreed> {
        self.kept.iter().find(|epoch| epoch.number == number)
    }

    fn latest_number(&self) -> u64 {
        self.latest().map_or(0, |epoch| epoch.number)
    }

    pub(super) fn floor(&self) -> u64 {
        self.floor
    }

    /// The number of the next epoch.
    pub(super) fn next_number(&self) -> u64 {
        self.latest_number().max(self.floor).saturating_add(1)
    }

    fn opened_number(&self) -> u64 {
        self.opened().map_or(0, |epoch| epoch.number)
    }

    /// The epoch that needs a node: the latest, or the last opened one, whose members a flush still asks.
    pub(super) fn needs(&self, node: NodeId) -> Option<u64> {
        let mut named = self.latest().into_iter().chain(self.opened());
        named.find(|epoch| epoch.members.iter().any(|member| member.node == node)).map(|epoch| epoch.number)
    }

    /// Whether exactly this was agreed on under this number.
    pub(super) fn is_agreed(&self, number: u64, members: &[Peer], why: Cause) -> bool {
        self.epoch(number).is_some_and(|epoch| epoch.members == members && epoch.why == why)
    }

    /// The next epoch. `refused` is what the roster says against its members.
    pub(super) fn agree(
        &mut self,
        number: u64,
        members: &[Peer],
        why: Cause,
        refused: Option<Refusal>,
    ) -> Result<(), Refusal> {
        let (latest, parent) = (self.latest_number(), self.opened_number());
        if number != self.next_number() {
            let latest = latest.max(self.floor);
            return Err(Refusal::NotNext { latest });
        }
        if !is_ordered(members) {
            return Err(Refusal::BadMembers);
        }
        refused.map_or(Ok(()), Err)?;
        if (why == Cause::Founded) != (parent == 0) {
            return Err(Refusal::BadCause { opened: parent });
        }
        let survives = |epoch: &Agreed| members.iter().any(|member| epoch.members.contains(member));
        if !self.opened().is_none_or(survives) && why != Cause::Restarted {
            return Err(Refusal::NoSurvivor { opened: parent });
        }
        self.kept.push(Agreed { number, parent, members: members.to_vec(), why, opening: None });
        self.forget();
        Ok(())
    }

    /// Drops the oldest, but never the last opened one.
    fn forget(&mut self) {
        if self.kept.len() > EPOCHS_KEPT_MAX {
            let oldest = self.kept[0].number;
            self.kept.remove(usize::from(oldest == self.opened_number()));
        }
    }

    /// Opens the latest epoch. `false` if it was opened with the same.
    pub(super) fn open(&mut self, number: u64, opening: &Opening) -> Result<bool, Refusal> {
        let latest = self.latest_number();
        let Some(epoch) = self.kept.iter_mut().find(|epoch| epoch.number == number) else {
            return Err(Refusal::NotLatest { latest });
        };
        match &epoch.opening {
            Some(before) if before == opening => return Ok(false),
            Some(_) => return Err(Refusal::OpenedOtherwise { number }),
            None if number != latest => return Err(Refusal::NotLatest { latest }),
            None => {}
        }
        check_unserved(number, &opening.unserved)?;
        epoch.opening = Some(opening.clone());
        Ok(true)
    }

    pub(super) fn is_sound(&self) -> Result<(), &'static str> {
        if self.kept.len() > EPOCHS_KEPT_MAX {
            return Err("there are more epochs than are kept");
        }
        let full = self.kept.len() == EPOCHS_KEPT_MAX;
        for (at, pair) in self.kept.windows(2).enumerate() {
            // Only behind the oldest one may some be missing, which was kept as the last opened one.
            let gap = at == 0 && full && pair[0].number < pair[1].number && pair[0].opening.is_some();
            let founded =
                pair[0].number < pair[1].number && self.floor.checked_add(1) == Some(pair[1].number);
            if pair[0].number.checked_add(1) != Some(pair[1].number) && !gap && !founded {
                return Err("numbers of epochs are not dense");
            }
        }
        self.kept.iter().enumerate().try_for_each(|(at, epoch)| self.is_sound_at(at, epoch))
    }

    fn is_sound_at(&self, at: usize, epoch: &Agreed) -> Result<(), &'static str> {
        let before = self.kept[..at].iter().rfind(|earlier| earlier.opening.is_some());
        let parent = match before {
            Some(earlier) => epoch.parent == earlier.number,
            None => epoch.parent < self.kept[0].number,
        };
        if !parent || (epoch.why == Cause::Founded) != (epoch.parent == 0) {
            return Err("an epoch does not go on from the last opened one");
        }
        if !is_ordered(&epoch.members) {
            return Err("an epoch's members are not named once each, by id");
        }
        let unserved = epoch.opening.as_ref().map(|opening| &opening.unserved);
        match unserved.map(|unserved| check_unserved(epoch.number, unserved)) {
            Some(Err(_)) => Err("an epoch was opened with tables that have not been"),
            _ => Ok(()),
        }
    }
}

/// At least one, each once, by node id.
fn is_ordered(members: &[Peer]) -> bool {
    !members.is_empty() && members.windows(2).all(|pair| pair[0].node < pair[1].node)
}

fn check_unserved(number: u64, unserved: &[(TableId, u64)]) -> Result<(), Refusal> {
    if unserved.len() > UNSERVED_MAX {
        return Err(Refusal::TooManyUnserved { tables: unserved.len() as u64 });
    }
    let out_of_order = unserved.windows(2).find(|pair| pair[0].0 >= pair[1].0).map(|pair| pair[1].0);
    let to_come = unserved.iter().find(|(_, served)| *served >= number).map(|(table, _)| *table);
    match out_of_order.or(to_come) {
        Some(table) => Err(Refusal::BadUnserved { table }),
        None => Ok(()),
    }
}

#[cfg(test)]
impl Chain {
    /// Breaks what holds, for tests.
    pub(super) fn spoil(&mut self, spoil: impl FnOnce(&mut Vec<Agreed>)) {
        spoil(&mut self.kept);
    }
}
