//! Epochs: numbered memberships that open one after another, and what must be known of them after a restart. Pure rules,
//! no messages: who leads, which epoch counts as the last opened one, and who is a good source of a table.
//! Described in `docs/protocol.md`; the messages that walk through these rules are in `flush.rs`.
//!
//! *Staged at all is opened.* There is no control plane that could record an opening, so the fact is the stages
//! themselves: an epoch opens only after every member has staged it, durably where there is a log. A later leader hears
//! from all members; when every decider (see [`last_opened`]) has that epoch as its latest stage it may have been
//! opened, its decisions told, so it is taken as opened. When one decider lacks it, it never opened and never can: that
//! decider has promised a higher number.

use hypermnesia_store::{NodeId, TableId, Timestamp, TxId, codec};
use serde::{Deserialize, Serialize};

use crate::member::{Member, NodeSet, Peer};
use crate::outcome::Outcome;

/// One membership. The number is unique: a member promises a number to one leader only, and all must stage it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Epoch {
    /// From 1, rising, not dense: attempts that failed use numbers up.
    pub number: u64,
    /// The opened epoch whose transactions it settled; 0 for the first.
    pub parent: u64,
    /// All configured members, by id, in the lives that take part.
    pub members: Vec<Peer>,
}

impl Epoch {
    /// Whether it is about these members, in any life: what a peer or a log says of others is not followed.
    pub(crate) fn is_of(&self, members: &[Member]) -> bool {
        let ids = members.iter().map(|member| member.node);
        self.members.iter().map(|member| member.node).eq(ids)
    }

    /// The members that are still the same processes in `lives`.
    pub fn survivors(&self, lives: &[Peer]) -> NodeSet {
        let mut set = NodeSet::EMPTY;
        for (position, life) in lives.iter().enumerate() {
            if self.members.get(position) == Some(life) {
                set = set.with(position);
            }
        }
        set
    }
}

/// What a member says of itself when connections come up and when it is fenced.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// The last epoch it knows to be opened: by itself, or from its log.
    pub opened: Option<Epoch>,
    /// The number of the epoch it staged last and of that epoch's parent; 0 if none.
    pub staged: (u64, u64),
    /// The highest number it has promised to a leader.
    pub promised: u64,
    /// It has promised a number above the opened one: it takes part in nothing until an epoch opens.
    pub fenced: bool,
}

impl State {
    /// The number of the last epoch it knows to be opened; 0 if none.
    pub fn opened_number(&self) -> u64 {
        self.opened.as_ref().map_or(0, |epoch| epoch.number)
    }
}

/// What the flush knows of one member as a source of data.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// A member of the last opened epoch in the same life.
    pub survivor: bool,
    /// It had loaded all its tables.
    pub complete: bool,
    /// Else: which of them are as they were in which epoch; a table that is half loaded is not among them.
    pub whole: Vec<(TableId, u64)>,
    /// Whether its disc copies outlive a restart.
    pub durable: bool,
    /// The last epoch it knew to be opened.
    pub opened: u64,
    /// The highest commit timestamp it knew of.
    pub last_commit: Timestamp,
}

impl Stage {
    /// Whether it is about these members and says of each where it stands.
    pub(crate) fn is_of(&self, members: &[Member]) -> bool {
        self.epoch.is_of(members) && self.standings.len() == members.len()
    }
}

impl Standing {
    /// The last epoch whose commits in a table this member's copy has, all of them; 0 if it is half loaded or was never
    /// there. Nothing was committed to a table after the epoch in which one of its copies stopped being whole: every
    /// write needs every copy ready.
    pub fn as_of(&self, table: TableId) -> u64 {
        if self.complete {
            return self.opened;
        }
        self.whole.iter().find(|(id, _)| *id == table).map_or(0, |(_, number)| *number)
    }
}

/// Everything an epoch begins with. Staged by every member, applied by each when the epoch opens, void if it never does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stage {
    /// Number and members.
    pub epoch: Epoch,
    /// Above every clock reported: what the flush commits without a record carries it, so that no snapshot from before
    /// the flush shows one such commit without another.
    pub stamp: Timestamp,
    /// The outcome of every transaction that was in doubt.
    pub decisions: Vec<(TxId, Outcome)>,
    /// Per member.
    pub standings: Vec<Standing>,
}

/// What a node writes to its log about epochs: each one replaces those before it.
///
/// The order in the log is what counts. A stage is synced before the leader hears of it. The opening stands before any
/// record of the epoch; a joiner is not complete in it, until a later one says so.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct EpochFact {
    pub(crate) staged: Option<Stage>,
    /// The stage of the last opened epoch.
    pub(crate) opened: Option<Stage>,
    pub(crate) complete: bool,
    pub(crate) whole: Vec<(TableId, u64)>,
    /// See `Era::hearsay`.
    pub(crate) hearsay: u64,
}

/// The same as version 0.1 first wrote it.
#[derive(Deserialize)]
struct FirstFact {
    staged: Option<Stage>,
    opened: Option<Stage>,
    complete: bool,
    whole: Vec<(TableId, u64)>,
}

impl From<FirstFact> for EpochFact {
    fn from(first: FirstFact) -> EpochFact {
        let FirstFact { staged, opened, complete, whole } = first;
        EpochFact { staged, opened, complete, whole, hearsay: 0 }
    }
}

/// The members of the last opened epoch that a log knows of, by id; `None` if it knows of none.
pub fn members_in_log(epoch: &[u8]) -> Option<Vec<NodeId>> {
    let opened = EpochFact::decode(epoch)?.opened?;
    Some(opened.epoch.members.iter().map(|member| member.node).collect())
}

impl EpochFact {
    pub(crate) fn encode(&self) -> Vec<u8> {
        codec::encode(self)
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<EpochFact> {
        let first = || codec::decode::<FirstFact>(bytes, bytes.len()).ok().map(EpochFact::from);
        codec::decode(bytes, bytes.len()).ok().or_else(first)
    }
}

/// The number of the epoch that counts as the last opened one: the highest that anyone knows to be opened, or the one
/// that every decider has staged behind it. Deciders are the survivors of the highest opened epoch; when nobody survived,
/// those whose log knows it.
pub fn last_opened(states: &[State], lives: &[Peer]) -> u64 {
    let Some(opened) = states.iter().filter_map(|s| s.opened.as_ref()).max_by_key(|epoch| epoch.number)
    else {
        return 0;
    };
    let mut deciders = opened.survivors(lives);
    if deciders.is_empty() {
        deciders = (0..states.len())
            .filter(|at| states[*at].opened_number() == opened.number)
            .fold(NodeSet::EMPTY, NodeSet::with);
    }
    let mut staged = deciders.iter().map(|at| states[at].staged);
    match staged.next() {
        Some((number, parent))
            if number > opened.number && parent == opened.number && staged.all(|s| s == (number, parent)) =>
        {
            number
        }
        _ => opened.number,
    }
}

/// The position of the member that leads the next flush: the lowest survivor, or the lowest of all when nobody survived.
pub fn leader(states: &[State], lives: &[Peer]) -> usize {
    let opened = states.iter().filter_map(|s| s.opened.as_ref()).max_by_key(|epoch| epoch.number);
    opened.and_then(|epoch| epoch.survivors(lives).iter().next()).unwrap_or(0)
}

/// Whether a new epoch is wanted: a member is in another life than in the last opened epoch, has been fenced and left
/// there, or nothing was ever opened.
pub fn flush_needed(states: &[State], lives: &[Peer]) -> bool {
    let opened = states.iter().filter_map(|s| s.opened.as_ref()).max_by_key(|epoch| epoch.number);
    match opened {
        None => true,
        Some(epoch) => epoch.members != lives || states.iter().any(|state| state.fenced),
    }
}

/// The member to copy a table from, among its holders. `on_disc` are the holders that keep it on disc. `None`: nobody has
/// any row of it, it is empty (all its copies were in memory and all their processes are gone, or nothing ever opened).
///
/// A survivor whose copy is whole has everything. Else every process that had it whole is gone: the disc copy that is
/// whole as of the latest epoch; one that was interrupted while loading only when there is no other.
pub fn source(standings: &[Standing], table: TableId, holders: NodeSet, on_disc: NodeSet) -> Option<usize> {
    let present =
        |at: &usize| standings[*at].survivor && standings[*at].as_of(table) == standings[*at].opened;
    let whole = holders.iter().find(present);
    if whole.is_some() {
        return whole;
    }
    let rank = |at: usize| {
        let s = &standings[at];
        (s.as_of(table), s.opened, s.last_commit, std::cmp::Reverse(at))
    };
    let usable = |at: &usize| {
        let s = &standings[*at];
        s.opened > 0 && (s.survivor || (s.durable && on_disc.has(*at)))
    };
    holders.iter().filter(usable).max_by_key(|at| rank(*at))
}

/// The lives of all members if everyone is known.
pub(crate) fn position_of(members: &[Member], node: NodeId) -> Option<usize> {
    members.binary_search_by_key(&node, |member| member.node).ok()
}
