//! Epochs: numbered memberships that open one after another, and what a node keeps of them in its log. The control plane
//! agrees on each ([`Agreement`]); who is a member and of which, what was opened, is read from there and never guessed.
//! Pure rules, no messages: who survived, and who is a good source of a table. Described in `docs/protocol.md`; the messages
//! that walk through them are in `flush.rs`.

mod older;

use hypermnesia_store::{NodeId, TableId, Timestamp, TxId, codec};
use serde::{Deserialize, Serialize};

use crate::limits::MEMBERS_MAX;
use crate::member::{Member, NodeSet, Peer};
use crate::outcome::Outcome;
use crate::register::{Agreed, Carried, Command, Opening, Register};
use crate::slots::Slots;

/// One membership. The control plane gives each number once.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Epoch {
    /// From 1, dense.
    pub number: u64,
    /// The opened epoch whose transactions it settles; 0 for the first.
    pub parent: u64,
    /// By slot: the lives that take part, nothing for who does not.
    pub members: Vec<Option<Peer>>,
}

impl Epoch {
    /// Whether it is about members of these slots, in any life: what a peer or a log says of others is not followed.
    pub(crate) fn is_of(&self, slots: &Slots<Member>) -> bool {
        let same = |(slot, life): (usize, &Option<Peer>)| {
            life.is_none_or(|life| slots.get(slot).is_some_and(|member| member.node == life.node))
        };
        self.members.len() <= MEMBERS_MAX && self.members.iter().enumerate().all(same)
    }

    /// Who takes part in it, in which life.
    pub fn life(&self, slot: usize) -> Option<Peer> {
        self.members.get(slot).copied().flatten()
    }

    /// Those that take part.
    pub fn present(&self) -> NodeSet {
        (0..self.members.len()).filter(|slot| self.life(*slot).is_some()).fold(NodeSet::EMPTY, NodeSet::with)
    }

    /// Those that took part, as the same processes, in the one before it.
    pub fn survivors(&self, before: Option<&Epoch>) -> NodeSet {
        let same = |slot: &usize| before.is_some_and(|before| before.life(*slot) == self.life(*slot));
        self.present().iter().filter(same).fold(NodeSet::EMPTY, NodeSet::with)
    }

    /// Who leads its flush: the lowest survivor, or the lowest of all when nobody survived.
    pub fn leader(&self, before: Option<&Epoch>) -> Option<usize> {
        let survivors = self.survivors(before);
        let among = if survivors.is_empty() { self.present() } else { survivors };
        among.iter().next()
    }
}

/// What the control plane has agreed on, as far as this node knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Agreement {
    /// The last epoch that was opened, and with what.
    pub opened: Option<Opened>,
    /// The last one that was agreed on; it may be the opened one.
    pub latest: Option<Epoch>,
    /// The numbers of all epochs that were opened, as far back as is known: who comes back may have staged an earlier one.
    pub chain: Vec<u64>,
}

impl Agreement {
    /// What a register says. Its slots are the positions of the members.
    pub fn of(register: &Register) -> Agreement {
        let slots = register.nodes().map(|(slot, _)| slot + 1).max().unwrap_or(0);
        let epoch = |agreed: &Agreed| {
            let mut members = register.by_slot(agreed);
            members.resize(slots, None);
            Epoch { number: agreed.number, parent: agreed.parent, members }
        };
        let opened =
            |agreed: &Agreed| Some(Opened { epoch: epoch(agreed), opening: agreed.opening.clone()? });
        Agreement {
            opened: register.opened().and_then(opened),
            latest: register.latest().map(epoch),
            chain: register.chain().map(|agreed| agreed.number).collect(),
        }
    }
}

/// An epoch that was opened, or that is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// Which.
    pub epoch: Epoch,
    /// What it begins with.
    pub opening: Opening,
}

impl Opened {
    /// What the control plane is asked for.
    pub fn command(&self) -> Command {
        Command::Open { number: self.epoch.number, opening: self.opening.clone() }
    }
}

/// What the flush knows of one member as a source of data.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// A member of the last opened epoch in the same life.
    pub survivor: bool,
    /// Per table that it has a copy of: the last epoch that served this copy, so all of whose commits it has or is in doubt
    /// about. A table that is half loaded, or was in the memory of a process that ended, is not among them.
    pub whole: Vec<(TableId, u64)>,
    /// The last epoch it entered.
    pub opened: u64,
    /// The highest commit timestamp it knew of.
    pub last_commit: Timestamp,
}

impl Stage {
    /// What a register of this cluster begins with, if this is the last epoch that was opened.
    pub(crate) fn carried(&self) -> Carried {
        let members = self.epoch.members.iter().flatten().copied().collect();
        let opening = Opening { stamp: self.stamp, unserved: self.unserved.clone() };
        Carried { number: self.epoch.number, members, opening }
    }

    /// Whether it is about these members and says of each where it stands.
    pub(crate) fn is_of(&self, slots: &Slots<Member>) -> bool {
        self.epoch.is_of(slots) && self.standings.len() == self.epoch.members.len()
    }

    /// Where a member stands; nothing is known of one without a place in the epoch.
    pub(crate) fn standing(&self, slot: usize) -> &Standing {
        standing_of(&self.standings, slot)
    }
}

impl Standing {
    /// See [`Standing::whole`]; 0 for a table that is not among them.
    pub fn as_of(&self, table: TableId) -> u64 {
        self.whole.iter().find(|(id, _)| *id == table).map_or(0, |(_, number)| *number)
    }
}

/// The first byte of an [`EpochFact`]; those of the first versions begin with 0 or 1.
const FACT_FORM: u8 = 3;

/// Everything an epoch begins with. Staged by every member, applied by each when the epoch opens, void if it never does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stage {
    /// Number and members.
    pub epoch: Epoch,
    /// Above every clock reported: what the flush commits without a record carries it, so that no snapshot from before
    /// the flush shows one such commit without another.
    pub stamp: Timestamp,
    /// The outcome of every transaction that was in doubt. Unknown: it stays in doubt, since only who is not here can say.
    pub decisions: Vec<(TxId, Outcome)>,
    /// By slot; nothing known of who takes no part.
    pub standings: Vec<Standing>,
    /// Tables of which no good copy is here, and the last epoch that served each. All others are served.
    pub unserved: Vec<(TableId, u64)>,
}

/// What a node writes to its log about epochs: each one replaces those before it.
///
/// The order in the log is what counts. A stage is synced before the leader hears of it. Where the node enters an epoch stands
/// before any record of it; a joiner is not complete in it, until a later one says so.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct EpochFact {
    pub(crate) staged: Option<Stage>,
    /// The stage of the last opened epoch.
    pub(crate) opened: Option<Stage>,
    pub(crate) complete: bool,
    pub(crate) whole: Vec<(TableId, u64)>,
    /// Whose slots those are that the log speaks of; logs of earlier versions do not say it.
    pub(crate) slots: Vec<(usize, Member)>,
    /// The id of the cluster, if it has one.
    pub(crate) cluster: Option<u128>,
}

/// Whose slots a log speaks of, by what it knows of epochs, and of which cluster; nothing where it does not say.
pub fn members_of(epoch: &[u8]) -> (Vec<(usize, Member)>, Option<u128>) {
    EpochFact::decode(epoch).map(|fact| (fact.slots, fact.cluster)).unwrap_or_default()
}

/// Whether what a log knows of epochs is of a list with these members, by id; nothing is known of them where it knows of none.
/// Of members that took no part in its last epochs a log knows only how many there were.
///
/// # Errors
/// Who took part then, by position: the log is of another list.
pub fn check_members(epoch: &[u8], members: &[NodeId]) -> Result<(), Vec<Option<NodeId>>> {
    let Some(fact) = EpochFact::decode(epoch) else { return Ok(()) };
    let named = |stage: &Stage| stage.epoch.members.iter().map(|life| life.map(|life| life.node)).collect();
    let is_other = |named: &Vec<Option<NodeId>>| {
        let mut pairs = named.iter().zip(members);
        named.len() != members.len()
            || pairs.any(|(known, member)| known.is_some_and(|known| known != *member))
    };
    let stages = fact.opened.iter().chain(&fact.staged);
    stages.map(named).find(is_other).map_or(Ok(()), Err)
}

impl EpochFact {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![FACT_FORM];
        codec::encode_into(self, &mut bytes);
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<EpochFact> {
        match bytes.split_first() {
            Some((&FACT_FORM, rest)) => codec::decode(rest, rest.len()).ok(),
            Some((&older::NAMELESS_FORM, rest)) => older::decode_nameless(rest),
            _ => older::decode(bytes),
        }
    }
}

/// The members with a copy of a table that was part of the last epoch that served it (`home`): they have all of it, whoever
/// of them did what. Only survivors where there are any, since nothing of theirs went to a disc and back.
pub fn speakers(standings: &[Standing], table: TableId, holders: NodeSet, home: u64) -> NodeSet {
    let speaks = |at: &usize| home > 0 && standing_of(standings, *at).as_of(table) == home;
    let all = holders.iter().filter(speaks).fold(NodeSet::EMPTY, NodeSet::with);
    let survivors =
        all.iter().filter(|at| standing_of(standings, *at).survivor).fold(NodeSet::EMPTY, NodeSet::with);
    if survivors.is_empty() { all } else { survivors }
}

/// The member that all others copy a served table from, among its holders: of those that speak for it the one that knows of the
/// latest commit, since one of the others may have come back with an older disc. `None`: nobody has any row of it, it is empty (all its copies were in memory and all their processes are gone, or it is new).
pub fn source(standings: &[Standing], table: TableId, holders: NodeSet) -> Option<usize> {
    let home = holders.iter().map(|at| standing_of(standings, at).as_of(table)).max()?;
    let speakers = speakers(standings, table, holders, home);
    speakers.iter().max_by_key(|at| (standing_of(standings, *at).last_commit, std::cmp::Reverse(*at)))
}

/// Whether a member's copy of a served table is whole as it is: nobody here has a better one. Where all came back from their
/// logs, those that know of the latest commit. Another one may be an older disc that was put back: it is compared first, and
/// if who knew more is lost before that, the table waits for its return.
pub(crate) fn is_as_good_as_any(
    standings: &[Standing],
    slot: usize,
    table: TableId,
    holders: NodeSet,
) -> bool {
    let home = holders.iter().map(|at| standing_of(standings, at).as_of(table)).max().unwrap_or(0);
    let knows = |at: usize| {
        let standing = standing_of(standings, at);
        (standing.survivor, standing.last_commit)
    };
    let best = source(standings, table, holders);
    speakers(standings, table, holders, home).has(slot)
        && best.is_some_and(|best| standing_of(standings, slot).survivor || knows(slot) == knows(best))
}

/// Where a member stands, by slot. Sets of members may name some that were enlisted since.
pub(crate) fn standing_of(standings: &[Standing], slot: usize) -> &Standing {
    const NOWHERE: &Standing =
        &Standing { survivor: false, whole: Vec::new(), opened: 0, last_commit: Timestamp(0) };
    standings.get(slot).unwrap_or(NOWHERE)
}

#[cfg(test)]
mod tests;
