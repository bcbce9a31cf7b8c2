//! What goes wrong in the world, and the control plane that looks who is there.

use hypermnesia_history::Outcome as Told;
use hypermnesia_replication::{Now, Peer};

use super::{MS, Thing, US, World};
use crate::client::Which;
use crate::node::Node;
use crate::room;

impl World {
    /// Everybody hears of it, some late.
    pub(super) fn announce(&mut self) {
        for node in 0..self.nodes.len() {
            let late = self.rng.chance(1, 5);
            let after = if late { self.rng.between(MS, 30 * MS) } else { self.rng.between(50 * US, MS) };
            let life = self.nodes[node].lives;
            self.later(after, Thing::Agreed { node, life });
        }
    }

    pub(super) fn life_of(&self, node: usize) -> Option<Peer> {
        let life = self.nodes[node].life.as_ref()?;
        Some(Peer { node: self.members[node].node, incarnation: life.incarnation })
    }

    /// Who is gone is excluded and who is there is taken in, after a while; now and then somebody is excluded who is there.
    pub(super) fn govern(&mut self) {
        let again = self.rng.between(MS, 15 * MS);
        self.later(again, Thing::Govern);
        let lives: Vec<Option<Peer>> = (0..self.nodes.len()).map(|node| self.life_of(node)).collect();
        let Some(latest) = self.register.latest() else {
            return self.agree(lives.clone(), &lives);
        };
        let mut next = latest.members.clone();
        for (node, life) in lives.iter().enumerate() {
            let silent = self.is_asleep(node);
            let gone = next[node].is_some() && (next[node] != *life || silent);
            let outside = next[node].is_none() && life.is_some() && !silent;
            let faults = self.shape.faults && !self.shape.cuts_only && !self.healing;
            let falsely = faults && self.rng.chance(1, self.shape.falsely_of);
            if gone && self.rng.chance(1, 2) || falsely {
                next[node] = None;
            } else if (outside || gone) && self.rng.chance(1, 3) {
                next[node] = *life;
            }
        }
        if self.register.latest().is_some_and(|latest| latest.members != next) {
            self.agree(next, &lives);
        }
    }

    pub(super) fn agree(&mut self, members: Vec<Option<Peer>>, lives: &[Option<Peer>]) {
        if self.register.agree(members, |slot, life| lives[slot] == Some(life)) {
            let text = format!("{:?}", self.register.latest());
            self.say(|| format!("-- agreed on {text}"));
            self.announce();
        }
    }

    /// Whether a node's epoch has good copies of what is wanted.
    pub(crate) fn serves(&self, node: usize, lists: bool, accounts: bool) -> bool {
        let Some(life) = &self.nodes[node].life else { return false };
        let served = |which| life.replica.serves(room::table(which));
        (!lists || served(Which::Lists)) && (!accounts || served(Which::Accounts))
    }

    /// Whether a node may show rows: the register has not excluded it. Leases see to that.
    pub(super) fn may_show(&self, node: usize) -> bool {
        let entered =
            self.nodes[node].life.as_ref().map_or(0, |life| life.replica.status(Now::default()).epoch);
        self.life_of(node).is_some_and(|life| self.register.has(node, life, entered))
    }

    // Faults.

    pub(super) fn fault(&mut self) {
        if self.healing {
            return;
        }
        let count = self.nodes.len() as u64;
        let kinds = if self.shape.cuts_only { 4 } else { 10 };
        match self.rng.below(kinds) {
            0..=3 => {
                let (a, b) = (self.rng.below(count) as usize, self.rng.below(count) as usize);
                if a != b {
                    self.say(|| format!("-- link n{} n{} is cut", a + 1, b + 1));
                    self.disconnect(a, b);
                    let after = self.rng.between(MS, 120 * MS);
                    self.later(after, Thing::Connect(a, b));
                }
            }
            4..=7 => {
                let node = self.rng.below(count) as usize;
                self.crash_for_a_while(node);
            }
            8 => {
                for node in 0..self.nodes.len() {
                    if self.rng.chance(2, 3) {
                        self.crash_for_a_while(node);
                    }
                }
            }
            _ if self.shape.losses => {
                // Sometimes in the middle of everything, sometimes when what was begun is over.
                let after = self.rng.below(2) * 20 * MS;
                self.quiet_until_ns = self.now_ns + after;
                self.later(after, Thing::Lose);
            }
            _ => {}
        }
        let after = self.rng.between(5 * MS, 80 * MS);
        self.later(after, Thing::Fault);
    }

    /// While all are whole and know it: some end at once, and one of them comes back with an empty disc, or with what was
    /// on it some time ago. Whatever was acknowledged is on the others. An old disc does not know what it has promised since, and
    /// its silence counts as a refusal: so it comes when the others have the outcome of all that they had prepared.
    pub(super) fn lose_a_log(&mut self) {
        let settled = |one: &Node| {
            one.life.as_ref().is_some_and(|life| {
                let status = life.replica.status(Now::default());
                status.open
                    && status.complete
                    && status.members.iter().all(|member| member.connected && member.ready)
            })
        };
        if self.healing || !self.nodes.iter().all(settled) {
            return;
        }
        let victim = self.rng.below(self.nodes.len() as u64) as usize;
        self.nodes.iter_mut().for_each(|node| node.safe = node.log.len());
        for node in 0..self.nodes.len() {
            if node == victim || self.rng.chance(2, 3) {
                self.crash_for_a_while(node);
            }
        }
        let log = &self.nodes[victim].log;
        let mut others = self.nodes.iter().enumerate().filter(|(at, _)| *at != victim);
        let may_be_old = others.all(|(_, node)| node.has_all_outcomes());
        let old = self.rng.chance(3, 4) && may_be_old;
        let kept = if old { self.rng.below(log.len() as u64 + 1) as usize } else { 0 };
        self.say(|| format!("-- n{} loses its log but {kept} records", victim + 1));
        self.losses += 1;
        self.nodes[victim].lose(kept);
    }

    pub(super) fn crash_for_a_while(&mut self, node: usize) {
        let whole = |at: usize| {
            let opened = self.register.agreement().opened.map_or(0, |opened| opened.epoch.number);
            let complete = |life: &crate::node::Life| {
                let status = life.replica.status(Now::default());
                status.complete && status.epoch == opened && self.may_show(at)
            };
            self.register.was_opened(at, self.life_of(at), !self.shape.forgets)
                && self.nodes[at].life.as_ref().is_some_and(complete)
        };
        let last = !(0..self.nodes.len()).any(|at| at != node && whole(at));
        if self.nodes[node].life.is_none() || (!self.shape.durable && last) {
            return;
        }
        self.crash(node);
        let after = self.rng.between(MS, 100 * MS);
        self.later(after, Thing::Restart(node));
    }

    pub(super) fn crash(&mut self, node: usize) {
        self.say(|| format!("-- n{} crashes", node + 1));
        self.crashes += 1;
        self.wake(node);
        let rng = &mut self.rng;
        self.nodes[node].crash(|tail| rng.below(tail));
        for peer in (0..self.nodes.len()).filter(|peer| *peer != node) {
            self.disconnect(node, peer);
        }
        for client in 0..self.clients.len() {
            if self.clients[client].attempt.as_ref().is_some_and(|attempt| attempt.node == node) {
                let committing = self.clients[client].attempt.as_ref().is_some_and(|a| a.committing);
                self.ends(client, if committing { Told::Unknown } else { Told::Failed });
            }
        }
    }

    pub(super) fn restart(&mut self, node: usize) {
        if self.nodes[node].life.is_some() {
            return;
        }
        self.say(|| format!("-- n{} starts", node + 1));
        let wall_ms = self.now().wall_ms;
        let members = self.members.clone();
        let is_new = self.register.agreement().opened.is_none();
        self.nodes[node].start(&members, wall_ms, is_new);
        self.call(node, |replica, now, out| replica.start(now, out));
        let life = self.nodes[node].lives;
        self.later(10 * MS, Thing::Tick { node, life });
        let after = self.rng.between(100 * US, 5 * MS);
        self.later(after, Thing::Agreed { node, life });
        for peer in (0..self.nodes.len()).filter(|peer| *peer != node) {
            let after = self.rng.between(100 * US, 5 * MS);
            self.later(after, Thing::Connect(node, peer));
        }
    }

    /// Ends all faults: everyone is started and connected again.
    pub(crate) fn heal(&mut self) {
        if std::mem::replace(&mut self.healing, true) {
            return;
        }
        self.say(|| "-- healing".into());
        self.shape.harms.clear();
        for node in 0..self.nodes.len() {
            self.later(0, Thing::Restart(node));
            for peer in 0..node {
                self.later(6 * MS, Thing::Connect(node, peer));
            }
        }
    }
}
