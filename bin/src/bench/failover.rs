//! How soon a cluster writes again: of three members, each a process, one after the other is killed, and a client of one that is left
//! writes row after row. A time is from the kill to the first acknowledgement of a write that began when the process was gone.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use hypermnesia_rpc::client::{Client, ClusterStatus, Storage};
use serde::Serialize;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::figure::hundredth;
use super::ledger::{Compared, Ledger};
use crate::child::{Member, Spec, free_addresses, member_list};

const MEMBERS: usize = 3;
/// Every so-manieth kill is of whoever leads the control plane.
const LEADER_EVERY: usize = 3;
/// How long all members may take to be there, with votes that count.
const WHOLE_WITHIN: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How long the others may take to write again, beside some leases: far more than any bar.
const WRITES_WITHIN: Duration = Duration::from_secs(30);
/// Between two tries of a client that was refused.
const AGAIN_AFTER: Duration = Duration::from_millis(1);

/// What a killed member was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Role {
    /// It led the control plane.
    Leader,
    Follower,
}

/// One kill, as it is printed.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Kill {
    pub(crate) bench: &'static str,
    pub(crate) storage: &'static str,
    pub(crate) lease_ms: u64,
    /// From 1.
    pub(crate) kill: usize,
    pub(crate) killed: Role,
    pub(crate) member: String,
    /// The member whose client wrote.
    pub(crate) writer: String,
    /// From the kill to the first acknowledgement.
    pub(crate) ms: f64,
}

/// All kills of one cluster, as they are printed. Times in milliseconds.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Summary {
    pub(crate) bench: &'static str,
    pub(crate) storage: &'static str,
    pub(crate) lease_ms: u64,
    pub(crate) kills: usize,
    pub(crate) followers: usize,
    pub(crate) follower_p50: f64,
    pub(crate) follower_worst: f64,
    pub(crate) leaders: usize,
    pub(crate) leader_p50: f64,
    pub(crate) leader_worst: f64,
    pub(crate) p50: f64,
    /// A lease, and 150 ms.
    pub(crate) p50_bar: f64,
    pub(crate) worst: f64,
    /// Two leases, the longest election timeout, which is one more, and 300 ms.
    pub(crate) worst_bar: f64,
    #[serde(flatten)]
    pub(crate) rows: Compared,
}

/// A cluster whose members are killed. They end with it.
pub(crate) struct Failover {
    members: Vec<Member>,
    ledger: Ledger,
    storage: &'static str,
    lease: Duration,
    random: fastrand::Rng,
}

impl Failover {
    /// Starts three members, on disc with a directory for each in `data`, and makes the tables.
    pub(crate) async fn start(
        (storage, name): (Storage, &'static str),
        lease: Duration,
        data: Option<&Path>,
    ) -> Result<Failover> {
        let names: Vec<_> = (1..=MEMBERS).map(|number| format!("n{number}")).collect();
        let list = member_list(&names, &free_addresses(MEMBERS)?);
        let mut members = Vec::new();
        for name in names {
            let data = data.map(|data| data.join(&name));
            let client = "127.0.0.1:0".to_owned();
            let spec = Spec { name, client, members: list.clone(), data, lease: Some(lease), quiet: true };
            members.push(Member::start(spec).await?);
        }
        let random = fastrand::Rng::new();
        let mut failover = Failover { members, ledger: Ledger::default(), storage: name, lease, random };
        failover.whole().await?;
        failover.ledger = Ledger::create(&failover.client(0).await?, storage).await?;
        Ok(failover)
    }

    /// Kills a member while a client of another one writes, starts it again, and says how long nothing was written.
    pub(crate) async fn kill(&mut self, number: usize) -> Result<Kill> {
        let leader = self.whole().await?;
        let (killed, victim) = match number.is_multiple_of(LEADER_EVERY) {
            true => (Role::Leader, leader),
            false => (Role::Follower, (leader + 1 + number % 2) % MEMBERS),
        };
        let writer = (victim + 1 + number / LEADER_EVERY % 2) % MEMBERS;
        let took = self.measure(victim, writer).await.with_context(|| {
            format!("after {} was killed, with a client of {}", self.name(victim), self.name(writer))
        })?;
        self.members[victim] = Member::start(self.members[victim].spec.clone()).await?;
        Ok(Kill {
            bench: "failover",
            storage: self.storage,
            lease_ms: self.lease.as_millis() as u64,
            kill: number + 1,
            killed,
            member: self.name(victim).to_owned(),
            writer: self.name(writer).to_owned(),
            ms: hundredth(took.as_secs_f64() * 1000.0),
        })
    }

    async fn measure(&mut self, victim: usize, writer: usize) -> Result<Duration> {
        let client = self.client(writer).await?;
        // At any moment between two heartbeats, and when whoever leads has done so for a while.
        let calm = self.lease.mul_f64(1.0 + self.random.f64());
        let (gone, is_gone) = watch::channel(false);
        let (member, ledger) = (&mut self.members[victim], &mut self.ledger);
        let killing = async {
            sleep(calm).await;
            let at = Instant::now();
            member.kill().await?;
            gone.send_replace(true);
            anyhow::Ok(at)
        };
        let writing = async {
            loop {
                let after = *is_gone.borrow();
                match ledger.write(&client).await {
                    true if after => return anyhow::Ok(Instant::now()),
                    true => {}
                    false => sleep(AGAIN_AFTER).await,
                }
            }
        };
        // Two at the most are the calm before the kill, and three the bar.
        let within = WRITES_WITHIN + self.lease * 8;
        let both = timeout(within, async { tokio::try_join!(killing, writing) }).await;
        let (at, written) = both.context("nothing is written any more")??;
        Ok(written - at)
    }

    /// Waits until every member is there, has all tables, and agrees with the others on who leads and that all votes count; the
    /// position of who leads.
    async fn whole(&self) -> Result<usize> {
        let until = Instant::now() + WHOLE_WITHIN;
        let mut clients = Vec::new();
        for at in 0..MEMBERS {
            clients.push(self.client(at).await?);
        }
        loop {
            let mut all = Vec::new();
            for client in &clients {
                all.push(client.status().await?);
            }
            let leader = leader(&all).and_then(|name| (0..MEMBERS).find(|at| self.name(*at) == name));
            if let Some(leader) = leader {
                return Ok(leader);
            }
            if Instant::now() > until {
                bail!("the members do not come together: {all:?}");
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// Ends the members, after what was told was compared with what is there.
    pub(crate) async fn finish(self) -> Result<Compared> {
        self.whole().await?;
        let mut clients = Vec::new();
        for at in 0..MEMBERS {
            clients.push(self.client(at).await?);
        }
        let compared = self.ledger.compare(&clients).await?;
        for member in self.members {
            member.stop().await?;
        }
        Ok(compared)
    }

    fn name(&self, at: usize) -> &str {
        &self.members[at].spec.name
    }

    async fn client(&self, at: usize) -> Result<Client> {
        Ok(Client::connect(&self.members[at].client).await?)
    }
}

/// Who leads, when all say so and nothing is missing.
fn leader(all: &[ClusterStatus]) -> Option<&str> {
    let led = |status: &ClusterStatus| {
        let control = status.control.clone().filter(|control| control.without_vote.is_empty())?;
        (status.ready && control.voters.len() == all.len()).then_some(control.leader)
    };
    let first = led(all.first()?)?;
    let agreed = !first.is_empty() && all.iter().all(|status| led(status).as_ref() == Some(&first));
    agreed.then(|| all[0].control.as_ref().map(|control| control.leader.as_str())).flatten()
}

impl Summary {
    /// Of at least one kill.
    pub(crate) fn of(kills: &[Kill], rows: Compared) -> Result<Summary> {
        let first = kills.first().context("nobody was killed")?;
        let times = |role: Option<Role>| {
            let mut times: Vec<f64> = kills
                .iter()
                .filter(|kill| role.is_none_or(|role| kill.killed == role))
                .map(|kill| kill.ms)
                .collect();
            times.sort_by(f64::total_cmp);
            times
        };
        let (all, leaders, followers) = (times(None), times(Some(Role::Leader)), times(Some(Role::Follower)));
        ensure!(all.len() == leaders.len() + followers.len(), "a kill of nobody");
        let lease = first.lease_ms as f64;
        Ok(Summary {
            bench: "failover_summary",
            storage: first.storage,
            lease_ms: first.lease_ms,
            kills: all.len(),
            followers: followers.len(),
            follower_p50: middle(&followers),
            follower_worst: worst(&followers),
            leaders: leaders.len(),
            leader_p50: middle(&leaders),
            leader_worst: worst(&leaders),
            p50: middle(&all),
            p50_bar: lease + 150.0,
            worst: worst(&all),
            worst_bar: 3.0 * lease + 300.0,
            rows,
        })
    }
}

/// The upper of the two in the middle; 0 of none.
fn middle(sorted: &[f64]) -> f64 {
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}

fn worst(sorted: &[f64]) -> f64 {
    sorted.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_has_both_roles_and_all_together() {
        // Aim: medians and worst ones stand for whom they say. Method: five kills of known times.
        let kill = |killed, ms| Kill {
            bench: "failover",
            storage: "ram",
            lease_ms: 500,
            kill: 1,
            killed,
            member: "n1".into(),
            writer: "n2".into(),
            ms,
        };
        let (leader, follower) = (Role::Leader, Role::Follower);
        let kills = [
            kill(leader, 1400.0),
            kill(follower, 450.0),
            kill(follower, 430.0),
            kill(leader, 1300.0),
            kill(follower, 440.0),
        ];
        let summary = Summary::of(&kills, Compared::default()).unwrap();
        assert_eq!((summary.followers, summary.follower_p50, summary.follower_worst), (3, 440.0, 450.0));
        assert_eq!((summary.leaders, summary.leader_p50, summary.leader_worst), (2, 1400.0, 1400.0));
        assert_eq!((summary.kills, summary.p50, summary.worst), (5, 450.0, 1400.0));
        assert_eq!((summary.p50_bar, summary.worst_bar), (650.0, 1800.0));
        assert!(Summary::of(&[], Compared::default()).is_err());
    }
}
