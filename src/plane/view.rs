//! How things stand, as one node knows it. It may be behind; what it says of its own authority never is ahead of the truth.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::campaign::enough;
use super::core::{Core, Metrics};
use super::voter::{RaftId, Term, Voter};
use crate::limits::VOTERS_MAX;

/// The last proof that a leader led.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Authority {
    pub(crate) term: Term,
    /// Nobody was elected in a later term before this time of the leader's clock: see `rounds`.
    pub(crate) sent_ns: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct View {
    pub(crate) me: RaftId,
    /// The latest leadership or candidacy this node has voted for or heard of.
    pub(crate) term: Term,
    /// Who was elected in that term, if somebody was; the voter is missing while it is no known member.
    pub(crate) leader: Option<(RaftId, Voter)>,
    /// Whether that is this node. It may have been replaced since: what counts is [`View::authority`].
    pub(crate) leading: bool,
    /// When this life of the process first knew that it leads in this term, in the clock's nanoseconds: not before it was elected.
    /// A leader that is started again may lead on in the same term without remembering what it granted.
    pub(crate) leading_since_ns: Option<u64>,
    /// While it leads.
    pub(crate) authority: Option<Authority>,
    /// The last entry that the machine has applied.
    pub(crate) applied: Option<u64>,
    /// That entry is of the present term: all that was agreed before its leader was elected is applied.
    pub(crate) caught_up: bool,
    /// All that vote; while a change is half way, those before and those after.
    pub(crate) voters: BTreeMap<RaftId, Voter>,
    /// Which of them: each list needs a majority of its own, and there are two while a change is half way.
    pub(crate) lists: Vec<BTreeSet<RaftId>>,
    pub(crate) learners: BTreeMap<RaftId, Voter>,
    /// The members above are agreed and there is one list of voters.
    pub(crate) settled: bool,
    /// Why the control plane of this node has stopped for good.
    pub(crate) stopped: Option<String>,
}

impl View {
    pub(super) fn nothing(me: RaftId) -> View {
        View {
            me,
            term: Term::default(),
            leader: None,
            leading: false,
            leading_since_ns: None,
            authority: None,
            applied: None,
            caught_up: false,
            voters: BTreeMap::new(),
            lists: Vec::new(),
            learners: BTreeMap::new(),
            settled: false,
            stopped: None,
        }
    }

    /// Whether one more may vote.
    pub(crate) fn has_room(&self) -> bool {
        self.voters.len() < VOTERS_MAX
    }

    /// Whether these can agree on something.
    pub(crate) fn enough(&self, voters: &BTreeSet<RaftId>) -> bool {
        enough(&self.lists, voters)
    }

    pub(super) fn new(
        metrics: &Metrics,
        authority: Option<Authority>,
        led_since_ns: Option<u64>,
        stopped: Option<String>,
    ) -> View {
        let term = Term::from(metrics.vote.leader_id);
        let stored = &metrics.membership_config;
        let members = stored.membership();
        let voting: Vec<RaftId> = members.voter_ids().collect();
        let all = members.nodes().map(|(id, voter)| (*id, voter.clone()));
        let (voters, learners) = all.partition(|(id, _)| voting.contains(id));
        let agreed = stored.log_id().is_some() && *stored.log_id() <= metrics.last_applied;
        let leader =
            metrics.current_leader.map(|id| (id, members.get_node(&id).cloned().unwrap_or_default()));
        View {
            me: metrics.id,
            term,
            leader,
            leading: led_since_ns.is_some(),
            leading_since_ns: led_since_ns,
            authority: authority.filter(|proof| led_since_ns.is_some() && proof.term == term),
            applied: metrics.last_applied.map(|id| id.index),
            caught_up: metrics.last_applied.is_some_and(|id| Term::from(id.leader_id) == term),
            voters,
            lists: members.get_joint_config().clone(),
            learners,
            settled: agreed && members.get_joint_config().len() == 1,
            stopped,
        }
    }
}

/// Tells who watches.
pub(super) async fn publish(core: Arc<Core>) {
    let (mut metrics, mut authority) = (core.raft.metrics(), core.authority.subscribe());
    loop {
        core.publish();
        let more = tokio::select! {
            biased;
            changed = metrics.changed() => changed.is_ok(),
            _ = authority.changed() => true,
        };
        if !more {
            break;
        }
    }
    core.publish();
}
