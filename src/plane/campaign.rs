//! Becoming leader. A voter that has heard no leader for long enough first asks around who would vote for it (a canvass), and
//! stands for election only if a majority would: a voter that was cut off, is behind or was removed raises no term, so it
//! disturbs nobody when it comes back. A canvass changes nothing anywhere. It only holds elections back, so whatever it gets
//! wrong costs time and nothing else.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::task::JoinSet;
use tokio::time::Instant;

use super::core::Core;
use super::kind::LogId;
use super::message::{Answer, Ask};
use super::voter::RaftId;

/// Until the consensus stops.
pub(super) async fn stand(core: Arc<Core>) {
    loop {
        if until_due(&core).await.is_none() {
            return;
        }
        if canvass(&core).await {
            if core.raft.trigger().elect().await.is_err() {
                return;
            }
            // An election alone is over at once; among others the next one is due after a time drawn anew.
            tokio::time::sleep(core.config.heartbeat).await;
        } else {
            let pause = core.config.draw().min(core.config.election_min);
            tokio::time::sleep(pause).await;
        }
    }
}

/// Returns when this voter should stand; `None` when the consensus stopped.
async fn until_due(core: &Core) -> Option<()> {
    let drawn = core.config.draw();
    let mut metrics = core.raft.metrics();
    loop {
        let me = core.me;
        let stands = |metrics: &super::core::Metrics| {
            !metrics.state.is_leader()
                && metrics.membership_config.membership().voter_ids().any(|id| id == me)
        };
        let alone = {
            let metrics = metrics.wait_for(stands).await.ok()?;
            metrics.membership_config.membership().voter_ids().count() == 1
        };
        let (touched, led) = last_heard(core).await?;
        // As openraft's own timer has it: after a leader was heard the other voters hold on to it for a lease.
        let wait = if led { core.config.lease() + drawn } else { drawn };
        match touched.map(|touched| touched + wait) {
            Some(due) if !alone && Instant::now() < due => tokio::time::sleep_until(due).await,
            _ => return Some(()),
        }
    }
}

/// When the vote was last given or confirmed, and whether to an elected leader.
async fn last_heard(core: &Core) -> Option<(Option<Instant>, bool)> {
    let heard = core.raft.with_raft_state(|state| (state.vote_last_modified(), state.vote_ref().committed));
    heard.await.ok()
}

/// Whether a majority would vote for this voter; of both lists while the voters change.
async fn canvass(core: &Arc<Core>) -> bool {
    let stored = core.metrics().membership_config;
    let members = stored.membership();
    let last = core.raft.data_metrics().borrow().last_log;
    let mut asked = JoinSet::new();
    for id in members.voter_ids().filter(|id| *id != core.me) {
        let link = core.links.link(id, &members.get_node(&id).cloned().unwrap_or_default());
        let wait = core.config.answer_wait();
        asked.spawn(async move {
            let answer = tokio::time::timeout(wait, link.ask(Ask::Canvass { last })).await;
            matches!(answer, Ok(Ok(Answer::Canvass(true)))).then_some(id)
        });
    }
    let mut would = BTreeSet::from([core.me]);
    while !enough(members.get_joint_config(), &would) {
        match asked.join_next().await {
            Some(answer) => would.extend(answer.ok().flatten()),
            None => return false,
        }
    }
    true
}

/// Whether these are a majority of each list of voters.
pub(super) fn enough(lists: &[BTreeSet<RaftId>], would: &BTreeSet<RaftId>) -> bool {
    lists.iter().all(|list| list.intersection(would).count() > list.len() / 2)
}

/// Whether this voter would vote for one whose log ends there: not while it hears a leader, is a leader that is heard, or has
/// more in its log; nor for as long as an election takes after it has voted, since whom it voted for is about to lead. On a disc a
/// vote takes some milliseconds, and whoever stood meanwhile would take the election from who stood first and wait for another one
/// itself. `None` when the consensus stopped.
pub(super) async fn on_canvass(core: &Core, last: Option<LogId>) -> Option<bool> {
    let leading = core.metrics().state.is_leader();
    let (touched, led) = last_heard(core).await?;
    let holds = if led { core.config.lease() } else { core.config.answer_wait() };
    let held = touched.is_some_and(|touched| Instant::now() <= touched + holds);
    let taken = if leading { !core.gate.is_silent() } else { held };
    let mine = core.raft.data_metrics().borrow().last_log;
    Some(!taken && last >= mine)
}
