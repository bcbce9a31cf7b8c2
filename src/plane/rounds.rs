//! What a leader does to stay one, and to know that it is: once a heartbeat it asks all voters whether it still leads.
//!
//! **Authority.** The clock is read *before* a round is asked for, and the round counts as confirmed when it ends well:
//! openraft then has an answer of a majority of the voters to requests of this term that it sent after it was asked, each from
//! a voter that had not voted in a later term when it answered. A later leader needs the vote of one of them, given after that
//! answer, so after the time that was read. A cut-off leader has no round confirmed, and its authority stands still.
//! `RaftMetrics::millis_since_quorum_ack` would be cheaper, but counts whole milliseconds, rounded down, back from when the
//! metrics were made, on a clock that stands still while the machine is suspended: a time computed from it may be later than
//! the truth.
//!
//! **Silence.** Voters hold on to a leader they hear, even if it does not hear them. So a leader that was not confirmed for
//! [`PLANE_PATIENCE_TIMEOUTS`] sends nothing as a leader for [`PLANE_SILENCE_TIMEOUTS`]: who sees a majority is elected
//! meanwhile. If nobody is, it goes on. One that is to hand over does the same.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::time::Instant;

use super::core::{Core, leads};
use super::view::Authority;
use super::voter::Term;
use crate::limits::{PLANE_PATIENCE_TIMEOUTS, PLANE_SILENCE_TIMEOUTS};

/// Until the consensus stops.
pub(super) async fn lead(core: Arc<Core>) {
    let mut metrics = core.raft.metrics();
    while metrics.wait_for(|metrics| leads(metrics).is_some()).await.is_ok() {
        lead_once(&core).await;
        core.gate.set_silent(false);
    }
}

/// Until it leads no more.
async fn lead_once(core: &Core) {
    let mut confirmed = Instant::now();
    while let Some(term) = leads(&core.metrics()) {
        let begun = Instant::now();
        if core.hands_over.swap(false, Ordering::AcqRel) {
            tracing::info!(term = term.number, "this leader of the control plane lets another one lead");
            be_silent(core, term).await;
            confirmed = Instant::now();
        } else if round(core).await {
            confirmed = begun;
        } else if begun - confirmed >= core.config.election_max * PLANE_PATIENCE_TIMEOUTS {
            tracing::warn!(
                term = term.number,
                "no majority of the voters confirms this leader: it lets them elect another one"
            );
            be_silent(core, term).await;
            confirmed = Instant::now();
        }
        tokio::time::sleep_until(begun + core.config.heartbeat).await;
    }
}

/// One round; whether a majority confirmed it.
async fn round(core: &Core) -> bool {
    let sent_ns = (core.config.clock)();
    // For learners, and for entries whose sending failed; the round itself goes to voters only.
    if core.raft.trigger().heartbeat().await.is_err() {
        return false;
    }
    // What is returned is in the log of this term at least, so it names the term.
    let Ok((Some(read), _)) = core.raft.get_read_log_id().await else {
        return false;
    };
    let proof = Authority { term: read.leader_id.into(), sent_ns };
    core.authority.send_if_modified(|known| {
        let newer = known.is_none_or(|known| (known.term, known.sent_ns) < (proof.term, proof.sent_ns));
        if newer {
            *known = Some(proof);
        }
        newer
    });
    true
}

async fn be_silent(core: &Core, term: Term) {
    core.gate.set_silent(true);
    let mut metrics = core.raft.metrics();
    let replaced = metrics.wait_for(|metrics| leads(metrics) != Some(term));
    let silence = core.config.election_max * PLANE_SILENCE_TIMEOUTS;
    // Either way it is over.
    drop(tokio::time::timeout(silence, replaced).await);
    core.gate.set_silent(false);
}
