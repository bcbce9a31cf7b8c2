//! This member's leadership of the control plane, while it has one: the overseer, and what it is told.

use std::time::Duration;

use hypermnesia_replication::Peer;
use hypermnesia_replication::lease::{Ask, Grant};
use hypermnesia_replication::limits::OVERSEER_LOOKS_PER_HEARTBEAT;
use hypermnesia_replication::overseer::Overseer;
use hypermnesia_replication::register::{Answer, Command};

use super::Control;
use super::timing::ns;
use crate::core::Core;
use crate::machine::boottime_ns;
use crate::plane::{Authority, Term, View};

/// One leadership.
pub(super) struct Leading {
    term: Term,
    /// When this process first knew of it, on the clock of leases.
    since_ns: u64,
    overseer: Overseer,
}

impl Control {
    /// Whether somebody leads who is there, and whom a majority has answered of late: nobody steps down only because it is alone.
    pub(super) fn is_led(&self, view: &View) -> bool {
        let Some((id, _)) = &view.leader else { return false };
        if *id == view.me {
            let late_ns = ns(self.timing.silence);
            let fresh = |proof: &Authority| boottime_ns().saturating_sub(proof.sent_ns) < late_ns;
            return view.authority.as_ref().is_some_and(fresh);
        }
        self.heard().into_iter().any(|(_, beat)| beat.raft == id.0 && beat.led)
    }

    /// The same of this moment.
    pub(crate) fn is_led_now(&self) -> bool {
        self.is_led(&self.view())
    }

    /// Tells the overseer, if this member leads.
    pub(super) fn oversee<T>(&self, tell: impl FnOnce(&mut Overseer) -> T) -> Option<T> {
        self.leading.lock().as_mut().map(|leading| tell(&mut leading.overseer))
    }

    /// How long the steward sleeps when nothing happens: a heartbeat, or where this member leads until the overseer wants to look
    /// again, such as when a lease is over.
    pub(super) fn rest(&self) -> Duration {
        let heartbeat = self.timing.heartbeat;
        let Some(look_ns) = self.oversee(|overseer| overseer.look_ns()) else { return heartbeat };
        match look_ns.saturating_sub(boottime_ns()) {
            // It was not asked, since no majority has answered yet.
            0 => heartbeat / OVERSEER_LOOKS_PER_HEARTBEAT as u32,
            wait_ns => Duration::from_nanos(wait_ns).min(heartbeat),
        }
    }

    /// Somebody asks for a lease, perhaps this member itself.
    pub(super) fn asked(&self, from: Peer, ask: &Ask) -> Option<Grant> {
        if ask.peer != from {
            return None;
        }
        self.oversee(|overseer| overseer.on_ask(boottime_ns(), ask))?.ok()
    }

    /// Notes how this member's leadership stands, and says what it has to propose next.
    pub(super) fn lead(&self, core: &Core, view: &View) -> Option<Command> {
        let now_ns = boottime_ns();
        let mut leading = self.leading.lock();
        let Some(since_ns) = view.leading_since_ns.filter(|_| view.leading) else {
            *leading = None;
            return None;
        };
        if leading.as_ref().is_none_or(|one| (one.term, one.since_ns) != (view.term, since_ns)) {
            let (terms, watch) = (self.timing.terms(), self.timing.watch());
            let overseer = Overseer::new(terms, watch, core.me, since_ns);
            *leading = Some(Leading { term: view.term, since_ns, overseer });
        }
        let overseer = &mut leading.as_mut().expect("it was just made").overseer;
        overseer.on_register(now_ns, &self.register());
        if view.caught_up {
            overseer.on_caught_up();
        }
        // Only a leader that a majority has answered.
        overseer.on_authority(view.authority?.sent_ns);
        overseer.on_wanted(core.replica.awaits_epoch());
        overseer.next(now_ns)
    }

    /// The same without asking for more: whoever proposes something may wait for it longer than a lease lasts.
    pub(super) fn confirm(&self, view: &View) {
        let mut leading = self.leading.lock();
        if let (Some(leading), Some(authority)) = (leading.as_mut(), view.authority)
            && (leading.term, Some(leading.since_ns)) == (view.term, view.leading_since_ns)
        {
            leading.overseer.on_authority(authority.sent_ns);
        }
    }

    /// What became of it; nothing where nobody knows.
    pub(super) async fn propose(&self, core: &Core, command: &Command) -> Option<Answer> {
        let proposed = self.plane().propose(command.encode()).await;
        let answer = match proposed {
            Ok((_, answer)) => Answer::decode(&answer),
            Err(error) => {
                tracing::debug!(node = %core.name, %error, "a command was not agreed");
                return None;
            }
        };
        match &answer {
            Ok(Answer::Refused(refusal)) => {
                tracing::debug!(node = %core.name, %refusal, "the register refuses a command");
            }
            Err(error) => tracing::warn!(node = %core.name, %error, "an answer of the register is none"),
            Ok(Answer::Done | Answer::Already) => {}
        }
        answer.ok()
    }
}
