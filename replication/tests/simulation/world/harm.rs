//! What happens at a certain step: behind the n-th thing that members have sent, logged or told, to whoever did it. So a test
//! can go through all steps of a run, one after another, and through pairs of them.

use hypermnesia_replication::Effect;

use super::{MS, Thing, World};

/// Something that happens behind a step.
#[derive(Clone, Debug)]
pub(crate) struct Harm {
    /// Steps are counted from one, over all members.
    pub(crate) behind: u64,
    pub(crate) what: What,
}

/// To whoever did the step. Others are named by how far behind it they stand in the circle of members.
#[derive(Clone, Debug)]
pub(crate) enum What {
    /// It ends, and these do at the same moment; the rest of what it was doing never happens. All start again a little later.
    Crash { also: Vec<usize> },
    /// Its link to this one is cut, with everything that is on its way there, and comes back.
    Cut { to: usize, ms: u64 },
    /// It is stopped in the middle of what it was doing, and goes on with it. If it takes long enough it is excluded meanwhile.
    Pause { ms: u64 },
}

impl World {
    /// Says whether the member that did the last step does not go on with what it was doing.
    pub(super) fn harm(&mut self, node: usize) -> bool {
        let Some(at) = self.shape.harms.iter().position(|harm| harm.behind == self.steps) else {
            return false;
        };
        let count = self.nodes.len();
        match self.shape.harms.swap_remove(at).what {
            What::Crash { also } => {
                for at in also.iter().map(|behind| (node + behind) % count).chain([node]) {
                    if self.nodes[at].life.is_some() {
                        self.crash(at);
                        let after = self.rng.between(MS, 40 * MS);
                        self.later(after, Thing::Restart(at));
                    }
                }
                true
            }
            What::Cut { to, ms } => {
                let other = (node + to) % count;
                self.say(|| format!("-- link n{} n{} is cut", node + 1, other + 1));
                self.cuts += 1;
                self.disconnect(node, other);
                self.later(ms * MS, Thing::Connect(node, other));
                false
            }
            What::Pause { ms } => {
                self.say(|| format!("-- n{} is stopped for {ms} ms", node + 1));
                self.pauses += 1;
                self.asleep_until_ns[node] = self.now_ns + ms * MS;
                true
            }
        }
    }

    /// A member that is stopped does the rest when it goes on; what one that has ended would have done never happens.
    pub(super) fn go_on_later(&mut self, node: usize, effects: Vec<Effect>) {
        if self.is_asleep(node) {
            // Before all that comes to it meanwhile, which is handled in the moment in which it goes on.
            let after = self.asleep_until_ns[node] - self.now_ns - 1;
            let life = self.nodes[node].lives;
            self.later(after, Thing::Wake { node, life, effects });
        }
    }

    pub(super) fn is_asleep(&self, node: usize) -> bool {
        self.asleep_until_ns[node] > self.now_ns
    }

    pub(super) fn wake(&mut self, node: usize) {
        self.asleep_until_ns[node] = 0;
    }

    /// Until when this waits, because the member that it happens at is stopped.
    pub(super) fn sleeps_through(&self, thing: &Thing) -> Option<u64> {
        let until_ns = match thing {
            Thing::Deliver { to: node, .. }
            | Thing::Logged { node, .. }
            | Thing::Read { node, .. }
            | Thing::WasRead { node, .. }
            | Thing::Tick { node, .. }
            | Thing::Disconnected { node, .. }
            | Thing::Agreed { node, .. } => self.asleep_until_ns[*node],
            Thing::Connect(a, b) => self.asleep_until_ns[*a].max(self.asleep_until_ns[*b]),
            Thing::Client(client) => {
                let attempt = self.clients[*client].attempt.as_ref();
                attempt.map_or(0, |attempt| self.asleep_until_ns[attempt.node])
            }
            Thing::Wake { .. } | Thing::Restart(_) | Thing::Govern | Thing::Fault | Thing::Lose => 0,
        };
        (until_ns > self.now_ns).then_some(until_ns)
    }
}
