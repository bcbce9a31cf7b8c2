//! How a control plane is set up. Clock and dice are handed in, so that a simulation can hold both.

use std::sync::Arc;
use std::time::Duration;

use hypermnesia_store::disc::Disc;
use openraft::SnapshotPolicy;

use super::error::OpenError;
use super::keeper::Keeper;
use super::store::Store;
use super::voter::RaftId;
use crate::limits::{
    PLANE_APPEND_ENTRIES_MAX, PLANE_LOG_ENTRIES, PLANE_LOG_KEPT, PLANE_SNAPSHOT_TIMEOUTS,
    PLANE_TEXT_BYTES_MAX,
};

pub(crate) struct Config {
    /// Voters of different clusters do not hear each other.
    pub(crate) cluster: String,
    pub(crate) place: Place,
    /// How often a leader is heard, and confirmed.
    pub(crate) heartbeat: Duration,
    /// A voter that has not heard a leader for the longest timeout, and then for a time drawn between both, stands for election.
    pub(crate) election_min: Duration,
    pub(crate) election_max: Duration,
    /// How long who proposes waits.
    pub(crate) patience: Duration,
    /// Nanoseconds of a clock that goes on while the machine is suspended (`CLOCK_BOOTTIME`): authority is given in them.
    pub(crate) clock: Arc<dyn Fn() -> u64 + Send + Sync>,
    pub(crate) random: Arc<dyn Fn() -> u64 + Send + Sync>,
}

/// Where votes and log are kept.
pub(crate) enum Place {
    /// Nowhere: after a restart the node is another voter.
    Memory,
    /// In a file of this directory, by a thread of its own. Who hands it in keeps other processes out of it.
    Disc(Arc<dyn Disc>),
    /// The same without the thread, for simulations.
    #[cfg(test)]
    Simulated(Arc<dyn Disc>),
}

impl Config {
    /// A time to wait before standing for election. Drawn anew each time, so that who collides once does not for ever.
    pub(super) fn draw(&self) -> Duration {
        let spread = self.election_max.saturating_sub(self.election_min).as_nanos().max(1) as u64;
        self.election_min + Duration::from_nanos((self.random)() % spread)
    }

    /// How long a request may take. Less than an election timeout, so that who asks learns that he was not heard before he is
    /// given up; more than a heartbeat, since entries are synced twice before they are acknowledged.
    pub(super) fn answer_wait(&self) -> Duration {
        self.election_min * 3 / 4
    }

    /// How long a voter holds on to a leader it has heard.
    pub(super) fn lease(&self) -> Duration {
        self.election_max
    }

    pub(super) fn raft(&self) -> Result<Arc<openraft::Config>, OpenError> {
        if self.heartbeat.is_zero() || self.heartbeat * 2 > self.election_min {
            let what = "the heartbeat must be at most half of the shortest election timeout";
            return Err(OpenError::Config(what.to_owned()));
        }
        if self.cluster.len() > PLANE_TEXT_BYTES_MAX {
            return Err(OpenError::Config("the name of the cluster is too long".to_owned()));
        }
        let ms = |time: Duration| time.as_millis() as u64;
        let settings = openraft::Config {
            cluster_name: self.cluster.clone(),
            election_timeout_min: ms(self.election_min),
            election_timeout_max: ms(self.election_max),
            // The timeout of its requests; heartbeats are sent by `rounds`.
            heartbeat_interval: ms(self.answer_wait()),
            install_snapshot_timeout: ms(self.election_max * PLANE_SNAPSHOT_TIMEOUTS),
            max_payload_entries: PLANE_APPEND_ENTRIES_MAX,
            replication_lag_threshold: PLANE_LOG_ENTRIES * 2,
            snapshot_policy: SnapshotPolicy::LogsSinceLast(PLANE_LOG_ENTRIES),
            max_in_snapshot_log_to_keep: PLANE_LOG_KEPT,
            enable_tick: false,
            enable_heartbeat: false,
            enable_elect: false,
            ..openraft::Config::default()
        };
        settings.validate().map(Arc::new).map_err(|error| OpenError::Config(error.to_string()))
    }

    pub(super) async fn keeper(&self) -> Result<Keeper, OpenError> {
        let (cluster, fresh) = (self.cluster.clone(), RaftId((self.random)()));
        match &self.place {
            Place::Memory => Ok(Keeper::in_place(Store::in_memory(&cluster, fresh)?)),
            Place::Disc(disc) => {
                let disc = disc.clone();
                Keeper::on_thread(move || Store::open(disc.as_ref(), &cluster, fresh)).await
            }
            #[cfg(test)]
            Place::Simulated(disc) => Ok(Keeper::in_place(Store::open(disc.as_ref(), &cluster, fresh)?)),
        }
    }
}
