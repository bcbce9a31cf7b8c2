//! Three members on free ports of the loopback interface.

use std::path::PathBuf;
use std::time::Duration;

use hypermnesia::{DiscOptions, Node, NodeBuilder};
use tempfile::TempDir;

use crate::hard_stop::killed;
use crate::loopback::free_ports;

/// Long enough for any machine; every wait ends as soon as it can.
pub(crate) const LONG: Duration = Duration::from_secs(30);

/// The members of a cluster, by position; a place is empty while its member is down.
pub(crate) struct Trio {
    pub(crate) nodes: Vec<Option<Node>>,
    addresses: Vec<(String, String)>,
    /// One per member, when they keep logs.
    homes: Option<Vec<PathBuf>>,
    /// What crashed members left, which is where they go on.
    left: Vec<TempDir>,
}

impl Trio {
    /// Starts three members and waits until all serve.
    pub(crate) fn start() -> Trio {
        Trio::start_on(None)
    }

    /// The same, with a data directory for each.
    pub(crate) fn start_on(homes: Option<Vec<PathBuf>>) -> Trio {
        let listeners = free_ports(3);
        let address = |at: usize| listeners[at].local_addr().expect("bound").to_string();
        let addresses: Vec<_> = (0..3).map(|at| (format!("n{}", at + 1), address(at))).collect();
        let start = |(at, listener)| {
            let builder = Trio::builder(&addresses, homes.as_deref(), at).peer_listener(listener);
            Some(builder.build().expect("a good configuration"))
        };
        let nodes = listeners.into_iter().enumerate().map(start).collect();
        let trio = Trio { nodes, addresses, homes, left: Vec::new() };
        trio.settle();
        trio
    }

    pub(crate) fn builder(
        addresses: &[(String, String)],
        homes: Option<&[PathBuf]>,
        at: usize,
    ) -> NodeBuilder {
        let builder = Node::builder().name(&addresses[at].0).members(addresses.iter().cloned());
        match homes {
            Some(homes) => {
                builder.data_dir(&homes[at]).disc_options(DiscOptions::new().segment_bytes(1 << 20))
            }
            None => builder,
        }
    }

    /// Names and peer addresses, by position.
    pub(crate) fn addresses(&self) -> Vec<(String, String)> {
        self.addresses.clone()
    }

    /// The member at a position, which must be up.
    pub(crate) fn node(&self, at: usize) -> &Node {
        self.nodes[at].as_ref().expect("it is up")
    }

    /// Stops a member, as a program does that ends: the others find its connections closed, its log is written to the end.
    pub(crate) fn stop(&mut self, at: usize) {
        self.nodes[at] = None;
    }

    /// Stops members all at once, as a kill does: they go on with the files as they are at this moment.
    pub(crate) fn crash(&mut self, members: &[usize]) {
        for &at in members {
            let homes = self.homes.as_mut().expect("members that crash have data directories");
            let left = killed(&homes[at]);
            homes[at] = left.path().to_owned();
            self.left.push(left);
        }
        members.iter().for_each(|at| self.stop(*at));
    }

    /// Starts a member that is down, as a new process would.
    pub(crate) fn restart(&mut self, at: usize) {
        let node = Trio::builder(&self.addresses, self.homes.as_deref(), at)
            .build()
            .expect("its port is free again");
        self.nodes[at] = Some(node);
    }

    /// A copy of a member's files as they are now.
    pub(crate) fn saved(&self, at: usize) -> TempDir {
        killed(&self.homes.as_ref().expect("it has a data directory")[at])
    }

    /// Starts a member that is down with another data directory.
    pub(crate) fn restart_on(&mut self, at: usize, home: TempDir) {
        self.homes.as_mut().expect("it has a data directory")[at] = home.path().to_owned();
        self.left.push(home);
        self.restart(at);
    }

    /// Starts a member that is down with an empty data directory.
    pub(crate) fn restart_empty(&mut self, at: usize) {
        self.restart_on(at, tempfile::tempdir().expect("a directory"));
    }

    /// Waits until all members are up and serve.
    pub(crate) fn settle(&self) {
        for node in self.nodes.iter().flatten() {
            node.wait_for_members(LONG).expect("the members meet");
        }
    }
}
