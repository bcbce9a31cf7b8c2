//! What the parts of a control plane share.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use openraft::ServerState;
use openraft::metrics::RaftMetrics;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::config::Config;
use super::gate::Gate;
use super::keeper::Keeper;
use super::kind::Raft;
use super::link::Links;
use super::view::{Authority, View};
use super::voter::{RaftId, Term, Voter};

pub(super) type Metrics = RaftMetrics<RaftId, Voter>;

pub(super) struct Core {
    pub(super) me: RaftId,
    pub(super) raft: Raft,
    pub(super) links: Links,
    pub(super) gate: Arc<Gate>,
    /// It is to let somebody else lead, once. Its own memory only.
    pub(super) hands_over: AtomicBool,
    pub(super) keeper: Arc<Keeper>,
    pub(super) config: Config,
    pub(super) authority: watch::Sender<Option<Authority>>,
    pub(super) views: watch::Sender<View>,
    /// The term in which this life of the process leads, and when it first saw that. Held for a comparison.
    led: Mutex<Option<(Term, u64)>>,
}

impl Core {
    pub(super) fn new(
        me: RaftId,
        raft: Raft,
        links: Links,
        gate: Arc<Gate>,
        keeper: Arc<Keeper>,
        config: Config,
    ) -> Core {
        let (authority, _) = watch::channel(None);
        let (views, _) = watch::channel(View::nothing(me));
        let hands_over = AtomicBool::new(false);
        let core = Core {
            me,
            raft,
            links,
            gate,
            hands_over,
            keeper,
            config,
            authority,
            views,
            led: Mutex::new(None),
        };
        core.publish();
        core
    }

    pub(super) fn metrics(&self) -> Metrics {
        self.raft.metrics().borrow().clone()
    }

    pub(super) fn view(&self) -> View {
        let metrics = self.raft.metrics();
        let gone = metrics.has_changed().is_err();
        let metrics = metrics.borrow().clone();
        let stopped = self.keeper.failed().map(ToString::to_string);
        let stopped = stopped.or_else(|| metrics.running_state.as_ref().err().map(ToString::to_string));
        let stopped = stopped.or_else(|| gone.then(|| "its consensus ended in a panic".to_owned()));
        let led = leads(&metrics).filter(|_| stopped.is_none()).map(|term| self.led_since(term));
        View::new(&metrics, *self.authority.borrow(), led, stopped)
    }

    pub(super) fn publish(&self) {
        let view = self.view();
        self.views.send_if_modified(|known| {
            let changed = *known != view;
            *known = view;
            changed
        });
    }

    fn led_since(&self, term: Term) -> u64 {
        let mut led = self.led.lock();
        match *led {
            Some((known, since)) if known == term => since,
            _ => {
                let now = (self.config.clock)();
                *led = Some((term, now));
                now
            }
        }
    }
}

/// The term in which this node leads, if it does.
pub(super) fn leads(metrics: &Metrics) -> Option<Term> {
    let vote = metrics.vote;
    let mine = metrics.state == ServerState::Leader && vote.committed && vote.leader_id.node_id == metrics.id;
    mine.then(|| vote.leader_id.into())
}
