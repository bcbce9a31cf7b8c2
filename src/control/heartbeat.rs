//! What a member says of itself over and over, and its question for a lease.

use std::sync::Arc;

use hypermnesia_replication::{Member, NodeSet};
use tokio::time::MissedTickBehavior;

use super::Control;
use super::timing::ns;
use super::word::{Beat, Word};
use crate::core::Core;
use crate::machine::boottime_ns;

/// Says over and over that this member lives, and asks for a lease.
pub(super) async fn beat(core: Arc<Core>) {
    let Some(control) = core.control() else { return };
    let mut beats = tokio::time::interval(control.timing.heartbeat);
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last_ns = boottime_ns();
    while !core.is_closed() {
        beats.tick().await;
        let now_ns = boottime_ns();
        let gap_ns = now_ns.saturating_sub(last_ns);
        if gap_ns > ns(control.timing.pause) {
            control.oversee(|overseer| overseer.on_pause(now_ns, gap_ns));
        }
        last_ns = now_ns;
        control.confirm(&control.view());
        let beat = control.own_beat(&core);
        control.oversee(|overseer| overseer.on_beat(now_ns, core.me, beat.hears));
        let word = Word::Beat(beat);
        core.peers.links().for_each(|link| {
            core.say(link.node, &word);
        });
        control.ask(&core);
        control.news.notify_one();
    }
}

impl Control {
    fn own_beat(&self, core: &Core) -> Beat {
        let connected = |(_, member): &(usize, &Member)| {
            member.node == core.me.node || core.peers.link(member.node).is_some_and(|link| link.is_up())
        };
        let hears = core.replica.slots().iter().filter(connected);
        let unknown = self.register.borrow().cluster().is_none();
        let view = self.view();
        Beat {
            led: self.is_led(&view),
            raft: self.plane().raft_id().0,
            durable: self.disc.is_some(),
            begun: !view.voters.is_empty(),
            hears: hears.fold(NodeSet::EMPTY, |set, (slot, _)| set.with(slot)),
            highest: core.replica.highest_epoch(),
            founded: core.founded(),
            carried: unknown.then(|| core.replica.carried()).flatten(),
        }
    }

    /// Asks whoever leads for a lease.
    pub(super) fn ask(&self, core: &Core) {
        let Some((_, leader)) = self.view().leader else { return };
        let ask = core.membership.lease.ask();
        if leader.node != core.me.node {
            core.say(leader.node, &Word::Ask(ask));
        } else if let Some(grant) = self.asked(core.me, &ask) {
            core.membership.lease.granted(&grant);
        }
    }
}
